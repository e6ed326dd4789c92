import { setTimeout as delay } from 'node:timers/promises';
import {
  CompiledQuery,
  type DatabaseConnection,
  type Driver,
  SqliteAdapter,
  SqliteDialect,
  type SqliteDialectConfig,
  SqliteDriver,
} from 'kysely';
import { Fault } from '../../contract/faults.ts';
import { storeLimits } from '../limits.ts';

/**
 * SQLite whose transactions take the lock for writing as they begin. So what a transaction reads is what it writes on
 * top of, whichever other process writes too. It waits for the lock at most `waitMs` and without holding up the
 * event loop, on which the lock's holder may be.
 */
export class WaitingSqliteDialect extends SqliteDialect {
  readonly #config: SqliteDialectConfig;
  readonly #waitMs: number;

  constructor(config: SqliteDialectConfig, waitMs: number = storeLimits.busyTimeoutMs) {
    super(config);
    this.#config = config;
    this.#waitMs = waitMs;
  }

  override createDriver(): Driver {
    return new WaitingSqliteDriver(this.#config, this.#waitMs);
  }

  override createAdapter(): SqliteAdapter {
    return new TransactionalSqliteAdapter();
  }
}

class WaitingSqliteDriver extends SqliteDriver {
  readonly #waitMs: number;

  constructor(config: SqliteDialectConfig, waitMs: number) {
    super(config);
    this.#waitMs = waitMs;
  }

  override beginTransaction(connection: DatabaseConnection): Promise<void> {
    return whenFree(this.#waitMs, async () => {
      await connection.executeQuery(CompiledQuery.raw('begin immediate'));
    });
  }
}

/** Tables are made in transactions like rows (lang_transaction.html); kysely does not say so of SQLite. */
class TransactionalSqliteAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

/** Does what others' locks may stand in the way of, again until none does or `waitMs` are over. */
export async function whenFree(waitMs: number, act: () => Promise<void> | void): Promise<void> {
  for (let waitedMs = 0; ; waitedMs += storeLimits.busyRetryMs) {
    try {
      await act();
      return;
    } catch (error) {
      if (!isBusy(error) || waitedMs >= waitMs) throw error;
      await delay(storeLimits.busyRetryMs);
    }
  }
}

function isBusy(error: unknown): boolean {
  const cause = error instanceof Fault ? error.cause : error;
  const code = (cause as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' && /^SQLITE_BUSY(?:_|$)/.test(code);
}
