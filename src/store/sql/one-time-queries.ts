import type { Kysely } from 'kysely';
import { canonicalJson, type JsonValue } from '../../base/canonical-json.ts';
import type { OneTimeStore } from '../identity-store.ts';
import type { GroupCommit } from './group-commit.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

/** Whoever removes the row has it: the database lets one caller do so, on however many processes they are. */
export function oneTimeQueries(reader: Database, writer: GroupCommit): OneTimeStore {
  return {
    put: (kind, hash, data, expiresAt) => writer.do((db) => put(db, kind, hash, data, expiresAt)),
    take: (kind, hash, now) => writer.do((db) => take(db, kind, hash, now)),
    peek: async (kind, hash, now) => {
      const row = await reader
        .selectFrom('one_times')
        .select('data')
        .where('kind', '=', kind)
        .where('hash', '=', hash)
        .where('expires_at', '>', now)
        .executeTakeFirst();
      return row === undefined ? null : JSON.parse(row.data);
    },
    replace: (kind, hash, from, to, now) => writer.do((db) => replace(db, kind, hash, from, to, now)),
    forgetBefore: async (time) => {
      await writer.do((db) => db.deleteFrom('one_times').where('expires_at', '<', time).execute());
    },
  };
}

async function put(
  db: Database,
  ...[kind, hash, data, expiresAt]: Parameters<OneTimeStore['put']>
): ReturnType<OneTimeStore['put']> {
  const row = await db
    .insertInto('one_times')
    .values({ kind, hash, data: textOf(data), expires_at: expiresAt })
    .onConflict((conflict) => conflict.columns(['kind', 'hash']).doNothing())
    .returning('hash')
    .executeTakeFirst();
  return row !== undefined;
}

async function take(
  db: Database,
  ...[kind, hash, now]: Parameters<OneTimeStore['take']>
): ReturnType<OneTimeStore['take']> {
  const row = await db
    .deleteFrom('one_times')
    .where('kind', '=', kind)
    .where('hash', '=', hash)
    .where('expires_at', '>', now)
    .returning('data')
    .executeTakeFirst();
  return row === undefined ? null : JSON.parse(row.data);
}

async function replace(
  db: Database,
  ...[kind, hash, from, to, now]: Parameters<OneTimeStore['replace']>
): ReturnType<OneTimeStore['replace']> {
  const row = await db
    .updateTable('one_times')
    .set({ data: textOf(to) })
    .where('kind', '=', kind)
    .where('hash', '=', hash)
    .where('expires_at', '>', now)
    .where('data', '=', textOf(from))
    .returning('hash')
    .executeTakeFirst();
  return row !== undefined;
}

/** The one spelling of a value, so that what was read equals what is stored. Absent members are as if not there. */
function textOf(data: unknown): string {
  return canonicalJson(JSON.parse(JSON.stringify(data)) as JsonValue);
}
