import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Kysely, Transaction } from 'kysely';
import { storeLimits } from '../limits.ts';
import type { Tables } from './tables.ts';

type Work<T> = (db: Transaction<Tables>) => Promise<T>;
type Entry = { readonly run: Work<unknown>; resolve(value: unknown): void; reject(error: unknown): void };

/**
 * Many writes, one commit: a commit costs an fsync however much it carries. Works are done one after another in
 * the order of their calls, and each resolves once the commit that holds it is durable. Where one throws, its
 * batch is rolled back and each of it is done anew on its own, so that a failure stays with its cause.
 */
export class GroupCommit {
  readonly #db: Kysely<Tables>;
  #pending: Entry[] = [];
  #draining: Promise<void> | null = null;

  constructor(db: Kysely<Tables>) {
    this.#db = db;
  }

  do<T>(work: Work<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#pending.push({ run: work, resolve: resolve as Entry['resolve'], reject });
    this.#draining ??= this.#drain();
    return promise;
  }

  /** Resolves once nothing waits for a commit. */
  async settled(): Promise<void> {
    while (this.#draining !== null) await this.#draining;
  }

  /** A turn of the event loop before each batch lets in those whom one audit fsync released together. */
  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      await nextTurn();
      const batch = this.#pending.splice(0, storeLimits.batchWritesMax);
      if (await this.#commit(batch)) continue;
      for (const entry of batch) await this.#commit([entry]);
    }
    this.#draining = null;
  }

  /** False where the batch was rolled back and nobody was told. */
  async #commit(batch: readonly Entry[]): Promise<boolean> {
    try {
      const results = await this.#db.transaction().execute(async (db) => {
        const done: unknown[] = [];
        for (const { run } of batch) done.push(await run(db));
        return done;
      });
      for (const [index, { resolve }] of batch.entries()) resolve(results[index]);
      return true;
    } catch (error) {
      if (batch.length > 1) return false;
      batch[0]?.reject(error);
      return true;
    }
  }
}
