import type { EgressDenial, EgressFlow, EgressProtocol } from './egress.ts';
import {
  isMethod,
  isPathGlob,
  pathGlobCharactersMax,
  protocolOfPort,
  standardPorts,
} from './egress-decide.ts';
import { canonicalHost } from './host-name.ts';
import { addressClass, formatAddress, parseAddress, unmapped } from './ip-address.ts';

/** A rule as a policy document has it, defaults left out. */
export type SuggestedRule =
  | { host: string; ports?: number[]; protocol?: EgressProtocol; methods?: string[]; paths?: string[] }
  | { cidr: string; ports: number[]; protocol?: EgressProtocol };

type Target = { readonly host: string } | { readonly cidr: string };

/** What the flows to one target and port need together. */
type Need = {
  readonly target: Target;
  readonly port: number;
  readonly protocols: Set<EgressProtocol>;
  readonly methods: Set<string>;
  /** Globs; null is a request whose path was not seen. */
  readonly paths: Set<string | null>;
  /** Whether TLS was let through that nobody looked into. */
  isUnseen: boolean;
};

type Draft = {
  target: Target;
  ports: number[];
  protocol: EgressProtocol;
  methods?: string[];
  paths?: string[];
};

/** More paths than this become one prefix. */
const pathsListedMax = 8;
const methodsMax = 32;
const portsPerRuleMax = 64;
const dnsPort = 53;

/** What no rule ought to let through, or could. */
const hopeless: ReadonlySet<EgressDenial | null> = new Set<EgressDenial>(['address-class', 'malformed']);

/**
 * The least rules that let through what these flows were for, sorted by target: exact hosts, single addresses, and
 * where every request was seen the methods and paths (past 8 paths, all below their longest common folder). A
 * name that was only looked up is taken for https; protocols that disagree at one port become `tcp`. Flows denied as
 * `address-class` or `malformed` are left out, and so are those that no rule can say. An allowed flow whose name had
 * an address that is not public needs a rule for that address too. The flows are untrusted: so is what they suggest,
 * and a person is to read it.
 */
export function suggestRules(flows: readonly EgressFlow[]): SuggestedRule[] {
  const needs = new Map<string, Need>();
  const named = new Set<string>();
  for (const flow of flows.filter(({ denial }) => !hopeless.has(denial))) {
    const host = flow.host === null ? null : canonicalHost(flow.host);
    if (flow.protocol === 'dns') named.add(host ?? '');
    else addNeeds(needs, flow, host);
  }
  for (const { target } of needs.values()) named.delete('host' in target ? target.host : '');
  for (const host of named) if (host !== '') needOf(needs, { host }, standardPorts.https);
  return merged([...needs.values()].map(draftOf)).flatMap(suggestionsOf);
}

function addNeeds(needs: Map<string, Need>, flow: EgressFlow, host: string | null): void {
  const { port, method, path } = flow;
  if (port < 1 || port > 65_535 || port === dnsPort) return;
  const glob = path === null ? null : globOf(path);
  if (method !== null && (!isMethod(method) || (path !== null && glob === null))) return;
  for (const target of targetsOf(flow, host)) {
    const need = needOf(needs, target, port);
    if (flow.protocol !== null && flow.protocol !== 'dns') need.protocols.add(flow.protocol);
    if (method === null) need.isUnseen ||= flow.protocol === 'https' && flow.verdict === 'allowed';
    else if (flow.protocol === 'http' || flow.protocol === 'https') {
      need.methods.add(method);
      need.paths.add(glob);
    }
  }
}

function targetsOf(flow: EgressFlow, host: string | null): Target[] {
  const parsed = flow.address === null ? null : parseAddress(flow.address);
  const address = parsed && unmapped(parsed);
  const cidr = address && { cidr: `${formatAddress(address)}/${8 * address.bytes.length}` };
  if (flow.host === null) return cidr ? [cidr] : [];
  if (host === null) return [];
  const named = flow.verdict === 'allowed' && address !== null && addressClass(address) !== 'public';
  return named && cidr ? [{ host }, cidr] : [{ host }];
}

function needOf(needs: Map<string, Need>, target: Target, port: number): Need {
  const key = `${textOf(target)} ${port}`;
  const need = needs.get(key) ?? {
    target,
    port,
    protocols: new Set(),
    methods: new Set(),
    paths: new Set(),
    isUnseen: false,
  };
  needs.set(key, need);
  return need;
}

/** Hosts before networks; a host has no slash. */
function textOf(target: Target): string {
  return 'host' in target ? target.host : `/${target.cidr}`;
}

function draftOf({ target, port, protocols, methods, paths, isUnseen }: Need): Draft {
  const [protocol = 'host' in target ? protocolOfPort(port) : 'tcp', another] = protocols;
  const draft: Draft = { target, ports: [port], protocol: another === undefined ? protocol : 'tcp' };
  const hasRequests = draft.protocol === 'http' || draft.protocol === 'https';
  if (!hasRequests || isUnseen || 'cidr' in target || methods.size === 0) return draft;
  if (methods.size <= methodsMax) draft.methods = [...methods].sort();
  if (!paths.has(null)) draft.paths = gathered([...paths].filter((path) => path !== null));
  return draft;
}

/**
 * A glob for one recorded path, which is normalised: what a glob cannot say literally becomes `*`. Null for a path
 * that is not in normal form. A path as long as records keep may be cut, so its last segment is left open.
 */
function globOf(path: string): string | null {
  const whole = path.length < pathGlobCharactersMax;
  const kept = whole ? path : path.slice(0, path.lastIndexOf('/', pathGlobCharactersMax - 3) + 1);
  const glob = `${kept.replace(/[^A-Za-z0-9._~!$&'()+,=:@/-]+/g, '*')}${whole ? '' : '**'}`;
  return isPathGlob(glob) ? glob : null;
}

function gathered(globs: readonly string[]): string[] {
  if (globs.length <= pathsListedMax) return [...globs].sort();
  const folders = globs.map((glob) => glob.split('/').slice(0, -1));
  const shared = folders.reduce((prefix, folder) => {
    const end = prefix.findIndex((segment, index) => segment !== folder[index]);
    return end === -1 ? prefix : prefix.slice(0, end);
  });
  return [`${shared.join('/')}/**`];
}

/** Drafts that differ by their port alone, as one; sorted. */
function merged(drafts: readonly Draft[]): Draft[] {
  const byRest = new Map<string, Draft>();
  for (const draft of drafts) {
    const { ports, ...rest } = draft;
    const key = JSON.stringify(rest);
    byRest.set(key, { ...draft, ports: [...(byRest.get(key)?.ports ?? []), ...ports].sort((a, b) => a - b) });
  }
  return [...byRest.values()].sort((a, b) => {
    const rank = ({ target }: Draft) => ('host' in target ? `0${target.host}` : `1${target.cidr}`);
    return rank(a) < rank(b) ? -1 : rank(a) > rank(b) ? 1 : a.ports[0]! - b.ports[0]!;
  });
}

/** A draft with its defaults left out, as more than one rule where it has more ports than one may have. */
function suggestionsOf({ target, ports, protocol, methods, paths }: Draft): SuggestedRule[] {
  const shares = Array.from({ length: Math.ceil(ports.length / portsPerRuleMax) }, (_, index) =>
    ports.slice(index * portsPerRuleMax, (index + 1) * portsPerRuleMax),
  );
  return shares.map((share) => {
    if ('cidr' in target) return { ...target, ports: share, ...(protocol === 'tcp' ? {} : { protocol }) };
    const isDefault = protocol !== 'tcp' && share.length === 1 && share[0] === standardPorts[protocol];
    return {
      ...target,
      ...(isDefault ? {} : { ports: share }),
      ...(protocol === 'https' ? {} : { protocol }),
      ...(methods ? { methods } : {}),
      ...(paths ? { paths } : {}),
    };
  });
}
