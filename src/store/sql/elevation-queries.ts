import type { Kysely } from 'kysely';
import type { ElevationStore } from '../identity-store.ts';
import type { NoteChanges } from './change-queries.ts';
import type { GroupCommit } from './group-commit.ts';
import { elevationOf } from './identity-rows.ts';
import { olderThan, pageOf } from './paging.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

export function elevationQueries(reader: Database, writer: GroupCommit, note: NoteChanges): ElevationStore {
  return {
    create: (elevation) => writer.do((db) => create(db, note, elevation)),
    get: async (id) => {
      const row = await reader.selectFrom('elevations').selectAll().where('id', '=', id).executeTakeFirst();
      return row === undefined ? null : elevationOf(row);
    },
    list: async (filter, page) => {
      let query = reader.selectFrom('elevations').selectAll();
      if (filter.user !== undefined) query = query.where('user', '=', filter.user);
      if (filter.state !== undefined) query = query.where('state', '=', filter.state);
      if (page.after !== null) query = query.where(olderThan(page.after));
      const rows = await query
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(page.limit + 1)
        .execute();
      return pageOf(rows, page, elevationOf);
    },
    activeOf: async (user, now) => {
      const row = await reader
        .selectFrom('elevations')
        .selectAll()
        .where('user', '=', user)
        .where('state', '=', 'active')
        .where('expires_at', '>', now)
        .orderBy('decided_at', 'desc')
        .orderBy('id', 'desc')
        .limit(1)
        .executeTakeFirst();
      return row === undefined ? null : elevationOf(row);
    },
    move: (id, from, to) => writer.do((db) => move(db, note, [id, from, to])),
  };
}

async function create(
  db: Database,
  note: NoteChanges,
  elevation: Parameters<ElevationStore['create']>[0],
): ReturnType<ElevationStore['create']> {
  await db
    .insertInto('elevations')
    .values({
      id: elevation.id,
      user: elevation.user,
      role: elevation.role,
      reason: elevation.reason,
      seconds: elevation.seconds,
      state: elevation.state,
      created_at: elevation.requestedAt,
      decided_by: elevation.decidedBy,
      decided_at: elevation.decidedAt,
      expires_at: elevation.expiresAt,
    })
    .execute();
  await note(db, 'elevation', elevation.id);
}

async function move(
  db: Database,
  note: NoteChanges,
  [id, from, to]: Parameters<ElevationStore['move']>,
): ReturnType<ElevationStore['move']> {
  const row = await db
    .updateTable('elevations')
    .set({
      state: to.state,
      ...(to.decidedBy === undefined ? {} : { decided_by: to.decidedBy }),
      ...(to.decidedAt === undefined ? {} : { decided_at: to.decidedAt }),
      ...(to.expiresAt === undefined ? {} : { expires_at: to.expiresAt }),
    })
    .where('id', '=', id)
    .where('state', '=', from)
    .returningAll()
    .executeTakeFirst();
  if (row === undefined) return null;
  await note(db, 'elevation', id);
  return elevationOf(row);
}
