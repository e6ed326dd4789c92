import assert from 'node:assert/strict';
import { CompiledQuery, type Insertable, type Kysely, sql } from 'kysely';
import type { ActorId } from '../../model/actor.ts';
import type { EgressFlow, EgressFlowEnd } from '../../model/egress.ts';
import type { RunId, SessionId } from '../../model/ids.ts';
import { storeLimits } from '../limits.ts';
import type { FlowCounts, FlowStore } from '../store.ts';
import type { GroupCommit } from './group-commit.ts';
import { idsWithin } from './reach.ts';
import { flowOf } from './rows.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

export function flowQueries(reader: Database, writer: GroupCommit): FlowStore {
  const texts = textsOf(reader);
  return {
    record: (flows, ends) => writer.do((db) => record(db, texts, flows, ends)),
    known: (run, ids) => known(reader, run, ids),
    list: (run, filter, page) => list(reader, run, filter, page),
    newest: (run, page) => newest(reader, run, page),
    runsSince: (since, filter, page) => runsSince(reader, since, filter, page),
    countsOf: (run) => countsOf(reader, run),
    remove: (run, max) => writer.do((db) => remove(db, run, max)),
  };
}

type Texts = { readonly insertion: string; readonly ending: string };

/** Made once: both are written for every connection, and making them costs more than carrying them out. */
function textsOf(db: Database): Texts {
  const insertion = db
    .insertInto('flows')
    .values(Object.fromEntries(flowColumns.map((name) => [name, ''])) as Insertable<Tables['flows']>)
    .onConflict((conflict) => conflict.columns(['run', 'id']).doNothing());
  const ending = db
    .updateTable('flows')
    .set({ ended_at: 0, bytes_out: 0, bytes_in: 0, outcome: '' })
    .where('run', '=', '')
    .where('id', '=', 0)
    .where('ended_at', 'is', null);
  return { insertion: insertion.compile().sql, ending: ending.compile().sql };
}

const flowColumns = [
  ...['id', 'run', 'at', 'host', 'address', 'port', 'protocol', 'method', 'path'],
  ...['verdict', 'rule', 'denial', 'generation', 'count'],
  ...['ended_at', 'bytes_out', 'bytes_in', 'outcome'],
];

async function record(
  db: Database,
  { insertion, ending }: Texts,
  flows: readonly EgressFlow[],
  ends: readonly EgressFlowEnd[],
): Promise<void> {
  const ended = new Map(ends.toReversed().map((end) => [`${end.run} ${end.id}`, end]));
  const write = (text: string, parameters: readonly unknown[]) =>
    db.executeQuery(CompiledQuery.raw(text, [...parameters]));
  for (const flow of flows) {
    const key = `${flow.run} ${flow.id}`;
    const { numAffectedRows } = await write(insertion, [...valuesOf(flow), ...endValuesOf(ended.get(key))]);
    if (numAffectedRows !== 0n) ended.delete(key);
  }
  for (const end of ended.values()) await write(ending, [...endValuesOf(end), end.run, end.id]);
}

/** In the order of `flowColumns`. */
function valuesOf(flow: EgressFlow): readonly unknown[] {
  const { id, run, at, host, address, port, protocol, method, path } = flow;
  const { verdict, rule, denial, generation, count } = flow;
  return [
    ...[id, run, at, host, address, port, protocol, method, path],
    ...[verdict, rule, denial, generation, count],
  ];
}

function endValuesOf(end: EgressFlowEnd | undefined): readonly unknown[] {
  return [end?.at ?? null, end?.bytesOut ?? null, end?.bytesIn ?? null, end?.outcome ?? null];
}

/** Always the same number of parameters, so that its statement is prepared once. */
async function known(db: Database, run: RunId, ids: readonly number[]): Promise<Set<number>> {
  const found = new Set<number>();
  const size = storeLimits.flowLookupMax;
  for (let at = 0; at < ids.length; at += size) {
    const part = ids.slice(at, at + size);
    const padded = [...part, ...Array<number>(size - part.length).fill(part[0]!)];
    const rows = await db
      .selectFrom('flows')
      .select('id')
      .where('run', '=', run)
      .where('id', 'in', padded)
      .execute();
    for (const { id } of rows) found.add(Number(id));
  }
  return found;
}

async function list(
  db: Database,
  ...[run, { verdict, host }, { after, limit }]: Parameters<FlowStore['list']>
): ReturnType<FlowStore['list']> {
  assert(limit >= 1 && limit <= storeLimits.pageRecordsMax, 'a page has a bounded size');
  let query = db.selectFrom('flows').selectAll().where('run', '=', run);
  if (verdict !== undefined) query = query.where('verdict', '=', verdict);
  if (host !== undefined) query = query.where('host', '=', host);
  if (after !== null) query = query.where('id', '>', after);
  const rows = await query
    .orderBy('id')
    .limit(limit + 1)
    .execute();
  return { records: rows.slice(0, limit).map(flowOf), more: rows.length > limit };
}

async function newest(
  db: Database,
  ...[run, { before, limit }]: Parameters<FlowStore['newest']>
): ReturnType<FlowStore['newest']> {
  assert(limit >= 1 && limit <= storeLimits.pageRecordsMax, 'a page has a bounded size');
  let query = db.selectFrom('flows').selectAll().where('run', '=', run);
  if (before !== null) query = query.where('id', '<', before);
  const rows = await query
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return { records: rows.slice(0, limit).map(flowOf), more: rows.length > limit };
}

async function runsSince(
  db: Database,
  ...[since, filter, page]: Parameters<FlowStore['runsSince']>
): ReturnType<FlowStore['runsSince']> {
  const { limit } = page;
  const { within } = filter;
  assert(limit >= 1 && limit <= storeLimits.pageRecordsMax, 'a page has a bounded size');
  let ids = firstSince(db, since, filter, page);
  if (within !== undefined)
    ids = ids.where(
      'id',
      'in',
      idsWithin(db, within, (column, value) => firstSince(db, since, filter, page).where(column, '=', value)),
    );
  const rows = await db
    .selectFrom('runs')
    .select((build) => [
      ...(['id', 'session', 'owner', 'team', 'finished_at'] as const),
      build.exists(build.selectFrom('flows').select('flows.id').whereRef('run', '=', 'runs.id')).as('flows'),
    ])
    .where('id', 'in', ids)
    .orderBy('finished_at', 'desc')
    .orderBy('id', 'desc')
    .execute();
  const records = rows.slice(0, limit).map(({ id, session, owner, team, finished_at, flows }) => ({
    id: id as RunId,
    session: session as SessionId,
    owner: owner as ActorId,
    team,
    endedAt: Number(finished_at),
    hasFlows: Boolean(flows),
  }));
  return { records, more: rows.length > limit };
}

/** One more than the page holds, whoever may see it. */
function firstSince(
  db: Database,
  ...[since, { session }, { after, limit }]: Parameters<FlowStore['runsSince']>
) {
  let query = db
    .selectFrom('runs')
    .select('id')
    .where(sql<boolean>`files_expired = 0 and finished_at is not null`)
    .where('removed_at', 'is', null)
    .where('finished_at', '>=', since);
  if (session !== undefined) query = query.where('session', '=', session);
  if (after !== null) query = query.where(sql<boolean>`(finished_at, id) < (${after.endedAt}, ${after.id})`);
  return query
    .orderBy('finished_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit + 1);
}

async function countsOf(db: Database, run: RunId): Promise<FlowCounts> {
  const row = await db
    .selectFrom('flows')
    .select([
      sql<number>`coalesce(sum(case when verdict = 'allowed' then count else 0 end), 0)`.as('allowed'),
      sql<number>`coalesce(sum(case when verdict = 'denied' then count else 0 end), 0)`.as('denied'),
      sql<number>`coalesce(sum(bytes_out), 0)`.as('bytesOut'),
      sql<number>`coalesce(sum(bytes_in), 0)`.as('bytesIn'),
    ])
    .where('run', '=', run)
    .executeTakeFirstOrThrow();
  const { allowed, denied, bytesOut, bytesIn } = row;
  return {
    allowed: Number(allowed),
    denied: Number(denied),
    bytesOut: Number(bytesOut),
    bytesIn: Number(bytesIn),
  };
}

async function remove(db: Database, run: RunId, max: number): Promise<boolean> {
  const oldest = db.selectFrom('flows').select('id').where('run', '=', run).orderBy('id').limit(max);
  const { numDeletedRows } = await db
    .deleteFrom('flows')
    .where('run', '=', run)
    .where('id', 'in', oldest)
    .executeTakeFirst();
  return Number(numDeletedRows) >= max;
}
