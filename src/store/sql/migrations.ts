import { type Kysely, sql } from 'kysely';
import type { Migration, MigrationProvider } from 'kysely/migration';
import { identity } from './identity-migration.ts';
import { teamOwnership } from './ownership-migration.ts';
import type { Tables } from './tables.ts';

/**
 * The schema, step by step. Names sort in the order of execution; a step that was released never changes.
 * `live` indexes are partial: their size follows the work in hand, not the history.
 */
const migrations: Record<string, Migration> = {
  '0001-foundation': { up: foundation },
  '0002-egress': { up: egress },
  '0003-egress-by-session': { up: egressBySession },
  '0004-identity': { up: identity },
  '0005-team-ownership': { up: teamOwnership },
  '0006-attach': { up: attach },
};

export const migrationProvider: MigrationProvider = { getMigrations: async () => migrations };

async function foundation(db: Kysely<Tables>): Promise<void> {
  await sessions(db);
  await runs(db);
  await uploads(db);
  await tokens(db);
  await idempotency(db);
}

async function sessions(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('sessions')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('name', 'text')
    .addColumn('phase', 'text', (column) => column.notNull())
    .addColumn('owner', 'text', (column) => column.notNull())
    .addColumn('repo', 'text')
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('closed_at', 'bigint')
    .addColumn('version', 'integer', (column) => column.notNull())
    .execute();
  await db.schema.createIndex('sessions_by_age').on('sessions').columns(['created_at', 'id']).execute();
  await db.schema
    .createIndex('sessions_by_owner')
    .on('sessions')
    .columns(['owner', 'created_at', 'id'])
    .execute();
  await db.schema
    .createIndex('sessions_open')
    .on('sessions')
    .columns(['owner', 'phase'])
    .where(sql<boolean>`phase <> 'closed'`)
    .execute();
}

async function runs(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('runs')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('session', 'text', (column) => column.notNull().references('sessions.id'))
    .addColumn('parent', 'text')
    .addColumn('name', 'text')
    .addColumn('owner', 'text', (column) => column.notNull())
    .addColumn('priority', 'integer', (column) => column.notNull())
    .addColumn('phase', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('starting_at', 'bigint')
    .addColumn('running_at', 'bigint')
    .addColumn('finished_at', 'bigint')
    .addColumn('cause', 'text')
    .addColumn('reason', 'text')
    .addColumn('exit_code', 'integer')
    .addColumn('exit_signal', 'text')
    .addColumn('stop_requested_at', 'bigint')
    .addColumn('held_by', 'text')
    .addColumn('usage', 'text')
    .addColumn('artifacts', 'text', (column) => column.notNull())
    .addColumn('files_expired', 'integer', (column) => column.notNull())
    .addColumn('removed_at', 'bigint')
    .addColumn('version', 'integer', (column) => column.notNull())
    .addColumn('spec', 'text', (column) => column.notNull())
    .addColumn('env', 'text')
    .execute();
  await runIndexes(db);
}

async function runIndexes(db: Kysely<Tables>): Promise<void> {
  await db.schema.createIndex('runs_by_age').on('runs').columns(['created_at', 'id']).execute();
  await db.schema.createIndex('runs_by_owner').on('runs').columns(['owner', 'created_at', 'id']).execute();
  await db.schema
    .createIndex('runs_by_session')
    .on('runs')
    .columns(['session', 'created_at', 'id'])
    .execute();
  await db.schema
    .createIndex('runs_live_by_owner')
    .on('runs')
    .columns(['owner'])
    .where(sql<boolean>`finished_at is null`)
    .execute();
  await db.schema
    .createIndex('runs_live_by_session')
    .on('runs')
    .columns(['session'])
    .where(sql<boolean>`finished_at is null`)
    .execute();
  await db.schema
    .createIndex('runs_with_files')
    .on('runs')
    .columns(['finished_at'])
    .where(sql<boolean>`files_expired = 0 and finished_at is not null`)
    .execute();
  await db.schema.createIndex('runs_by_phase').on('runs').columns(['phase']).execute();
}

async function uploads(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('uploads')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('owner', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('bytes', 'bigint')
    .addColumn('sha256', 'text')
    .addColumn('session', 'text', (column) => column.references('sessions.id'))
    .execute();
  await db.schema.createIndex('uploads_by_age').on('uploads').columns(['created_at']).execute();
}

async function tokens(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('tokens')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('scopes', 'text', (column) => column.notNull())
    .addColumn('reach', 'text', (column) => column.notNull())
    .addColumn('hash', 'text', (column) => column.notNull().unique())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint')
    .addColumn('last_used_at', 'bigint')
    .addColumn('revoked_at', 'bigint')
    .execute();
  await db.schema.createIndex('tokens_by_age').on('tokens').columns(['created_at', 'id']).execute();
}

async function idempotency(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('idempotency')
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('key', 'text', (column) => column.notNull())
    .addColumn('digest', 'text', (column) => column.notNull())
    .addColumn('resource', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('idempotency_key', ['actor', 'key'])
    .execute();
  await db.schema.createIndex('idempotency_by_age').on('idempotency').columns(['created_at']).execute();
}

/** What a session's runs may reach, and the runs of an owner that still have their flows. */
async function egressBySession(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .alterTable('sessions')
    .addColumn('egress_names', 'text', (column) => column.notNull().defaultTo('[]'))
    .execute();
  await db.schema.alterTable('sessions').addColumn('egress_reason', 'text').execute();
  await db.schema
    .createIndex('runs_with_files_by_owner')
    .on('runs')
    .columns(['owner', 'finished_at', 'id'])
    .where(sql<boolean>`files_expired = 0 and finished_at is not null`)
    .execute();
}

/** Sessions from before have attaching off, and runs from before have no terminal. */
async function attach(db: Kysely<Tables>): Promise<void> {
  await db.schema.alterTable('sessions').addColumn('attach', 'text').execute();
  await db.schema.alterTable('runs').addColumn('terminal', 'text').execute();
}

async function egress(db: Kysely<Tables>): Promise<void> {
  await runsEgress(db);
  await policies(db);
  await flows(db);
}

/** Runs from before have asked for nothing, so that is what they reach. */
async function runsEgress(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .alterTable('runs')
    .addColumn('egress_names', 'text', (column) => column.notNull().defaultTo('[]'))
    .execute();
  await db.schema.alterTable('runs').addColumn('egress_reason', 'text').execute();
  await db.schema
    .alterTable('runs')
    .addColumn('egress_generation', 'integer', (column) => column.notNull().defaultTo(1))
    .execute();
}

async function policies(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('policies')
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('generation', 'integer', (column) => column.notNull())
    .addColumn('current', 'integer', (column) => column.notNull())
    .addColumn('document', 'text')
    .addColumn('author', 'text', (column) => column.notNull())
    .addColumn('reason', 'text')
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('policies_key', ['name', 'generation'])
    .execute();
  await db.schema
    .createIndex('policies_current')
    .unique()
    .on('policies')
    .columns(['name'])
    .where(sql<boolean>`current = 1`)
    .execute();
}

async function flows(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('flows')
    .addColumn('run', 'text', (column) => column.notNull().references('runs.id'))
    .addColumn('id', 'bigint', (column) => column.notNull())
    .addColumn('at', 'bigint', (column) => column.notNull())
    .addColumn('host', 'text')
    .addColumn('address', 'text')
    .addColumn('port', 'integer', (column) => column.notNull())
    .addColumn('protocol', 'text')
    .addColumn('method', 'text')
    .addColumn('path', 'text')
    .addColumn('verdict', 'text', (column) => column.notNull())
    .addColumn('rule', 'text')
    .addColumn('denial', 'text')
    .addColumn('generation', 'integer', (column) => column.notNull())
    .addColumn('count', 'integer', (column) => column.notNull())
    .addColumn('ended_at', 'bigint')
    .addColumn('bytes_out', 'bigint')
    .addColumn('bytes_in', 'bigint')
    .addColumn('outcome', 'text')
    .addPrimaryKeyConstraint('flows_key', ['run', 'id'])
    .execute();
  await db.schema
    .createIndex('flows_denied')
    .on('flows')
    .columns(['run', 'id'])
    .where(sql<boolean>`verdict = 'denied'`)
    .execute();
}
