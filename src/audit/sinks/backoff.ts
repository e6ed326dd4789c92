export type RetryTimes = { readonly firstRetryMs: number; readonly mostRetryMs: number };

/**
 * How long to wait before the next try: twice as long after each failure, up to a bound, and of that a random part of at
 * least a half, so that many who wait for the same receiver do not come at once.
 */
export class Backoff {
  readonly #times: RetryTimes;
  readonly #random: () => number;
  #failures = 0;

  constructor(times: RetryTimes, random: () => number) {
    this.#times = times;
    this.#random = random;
  }

  next(): number {
    const { firstRetryMs, mostRetryMs } = this.#times;
    const fullMs = Math.min(mostRetryMs, firstRetryMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return fullMs * (0.5 + this.#random() / 2);
  }

  reset(): void {
    this.#failures = 0;
  }
}
