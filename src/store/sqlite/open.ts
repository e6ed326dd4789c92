import { closeSync, fchmodSync, openSync } from 'node:fs';
import SqliteFile from 'better-sqlite3';
import { Kysely, SqliteDialect, sql } from 'kysely';
import { Migrator } from 'kysely/migration';
import { type Clock, systemClock } from '../../base/clock.ts';
import { Fault } from '../../contract/faults.ts';
import { storeLimits } from '../limits.ts';
import { notingChanges } from '../sql/change-queries.ts';
import { claimQueries } from '../sql/claims.ts';
import { flowQueries } from '../sql/flow-queries.ts';
import { GroupCommit } from '../sql/group-commit.ts';
import { identityQueries } from '../sql/identity-queries.ts';
import { migrationProvider } from '../sql/migrations.ts';
import { policyQueries } from '../sql/policy-queries.ts';
import { runQueries } from '../sql/run-queries.ts';
import { sessionQueries } from '../sql/session-queries.ts';
import type { Tables } from '../sql/tables.ts';
import { tokenQueries } from '../sql/token-queries.ts';
import { uploadQueries } from '../sql/upload-queries.ts';
import type { Store } from '../store.ts';
import { WriteBehindFlows } from '../write-behind-flows.ts';
import { preparing } from './prepared.ts';
import { sqliteFault } from './sqlite-fault.ts';
import { WaitingSqliteDialect, whenFree } from './waiting-dialect.ts';

/**
 * The store in one SQLite file (mode 0600), made where absent and migrated where old. Commits are durable
 * (WAL, `synchronous=FULL`). One connection writes; another reads what is committed, so a point read never
 * waits for a transaction in progress. Several processes may open the file, also at once. `clock` stamps what is
 * written without a time of its caller's. Freed pages are overwritten, because environments may hold secrets.
 *
 * Throws Fault `store.unavailable` with what to do where the file cannot be opened, is no database or was
 * written by a newer version.
 */
export async function openSqliteStore(options: { file: string; clock?: Clock }): Promise<Store> {
  const { file, clock = systemClock } = options;
  const writeFile = await openFile(file);
  try {
    await migrate(writeFile);
  } catch (error) {
    writeFile.close();
    throw error;
  }
  const writer = new Kysely<Tables>({
    dialect: new WaitingSqliteDialect({ database: preparing(writeFile) }),
  });
  const readFile = new SqliteFile(file, { timeout: storeLimits.busyTimeoutMs });
  readFile.pragma('query_only = ON');
  const reader = new Kysely<Tables>({ dialect: new SqliteDialect({ database: preparing(readFile) }) });
  const commits = new GroupCommit(writer);
  const note = notingChanges(clock);
  const flows = new WriteBehindFlows(flowQueries(reader, commits));
  return {
    sessions: sessionQueries(reader, commits),
    runs: runQueries(reader, commits),
    uploads: uploadQueries(reader, commits),
    tokens: tokenQueries(reader, commits, note),
    policies: policyQueries(reader, commits),
    flows,
    identity: identityQueries(reader, commits, { note, clock }),
    idempotency: claimQueries(reader, commits),
    check: () => check(reader, commits),
    close: async () => {
      await flows.settled();
      await commits.settled();
      await reader.destroy();
      await writer.destroy();
    },
  };
}

/** Its connection never waits by itself: the dialect does, and lets the event loop go on. */
async function openFile(file: string): Promise<SqliteFile.Database> {
  let database: SqliteFile.Database | undefined;
  try {
    const fd = openSync(file, 'a', 0o600);
    fchmodSync(fd, 0o600);
    closeSync(fd);
    const opened = new SqliteFile(file, { timeout: 0 });
    database = opened;
    await whenFree(storeLimits.busyTimeoutMs, () => configure(opened));
    return database;
  } catch (error) {
    database?.close();
    throw sqliteFault(error) ?? openFault(error);
  }
}

function configure(database: SqliteFile.Database): void {
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.pragma('foreign_keys = ON');
  database.pragma('secure_delete = ON');
}

function openFault(error: unknown): Fault {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
  return new Fault('store.unavailable', {
    detail: `The store's file cannot be opened (${code}). Check that its folder exists and belongs to this user.`,
    cause: error,
  });
}

/**
 * All steps in one transaction, which one process has at a time: the others wait and find nothing left to do, and one
 * that is killed leaves the schema as it was.
 */
async function migrate(file: SqliteFile.Database): Promise<void> {
  const dialect = new WaitingSqliteDialect({ database: preparing(file) }, storeLimits.migrationWaitMs);
  try {
    await new Kysely<Tables>({ dialect }).transaction().execute(async (db) => {
      const { error } = await new Migrator({ db, provider: migrationProvider }).migrateToLatest();
      if (error !== undefined) throw error;
    });
  } catch (error) {
    throw migrationFault(error);
  }
}

function migrationFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const newer = error instanceof Error && error.message.startsWith('corrupted migrations');
  return new Fault('store.unavailable', {
    detail: newer
      ? 'The store was written by a newer version of Sealwright. Start that version, or restore a backup.'
      : 'The store could not be brought to the present schema. Restore a backup, or report this as a bug.',
    cause: error,
  });
}

async function check(reader: Kysely<Tables>, commits: GroupCommit): Promise<void> {
  await sql`select count(*) from kysely_migration`.execute(reader);
  await commits.do((db) => sql`update kysely_migration_lock set is_locked = is_locked`.execute(db));
}
