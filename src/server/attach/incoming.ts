import type { ClientFrame } from '../../contract/attach.ts';
import type { AttachConnection } from '../../control/attach/attach.ts';
import { attachServerLimits } from './limits.ts';

/** What one client said and control has not taken yet, in its order; one thing at a time is with control. */
export class Incoming {
  readonly #connection: Pick<AttachConnection, 'input' | 'control'>;
  readonly #onFailure: (error: unknown) => void;
  readonly #onRoom: () => void;
  #waiting: (Buffer | ClientFrame)[] = [];
  #inputBytes = 0;
  #isBusy = false;

  /** `onRoom` is called whenever everything was taken; `onFailure` once control fails, and then nothing more is. */
  constructor(options: {
    connection: Pick<AttachConnection, 'input' | 'control'>;
    onRoom: () => void;
    onFailure: (error: unknown) => void;
  }) {
    this.#connection = options.connection;
    this.#onRoom = options.onRoom;
    this.#onFailure = options.onFailure;
  }

  /** Whether so much waits that nothing more is to be read from the client. */
  get isFull(): boolean {
    return (
      this.#inputBytes >= attachServerLimits.inputBytesMax ||
      this.#waiting.length >= attachServerLimits.inputFramesMax
    );
  }

  add(said: Buffer | ClientFrame): void {
    if (Buffer.isBuffer(said) && said.length === 0) return;
    this.#waiting.push(said);
    if (Buffer.isBuffer(said)) this.#inputBytes += said.length;
    if (!this.#isBusy) void this.#work();
  }

  /** What waits is never taken. */
  drop(): void {
    this.#waiting = [];
    this.#inputBytes = 0;
  }

  async #work(): Promise<void> {
    this.#isBusy = true;
    try {
      while (this.#waiting.length > 0) {
        const next = this.#next();
        if (Buffer.isBuffer(next)) await this.#connection.input(next);
        else await this.#connection.control(next);
      }
    } catch (error) {
      this.drop();
      this.#onFailure(error);
    }
    this.#isBusy = false;
    this.#onRoom();
  }

  /** Input that came in a row is one piece, so that many small frames cost control little. */
  #next(): Buffer | ClientFrame {
    const first = this.#waiting[0]!;
    if (!Buffer.isBuffer(first)) {
      this.#waiting.shift();
      return first;
    }
    let end = 1;
    let bytes = first.length;
    for (; end < this.#waiting.length; end += 1) {
      const next = this.#waiting[end]!;
      if (!Buffer.isBuffer(next) || bytes + next.length > attachServerLimits.inputBytesMax) break;
      bytes += next.length;
    }
    const parts = this.#waiting.splice(0, end) as Buffer[];
    this.#inputBytes -= bytes;
    return parts.length === 1 ? first : Buffer.concat(parts, bytes);
  }
}
