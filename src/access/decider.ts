import assert from 'node:assert/strict';
import { type ActionName, actionSpec } from '../model/actions.ts';
import type { Actor } from '../model/actor.ts';
import { type Access, type Decision, type DecisionContext, inReach, type Resource } from '../model/decide.ts';
import { readingOf } from '../model/reading.ts';
import type { Cedar } from './cedar.ts';
import { cedarRequest } from './cedar-request.ts';
import { DecisionCache } from './decision-cache.ts';
import { accessLimits } from './limits.ts';
import type { CheckedPolicy } from './policy-check.ts';
import { groupOf } from './schema.ts';
import type { ShippedPolicy } from './shipped-policies.ts';

/** A policy of an administrator's document. `id` is `policy:NAME`, with its number from 1 where there are several. */
export type NamedPolicy = CheckedPolicy & { readonly id: string; readonly document: string };

/** Which policies made a decision, by their ids: those that permit where it is allowed, else those that forbid. */
export type Judgement = { readonly decision: Decision; readonly determining: readonly string[] };

/** The policies that can say something about one act. */
type Slice = { readonly set: string; readonly usesContext: boolean };

/**
 * Decides by one set of policies that never changes. Each act has the policies of its own, prepared when it is first
 * asked about, so that policies about other acts cost nothing. Whatever fails to evaluate denies.
 */
export class Decider implements Access {
  readonly #cedar: Cedar;
  readonly #slot: string;
  readonly #shipped: readonly ShippedPolicy[];
  readonly #named: readonly NamedPolicy[];
  readonly #byId: ReadonlyMap<string, NamedPolicy>;
  readonly #namedUseContext: boolean;
  readonly #slices = new Map<ActionName, Slice>();
  readonly #cache = new DecisionCache<Decision>(accessLimits.decisionsKept);

  /** `slot` names the prepared sets inside the evaluator; those of an earlier decider of that slot are replaced. */
  constructor(cedar: Cedar, slot: string, shipped: readonly ShippedPolicy[], named: readonly NamedPolicy[]) {
    this.#cedar = cedar;
    this.#slot = slot;
    this.#shipped = shipped;
    this.#named = named;
    this.#byId = new Map(named.map((policy) => [policy.id, policy]));
    this.#namedUseContext = named.some(({ text }) => text.includes('context'));
  }

  decide(actor: Actor, action: ActionName, resource: Resource, context: DecisionContext): Decision {
    const key = this.#keyOf(actor, action, resource, context);
    const known = this.#cache.get(key);
    if (known !== undefined) return known;
    const { decision } = this.judge(actor, action, resource, context);
    this.#cache.set(key, decision);
    return decision;
  }

  /** As `decide`, never from memory. */
  judge(actor: Actor, action: ActionName, resource: Resource, context: DecisionContext): Judgement {
    const { set } = this.#sliceOf(action);
    const answer = this.#cedar.statefulIsAuthorized(cedarRequest(set, actor, action, resource, context));
    assert(answer.type === 'success', 'a question to the policies is well formed');
    const { decision, diagnostics } = answer.response;
    const failed = diagnostics.errors.map(({ policyId }) => policyId);
    // A forbid that could not be evaluated would be one that is not there.
    const determining = (failed.length > 0 ? failed : diagnostics.reason).toSorted();
    if (decision === 'allow' && failed.length === 0)
      return { determining, decision: { allow: true, rule: this.#permitRule(determining, action) } };
    const rule = this.#denialRule(determining, actor, action, resource);
    const visible = this.#isVisible(actor, action, resource, context);
    const forbidden = !determining.every(isRoleRule);
    const { needs } = actionSpec(action);
    return { determining, decision: { allow: false, rule, visible, forbidden, needs } };
  }

  /** The policy of an administrator that has this id. */
  named(id: string): NamedPolicy | undefined {
    return this.#byId.get(id);
  }

  #permitRule(determining: readonly string[], action: ActionName): string {
    const shipped = ['scope:*', `scope:${groupOf(action)}`, 'account:own'];
    return shipped.find((id) => determining.includes(id)) ?? this.#documentRule(determining[0]!);
  }

  /** What ships is named before what administrators wrote: a policy is told of where it alone is in the way. */
  #denialRule(determining: readonly string[], actor: Actor, action: ActionName, resource: Resource): string {
    const { needs } = actionSpec(action);
    if (needs === null && !determining.some((id) => this.#byId.has(id))) return 'account:foreign';
    const shipped = determining.filter((id) => !this.#byId.has(id));
    if (shipped.includes('account:foreign')) return 'account:foreign';
    const isNarrow = shipped.some((id) => id.startsWith('narrowed:'));
    if (!isNarrow && determining.length > 0) return shipped[0] ?? this.#documentRule(determining[0]!);
    return inReach(actor, resource) ? `scope:${needs}:missing` : 'ownership:foreign';
  }

  #documentRule(id: string): string {
    return `policy:${this.#byId.get(id)?.document ?? id}`;
  }

  /** Its own, in reach, or readable by some policy: then a denial may say that it exists. */
  #isVisible(actor: Actor, action: ActionName, resource: Resource, context: DecisionContext): boolean {
    if (actionSpec(action).needs === null) return resource.owner === actor.id;
    if (inReach(actor, resource)) return true;
    const reading = readingOf[resource.kind];
    if (reading === undefined || reading === action) return false;
    return this.decide(actor, reading, resource, context).allow;
  }

  #sliceOf(action: ActionName): Slice {
    const known = this.#slices.get(action);
    if (known !== undefined) return known;
    const group = groupOf(action);
    const policies: Record<string, string> = {};
    for (const { id, text, groups } of this.#shipped)
      if (groups === null || groups.includes(group)) policies[id] = text;
    for (const { id, text, actions } of this.#named) if (actions.has(action)) policies[id] = text;
    const set = `${this.#slot} ${action}`;
    const answer = this.#cedar.preparsePolicySet(set, { staticPolicies: policies });
    assert(answer.type === 'success', 'policies that were checked can be prepared');
    const usesContext = Object.values(policies).some((text) => text.includes('context'));
    const slice = { set, usesContext };
    this.#slices.set(action, slice);
    return slice;
  }

  /** Everything that a policy in force can look at: without administrators' policies that is little. */
  #keyOf(actor: Actor, action: ActionName, resource: Resource, { address }: DecisionContext): string {
    const { kind, id, owner, team, session } = resource;
    const looks = this.#namedUseContext || this.#sliceOf(action).usesContext;
    const facts = [action, keyOfActor(actor), kind, owner ?? null, team ?? null, looks ? address : 0];
    if (this.#named.length > 0) facts.push(id ?? null, session ?? null);
    return JSON.stringify(facts);
  }
}

/** Of the policies that deny: those that say no more than that a scope, reach or an account is missing. */
function isRoleRule(id: string): boolean {
  return id.startsWith('narrowed:') || id === 'account:foreign';
}

/** Actors are values: the same one is asked about many times. */
const actorKeys = new WeakMap<Actor, string>();

function keyOfActor(actor: Actor): string {
  const known = actorKeys.get(actor);
  if (known !== undefined) return known;
  const { id, role, scopes, reach, teams, narrowed, signIn } = actor;
  const key = JSON.stringify([
    id,
    role ?? null,
    [...scopes],
    reach,
    teams === undefined ? [] : [...teams],
    narrowed === true,
    signIn === undefined ? null : signIn.mfa,
  ]);
  actorKeys.set(actor, key);
  return key;
}
