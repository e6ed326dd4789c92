import { localLimits } from './limits.ts';
import type { Prepared } from './prepared.ts';

/** Starts kept ready. Each is used once; one that died or grew old meanwhile is never handed out. */
export class PreparedPool {
  readonly #make: () => Promise<Prepared>;
  readonly #size: number;
  readonly #ready: Prepared[] = [];
  #timer: NodeJS.Timeout | null = null;
  #refilling: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(make: () => Promise<Prepared>, size: number) {
    this.#make = make;
    this.#size = size;
  }

  /** Rejects when a start cannot be prepared, with the reason. */
  async take(): Promise<Prepared> {
    for (;;) {
      // For each one that is gone: the others may have been made up for while an old one was thrown away.
      this.#refillIn(localLimits.refillDelayMs);
      const next = this.#ready.shift();
      if (next === undefined) return await this.#make();
      if (next.isUsable()) return next;
      await next.discard();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#refilling;
    await Promise.all(this.#ready.splice(0).map((prepared) => prepared.discard()));
  }

  /** Not at once, so that preparing does not crowd out what is asked for now. */
  #refillIn(delayMs: number): void {
    if (this.#closed || this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#refilling = this.#refill().then((isWhole) => {
        this.#timer = null;
        // One may have been taken since, or have failed.
        if (this.#ready.length < this.#size)
          this.#refillIn(isWhole ? localLimits.refillDelayMs : localLimits.refillRetryMs);
      });
    }, delayMs);
  }

  /** One after the other; false where one failed, so that what is left is tried again later. */
  async #refill(): Promise<boolean> {
    while (!this.#closed && this.#ready.length < this.#size) {
      const prepared = await this.#make().catch(() => null);
      if (prepared === null) return false;
      this.#ready.push(prepared);
    }
    return true;
  }
}
