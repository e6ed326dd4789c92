import type { JsonObject } from '../base/canonical-json.ts';
import { Fault } from '../contract/faults.ts';
import { compileRules, type PolicyProblem } from '../contract/policy.ts';
import { type CreateRun, egressFull } from '../contract/schemas.ts';
import { type EgressLimits, type EgressPolicy, type EgressRule, unlimitedEgress } from '../model/egress.ts';
import { isPresetName, presetRules } from '../model/egress-presets.ts';
import { holds } from '../model/scopes.ts';
import type { AskedEgress, RunEgress, Store } from '../store/store.ts';
import type { Caller } from './control.ts';
import type { Act, Gate } from './gate.ts';
import { controlLimits } from './limits.ts';

/** `unenforced` says in one sentence each what of it cannot be enforced, and is not among the rules. */
export type Compiled = { readonly policy: EgressPolicy; readonly unenforced: readonly string[] };

/** Whether a change of stored policies can change what it compiles to. */
export function usesStoredPolicies({ names }: Pick<RunEgress, 'names'>): boolean {
  return storedAmong(names).length > 0;
}

function storedAmong(names: readonly string[]): string[] {
  return names.filter((name) => name !== egressFull && !isPresetName(name));
}

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
export async function requireFull(gate: Gate, caller: Caller, act: Act): Promise<void> {
  if (holds(caller.actor.scopes, 'control:write')) return;
  throw await gate.refuse(caller, act, {
    rule: 'scope:control:write:missing',
    detail: 'Egress full needs the scope control:write, which your token does not hold.',
    required: 'control:write',
  });
}

/**
 * Refuses what no run can be made with: throws Fault `request.invalid` that names the first name that is neither a
 * preset nor a stored policy, and for more rules together than a run takes.
 */
export async function requireEgress(policies: Store['policies'], names: readonly string[]): Promise<void> {
  const known = new Set((await policies.getAll(storedAmong(names))).map(({ name }) => name));
  const index = names.findIndex((name) => name !== egressFull && !isPresetName(name) && !known.has(name));
  if (index >= 0)
    throw invalidEgress(`/egress/${index}`, `There is no preset or policy with the name ${names[index]}.`);
  const { unenforced } = await compileEgress(policies, { names, generation: 1 });
  if (unenforced[0] !== undefined) throw invalidEgress('/egress', unenforced[0]);
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

export function invalidEgress(path: string, message: string): Fault {
  return new Fault('request.invalid', {
    detail: message,
    extra: { in: 'body', errors: [{ path, message }] },
  });
}

/**
 * The rules of all names in their order, and of each limit the smallest that one of them names. What is gone or cannot be enforced lets nothing through: a removed policy
 * has no rules, and past `egressRulesMax` there are none at all.
 */
export async function compileEgress(
  policies: Store['policies'],
  { names, generation }: Pick<RunEgress, 'names' | 'generation'>,
): Promise<Compiled> {
  if (names.includes(egressFull))
    return { policy: { mode: 'full', generation, rules: [], limits: unlimitedEgress }, unenforced: [] };
  const stored = new Map((await policies.getAll(storedAmong(names))).map((record) => [record.name, record]));
  const limits = smallest([...stored.values()].map(({ document }) => document.limits ?? {}));
  const unenforced: string[] = [];
  const rules = names.flatMap((name): readonly EgressRule[] => {
    if (isPresetName(name)) return presetRules(name);
    const record = stored.get(name);
    if (record === undefined) return [];
    const compiled = compileRules(name, record.document);
    if ('rules' in compiled) return compiled.rules;
    const [problem] = compiled.problems;
    unenforced.push(`The policy ${name} can no longer be enforced: ${problem?.path} ${problem?.message}.`);
    return [];
  });
  const { egressRulesMax } = controlLimits;
  if (rules.length <= egressRulesMax)
    return { policy: { mode: 'restricted', generation, rules, limits }, unenforced };
  unenforced.push(
    `Its policies have ${rules.length} rules together, of which a run takes ${egressRulesMax}.`,
  );
  return { policy: { mode: 'restricted', generation, rules: [], limits }, unenforced };
}

/** Of each limit the smallest that one of them names. */
export function smallest(all: readonly Partial<EgressLimits>[]): EgressLimits {
  const least = (name: keyof EgressLimits) => {
    const named = all.map((limits) => limits[name] ?? null).filter((limit) => limit !== null);
    return named.length > 0 ? Math.min(...named) : null;
  };
  return {
    bytesOut: least('bytesOut'),
    connections: least('connections'),
    requestsPerMinute: least('requestsPerMinute'),
  };
}
