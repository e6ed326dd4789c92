import { type Kysely, sql } from 'kysely';
import type { Tables } from './tables.ts';

/** What gives rights and takes them away, and the record of what changed. */
export async function rights(db: Kysely<Tables>): Promise<void> {
  await roles(db);
  await accessPolicies(db);
  await elevations(db);
  await signingKeys(db);
  await flags(db);
  await changes(db);
}

async function roles(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('roles')
    .addColumn('name', 'text', (column) => column.primaryKey().notNull())
    .addColumn('description', 'text')
    .addColumn('scopes', 'text', (column) => column.notNull())
    .addColumn('reach', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('removed_at', 'bigint')
    .addColumn('version', 'integer', (column) => column.notNull())
    .execute();
}

async function accessPolicies(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('access_policies')
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('generation', 'integer', (column) => column.notNull())
    .addColumn('current', 'integer', (column) => column.notNull())
    .addColumn('text', 'text')
    .addColumn('author', 'text', (column) => column.notNull())
    .addColumn('reason', 'text')
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('access_policies_key', ['name', 'generation'])
    .execute();
  await db.schema
    .createIndex('access_policies_current')
    .unique()
    .on('access_policies')
    .columns(['name'])
    .where(sql<boolean>`current = 1`)
    .execute();
}

async function elevations(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('elevations')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('user', 'text', (column) => column.notNull())
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('reason', 'text', (column) => column.notNull())
    .addColumn('seconds', 'integer', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('decided_by', 'text')
    .addColumn('decided_at', 'bigint')
    .addColumn('expires_at', 'bigint')
    .execute();
  await db.schema.createIndex('elevations_by_age').on('elevations').columns(['created_at', 'id']).execute();
  await db.schema.createIndex('elevations_by_user').on('elevations').columns(['user', 'state']).execute();
}

async function signingKeys(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('signing_keys')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('use', 'text', (column) => column.notNull())
    .addColumn('public', 'text', (column) => column.notNull())
    .addColumn('sealed', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('retired_at', 'bigint')
    .addColumn('expires_at', 'bigint')
    .execute();
  await db.schema
    .createIndex('signing_keys_current')
    .unique()
    .on('signing_keys')
    .columns(['use'])
    .where(sql<boolean>`retired_at is null`)
    .execute();
}

async function flags(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('flags')
    .addColumn('name', 'text', (column) => column.primaryKey().notNull())
    .addColumn('rule', 'text', (column) => column.notNull())
    .addColumn('author', 'text', (column) => column.notNull())
    .addColumn('changed_at', 'bigint', (column) => column.notNull())
    .addColumn('removed_at', 'bigint')
    .addColumn('version', 'integer', (column) => column.notNull())
    .execute();
}

async function changes(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('identity_changes')
    .addColumn('seq', 'bigint', (column) => column.primaryKey().notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('id', 'text', (column) => column.notNull())
    .addColumn('at', 'bigint', (column) => column.notNull())
    .execute();
  await db.schema.createIndex('identity_changes_by_age').on('identity_changes').columns(['at']).execute();
  await db.schema
    .createTable('identity_change_counter')
    .addColumn('id', 'integer', (column) => column.primaryKey().notNull())
    .addColumn('seq', 'bigint', (column) => column.notNull())
    .execute();
  await db.insertInto('identity_change_counter').values({ id: 1, seq: 0 }).execute();
}
