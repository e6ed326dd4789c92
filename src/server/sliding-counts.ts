import type { Clock } from '../base/clock.ts';
import { serverLimits } from './limits.ts';
import type { SharedCounts } from './rates.ts';

const windowMs = serverLimits.rateWindowSeconds * 1000;

type Count = {
  readonly limit: number;
  /** The number of the window, since the epoch: the same in every process. */
  window: number;
  /** Allowed in this window and in the one before, by this process and by others as far as is known. */
  now: number;
  before: number;
  /** Of `now`, what no other process was told yet. */
  untold: number;
};

/**
 * Counts by key in a window that slides: what was counted in the window before fades as this one goes on, so there is
 * no moment at which everybody may ask twice as much. What is refused is not counted.
 */
export class SlidingCounts {
  readonly #options: {
    readonly clock: Clock;
    readonly shared: SharedCounts | null;
    readonly onError: (error: unknown) => void;
  };
  /** In the order in which they were last begun anew; the oldest goes first. */
  readonly #counts = new Map<string, Count>();
  /** Those of which other processes are to be told. */
  readonly #due = new Map<string, Count>();
  readonly #timer: NodeJS.Timeout;
  #exchanging: Promise<void> | null = null;

  constructor(options: {
    clock: Clock;
    shared: SharedCounts | null;
    onError: (error: unknown) => void;
  }) {
    this.#options = options;
    this.#timer = setInterval(() => this.#beat(), serverLimits.rateExchangeMs);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Null where one more is allowed, and counted; else how long until it would be. */
  spend(key: string, limit: number): number | null {
    const time = this.#options.clock.now();
    const count = this.#current(key, limit, time);
    const waitMs = waitFor(count, time);
    if (waitMs !== null) return waitMs;
    count.now += 1;
    count.untold += 1;
    // What is far from its limit is no other process's concern: ordinary use costs the store nothing.
    const share = Math.max(1, limit / serverLimits.rateShare);
    if (count.now + count.before >= share) this.#due.set(key, count);
    // Soon enough that processes which are asked in turns do not each allow all of it.
    if (count.untold >= share) this.#exchange();
    return null;
  }

  /** The same for what all processes together allow exactly: it waits for the store, where that can be had. */
  async spendTogether(key: string, limit: number): Promise<number | null> {
    const { clock, shared, onError } = this.#options;
    const time = clock.now();
    const count = this.#current(key, limit, time);
    const waitMs = waitFor(count, time);
    if (waitMs !== null) return waitMs;
    count.now += 1;
    if (shared === null) return null;
    const { window, before } = count;
    try {
      const [total = 0] = await shared.add([{ key: `${key} ${window}`, by: 1 }], endOf(window));
      count.now = Math.max(count.now, total);
      // This one is in the total.
      return waitFor({ limit, window, before, now: total - 1 }, time);
    } catch (error) {
      onError(error);
      return null;
    }
  }

  #beat(): void {
    const window = windowOf(this.#options.clock.now());
    for (const [key, count] of this.#counts) {
      if (count.window >= window - 1) break;
      this.#counts.delete(key);
    }
    this.#exchange();
  }

  #current(key: string, limit: number, time: number): Count {
    const window = windowOf(time);
    const known = this.#counts.get(key);
    if (known !== undefined && known.window >= window) return known;
    const before = known !== undefined && known.window === window - 1 ? known.now : 0;
    const count = { limit, window, now: 0, before, untold: 0 };
    this.#counts.delete(key);
    this.#counts.set(key, count);
    if (this.#counts.size > serverLimits.rateKeysMax) this.#counts.delete(this.#counts.keys().next().value!);
    return count;
  }

  #exchange(): void {
    if (this.#options.shared === null || this.#exchanging !== null || this.#due.size === 0) return;
    const due = [...this.#due].slice(0, serverLimits.rateExchangeKeysMax);
    for (const [key] of due) this.#due.delete(key);
    this.#exchanging = this.#tell(due)
      .catch((error: unknown) => {
        // Told with the next ones, unless it is no longer of use by then.
        for (const [key, count] of due) if (this.#counts.get(key) === count) this.#due.set(key, count);
        this.#options.onError(error);
      })
      .finally(() => {
        this.#exchanging = null;
      });
  }

  async #tell(due: readonly (readonly [string, Count])[]): Promise<void> {
    const { shared } = this.#options;
    if (shared === null) return;
    const told = due.map(([, { untold }]) => untold);
    const counts = due.map(([key, { window }], index) => ({ key: `${key} ${window}`, by: told[index]! }));
    const endsAt = endOf(Math.max(...due.map(([, { window }]) => window)));
    for (const [, count] of due) count.untold = 0;
    try {
      const totals = await shared.add(counts, endsAt);
      // What this process allowed meanwhile is not in the total yet.
      for (const [index, [, count]] of due.entries())
        count.now = Math.max(count.now, totals[index]! + count.untold);
    } catch (error) {
      for (const [index, [, count]] of due.entries()) count.untold += told[index]!;
      throw error;
    }
  }
}

function windowOf(time: number): number {
  return Math.floor(time / windowMs);
}

/** When nobody asks for the counts of a window any more. */
function endOf(window: number): number {
  return (window + 2) * windowMs;
}

/** How long until one more would be within the limit; null where it is now. */
function waitFor({ limit, window, now, before }: Omit<Count, 'untold'>, time: number): number | null {
  const elapsed = Math.max(0, (time + 1) / windowMs - window);
  if (Math.floor(before * Math.max(0, 1 - elapsed)) + now + 1 <= limit) return null;
  // Within this window, while what was before fades; else in the next, while this one does.
  const ratio = now < limit ? 1 - (limit - now) / before : 1 + Math.max(0, 1 - limit / now);
  return Math.max(1, Math.ceil((ratio - elapsed) * windowMs));
}
