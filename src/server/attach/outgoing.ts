import { type AttachStream, attachLimits, type ServerFrame } from '../../contract/attach.ts';
import { attachServerLimits } from './limits.ts';

/** What one client is still to get: frames in order, of which a few are with the socket and the others wait here. */
export class Outgoing {
  readonly #write: (message: string | Buffer, written: () => void) => void;
  readonly #waiting: (string | Data)[] = [];
  #unwritten = 0;
  #room = new Set<() => void>();

  /** `write` calls back once the message has left for the network. */
  constructor(write: (message: string | Buffer, written: () => void) => void) {
    this.#write = write;
  }

  /** Whether anything waits here or in the socket. */
  get isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#unwritten === 0;
  }

  /** Whether somebody waits for the client to read. */
  get isAwaited(): boolean {
    return this.#room.size > 0;
  }

  /** False where too many frames wait already; it is not kept then. */
  control(frame: ServerFrame): boolean {
    return this.#add(JSON.stringify(frame));
  }

  /** The same; bytes join those before them that wait, so that many small ones are few frames. They are not copied at once. */
  data(stream: AttachStream, bytes: Buffer): boolean {
    for (let rest = bytes; rest.length > 0; ) {
      const last = this.#waiting.at(-1);
      const taken = last instanceof Data && last.stream === stream ? last.take(rest) : 0;
      const left = rest.subarray(taken);
      const frame = left.subarray(0, attachLimits.outputBytesMax);
      if (frame.length > 0 && !this.#add(new Data(stream, frame))) return false;
      rest = left.subarray(frame.length);
    }
    return true;
  }

  /** Resolves once nothing waits here, or nothing is sent any more. */
  drained(): Promise<void> {
    if (this.#waiting.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#room.add(resolve));
  }

  /** What waits is never sent. */
  drop(): void {
    this.#waiting.length = 0;
    this.#giveRoom();
  }

  #add(frame: string | Data): boolean {
    if (this.#waiting.length >= attachLimits.queueFramesMax) return false;
    this.#waiting.push(frame);
    this.#send();
    return true;
  }

  #send(): void {
    while (this.#waiting.length > 0 && this.#unwritten < attachServerLimits.windowBytesMax) {
      const frame = this.#waiting.shift()!;
      const message = frame instanceof Data ? frame.message() : frame;
      this.#unwritten += message.length;
      this.#write(message, () => {
        this.#unwritten -= message.length;
        this.#send();
      });
    }
    if (this.#waiting.length === 0) this.#giveRoom();
  }

  #giveRoom(): void {
    for (const resolve of this.#room) resolve();
    this.#room.clear();
  }
}

/** Bytes of one stream that wait; what joins is copied once, into room that doubles. */
class Data {
  readonly stream: AttachStream;
  #bytes: Buffer;
  #length: number;

  constructor(stream: AttachStream, bytes: Buffer) {
    this.stream = stream;
    this.#bytes = bytes;
    this.#length = bytes.length;
  }

  /** How many of these bytes it took; the others do not fit into one frame with it. */
  take(bytes: Buffer): number {
    const taken = Math.min(bytes.length, attachLimits.outputBytesMax - this.#length);
    if (taken === 0) return 0;
    const needed = this.#length + taken;
    if (needed > this.#bytes.length) this.#grow(needed);
    bytes.copy(this.#bytes, this.#length, 0, taken);
    this.#length = needed;
    return taken;
  }

  /** The binary frame: the stream, then the bytes. */
  message(): Buffer {
    const message = Buffer.allocUnsafe(1 + this.#length);
    message[0] = this.stream;
    this.#bytes.copy(message, 1, 0, this.#length);
    return message;
  }

  #grow(needed: number): void {
    const size = Math.min(attachLimits.outputBytesMax, Math.max(needed, 2 * this.#bytes.length));
    const bytes = Buffer.allocUnsafe(size);
    this.#bytes.copy(bytes, 0, 0, this.#length);
    this.#bytes = bytes;
  }
}
