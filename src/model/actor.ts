import type { TokenId } from './ids.ts';
import type { Scope } from './scopes.ts';

/** How far an actor's scopes reach: its own sessions and runs, or everybody's. */
export type Reach = 'own' | 'all';

/**
 * Who asks. Always carried as a value, never ambient. `id` is `user:<name>`, `agent:<name>`, `service:<name>`
 * or `system:<name>`; it is the owner of what the actor creates.
 */
export type Actor = {
  readonly id: ActorId;
  readonly scopes: ReadonlySet<Scope>;
  readonly reach: Reach;
  /** The token that proved the identity; absent for the system and for the machine's own socket. */
  readonly token?: TokenId;
};

export type ActorId = `${ActorKind}:${string}`;
export type ActorKind = 'user' | 'agent' | 'service' | 'system';

const actorPattern = /^(user|agent|service):[a-z0-9][a-z0-9._@-]{0,62}$/;

/** The id of an actor that a token may stand for, or null. `system:` actors are never made from input. */
export function parseActorId(text: string): ActorId | null {
  return actorPattern.test(text) ? (text as ActorId) : null;
}

/** The word before the colon. */
export function actorKind(id: ActorId): ActorKind {
  return id.slice(0, id.indexOf(':')) as ActorKind;
}
