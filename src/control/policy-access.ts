import { absent, Fault } from '../contract/faults.ts';
import type { ActionName } from '../model/actions.ts';
import { actorName } from '../model/actor.ts';
import { inReach, type Resource } from '../model/decide.ts';
import type { PolicyRecord, PolicySummary } from '../store/store.ts';
import type { Caller } from './control.ts';
import type { Act, Gate } from './gate.ts';

type Owned = Pick<PolicySummary, 'name' | 'owner' | 'team'>;

/** A policy as something that is seen and used: one of no team is nobody's, so that everybody may. */
export function policyAsRead({ name: id, owner, team }: Owned): Resource {
  return { kind: 'policy', id, ...(team === null ? {} : { owner, team }) };
}

function toChange({ name: id, owner, team }: Owned): Resource {
  return { kind: 'policy', id, owner, team };
}

/** Whether a caller sees a policy: what it may not see is for it like what is not there. */
export function maySeePolicy(gate: Gate, caller: Caller, policy: Owned): boolean {
  return gate.may(caller, { action: 'policy.read', resource: policyAsRead(policy) });
}

/**
 * Whether a caller's sessions and runs may name a policy: whoever may read it, and whoever reaches it though without
 * the scope to read policies, unless somebody's policy forbids them to read it.
 */
export function mayNamePolicy(gate: Gate, caller: Caller, policy: Owned): boolean {
  if (maySeePolicy(gate, caller, policy)) return true;
  const resource = policyAsRead(policy);
  return inReach(caller.actor, resource) && !gate.forbids(caller, { action: 'policy.read', resource });
}

/** About policies in general, or a name that stands for none. */
export function policyAct(action: ActionName, id?: string): Act {
  return { action, resource: { kind: 'policy', ...(id === undefined ? {} : { id }) } };
}

/**
 * Decides about seeing a policy. One that the caller may not see answers exactly like one that is not there, which
 * `policy` null stands for: also to a caller who may see none.
 */
export async function admitReading(
  gate: Gate,
  caller: Caller,
  name: string,
  policy: PolicyRecord | null,
): Promise<PolicyRecord> {
  const action = 'policy.read';
  if (policy !== null) await maskedAs(gate, caller, { action, resource: policyAsRead(policy) });
  else await gate.read(caller, policyAct(action, name));
  if (policy === null) throw absent('policy');
  return policy;
}

/** The act of changing a policy, decided; the answers are those of `admitReading`. */
export async function admitChange(
  gate: Gate,
  caller: Caller,
  action: 'policy.put' | 'policy.remove',
  { name, policy }: { readonly name: string; readonly policy: PolicyRecord | null },
): Promise<Act> {
  const act = policy === null ? policyAct(action, name) : { action, resource: toChange(policy) };
  try {
    await maskedAs(gate, caller, act);
  } catch (error) {
    if (policy !== null && policy.team === null && isAbsent(error)) throw foreign(policy);
    throw error;
  }
  return act;
}

/** Whoever may do this to no policy is told so whatever the name stands for. */
async function maskedAs(gate: Gate, caller: Caller, act: Act): Promise<void> {
  try {
    await gate.read(caller, act);
  } catch (error) {
    if (isAbsent(error)) await gate.read(caller, policyAct(act.action, act.resource.id));
    throw error;
  }
}

export function isAbsent(error: unknown): boolean {
  return error instanceof Fault && error.code === 'resource.absent';
}

/** Everybody sees it, so there is nothing to hide. */
function foreign({ name, owner }: PolicyRecord): Fault {
  return new Fault('access.denied', {
    detail: `The policy ${name} belongs to ${actorName(owner)}. Put one under another name.`,
    extra: { rule: 'ownership:foreign' },
  });
}
