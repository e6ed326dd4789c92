import type { ActionName } from '../model/actions.ts';
import { actionSpec } from '../model/actions.ts';
import type { Actor } from '../model/actor.ts';
import { type Access, type Decision, type DecisionContext, inReach, type Resource } from '../model/decide.ts';
import { holds } from '../model/scopes.ts';
import { openCedar } from './cedar.ts';
import type { ClientNetworks } from './client-networks.ts';
import { Decider, type NamedPolicy } from './decider.ts';
import { accessLimits } from './limits.ts';
import { type AccessProblem, type CheckResult, PolicyCheck } from './policy-check.ts';
import { shippedPolicies, shippedText } from './shipped-policies.ts';

/** An administrator's document: one or more policies under one name. */
export type AccessDocument = { readonly name: string; readonly text: string };

export type DocumentProblem = AccessProblem & { readonly document: string };

/** Why a decision is what it is. */
export type Explanation = {
  readonly decision: Decision;
  /** Ids of the policies that made it; none where nothing permitted it. */
  readonly determining: readonly {
    readonly id: string;
    /** The administrator's document that holds it; null for one that ships. */
    readonly document: string | null;
    /** Its annotation `@id` in the document. */
    readonly label: string | null;
  }[];
  /** What would have to be otherwise, for people; empty where it is allowed. */
  readonly missing: readonly string[];
};

/** Access by policies: those that ship, made from the tables of acts and scopes, and administrators' beside them. */
export type AccessEngine = Access & {
  explain(actor: Actor, action: ActionName, resource: Resource, context: DecisionContext): Explanation;
  /** Whether a text could be a document. Changes nothing. */
  check(text: string): CheckResult;
  /**
   * Decides as if these were the administrators' documents, until the next trial; what is wrong with them where they
   * cannot be, or are too many.
   */
  trial(documents: readonly AccessDocument[]): Access | { readonly problems: readonly DocumentProblem[] };
  /**
   * All of them are in force from now on, or none of them and what was before stays. However many they are: what two
   * processes took at once is not refused by a third.
   */
  replace(documents: readonly AccessDocument[]): readonly DocumentProblem[];
  /** The policies that ship, with the client networks of this instance, as one text. */
  readonly shipped: string;
};

/** Decides by what ships alone until `replace` is called. */
export function openAccessEngine({ networks }: { readonly networks: ClientNetworks }): AccessEngine {
  return new CedarEngine(networks);
}

class CedarEngine implements AccessEngine {
  readonly shipped: string;
  readonly #cedar = openCedar();
  readonly #check = new PolicyCheck();
  readonly #policies: ReturnType<typeof shippedPolicies>;
  /** What was found out about the texts in force, so that a change checks what changed alone. */
  #checked = new Map<string, CheckResult>();
  #generation = 0;
  #decider: Decider;

  constructor(networks: ClientNetworks) {
    this.shipped = shippedText(networks);
    this.#policies = shippedPolicies(networks);
    this.#decider = new Decider(this.#cedar, 'a', this.#policies, []);
  }

  decide(actor: Actor, action: ActionName, resource: Resource, context: DecisionContext): Decision {
    return this.#decider.decide(actor, action, resource, context);
  }

  explain(actor: Actor, action: ActionName, resource: Resource, context: DecisionContext): Explanation {
    const { decision, determining } = this.#decider.judge(actor, action, resource, context);
    return {
      decision,
      determining: determining.map((id) => {
        const { document = null, label = null } = this.#decider.named(id) ?? {};
        return { id, document, label };
      }),
      missing: decision.allow ? [] : missingFor(decision, actor, action, resource),
    };
  }

  check(text: string): CheckResult {
    return this.#checked.get(text) ?? this.#check.check(text);
  }

  trial(documents: readonly AccessDocument[]): Access | { problems: readonly DocumentProblem[] } {
    const named = this.#compile(documents);
    if ('problems' in named) return named;
    const { policiesMax } = accessLimits;
    const message = `All documents together may hold at most ${policiesMax} policies.`;
    if (named.policies.length > policiesMax)
      return { problems: [{ document: documents.at(-1)!.name, line: 1, column: 1, message }] };
    return new Decider(this.#cedar, 'trial', this.#policies, named.policies);
  }

  replace(documents: readonly AccessDocument[]): readonly DocumentProblem[] {
    const named = this.#compile(documents);
    if ('problems' in named) return named.problems;
    this.#generation += 1;
    // Two slots in turn: the sets of the one before the last are replaced, and nothing piles up.
    const slot = this.#generation % 2 === 0 ? 'a' : 'b';
    this.#checked = new Map(documents.map(({ text }) => [text, this.check(text)]));
    this.#decider = new Decider(this.#cedar, slot, this.#policies, named.policies);
    return [];
  }

  #compile(
    documents: readonly AccessDocument[],
  ): { policies: NamedPolicy[] } | { problems: DocumentProblem[] } {
    const policies: NamedPolicy[] = [];
    const problems: DocumentProblem[] = [];
    for (const { name, text } of documents) {
      const checked = this.check(text);
      if ('problems' in checked)
        problems.push(...checked.problems.map((problem) => ({ ...problem, document: name })));
      else policies.push(...named(name, checked.policies));
    }
    return problems.length > 0 ? { problems } : { policies };
  }
}

function named(
  document: string,
  policies: Extract<CheckResult, { policies: unknown }>['policies'],
): NamedPolicy[] {
  return policies.map((policy, index) => ({
    ...policy,
    document,
    id: `policy:${document}${policies.length > 1 ? `#${index + 1}` : ''}`,
  }));
}

function missingFor(
  { rule }: Decision,
  actor: Actor,
  action: ActionName,
  resource: Resource,
): readonly string[] {
  const { needs } = actionSpec(action);
  if (rule.startsWith('policy:')) return [`${rule} forbids it`];
  if (rule.startsWith('network:')) return [`an address in the client networks for ${rule.slice(8)}`];
  if (needs === null)
    return resource.owner === actor.id ? ['a person who signed in, not a token'] : ['to be its owner'];
  const missing = holds(actor.scopes, needs) ? [] : [`the scope ${needs}`];
  if (inReach(actor, resource)) return missing;
  const team = resource.team ?? null;
  return [...missing, team === null ? 'a reach of all' : `a reach of all, or of team and to be in ${team}`];
}
