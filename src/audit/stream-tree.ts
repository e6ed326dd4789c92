import { consistencyProof, heightsOf, inclusionProof, leafHash, nodeHash, TreeEdge } from './merkle.ts';
import { SegmentHashes, storedNodes, storedRoot } from './segment-hashes.ts';
import { listSegments, segmentEvents, segmentHeight, segmentPath } from './segments.ts';
import { StreamReader } from './stream-reader.ts';

/** Events that are no longer there: how many, and the edge of the tree over them. */
export type Dropped = { readonly size: number; readonly peaks: readonly Buffer[] };

const nothingDropped: Dropped = { size: 0, peaks: [] };
/** As many lines are hashed at a time. */
const linesAtATime = 1_000;

/** A proof would need events that were dropped. */
export class DroppedError extends Error {
  constructor() {
    super('the events that this needs were dropped from the log');
    this.name = 'DroppedError';
  }
}

/**
 * The Merkle tree over a stream's lines, beside its files: grows with them, and gives roots and proofs of every size it
 * had. In memory are the leaves of the segment that is being written and a root for each earlier one.
 */
export class StreamTree {
  readonly #folder: string;
  #dropped: Dropped;
  /** Of the whole segments that are left, in their order. */
  #roots: Buffer[] = [];
  #edge: TreeEdge;
  #hashes = new SegmentHashes();
  #stored: Promise<void> = Promise.resolve();
  /** Segments whose file of hashes is being made anew: once, however many ask. */
  readonly #rehashing = new Map<number, Promise<SegmentHashes>>();

  private constructor(folder: string, dropped: Dropped) {
    this.#folder = folder;
    this.#dropped = dropped;
    this.#edge = new TreeEdge(dropped.size, dropped.peaks);
  }

  /**
   * Of the first `size` lines of a stream's folder. `trustStored` takes roots of whole segments from their files of
   * hashes, which anybody may have changed: compare `rootAt` with something signed. Without it every line is read.
   */
  static async load(
    folder: string,
    size: number,
    options: { trustStored: boolean; dropped?: Dropped },
  ): Promise<StreamTree> {
    const tree = new StreamTree(folder, options.dropped ?? nothingDropped);
    for (const { first, path } of await listSegments(folder)) {
      if (first <= tree.#dropped.size) continue;
      const isWhole = first + segmentEvents - 1 <= size;
      const root = isWhole && options.trustStored ? await storedRoot(path) : null;
      if (root === null) await tree.#hashLines(first, Math.min(size, first + segmentEvents - 1));
      else tree.#appendSegment(root);
    }
    if (tree.size !== size) throw new Error('the log holds fewer events than it should');
    await tree.#stored;
    return tree;
  }

  get size(): number {
    return this.#edge.size;
  }

  get root(): Buffer {
    return this.#edge.root();
  }

  append(leaf: Buffer): void {
    this.#hashes.append(leaf);
    this.#edge.append(leaf);
    if (this.#hashes.count === segmentEvents) this.#endSegment();
  }

  /** The edge of the tree that it was at `size` leaves. Throws DroppedError where it is no longer known. */
  async peaksAt(size: number): Promise<Buffer[]> {
    const peaks: Buffer[] = [];
    let at = 0;
    for (const height of heightsOf(size)) {
      peaks.push(await this.node(height, at / 2 ** height));
      at += 2 ** height;
    }
    return peaks;
  }

  /** Whole segments are gone: `dropped` is what is left of them. */
  drop(dropped: Dropped): void {
    this.#roots = this.#roots.slice((dropped.size - this.#dropped.size) / segmentEvents);
    this.#dropped = dropped;
  }

  /** Throws DroppedError where it is no longer known. */
  async rootAt(size: number): Promise<Buffer> {
    if (size === this.size) return this.root;
    return new TreeEdge(size, await this.peaksAt(size)).root();
  }

  async inclusion(index: number, size: number): Promise<Buffer[]> {
    return await inclusionProof(index, size, (height, at) => this.node(height, at));
  }

  async consistency(first: number, size: number): Promise<Buffer[]> {
    return await consistencyProof(first, size, (height, at) => this.node(height, at));
  }

  /** `count` complete subtrees side by side. Throws DroppedError. */
  async nodes(height: number, index: number, count: number): Promise<Buffer[]> {
    const start = index * 2 ** height;
    const segment = Math.floor(start / segmentEvents);
    const isIn = Math.floor(((index + count) * 2 ** height - 1) / segmentEvents) === segment;
    const isWhole = this.#roots[segment - this.#dropped.size / segmentEvents] !== undefined;
    if (isIn && isWhole && start >= this.#dropped.size) {
      const local = (start % segmentEvents) / 2 ** height;
      const stored = await storedNodes(this.#segmentPath(segment), height, { index: local, count });
      if (stored !== null) return stored;
    }
    return await Promise.all(Array.from({ length: count }, (_, at) => this.node(height, index + at)));
  }

  /** A complete subtree. Throws DroppedError. */
  async node(height: number, index: number): Promise<Buffer> {
    const start = index * 2 ** height;
    const known = start < this.#dropped.size ? this.#droppedPeak(height, start) : null;
    if (known !== null) return known;
    if (height > segmentHeight)
      return nodeHash(await this.node(height - 1, 2 * index), await this.node(height - 1, 2 * index + 1));
    if (start < this.#dropped.size) throw new DroppedError();
    const segment = Math.floor(start / segmentEvents);
    const local = (start % segmentEvents) / 2 ** height;
    const root = this.#roots[segment - this.#dropped.size / segmentEvents];
    if (root === undefined) return this.#hashes.node(height, local);
    if (height === segmentHeight) return root;
    const stored = await storedNodes(this.#segmentPath(segment), height, { index: local, count: 1 });
    return stored?.[0] ?? (await this.#rehashed(segment)).node(height, local);
  }

  #segmentPath(segment: number): string {
    return segmentPath(this.#folder, segment * segmentEvents + 1);
  }

  /** Resolves when files of hashes that were begun are there. */
  async settled(): Promise<void> {
    await this.#stored;
  }

  #droppedPeak(height: number, start: number): Buffer | null {
    let at = 0;
    for (const peak of new TreeEdge(this.#dropped.size, this.#dropped.peaks).peaks) {
      if (at === start && peak.height === height) return peak.hash;
      at += 2 ** peak.height;
    }
    return null;
  }

  #appendSegment(root: Buffer): void {
    this.#roots.push(root);
    this.#edge.append(root, segmentHeight);
  }

  #endSegment(): void {
    const hashes = this.#hashes;
    this.#roots.push(hashes.node(segmentHeight, 0));
    this.#hashes = new SegmentHashes();
    const path = segmentPath(this.#folder, this.#edge.size - segmentEvents + 1);
    // Derived: where it cannot be written, the lines are read instead.
    this.#stored = this.#stored.then(() => hashes.write(path)).catch(() => undefined);
  }

  async #hashLines(first: number, last: number): Promise<void> {
    for await (const leaf of leavesOf(this.#folder, first, last)) this.append(leaf);
  }

  async #rehashed(segment: number): Promise<SegmentHashes> {
    const going = this.#rehashing.get(segment);
    if (going !== undefined) return await going;
    const rehashed = this.#rehash(segment).finally(() => this.#rehashing.delete(segment));
    this.#rehashing.set(segment, rehashed);
    return await rehashed;
  }

  async #rehash(segment: number): Promise<SegmentHashes> {
    const hashes = new SegmentHashes();
    const first = segment * segmentEvents + 1;
    for await (const leaf of leavesOf(this.#folder, first, first + segmentEvents - 1)) hashes.append(leaf);
    await hashes.write(segmentPath(this.#folder, first)).catch(() => undefined);
    return hashes;
  }
}

async function* leavesOf(folder: string, first: number, last: number): AsyncGenerator<Buffer> {
  const reader = new StreamReader(folder, first - 1);
  try {
    while (reader.after < last) {
      const lines = await reader.read(Math.min(linesAtATime, last - reader.after));
      if (lines.length === 0) throw new Error('the log holds fewer events than it should');
      for (const { bytes } of lines) yield leafHash(bytes);
    }
  } finally {
    await reader.close();
  }
}
