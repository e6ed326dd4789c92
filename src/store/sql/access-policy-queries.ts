import type { Kysely } from 'kysely';
import type { AccessPolicyRecord, AccessPolicyStore } from '../identity-store.ts';
import type { NoteChanges } from './change-queries.ts';
import type { GroupCommit } from './group-commit.ts';
import { accessPolicyOf } from './identity-rows.ts';
import { plainPageOf } from './paging.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

const columns = ['name', 'generation', 'text', 'author', 'reason', 'created_at'] as const;

export function accessPolicyQueries(
  reader: Database,
  writer: GroupCommit,
  note: NoteChanges,
): AccessPolicyStore {
  const select = () => reader.selectFrom('access_policies').select(columns);
  return {
    put: (policy, current) => writer.do((db) => put(db, note, policy, current)),
    get: async (name) => {
      const record = await newest(reader, name);
      return record === null || record.text === null ? null : record;
    },
    getGeneration: async (name, generation) => {
      const row = await select()
        .where('name', '=', name)
        .where('generation', '=', generation)
        .executeTakeFirst();
      return row === undefined ? null : accessPolicyOf(row);
    },
    all: async () => {
      const rows = await select()
        .where('current', '=', 1)
        .where('text', 'is not', null)
        .orderBy('name')
        .execute();
      return rows.map(accessPolicyOf);
    },
    history: async (name, { before, limit }) => {
      let query = select().where('name', '=', name);
      if (before !== null) query = query.where('generation', '<', before);
      const rows = await query
        .orderBy('generation', 'desc')
        .limit(limit + 1)
        .execute();
      return plainPageOf(rows, limit, accessPolicyOf);
    },
  };
}

async function newest(db: Database, name: string): Promise<AccessPolicyRecord | null> {
  const row = await db
    .selectFrom('access_policies')
    .select(columns)
    .where('name', '=', name)
    .where('current', '=', 1)
    .executeTakeFirst();
  return row === undefined ? null : accessPolicyOf(row);
}

async function put(
  db: Database,
  note: NoteChanges,
  ...[policy, current]: Parameters<AccessPolicyStore['put']>
): ReturnType<AccessPolicyStore['put']> {
  const before = await newest(db, policy.name);
  const known = before === null || before.text === null ? null : before.generation;
  if (known !== current) return { outcome: 'stale' };
  const record = { ...policy, generation: (before?.generation ?? 0) + 1 };
  await db
    .updateTable('access_policies')
    .set({ current: 0 })
    .where('name', '=', policy.name)
    .where('current', '=', 1)
    .execute();
  await db
    .insertInto('access_policies')
    .values({
      name: record.name,
      generation: record.generation,
      current: 1,
      text: record.text,
      author: record.author,
      reason: record.reason,
      created_at: record.createdAt,
    })
    .execute();
  await note(db, 'access-policy', policy.name);
  return { outcome: 'written', record };
}
