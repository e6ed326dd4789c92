import type { Continuation } from '../audit/mirror.ts';
import { controlLimits } from './limits.ts';

/** Lines on their way into a mirror, one write after the other, while what follows them is taken into the store already. */
export class MirrorWrites {
  readonly #append: (continuation: Continuation) => Promise<void>;
  #last: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(append: (continuation: Continuation) => Promise<void>) {
    this.#append = append;
  }

  /** Resolves when few enough wait for the disk. Rejects where a write before it was given up. */
  async add(continuation: Continuation): Promise<void> {
    this.#waiting += 1;
    const written = this.#last
      .then(() => this.#append(continuation))
      .finally(() => {
        this.#waiting -= 1;
      });
    written.catch(() => undefined);
    this.#last = written;
    if (this.#waiting >= controlLimits.mirrorWritesMax) await written;
  }

  /** Resolves when everything that was added is durable. */
  async written(): Promise<void> {
    await this.#last;
  }
}
