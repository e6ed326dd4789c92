import { readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeDisk } from './disk.ts';
import { replaceFile, syncFolder } from './folders.ts';
import { keyChainOf, keyInForce } from './key-chain.ts';
import { readLogNotes } from './log-notes.ts';
import { hashesPath } from './segment-hashes.ts';
import { listSegments, segmentEvents } from './segments.ts';
import { type NoteSigner, signedBy } from './signed-note.ts';
import type { StreamTree } from './stream-tree.ts';
import { parseTombstone, signTombstone, type Tombstone, tombstoneFile } from './tombstone.ts';

/** The tombstone of a stream's folder; null where nothing was dropped. Its signature is not verified. Throws where it is damaged. */
export async function readTombstone(folder: string): Promise<Tombstone | null> {
  const text = await readFile(join(folder, tombstoneFile), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return null;
  const parsed = parseTombstone(text);
  if (parsed === null) throw new Error('the tombstone of dropped events is damaged');
  return parsed.tombstone;
}

export type DropOptions = {
  readonly folder: string;
  readonly tree: StreamTree;
  /** The last event that goes; the last one of its segment, and not of the newest. */
  readonly through: number;
  /** By whom it is dropped: by the stream's own key, or that of a stream that this one records. */
  readonly signer: NoteSigner;
  /** Ms of the epoch. */
  readonly at: number;
};

/** The text that will stand for the events up to `through`: in the place of them, and beside a copy of them. */
export async function makeTombstone({ folder, tree, through, signer, at }: DropOptions): Promise<string> {
  if (through % segmentEvents !== 0) throw new Error('segments are dropped whole');
  const before = await readTombstone(folder);
  const going = (await listSegments(folder)).filter(({ first }) => first <= through);
  const chain = keyChainOf((await readLogNotes(going)).keys, before?.key ?? null);
  const key = chain !== null && 'keys' in chain ? keyInForce(chain, through) : null;
  if (key === null) throw new Error('the stream does not say which key signs it');
  const last = await tree.node(0, through - 1);
  const peaks = await tree.peaksAt(through);
  return signTombstone(
    { origin: key.name, size: through, before: last.toString('hex'), peaks, key, at },
    signer,
  );
}

/**
 * Drops the oldest segments, whole ones. The tombstone takes their place before the first of them goes, so that what remains
 * can be verified at every moment; segments that a crash left behind it go when the stream is opened.
 */
export async function dropSegments(folder: string, tree: StreamTree, note: string): Promise<void> {
  const parsed = parseTombstone(note);
  if (parsed === null) throw new Error('that is no tombstone');
  const { size, peaks } = parsed.tombstone;
  await replaceFile(nodeDisk, join(folder, tombstoneFile), Buffer.from(note));
  tree.drop({ size, peaks });
  await removeDropped(folder, size);
}

/**
 * Signs the note of a file anew where it is not by this key: that of an earlier one can be verified only as long as the lines
 * that name it are there.
 */
export async function signAgain(path: string, signer: NoteSigner): Promise<void> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  const parsed = text === null ? null : parseTombstone(text);
  if (parsed === null || signedBy(parsed.note, [signer.key]) !== null) return;
  await replaceFile(nodeDisk, path, Buffer.from(signTombstone(parsed.tombstone, signer)));
}

/** Removes what a tombstone stands for. */
export async function removeDropped(folder: string, through: number): Promise<void> {
  const gone = (await listSegments(folder)).filter(({ first }) => first <= through);
  for (const { path } of gone) {
    await unlink(hashesPath(path)).catch(() => undefined);
    await unlink(path);
  }
  if (gone.length > 0) await syncFolder(nodeDisk, folder);
}
