import type { Kysely } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import type { ActorId } from '../../model/actor.ts';
import type { TeamRecord, TeamStore } from '../identity-store.ts';
import { ownerAlone } from '../store.ts';
import type { NoteChanges } from './change-queries.ts';
import type { GroupCommit } from './group-commit.ts';
import type { TeamRow } from './identity-tables.ts';
import { plainPageOf } from './paging.ts';
import type { Tables } from './tables.ts';
import { joinTeams, leaveTeams } from './team-members.ts';

type Database = Kysely<Tables>;
type Writing = { readonly note: NoteChanges; readonly clock: Clock };

const teamColumns = ['name', 'description', 'created_at', 'version'] as const;

export function teamQueries(reader: Database, writer: GroupCommit, writing: Writing): TeamStore {
  return {
    put: (team, version) => writer.do((db) => put(db, writing.note, team, version)),
    get: async (name) => {
      const row = await selectTeams(reader).where('name', '=', name).executeTakeFirst();
      return row === undefined ? null : await withMembers(reader, row);
    },
    list: async ({ after, limit }) => {
      let query = selectTeams(reader);
      if (after !== null) query = query.where('name', '>', after);
      const rows = await query
        .orderBy('name')
        .limit(limit + 1)
        .execute();
      const { records, more } = plainPageOf(rows, limit, (row) => row);
      const teams: TeamRecord[] = [];
      for (const row of records) teams.push(await withMembers(reader, row));
      return { records: teams, more };
    },
    of: async (actor) => {
      const rows = await reader
        .selectFrom('team_members')
        .select('team')
        .where('actor', '=', actor)
        .orderBy('team')
        .execute();
      return rows.map(({ team }) => team);
    },
    assign: (actor, teams, among) => writer.do((db) => assign(db, writing, [actor, teams, among])),
    remove: (name) => writer.do((db) => remove(db, writing, name)),
  };
}

function selectTeams(db: Database) {
  return db.selectFrom('teams').select(teamColumns).where('removed_at', 'is', null);
}

async function withMembers(db: Database, row: TeamRow): Promise<TeamRecord> {
  const members = await db
    .selectFrom('team_members')
    .select('actor')
    .where('team', '=', row.name)
    .orderBy('actor')
    .execute();
  return {
    name: row.name,
    description: row.description,
    members: members.map(({ actor }) => actor as ActorId),
    createdAt: row.created_at,
    version: row.version,
  };
}

async function put(
  db: Database,
  note: NoteChanges,
  ...[team, version]: Parameters<TeamStore['put']>
): ReturnType<TeamStore['put']> {
  const row = version === null ? await make(db, team) : await replace(db, team, version);
  if (row === undefined) {
    const there = await selectTeams(db).where('name', '=', team.name).executeTakeFirst();
    return { outcome: there === undefined ? 'absent' : 'stale' };
  }
  await db.deleteFrom('team_members').where('team', '=', team.name).execute();
  for (const actor of new Set(team.members))
    await db.insertInto('team_members').values({ team: team.name, actor }).execute();
  await note(db, 'team', team.name);
  return { outcome: 'written', record: await withMembers(db, row) };
}

/** A team that is made again after its removal goes on counting, so that a version is never another's. */
async function make(db: Database, team: Parameters<TeamStore['put']>[0]) {
  const { name, description, createdAt } = team;
  return await db
    .insertInto('teams')
    .values({ name, description, created_at: createdAt, version: 1 })
    .onConflict((conflict) =>
      conflict
        .column('name')
        .doUpdateSet((build) => ({
          description,
          created_at: createdAt,
          removed_at: null,
          version: build('teams.version', '+', 1),
        }))
        .where('teams.removed_at', 'is not', null),
    )
    .returning(teamColumns)
    .executeTakeFirst();
}

async function replace(db: Database, team: Parameters<TeamStore['put']>[0], version: number) {
  return await db
    .updateTable('teams')
    .set((build) => ({ description: team.description, version: build('version', '+', 1) }))
    .where('name', '=', team.name)
    .where('version', '=', version)
    .where('removed_at', 'is', null)
    .returning(teamColumns)
    .executeTakeFirst();
}

async function assign(
  db: Database,
  { note, clock }: Writing,
  [actor, teams, among]: Parameters<TeamStore['assign']>,
): ReturnType<TeamStore['assign']> {
  const wanted = new Set(teams);
  const left = among.filter((team) => !wanted.has(team));
  const joined = among.filter((team) => wanted.has(team));
  if (left.length > 0) await leaveTeams(db, note, actor, left);
  await joinTeams(db, note, actor, { teams: joined, at: clock.now() });
}

async function remove(db: Database, { note, clock }: Writing, name: string): Promise<boolean> {
  const row = await db
    .updateTable('teams')
    .set({ removed_at: clock.now() })
    .where('name', '=', name)
    .where('removed_at', 'is', null)
    .returning('name')
    .executeTakeFirst();
  if (row === undefined) return false;
  await db.deleteFrom('team_members').where('team', '=', name).execute();
  await unshare(db, name);
  await note(db, 'team', name);
  return true;
}

/** A team that is made later under the same name finds nothing, and what was a team's is not everybody's. */
async function unshare(db: Database, name: string): Promise<void> {
  await db.updateTable('sessions').set({ team: null }).where('team', '=', name).execute();
  await db.updateTable('runs').set({ team: null }).where('team', '=', name).execute();
  await db.updateTable('policies').set({ team: ownerAlone }).where('team', '=', name).execute();
}
