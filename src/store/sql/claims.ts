import type { Kysely } from 'kysely';
import type { Claim, ClaimFound, Store } from '../store.ts';
import type { GroupCommit } from './group-commit.ts';
import type { Tables } from './tables.ts';

type Found = Exclude<ClaimFound, { outcome: 'free' }>;

/** Takes the key for `resource`, or says what holds it. Part of the transaction that makes the resource. */
export async function takeClaim(
  db: Kysely<Tables>,
  claim: Claim | null,
  resource: string,
  at: number,
): Promise<Found | null> {
  if (claim === null) return null;
  const taken = await db
    .insertInto('idempotency')
    .values({ ...claim, resource, created_at: at })
    .onConflict((conflict) => conflict.columns(['actor', 'key']).doNothing())
    .returning('resource')
    .executeTakeFirst();
  if (taken !== undefined) return null;
  const found = await findClaim(db, claim);
  return found.outcome === 'free' ? null : found;
}

async function findClaim(db: Kysely<Tables>, claim: Claim): Promise<ClaimFound> {
  const row = await db
    .selectFrom('idempotency')
    .select(['digest', 'resource'])
    .where('actor', '=', claim.actor)
    .where('key', '=', claim.key)
    .executeTakeFirst();
  if (row === undefined) return { outcome: 'free' };
  if (row.digest !== claim.digest) return { outcome: 'claimed-otherwise' };
  return { outcome: 'replayed', resource: row.resource };
}

export function claimQueries(reader: Kysely<Tables>, writer: GroupCommit): Store['idempotency'] {
  return {
    find: (claim) => findClaim(reader, claim),
    forgetBefore: async (time) => {
      await writer.do((db) => db.deleteFrom('idempotency').where('created_at', '<', time).execute());
    },
  };
}
