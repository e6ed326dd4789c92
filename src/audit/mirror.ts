import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CheckpointClaim } from '../contract/runner.ts';
import { checkpointFile, parseNewest, type SignedCheckpoint } from './checkpoint.ts';
import { type AuditDisk, nodeDisk } from './disk.ts';
import { readTombstone } from './drop.ts';
import { type AuditEvent, streamPattern } from './event.ts';
import { makeFolder, quietly, replaceFile } from './folders.ts';
import { keyChainOf } from './key-chain.ts';
import { keyActions } from './key-notes.ts';
import { auditLimits } from './limits.ts';
import { readLine } from './line.ts';
import { linkTo } from './line-hash.ts';
import { lockFile } from './lock.ts';
import { readLogNotes } from './log-notes.ts';
import { beforeSegments, treeOf } from './open-stream.ts';
import { listSegments } from './segments.ts';
import { signedBy, type VerifierKey } from './signed-note.ts';
import { StreamFile } from './stream-file.ts';
import { StreamTree } from './stream-tree.ts';
import type { Place } from './tail.ts';

/** Lines that follow what a mirror holds, checked; `mirror.append` takes them. */
export type Continuation = {
  readonly lines: readonly { readonly bytes: Buffer; readonly place: Place }[];
  readonly events: readonly AuditEvent[];
};

/** What was handed over does not continue the stream. Nothing of it may be written: it would bury the break. */
export class MirrorGap extends Error {
  readonly stream: string;
  readonly expected: string;
  readonly found: string;

  constructor(stream: string, expected: string, found: string) {
    super(`the stream ${stream} does not continue: expected ${expected}, found ${found}`);
    this.name = 'MirrorGap';
    this.stream = stream;
    this.expected = expected;
    this.found = found;
  }
}

export type MirrorOptions = {
  /** Holds one folder for each stream; the mirror's is made in it. */
  readonly folder: string;
  readonly stream: string;
  readonly disk?: AuditDisk;
};

const newline = Buffer.from('\n');
/** The version that lines of a stream that is mirrored have. */
const lineVersion = 2;

/** What a mirror goes on from. */
type Taken = {
  readonly file: StreamFile;
  readonly tree: StreamTree;
  readonly keys: readonly VerifierKey[];
  readonly newest: SignedCheckpoint | null;
};

/**
 * A stream that another process writes, kept here line for line in the same segments, with the newest checkpoint of its
 * writer. The lines are as trusted as their writer: what is checked is that they are events of this stream, continue it,
 * and are those that it signed.
 */
export class Mirror {
  readonly stream: string;
  /** Of its segments. */
  readonly folder: string;
  readonly tree: StreamTree;
  readonly #disk: AuditDisk;
  readonly #file: StreamFile;
  /** Those that the stream itself names. */
  readonly #keys: VerifierKey[];
  #unlock: () => void;
  #newest: SignedCheckpoint | null;

  private constructor(options: Required<MirrorOptions>, taken: Taken, unlock: () => void) {
    this.stream = options.stream;
    this.folder = join(options.folder, options.stream);
    this.#disk = options.disk;
    this.#file = taken.file;
    this.tree = taken.tree;
    this.#keys = [...taken.keys];
    this.#newest = taken.newest;
    this.#unlock = unlock;
  }

  /**
   * Takes up what is there; a line that a crash cut off is removed, and asked for again. Throws Error where the folder
   * does not end like a log of this stream or does not hold what its checkpoint says, or another process has it open.
   */
  static async open({ folder, stream, disk = nodeDisk }: MirrorOptions): Promise<Mirror> {
    if (!streamPattern.test(stream)) throw new Error('a stream has a well-formed name');
    const own = join(folder, stream);
    await makeFolder(disk, folder);
    await makeFolder(disk, own);
    const lock = await lockFile(join(own, 'lock'));
    if (lock === null) throw new Error('another process writes this mirror');
    try {
      const taken = await takeUp(disk, own, stream);
      return new Mirror({ folder, stream, disk }, taken, () => lock.release());
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** What the newest checkpoint here says; null where there is none yet. */
  get claim(): CheckpointClaim | null {
    if (this.#newest === null) return null;
    const { origin, size, root } = this.#newest;
    return { stream: this.stream, origin, size, root: root.toString('base64') };
  }

  /** The newest that its writer signed of what is here; null where there is none yet. */
  get checkpoint(): SignedCheckpoint | null {
    return this.#newest;
  }

  /** The key in force, as its text is handed out; null before the stream has named one. */
  get key(): string | null {
    return this.#keys.at(-1)?.text ?? null;
  }

  /** The last line that is durable here. */
  get head(): Place {
    const { seq, hash } = this.#file.head;
    return { seq, hash };
  }

  /**
   * Whether whole lines, each with its newline, continue what is here, or what `after` says that was checked and is still
   * to be written. Throws MirrorGap. Writes nothing.
   */
  check(bytes: Buffer, after: Place = this.head): Continuation {
    let place = after;
    const lines: Continuation['lines'][number][] = [];
    const events: AuditEvent[] = [];
    for (const line of this.#split(bytes, place.seq + 1)) {
      place = this.#next(line, place);
      lines.push({ bytes: line, place });
      events.push(JSON.parse(line.toString('utf8')) as AuditEvent);
    }
    return { lines, events };
  }

  /** Durable once it resolves. When it throws, nothing of the segment's part counts, and it may be tried again. */
  async append({ lines, events }: Continuation): Promise<void> {
    if (this.#file.broken) await this.#file.recover();
    for (let at = lines.findIndex(({ place }) => place.seq > this.head.seq); at >= 0 && at < lines.length; ) {
      const part = lines.slice(at, at + this.#file.room);
      const bytes = Buffer.concat(part.flatMap((line) => [line.bytes, newline]));
      await this.#file.append(bytes, part.at(-1)!.place);
      for (const { place } of part) this.tree.append(Buffer.from(place.hash, 'hex'));
      at += part.length;
    }
    for (const event of events) this.#learn(event);
  }

  /** A key that the stream names, where the one before vouches for it: what others sign is not taken for the writer's. */
  #learn({ seq, action, data }: AuditEvent): void {
    const isNaming = Object.values<string>(keyActions).includes(action);
    const { origin, key, signature } = (data ?? {}) as Record<string, unknown>;
    if (!isNaming || typeof origin !== 'string' || typeof key !== 'string') return;
    const note = { seq, action, origin, key, signature: typeof signature === 'string' ? signature : null };
    const chain = keyChainOf([note], this.#keys.at(-1) ?? null);
    const named = chain !== null && 'keys' in chain ? chain.keys.at(-1)!.key : null;
    if (named !== null && this.#keys.length < auditLimits.mirrorKeysMax) this.#keys.push(named);
  }

  /**
   * Keeps a checkpoint of the lines that are here, no more and no fewer. Throws MirrorGap where it is of others, or not
   * signed by a key that the stream names: its writer then signed what it did not hand over.
   */
  async keep(note: string): Promise<void> {
    const found = parseNewest(note);
    const expected = `a signed checkpoint of ${this.head.seq} events`;
    if (found === null || signedBy(found.note, this.#keys) === null)
      throw new MirrorGap(this.stream, expected, 'a note that its key did not sign');
    if (found.size !== this.head.seq) throw new MirrorGap(this.stream, expected, `one of ${found.size}`);
    if (!found.root.equals(this.tree.root)) throw new MirrorGap(this.stream, expected, 'one of other events');
    await replaceFile(this.#disk, join(this.folder, checkpointFile), Buffer.from(note));
    this.#newest = { ...found, note };
  }

  async close(): Promise<void> {
    await quietly(this.#file.close());
    await this.tree.settled();
    const unlock = this.#unlock;
    this.#unlock = () => undefined;
    unlock();
  }

  *#split(bytes: Buffer, seq: number): Generator<Buffer> {
    for (let start = 0; start < bytes.length; ) {
      const end = bytes.indexOf(newline, start);
      if (end < 0) throw new MirrorGap(this.stream, `event ${seq}`, 'part of a line');
      yield bytes.subarray(start, end);
      start = end + 1;
    }
  }

  #next(line: Buffer, { seq, hash }: Place): Place {
    const facts = readLine(line);
    const due = `event ${seq + 1}`;
    if ('flaw' in facts) throw new MirrorGap(this.stream, due, facts.flaw);
    if (facts.stream !== this.stream)
      throw new MirrorGap(this.stream, due, `an event of the stream ${facts.stream.slice(0, 63)}`);
    if (facts.seq !== seq + 1) throw new MirrorGap(this.stream, due, `event ${facts.seq}`);
    if (facts.v !== lineVersion) throw new MirrorGap(this.stream, due, `a line of version ${facts.v}`);
    if (facts.prev !== hash)
      throw new MirrorGap(this.stream, `${due} behind ${hash}`, `one behind ${facts.prev}`);
    return { seq: facts.seq, hash: linkTo(line, lineVersion) };
  }
}

async function takeUp(disk: AuditDisk, folder: string, stream: string): Promise<Taken> {
  const before = await beforeSegments(folder);
  const { file } = await StreamFile.open({ disk, folder, stream, before });
  try {
    const text = await readFile(join(folder, checkpointFile), 'utf8').catch(absent);
    const newest = text === null ? null : parseNewest(text);
    if (text !== null && newest === null) throw new Error('the checkpoint of the mirror is damaged');
    const keys = await keysIn(folder);
    if (newest !== null && signedBy(newest.note, keys) === null)
      throw new Error('the checkpoint of the mirror was not signed by its writer');
    const { seq } = file.head;
    const tree =
      newest === null
        ? await StreamTree.load(folder, seq, { trustStored: false })
        : await treeOf(folder, seq, newest);
    return { file, tree, keys, newest: newest === null ? null : { ...newest, note: text! } };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Those that the lines name, behind the one that was in force when earlier lines were dropped. */
async function keysIn(folder: string): Promise<VerifierKey[]> {
  const tombstone = await readTombstone(folder);
  const { keys } = await readLogNotes(await listSegments(folder));
  const chain = keyChainOf(keys, tombstone?.key ?? null);
  if (chain !== null && 'flaw' in chain) throw new Error(`event ${chain.seq} of the mirror: ${chain.flaw}`);
  return chain === null ? [] : chain.keys.map(({ key }) => key);
}

function absent(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}
