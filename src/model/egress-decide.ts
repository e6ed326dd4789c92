import assert from 'node:assert/strict';
import type { EgressPolicy, EgressProtocol, EgressRule } from './egress.ts';
import { canonicalHost, hostMatches } from './host-name.ts';
import {
  addressClass,
  type Cidr,
  cidrContains,
  cidrCovers,
  formatAddress,
  type IpAddress,
  parseCidr,
} from './ip-address.ts';

/** The port that a rule for a host is for where it names none; `tcp` has no such port. */
export const standardPorts = { https: 443, http: 80, ssh: 22 } as const satisfies Partial<
  Record<EgressProtocol, number>
>;

/** The protocol whose standard port it is, else `tcp`. */
export function protocolOfPort(port: number): EgressProtocol {
  if (port === standardPorts.https) return 'https';
  if (port === standardPorts.http) return 'http';
  return port === standardPorts.ssh ? 'ssh' : 'tcp';
}

/** Mode full's own rule for one target. */
function fullRule(target: EgressRule['target'], port: number): EgressRule {
  return { name: 'full', target, ports: [port], protocol: protocolOfPort(port) };
}

/** Whether the rule names the host, at whatever port; the host is canonical. */
function namesHost({ target }: EgressRule, host: string): boolean {
  return 'host' in target && hostMatches(target.host, host);
}

/** Parsing costs more than deciding, and a policy decides many times. */
const networks = new WeakMap<EgressRule['target'], Cidr>();

/** The network that a compiled rule is for; null where it is for names. */
export function networkOf(target: EgressRule['target']): Cidr | null {
  if (!('cidr' in target)) return null;
  const cidr = networks.get(target) ?? parseCidr(target.cidr);
  assert(cidr, 'a compiled rule has a canonical network');
  networks.set(target, cidr);
  return cidr;
}

/** The addresses that stand for names inside sandboxes; a rule for one of them would never meet what it names. */
const syntheticNetwork = parseCidr('198.18.0.0/15')!;

/** Why a text cannot be the network of a rule, as the end of a sentence about it; null where it can. */
export function networkProblem(text: string): string | null {
  const cidr = parseCidr(text);
  if (cidr === null)
    return 'is not a network in canonical form, such as 10.0.0.0/8: prefix in range, no host bits, no mapped IPv4';
  if (addressClass(cidr.address) === 'multicast')
    return 'cannot be enforced: flows are TCP, which has no multicast';
  return cidrCovers(syntheticNetwork, cidr)
    ? 'cannot be enforced: inside sandboxes 198.18.0.0/15 stands for names; name the host instead'
    : null;
}

/** Whether the rule names the address at this port; rules for names never do. */
function namesAddress({ target, ports }: EgressRule, address: IpAddress, port: number): boolean {
  const cidr = ports.includes(port) ? networkOf(target) : null;
  return cidr !== null && cidrContains(cidr, address);
}

/**
 * The rule that lets a connection to a name and port through, or null: the first that names both. In mode full a
 * canonical name without a rule at this port has the built-in rule `full`. Says nothing about the addresses that the
 * name has: each is to pass `mayDial`.
 */
export function ruleForName(policy: EgressPolicy, host: string, port: number): EgressRule | null {
  const rule = policy.rules.find((each) => each.ports.includes(port) && namesHost(each, host));
  if (rule) return rule;
  return policy.mode === 'full' && canonicalHost(host) === host ? fullRule({ host }, port) : null;
}

/** Whether DNS gives the name an address: some rule names it at some port, or the mode is full. */
export function knowsName(policy: EgressPolicy, host: string): boolean {
  if (canonicalHost(host) !== host) return false;
  return policy.mode === 'full' || policy.rules.some((rule) => namesHost(rule, host));
}

/** Whether the name stands above one that a rule names, so that it exists although it has no address (RFC 8020). */
export function leadsToName(policy: EgressPolicy, host: string): boolean {
  return policy.rules.some(({ target }) => 'host' in target && target.host.endsWith(`.${host}`));
}

/**
 * The rule that lets a connection to a literal address through, or null: the first whose network and ports have it;
 * in mode full the built-in rule `full` for public addresses. Rules for names give no right to the addresses behind
 * them. The control plane's own addresses are left to `mayDial`.
 */
export function ruleForAddress(policy: EgressPolicy, address: IpAddress, port: number): EgressRule | null {
  const rule = policy.rules.find((each) => namesAddress(each, address, port));
  if (rule) return rule;
  if (policy.mode !== 'full' || addressClass(address) !== 'public') return null;
  const bits = address.family === 4 ? 32 : 128;
  return fullRule({ cidr: `${formatAddress(address)}/${bits}` }, port);
}

/**
 * The last check of every address before it is dialled, in every mode and whatever rule led to it: it is public and
 * not the control plane's `own`, or a rule names its network at this port. Alone it is no permission.
 */
export function mayDial(
  policy: EgressPolicy,
  address: IpAddress,
  port: number,
  own: readonly Cidr[],
): boolean {
  if (addressClass(address) === 'public' && !own.some((cidr) => cidrContains(cidr, address))) return true;
  return policy.rules.some((rule) => namesAddress(rule, address, port));
}

/** Whether the rule can be kept only by who sees each request. */
export function looksAtRequests({ methods, paths }: EgressRule): boolean {
  return methods !== undefined || paths !== undefined;
}

/**
 * Whether the rule lets a request through. Methods are compared as they are, case included; `path` is normalised and
 * has no query.
 */
export function requestAllowed(rule: EgressRule, method: string, path: string): boolean {
  if (rule.methods && !rule.methods.includes(method)) return false;
  return !rule.paths || rule.paths.some((glob) => globMatches(glob, path));
}

/** The ports that need listeners for the rules, sorted; mode full adds none. */
export function portsOf(policy: EgressPolicy): number[] {
  return [...new Set(policy.rules.flatMap(({ ports }) => ports))].sort((a, b) => a - b);
}

/**
 * Whether the text is a method that a rule can name: upper case, at most 32 characters. Not `CONNECT`, whose tunnel
 * no rule sees into.
 */
export function isMethod(text: string): boolean {
  return /^[A-Z][A-Z0-9_-]{0,31}$/.test(text) && text !== 'CONNECT';
}

/** Longest path glob, in characters. */
export const pathGlobCharactersMax = 1_024;

/** What a path may have and a glob means literally (RFC 3986 `pchar`), without `%` and `;`, which paths hide things in. */
const literalOfGlob = /^[A-Za-z0-9._~!$&'()+,=:@/*-]*$/;

/**
 * Whether the text is a path glob in normal form: absolute, printable ASCII without `%`, `;`, `?`, `#` and `\`, no
 * empty, `.` or `..` segment before the last, and no three stars in a row. Every other path would never be matched
 * by what it seems to say.
 */
export function isPathGlob(text: string): boolean {
  if (!text.startsWith('/') || text.length > pathGlobCharactersMax || !literalOfGlob.test(text)) return false;
  const segments = text.slice(1).split('/');
  if (segments.some((segment) => segment === '.' || segment === '..')) return false;
  return !segments.slice(0, -1).includes('') && !text.includes('***');
}

/**
 * Whether a glob matches the whole path: `*` is any run of characters without `/`, `**` any run at all, everything
 * else itself. `/a/**` matches `/a/` and what is below it, not `/a`. No backtracking: time is at most the glob's
 * length for each character of the path.
 */
export function globMatches(glob: string, path: string): boolean {
  const tokens = glob.match(/\*\*|[\s\S]/g) ?? [];
  let states: Uint8Array | null = afterStars(tokens, new Uint8Array(tokens.length + 1).fill(1, 0, 1));
  for (let index = 0; index < path.length && states !== null; index += 1) {
    states = afterCharacter(tokens, states, path[index]!);
  }
  return states !== null && states[tokens.length] === 1;
}

/** Adds the states behind stars, which match nothing too. State n says that the first n tokens match so far. */
function afterStars(tokens: readonly string[], states: Uint8Array): Uint8Array {
  for (let index = 0; index < tokens.length; index += 1) {
    if (states[index] === 1 && isStar(tokens[index]!)) states[index + 1] = 1;
  }
  return states;
}

/** The states after one more character of the path; null where none is left. */
function afterCharacter(tokens: readonly string[], states: Uint8Array, character: string): Uint8Array | null {
  const next = new Uint8Array(states.length);
  for (let index = 0; index < tokens.length; index += 1) {
    if (states[index] === 0) continue;
    const token = tokens[index]!;
    if (token === '**' || (token === '*' && character !== '/')) next[index] = 1;
    else if (token === character && token !== '*') next[index + 1] = 1;
  }
  return next.includes(1) ? afterStars(tokens, next) : null;
}

function isStar(token: string): boolean {
  return token === '*' || token === '**';
}
