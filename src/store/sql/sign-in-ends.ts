import { type ExpressionBuilder, type ExpressionWrapper, type Kysely, type SqlBool, sql } from 'kysely';
import type { SignInRecord } from '../identity-store.ts';
import type { NoteChanges } from './change-queries.ts';
import { signInOf } from './identity-rows.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;
type Which = (build: ExpressionBuilder<Tables, 'sign_ins'>) => ExpressionWrapper<Tables, 'sign_ins', SqlBool>;

/** How and when sign-ins end. */
export type Ending = { readonly at: number; readonly reason: string };

/**
 * Revokes these sign-ins and all that was exchanged from them, however deep, in one statement. Gives back those that
 * were not revoked before.
 */
export async function endSignIns(
  db: Database,
  note: NoteChanges,
  which: Which,
  { at, reason }: Ending,
): Promise<readonly SignInRecord[]> {
  const rows = await db
    .withRecursive('ending(id)', (cte) =>
      cte
        .selectFrom('sign_ins')
        .select('id')
        .where(which)
        .union(
          cte
            .selectFrom('sign_ins')
            .innerJoin('ending', 'ending.id', 'sign_ins.parent')
            .select('sign_ins.id'),
        ),
    )
    .updateTable('sign_ins')
    .set({ revoked_at: at, revoked_for: reason })
    .where('id', 'in', sql<string>`(select id from ending)`)
    .where('revoked_at', 'is', null)
    .returningAll()
    .execute();
  await note(db, 'sign-in', ...rows.map(({ id }) => id));
  return rows.map(signInOf);
}
