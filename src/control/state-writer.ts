import { setTimeout as pause } from 'node:timers/promises';
import { storeLimits } from '../store/limits.ts';
import type { RunStore, RunWrite, RunWritten } from '../store/store.ts';

type Pending = {
  readonly write: RunWrite;
  readonly resolve: (written: RunWritten) => void;
  readonly reject: (error: unknown) => void;
};

/**
 * Changes of runs' states, in the order of the calls and many to a commit: what arrives while one commit is
 * being made shares the next.
 */
export class StateWriter {
  readonly #runs: RunStore;
  #pending: Pending[] = [];
  #urgent = Promise.withResolvers<void>();
  #draining: Promise<void> | null = null;

  constructor(runs: RunStore) {
    this.#runs = runs;
  }

  /** Resolves once the change is durable or refused. It may wait up to `lingerMs` for others to come along. */
  write(write: RunWrite, lingerMs = 0): Promise<RunWritten> {
    const { promise, resolve, reject } = Promise.withResolvers<RunWritten>();
    this.#pending.push({ write, resolve, reject });
    if (lingerMs === 0) this.#urgent.resolve();
    this.#draining ??= this.#drain(lingerMs);
    return promise;
  }

  async close(): Promise<void> {
    this.#urgent.resolve();
    while (this.#draining !== null) await this.#draining;
  }

  async #drain(lingerMs: number): Promise<void> {
    if (lingerMs > 0) await Promise.race([this.#urgent.promise, pause(lingerMs, undefined, { ref: false })]);
    while (this.#pending.length > 0) {
      const batch = this.#pending.splice(0, storeLimits.batchWritesMax);
      await this.#commit(batch);
    }
    this.#urgent = Promise.withResolvers<void>();
    this.#draining = null;
  }

  async #commit(batch: readonly Pending[]): Promise<void> {
    try {
      const written = await this.#runs.write(batch.map(({ write }) => write));
      for (const [index, { resolve }] of batch.entries()) resolve(written[index]!);
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
