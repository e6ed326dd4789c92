import { setTimeout as delay } from 'node:timers/promises';
import { CompiledQuery, type DatabaseConnection, type Driver, SqliteDialect, SqliteDriver } from 'kysely';
import { Fault } from '../../contract/faults.ts';
import { storeLimits } from '../limits.ts';

/**
 * SQLite whose transactions take the lock for writing as they begin. So what a transaction reads is what it writes on
 * top of, whichever other process writes too. It waits for the lock at most `busyTimeoutMs` and without holding up the
 * event loop, on which the lock's holder may be.
 */
export class WaitingSqliteDialect extends SqliteDialect {
  readonly #config: ConstructorParameters<typeof SqliteDialect>[0];

  constructor(config: ConstructorParameters<typeof SqliteDialect>[0]) {
    super(config);
    this.#config = config;
  }

  override createDriver(): Driver {
    return new WaitingSqliteDriver(this.#config);
  }
}

class WaitingSqliteDriver extends SqliteDriver {
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    for (let waitedMs = 0; ; waitedMs += storeLimits.busyRetryMs) {
      try {
        await connection.executeQuery(CompiledQuery.raw('begin immediate'));
        return;
      } catch (error) {
        if (!isBusy(error) || waitedMs >= storeLimits.busyTimeoutMs) throw error;
        await delay(storeLimits.busyRetryMs);
      }
    }
  }
}

function isBusy(error: unknown): boolean {
  const cause = error instanceof Fault ? error.cause : error;
  return (cause as { code?: unknown } | undefined)?.code === 'SQLITE_BUSY';
}
