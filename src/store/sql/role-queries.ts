import type { Kysely } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import type { RoleStore } from '../identity-store.ts';
import type { NoteChanges } from './change-queries.ts';
import type { GroupCommit } from './group-commit.ts';
import { roleOf } from './identity-rows.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;
type Writing = { readonly note: NoteChanges; readonly clock: Clock };

const roleColumns = ['name', 'description', 'scopes', 'reach', 'created_at', 'version'] as const;

export function roleQueries(reader: Database, writer: GroupCommit, writing: Writing): RoleStore {
  return {
    put: (role, version) => writer.do((db) => put(db, writing.note, role, version)),
    get: async (name) => {
      const row = await selectRoles(reader).where('name', '=', name).executeTakeFirst();
      return row === undefined ? null : roleOf(row);
    },
    list: async () => (await selectRoles(reader).orderBy('name').execute()).map(roleOf),
    remove: (name) => writer.do((db) => remove(db, writing, name)),
  };
}

function selectRoles(db: Database) {
  return db.selectFrom('roles').select(roleColumns).where('removed_at', 'is', null);
}

async function put(
  db: Database,
  note: NoteChanges,
  ...[role, version]: Parameters<RoleStore['put']>
): ReturnType<RoleStore['put']> {
  const row = version === null ? await make(db, role) : await replace(db, role, version);
  if (row === undefined) {
    const there = await selectRoles(db).where('name', '=', role.name).executeTakeFirst();
    return { outcome: there === undefined ? 'absent' : 'stale' };
  }
  await note(db, 'role', role.name);
  return { outcome: 'written', record: roleOf(row) };
}

/** A role that is made again after its removal goes on counting, so that a version is never another's. */
async function make(db: Database, role: Parameters<RoleStore['put']>[0]) {
  const { name, description, reach, createdAt } = role;
  const columns = { description, scopes: JSON.stringify(role.scopes), reach, created_at: createdAt };
  return await db
    .insertInto('roles')
    .values({ name, ...columns, version: 1 })
    .onConflict((conflict) =>
      conflict
        .column('name')
        .doUpdateSet((build) => ({ ...columns, removed_at: null, version: build('roles.version', '+', 1) }))
        .where('roles.removed_at', 'is not', null),
    )
    .returning(roleColumns)
    .executeTakeFirst();
}

async function replace(db: Database, role: Parameters<RoleStore['put']>[0], version: number) {
  const { description, reach, scopes } = role;
  return await db
    .updateTable('roles')
    .set((build) => ({
      description,
      scopes: JSON.stringify(scopes),
      reach,
      version: build('version', '+', 1),
    }))
    .where('name', '=', role.name)
    .where('version', '=', version)
    .where('removed_at', 'is', null)
    .returning(roleColumns)
    .executeTakeFirst();
}

async function remove(db: Database, { note, clock }: Writing, name: string): ReturnType<RoleStore['remove']> {
  const now = clock.now();
  if (await isUsed(db, name, now)) return 'used';
  const row = await db
    .updateTable('roles')
    .set({ removed_at: now })
    .where('name', '=', name)
    .where('removed_at', 'is', null)
    .returning('name')
    .executeTakeFirst();
  if (row === undefined) return 'absent';
  await note(db, 'role', name);
  return 'removed';
}

/** Whoever may be elevated to a role has it too. Names are stored as a JSON list of quoted words. */
async function isUsed(db: Database, role: string, now: number): Promise<boolean> {
  const user = db
    .selectFrom('users')
    .select('role')
    .where('removed_at', 'is', null)
    .where((build) =>
      build.or([build('role', '=', role), build('eligible_roles', 'like', `%${JSON.stringify(role)}%`)]),
    );
  const agent = db
    .selectFrom('agents')
    .select('role')
    .where('removed_at', 'is', null)
    .where('role', '=', role);
  const invitation = db
    .selectFrom('invitations')
    .select('role')
    .where('role', '=', role)
    .where('used_at', 'is', null)
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', now);
  return (await user.unionAll(agent).unionAll(invitation).limit(1).execute()).length > 0;
}
