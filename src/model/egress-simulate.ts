import type { EgressDenial, EgressFlow, EgressPolicy, EgressProtocol, EgressRule } from './egress.ts';
import {
  knowsName,
  mayDial,
  networkOf,
  requestAllowed,
  ruleForAddress,
  ruleForName,
} from './egress-decide.ts';
import { canonicalHost } from './host-name.ts';
import { addressClass, parseAddress, unmapped } from './ip-address.ts';

/** What a record does not say, and the answer hangs on. */
export const unknownFacts = [
  'destination', // denials that were counted together
  'port', // a name was looked up, and nothing more
  'address', // the name had addresses that were refused, and a rule for networks may have them
  'protocol', // nobody looked whether the bytes are what the rule is for
  'request', // the rule looks at method or path, which are not recorded, cut, or not surely normal
  'limit', // a limit was used up
  'record', // the verdict could not be recorded, whatever the policy
] as const;
export type UnknownFact = (typeof unknownFacts)[number];

/** What a policy would say to a flow that another one decided. */
export type Simulated =
  | { readonly would: 'allowed'; readonly rule: string }
  | { readonly would: 'denied'; readonly denial: EgressDenial }
  | { readonly would: 'unknown'; readonly unknown: UnknownFact };

export type RecordedFacts = Pick<
  EgressFlow,
  'host' | 'address' | 'port' | 'protocol' | 'method' | 'path' | 'verdict' | 'denial'
>;

/** What records keep at most; a text as long may be cut. */
const recordedMax = { method: 32, path: 1_024 } as const;

/**
 * What the policy would say to a recorded flow, by the rules that the gateway decides by and in their order. What
 * the record does not hold is `unknown`, with two exceptions: a connection that was denied before it said anything
 * is taken to be what the rule is for, and a name whose addresses are not recorded to have some that may be dialled. Limits and the control plane's own
 * addresses are left out.
 */
export function simulateFlow(policy: EgressPolicy, flow: RecordedFacts): Simulated {
  const { host, address, port, protocol } = flow;
  if (host === null && address === null) return unknown('destination');
  if (protocol === 'dns') return lookup(policy, host);
  const rule = host === null ? ruleOfAddress(policy, flow) : ruleOfName(policy, host, port);
  if ('would' in rule) return rule;
  return bytes(rule, flow) ?? request(rule, flow) ?? reach(policy, rule, flow);
}

const unknown = (fact: UnknownFact) => ({ would: 'unknown', unknown: fact }) as const;
const denied = (denial: EgressDenial) => ({ would: 'denied', denial }) as const;

function lookup(policy: EgressPolicy, host: string | null): Simulated {
  if (host === null) return unknown('destination');
  if (!knowsName(policy, host)) return denied('no-rule');
  return policy.mode === 'full' ? { would: 'allowed', rule: 'full' } : unknown('port');
}

function ruleOfName(policy: EgressPolicy, host: string, port: number): EgressRule | Simulated {
  const rule = canonicalHost(host) === host ? ruleForName(policy, host, port) : null;
  return rule ?? denied('no-rule');
}

function ruleOfAddress(
  policy: EgressPolicy,
  { address, port, denial }: RecordedFacts,
): EgressRule | Simulated {
  const parsed = parseAddress(address ?? '');
  if (parsed === null) return unknown('destination');
  const literal = unmapped(parsed);
  const isPublic = addressClass(literal) === 'public';
  const rule = ruleForAddress(policy, literal, port);
  // A public address that was refused for its class is the control plane's own.
  const isOwn = isPublic && denial === 'address-class' && rule !== null && !namesNetworkAt(policy, port);
  if (rule !== null && !isOwn) return rule;
  return denied(isPublic && !isOwn ? 'no-rule' : 'address-class');
}

function namesNetworkAt({ rules }: EgressPolicy, port: number): boolean {
  return rules.some(({ target, ports }) => ports.includes(port) && networkOf(target) !== null);
}

/** Denials that come after the bytes were found to be what the rule was for. */
const afterBytes: ReadonlySet<EgressDenial | null> = new Set<EgressDenial | null>([
  ...(['name-mismatch', 'request', 'unresolved', 'certificate', 'no-record'] as const),
  null,
]);

/** What the bytes were found to be; null where nobody looked. */
function seenProtocol({ host, protocol, method, denial }: RecordedFacts): EgressProtocol | null {
  if (protocol === null || protocol === 'dns' || protocol === 'tcp') return null;
  const looked = method !== null || afterBytes.has(denial) || (denial === 'address-class' && host !== null);
  return looked ? protocol : null;
}

/** Null where the bytes are what the rule is for. */
function bytes(rule: EgressRule, flow: RecordedFacts): Simulated | null {
  if (rule.protocol === 'tcp') return null;
  const { protocol, method, verdict, denial } = flow;
  const seen = seenProtocol(flow);
  if (seen !== null && seen !== rule.protocol) return otherBytes(rule);
  if (denial === 'name-mismatch') return denied('name-mismatch');
  if (method !== null) return null;
  if (denial === 'protocol') return protocol === rule.protocol ? denied('protocol') : unknown('protocol');
  if (denial === 'malformed') return brokenBytes(rule, flow);
  return seen === null && verdict === 'allowed' ? unknown('protocol') : null;
}

function otherBytes({ protocol }: EgressRule): Simulated {
  return denied(protocol === 'http' ? 'malformed' : 'protocol');
}

/** Bytes that were no HTTP may be anything; those that were no TLS began like it, and HTTP inside may be the broken part. */
function brokenBytes(rule: EgressRule, { protocol }: RecordedFacts): Simulated {
  if (protocol === 'https' && rule.protocol !== 'https') return otherBytes(rule);
  const still = protocol === rule.protocol && (protocol === 'http' || looksInside(rule));
  return still ? denied('malformed') : unknown('protocol');
}

function looksInside({ methods, paths }: EgressRule): boolean {
  return methods !== undefined || paths !== undefined;
}

/** Null where the rule lets the request through, or looks at none. */
function request(rule: EgressRule, { method, path, denial }: RecordedFacts): Simulated | null {
  if (!looksInside(rule)) return null;
  if (method === null || method.length >= recordedMax.method) return unknown('request');
  if (rule.methods?.includes(method) === false) return denied('request');
  if (rule.paths === undefined) return null;
  // With a method, what was malformed is the path.
  if (denial === 'malformed') return denied('malformed');
  if (path === null || path.length >= recordedMax.path || !isPlain(path)) return unknown('request');
  return requestAllowed(rule, method, path) ? null : denied('request');
}

/** Whether a path is surely its own normal form: no encoding, parameters, or segments that servers differ about. */
function isPlain(path: string): boolean {
  if (!/^\/[A-Za-z0-9._~!$&'()+,=:@/*-]*$/.test(path)) return path === '*';
  const segments = path.slice(1).split('/');
  return !segments.slice(0, -1).includes('') && !segments.some((segment) => /^\.\.?$/.test(segment));
}

/** The rule would let it through; whether it would have got there too. */
function reach(policy: EgressPolicy, rule: EgressRule, flow: RecordedFacts): Simulated {
  const { host, address, port, denial } = flow;
  if (denial === 'unresolved') return denied('unresolved');
  if (denial === 'certificate' && rule.protocol === 'https' && looksInside(rule))
    return denied('certificate');
  if (denial === 'no-record') return unknown('record');
  if (denial === 'limit' && Object.values(policy.limits).some((limit) => limit !== null))
    return unknown('limit');
  if (denial === 'address-class' && host !== null)
    return namesNetworkAt(policy, port) ? unknown('address') : denied('address-class');
  const parsed = address === null ? null : parseAddress(address);
  if (parsed !== null && !mayDial(policy, unmapped(parsed), port, [])) return denied('address-class');
  return { would: 'allowed', rule: rule.name };
}

/** Recorded flows that are alike and would be decided otherwise, or cannot be told. */
export type SimulatedGroup = Pick<
  EgressFlow,
  'host' | 'address' | 'port' | 'protocol' | 'method' | 'path'
> & {
  readonly was: EgressFlow['verdict'];
  readonly would: Simulated['would'];
  /** What would let it through. */
  readonly rule: string | null;
  readonly denial: EgressDenial | null;
  readonly unknown: UnknownFact | null;
  /** Flows, with those that one record stands for. */
  readonly count: number;
  readonly runs: number;
};

type Counted = { group: Omit<SimulatedGroup, 'count' | 'runs'>; count: number; readonly runs: Set<string> };

/** Recorded flows against a candidate policy, added up. What is not grouped is counted all the same. */
export class Simulation {
  readonly #policy: EgressPolicy;
  readonly #groupsMax: number;
  readonly #groups = new Map<string, Counted>();
  readonly #totals = { flows: 0, unchanged: 0, newlyDenied: 0, newlyAllowed: 0, unknown: 0 };

  /** Past `groupsMax` different ones, no more are told apart. */
  constructor(policy: EgressPolicy, groupsMax: number) {
    this.#policy = policy;
    this.#groupsMax = groupsMax;
  }

  add(flow: EgressFlow): void {
    const simulated = simulateFlow(this.#policy, flow);
    const { would } = simulated;
    const totals = this.#totals;
    totals.flows += flow.count;
    if (would === 'unknown') totals.unknown += flow.count;
    else if (would === flow.verdict) totals.unchanged += flow.count;
    else totals[would === 'denied' ? 'newlyDenied' : 'newlyAllowed'] += flow.count;
    if (would !== flow.verdict) this.#count(groupOf(flow, simulated), flow);
  }

  /** The most frequent first; `more` is what is not among them. */
  summary(shown: number) {
    const sorted = [...this.#groups.values()].sort((a, b) => b.count - a.count);
    const groups = sorted
      .slice(0, shown)
      .map(({ group, count, runs }): SimulatedGroup => ({ ...group, count, runs: runs.size }));
    const { newlyDenied, newlyAllowed, unknown: untold } = this.#totals;
    const told = groups.reduce((sum, { count }) => sum + count, 0);
    const more = { groups: sorted.length - groups.length, flows: newlyDenied + newlyAllowed + untold - told };
    return { totals: { ...this.#totals }, groups, more };
  }

  #count(group: Counted['group'], { run, count }: EgressFlow): void {
    const key = JSON.stringify(Object.values(group));
    let counted = this.#groups.get(key);
    if (counted === undefined) {
      if (this.#groups.size >= this.#groupsMax) return;
      counted = { group, count: 0, runs: new Set() };
      this.#groups.set(key, counted);
    }
    counted.count += count;
    counted.runs.add(run);
  }
}

function groupOf(flow: EgressFlow, simulated: Simulated): Counted['group'] {
  const { host, port, protocol, method, path, verdict } = flow;
  return {
    ...{ host, address: host === null ? flow.address : null, port, protocol, method, path },
    ...{ was: verdict, would: simulated.would },
    rule: 'rule' in simulated ? simulated.rule : null,
    denial: 'denial' in simulated ? simulated.denial : null,
    unknown: 'unknown' in simulated ? simulated.unknown : null,
  };
}
