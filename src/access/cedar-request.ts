import type { ActionName } from '../model/actions.ts';
import { type Actor, actorKind } from '../model/actor.ts';
import type { DecisionContext, Resource } from '../model/decide.ts';
import { formatAddress, parseAddress, unmapped } from '../model/ip-address.ts';
import type { Cedar } from './cedar.ts';
import { entityType, groupOf } from './schema.ts';

type Call = Parameters<Cedar['statefulIsAuthorized']>[0];
type Entity = Call['entities'][number];

/** The question as Cedar takes it, with no more entities than it needs: who, what, and the group of the act. */
export function cedarRequest(
  set: string,
  actor: Actor,
  action: ActionName,
  resource: Resource,
  { address }: DecisionContext,
): Call {
  const principal = { type: 'Actor', id: actor.id };
  const target = { type: entityType(resource.kind), id: resource.id ?? '' };
  const act = { type: 'Action', id: action };
  return {
    principal,
    action: act,
    resource: target,
    context: contextOf(address),
    preparsedPolicySetId: set,
    entities: [
      { uid: principal, attrs: actorFacts(actor), parents: [] },
      { uid: target, attrs: resourceFacts(resource), parents: [] },
      { uid: act, attrs: {}, parents: [{ type: 'Action', id: groupOf(action) }] },
    ],
  };
}

/** An address that is none is not the machine's own socket, and is in no network. */
function contextOf(address: string | null): Call['context'] {
  if (address === null) return { local: true };
  const parsed = parseAddress(address);
  if (parsed === null) return { local: false };
  return { local: false, address: { __extn: { fn: 'ip', arg: formatAddress(unmapped(parsed)) } } };
}

function actorFacts({ id, role, scopes, reach, teams, narrowed, signIn }: Actor): Entity['attrs'] {
  return {
    id,
    kind: actorKind(id),
    ...(role === undefined ? {} : { role }),
    scopes: [...scopes],
    reach,
    teams: teams === undefined ? [] : [...teams],
    narrowed: narrowed ?? false,
    signedIn: signIn !== undefined,
    mfa: signIn?.mfa ?? false,
  };
}

function resourceFacts({ kind, id, owner, team, session }: Resource): Entity['attrs'] {
  return {
    kind,
    ...(id === undefined ? {} : { id }),
    ...(owner === undefined ? {} : { owner }),
    ...(team === undefined || team === null ? {} : { team }),
    ...(session === undefined ? {} : { session }),
  };
}
