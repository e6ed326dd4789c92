import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonValue } from '../base/canonical-json.ts';
import { checkpointFile, parseNewest, type SignedCheckpoint } from './checkpoint.ts';
import { readTombstone, removeDropped } from './drop.ts';
import { keyActions } from './key-notes.ts';
import { type NoteSigner, noteSigner, signedBy } from './signed-note.ts';
import { StreamReader } from './stream-reader.ts';
import { type Dropped, StreamTree } from './stream-tree.ts';
import { beginning, type Place } from './tail.ts';

/** What a writer goes on from: `signer` and `newest` are null in a stream without checkpoints yet. */
export type StreamState = {
  readonly tree: StreamTree;
  readonly signer: NoteSigner | null;
  readonly newest: SignedCheckpoint | null;
};

/**
 * The tree of a stream of `size` events, held against its newest checkpoint, and the key that signs from now on: one of
 * `keys`, which the stream itself names. Throws Error where the lines are not those that were signed, where the checkpoint
 * is missing from a stream that had one, or where the key that is in force is not among `keys`.
 */
export async function openStream(
  folder: string,
  size: number,
  keys: readonly KeyObject[],
): Promise<StreamState> {
  const text = await readFile(join(folder, checkpointFile), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return await openUnsigned(folder, size, keys);
  const found = parseNewest(text);
  if (found === null) throw new Error('the checkpoint of the log is damaged');
  const signers = keys.map((key) => noteSigner(found.origin, key));
  const by = signedBy(
    found.note,
    signers.map(({ key }) => key),
  );
  if (by === null) throw new Error('the checkpoint of the log was not signed by the key of this server');
  const tree = await treeOf(folder, size, found);
  const signer = await signerInForce(folder, found.size, by.text, signers);
  const { origin, root, extensions } = found;
  return { tree, signer, newest: { origin, size: found.size, root, extensions, note: text } };
}

/** What stands before the segments of a stream: the place of the last event that was dropped, and what is left of all of them. */
export async function beforeSegments(folder: string): Promise<Place> {
  const tombstone = await readTombstone(folder);
  if (tombstone === null) return beginning;
  await removeDropped(folder, tombstone.size);
  return { seq: tombstone.size, hash: tombstone.before };
}

async function droppedOf(folder: string): Promise<{ dropped?: Dropped }> {
  const tombstone = await readTombstone(folder);
  return tombstone === null ? {} : { dropped: { size: tombstone.size, peaks: tombstone.peaks } };
}

/** The tree over the first `size` lines, which hold what was signed. Throws Error where they do not. */
export async function treeOf(
  folder: string,
  size: number,
  signed: { size: number; root: Buffer },
): Promise<StreamTree> {
  if (signed.size > size)
    throw new Error(
      `the log holds ${size} events, but ${signed.size} were signed: it was cut or rolled back`,
    );
  for (const trustStored of [true, false]) {
    const tree = await StreamTree.load(folder, size, { trustStored, ...(await droppedOf(folder)) });
    if ((await tree.rootAt(signed.size)).equals(signed.root)) return tree;
  }
  throw new Error('the log does not hold what its newest checkpoint says');
}

/** A key may have been rotated since the checkpoint was signed. */
async function signerInForce(
  folder: string,
  size: number,
  signedBy: string,
  signers: readonly NoteSigner[],
): Promise<NoteSigner> {
  let inForce = signedBy;
  for await (const note of keyNotes(folder, size)) inForce = note.key;
  const signer = signers.find(({ key }) => key.text === inForce);
  if (signer === undefined) throw new Error('the log is signed by a key that this server does not have');
  return signer;
}

/**
 * A stream without a checkpoint: it is new, or from before there were checkpoints, or its writer died before it signed the
 * first. Anything else was taken away.
 */
async function openUnsigned(folder: string, size: number, keys: readonly KeyObject[]): Promise<StreamState> {
  const tree = await StreamTree.load(folder, size, { trustStored: false });
  const last: LineNote[] = [];
  let signer: NoteSigner | null = null;
  for await (const note of notes(folder, Math.max(0, size - 2))) {
    last.push(note);
    const { origin, key } = note;
    if (key === null || origin === null) continue;
    signer = keys.map((one) => noteSigner(origin, one)).find((one) => one.key.text === key) ?? null;
    if (signer === null) throw new Error('the log is signed by a key that this server does not have');
  }
  const isBeginning = last.at(-1)?.version === 1 || (signer !== null && size <= 2) || isIntroduced(last);
  if (size > 0 && !isBeginning) throw new Error('the checkpoint of the log is missing');
  return { tree, signer, newest: null };
}

/** The notes that a stream begins to be signed with are its last: that of its key, and perhaps that of a line that was cut off. */
function isIntroduced(last: readonly LineNote[]): boolean {
  const actions = last.map(({ action }) => action);
  const named = actions.at(-1) === 'audit.recovered' ? actions.at(-2) : actions.at(-1);
  return named === keyActions.introduced || named === keyActions.opened;
}

type LineNote = {
  readonly version: JsonValue;
  readonly action: string;
  readonly origin: string | null;
  readonly key: string | null;
};

async function* keyNotes(folder: string, after: number): AsyncGenerator<{ key: string }> {
  for await (const { action, key } of notes(folder, after, `{"action":"${keyActions.rotated}"`))
    if (action === keyActions.rotated && key !== null) yield { key };
}

/** Of the lines behind the event `after`, those that begin with `start`. */
async function* notes(folder: string, after: number, start = ''): AsyncGenerator<LineNote> {
  const reader = new StreamReader(folder, after);
  const prefix = Buffer.from(start);
  try {
    for (let lines = await reader.read(1_000); lines.length > 0; lines = await reader.read(1_000))
      for (const { bytes } of lines) if (bytes.subarray(0, prefix.length).equals(prefix)) yield noteOf(bytes);
  } finally {
    await reader.close();
  }
}

function noteOf(bytes: Buffer): LineNote {
  const { v, action, data } = JSON.parse(bytes.toString('utf8')) as Record<string, JsonValue>;
  const { origin, key } = (data ?? {}) as { origin?: unknown; key?: unknown };
  const isIntroducing = String(action).startsWith('audit.');
  return {
    version: v ?? null,
    action: String(action),
    origin: isIntroducing && typeof origin === 'string' ? origin : null,
    key: isIntroducing && typeof key === 'string' ? key : null,
  };
}
