import { type Kysely, sql } from 'kysely';
import type { ExternalIdentity, UserRecord, UserStore } from '../identity-store.ts';
import type { NoteChanges } from './change-queries.ts';
import { endCredentialsOf } from './credential-ends.ts';
import type { GroupCommit } from './group-commit.ts';
import { userOf } from './identity-rows.ts';
import { olderThan, pageOf } from './paging.ts';
import type { Tables } from './tables.ts';
import { joinTeams } from './team-members.ts';

type Database = Kysely<Tables>;

export const userColumns = [
  'name',
  'display_name',
  'email',
  'role',
  'eligible_roles',
  'phase',
  'password_hash',
  'totp_sealed',
  'created_at',
  'last_sign_in_at',
  'version',
] as const;

export function userQueries(
  reader: Database,
  writer: GroupCommit,
  note: NoteChanges,
): Omit<UserStore, 'takeTotpStep' | 'putRecoveryCodes' | 'takeRecoveryCode' | 'recoveryCodesLeft'> {
  return {
    create: (user, options) =>
      writer.do(async (db) => {
        const record = await createUser(db, note, user, options);
        return record === null ? { outcome: 'taken' } : { outcome: 'created', record };
      }),
    get: async (name) => {
      const row = await selectUsers(reader).where('name', '=', name).executeTakeFirst();
      return row === undefined ? null : userOf(row);
    },
    byExternal: async ({ provider, subject }) => {
      const row = await selectUsers(reader)
        .where('name', 'in', (build) =>
          build
            .selectFrom('user_externals')
            .select('user')
            .where('provider', '=', provider)
            .where('subject', '=', subject),
        )
        .executeTakeFirst();
      return row === undefined ? null : userOf(row);
    },
    externalsOf: async (name) =>
      await reader
        .selectFrom('user_externals')
        .select(['provider', 'subject'])
        .where('user', '=', name)
        .orderBy('provider')
        .orderBy('subject')
        .execute(),
    link: (name, identity) => writer.do((db) => link(db, name, identity)),
    unlink: (name, identity) => writer.do((db) => unlink(db, name, identity)),
    list: (filter, page) => list(reader, filter, page),
    update: (...asked) => writer.do((db) => update(db, note, asked)),
    rehash: (name, from, to) => writer.do((db) => rehash(db, name, from, to)),
    signedIn: async (name, at) => {
      await writer.do((db) =>
        db.updateTable('users').set({ last_sign_in_at: at }).where('name', '=', name).execute(),
      );
    },
    remove: (...asked) => writer.do((db) => remove(db, note, ...asked)),
    countByRole: async (role) => {
      const row = await reader
        .selectFrom('users')
        .select((build) => build.fn.countAll<number>().as('count'))
        .where('role', '=', role)
        .where('phase', '=', 'active')
        .where('removed_at', 'is', null)
        .executeTakeFirstOrThrow();
      return Number(row.count);
    },
  };
}

function selectUsers(db: Database) {
  return db.selectFrom('users').select(userColumns).where('removed_at', 'is', null);
}

/** Null where the name is, or was, somebody's, or the external identity is; nothing is written then. */
export async function createUser(
  db: Database,
  note: NoteChanges,
  ...[user, { external, teams }]: Parameters<UserStore['create']>
): Promise<UserRecord | null> {
  if (external !== null && (await isLinked(db, external))) return null;
  const row = await db
    .insertInto('users')
    .values({
      name: user.name,
      display_name: user.displayName,
      email: user.email,
      role: user.role,
      eligible_roles: JSON.stringify(user.eligibleRoles),
      phase: user.phase,
      password_hash: user.passwordHash,
      totp_sealed: user.totpSealed,
      created_at: user.createdAt,
      version: 1,
    })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .returning(userColumns)
    .executeTakeFirst();
  if (row === undefined) return null;
  if (external !== null)
    await db
      .insertInto('user_externals')
      .values({ ...external, user: user.name })
      .execute();
  await joinTeams(db, note, `user:${user.name}`, { teams, at: user.createdAt });
  // Until now a token could stand for the name without having its rights.
  await note(db, 'user', user.name);
  return userOf(row);
}

async function isLinked(db: Database, { provider, subject }: ExternalIdentity): Promise<boolean> {
  const row = await db
    .selectFrom('user_externals')
    .select('user')
    .where('provider', '=', provider)
    .where('subject', '=', subject)
    .executeTakeFirst();
  return row !== undefined;
}

async function link(
  db: Database,
  ...[name, { provider, subject }]: Parameters<UserStore['link']>
): ReturnType<UserStore['link']> {
  const user = await selectUsers(db).where('name', '=', name).executeTakeFirst();
  if (user === undefined) return false;
  const row = await db
    .insertInto('user_externals')
    .values({ provider, subject, user: name })
    .onConflict((conflict) => conflict.columns(['provider', 'subject']).doNothing())
    .returning('user')
    .executeTakeFirst();
  return row !== undefined;
}

async function unlink(
  db: Database,
  ...[name, { provider, subject }]: Parameters<UserStore['unlink']>
): ReturnType<UserStore['unlink']> {
  const row = await db
    .deleteFrom('user_externals')
    .where('user', '=', name)
    .where('provider', '=', provider)
    .where('subject', '=', subject)
    .returning('user')
    .executeTakeFirst();
  return row !== undefined;
}

async function list(
  db: Database,
  ...[filter, page]: Parameters<UserStore['list']>
): ReturnType<UserStore['list']> {
  let query = selectUsers(db);
  if (filter.role !== undefined) query = query.where('role', '=', filter.role);
  if (filter.phase !== undefined) query = query.where('phase', '=', filter.phase);
  if (page.after !== null) query = query.where(olderThan(page.after, 'name'));
  const rows = await query
    .orderBy('created_at', 'desc')
    .orderBy('name', 'desc')
    .limit(page.limit + 1)
    .execute();
  return pageOf(rows, page, userOf);
}

async function update(
  db: Database,
  note: NoteChanges,
  [name, change, version, keep]: Parameters<UserStore['update']>,
): ReturnType<UserStore['update']> {
  let query = db
    .updateTable('users')
    .set((build) => ({ ...columnsOf(change), version: build('version', '+', 1) }))
    .where('name', '=', name)
    .where('removed_at', 'is', null);
  if (version !== null) query = query.where('version', '=', version);
  if (keep !== undefined && takes(change, keep)) query = query.where(leavesOne(keep, name));
  const row = await query.returning(userColumns).executeTakeFirst();
  if (row === undefined) {
    const there = await selectUsers(db).where('name', '=', name).executeTakeFirst();
    if (there === undefined) return { outcome: 'absent' };
    return { outcome: version === null || there.version === version ? 'last' : 'stale' };
  }
  await note(db, 'user', name);
  return { outcome: 'written', record: userOf(row) };
}

function takes({ role, phase }: Parameters<UserStore['update']>[1], keep: string): boolean {
  return (role !== undefined && role !== keep) || (phase !== undefined && phase !== 'active');
}

/** Of a change to this user: somebody else has the role actively, or the user itself does not. */
function leavesOne(role: string, name: string) {
  return sql<boolean>`(
    role <> ${role} or phase <> 'active' or exists (
      select 1 from users as other
      where other.role = ${role} and other.phase = 'active' and other.removed_at is null and other.name <> ${name}
    )
  )`;
}

function columnsOf(change: Parameters<UserStore['update']>[1]) {
  return {
    ...(change.displayName === undefined ? {} : { display_name: change.displayName }),
    ...(change.email === undefined ? {} : { email: change.email }),
    ...(change.role === undefined ? {} : { role: change.role }),
    ...(change.eligibleRoles === undefined ? {} : { eligible_roles: JSON.stringify(change.eligibleRoles) }),
    ...(change.phase === undefined ? {} : { phase: change.phase }),
    ...(change.passwordHash === undefined ? {} : { password_hash: change.passwordHash }),
    ...(change.totpSealed === undefined ? {} : { totp_sealed: change.totpSealed }),
  };
}

async function rehash(
  db: Database,
  ...[name, from, to]: Parameters<UserStore['rehash']>
): ReturnType<UserStore['rehash']> {
  const row = await db
    .updateTable('users')
    .set({ password_hash: to })
    .where('name', '=', name)
    .where('password_hash', '=', from)
    .where('removed_at', 'is', null)
    .returning('name')
    .executeTakeFirst();
  return row !== undefined;
}

/** The row stays for its name; everything that could sign in with it goes. */
async function remove(
  db: Database,
  note: NoteChanges,
  ...[name, at, keep]: Parameters<UserStore['remove']>
): ReturnType<UserStore['remove']> {
  let query = db
    .updateTable('users')
    .set({
      removed_at: at,
      phase: 'disabled',
      password_hash: null,
      totp_sealed: null,
      eligible_roles: '[]',
    })
    .where('name', '=', name)
    .where('removed_at', 'is', null);
  if (keep !== undefined) query = query.where(leavesOne(keep, name));
  const row = await query.returning('name').executeTakeFirst();
  if (row === undefined) {
    const there = await selectUsers(db).where('name', '=', name).executeTakeFirst();
    return there === undefined ? 'absent' : 'last';
  }
  await db.deleteFrom('user_externals').where('user', '=', name).execute();
  await db.deleteFrom('passkeys').where('user', '=', name).execute();
  await db.deleteFrom('recovery_codes').where('user', '=', name).execute();
  await db
    .updateTable('elevations')
    .set({ state: 'ended' })
    .where('user', '=', `user:${name}`)
    .where('state', 'in', ['requested', 'active'])
    .execute();
  await endCredentialsOf(db, note, `user:${name}`, { at, reason: 'the user was removed' });
  await note(db, 'user', name);
  return 'removed';
}
