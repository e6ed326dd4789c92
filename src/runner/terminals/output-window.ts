import { attachLimits } from '../../contract/attach.ts';

const firstBytes = 16 * 1024;

/** The newest bytes of a terminal's output by their offsets from its beginning; older ones are gone. */
export class OutputWindow {
  readonly #bytesMax: number;
  #ring: Buffer;
  #end = 0;
  #size = 0;

  constructor(bytesMax: number = attachLimits.resumeBytesMax) {
    this.#bytesMax = bytesMax;
    this.#ring = Buffer.allocUnsafeSlow(Math.min(firstBytes, bytesMax));
  }

  /** Offset of the oldest byte that is here. */
  get start(): number {
    return this.#end - this.#size;
  }

  /** Offset behind the newest byte. */
  get end(): number {
    return this.#end;
  }

  append(bytes: Buffer): void {
    const kept = bytes.subarray(-this.#bytesMax);
    this.#grow(kept.length);
    this.#end += bytes.length;
    this.#size = Math.min(this.#size + bytes.length, this.#ring.length);
    const at = (this.#end - kept.length) % this.#ring.length;
    const first = kept.copy(this.#ring, at);
    kept.copy(this.#ring, 0, first);
  }

  /** A copy of at most `bytesMax` bytes from an offset on that is here. */
  read(from: number, bytesMax: number): Buffer {
    const length = Math.min(bytesMax, this.#end - from);
    const bytes = Buffer.allocUnsafe(length);
    const at = from % this.#ring.length;
    const first = this.#ring.copy(bytes, 0, at, Math.min(at + length, this.#ring.length));
    this.#ring.copy(bytes, first, 0, length - first);
    return bytes;
  }

  /** The newest bytes, at most `bytesMax`. */
  tail(bytesMax: number): Buffer {
    return this.read(Math.max(this.start, this.#end - bytesMax), bytesMax);
  }

  /** Doubles while what is here would be overwritten and more may be kept: a quiet terminal takes little memory. */
  #grow(more: number): void {
    let length = this.#ring.length;
    while (length < this.#size + more && length < this.#bytesMax) length *= 2;
    length = Math.min(length, this.#bytesMax);
    if (length === this.#ring.length) return;
    const kept = this.tail(this.#size);
    const start = this.start;
    this.#ring = Buffer.allocUnsafeSlow(length);
    const first = kept.copy(this.#ring, start % length);
    kept.copy(this.#ring, 0, first);
  }
}
