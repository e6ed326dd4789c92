import assert from 'node:assert/strict';
import { CompiledQuery, type Kysely, sql } from 'kysely';
import type { RunId, SessionId } from '../../model/ids.ts';
import type { RunPhase } from '../../model/run.ts';
import { storeLimits } from '../limits.ts';
import type { Page, RunStore, RunWrite, RunWritten } from '../store.ts';
import { takeClaim } from './claims.ts';
import type { GroupCommit } from './group-commit.ts';
import { assertPage, olderThan } from './paging.ts';
import { idsWithin } from './reach.ts';
import { keepsEnvironment, runOf, stateColumns } from './rows.ts';
import { runColumns, writeRun } from './run-writes.ts';
import type { RunRow, Tables } from './tables.ts';

type Database = Kysely<Tables>;

export function runQueries(reader: Database, writer: GroupCommit): RunStore {
  return {
    create: (run, options) => writer.do((db) => create(db, run, options)),
    get: pointRead(reader),
    list: (filter, page) => list(reader, filter, page),
    envOf: (id) => envOf(reader, id),
    write: (writes) => writer.do((db) => writeAll(db, writes)),
    rename: (id, name, version) => writer.do((db) => rename(db, id, name, version)),
    requestStop: (id, at) => writer.do((db) => requestStop(db, id, at)),
    remove: (id, at) => writer.do((db) => remove(db, id, at)),
    live: () => live(reader, null),
    liveOf: (session) => live(reader, session),
    finishedBefore: (time, limit) => finishedBefore(reader, time, limit),
    markFilesExpired: (runs) => writer.do((db) => markFilesExpired(db, runs)),
    countByPhase: () => countByPhase(reader),
  };
}

async function envOf(db: Database, id: RunId): Promise<Record<string, string> | null> {
  const row = await db.selectFrom('runs').select('env').where('id', '=', id).executeTakeFirst();
  return row === undefined || row.env === null ? null : JSON.parse(row.env);
}

async function writeAll(db: Database, writes: readonly RunWrite[]): Promise<RunWritten[]> {
  assert(writes.length <= storeLimits.batchWritesMax, 'a batch is bounded');
  const written: RunWritten[] = [];
  for (const write of writes) written.push(await writeRun(db, write));
  return written;
}

async function requestStop(db: Database, id: RunId, at: number): Promise<void> {
  await db
    .updateTable('runs')
    .set((build) => ({ stop_requested_at: at, version: build('version', '+', 1) }))
    .where('id', '=', id)
    .where('finished_at', 'is', null)
    .where('stop_requested_at', 'is', null)
    .execute();
}

async function remove(db: Database, id: RunId, at: number): Promise<boolean> {
  const row = await db
    .updateTable('runs')
    .set((build) => ({ removed_at: at, version: build('version', '+', 1) }))
    .where('id', '=', id)
    .where('finished_at', 'is not', null)
    .where('removed_at', 'is', null)
    .returning('id')
    .executeTakeFirst();
  return row !== undefined;
}

/** Removed runs too, whatever their age: their files are not wanted any more. */
async function finishedBefore(db: Database, time: number, limit: number): Promise<RunId[]> {
  const rows = await db
    .selectFrom('runs')
    .select('id')
    .where(sql<boolean>`files_expired = 0 and finished_at is not null`)
    .where((build) => build.or([build('finished_at', '<', time), build('removed_at', 'is not', null)]))
    .orderBy('finished_at')
    .limit(limit)
    .execute();
  return rows.map((row) => row.id as RunId);
}

async function markFilesExpired(db: Database, runs: readonly RunId[]): Promise<void> {
  if (runs.length === 0) return;
  await db
    .updateTable('runs')
    .set((build) => ({ files_expired: 1, version: build('version', '+', 1) }))
    .where('id', 'in', runs)
    .execute();
}

async function countByPhase(db: Database): Promise<Partial<Record<RunPhase, number>>> {
  const rows = await db
    .selectFrom('runs')
    .select(['phase', (build) => build.fn.countAll<number>().as('count')])
    .groupBy('phase')
    .execute();
  return Object.fromEntries(rows.map((row) => [row.phase, Number(row.count)]));
}

/** Built once: clients poll runs, so the read costs a look-up and not the making of its SQL. */
function pointRead(reader: Database): RunStore['get'] {
  const compiled = reader
    .selectFrom('runs')
    .select(runColumns)
    .where('id', '=', '')
    .where('removed_at', 'is', null)
    .compile();
  const text = compiled.sql;
  assert.deepEqual(compiled.parameters, [''], 'the id is the only parameter');
  return async (id) => {
    const { rows } = await reader.executeQuery<RunRow>(CompiledQuery.raw(text, [id]));
    return rows[0] === undefined ? null : runOf(rows[0]);
  };
}

async function create(
  db: Database,
  ...[run, { env, claim, livePerOwnerMax }]: Parameters<RunStore['create']>
): ReturnType<RunStore['create']> {
  assert(keepsEnvironment(run.state), 'a new run has not started');
  const session = await db
    .selectFrom('sessions')
    .select(['phase', 'team'])
    .where('id', '=', run.session)
    .executeTakeFirst();
  const refused = await refusal(db, run.owner, session?.phase ?? 'closed', livePerOwnerMax);
  const taken = await takeClaim(db, refused === null ? claim : null, run.id, run.state.queuedAt);
  if (taken !== null) return taken;
  if (refused !== null) return { outcome: refused };
  await db
    .insertInto('runs')
    .values({
      id: run.id,
      session: run.session,
      parent: run.parent,
      name: run.name,
      owner: run.owner,
      team: session?.team ?? null,
      spec: JSON.stringify(run.spec),
      egress_names: JSON.stringify(run.egress.names),
      egress_reason: run.egress.reason,
      egress_generation: run.egress.generation,
      terminal: run.terminal === null ? null : JSON.stringify(run.terminal),
      env: Object.keys(env).length === 0 ? null : JSON.stringify(env),
      priority: run.priority,
      created_at: run.state.queuedAt,
      artifacts: '[]',
      files_expired: 0,
      version: 1,
      ...stateColumns(run.state),
    })
    .execute();
  const team = session?.team ?? null;
  const record = { ...run, team, stopRequestedAt: null, heldBy: null, usage: null, artifacts: [] };
  return { outcome: 'created', record: { ...record, filesExpired: false, version: 1 } };
}

async function refusal(
  db: Database,
  owner: string,
  sessionPhase: string,
  livePerOwnerMax: number,
): Promise<'quota' | 'closed' | null> {
  if (sessionPhase === 'terminating' || sessionPhase === 'closed') return 'closed';
  const live = await db
    .selectFrom('runs')
    .select((build) => build.fn.countAll<number>().as('count'))
    .where('owner', '=', owner)
    .where('finished_at', 'is', null)
    .executeTakeFirstOrThrow();
  return Number(live.count) >= livePerOwnerMax ? 'quota' : null;
}

/** First the ids and sizes, then as many whole rows as the bound on bytes allows. */
async function list(
  db: Database,
  ...[filter, page]: Parameters<RunStore['list']>
): ReturnType<RunStore['list']> {
  assertPage(page);
  const { within } = filter;
  const found = await (within === undefined
    ? first(db, filter, page)
    : first(db, filter, page).where(
        'id',
        'in',
        idsWithin(db, within, (column, value) => first(db, filter, page).where(column, '=', value)),
      )
  ).execute();
  const ids = fitting(found.slice(0, page.limit));
  if (ids.length === 0) return { records: [], more: false };
  const rows = await db
    .selectFrom('runs')
    .select(runColumns)
    .where('id', 'in', ids)
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .execute();
  return { records: rows.map(runOf), more: found.length > ids.length };
}

/** One more than the page holds, whoever may see it. */
function first(db: Database, filter: Parameters<RunStore['list']>[0], page: Page) {
  let query = db
    .selectFrom('runs')
    .select(['id', sql<number>`length(spec)`.as('size')])
    .where('removed_at', 'is', null);
  if (filter.session !== undefined) query = query.where('session', '=', filter.session);
  if (filter.phase !== undefined) query = query.where('phase', '=', filter.phase);
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (page.after !== null) query = query.where(olderThan(page.after));
  return query
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit + 1);
}

function fitting(found: readonly { id: string; size: number }[]): string[] {
  let bytes = 0;
  const ids: string[] = [];
  for (const { id, size } of found) {
    bytes += Number(size);
    if (bytes > storeLimits.pageSpecBytesMax && ids.length > 0) break;
    ids.push(id);
  }
  return ids;
}

async function rename(
  db: Database,
  ...[id, name, version]: Parameters<RunStore['rename']>
): ReturnType<RunStore['rename']> {
  const row = await db
    .updateTable('runs')
    .set((build) => ({ name, version: build('version', '+', 1) }))
    .where('id', '=', id)
    .where('version', '=', version)
    .where('removed_at', 'is', null)
    .returning(runColumns)
    .executeTakeFirst();
  if (row !== undefined) return { outcome: 'written', record: runOf(row) };
  const there = await db
    .selectFrom('runs')
    .select('id')
    .where('id', '=', id)
    .where('removed_at', 'is', null)
    .executeTakeFirst();
  return { outcome: there === undefined ? 'absent' : 'stale' };
}

async function live(db: Database, session: SessionId | null) {
  let query = db.selectFrom('runs').select(runColumns).where('finished_at', 'is', null);
  if (session !== null) query = query.where('session', '=', session);
  const rows = await query.orderBy('created_at').orderBy('id').execute();
  return rows.map(runOf);
}
