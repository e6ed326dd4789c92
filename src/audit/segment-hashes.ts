import { constants } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { readFully } from './disk.ts';
import { hashBytes, nodeHash } from './merkle.ts';
import { segmentEvents, segmentHeight } from './segments.ts';

/**
 * The leaf hashes of one segment, and every complete subtree over them: what proofs are made of. Of a whole segment they
 * are kept in a file beside it, so that a proof reads a few bytes instead of the segment: its leaves, then its nodes of
 * `storedHeight`, then its root. The file is derived: a missing or wrong one is made anew from the lines.
 */
const storedHeight = 8;
const leavesBytes = segmentEvents * hashBytes;
const nodesBytes = leavesBytes / 2 ** storedHeight;
const fileBytes = leavesBytes + nodesBytes + hashBytes;
const firstBytes = 256 * hashBytes;

/** The file beside a segment. */
export function hashesPath(segment: string): string {
  return segment.replace(/jsonl$/, 'hashes');
}

/**
 * Leaves of the segment that is being written, in memory: at most 2 MiB. Their nodes of `storedHeight` are made as leaves
 * come, so that none costs more than about `2 ** storedHeight` hashes when it is asked for, and the last leaf no more than
 * another one.
 */
export class SegmentHashes {
  #leaves = Buffer.alloc(firstBytes);
  readonly #nodes = Buffer.alloc(nodesBytes);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  append(leaf: Buffer): void {
    if ((this.#count + 1) * hashBytes > this.#leaves.length) {
      const larger = Buffer.alloc(this.#leaves.length * 2);
      this.#leaves.copy(larger);
      this.#leaves = larger;
    }
    leaf.copy(this.#leaves, this.#count * hashBytes);
    this.#count += 1;
    const node = this.#count / 2 ** storedHeight - 1;
    if (Number.isInteger(node))
      rootOver(this.#leaves, node * 2 ** storedHeight, storedHeight).copy(this.#nodes, node * hashBytes);
  }

  /** Of leaves that are all there. */
  node(height: number, index: number): Buffer {
    if (height < storedHeight) return rootOver(this.#leaves, index * 2 ** height, height);
    const above = height - storedHeight;
    return rootOver(this.#nodes, index * 2 ** above, above);
  }

  /** Of a whole segment. Durable under its name once this resolves. */
  async write(segment: string): Promise<void> {
    const root = this.node(segmentHeight, 0);
    const path = hashesPath(segment);
    const file = await open(`${path}.new`, 'w', 0o600);
    try {
      await file.writeFile(Buffer.concat([this.#leaves.subarray(0, leavesBytes), this.#nodes, root]));
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
  }
}

/** The root of a whole segment's file of hashes; null where there is no such file. What it says is unverified. */
export async function storedRoot(segment: string): Promise<Buffer | null> {
  return await withHashes(segment, (file) => readFully(file, fileBytes - hashBytes, hashBytes));
}

/** Nodes of a whole segment, side by side, by its file of hashes; null where there is no such file. */
export async function storedNodes(
  segment: string,
  height: number,
  { index, count }: { readonly index: number; readonly count: number },
): Promise<Buffer[] | null> {
  return await withHashes(segment, async (file) => {
    const stored = height < storedHeight ? 0 : storedHeight;
    const offset = height < storedHeight ? 0 : leavesBytes;
    const wide = 2 ** (height - stored);
    const hashes = await readFully(file, offset + index * wide * hashBytes, count * wide * hashBytes);
    return Array.from({ length: count }, (_, at) => rootOver(hashes, at * wide, height - stored));
  });
}

async function withHashes<T>(segment: string, read: (file: FileHandle) => Promise<T>): Promise<T | null> {
  let file: FileHandle;
  try {
    file = await open(hashesPath(segment), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    const { size } = await file.stat();
    return size === fileBytes ? await read(file) : null;
  } finally {
    await file.close();
  }
}

/** The root over 2^`height` hashes from the `start`th on. */
function rootOver(hashes: Buffer, start: number, height: number): Buffer {
  if (height === 0) return Buffer.from(hashes.subarray(start * hashBytes, (start + 1) * hashBytes));
  const half = 2 ** (height - 1);
  return nodeHash(rootOver(hashes, start, height - 1), rootOver(hashes, start + half, height - 1));
}
