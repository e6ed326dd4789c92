import type { Kysely } from 'kysely';
import type { NoteChanges } from './change-queries.ts';
import { type Ending, endSignIns } from './sign-in-ends.ts';
import type { Tables } from './tables.ts';
import { leaveTeams } from './team-members.ts';

type Database = Kysely<Tables>;

/** Ends all that a removed actor could still act with, its memberships, and what was exchanged from any of it. */
export async function endCredentialsOf(
  db: Database,
  note: NoteChanges,
  actor: string,
  ending: Ending,
): Promise<void> {
  const tokens = await db
    .updateTable('tokens')
    .set({ revoked_at: ending.at })
    .where('actor', '=', actor)
    .where('revoked_at', 'is', null)
    .returning('id')
    .execute();
  await note(db, 'token', ...tokens.map(({ id }) => id));
  for (const { id } of tokens) await endExchanged(db, note, id, ending);
  await endSignIns(db, note, (build) => build('actor', '=', actor), ending);
  await leaveTeams(db, note, actor, null);
}

/** Ends the sign-ins that were exchanged from a token or whatever else is no sign-in itself. */
export async function endExchanged(
  db: Database,
  note: NoteChanges,
  parent: string,
  ending: Ending,
): Promise<void> {
  await endSignIns(db, note, (build) => build('parent', '=', parent), ending);
}
