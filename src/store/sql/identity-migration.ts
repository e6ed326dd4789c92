import { type Kysely, sql } from 'kysely';
import { rights } from './rights-migration.ts';
import type { Tables } from './tables.ts';

/** Users, machines, their rights and what they sign in with. */
export async function identity(db: Kysely<Tables>): Promise<void> {
  await users(db);
  await passkeys(db);
  await invitations(db);
  await signIns(db);
  await oneTimes(db);
  await teams(db);
  await agents(db);
  await rights(db);
}

async function users(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('users')
    .addColumn('name', 'text', (column) => column.primaryKey().notNull())
    .addColumn('display_name', 'text')
    .addColumn('email', 'text')
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('eligible_roles', 'text', (column) => column.notNull())
    .addColumn('phase', 'text', (column) => column.notNull())
    .addColumn('password_hash', 'text')
    .addColumn('totp_sealed', 'text')
    .addColumn('totp_step', 'bigint')
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('last_sign_in_at', 'bigint')
    .addColumn('removed_at', 'bigint')
    .addColumn('version', 'integer', (column) => column.notNull())
    .execute();
  await db.schema.createIndex('users_by_age').on('users').columns(['created_at', 'name']).execute();
  await db.schema.createIndex('users_by_role').on('users').columns(['role']).execute();
  await db.schema
    .createTable('user_externals')
    .addColumn('provider', 'text', (column) => column.notNull())
    .addColumn('subject', 'text', (column) => column.notNull())
    .addColumn('user', 'text', (column) => column.notNull().references('users.name'))
    .addPrimaryKeyConstraint('user_externals_key', ['provider', 'subject'])
    .execute();
  await db.schema.createIndex('user_externals_by_user').on('user_externals').columns(['user']).execute();
  await db.schema
    .createTable('recovery_codes')
    .addColumn('user', 'text', (column) => column.notNull())
    .addColumn('hash', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('recovery_codes_key', ['user', 'hash'])
    .execute();
}

async function passkeys(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('passkeys')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('user', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('public_key', 'text', (column) => column.notNull())
    .addColumn('counter', 'bigint', (column) => column.notNull())
    .addColumn('transports', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('last_used_at', 'bigint')
    .execute();
  await db.schema.createIndex('passkeys_by_user').on('passkeys').columns(['user']).execute();
}

async function invitations(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('invitations')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('hash', 'text', (column) => column.notNull().unique())
    .addColumn('name', 'text')
    .addColumn('email', 'text')
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('teams', 'text', (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .addColumn('used_at', 'bigint')
    .addColumn('revoked_at', 'bigint')
    .execute();
  await db.schema
    .createIndex('invitations_open')
    .on('invitations')
    .columns(['created_at', 'id'])
    .where(sql<boolean>`used_at is null and revoked_at is null`)
    .execute();
}

async function signIns(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('sign_ins')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('cookie', 'text', (column) => column.unique())
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('client', 'text')
    .addColumn('scopes', 'text')
    .addColumn('reach', 'text')
    .addColumn('egress', 'text')
    .addColumn('auth_at', 'bigint', (column) => column.notNull())
    .addColumn('methods', 'text', (column) => column.notNull())
    .addColumn('mfa', 'integer', (column) => column.notNull())
    .addColumn('provider', 'text')
    .addColumn('provider_session', 'text')
    .addColumn('on_behalf_of', 'text')
    .addColumn('parent', 'text')
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('idle_ms', 'bigint', (column) => column.notNull())
    .addColumn('last_used_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .addColumn('address', 'text')
    .addColumn('user_agent', 'text')
    .addColumn('revoked_at', 'bigint')
    .addColumn('revoked_for', 'text')
    .execute();
  await signInIndexes(db);
  await db.schema
    .createTable('refresh_tokens')
    .addColumn('hash', 'text', (column) => column.primaryKey().notNull())
    .addColumn('sign_in', 'text', (column) => column.notNull().references('sign_ins.id'))
    .addColumn('used_at', 'bigint')
    .execute();
  await db.schema
    .createIndex('refresh_tokens_by_sign_in')
    .on('refresh_tokens')
    .columns(['sign_in'])
    .execute();
}

async function signInIndexes(db: Kysely<Tables>): Promise<void> {
  await db.schema.createIndex('sign_ins_by_age').on('sign_ins').columns(['created_at', 'id']).execute();
  await db.schema
    .createIndex('sign_ins_by_actor')
    .on('sign_ins')
    .columns(['actor', 'created_at', 'id'])
    .execute();
  await db.schema
    .createIndex('sign_ins_by_parent')
    .on('sign_ins')
    .columns(['parent'])
    .where(sql<boolean>`parent is not null`)
    .execute();
  await db.schema
    .createIndex('sign_ins_by_provider')
    .on('sign_ins')
    .columns(['provider', 'provider_session'])
    .where(sql<boolean>`provider is not null`)
    .execute();
  await db.schema.createIndex('sign_ins_by_end').on('sign_ins').columns(['expires_at']).execute();
}

async function oneTimes(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('one_times')
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('hash', 'text', (column) => column.notNull())
    .addColumn('data', 'text', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('one_times_key', ['kind', 'hash'])
    .execute();
  await db.schema.createIndex('one_times_by_end').on('one_times').columns(['expires_at']).execute();
  await db.schema
    .createTable('attempts')
    .addColumn('key', 'text', (column) => column.primaryKey().notNull())
    .addColumn('count', 'integer', (column) => column.notNull())
    .addColumn('ends_at', 'bigint', (column) => column.notNull())
    .execute();
  await db.schema.createIndex('attempts_by_end').on('attempts').columns(['ends_at']).execute();
}

async function teams(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('teams')
    .addColumn('name', 'text', (column) => column.primaryKey().notNull())
    .addColumn('description', 'text')
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('removed_at', 'bigint')
    .addColumn('version', 'integer', (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('team_members')
    .addColumn('team', 'text', (column) => column.notNull().references('teams.name'))
    .addColumn('actor', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('team_members_key', ['team', 'actor'])
    .execute();
  await db.schema.createIndex('team_members_by_actor').on('team_members').columns(['actor']).execute();
}

async function agents(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('agents')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('display_name', 'text')
    .addColumn('owner', 'text', (column) => column.notNull())
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('scopes', 'text', (column) => column.notNull())
    .addColumn('egress', 'text')
    .addColumn('phase', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('removed_at', 'bigint')
    .addColumn('version', 'integer', (column) => column.notNull())
    .execute();
  await db.schema.createIndex('agents_by_age').on('agents').columns(['created_at', 'id']).execute();
  await db.schema
    .createIndex('agents_by_owner')
    .on('agents')
    .columns(['owner', 'created_at', 'id'])
    .execute();
  await db.schema.createIndex('agents_by_role').on('agents').columns(['role']).execute();
  await db.schema
    .createTable('agent_credentials')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('agent', 'text', (column) => column.notNull().references('agents.id'))
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('name', 'text')
    .addColumn('proof', 'text', (column) => column.notNull())
    .addColumn('material', 'text')
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint')
    .addColumn('last_used_at', 'bigint')
    .addColumn('revoked_at', 'bigint')
    .execute();
  await db.schema
    .createIndex('agent_credentials_by_agent')
    .on('agent_credentials')
    .columns(['agent'])
    .execute();
  await db.schema
    .createIndex('agent_credentials_by_proof')
    .unique()
    .on('agent_credentials')
    .columns(['kind', 'proof'])
    .execute();
}
