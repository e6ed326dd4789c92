import assert from 'node:assert/strict';
import { hash } from 'node:crypto';

/**
 * Merkle trees as RFC 6962 (section 2.1) and RFC 9162 define them: a leaf is the SHA-256 of a zero byte and the entry, an
 * inner node that of a one byte and its children. Hashes are 32 bytes; leaves count from 0.
 */
export const hashBytes = 32;

/** Of an entry: here a line without its newline. */
export function leafHash(entry: Uint8Array): Buffer {
  return hash('sha256', Buffer.concat([leafPrefix, entry]), 'buffer');
}

/** Of two nodes that stand beside each other. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  return hash('sha256', Buffer.concat([nodePrefix, left, right]), 'buffer');
}

const leafPrefix = Buffer.from([0]);
const nodePrefix = Buffer.from([1]);

/** The root of a tree without leaves. */
export const emptyRoot = hash('sha256', '', 'buffer');

/** A complete subtree at the right edge of a tree: `height` 0 is a leaf. */
export type Peak = { readonly height: number; readonly hash: Buffer };

/**
 * A tree that only grows, as the roots of its complete subtrees from left to right: one for each bit of its size. That is
 * all that its root, and its next leaf, need.
 */
export class TreeEdge {
  #size: number;
  readonly #peaks: Peak[];

  /** `peaks` are those of a tree of `size` leaves. Throws where they cannot be. */
  constructor(size = 0, peaks: readonly Buffer[] = []) {
    const heights = heightsOf(size);
    if (peaks.length !== heights.length) throw new Error(`a tree of ${size} leaves has no such edge`);
    this.#size = size;
    this.#peaks = heights.map((height, index) => ({ height, hash: peaks[index]! }));
  }

  get size(): number {
    return this.#size;
  }

  get peaks(): readonly Peak[] {
    return this.#peaks;
  }

  /** Adds a complete subtree of 2^`height` leaves; the size must be a multiple of that. */
  append(root: Buffer, height = 0): void {
    const leaves = 2 ** height;
    assert(this.#size % leaves === 0, 'a subtree begins at a multiple of its size');
    let top: Peak = { height, hash: root };
    for (let last = this.#peaks.at(-1); last?.height === top.height; last = this.#peaks.at(-1)) {
      this.#peaks.pop();
      top = { height: top.height + 1, hash: nodeHash(last.hash, top.hash) };
    }
    this.#peaks.push(top);
    this.#size += leaves;
  }

  root(): Buffer {
    const last = this.#peaks.at(-1);
    if (last === undefined) return emptyRoot;
    return this.#peaks.slice(0, -1).reduceRight((right, { hash: left }) => nodeHash(left, right), last.hash);
  }

  copy(): TreeEdge {
    return new TreeEdge(
      this.#size,
      this.#peaks.map((peak) => peak.hash),
    );
  }
}

/** The heights of the complete subtrees that a tree of `size` leaves is made of, from left to right. */
export function heightsOf(size: number): number[] {
  const bits = size.toString(2);
  return [...bits].flatMap((bit, index) => (bit === '1' ? [bits.length - 1 - index] : []));
}

/** The root of the complete subtree of 2^`height` leaves that is the `index`th of its height. */
export type NodeSource = (height: number, index: number) => Promise<Buffer>;

/** That leaf `index` is in the tree of `size` leaves (RFC 6962, 2.1.1): for `verifyInclusion`. */
export async function inclusionProof(index: number, size: number, node: NodeSource): Promise<Buffer[]> {
  assert(index >= 0 && index < size);
  return await pathTo(index, { start: 0, end: size }, node);
}

/** That the tree of `size` leaves begins with that of `first` (RFC 6962, 2.1.2): for `verifyConsistency`. */
export async function consistencyProof(first: number, size: number, node: NodeSource): Promise<Buffer[]> {
  assert(first >= 0 && first <= size);
  return first === 0 ? [] : await proofOfPart(first, { start: 0, end: size }, true, node);
}

type Range = { readonly start: number; readonly end: number };

/** Where RFC 6962 divides a range: behind the largest power of two that is smaller than it. */
function splitOf({ start, end }: Range): number {
  return start + 2 ** Math.ceil(Math.log2(end - start) - 1);
}

async function pathTo(index: number, range: Range, node: NodeSource): Promise<Buffer[]> {
  if (range.end - range.start === 1) return [];
  const split = splitOf(range);
  const [left, right] = [
    { start: range.start, end: split },
    { start: split, end: range.end },
  ];
  return index < split
    ? [...(await pathTo(index, left, node)), await rootOf(right, node)]
    : [...(await pathTo(index, right, node)), await rootOf(left, node)];
}

async function proofOfPart(end: number, range: Range, known: boolean, node: NodeSource): Promise<Buffer[]> {
  if (end === range.end) return known ? [] : [await rootOf(range, node)];
  const split = splitOf(range);
  const [left, right] = [
    { start: range.start, end: split },
    { start: split, end: range.end },
  ];
  return end <= split
    ? [...(await proofOfPart(end, left, known, node)), await rootOf(right, node)]
    : [...(await proofOfPart(end, right, false, node)), await rootOf(left, node)];
}

/** The root over the leaves of a range that splits have made. */
async function rootOf(range: Range, node: NodeSource): Promise<Buffer> {
  const leaves = range.end - range.start;
  const height = Math.log2(leaves);
  if (Number.isInteger(height)) return await node(height, range.start / leaves);
  const split = splitOf(range);
  const left = await rootOf({ start: range.start, end: split }, node);
  return nodeHash(left, await rootOf({ start: split, end: range.end }, node));
}
