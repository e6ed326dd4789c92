import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { formatClientNetwork, parseClientNetworks } from '../access/client-networks.ts';
import { accessLimits } from '../access/limits.ts';
import { rateClasses } from '../contract/limits.ts';
import { networkProblem } from '../model/egress-decide.ts';
import { formatCidr, parseCidr } from '../model/ip-address.ts';

/**
 * Every setting of the server, once: its name in `config.yaml`, its default, what it means and how a value is
 * read. The environment variable is `SEALWRIGHT_` and the name in upper case, the flag `--` and the name in
 * kebab case. Flags go before the environment, that before the file, that before the default.
 */
type Setting<T> = {
  readonly fallback: T;
  readonly shape: string;
  readonly about: string;
  /** Another environment variable that means the same, from the documents the product grew from. */
  readonly alias?: string;
  /** The value, or null when the text does not have the shape. */
  readonly read: (text: string) => T | null;
};

const whole = (min: number, max: number, fallback: number, about: string): Setting<number> => ({
  fallback,
  shape: `a whole number from ${min} to ${max}`,
  about,
  read: (text) => {
    const value = Number(text);
    return /^\d+$/.test(text) && value >= min && value <= max ? value : null;
  },
});

const choice = <T extends string>(
  values: readonly T[],
  fallback: T,
  about: string,
  alias?: string,
): Setting<T> => ({
  fallback,
  shape: `one of ${values.join(', ')}`,
  about,
  ...(alias === undefined ? {} : { alias }),
  read: (text) => values.find((value) => value === text) ?? null,
});

const clientNetworks = (about: string): Setting<readonly string[]> => ({
  fallback: [],
  shape: `a comma-separated list of at most ${accessLimits.networksMax} networks in canonical form, each with or without a role, such as 10.8.0.0/16 or admin@10.9.0.0/24`,
  about,
  read: (text) => parseClientNetworks(text)?.map(formatClientNetwork) ?? null,
});

export type Listen = { readonly host: string; readonly port: number };

const audiencesMax = 16;
const passwordWordsMax = 256;

/** More would not leave a run room for rules of its own. */
const networksMax = 256;

export const settingTable = {
  listen: {
    fallback: { host: '127.0.0.1', port: 7717 } as Listen,
    shape: 'an address and a port, such as 127.0.0.1:7717 or [::1]:7717',
    about:
      'Where the API listens. Any address but loopback needs tlsCert and tlsKey, or trustedProxies that end TLS in front.',
    read: readListen,
  } satisfies Setting<Listen>,
  tlsCert: {
    fallback: null as string | null,
    shape: 'the absolute path of a file in PEM',
    about:
      "The server's certificate and its chain: with it and tlsKey the server speaks HTTPS itself. Both files are read again when they change, without a restart.",
    read: readPath,
  } satisfies Setting<string | null>,
  tlsKey: {
    fallback: null as string | null,
    shape: 'the absolute path of a file in PEM',
    about:
      'The private key of tlsCert, without a passphrase. Whoever starts the server must be able to read it.',
    read: readPath,
  } satisfies Setting<string | null>,
  mtlsListen: {
    fallback: null as Listen | null,
    shape: 'an address and a port, such as 127.0.0.1:7718',
    about:
      'Where agents and services that prove who they are by a certificate of the built-in authority find the API; nowhere where absent. It always speaks TLS.',
    read: readListen,
  } satisfies Setting<Listen | null>,
  publicUrl: {
    fallback: null as string | null,
    shape: 'an http or https URL without a path, such as https://sealwright.example',
    about:
      'Where people and machines find this server from outside: its own origin, what its tokens name as their issuer, and the host that passkeys belong to. http://localhost, or https with tlsCert, and the port of `listen` where absent.',
    read: readOrigin,
  } satisfies Setting<string | null>,
  trustDomain: {
    fallback: null as string | null,
    shape: 'a name of lower-case letters, digits, dots, - and _, such as agents.example',
    about:
      'What the names of agents and runs in certificates and tokens begin with: spiffe://<this>/. The host of publicUrl where absent.',
    read: (text: string) => (/^[a-z0-9._-]{1,255}$/.test(text) ? text : null),
  } satisfies Setting<string | null>,
  runIdentityAudiences: {
    fallback: [] as readonly string[],
    shape: `a comma-separated list of at most ${audiencesMax} names without white space, such as https://vault.example`,
    about:
      'The services that the tokens of runs are for: each must find itself among them. publicUrl with /runs behind it where absent.',
    read: readAudiences,
  } satisfies Setting<readonly string[]>,
  env: choice(['dev', 'prod'], 'dev', 'In prod the bootstrap token is refused altogether.', 'CP_ENV'),
  trustedProxies: {
    fallback: [] as readonly string[],
    shape: 'a comma-separated list of addresses or CIDR ranges',
    about: 'The proxies that end TLS in front of the server; X-Forwarded-* is believed only from them.',
    read: readAddresses,
  } satisfies Setting<readonly string[]>,
  bootstrapToken: {
    fallback: null as string | null,
    shape: 'at least 32 characters without white space',
    about: 'The bootstrap token; made at random and kept in the data folder where absent.',
    alias: 'CP_BOOTSTRAP_TOKEN',
    read: (text: string) => (/^\S{32,512}$/.test(text) ? text : null),
  } satisfies Setting<string | null>,
  localSignIn: choice(
    ['yes', 'no'],
    'yes',
    'Whether passwords and passkeys of this server are taken; with no, people sign in through a provider alone, and the machine’s own socket still administers.',
  ),
  passwordWords: {
    fallback: [] as readonly string[],
    shape: `a comma-separated list of at most ${passwordWordsMax} words of 2 to 64 characters with a letter, such as acme,rocket`,
    about:
      'Names and words of the company: no password is one of them, or several, with nothing but digits and punctuation around.',
    read: readWords,
  } satisfies Setting<readonly string[]>,
  mfaRoles: {
    fallback: ['admin', 'operator'] as readonly string[],
    shape: 'a comma-separated list of roles, or none',
    about: 'The roles that nobody signs in to, or may be elevated to, without a second factor.',
    read: readRoles,
  } satisfies Setting<readonly string[]>,
  sessionIdleMinutes: whole(1, 24 * 60, 30, 'How long a browser stays signed in without being used.'),
  sessionHours: whole(1, 24 * 30, 12, 'How long a browser stays signed in at most.'),
  providersFile: {
    fallback: null as string | null,
    shape: 'the absolute path of a file',
    about:
      'The providers where people may sign in besides here, see sign-in.md; providers.yaml in the data folder where absent. Read at the start.',
    read: (text: string) => (isAbsolute(text) ? text : null),
  } satisfies Setting<string | null>,
  sinksFile: {
    fallback: null as string | null,
    shape: 'the absolute path of a file',
    about:
      'Where events are sent besides the audit log, see audit-sinks.md; sinks.yaml in the data folder where absent. Read at the start.',
    read: readPath,
  } satisfies Setting<string | null>,
  witnessesFile: {
    fallback: null as string | null,
    shape: 'the absolute path of a file',
    about:
      'Where signed checkpoints of the audit log are kept besides, see audit-witnesses.md; witnesses.yaml in the data folder where absent. Read at the start.',
    read: readPath,
  } satisfies Setting<string | null>,
  signInNetworks: clientNetworks(
    'The networks that people sign in from; everywhere where absent, and nowhere for whom no entry is for.',
  ),
  administrationNetworks: clientNetworks(
    'The same for what needs identity:write, flag:write or incident:write. The machine’s own socket always may.',
  ),
  attachNetworks: clientNetworks('The same for what needs control:write.'),
  elevationApproval: choice(
    ['no', 'yes'],
    'no',
    'Whether a second person has to approve that somebody gets another role for a time.',
  ),
  maxRuns: whole(1, 2_000, 16, 'Runs at a time on this host.'),
  maxRunsPerSession: whole(1, 64, 1, 'Runs at a time in one session; they share the workspace.'),
  runsPerOwner: whole(1, 100_000, 1_000, 'Queued and live runs of one owner.'),
  sessionsPerOwner: whole(1, 100_000, 1_000, 'Open sessions of one owner.'),
  filesKeptHours: whole(
    1,
    24 * 3650,
    24 * 7,
    'How long logs, recordings, artifacts and egress flows of finished runs are kept, and idle sessions without a name.',
  ),
  auditFolder: {
    fallback: null as string | null,
    shape: 'the absolute path of a folder of its own',
    about:
      'Where the audit log lies, also on another disk; audit/ in the data folder, which becomes a link to it, where absent. A backup of the data folder does not hold it then: back it up too.',
    alias: 'CP_AUDIT_PATH',
    read: readPath,
  } satisfies Setting<string | null>,
  auditKeptDays: {
    fallback: null as number | null,
    shape: 'a whole number of days from 1 to 36500',
    about:
      'How long events stay in the audit log; for ever where absent. Older ones are dropped, 65,536 at a time, once they are in auditArchive and every sink has them.',
    read: (text: string) => (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= 36_500 ? Number(text) : null),
  } satisfies Setting<number | null>,
  auditArchive: {
    fallback: null as string | null,
    shape: 'the absolute path of a folder of its own',
    about:
      'Where events are copied to before auditKeptDays drops them: best on a disk that nobody can take from.',
    read: readPath,
  } satisfies Setting<string | null>,
  requestsPerMinute: whole(1, 10_000_000, rateClasses.default, 'Requests of one actor a minute.'),
  writesPerMinute: whole(1, 10_000_000, rateClasses.write, 'Changes of one actor a minute.'),
  adminPerMinute: whole(1, 10_000_000, rateClasses.admin, 'Administrative requests of one actor a minute.'),
  signInsPerMinute: whole(
    1,
    10_000_000,
    rateClasses.signIn,
    'Refused credentials from one address a minute.',
  ),
  resolvers: {
    fallback: [] as readonly string[],
    shape: 'a comma-separated list of addresses, each with or without a port',
    about: 'The DNS servers that the gateway asks for allowed names; those of the machine where absent.',
    read: readResolvers,
  } satisfies Setting<readonly string[]>,
  egressCaFile: {
    fallback: null as string | null,
    shape: 'the absolute path of a file with certificates in PEM',
    about:
      "Authorities of a company's own servers: the gateway verifies upstreams with them too, where it looks into TLS. Read at the start.",
    read: readPath,
  } satisfies Setting<string | null>,
  githubEgressCidrs: {
    fallback: [] as readonly string[],
    shape: `a comma-separated list of at most ${networksMax} networks in canonical form that a rule can be for, such as 10.20.0.0/16`,
    about:
      'Networks that the preset github is for too, at 443 and 22: of a GitHub server of your own, or fixed ranges.',
    alias: 'CP_GITHUB_EGRESS_CIDRS',
    read: readNetworks,
  } satisfies Setting<readonly string[]>,
  flagsFile: {
    fallback: null as string | null,
    shape: 'the absolute path of a file',
    about:
      'The feature flags, in YAML or JSON, read again when it changes; flags.yaml or flags.json in the data folder where absent. It wins over the API, and where a word of it is not understood every flag is off.',
    read: (text: string) => (isAbsolute(text) ? text : null),
  } satisfies Setting<string | null>,
  strict: choice(
    ['no', 'yes'],
    'no',
    'Whether every run is strict: refused where memory, processes or CPU cannot be held by control groups.',
  ),
  logLevel: choice(['debug', 'info', 'warn', 'error'], 'info', 'What the server writes to its own log.'),
} as const;

type Table = typeof settingTable;
export type SettingName = keyof Table;
export type Settings = { readonly [K in SettingName]: Table[K]['fallback'] };

export class SettingError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'SettingError';
  }
}

const names = Object.keys(settingTable) as SettingName[];

export function environmentName(name: SettingName): string {
  return `SEALWRIGHT_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

export function flagName(name: SettingName): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Throws SettingError, naming the setting, its shape and where the value came from. */
export function readSettings(sources: {
  flags: Readonly<Record<string, string | undefined>>;
  environment: Readonly<Record<string, string | undefined>>;
  file: Readonly<Record<string, string>>;
}): Settings {
  const unknown = Object.keys(sources.file).find((name) => !(name in settingTable));
  if (unknown !== undefined) throw new SettingError(`config.yaml: there is no setting '${unknown}'`);
  const settings = Object.fromEntries(
    names.map((name) => [name, readSetting(name, sources)]),
  ) as unknown as Settings;
  checkListen(settings);
  checkRetention(settings);
  return settings;
}

function readSetting(name: SettingName, sources: Parameters<typeof readSettings>[0]): unknown {
  const setting = settingTable[name] as Setting<unknown>;
  const candidates: [string, string | undefined][] = [
    [`--${flagName(name)}`, sources.flags[flagName(name)]],
    [environmentName(name), sources.environment[environmentName(name)]],
    [setting.alias ?? '', setting.alias === undefined ? undefined : sources.environment[setting.alias]],
    [`config.yaml: ${name}`, sources.file[name]],
  ];
  for (const [source, text] of candidates) {
    if (text === undefined || (text === '' && source !== `--${flagName(name)}`)) continue;
    const value = setting.read(text);
    if (value !== null) return value;
    const shown = name === 'bootstrapToken' ? 'what it is set to' : `'${text.slice(0, 80)}'`;
    throw new SettingError(`${source}: ${shown} is not ${setting.shape}`);
  }
  return setting.fallback;
}

/** The members of `config.yaml` as text; empty where there is no such file. */
export function readSettingsFile(path: string): Record<string, string> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return {};
    throw new SettingError(`${path} cannot be read (${code})`);
  }
  let value: unknown;
  try {
    value = parseYaml(text) ?? {};
  } catch (error) {
    throw new SettingError(`${path}: ${(error as Error).message.split('\n')[0]}`);
  }
  if (typeof value !== 'object' || Array.isArray(value))
    throw new SettingError(`${path} is not a list of settings`);
  return Object.fromEntries(
    Object.entries(value as object).map(([name, member]) => [
      name,
      Array.isArray(member) ? member.join(',') : String(member),
    ]),
  );
}

/** `SEALWRIGHT_HOME`, `/var/lib/sealwright` for root, else the XDG data folder. Absolute. */
export function dataFolderOf(environment: Readonly<Record<string, string | undefined>>, uid: number): string {
  const named = environment.SEALWRIGHT_HOME;
  if (named !== undefined && named !== '') return resolve(named);
  if (uid === 0) return '/var/lib/sealwright';
  const data = environment.XDG_DATA_HOME;
  return join(
    data !== undefined && data !== '' ? resolve(data) : join(homedir(), '.local', 'share'),
    'sealwright',
  );
}

function readListen(text: string): Listen | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) return null;
  if (host === 'localhost') return { host: '127.0.0.1', port };
  return isIP(host) === 0 ? null : { host, port };
}

function readPath(text: string): string | null {
  return isAbsolute(text) ? text : null;
}

/** Plain http is for loopback alone: what crosses a network in the clear is read there. */
function readOrigin(text: string): string | null {
  if (!URL.canParse(text)) return null;
  const { origin, protocol, hostname, href } = new URL(text);
  const isLoopback = hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname);
  const fits = protocol === 'https:' || (protocol === 'http:' && isLoopback);
  return fits && (href === `${origin}/` || href === origin) ? origin : null;
}

function readRoles(text: string): readonly string[] | null {
  if (text.trim() === 'none') return [];
  const items = text.split(',').map((item) => item.trim());
  return items.every((item) => /^[a-z][a-z0-9-]{0,62}$/.test(item)) ? [...new Set(items)] : null;
}

function readWords(text: string): readonly string[] | null {
  const items = text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  const fits = items.every((item) => /^[^\p{C}]{2,64}$/u.test(item) && /\p{L}/u.test(item));
  return fits && items.length <= passwordWordsMax ? [...new Set(items)] : null;
}

function readResolvers(text: string): readonly string[] | null {
  const items = text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  const fits = items.every((item) => {
    const [, inner, bare, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(item) ?? [];
    return isIP(item) !== 0 || (isIP(inner ?? bare ?? '') !== 0 && Number(port ?? 53) <= 65_535);
  });
  return fits ? items : null;
}

function readAudiences(text: string): readonly string[] | null {
  const items = text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  const fits = items.length <= audiencesMax && items.every((item) => /^[\x21-\x7e]{1,255}$/.test(item));
  return fits ? [...new Set(items)] : null;
}

function readAddresses(text: string): readonly string[] | null {
  const items = text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  const fits = items.every((item) => {
    const [address = '', bits] = item.split('/');
    const family = isIP(address);
    return (
      family !== 0 &&
      (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128)))
    );
  });
  return fits ? items : null;
}

/** Each is what a policy's `cidr` may be. */
function readNetworks(text: string): readonly string[] | null {
  const items = text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  if (!items.every((item) => networkProblem(item) === null)) return null;
  const networks = new Set(items.map((item) => formatCidr(parseCidr(item)!)));
  return networks.size > networksMax ? null : [...networks];
}

function checkListen({ listen, tlsCert, tlsKey, trustedProxies }: Settings): void {
  if ((tlsCert === null) !== (tlsKey === null))
    throw new SettingError(
      `${tlsCert === null ? 'tlsCert' : 'tlsKey'}: a certificate and its key are used together: name both, or neither`,
    );
  const loopback = listen.host === '::1' || /^127\./.test(listen.host);
  if (loopback || tlsCert !== null || trustedProxies.length > 0) return;
  throw new SettingError(
    `listen: ${listen.host} is not a loopback address: name a certificate and its key in tlsCert and tlsKey (SEALWRIGHT_TLS_CERT, SEALWRIGHT_TLS_KEY), or put a proxy that ends TLS in front and name it in trustedProxies (SEALWRIGHT_TRUSTED_PROXIES)`,
  );
}

/** Nothing is dropped that is nowhere else. */
function checkRetention({ auditKeptDays, auditArchive }: Settings): void {
  if ((auditKeptDays === null) === (auditArchive === null)) return;
  throw new SettingError(
    `${auditArchive === null ? 'auditKeptDays' : 'auditArchive'}: events are dropped from the log only into an archive: name both auditKeptDays (SEALWRIGHT_AUDIT_KEPT_DAYS) and auditArchive (SEALWRIGHT_AUDIT_ARCHIVE), or neither`,
  );
}

/** The certificates in the file of that setting; throws SettingError where it cannot be used as a whole. */
export function readAuthorities(path: string | null): readonly string[] {
  if (path === null) return [];
  try {
    const found = readFileSync(path, 'utf8').match(certificate) ?? [];
    if (found.length === 0) throw new Error('it has no certificate in PEM');
    for (const text of found)
      if (!new X509Certificate(text).ca) throw new Error('one of them is no authority');
    return found;
  } catch (error) {
    throw new SettingError(
      `egressCaFile: ${path} cannot be used: ${(error as Error).message}. Name a file with the certificates of authorities in PEM.`,
    );
  }
}

const certificate = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** The table of settings for the reference pages. */
export function settingsReference(): string {
  const rows = names.map((name) => {
    const setting = settingTable[name] as Setting<unknown>;
    const fallback =
      name === 'listen'
        ? '127.0.0.1:7717'
        : setting.fallback === null || (Array.isArray(setting.fallback) && setting.fallback.length === 0)
          ? '–'
          : String(setting.fallback);
    const variables = [environmentName(name), setting.alias]
      .filter((variable) => variable !== undefined)
      .map((variable) => `\`${variable}\``)
      .join(', ');
    return `| \`${name}\` | \`--${flagName(name)}\` | ${variables} | ${fallback} | ${setting.shape} | ${setting.about} |`;
  });
  return [
    '| setting | flag | environment | default | value | what it does |',
    '|---|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}
