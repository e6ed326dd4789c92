import type { Clock } from '../../base/clock.ts';
import { attachLimits } from '../../contract/attach.ts';

/** Counts one client's control frames, a second at a time. */
export class FrameRate {
  readonly #clock: Clock;
  #since = Number.NEGATIVE_INFINITY;
  #count = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether one more is within what a client may send. */
  admits(): boolean {
    const now = this.#clock.monotonic();
    if (now - this.#since >= 1_000) {
      this.#since = now;
      this.#count = 0;
    }
    this.#count += 1;
    return this.#count <= attachLimits.controlFramesPerSecondMax;
  }
}
