import type { AccessExplanationView, ExplainAccess } from '../../contract/access-schemas.ts';
import { absent, Fault } from '../../contract/faults.ts';
import type { Principal, Principals } from '../../identity/principals.ts';
import { actionSpec, parseAction, type ResourceKind, resourceKinds } from '../../model/actions.ts';
import { type Actor, actorKind } from '../../model/actor.ts';
import type { Resource } from '../../model/decide.ts';
import { readingOf } from '../../model/reading.ts';
import type { Store } from '../../store/store.ts';
import type { Caller } from '../control.ts';
import type { Gate } from '../gate.ts';
import type { AccessSet } from './access-set.ts';
import { namedResource } from './named-resource.ts';

export type ExplainParts = {
  readonly access: AccessSet;
  readonly store: Store;
  readonly principals: Pick<Principals, 'of'>;
  readonly gate: Gate;
};

/**
 * Why somebody may do something or may not. Everybody may ask about themselves; about others whoever may read
 * identities. What the caller may not see is absent here too.
 */
export async function explainAccess(
  parts: ExplainParts,
  caller: Caller,
  request: ExplainAccess,
): Promise<AccessExplanationView> {
  const { access, gate } = parts;
  const action = parseAction(request.action);
  if (action === null)
    throw new Fault('request.invalid', { detail: `${request.action} is no act that is decided.` });
  const isOwn = request.actor === undefined || request.actor === caller.actor.id;
  if (!isOwn) await gate.read(caller, { action: 'access.explain', resource: { kind: 'access-policy' } });
  const resource = await resourceOf(parts, caller, request.resource, actionSpec(action).on);
  const actor = isOwn ? caller.actor : await actorOf(parts, request.actor!);
  const shown = {
    actor: request.actor ?? caller.actor.id,
    action,
    resource: { kind: resource.kind, id: resource.id ?? null },
  };
  if (actor === null)
    return { ...shown, allow: false, rule: 'actor:disabled', determining: [], missing: ['to be enabled'] };
  const address = request.address ?? caller.request.address;
  const { decision, determining, missing } = access.engine.explain(actor, action, resource, { address });
  const { allow, rule } = decision;
  return { ...shown, allow, rule, determining: [...determining], missing: [...missing] };
}

/** The thing that is meant, of which nobody learns here who may not otherwise. */
async function resourceOf(
  parts: ExplainParts,
  caller: Caller,
  text: string | undefined,
  kind: ResourceKind,
): Promise<Resource> {
  if (text === undefined) return kind === 'account' ? ownAccount(caller) : { kind };
  if ((resourceKinds as readonly string[]).includes(text)) return { kind: text as ResourceKind };
  const named = await namedResource(parts.store, text);
  if (named === null || !(await mayKnow(parts, caller, named))) throw absent('resource');
  return named;
}

/** Its own things, and what the caller may look at: names of people and teams are nobody's, and not for everybody. */
async function mayKnow({ access, gate }: ExplainParts, caller: Caller, named: Resource): Promise<boolean> {
  if (named.owner === caller.actor.id) return true;
  const looked: Resource = named.kind === 'account' ? { kind: 'user', id: named.id! } : named;
  const reading = readingOf[looked.kind];
  if (reading === undefined) return false;
  const { address } = caller.request;
  const seen = access.engine.decide(caller.actor, reading, looked, { address });
  if (seen.allow || (seen.visible && looked.owner !== undefined)) return true;
  // Asked again through the gate, so that the denial is on record.
  await gate.read(caller, { action: reading, resource: looked }).catch(() => undefined);
  return false;
}

function ownAccount({ actor: { id } }: Caller): Resource {
  return { kind: 'account', id: id.slice(id.indexOf(':') + 1), owner: id };
}

/** As it would be now; a user as one who signed in with a second factor. Null where it may do nothing. */
async function actorOf({ principals }: ExplainParts, id: Actor['id']): Promise<Actor | null> {
  const known = await principals.of(id);
  if (known === 'unknown') throw absent('actor');
  return known === 'disabled' ? null : asActor(known);
}

function asActor({ id, role, scopes, reach, teams, elevated }: Principal): Actor {
  const rights = elevated ?? { role, scopes, reach };
  if (actorKind(id) !== 'user') return { id, ...rights, teams, narrowed: true };
  const { role: held, scopes: all, reach: far } = rights;
  return { id, role: held, scopes: all, reach: far, teams, signIn: { at: 0, mfa: true } };
}
