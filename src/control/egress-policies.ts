import { compileRules, type PolicyDocument, type PolicyProblem } from '../contract/policy.ts';
import { egressFull } from '../contract/schemas.ts';
import { type EgressLimits, type EgressPolicy, type EgressRule, unlimitedEgress } from '../model/egress.ts';
import { isPresetName, type PresetRules } from '../model/egress-presets.ts';
import type { RunEgress, Store } from '../store/store.ts';
import type { Caller } from './control.ts';
import { invalidEgress } from './egress-requests.ts';
import type { Gate } from './gate.ts';
import { controlLimits } from './limits.ts';
import { mayNamePolicy, maySeePolicy } from './policy-access.ts';

/** `unenforced` says in one sentence each what of it cannot be enforced; then there are no rules. */
export type Compiled = { readonly policy: EgressPolicy; readonly unenforced: readonly string[] };

/** Whether a change of stored policies can change what it compiles to. */
export function usesStoredPolicies({ names }: Pick<RunEgress, 'names'>): boolean {
  return storedAmong(names).length > 0;
}

function storedAmong(names: readonly string[]): string[] {
  return names.filter((name) => name !== egressFull && !isPresetName(name));
}

/** What names stand for: presets as this server has them, and stored policies as they are. */
export class EgressPolicies {
  readonly presets: PresetRules;
  readonly #policies: Store['policies'];

  constructor(policies: Store['policies'], presets: PresetRules) {
    this.#policies = policies;
    this.presets = presets;
  }

  /** The rules of a document, which verdicts call `name`, or what of it cannot be enforced. */
  rulesOf(name: string, document: PolicyDocument): { rules: EgressRule[] } | { problems: PolicyProblem[] } {
    return compileRules(name, document, this.presets);
  }

  /** Those of the names that stand for a stored policy that the caller may read. */
  async visible(gate: Gate, caller: Caller, names: readonly string[]): Promise<ReadonlySet<string>> {
    const records = await this.#policies.getAll(names);
    return new Set(records.filter((record) => maySeePolicy(gate, caller, record)).map(({ name }) => name));
  }

  /**
   * Refuses what no run of the caller can be made with: throws Fault `request.invalid` that names the first name that is
   * neither a preset nor a stored policy that the caller may name, and for more rules together than a run takes.
   */
  async require(gate: Gate, caller: Caller, names: readonly string[]): Promise<void> {
    const records = await this.#policies.getAll(storedAmong(names));
    const nameable = records.filter((record) => mayNamePolicy(gate, caller, record));
    const known = new Set(nameable.map(({ name }) => name));
    const index = names.findIndex((name) => name !== egressFull && !isPresetName(name) && !known.has(name));
    if (index >= 0)
      throw invalidEgress(`/egress/${index}`, `There is no preset or policy with the name ${names[index]}.`);
    const { unenforced } = await this.compile({ names, generation: 1 });
    if (unenforced[0] !== undefined) throw invalidEgress('/egress', unenforced[0]);
  }

  /**
   * The rules of all names in their order, and of each limit the smallest that one of them names. Where one of the
   * policies is gone or cannot be enforced, or there are more rules than `egressRulesMax`, there are none at all: the
   * one that is missing may have been the narrow one that stood before a wide one, or the one with the limits.
   */
  async compile({ names, generation }: Pick<RunEgress, 'names' | 'generation'>): Promise<Compiled> {
    if (names.includes(egressFull))
      return { policy: { mode: 'full', generation, rules: [], limits: unlimitedEgress }, unenforced: [] };
    const records = await this.#policies.getAll(storedAmong(names));
    const stored = new Map(records.map((record) => [record.name, record]));
    const limits = smallest(records.map(({ document }) => document.limits ?? {}));
    const unenforced: string[] = [];
    let isGone = false;
    const rules = names.flatMap((name): readonly EgressRule[] => {
      if (isPresetName(name)) return this.presets(name);
      const record = stored.get(name);
      isGone ||= record === undefined;
      if (record === undefined) return [];
      const compiled = this.rulesOf(name, record.document);
      if ('rules' in compiled) return compiled.rules;
      const [problem] = compiled.problems;
      unenforced.push(`The policy ${name} can no longer be enforced: ${problem?.path} ${problem?.message}.`);
      return [];
    });
    const { egressRulesMax } = controlLimits;
    if (rules.length > egressRulesMax)
      unenforced.push(
        `Its policies have ${rules.length} rules together, of which a run takes ${egressRulesMax}.`,
      );
    const isWhole = !isGone && unenforced.length === 0;
    return { policy: { mode: 'restricted', generation, rules: isWhole ? rules : [], limits }, unenforced };
  }
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
