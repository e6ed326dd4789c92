import type { Kysely } from 'kysely';
import type { NoteChanges } from './change-queries.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

/** Whether there is a team of this name. */
export async function isTeam(db: Database, name: string): Promise<boolean> {
  const row = await db
    .selectFrom('teams')
    .select('name')
    .where('name', '=', name)
    .where('removed_at', 'is', null)
    .executeTakeFirst();
  return row !== undefined;
}

/** Makes an actor a member of teams, which are made where they are not there. */
export async function joinTeams(
  db: Database,
  note: NoteChanges,
  actor: string,
  { teams, at }: { readonly teams: readonly string[]; readonly at: number },
): Promise<void> {
  const joined: string[] = [];
  for (const team of new Set(teams)) {
    await make(db, team, at);
    const row = await db
      .insertInto('team_members')
      .values({ team, actor })
      .onConflict((conflict) => conflict.columns(['team', 'actor']).doNothing())
      .returning('team')
      .executeTakeFirst();
    if (row !== undefined) joined.push(team);
  }
  await changed(db, note, joined);
}

/** Ends an actor's membership of the teams `among`; of all where that is null. */
export async function leaveTeams(
  db: Database,
  note: NoteChanges,
  actor: string,
  among: readonly string[] | null,
): Promise<void> {
  let query = db.deleteFrom('team_members').where('actor', '=', actor);
  if (among !== null) query = query.where('team', 'in', among);
  const rows = await query.returning('team').execute();
  await changed(
    db,
    note,
    rows.map(({ team }) => team),
  );
}

async function make(db: Database, team: string, at: number): Promise<void> {
  await db
    .insertInto('teams')
    .values({ name: team, created_at: at, version: 1 })
    .onConflict((conflict) =>
      conflict
        .column('name')
        .doUpdateSet((build) => ({
          description: null,
          created_at: at,
          removed_at: null,
          version: build('teams.version', '+', 1),
        }))
        .where('teams.removed_at', 'is not', null),
    )
    .execute();
}

async function changed(db: Database, note: NoteChanges, teams: readonly string[]): Promise<void> {
  for (const team of teams)
    await db
      .updateTable('teams')
      .set((build) => ({ version: build('version', '+', 1) }))
      .where('name', '=', team)
      .execute();
  await note(db, 'team', ...teams);
}
