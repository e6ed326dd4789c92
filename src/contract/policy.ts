import { z } from 'zod';
import { type EgressRule, egressProtocols } from '../model/egress.ts';
import { isMethod, isPathGlob, networkOf, networkProblem, standardPorts } from '../model/egress-decide.ts';
import { isPresetName, type PresetRules, presetNames, presetRules } from '../model/egress-presets.ts';
import { canonicalPattern, hostMatches } from '../model/host-name.ts';
import { cidrCovers, formatCidr, parseAddress, parseCidr } from '../model/ip-address.ts';

/** What one policy document may hold. */
export const policyLimits = {
  rulesMax: 500,
  portsPerRuleMax: 64,
  methodsPerRuleMax: 32,
  pathsPerRuleMax: 100,
  hostCharactersMax: 512,
  cidrCharactersMax: 64,
} as const;

const dnsPort = 53;

const isUnique = (list: readonly (string | number)[]): boolean => new Set(list).size === list.length;

const port = z
  .int()
  .min(1)
  .max(65_535)
  .refine((number) => number !== dnsPort, {
    message: 'cannot be 53: names are answered inside the sandbox, and no query leaves it',
  });

const path = z.string().refine(isPathGlob, {
  message:
    'is not a path glob in normal form: at most 1,024 printable ASCII characters, starting with /, without %, ;, ?, # or \\, empty, . or .. segments, or three stars in a row',
});

const method = z
  .string()
  .refine(isMethod, { message: 'is not a method in upper case, of at most 32 characters, or is CONNECT' });

/**
 * One rule: exactly one of `preset`, `host` and `cidr` says what it is for, and a preset has nothing beside it.
 * `compileRules` checks what members mean together.
 */
const policyRule = z
  .strictObject({
    preset: z.enum(presetNames).exactOptional(),
    host: z.string().max(policyLimits.hostCharactersMax).exactOptional().meta({
      description: 'A DNS name, or `*.` and a name for its strict subdomains',
      example: '*.example.org',
    }),
    cidr: z
      .string()
      .max(policyLimits.cidrCharactersMax)
      .exactOptional()
      .meta({ description: 'A network, which need not be public', example: '10.0.0.0/8' }),
    ports: z
      .array(port)
      .min(1)
      .max(policyLimits.portsPerRuleMax)
      .refine(isUnique, { message: 'names a port twice' })
      .exactOptional()
      .meta({ description: 'The standard port of the protocol where absent; due with `cidr` and `tcp`' }),
    protocol: z
      .enum(egressProtocols)
      .exactOptional()
      .meta({ description: 'Where absent, `https` for a host and `tcp` for a network' }),
    methods: z
      .array(method)
      .min(1)
      .max(policyLimits.methodsPerRuleMax)
      .refine(isUnique, { message: 'names a method twice' })
      .exactOptional()
      .meta({ description: 'Only with a host and `http` or `https`; all where absent' }),
    paths: z
      .array(path)
      .min(1)
      .max(policyLimits.pathsPerRuleMax)
      .refine(isUnique, { message: 'names a path twice' })
      .exactOptional()
      .meta({
        description:
          'Only with a host and `http` or `https`: globs, `*` within a segment and `**` across; all where absent',
      }),
  })
  .meta({ description: 'Exactly one of preset, host and cidr; a preset has nothing beside it' });

const limit = z.int().min(1).max(Number.MAX_SAFE_INTEGER);

const policyBounds = z
  .strictObject({
    bytesOut: limit.exactOptional().meta({ description: 'Bytes that may leave, over the whole run' }),
    connections: limit.exactOptional().meta({ description: 'Connections open at a time' }),
    requestsPerMinute: limit.exactOptional().meta({
      description: 'Requests on checked connections, and connections that are not looked into',
    }),
  })
  .refine((bounds) => Object.keys(bounds).length > 0, { message: 'names no limit' })
  .meta({ description: 'Bounds of all flows of a run together; of several policies the smallest hold' });

/** What a run may reach. The first rule that names a host or address and a port decides. */
export const policyDocument = z.strictObject({
  rules: z.array(policyRule).max(policyLimits.rulesMax),
  limits: policyBounds.exactOptional(),
});

/** Names that `--egress` takes for something else. */
const takenNames: readonly string[] = ['full', 'none'];

export const policyName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,62}$/, 'is not 1 to 63 lower-case letters, digits and hyphens, a letter first')
  .refine((text) => !isPresetName(text) && !takenNames.includes(text), {
    message: 'is the name of a preset or a mode',
  });

export type PolicyDocument = z.infer<typeof policyDocument>;
export type PolicyRule = z.infer<typeof policyRule>;

/** What is wrong and where, such as `rules[2].ports`; an empty path is the document. */
export type PolicyProblem = { path: string; message: string };

/** Members of designs to come: a document that has one must not be taken for less than it asks. */
const notYet: readonly string[] = ['secret', 'secrets', 'approve'];

/** The document that a parsed YAML or JSON text is, or what is wrong with its shape. `compileRules` is still due. */
export function parsePolicy(value: unknown): { document: PolicyDocument } | { problems: PolicyProblem[] } {
  const result = policyDocument.safeParse(value);
  return result.success ? { document: result.data } : { problems: result.error.issues.flatMap(problemsOf) };
}

function problemsOf(issue: z.core.$ZodIssue): PolicyProblem[] {
  if (issue.code !== 'unrecognized_keys') return [{ path: placeOf(issue.path), message: issue.message }];
  return issue.keys.map((key) => ({
    path: placeOf([...issue.path, key]),
    message: notYet.includes(key) ? 'cannot be enforced yet' : 'is not a known field',
  }));
}

/** The path of a member as people write it, such as `rules[2].ports`. */
export function placeOf(parts: readonly PropertyKey[]): string {
  return parts
    .map((part, index) => {
      if (typeof part === 'number') return `[${part}]`;
      return `${index === 0 ? '' : '.'}${String(part).slice(0, 64)}`;
    })
    .join('');
}

/** Tells of one member of the rule at hand, or of the rule itself. */
type Report = (member: keyof PolicyRule | null, message: string) => void;

/**
 * The rules of a document in its order, presets expanded and every default filled in, or everything that cannot be
 * enforced as it is written. `name` is what verdicts call the policy, `presets` says what presets stand for. Rules that never decide anything because an
 * earlier one does, otherwise, are refused too.
 */
export function compileRules(
  name: string,
  document: PolicyDocument,
  presets: PresetRules = presetRules,
): { rules: EgressRule[] } | { problems: PolicyProblem[] } {
  const problems: PolicyProblem[] = [];
  const named = new Set<string>();
  const places: { place: string; rule: EgressRule }[] = [];
  for (const [index, rule] of document.rules.entries()) {
    const place = `rules[${index}]`;
    const report: Report = (member, message) =>
      problems.push({ path: member === null ? place : `${place}.${member}`, message });
    if (rule.preset !== undefined && named.has(rule.preset)) report('preset', 'is named twice');
    named.add(rule.preset ?? '');
    const compiled = compileRule(`${name}#${index + 1}`, rule, presets, report);
    places.push(...compiled.map((each) => ({ place, rule: each })));
  }
  if (problems.length === 0) problems.push(...unreached(places));
  return problems.length > 0 ? { problems } : { rules: places.map(({ rule }) => rule) };
}

/** The rules that one rule of a document stands for; none where something was reported. */
function compileRule(name: string, rule: PolicyRule, presets: PresetRules, report: Report): EgressRule[] {
  const { preset, host, cidr } = rule;
  const targets = [preset, host, cidr].filter((target) => target !== undefined);
  if (targets.length !== 1) {
    report(null, 'does not have exactly one of preset, host and cidr');
    return [];
  }
  if (preset !== undefined) {
    reportBesidePreset(rule, report);
    return presets(preset);
  }
  const protocol = rule.protocol ?? (host === undefined ? 'tcp' : 'https');
  const target = host === undefined ? cidrOf(cidr!, report) : hostOf(host, report);
  const ports = portsOf(rule, protocol, report);
  reportRequests(rule, protocol, report);
  if (target === null || ports === null) return [];
  const methods = rule.methods && { methods: rule.methods.toSorted() };
  const paths = rule.paths && { paths: rule.paths.toSorted() };
  return [{ name, target, ports, protocol, ...methods, ...paths }];
}

function reportBesidePreset(rule: PolicyRule, report: Report): void {
  for (const member of ['ports', 'protocol', 'methods', 'paths'] as const) {
    if (rule[member] !== undefined) report(member, 'cannot stand beside a preset, which has its own');
  }
}

function hostOf(text: string, report: Report): EgressRule['target'] | null {
  const host = canonicalPattern(text);
  if (host !== null) return { host };
  const bare = text.replace(/^\[(.*)\]$/, '$1');
  if (parseAddress(bare) !== null) report('host', 'is an IP address: name the network with cidr instead');
  else if (text.includes('*'))
    report('host', 'has a star that is not `*.` before a name of two labels or more, such as *.example.org');
  else report('host', 'is not a DNS name (or is one that some programs read as an IP address)');
  return null;
}

function cidrOf(text: string, report: Report): EgressRule['target'] | null {
  const problem = networkProblem(text);
  if (problem !== null) report('cidr', problem);
  const cidr = parseCidr(text);
  return cidr === null ? null : { cidr: formatCidr(cidr) };
}

function portsOf(rule: PolicyRule, protocol: EgressRule['protocol'], report: Report): number[] | null {
  if (rule.ports) return [...rule.ports].sort((a, b) => a - b);
  if (rule.cidr === undefined && protocol !== 'tcp') return [standardPorts[protocol]];
  report('ports', rule.cidr === undefined ? 'is due with protocol tcp' : 'is due with cidr');
  return null;
}

function reportRequests(rule: PolicyRule, protocol: EgressRule['protocol'], report: Report): void {
  for (const member of ['methods', 'paths'] as const) {
    if (rule[member] === undefined) continue;
    if (protocol !== 'http' && protocol !== 'https') {
      report(
        member,
        `cannot be enforced: ${protocol} has no requests; only http and https have methods and paths`,
      );
    } else if (rule.cidr !== undefined) {
      report(member, 'cannot stand beside cidr: name the host whose requests these are');
    }
  }
}

/** Rules that an earlier one keeps from ever deciding what they say, at some of their ports. */
function unreached(places: readonly { place: string; rule: EgressRule }[]): PolicyProblem[] {
  return places.flatMap(({ place, rule }, index) => {
    const earlier = places.slice(0, index).find((other) => overrules(other.rule, rule));
    if (!earlier) return [];
    const message = `is never reached, because ${earlier.place} (${earlier.rule.name}) decides the same otherwise: join them, or put this rule first`;
    return [{ path: place, message }];
  });
}

function overrules(earlier: EgressRule, later: EgressRule): boolean {
  const says = ({ protocol, methods, paths }: EgressRule) => JSON.stringify([protocol, methods, paths]);
  return (
    earlier.ports.some((each) => later.ports.includes(each)) &&
    covers(earlier.target, later.target) &&
    says(earlier) !== says(later)
  );
}

function covers(outer: EgressRule['target'], inner: EgressRule['target']): boolean {
  if ('host' in outer && 'host' in inner) {
    const parent = inner.host.replace(/^\*\./, '');
    if (outer.host === inner.host) return true;
    return outer.host.startsWith('*.') && hostMatches(outer.host, parent);
  }
  const [wide, narrow] = [networkOf(outer), networkOf(inner)];
  return wide !== null && narrow !== null && cidrCovers(wide, narrow);
}

/**
 * The one form of a document that compiles, for storing and comparing: members and lists sorted, canonical hosts and
 * networks, defaults left out. Rules keep their order, which has a meaning. It compiles to the same rules.
 */
export function formatDocument(document: PolicyDocument): PolicyDocument {
  const { rules, limits } = document;
  return { ...(limits && { limits: formatLimits(limits) }), rules: rules.map(formatRule) };
}

function formatLimits({ bytesOut, connections, requestsPerMinute }: NonNullable<PolicyDocument['limits']>) {
  return {
    ...(bytesOut !== undefined && { bytesOut }),
    ...(connections !== undefined && { connections }),
    ...(requestsPerMinute !== undefined && { requestsPerMinute }),
  };
}

function formatRule({ preset, host, cidr, ports, protocol, methods, paths }: PolicyRule): PolicyRule {
  if (preset !== undefined) return { preset };
  const network = cidr === undefined ? null : parseCidr(cidr);
  const effective = protocol ?? (host === undefined ? 'tcp' : 'https');
  const standard = host !== undefined && effective !== 'tcp' ? standardPorts[effective] : null;
  const named = ports && !(ports.length === 1 && ports[0] === standard);
  return {
    ...(cidr !== undefined && { cidr: network ? formatCidr(network) : cidr }),
    ...(host !== undefined && { host: canonicalPattern(host) ?? host }),
    ...(methods && { methods: methods.toSorted() }),
    ...(paths && { paths: paths.toSorted() }),
    ...(named && { ports: ports.toSorted((a, b) => a - b) }),
    ...(effective !== (host === undefined ? 'tcp' : 'https') && { protocol: effective }),
  };
}
