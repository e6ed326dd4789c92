import type { Kysely } from 'kysely';
import type { UploadStore } from '../store.ts';
import type { GroupCommit } from './group-commit.ts';
import { uploadOf } from './rows.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

export function uploadQueries(reader: Database, writer: GroupCommit): UploadStore {
  return {
    begin: async ({ id, owner, createdAt }) => {
      await writer.do((db) =>
        db.insertInto('uploads').values({ id, owner, created_at: createdAt }).execute(),
      );
    },
    finish: (id, at, stored) => writer.do((db) => finish(db, id, at, stored)),
    get: async (id) => {
      const row = await reader.selectFrom('uploads').selectAll().where('id', '=', id).executeTakeFirst();
      return row === undefined ? null : uploadOf(row);
    },
    remove: (id) => writer.do((db) => remove(db, id)),
    unusedBefore: async (time, limit) => {
      const rows = await reader
        .selectFrom('uploads')
        .selectAll()
        .where('created_at', '<', time)
        .where((build) => build.not(build.exists(openSession(reader))))
        .orderBy('created_at')
        .limit(limit)
        .execute();
      return rows.map(uploadOf);
    },
  };
}

async function finish(
  db: Database,
  ...[id, at, { bytes, sha256 }]: Parameters<UploadStore['finish']>
): ReturnType<UploadStore['finish']> {
  const row = await db
    .updateTable('uploads')
    .set({ bytes, sha256, created_at: at })
    .where('id', '=', id)
    .where('bytes', 'is', null)
    .returningAll()
    .executeTakeFirst();
  return row === undefined ? null : uploadOf(row);
}

async function remove(db: Database, id: string): Promise<boolean> {
  const row = await db
    .deleteFrom('uploads')
    .where('id', '=', id)
    .where((build) => build.not(build.exists(openSession(db))))
    .returning('id')
    .executeTakeFirst();
  return row !== undefined;
}

function openSession(db: Database) {
  return db
    .selectFrom('sessions')
    .select('sessions.id')
    .whereRef('sessions.id', '=', 'uploads.session' as never)
    .where('sessions.phase', '!=', 'closed');
}
