import type { Kysely } from 'kysely';
import type { PasskeyStore } from '../identity-store.ts';
import type { GroupCommit } from './group-commit.ts';
import { passkeyOf } from './identity-rows.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

export function passkeyQueries(reader: Database, writer: GroupCommit): PasskeyStore {
  return {
    add: (passkey) => writer.do((db) => add(db, passkey)),
    get: async (id) => {
      const row = await reader.selectFrom('passkeys').selectAll().where('id', '=', id).executeTakeFirst();
      return row === undefined ? null : passkeyOf(row);
    },
    of: async (user) => {
      const rows = await reader
        .selectFrom('passkeys')
        .selectAll()
        .where('user', '=', user)
        .orderBy('created_at')
        .orderBy('id')
        .execute();
      return rows.map(passkeyOf);
    },
    used: (id, counter, at) => writer.do((db) => used(db, id, counter, at)),
    remove: (user, id) =>
      writer.do(async (db) => {
        const row = await db
          .deleteFrom('passkeys')
          .where('id', '=', id)
          .where('user', '=', user)
          .returning('id')
          .executeTakeFirst();
        return row !== undefined;
      }),
  };
}

async function add(
  db: Database,
  ...[passkey]: Parameters<PasskeyStore['add']>
): ReturnType<PasskeyStore['add']> {
  const row = await db
    .insertInto('passkeys')
    .values({
      id: passkey.id,
      user: passkey.user,
      name: passkey.name,
      public_key: passkey.publicKey,
      counter: passkey.counter,
      transports: JSON.stringify(passkey.transports),
      created_at: passkey.createdAt,
    })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .returning('id')
    .executeTakeFirst();
  return row !== undefined;
}

/** An authenticator that does not count says 0 always. */
async function used(
  db: Database,
  ...[id, counter, at]: Parameters<PasskeyStore['used']>
): ReturnType<PasskeyStore['used']> {
  const row = await db
    .updateTable('passkeys')
    .set({ counter, last_used_at: at })
    .where('id', '=', id)
    .where('counter', counter === 0 ? '=' : '<', counter)
    .returning('id')
    .executeTakeFirst();
  return row !== undefined;
}
