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
    create: (elevation, waitingSince) => writer.do((db) => create(db, note, elevation, waitingSince)),
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

/** One statement, so that of many at once, on however many processes, one is made. */
async function create(
  db: Database,
  note: NoteChanges,
  ...[elevation, waitingSince]: Parameters<ElevationStore['create']>
): ReturnType<ElevationStore['create']> {
  const { id, user, role, reason, seconds, state, requestedAt, decidedBy, decidedAt, expiresAt } = elevation;
  const row = await db
    .insertInto('elevations')
    .columns([
      ...(['id', 'user', 'role', 'reason', 'seconds', 'state'] as const),
      ...(['created_at', 'decided_by', 'decided_at', 'expires_at'] as const),
    ])
    .expression(
      db
        .selectNoFrom((build) => [
          build.val(id).as('id'),
          build.val(user).as('user'),
          build.val(role).as('role'),
          build.val(reason).as('reason'),
          build.val(seconds).as('seconds'),
          build.val(state).as('state'),
          build.val(requestedAt).as('created_at'),
          build.val(decidedBy).as('decided_by'),
          build.val(decidedAt).as('decided_at'),
          build.val(expiresAt).as('expires_at'),
        ])
        .where(({ not, exists }) => not(exists(openOf(db, user, requestedAt, waitingSince)))),
    )
    .returning('id')
    .executeTakeFirst();
  if (row === undefined) return false;
  await note(db, 'elevation', id);
  return true;
}

function openOf(db: Database, user: string, now: number, waitingSince: number) {
  return db
    .selectFrom('elevations')
    .select('id')
    .where('user', '=', user)
    .where((build) =>
      build.or([
        build.and([build('state', '=', 'active'), build('expires_at', '>', now)]),
        build.and([build('state', '=', 'requested'), build('created_at', '>', waitingSince)]),
      ]),
    );
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
