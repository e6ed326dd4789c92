import type { SignedCheckpoint } from '../../audit/checkpoint.ts';
import type { KeyFile } from '../../audit/key-file.ts';
import type { SignedAuditLog } from '../../audit/log.ts';
import { StreamReader } from '../../audit/stream-reader.ts';
import { DroppedError, type StreamTree } from '../../audit/stream-tree.ts';
import type {
  AuditKeyView,
  AuditStreamView,
  ConsistencyProofView,
  InclusionProofView,
} from '../../contract/audit-proof-schemas.ts';
import { Fault } from '../../contract/faults.ts';
import type { Caller } from '../control.ts';
import type { Gate } from '../gate.ts';

/** A stream whose lines and tree are here: control's own, and those that it took over. */
export type KnownStream = {
  readonly stream: string;
  /** Of its segments. */
  readonly folder: string;
  readonly tree: StreamTree;
  head(): { readonly seq: number; readonly hash: string };
  /** Null before the first is known. */
  checkpoint(): SignedCheckpoint | null;
  /** Null where the key is not known here. */
  key(): string | null;
};

/**
 * What proves the record to somebody who trusts nobody here. Checkpoints, proofs and hashes hold nothing of what happened, so
 * whoever may read of the record may have them; entries are the record itself.
 */
export type AuditProofUseCases = {
  streams(caller: Caller): Promise<readonly AuditStreamView[]>;
  /** The newest signed checkpoints, this server's own stream first, which is signed anew; of one stream where it is named. */
  checkpoints(caller: Caller, stream?: string): Promise<readonly string[]>;
  inclusion(
    caller: Caller,
    stream: string,
    asked: { seq: number; size?: number | undefined },
  ): Promise<InclusionProofView>;
  consistency(
    caller: Caller,
    stream: string,
    asked: { first: number; size?: number | undefined },
  ): Promise<ConsistencyProofView>;
  /** Hashes of a tile of https://c2sp.org/tlog-tiles: `width` of them, 32 bytes each. */
  tile(caller: Caller, stream: string, place: TilePlace): Promise<Buffer>;
  /** The lines of a level 0 tile, each behind its length in two bytes. */
  entries(caller: Caller, stream: string, place: Omit<TilePlace, 'level'>): Promise<Buffer>;
  /** Another key signs control's stream from now on. */
  rotateKey(caller: Caller): Promise<AuditKeyView>;
};

/** Level and index of a tile, and how many hashes of it are asked for: 1 to 256. */
export type TilePlace = { readonly level: number; readonly index: number; readonly width: number };

export type AuditProofParts = {
  readonly gate: Gate;
  readonly audit: SignedAuditLog;
  readonly keyFile: Pick<KeyFile, 'rotate'>;
  /** Control's own first. */
  readonly knownStreams: () => readonly KnownStream[];
};

const tileHeight = 8;
const resource = { kind: 'audit' } as const;

export function auditProofUseCases(parts: AuditProofParts): AuditProofUseCases {
  const { gate, audit, keyFile, knownStreams } = parts;
  const prove = (caller: Caller) => gate.read(caller, { action: 'audit.prove', resource });
  const named = (name: string) => {
    const known = knownStreams().find(({ stream }) => stream === name);
    if (known === undefined) throw new Fault('resource.absent', { detail: `There is no stream ${name}.` });
    return known;
  };
  return {
    streams: async (caller) => {
      await prove(caller);
      return knownStreams().flatMap(viewOf);
    },
    checkpoints: async (caller, stream) => {
      await prove(caller);
      // Where it cannot be signed now, the newest one that could be still holds.
      await audit.sign().catch(() => undefined);
      const streams = stream === undefined ? knownStreams() : [named(stream)];
      return streams.flatMap((known) => known.checkpoint()?.note ?? []);
    },
    inclusion: async (caller, stream, asked) => {
      await prove(caller);
      return await provable(() => inclusionOf(named(stream), asked));
    },
    consistency: async (caller, stream, asked) => {
      await prove(caller);
      return await provable(() => consistencyOf(named(stream), asked));
    },
    tile: async (caller, stream, place) => {
      await prove(caller);
      return await provable(() => tileOf(named(stream), place));
    },
    entries: async (caller, stream, place) => {
      await gate.privileged(caller, { action: 'audit.read', resource, data: { stream, tile: place.index } });
      if (caller.actor.reach !== 'all')
        throw await gate.refuse(
          caller,
          { action: 'audit.read', resource },
          {
            rule: 'reach:own',
            detail: 'Entries of the log are for who may read all of it.',
          },
        );
      return await entriesOf(named(stream), place);
    },
    rotateKey: async (caller) =>
      await gate.act(caller, { action: 'audit.key.rotate', resource }, async () => {
        await keyFile.rotate(audit);
        return { origin: audit.checkpoint().origin, key: audit.key() };
      }),
  };
}

function viewOf(known: KnownStream): AuditStreamView[] {
  const checkpoint = known.checkpoint();
  if (checkpoint === null) return [];
  const { origin, size, root, note } = checkpoint;
  const { seq, hash } = known.head();
  return [
    {
      stream: known.stream,
      origin,
      key: known.key(),
      events: seq,
      head: hash,
      checkpoint: { size, root: root.toString('base64'), note },
    },
  ];
}

function checkpointOf(known: KnownStream): SignedCheckpoint {
  const checkpoint = known.checkpoint();
  if (checkpoint === null) throw notThere('It has no checkpoint yet.');
  return checkpoint;
}

function notThere(detail: string): Fault {
  return new Fault('resource.absent', { detail });
}

async function provable<T>(prove: () => Promise<T>): Promise<T> {
  try {
    return await prove();
  } catch (error) {
    if (error instanceof DroppedError)
      throw notThere('The events that this needs were dropped from the log.');
    throw error;
  }
}

/** Only what is signed is proved. */
function sizeOf(known: KnownStream, size: number | undefined): number {
  const signed = checkpointOf(known).size;
  if (size === undefined || size <= signed) return size ?? signed;
  throw new Fault('request.invalid', { detail: `The newest checkpoint is of ${signed} events.` });
}

async function inclusionOf(
  known: KnownStream,
  asked: { seq: number; size?: number | undefined },
): Promise<InclusionProofView> {
  const size = sizeOf(known, asked.size);
  if (asked.seq > size) throw new Fault('request.invalid', { detail: `The tree has ${size} events.` });
  const index = asked.seq - 1;
  const { tree } = known;
  return {
    origin: checkpointOf(known).origin,
    index,
    leaf: (await tree.node(0, index)).toString('base64'),
    size,
    root: (await tree.rootAt(size)).toString('base64'),
    proof: (await tree.inclusion(index, size)).map((node) => node.toString('base64')),
  };
}

async function consistencyOf(
  known: KnownStream,
  { first, size: asked }: { first: number; size?: number | undefined },
): Promise<ConsistencyProofView> {
  const size = sizeOf(known, asked);
  if (first > size) throw new Fault('request.invalid', { detail: `The tree has ${size} events.` });
  const { tree } = known;
  return {
    origin: checkpointOf(known).origin,
    first,
    firstRoot: (await tree.rootAt(first)).toString('base64'),
    size,
    root: (await tree.rootAt(size)).toString('base64'),
    proof: (await tree.consistency(first, size)).map((node) => node.toString('base64')),
  };
}

async function tileOf(known: KnownStream, { level, index, width }: TilePlace): Promise<Buffer> {
  const height = level * tileHeight;
  const first = index * 2 ** tileHeight;
  if ((first + width) * 2 ** height > checkpointOf(known).size) throw notThere('There is no such tile yet.');
  return Buffer.concat(await known.tree.nodes(height, first, width));
}

async function entriesOf(known: KnownStream, { index, width }: Omit<TilePlace, 'level'>): Promise<Buffer> {
  const first = index * 2 ** tileHeight;
  if (first + width > checkpointOf(known).size) throw notThere('There is no such tile yet.');
  const reader = new StreamReader(known.folder, first);
  try {
    const parts: Buffer[] = [];
    for (let left = width; left > 0; ) {
      const lines = await reader.read(left);
      if (lines.length === 0 || lines[0]!.seq !== first + width - left + 1)
        throw notThere('These events were dropped from the log.');
      for (const { bytes } of lines) parts.push(lengthOf(bytes), bytes);
      left -= lines.length;
    }
    return Buffer.concat(parts);
  } finally {
    await reader.close();
  }
}

function lengthOf(line: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(line.length);
  return length;
}
