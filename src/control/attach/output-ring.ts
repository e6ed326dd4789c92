const firstBytes = 64 * 1024;

/**
 * The newest output of a terminal, by offset: what one client has not got yet, or comes back for. Takes as much memory
 * as there was output, and no more than it may.
 */
export class OutputRing {
  readonly #bytesMax: number;
  #bytes = Buffer.alloc(0);
  #start: number;
  #end: number;

  constructor(bytesMax: number, offset = 0) {
    this.#bytesMax = bytesMax;
    this.#start = offset;
    this.#end = offset;
  }

  /** The offset behind the newest byte. */
  get end(): number {
    return this.#end;
  }

  /** Whether everything from an offset on is here. */
  covers(offset: number): boolean {
    return offset >= this.#start && offset <= this.#end;
  }

  push(bytes: Buffer): void {
    const kept = bytes.subarray(Math.max(0, bytes.length - this.#bytesMax));
    if (kept.length < bytes.length) this.reset(this.#end + bytes.length - kept.length);
    if (kept.length === 0) return;
    this.#grow(Math.min(this.#end - this.#start, this.#bytesMax) + kept.length);
    const at = this.#end % this.#bytes.length;
    const first = Math.min(kept.length, this.#bytes.length - at);
    kept.copy(this.#bytes, at, 0, first);
    kept.copy(this.#bytes, 0, first);
    this.#end += kept.length;
    this.#start = Math.max(this.#start, this.#end - this.#bytes.length);
  }

  /** A copy of at most `count` bytes from an offset that is covered. */
  slice(offset: number, count: number): Buffer {
    const length = Math.min(count, this.#end - offset);
    const copy = Buffer.allocUnsafe(length);
    if (length === 0) return copy;
    const at = offset % this.#bytes.length;
    const first = Math.min(length, this.#bytes.length - at);
    this.#bytes.copy(copy, 0, at, at + first);
    this.#bytes.copy(copy, first, 0, length - first);
    return copy;
  }

  /** Begins anew at an offset. */
  reset(offset: number): void {
    this.#bytes = Buffer.alloc(0);
    this.#start = offset;
    this.#end = offset;
  }

  #grow(needed: number): void {
    if (needed <= this.#bytes.length || this.#bytes.length === this.#bytesMax) return;
    let size = Math.max(firstBytes, this.#bytes.length);
    while (size < needed) size *= 2;
    size = Math.min(size, this.#bytesMax);
    const start = Math.max(this.#start, this.#end - size);
    const old = this.slice(start, this.#end - start);
    this.#bytes = Buffer.allocUnsafe(size);
    const at = start % size;
    const first = Math.min(old.length, size - at);
    old.copy(this.#bytes, at, 0, first);
    old.copy(this.#bytes, 0, first);
    this.#start = start;
  }
}
