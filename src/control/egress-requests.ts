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

/** Refuses whoever may not reach everything public, with a record of it. */
export async function requireFull(gate: Gate, caller: Caller, { resource, data }: Act): Promise<void> {
  await gate.read(caller, { action: 'egress.full', resource, ...(data === undefined ? {} : { data }) });
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
