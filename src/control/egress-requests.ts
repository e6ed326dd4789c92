import type { JsonObject } from '../base/canonical-json.ts';
import { Fault } from '../contract/faults.ts';
import type { PolicyProblem } from '../contract/policy.ts';
import { type CreateRun, egressFull } from '../contract/schemas.ts';
import type { AskedEgress } from '../store/store.ts';
import type { Caller } from './control.ts';
import type { Act, Gate } from './gate.ts';

/**
 * What a request asks for, null where it leaves that to its session. Throws Fault `request.invalid` without looking
 * at anything else: `full` is a right of its own, so it is asked for with a reason.
 */
export function askedEgress(request: Pick<CreateRun, 'egress' | 'egressReason'>): AskedEgress | null {
  const { egress, egressReason = null } = request;
  const full = egress?.includes(egressFull) ?? false;
  if (full && egressReason === null)
    throw invalidEgress('/egressReason', 'Egress full needs a reason of 1 to 500 characters.');
  if (!full && egressReason !== null)
    throw invalidEgress('/egressReason', 'A reason is taken with egress full alone.');
  return egress === undefined ? null : { names: egress, reason: egressReason };
}

/** What the log holds of it. */
export function egressData({ names, reason }: AskedEgress): JsonObject {
  return {
    ...(names.length === 0 ? {} : { egress: names }),
    ...(reason === null ? {} : { egressReason: reason }),
  };
}

/**
 * Refuses what the caller may not ask for, with a record of it: everything public without the right to it, and
 * whatever is not among what an agent or an exchanged token is kept to.
 */
export async function requireEgress(
  gate: Gate,
  caller: Caller,
  act: Act,
  { names }: AskedEgress,
): Promise<void> {
  const { egress } = caller.actor;
  const beyond = egress === undefined ? undefined : names.find((name) => !egress.has(name));
  if (beyond !== undefined)
    throw await gate.refuse(caller, act, {
      rule: 'egress:beyond',
      detail: `Egress ${beyond} is not among what you may ask for: ${[...(egress ?? [])].join(', ') || 'nothing'}.`,
    });
  const { resource, data } = act;
  if (names.includes(egressFull))
    await gate.read(caller, { action: 'egress.full', resource, ...(data === undefined ? {} : { data }) });
}

/** Whoever is kept to some policies must not say what is in them. */
export async function requireUnkept(gate: Gate, caller: Caller, act: Act): Promise<void> {
  if (caller.actor.egress === undefined) return;
  throw await gate.refuse(caller, act, {
    rule: 'egress:beyond',
    detail: 'You are kept to some egress policies, so what stands in a policy is not yours to say.',
  });
}

export function invalidEgress(path: string, message: string): Fault {
  return new Fault('request.invalid', {
    detail: message,
    extra: { in: 'body', errors: [{ path, message }] },
  });
}

/** Every place of a document, which stands at `at` in the request, that cannot be enforced. */
export function unenforceable(at: string, problems: readonly PolicyProblem[]): Fault {
  const errors = problems.map(({ path, message }) => ({ path: `${at}${pointerOf(path)}`, message }));
  return new Fault('request.invalid', {
    detail: `In body ${errors[0]?.path}: ${errors[0]?.message}`,
    extra: { in: 'body', errors: errors.slice(0, 32) },
  });
}

/** `rules[2].ports` as `/rules/2/ports` (RFC 6901). */
function pointerOf(path: string): string {
  return path === '' ? '' : `/${path.replaceAll('[', '/').replaceAll(']', '').replaceAll('.', '/')}`;
}
