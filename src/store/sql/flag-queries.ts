import type { Kysely } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import type { FlagStore } from '../identity-store.ts';
import type { NoteChanges } from './change-queries.ts';
import type { GroupCommit } from './group-commit.ts';
import { flagOf } from './identity-rows.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;
type Writing = { readonly note: NoteChanges; readonly clock: Clock };

const flagColumns = ['name', 'rule', 'author', 'changed_at', 'version'] as const;

export function flagQueries(reader: Database, writer: GroupCommit, writing: Writing): FlagStore {
  return {
    put: (flag, version) => writer.do((db) => put(db, writing.note, flag, version)),
    list: async () => (await selectFlags(reader).orderBy('name').execute()).map(flagOf),
    remove: (name) => writer.do((db) => remove(db, writing, name)),
  };
}

function selectFlags(db: Database) {
  return db.selectFrom('flags').select(flagColumns).where('removed_at', 'is', null);
}

async function put(
  db: Database,
  note: NoteChanges,
  ...[flag, version]: Parameters<FlagStore['put']>
): ReturnType<FlagStore['put']> {
  const row = version === null ? await make(db, flag) : await replace(db, flag, version);
  if (row === undefined) {
    const there = await selectFlags(db).where('name', '=', flag.name).executeTakeFirst();
    return { outcome: there === undefined ? 'absent' : 'stale' };
  }
  await note(db, 'flag', flag.name);
  return { outcome: 'written', record: flagOf(row) };
}

/** A flag that is set again after its removal goes on counting, so that a version is never another's. */
async function make(db: Database, { name, rule, author, changedAt }: Parameters<FlagStore['put']>[0]) {
  return await db
    .insertInto('flags')
    .values({ name, rule, author, changed_at: changedAt, version: 1 })
    .onConflict((conflict) =>
      conflict
        .column('name')
        .doUpdateSet((build) => ({
          rule,
          author,
          changed_at: changedAt,
          removed_at: null,
          version: build('flags.version', '+', 1),
        }))
        .where('flags.removed_at', 'is not', null),
    )
    .returning(flagColumns)
    .executeTakeFirst();
}

async function replace(
  db: Database,
  { name, rule, author, changedAt }: Parameters<FlagStore['put']>[0],
  version: number,
) {
  return await db
    .updateTable('flags')
    .set((build) => ({ rule, author, changed_at: changedAt, version: build('version', '+', 1) }))
    .where('name', '=', name)
    .where('version', '=', version)
    .where('removed_at', 'is', null)
    .returning(flagColumns)
    .executeTakeFirst();
}

async function remove(db: Database, { note, clock }: Writing, name: string): Promise<boolean> {
  const row = await db
    .updateTable('flags')
    .set({ removed_at: clock.now() })
    .where('name', '=', name)
    .where('removed_at', 'is', null)
    .returning('name')
    .executeTakeFirst();
  if (row === undefined) return false;
  await note(db, 'flag', name);
  return true;
}
