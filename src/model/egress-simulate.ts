import {
  type EgressDenial,
  type EgressFlow,
  type EgressPolicy,
  type EgressProtocol,
  type EgressRule,
  tunnelMethod,
} from './egress.ts';
import {
  knowsName,
  looksAtRequests,
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
 * What the policy would say to a recorded flow, by the rules that the gateway decides by. What the record does not
 * hold is `unknown`, with two exceptions: a connection that was denied before it said anything is taken to be what the
 * rule is for, and a name whose addresses are not recorded to have some that may be dialled. Limits and the control
 * plane's own addresses are left out.
 */
export function simulateFlow(policy: EgressPolicy, flow: RecordedFacts): Simulated {
  const { host, address, port, protocol } = flow;
  if (host === null && address === null) return unknown('destination');
  if (protocol === 'dns') return lookup(policy, host);
  const rule = host === null ? ruleOfAddress(policy, flow) : ruleOfName(policy, host, port);
  if ('would' in rule) return rule;
  return bytes(rule, flow) ?? unreachable(policy, flow) ?? request(rule, flow) ?? rest(policy, rule, flow);
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
  // HTTP to a proxy is HTTP, whatever the rule is for.
  const isProxied = denial === 'protocol' && protocol === 'http';
  const behindName = denial === 'address-class' && host !== null;
  const looked = method !== null || afterBytes.has(denial) || isProxied || behindName;
  return looked ? protocol : null;
}

/** Null where the bytes are what the rule is for. */
function bytes(rule: EgressRule, flow: RecordedFacts): Simulated | null {
  if (rule.protocol === 'tcp') return null;
  const { method, verdict, denial } = flow;
  const seen = seenProtocol(flow);
  if (seen !== null && seen !== rule.protocol) return otherBytes(rule);
  // With a method, it was a request inside TLS that named another host.
  const isUnseen = method !== null && rule.protocol === 'https' && !looksAtRequests(rule);
  if (denial === 'name-mismatch' && !isUnseen) return denied('name-mismatch');
  if (denial === 'certificate' && looksAtRequests(rule)) return denied('certificate');
  if (method !== null) return null;
  if (denial === 'protocol' && seen === null) return otherBytesThan(rule, flow);
  if (denial === 'malformed') return brokenBytes(rule, flow);
  return seen === null && verdict === 'allowed' ? unknown('protocol') : null;
}

/** Bytes that were no TLS, or TLS for something that is no HTTP, which matters to who looks inside alone. */
function otherBytesThan(rule: EgressRule, { protocol }: RecordedFacts): Simulated {
  const still = protocol === rule.protocol && (protocol !== 'https' || looksAtRequests(rule));
  return still ? denied('protocol') : unknown('protocol');
}

function otherBytes({ protocol }: EgressRule): Simulated {
  return denied(protocol === 'http' ? 'malformed' : 'protocol');
}

/** Bytes that were no HTTP may be anything; broken TLS began like it, and HTTP inside may be the broken part. */
function brokenBytes(rule: EgressRule, { protocol }: RecordedFacts): Simulated {
  if (protocol === 'https' && rule.protocol !== 'https') return otherBytes(rule);
  const still = protocol === rule.protocol && (protocol === 'http' || looksAtRequests(rule));
  return still ? denied('malformed') : unknown('protocol');
}

/** Null where the rule lets the request through, or looks at none. */
function request(rule: EgressRule, { method, path, denial }: RecordedFacts): Simulated | null {
  // A connection whose requests were seen is let through by whatever rule sees them.
  if (!looksAtRequests(rule) || method === tunnelMethod) return null;
  if (method === null || method.length >= recordedMax.method) return unknown('request');
  if (rule.methods?.includes(method) === false) return denied('request');
  // With a method, what was malformed is the path, or inside TLS the form of the target.
  if (denial === 'malformed' && rule.paths !== undefined) return denied('malformed');
  if (denial === 'malformed' && rule.protocol === 'https') return unknown('request');
  if (rule.paths === undefined) return null;
  if (path === null || path.length >= recordedMax.path || !isPlain(path)) return unknown('request');
  return requestAllowed(rule, method, path) ? null : denied('request');
}

/** Whether a path is surely its own normal form: no encoding, parameters, or segments that servers differ about. */
function isPlain(path: string): boolean {
  if (!/^\/[A-Za-z0-9._~!$&'()+,=:@/*-]*$/.test(path)) return path === '*';
  const segments = path.slice(1).split('/');
  return !segments.slice(0, -1).includes('') && !segments.some((segment) => /^\.\.?$/.test(segment));
}

/** Null where nothing recorded keeps it from getting there. */
function unreachable(policy: EgressPolicy, { host, address, port, denial }: RecordedFacts): Simulated | null {
  if (denial === 'unresolved') return denied('unresolved');
  const parsed = address === null ? null : parseAddress(address);
  const refused = host !== null && denial === 'address-class' && !namesNetworkAt(policy, port);
  if (refused || (parsed !== null && !mayDial(policy, unmapped(parsed), port, [])))
    return denied('address-class');
  return null;
}

function rest(policy: EgressPolicy, rule: EgressRule, { host, denial }: RecordedFacts): Simulated {
  if (denial === 'no-record') return unknown('record');
  if (denial === 'limit' && Object.values(policy.limits).some((limit) => limit !== null))
    return unknown('limit');
  if (denial === 'address-class' && host !== null) return unknown('address');
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
