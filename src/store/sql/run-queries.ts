import assert from 'node:assert/strict';
import { CompiledQuery, type Kysely, sql } from 'kysely';
import type { RunId, SessionId } from '../../model/ids.ts';
import { storeLimits } from '../limits.ts';
import type { RunStore } from '../store.ts';
import { takeClaim } from './claims.ts';
import { assertPage, olderThan } from './paging.ts';
import { keepsEnvironment, runOf, stateColumns } from './rows.ts';
import { runColumns, writeRun } from './run-writes.ts';
import type { RunRow, Tables } from './tables.ts';

type Database = Kysely<Tables>;

export function runQueries(reader: Database, writer: Database): RunStore {
  return {
    create: (run, options) => writer.transaction().execute((db) => create(db, run, options)),
    get: pointRead(reader),
    list: (filter, page) => list(reader, filter, page),
    envOf: async (id) => {
      const row = await reader.selectFrom('runs').select('env').where('id', '=', id).executeTakeFirst();
      return row === undefined || row.env === null ? null : JSON.parse(row.env);
    },
    write: (writes) => {
      assert(writes.length <= storeLimits.batchWritesMax, 'a batch is bounded');
      return writer.transaction().execute(async (db) => {
        const written = [];
        for (const write of writes) written.push(await writeRun(db, write));
        return written;
      });
    },
    rename: (id, name, version) => rename(writer, id, name, version),
    requestStop: async (id, at) => {
      await writer
        .updateTable('runs')
        .set((build) => ({ stop_requested_at: at, version: build('version', '+', 1) }))
        .where('id', '=', id)
        .where('finished_at', 'is', null)
        .where('stop_requested_at', 'is', null)
        .execute();
    },
    remove: async (id, at) => {
      const row = await writer
        .updateTable('runs')
        .set((build) => ({ removed_at: at, version: build('version', '+', 1) }))
        .where('id', '=', id)
        .where('finished_at', 'is not', null)
        .where('removed_at', 'is', null)
        .returning('id')
        .executeTakeFirst();
      return row !== undefined;
    },
    live: () => live(reader, null),
    liveOf: (session) => live(reader, session),
    finishedBefore: async (time, limit) => {
      const rows = await reader
        .selectFrom('runs')
        .select('id')
        .where(sql<boolean>`files_expired = 0 and finished_at is not null`)
        .where((build) => build.or([build('finished_at', '<', time), build('removed_at', 'is not', null)]))
        .orderBy('finished_at')
        .limit(limit)
        .execute();
      return rows.map((row) => row.id as RunId);
    },
    markFilesExpired: async (runs) => {
      if (runs.length === 0) return;
      await writer
        .updateTable('runs')
        .set((build) => ({ files_expired: 1, version: build('version', '+', 1) }))
        .where('id', 'in', runs)
        .execute();
    },
    countByPhase: async () => {
      const rows = await reader
        .selectFrom('runs')
        .select(['phase', (build) => build.fn.countAll<number>().as('count')])
        .groupBy('phase')
        .execute();
      return Object.fromEntries(rows.map((row) => [row.phase, Number(row.count)]));
    },
  };
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
    .select(['phase'])
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
      spec: JSON.stringify(run.spec),
      env: Object.keys(env).length === 0 ? null : JSON.stringify(env),
      priority: run.priority,
      created_at: run.state.queuedAt,
      artifacts: '[]',
      files_expired: 0,
      version: 1,
      ...stateColumns(run.state),
    })
    .execute();
  const record = { ...run, stopRequestedAt: null, heldBy: null, usage: null, artifacts: [] };
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
  let query = db
    .selectFrom('runs')
    .select(['id', sql<number>`length(spec)`.as('size')])
    .where('removed_at', 'is', null);
  if (filter.owner !== undefined) query = query.where('owner', '=', filter.owner);
  if (filter.session !== undefined) query = query.where('session', '=', filter.session);
  if (filter.phase !== undefined) query = query.where('phase', '=', filter.phase);
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (page.after !== null) query = query.where(olderThan(page.after));
  const found = await query
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
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
