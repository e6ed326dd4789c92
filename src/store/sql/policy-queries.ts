import assert from 'node:assert/strict';
import { type Kysely, sql } from 'kysely';
import type { RunId } from '../../model/ids.ts';
import { storeLimits } from '../limits.ts';
import type { Affected, CurrentPolicy, Listed, PolicyRecord, PolicyStore, PolicySummary } from '../store.ts';
import type { GroupCommit } from './group-commit.ts';
import { policyOf, policySummaryOf } from './rows.ts';
import type { Tables } from './tables.ts';
import { isTeam } from './team-members.ts';

type Database = Kysely<Tables>;

const policyColumns = [
  'name',
  'generation',
  'document',
  'owner',
  'team',
  'author',
  'reason',
  'created_at',
] as const;

const summaryColumns = [
  'name',
  'generation',
  'owner',
  'team',
  'author',
  'reason',
  'created_at',
  sql<number>`case when document is null then 1 else 0 end`.as('removed'),
] as const;

export function policyQueries(reader: Database, writer: GroupCommit): PolicyStore {
  const select = () => reader.selectFrom('policies').select(policyColumns);
  return {
    put: (policy, current) => writer.do((db) => put(db, policy, current)),
    remove: (policy) => writer.do((db) => remove(db, policy)),
    get: async (name) => {
      const row = await select().where('name', '=', name).where('current', '=', 1).executeTakeFirst();
      const record = row === undefined ? null : policyOf(row);
      return record !== null && isCurrent(record) ? record : null;
    },
    newest: (name) => newest(reader, name),
    getGeneration: async (name, generation) => {
      const row = await select()
        .where('name', '=', name)
        .where('generation', '=', generation)
        .executeTakeFirst();
      return row === undefined ? null : policyOf(row);
    },
    getAll: async (names) => {
      if (names.length === 0) return [];
      const rows = await select().where('name', 'in', names).where('current', '=', 1).execute();
      return rows.map(policyOf).filter(isCurrent);
    },
    list: (filter, page) => list(reader, filter, page),
    isOwner: async (actor) => {
      const owned = reader.selectFrom('policies').select('name').where('current', '=', 1);
      return (await owned.where('owner', '=', actor).limit(1).executeTakeFirst()) !== undefined;
    },
    history: (name, page) => history(reader, name, page),
  };
}

function isCurrent(record: PolicyRecord): record is CurrentPolicy {
  return record.document !== null;
}

async function newest(db: Database, name: string): Promise<PolicyRecord | null> {
  const row = await db
    .selectFrom('policies')
    .select(policyColumns)
    .where('name', '=', name)
    .where('current', '=', 1)
    .executeTakeFirst();
  return row === undefined ? null : policyOf(row);
}

async function put(
  db: Database,
  ...[policy, current]: Parameters<PolicyStore['put']>
): ReturnType<PolicyStore['put']> {
  const before = await newest(db, policy.name);
  const known = before === null || before.document === null ? null : before.generation;
  if (known !== current) return { outcome: 'stale' };
  const { team = before?.team ?? null } = policy;
  if (typeof policy.team === 'string' && !(await isTeam(db, policy.team))) return { outcome: 'team' };
  const owner = before?.owner ?? policy.author;
  const record = { ...policy, owner, team, generation: (before?.generation ?? 0) + 1 };
  await append(db, record);
  return { outcome: 'written', record, affected: await recompile(db, policy.name) };
}

async function remove(
  db: Database,
  ...[policy]: Parameters<PolicyStore['remove']>
): ReturnType<PolicyStore['remove']> {
  const before = await newest(db, policy.name);
  if (before === null || before.document === null) return { outcome: 'absent' };
  const { owner, team } = before;
  const record = { ...policy, owner, team, document: null, generation: before.generation + 1 };
  await append(db, record);
  return { outcome: 'written', record, affected: await recompile(db, policy.name) };
}

async function append(db: Database, record: PolicyRecord): Promise<void> {
  const { name, generation, document, owner, team, author, reason, createdAt } = record;
  await db
    .updateTable('policies')
    .set({ current: 0 })
    .where('name', '=', name)
    .where('current', '=', 1)
    .execute();
  await db
    .insertInto('policies')
    .values({
      name,
      generation,
      current: 1,
      document: document === null ? null : JSON.stringify(document),
      owner,
      team,
      author,
      reason,
      created_at: createdAt,
    })
    .execute();
}

/** Names are stored as a JSON list of quoted words, so a quoted word is found in exactly the lists that hold it. */
async function recompile(db: Database, name: string): Promise<Affected> {
  const live = await db
    .selectFrom('runs')
    .select(['id', 'egress_names'])
    .where('finished_at', 'is', null)
    .where('egress_names', '!=', '[]')
    .execute();
  const ids = live.filter((run) => run.egress_names.includes(JSON.stringify(name))).map(({ id }) => id);
  const affected: { run: RunId; generation: number }[] = [];
  for (const id of ids) {
    const { egress_generation: generation } = await db
      .updateTable('runs')
      .set((build) => ({ egress_generation: build('egress_generation', '+', 1) }))
      .where('id', '=', id)
      .returning('egress_generation')
      .executeTakeFirstOrThrow();
    affected.push({ run: id as RunId, generation });
  }
  return affected;
}

async function list(
  db: Database,
  ...[{ within }, { after, limit }]: Parameters<PolicyStore['list']>
): Promise<Listed<PolicySummary>> {
  assertLimit(limit);
  let query = db
    .selectFrom('policies')
    .select(summaryColumns)
    .where('current', '=', 1)
    .where('document', 'is not', null);
  if (within !== undefined)
    query = query.where((build) =>
      build.or([
        build('team', 'is', null),
        build('owner', '=', within.owner),
        ...(within.teams.length === 0 ? [] : [build('team', 'in', within.teams)]),
      ]),
    );
  if (after !== null) query = query.where('name', '>', after);
  const rows = await query
    .orderBy('name')
    .limit(limit + 1)
    .execute();
  return { records: rows.slice(0, limit).map(policySummaryOf), more: rows.length > limit };
}

async function history(
  db: Database,
  ...[name, { before, limit }]: Parameters<PolicyStore['history']>
): Promise<Listed<PolicySummary>> {
  assertLimit(limit);
  let query = db.selectFrom('policies').select(summaryColumns).where('name', '=', name);
  if (before !== null) query = query.where('generation', '<', before);
  const rows = await query
    .orderBy('generation', 'desc')
    .limit(limit + 1)
    .execute();
  return { records: rows.slice(0, limit).map(policySummaryOf), more: rows.length > limit };
}

function assertLimit(limit: number): void {
  assert(limit >= 1 && limit <= storeLimits.pageRecordsMax, 'a page has a bounded size');
}
