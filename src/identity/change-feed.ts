import type { Clock } from '../base/clock.ts';
import type { Change, ChangeStore } from '../store/identity-store.ts';
import { identityLimits } from './limits.ts';

/**
 * What changed in the store, whoever changed it: this process or another on the same store. Everything that identity
 * and access keep in memory is dropped by it, and live streams are authorized again.
 */
export type ChangeFeed = {
  /** Whether what is kept in memory may be believed: the last look at the store was a moment ago. */
  readonly isFresh: boolean;
  /** Listeners are called in the order of the changes, and must not throw. */
  on(listener: (change: Change) => void): () => void;
  /** Looks now. After a write of this process, its listeners have run when this resolves. */
  look(): Promise<void>;
  close(): Promise<void>;
};

export type ChangeFeedOptions = {
  readonly store: ChangeStore;
  readonly clock: Clock;
  /** A look that failed; until one succeeds nothing in memory is believed. */
  readonly onError: (error: unknown) => void;
};

/** Looks at once, and then every `changesEveryMs`. */
export async function openChangeFeed(options: ChangeFeedOptions): Promise<ChangeFeed> {
  const feed = new PolledFeed(options, await options.store.last());
  feed.start();
  return feed;
}

class PolledFeed implements ChangeFeed {
  readonly #options: ChangeFeedOptions;
  readonly #listeners = new Set<(change: Change) => void>();
  #seq: number;
  #lookedAt: number;
  #looking: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: ChangeFeedOptions, seq: number) {
    this.#options = options;
    this.#seq = seq;
    this.#lookedAt = options.clock.monotonic();
  }

  get isFresh(): boolean {
    return this.#options.clock.monotonic() - this.#lookedAt <= identityLimits.changesFreshMs;
  }

  start(): void {
    this.#timer = setInterval(() => {
      if (this.#looking === null) this.#begin().catch(this.#options.onError);
    }, identityLimits.changesEveryMs);
    this.#timer.unref();
  }

  on(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async look(): Promise<void> {
    // One that began earlier may have asked the store before the write that this call is about.
    while (this.#looking !== null) await this.#looking.catch(() => undefined);
    await this.#begin();
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#listeners.clear();
    await this.#looking?.catch(() => undefined);
  }

  #begin(): Promise<void> {
    const looking = this.#look().finally(() => {
      this.#looking = null;
    });
    this.#looking = looking;
    return looking;
  }

  async #look(): Promise<void> {
    const { store, clock } = this.#options;
    for (;;) {
      const startedAt = clock.monotonic();
      const changes = await store.since(this.#seq);
      for (const change of changes) {
        this.#seq = change.seq;
        for (const listener of this.#listeners) listener(change);
      }
      if (changes.length > 0) continue;
      this.#lookedAt = startedAt;
      return;
    }
  }
}
