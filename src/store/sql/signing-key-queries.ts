import { type Kysely, sql } from 'kysely';
import type { SigningKeyRecord, SigningKeyStore } from '../identity-store.ts';
import type { NoteChanges } from './change-queries.ts';
import type { GroupCommit } from './group-commit.ts';
import { signingKeyOf } from './identity-rows.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

export function signingKeyQueries(reader: Database, writer: GroupCommit, note: NoteChanges): SigningKeyStore {
  return {
    valid: async (use, now) => {
      const rows = await reader
        .selectFrom('signing_keys')
        .selectAll()
        .where('use', '=', use)
        .where((build) => build.or([build('expires_at', 'is', null), build('expires_at', '>', now)]))
        .orderBy(sql`case when retired_at is null then 0 else 1 end`)
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .execute();
      return rows.map(signingKeyOf);
    },
    ensure: (key) => writer.do((db) => ensure(db, note, key)),
    rotate: (key, overlapUntil) => writer.do((db) => rotate(db, note, key, overlapUntil)),
  };
}

/** The index allows one key of a use that is not retired. */
async function ensure(db: Database, note: NoteChanges, key: SigningKeyRecord): Promise<SigningKeyRecord> {
  const made = await db
    .insertInto('signing_keys')
    .values(columnsOf(key))
    .onConflict((conflict) => conflict.column('use').where('retired_at', 'is', null).doNothing())
    .returningAll()
    .executeTakeFirst();
  if (made !== undefined) {
    await note(db, 'key', key.id);
    return signingKeyOf(made);
  }
  const there = await db
    .selectFrom('signing_keys')
    .selectAll()
    .where('use', '=', key.use)
    .where('retired_at', 'is', null)
    .executeTakeFirstOrThrow();
  return signingKeyOf(there);
}

/** A key that was to end earlier still does. */
async function rotate(
  db: Database,
  note: NoteChanges,
  ...[key, overlapUntil]: Parameters<SigningKeyStore['rotate']>
): ReturnType<SigningKeyStore['rotate']> {
  await db
    .updateTable('signing_keys')
    .set({
      retired_at: sql<number>`coalesce(retired_at, ${key.createdAt})`,
      expires_at: sql<number>`case when expires_at < ${overlapUntil} then expires_at else ${overlapUntil} end`,
    })
    .where('use', '=', key.use)
    .execute();
  await db.insertInto('signing_keys').values(columnsOf(key)).execute();
  await note(db, 'key', key.id);
}

function columnsOf(key: SigningKeyRecord) {
  return {
    id: key.id,
    use: key.use,
    public: key.public,
    sealed: key.sealed,
    created_at: key.createdAt,
    retired_at: key.retiredAt,
    expires_at: key.expiresAt,
  };
}
