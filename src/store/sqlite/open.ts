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
import { WaitingSqliteDialect } from './waiting-dialect.ts';

/**
 * The store in one SQLite file (mode 0600), made where absent and migrated where old. Commits are durable
 * (WAL, `synchronous=FULL`). One connection writes; another reads what is committed, so a point read never
 * waits for a transaction in progress. Several processes may have the file open. `clock` stamps what is written without
 * a time of its caller's. Freed pages are overwritten, because environments may hold secrets.
 *
 * Throws Fault `store.unavailable` with what to do where the file cannot be opened, is no database or was
 * written by a newer version.
 */
export async function openSqliteStore(options: { file: string; clock?: Clock }): Promise<Store> {
  const { file, clock = systemClock } = options;
  const writeFile = openFile(file);
  const writer = new Kysely<Tables>({
    dialect: new WaitingSqliteDialect({ database: preparing(writeFile) }),
  });
  try {
    await migrate(writer);
  } catch (error) {
    writeFile.close();
    throw error;
  }
  // From here on the dialect waits in its place.
  writeFile.pragma('busy_timeout = 0');
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

function openFile(file: string): SqliteFile.Database {
  try {
    const fd = openSync(file, 'a', 0o600);
    fchmodSync(fd, 0o600);
    closeSync(fd);
    const database = new SqliteFile(file, { timeout: storeLimits.busyTimeoutMs });
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    database.pragma('secure_delete = ON');
    return database;
  } catch (error) {
    throw sqliteFault(error) ?? openFault(error);
  }
}

function openFault(error: unknown): Fault {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
  return new Fault('store.unavailable', {
    detail: `The store's file cannot be opened (${code}). Check that its folder exists and belongs to this user.`,
    cause: error,
  });
}

async function migrate(db: Kysely<Tables>): Promise<void> {
  const { error } = await new Migrator({ db, provider: migrationProvider }).migrateToLatest();
  if (error === undefined) return;
  if (error instanceof Fault) throw error;
  const newer = error instanceof Error && error.message.startsWith('corrupted migrations');
  throw new Fault('store.unavailable', {
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
