import type { Kysely } from 'kysely';
import type { AgentStore } from '../identity-store.ts';
import type { NoteChanges } from './change-queries.ts';
import { endCredentialsOf } from './credential-ends.ts';
import type { GroupCommit } from './group-commit.ts';
import { agentOf } from './identity-rows.ts';
import { olderThan, pageOf } from './paging.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

const agentColumns = [
  'id',
  'display_name',
  'owner',
  'role',
  'scopes',
  'egress',
  'phase',
  'created_at',
  'version',
] as const;

export function agentQueries(
  reader: Database,
  writer: GroupCommit,
  note: NoteChanges,
): Pick<AgentStore, 'create' | 'get' | 'list' | 'update' | 'remove'> {
  return {
    create: (agent) => writer.do((db) => create(db, note, agent)),
    get: async (id) => {
      const row = await selectAgents(reader).where('id', '=', id).executeTakeFirst();
      return row === undefined ? null : agentOf(row);
    },
    list: async (filter, page) => {
      let query = selectAgents(reader);
      if (filter.owner !== undefined) query = query.where('owner', '=', filter.owner);
      if (page.after !== null) query = query.where(olderThan(page.after));
      const rows = await query
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(page.limit + 1)
        .execute();
      return pageOf(rows, page, agentOf);
    },
    update: (id, change, version) => writer.do((db) => update(db, note, [id, change, version])),
    remove: (id, at) => writer.do((db) => remove(db, note, id, at)),
  };
}

function selectAgents(db: Database) {
  return db.selectFrom('agents').select(agentColumns).where('removed_at', 'is', null);
}

async function create(
  db: Database,
  note: NoteChanges,
  agent: Parameters<AgentStore['create']>[0],
): ReturnType<AgentStore['create']> {
  const row = await db
    .insertInto('agents')
    .values({
      id: agent.id,
      display_name: agent.displayName,
      owner: agent.owner,
      role: agent.role,
      scopes: JSON.stringify(agent.scopes),
      egress: egressText(agent.egress),
      phase: agent.phase,
      created_at: agent.createdAt,
      version: 1,
    })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .returning(agentColumns)
    .executeTakeFirst();
  if (row === undefined) return { outcome: 'taken' };
  // Until now a token could stand for the name without having its rights.
  await note(db, 'agent', agent.id);
  return { outcome: 'created', record: agentOf(row) };
}

async function update(
  db: Database,
  note: NoteChanges,
  [id, change, version]: Parameters<AgentStore['update']>,
): ReturnType<AgentStore['update']> {
  let query = db
    .updateTable('agents')
    .set((build) => ({ ...columnsOf(change), version: build('version', '+', 1) }))
    .where('id', '=', id)
    .where('removed_at', 'is', null);
  if (version !== null) query = query.where('version', '=', version);
  const row = await query.returning(agentColumns).executeTakeFirst();
  if (row === undefined) {
    const there = await selectAgents(db).where('id', '=', id).executeTakeFirst();
    return { outcome: there === undefined ? 'absent' : 'stale' };
  }
  await note(db, 'agent', id);
  return { outcome: 'written', record: agentOf(row) };
}

function columnsOf(change: Parameters<AgentStore['update']>[1]) {
  return {
    ...(change.displayName === undefined ? {} : { display_name: change.displayName }),
    ...(change.owner === undefined ? {} : { owner: change.owner as string }),
    ...(change.role === undefined ? {} : { role: change.role }),
    ...(change.scopes === undefined ? {} : { scopes: JSON.stringify(change.scopes) }),
    ...(change.egress === undefined ? {} : { egress: egressText(change.egress) }),
    ...(change.phase === undefined ? {} : { phase: change.phase as string }),
  };
}

function egressText(names: readonly string[] | null): string | null {
  return names === null ? null : JSON.stringify(names);
}

async function remove(
  db: Database,
  note: NoteChanges,
  ...[id, at]: Parameters<AgentStore['remove']>
): ReturnType<AgentStore['remove']> {
  const row = await db
    .updateTable('agents')
    .set({ removed_at: at, phase: 'disabled' })
    .where('id', '=', id)
    .where('removed_at', 'is', null)
    .returning('id')
    .executeTakeFirst();
  if (row === undefined) return false;
  await db
    .updateTable('agent_credentials')
    .set({ revoked_at: at })
    .where('agent', '=', id)
    .where('revoked_at', 'is', null)
    .execute();
  await endCredentialsOf(db, note, id, { at, reason: 'the agent was removed' });
  await note(db, 'agent', id);
  return true;
}
