import { bootstrapActor } from '../../identity/tokens.ts';
import type { Store } from '../../store/store.ts';

/**
 * Whether something is a name's already though it is no user's, such as a token, a session, a run in another's session,
 * a policy or an agent: it would be the newcomer's.
 */
export async function standsForSomething(store: Store, name: string): Promise<boolean> {
  const actor = `user:${name}` as const;
  if (actor === bootstrapActor.id) return true;
  const one = { after: null, limit: 1 };
  const within = { owner: actor, teams: [] };
  const [ownsPolicy, ...lists] = await Promise.all([
    store.policies.isOwner(actor),
    store.tokens.list({ actor }, one),
    store.sessions.list({ within }, one),
    store.runs.list({ within }, one),
    store.identity.agents.list({ owner: actor }, one),
  ]);
  return ownsPolicy || lists.some(({ records }) => records.length > 0);
}
