import { hash } from 'node:crypto';
import { hashBytes, type Peak, TreeEdge } from './merkle.ts';

const tileHeight = 8;
const tileLeaves = 2 ** tileHeight;
const pairBytes = 1 + 2 * hashBytes;

/**
 * The tree over many leaves, several times faster than adding each to a `TreeEdge`: 256 leaves at a time are hashed in place,
 * where each pair already has the byte of an inner node before it.
 */
export class LeafHasher {
  readonly #levels = Array.from({ length: tileHeight }, (_, level) => pairsOf(tileLeaves >> (level + 1)));
  readonly #tiles = new TreeEdge();
  #count = 0;
  /** The edge as it was asked for last in the tile that is being filled; null where it was not. */
  #asked: TreeEdge | null = null;

  get size(): number {
    return this.#tiles.size + this.#count;
  }

  /** `hex` is the leaf's hash. */
  append(hex: string): void {
    this.#levels[0]!.bytes.write(hex, offsetOf(this.#count), 'hex');
    this.#count += 1;
    if (this.#count === tileLeaves) this.#endTile();
  }

  /** The edge of the tree over what was appended so far. Asked for at every leaf it costs about one more hash for each. */
  peaks(): readonly Peak[] {
    this.#asked ??= this.#tiles.copy();
    const leaves = this.#levels[0]!.bytes;
    for (let index = this.#asked.size - this.#tiles.size; index < this.#count; index += 1) {
      const offset = offsetOf(index);
      this.#asked.append(Buffer.from(leaves.subarray(offset, offset + hashBytes)));
    }
    return [...this.#asked.peaks];
  }

  #endTile(): void {
    for (let level = 0; level < tileHeight - 1; level += 1) {
      const { pairs } = this.#levels[level]!;
      const above = this.#levels[level + 1]!.bytes;
      for (let index = 0; index < pairs.length; index += 1)
        above.write(hash('sha256', pairs[index]!, 'binary'), offsetOf(index), hashBytes, 'latin1');
    }
    this.#tiles.append(hash('sha256', this.#levels[tileHeight - 1]!.pairs[0]!, 'buffer'), tileHeight);
    this.#count = 0;
    this.#asked = null;
  }
}

function pairsOf(count: number): { bytes: Buffer; pairs: Buffer[] } {
  const bytes = Buffer.alloc(count * pairBytes, 1);
  const pairs = Array.from({ length: count }, (_, index) =>
    bytes.subarray(index * pairBytes, (index + 1) * pairBytes),
  );
  return { bytes, pairs };
}

/** Of the `index`th hash: the first of each pair has a byte before it. */
function offsetOf(index: number): number {
  return (index >> 1) * pairBytes + 1 + (index & 1) * hashBytes;
}
