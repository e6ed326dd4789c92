import { type Kysely, sql } from 'kysely';
import type { AttemptStore } from '../identity-store.ts';
import type { GroupCommit } from './group-commit.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

export function attemptQueries(reader: Database, writer: GroupCommit): AttemptStore {
  return {
    add: (key, windowMs, now) => writer.do((db) => add(db, { key, by: 1, endsAt: now + windowMs, now })),
    addAll: (counts, endsAt, now) =>
      writer.do(async (db) => {
        const totals: number[] = [];
        for (const { key, by } of counts) totals.push((await add(db, { key, by, endsAt, now })).count);
        return totals;
      }),
    count: async (key, now) => {
      const row = await reader
        .selectFrom('attempts')
        .select(['count', 'ends_at'])
        .where('key', '=', key)
        .where('ends_at', '>', now)
        .executeTakeFirst();
      return row === undefined ? { count: 0, endsAt: now } : { count: row.count, endsAt: row.ends_at };
    },
    clear: async (key) => {
      await writer.do((db) => db.deleteFrom('attempts').where('key', '=', key).execute());
    },
    forgetBefore: async (time) => {
      await writer.do((db) => db.deleteFrom('attempts').where('ends_at', '<', time).execute());
    },
  };
}

/** One statement, so that no attempt is lost between processes; a window that is over begins anew. */
async function add(
  db: Database,
  { key, by, endsAt, now }: { key: string; by: number; endsAt: number; now: number },
): ReturnType<AttemptStore['add']> {
  const isOver = sql<boolean>`attempts.ends_at <= ${now}`;
  const row = await db
    .insertInto('attempts')
    .values({ key, count: by, ends_at: endsAt })
    .onConflict((conflict) =>
      conflict.column('key').doUpdateSet({
        count: sql<number>`case when ${isOver} then ${by} else attempts.count + ${by} end`,
        ends_at: sql<number>`case when ${isOver} then excluded.ends_at else attempts.ends_at end`,
      }),
    )
    .returning(['count', 'ends_at'])
    .executeTakeFirstOrThrow();
  return { count: row.count, endsAt: row.ends_at };
}
