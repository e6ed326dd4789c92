import { type ActionName, actionSpec, type ResourceKind } from './actions.ts';
import type { Actor, ActorId } from './actor.ts';
import { type GrantableScope, holds } from './scopes.ts';

/** What an act touches. `owner` is the actor that made it; absent for things that belong to nobody. */
export type Resource = {
  readonly kind: ResourceKind;
  readonly id?: string;
  readonly session?: string;
  readonly owner?: ActorId;
  /** The team that shares it; absent or null for none. */
  readonly team?: string | null;
};

/** What else a decision may look at. `address` is where the request comes from; null on the machine's own socket. */
export type DecisionContext = { readonly address: string | null };

/**
 * The answer of the gate and the rule that made it. `visible` says whether the denied actor may learn that
 * the resource exists; where it may not, the answer is the one for an absent resource (G2).
 */
export type Decision =
  | { readonly allow: true; readonly rule: string }
  | {
      readonly allow: false;
      readonly rule: string;
      readonly visible: boolean;
      /** Whether a policy forbids it, whatever else is missing. */
      readonly forbidden: boolean;
      /** The scope that the action asks for; null where it asks for none. */
      readonly needs: GrantableScope | null;
    };

/** Decides: default-deny, without effects, and in the same way for everybody who asks. */
export type Access = {
  decide(actor: Actor, action: ActionName, resource: Resource, context: DecisionContext): Decision;
};

/** Whether the resource is the actor's own, its team's, nobody's, or the actor reaches everything. */
export function inReach(actor: Actor, resource: Resource): boolean {
  const { owner, team = null } = resource;
  if (owner === undefined && team === null) return true;
  if (owner === actor.id || actor.reach === 'all') return true;
  return actor.reach === 'team' && team !== null && (actor.teams?.has(team) ?? false);
}

/**
 * The rule of roles alone, without anybody's policies: an act is allowed when the actor holds the scope and the
 * resource is in its reach. What asks for no scope is for a person who signed in, about its own account.
 */
export function decideByRole(actor: Actor, action: ActionName, resource: Resource): Decision {
  const { needs } = actionSpec(action);
  const denied = { allow: false, forbidden: false, needs } as const;
  if (needs === null) {
    if (resource.owner === actor.id && actor.signIn !== undefined)
      return { allow: true, rule: 'account:own' };
    return { ...denied, rule: 'account:foreign', visible: resource.owner === actor.id };
  }
  if (!inReach(actor, resource)) return { ...denied, rule: 'ownership:foreign', visible: false };
  if (!holds(actor.scopes, needs)) return { ...denied, rule: `scope:${needs}:missing`, visible: true };
  return { allow: true, rule: actor.scopes.has('*') ? 'scope:*' : `scope:${needs}` };
}
