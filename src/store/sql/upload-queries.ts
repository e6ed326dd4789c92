import type { Kysely } from 'kysely';
import type { UploadStore } from '../store.ts';
import { uploadOf } from './rows.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

export function uploadQueries(reader: Database, writer: Database): UploadStore {
  return {
    begin: async ({ id, owner, createdAt }) => {
      await writer.insertInto('uploads').values({ id, owner, created_at: createdAt }).execute();
    },
    finish: async (id, { bytes, sha256 }) => {
      const row = await writer
        .updateTable('uploads')
        .set({ bytes, sha256 })
        .where('id', '=', id)
        .where('bytes', 'is', null)
        .returningAll()
        .executeTakeFirst();
      return row === undefined ? null : uploadOf(row);
    },
    get: async (id) => {
      const row = await reader.selectFrom('uploads').selectAll().where('id', '=', id).executeTakeFirst();
      return row === undefined ? null : uploadOf(row);
    },
    remove: async (id) => {
      const row = await writer
        .deleteFrom('uploads')
        .where('id', '=', id)
        .where((build) => build.not(build.exists(openSession(writer))))
        .returning('id')
        .executeTakeFirst();
      return row !== undefined;
    },
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

function openSession(db: Database) {
  return db
    .selectFrom('sessions')
    .select('sessions.id')
    .whereRef('sessions.id', '=', 'uploads.session' as never)
    .where('sessions.phase', '!=', 'closed');
}
