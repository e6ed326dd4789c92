import type { Actor, ActorId } from './actor.ts';
import { type GrantableScope, holds } from './scopes.ts';

/** What an act touches. `owner` is the actor that made it; absent for things that belong to nobody. */
export type Resource = {
  readonly kind: 'session' | 'run' | 'upload' | 'token' | 'policy' | 'audit' | 'cluster';
  readonly id?: string;
  readonly session?: string;
  readonly owner?: ActorId;
};

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
      readonly needs: GrantableScope;
    };

/**
 * Default-deny and pure: an act is allowed when the actor holds the scope and the resource is its own or
 * its reach is `all`. A resource without an owner asks for the scope alone.
 */
export function decide(actor: Actor, needs: GrantableScope, resource: Resource): Decision {
  const foreign = resource.owner !== undefined && resource.owner !== actor.id && actor.reach !== 'all';
  if (foreign) return { allow: false, rule: 'ownership:foreign', visible: false, needs };
  if (!holds(actor.scopes, needs))
    return { allow: false, rule: `scope:${needs}:missing`, visible: true, needs };
  return { allow: true, rule: actor.scopes.has('*') ? 'scope:*' : `scope:${needs}` };
}
