import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { type ExpressionBuilder, type Kysely, sql } from 'kysely';
import type { SessionId } from '../../model/ids.ts';
import { mayAdvanceSession, type SessionPhase } from '../../model/session.ts';
import { type AttachSettings, attachOff } from '../../model/terminal.ts';
import type { Page, RunRecord, SessionRecord, SessionStore } from '../store.ts';
import { takeClaim } from './claims.ts';
import type { GroupCommit } from './group-commit.ts';
import { olderThan, pageOf } from './paging.ts';
import { idsWithin } from './reach.ts';
import { sessionOf } from './rows.ts';
import { writeRun } from './run-writes.ts';
import type { Tables } from './tables.ts';
import { isTeam } from './team-members.ts';

type Database = Kysely<Tables>;

function liveRuns(build: ExpressionBuilder<Tables, 'sessions'>) {
  return build
    .selectFrom('runs')
    .select((inner) => inner.fn.countAll<number>().as('count'))
    .whereRef('runs.session', '=', 'sessions.id')
    .where('runs.finished_at', 'is', null)
    .as('live_runs');
}

function selectSessions(db: Database) {
  return db.selectFrom('sessions').selectAll('sessions').select(liveRuns);
}

export function sessionQueries(reader: Database, writer: GroupCommit): SessionStore {
  return {
    create: (session, options) => writer.do((db) => create(db, session, options)),
    get: async (id) => {
      const row = await selectSessions(reader).where('id', '=', id).executeTakeFirst();
      return row === undefined ? null : sessionOf(row);
    },
    list: (filter, page) => list(reader, filter, page),
    rename: (id, name, version) => writer.do((db) => rename(db, id, name, version)),
    setAttach: (id, attach) => writer.do((db) => setAttach(db, id, attach)),
    terminate: (id, at, reason) => writer.do((db) => terminate(db, id, at, reason)),
    terminateIdle: (before, max) => writer.do((db) => terminateIdle(db, before, max)),
    close: (id, at) => writer.do((db) => close(db, id, at)),
    terminating: async () => {
      const rows = await selectSessions(reader)
        .where('phase', '=', 'terminating')
        .orderBy('created_at')
        .execute();
      return rows.map(sessionOf);
    },
    countByPhase: async () => {
      const rows = await reader
        .selectFrom('sessions')
        .select(['phase', (build) => build.fn.countAll<number>().as('count')])
        .groupBy('phase')
        .execute();
      return Object.fromEntries(rows.map((row) => [row.phase, Number(row.count)]));
    },
  };
}

async function create(
  db: Database,
  ...[session, { claim, openPerOwnerMax }]: Parameters<SessionStore['create']>
): ReturnType<SessionStore['create']> {
  const taken = await takeClaim(db, claim, session.id, session.createdAt);
  if (taken !== null) return taken;
  const open = await db
    .selectFrom('sessions')
    .select((build) => build.fn.countAll<number>().as('count'))
    .where('owner', '=', session.owner)
    .where('phase', '!=', 'closed')
    .executeTakeFirstOrThrow();
  if (Number(open.count) >= openPerOwnerMax) return await undo(db, claim, 'quota');
  const row = {
    id: session.id,
    name: session.name,
    phase: session.phase,
    owner: session.owner,
    team: session.team,
    repo: session.repo === null ? null : JSON.stringify(session.repo),
    egress_names: JSON.stringify(session.egress.names),
    egress_reason: session.egress.reason,
    attach: attachText(session.attach),
    created_at: session.createdAt,
    closed_at: session.closedAt,
    version: 1,
  };
  if (session.team !== null && !(await isTeam(db, session.team))) return await undo(db, claim, 'team');
  const upload = session.repo !== null && 'upload' in session.repo ? session.repo.upload : null;
  if (upload !== null && !(await uploadIsFree(db, upload, session.owner)))
    return await undo(db, claim, 'upload');
  await db.insertInto('sessions').values(row).execute();
  if (upload !== null)
    await db.updateTable('uploads').set({ session: session.id }).where('id', '=', upload).execute();
  return { outcome: 'created', record: { ...session, liveRuns: 0, version: 1 } };
}

async function uploadIsFree(db: Database, upload: string, owner: string): Promise<boolean> {
  const row = await db
    .selectFrom('uploads')
    .select('id')
    .where('id', '=', upload)
    .where('owner', '=', owner)
    .where('session', 'is', null)
    .where('bytes', 'is not', null)
    .executeTakeFirst();
  return row !== undefined;
}

/** A refused creation leaves its key free. */
async function undo<const R extends string>(
  db: Database,
  claim: { actor: string; key: string } | null,
  outcome: R,
): Promise<{ outcome: R }> {
  if (claim !== null)
    await db
      .deleteFrom('idempotency')
      .where('actor', '=', claim.actor)
      .where('key', '=', claim.key)
      .execute();
  return { outcome };
}

async function list(
  db: Database,
  ...[filter, page]: Parameters<SessionStore['list']>
): ReturnType<SessionStore['list']> {
  const { within } = filter;
  let ids = first(db, filter, page);
  if (within !== undefined)
    ids = ids.where(
      'id',
      'in',
      idsWithin(db, within, (column, value) => first(db, filter, page).where(column, '=', value)),
    );
  const rows = await selectSessions(db)
    .where('id', 'in', ids)
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .execute();
  return pageOf(rows, page, sessionOf);
}

/** One more than the page holds, whoever may see it. */
function first(db: Database, filter: Parameters<SessionStore['list']>[0], page: Page) {
  let query = db.selectFrom('sessions').select('id');
  if (filter.phase !== undefined) query = query.where('phase', '=', filter.phase);
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (page.after !== null) query = query.where(olderThan(page.after));
  return query
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit + 1);
}

const liveRunsOfRow = sql<number>`(
  select count(*) from runs where runs.session = sessions.id and runs.finished_at is null
)`.as('live_runs');

async function rename(
  db: Database,
  ...[id, name, version]: Parameters<SessionStore['rename']>
): ReturnType<SessionStore['rename']> {
  const row = await db
    .updateTable('sessions')
    .set((build) => ({ name, version: build('version', '+', 1) }))
    .where('id', '=', id)
    .where('version', '=', version)
    .returningAll()
    .returning(liveRunsOfRow)
    .executeTakeFirst();
  if (row !== undefined) return { outcome: 'written', record: sessionOf(row) };
  const there = await db.selectFrom('sessions').select('id').where('id', '=', id).executeTakeFirst();
  return { outcome: there === undefined ? 'absent' : 'stale' };
}

async function setAttach(
  db: Database,
  ...[id, attach]: Parameters<SessionStore['setAttach']>
): ReturnType<SessionStore['setAttach']> {
  const row = await db
    .updateTable('sessions')
    .set((build) => ({ attach: attachText(attach), version: build('version', '+', 1) }))
    .where('id', '=', id)
    .returningAll()
    .returning(liveRunsOfRow)
    .executeTakeFirst();
  return row === undefined ? null : sessionOf(row);
}

function attachText(attach: AttachSettings): string | null {
  return isDeepStrictEqual(attach, attachOff) ? null : JSON.stringify(attach);
}

async function advance(
  db: Database,
  id: string,
  to: SessionPhase,
  closedAt: number | null,
): Promise<boolean> {
  const row = await db.selectFrom('sessions').select('phase').where('id', '=', id).executeTakeFirst();
  if (row === undefined || !mayAdvanceSession(row.phase as SessionPhase, to)) return false;
  await db
    .updateTable('sessions')
    .set((build) => ({ phase: to, closed_at: closedAt, version: build('version', '+', 1) }))
    .where('id', '=', id)
    .execute();
  return true;
}

async function terminate(
  db: Database,
  id: SessionId,
  at: number,
  reason: string,
): Promise<RunRecord[] | null> {
  if (!(await advance(db, id, 'terminating', null))) return null;
  const queued = await db
    .selectFrom('runs')
    .select('id')
    .where('session', '=', id)
    .where('phase', '=', 'queued')
    .execute();
  const cancelled: RunRecord[] = [];
  for (const run of queued) {
    const written = await writeRun(db, {
      run: run.id as RunRecord['id'],
      changes: () => [
        { to: 'finished', at, ending: { phase: 'cancelled', reason, exit: { code: null, signal: null } } },
      ],
    });
    assert(written.outcome === 'written', 'a queued run can be cancelled');
    cancelled.push(written.record);
  }
  return cancelled;
}

async function terminateIdle(
  db: Database,
  ...[before, max]: Parameters<SessionStore['terminateIdle']>
): ReturnType<SessionStore['terminateIdle']> {
  const idle = await db
    .selectFrom('sessions')
    .select(['id', 'owner'])
    .where('phase', 'in', ['pending', 'active'])
    .where('name', 'is', null)
    .where('created_at', '<', before)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('runs')
            .select('id')
            .whereRef('runs.session', '=', 'sessions.id')
            .where(({ or, eb }) => or([eb('finished_at', 'is', null), eb('finished_at', '>=', before)])),
        ),
      ),
    )
    .orderBy('created_at')
    .limit(max)
    .execute();
  const ended: Pick<SessionRecord, 'id' | 'owner'>[] = [];
  for (const { id, owner } of idle as Pick<SessionRecord, 'id' | 'owner'>[])
    if (await advance(db, id, 'terminating', null)) ended.push({ id, owner });
  return ended;
}

async function close(db: Database, id: SessionId, at: number): Promise<boolean> {
  const live = await db
    .selectFrom('runs')
    .select('id')
    .where('session', '=', id)
    .where('finished_at', 'is', null)
    .executeTakeFirst();
  if (live !== undefined) return false;
  return await advance(db, id, 'closed', at);
}
