import { bootstrapActor } from '../../identity/tokens.ts';
import type { Store } from '../../store/store.ts';

/** Whether something is a name's already, a token or a session, though it is no user's: it would be the newcomer's. */
export async function standsForSomething(store: Store, name: string): Promise<boolean> {
  const actor = `user:${name}` as const;
  if (actor === bootstrapActor.id) return true;
  const one = { after: null, limit: 1 };
  const [tokens, sessions] = await Promise.all([
    store.tokens.list({ actor }, one),
    store.sessions.list({ within: { owner: actor, teams: [] } }, one),
  ]);
  return tokens.records.length + sessions.records.length > 0;
}
