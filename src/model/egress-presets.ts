import type { EgressProtocol, EgressRule } from './egress.ts';

export const presetNames = ['github', 'npm', 'pypi', 'debian', 'anthropic', 'openai', 'google-ai'] as const;
export type PresetName = (typeof presetNames)[number];

export type EgressPreset = {
  /** The public page that says which hosts these are. */
  readonly source: string;
  readonly rules: readonly {
    /** The names below it that are meant, and the domain itself where one of them is `@`, as in a zone file. */
    readonly domain: string;
    readonly names: readonly string[];
    readonly ports: readonly number[];
    readonly protocol: EgressProtocol;
  }[];
};

/** What well-known services need, by their public names; as little as lets their usual clients work. */
export const egressPresets: Readonly<Record<PresetName, EgressPreset>> = {
  github: {
    source: 'https://docs.github.com/en/actions/concepts/runners/communicating-with-self-hosted-runners',
    rules: [
      { domain: 'github.com', names: ['@', 'api', 'codeload'], ports: [443], protocol: 'https' },
      {
        domain: 'githubusercontent.com',
        names: ['objects', 'raw', 'release-assets'],
        ports: [443],
        protocol: 'https',
      },
      { domain: 'github.com', names: ['@'], ports: [22], protocol: 'ssh' },
    ],
  },
  npm: {
    source: 'https://docs.npmjs.com/cli/v11/using-npm/registry',
    rules: [{ domain: 'npmjs.org', names: ['registry'], ports: [443], protocol: 'https' }],
  },
  pypi: {
    source: 'https://docs.pypi.org/api/index-api/',
    rules: [
      { domain: 'pypi.org', names: ['@'], ports: [443], protocol: 'https' },
      { domain: 'pythonhosted.org', names: ['files'], ports: [443], protocol: 'https' },
    ],
  },
  debian: {
    source: 'https://wiki.debian.org/SourcesList',
    rules: [
      { domain: 'debian.org', names: ['deb', 'security'], ports: [443], protocol: 'https' },
      { domain: 'debian.org', names: ['deb', 'security'], ports: [80], protocol: 'http' },
    ],
  },
  anthropic: {
    source: 'https://platform.claude.com/docs/en/api/overview',
    rules: [{ domain: 'anthropic.com', names: ['api'], ports: [443], protocol: 'https' }],
  },
  openai: {
    source: 'https://platform.openai.com/docs/api-reference/introduction',
    rules: [{ domain: 'openai.com', names: ['api'], ports: [443], protocol: 'https' }],
  },
  'google-ai': {
    source: 'https://ai.google.dev/api',
    rules: [{ domain: 'googleapis.com', names: ['generativelanguage'], ports: [443], protocol: 'https' }],
  },
};

/** Whether a name is that of a preset. */
export function isPresetName(name: string): name is PresetName {
  return (presetNames as readonly string[]).includes(name);
}

/** The rules of each preset, compiled. */
export type PresetRules = (name: PresetName) => EgressRule[];

/** A preset's rules, compiled: one for each host, called `npm#1` and so on. */
export function presetRules(name: PresetName): EgressRule[] {
  return numbered(name, hostRules(name));
}

/**
 * The presets of a server whose `github` is at further networks too, by https and ssh: of a server of one's own, or
 * fixed ranges. The networks are canonical.
 */
export function presetRulesWith(networks: { readonly github: readonly string[] }): PresetRules {
  const further = networks.github.flatMap((cidr) => [
    { target: { cidr }, ports: [443], protocol: 'https' as const },
    { target: { cidr }, ports: [22], protocol: 'ssh' as const },
  ]);
  return (name) => numbered(name, [...hostRules(name), ...(name === 'github' ? further : [])]);
}

function numbered(name: PresetName, rules: readonly Omit<EgressRule, 'name'>[]): EgressRule[] {
  return rules.map((rule, index) => ({ name: `${name}#${index + 1}`, ...rule }));
}

function hostRules(name: PresetName): Omit<EgressRule, 'name'>[] {
  return egressPresets[name].rules.flatMap(({ domain, names, ports, protocol }) =>
    names.map((label) => {
      const host = label === '@' ? domain : `${label}.${domain}`;
      return { target: { host }, ports, protocol };
    }),
  );
}

/** The preset that lets a canonical name through at a port; null where none does. */
export function presetFor(host: string, port: number): PresetName | null {
  const allows = (name: PresetName) =>
    presetRules(name).some(
      ({ target, ports }) => 'host' in target && target.host === host && ports.includes(port),
    );
  return presetNames.find(allows) ?? null;
}
