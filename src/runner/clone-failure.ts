import type { EgressDenial, EgressFlow, EgressPolicy } from '../model/egress.ts';
import { ruleForAddress, ruleForName, standardPorts } from '../model/egress-decide.ts';
import { presetFor } from '../model/egress-presets.ts';
import { parseAddress } from '../model/ip-address.ts';
import { authorityOf, type RepositoryUrl } from '../model/repository-url.ts';
import type { Verdicts } from './egress-relay.ts';

/** What the gateway said of a clone's flows, as far as it tells why the clone failed. */
export class CloneWatch {
  /** The last flow that was denied. */
  denied: EgressFlow | null = null;
  /** Whether an allowed connection met nobody. */
  unreached = false;

  see({ flows, ends }: Verdicts): void {
    this.denied = flows.findLast(({ verdict }) => verdict === 'denied') ?? this.denied;
    this.unreached ||= ends.some(({ outcome }) => outcome === 'unreachable');
  }
}

export type CloneFailure = { readonly cause: 'network' | 'repo-access'; readonly reason: string };

/**
 * Why a clone failed, in one sentence for people. What the gateway and the policy say counts first (at a port that no
 * rule names nobody listens, so there is no verdict); then what git and ssh say on standard error, without what they
 * mark as said by the other side. It is untrusted all the same.
 */
export function cloneFailure(
  url: RepositoryUrl,
  policy: EgressPolicy,
  watch: Pick<CloneWatch, 'denied' | 'unreached'>,
  complaint: string,
): CloneFailure {
  if (watch.denied !== null) return { cause: 'network', reason: denialReason(url, watch.denied) };
  if (!allows(policy, url)) return { cause: 'network', reason: notAllowed(url) };
  const where = whereOf(url);
  const lines = complaint.split(/[\r\n]+/).filter((line) => line !== '' && !/^remote: ?/.test(line));
  const said = sentence(lines);
  if (watch.unreached) return { cause: 'network', reason: `Nobody answers at ${where}${said}` };
  // Between quotes are names, which may hold any word.
  const unquoted = lines.map((line) => line.replace(/'[^']*'/g, "''"));
  for (const [pattern, cause, reason] of complaints)
    if (unquoted.some((line) => pattern.test(line))) return { cause, reason: `${reason(where)}${said}` };
  return { cause: 'repo-access', reason: `The repository could not be cloned${said}` };
}

/** Git's last word after a reason. */
function sentence(lines: readonly string[]): string {
  const line = lines.findLast((each) => /^(?:fatal|error): /.test(each)) ?? lines.at(-1);
  return line === undefined ? '.' : `: ${line.replace(/^(?:fatal|error): /, '').slice(0, 300)}`;
}

const noSignIn =
  'Secrets for repositories are not there yet: clone it yourself and name the folder with --repo';

/** What git, curl and OpenSSH say, in the C locale; the first that fits counts. */
const complaints: readonly (readonly [RegExp, CloneFailure['cause'], (where: string) => string])[] = [
  [
    /cannot run ssh\b/,
    'repo-access',
    () => "The runner's machine has no ssh: install openssh-client there, or use https://",
  ],
  [
    /^Host key verification failed|host key is known for .* strict checking/i,
    'network',
    (where) => `${where} does not have the host key that you know it by`,
  ],
  [
    /(?:certificate|server) verification failed|certificate (?:problem|subject name|has expired)|gnutls_handshake|GnuTLS recv|SSL_(?:connect|read)|TLS connect error/,
    'network',
    (where) => `TLS with ${where} failed`,
  ],
  [
    /Authentication failed|could not read (?:Username|Password)|Permission denied|returned error: 40[13]\b/,
    'repo-access',
    (where) => `${where} wants a sign-in. ${noSignIn}`,
  ],
  [
    /^fatal: (?:repository|Repository) .* not found|returned error: 404\b|does not appear to be a git repository/,
    'repo-access',
    (where) => `There is no such repository at ${where}, or it wants a sign-in`,
  ],
  [
    /^(?:fatal|warning|error): .*(?:Remote branch .* not found|couldn't find remote ref|not our ref|unadvertised object)/,
    'repo-access',
    () => 'The repository has no such branch, tag or commit',
  ],
  [
    /Could not resolve|Failed to connect|Connection (?:refused|timed out|reset|closed)|Couldn't connect|Recv failure|timed out|early EOF|unexpected disconnect|returned error: (?:429|5\d\d)\b/i,
    'network',
    (where) => `The connection to ${where} failed`,
  ],
];

function whereOf(target: Target): string {
  return `${target.scheme}://${authorityOf(target)}`;
}

function allows(policy: EgressPolicy, { host, port }: RepositoryUrl): boolean {
  const address = parseAddress(host);
  const rule = address === null ? ruleForName(policy, host, port) : ruleForAddress(policy, address, port);
  return rule !== null;
}

/** What a connection of a clone is to; `host` may be an address. */
type Target = Pick<RepositoryUrl, 'scheme' | 'host' | 'port'>;

function denialReason(url: RepositoryUrl, flow: EgressFlow): string {
  const host = flow.host ?? flow.address ?? url.host;
  const port = flow.protocol === 'dns' ? standardPorts[url.scheme] : flow.port;
  // A name was looked up, and for what port is not said.
  const target = host === url.host ? url : { scheme: url.scheme, host, port };
  const { denial } = flow;
  return denial === null || denial === 'no-rule' ? notAllowed(target) : denials[denial](whereOf(target));
}

function notAllowed(target: Target): string {
  const preset = presetFor(target.host, target.port);
  const what = preset === null ? `a policy with the rule ${ruleText(target)}` : `--egress ${preset}`;
  return `The policy of this run does not allow ${whereOf(target)}; ${what} would.`;
}

/** The rule that lets it through, as a policy document may have it. */
function ruleText({ scheme, host, port }: Target): string {
  const address = parseAddress(host);
  const ports = port === standardPorts[scheme] ? {} : { ports: [port] };
  const protocol = scheme === 'https' ? {} : { protocol: scheme };
  if (address === null) return JSON.stringify({ host, ...protocol, ...ports });
  return JSON.stringify({ cidr: `${host}/${address.bytes.length * 8}`, ports: [port], protocol: scheme });
}

const refused = (where: string) => `The gateway refused what was said to ${where}.`;

const denials: Readonly<Record<Exclude<EgressDenial, 'no-rule'>, (where: string) => string>> = {
  'address-class': (where) =>
    `${where} is at an address that is not public: a cidr rule of the policy has to name it.`,
  unresolved: (where) => `${where} has no address.`,
  certificate: (where) => `Nobody known vouches for the certificate of ${where}.`,
  limit: (where) => `A limit of the run's policy was reached at ${where}.`,
  'no-record': (where) => `The connection to ${where} could not be recorded, so it was not made.`,
  protocol: refused,
  'name-mismatch': refused,
  request: refused,
  malformed: refused,
};
