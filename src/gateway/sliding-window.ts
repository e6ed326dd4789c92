/** Times are forgotten in steps of this many, as each step moves those that stay. */
const forgottenAtOnce = 1_024;

/** Counts what happened in the time just past, exactly: a bound on it holds for every stretch of that length. */
export class SlidingWindow {
  readonly #lengthMs: number;
  #times: number[] = [];
  /** How many of the times are past already. */
  #past = 0;

  constructor(lengthMs: number) {
    this.#lengthMs = lengthMs;
  }

  /**
   * 0 where fewer than `most` are in the window at `now`, and then one more is; else the milliseconds until that is so.
   * `now` never goes back. Keeps no more times than were let through in one window.
   */
  take(most: number, now: number): number {
    while (this.#past < this.#times.length && this.#times[this.#past]! + this.#lengthMs <= now)
      this.#past += 1;
    if (this.#past >= forgottenAtOnce && this.#past * 2 >= this.#times.length) {
      this.#times = this.#times.slice(this.#past);
      this.#past = 0;
    }
    if (this.#times.length - this.#past >= most)
      return this.#times[this.#times.length - most]! + this.#lengthMs - now;
    this.#times.push(now);
    return 0;
  }
}
