import type { Kysely } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import { type Change, type ChangeKind, type ChangeStore, changeKinds } from '../identity-store.ts';
import { storeLimits } from '../limits.ts';
import type { GroupCommit } from './group-commit.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

/** Adds one change for each id, as part of the transaction that makes it. */
export type NoteChanges = (db: Database, kind: ChangeKind, ...ids: readonly string[]) => Promise<void>;

/**
 * Numbers come from one row that every writer of changes updates: the database lets the next one at it only when the
 * one before has committed, so whoever has seen a number has seen all below it.
 */
export function notingChanges(clock: Clock): NoteChanges {
  return async (db, kind, ...ids) => {
    if (ids.length === 0) return;
    const counter = await db
      .updateTable('identity_change_counter')
      .set((build) => ({ seq: build('seq', '+', ids.length) }))
      .where('id', '=', 1)
      .returning('seq')
      .executeTakeFirstOrThrow();
    const first = Number(counter.seq) - ids.length + 1;
    const at = clock.now();
    for (const [index, id] of ids.entries())
      await db
        .insertInto('identity_changes')
        .values({ seq: first + index, kind, id, at })
        .execute();
  };
}

export function changeQueries(reader: Database, writer: GroupCommit, note: NoteChanges): ChangeStore {
  return {
    last: () => lastOf(reader),
    since: (seq) => since(reader, seq),
    note: (kind, id) => writer.do((db) => note(db, kind, id)),
    forgetBefore: async (time) => {
      await writer.do((db) => db.deleteFrom('identity_changes').where('at', '<', time).execute());
    },
  };
}

/** Whoever was away while changes were forgotten is told that everything may have changed. */
async function since(db: Database, seq: number): Promise<readonly Change[]> {
  const rows = await db
    .selectFrom('identity_changes')
    .select(['seq', 'kind', 'id'])
    .where('seq', '>', seq)
    .orderBy('seq')
    .limit(storeLimits.pageRecordsMax)
    .execute();
  const next = rows[0]?.seq ?? (await lastOf(db)) + 1;
  const all = changeKinds.map((kind) => ({ seq: next - 1, kind, id: '*' }));
  return [...(next > seq + 1 ? all : []), ...(rows as Change[])];
}

async function lastOf(db: Database): Promise<number> {
  const row = await db.selectFrom('identity_change_counter').select('seq').executeTakeFirstOrThrow();
  return Number(row.seq);
}
