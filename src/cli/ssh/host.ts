/** How ssh clients name a sandbox and what is in it. */

/** The one user of every sandbox. */
export const sandboxUser = 'agent';

/** The name under which known_hosts has the one host key of this machine. */
export const hostKeyAlias = 'sealwright-sandbox';

export const hostSuffix = '.sealwright';

export type HostBlock = {
  readonly run: string;
  /** The run's name; null where it has none. */
  readonly name: string | null;
  /** The words that start this program. */
  readonly program: readonly string[];
  readonly url: string;
  readonly identityFile: string;
  readonly knownHostsFile: string;
};

/**
 * What ssh is told about a sandbox, each option by its name, in the order of a `Host` block. ssh reads blocks of other hosts,
 * too, and stops at an option that it does not know: only what OpenSSH 7 knows is in here.
 */
export function hostOptions(block: Omit<HostBlock, 'name'>): readonly (readonly [string, string])[] {
  const { run, program, url, identityFile, knownHostsFile } = block;
  const words = [...program, '--url', url, 'ssh-proxy', run];
  return [
    ['User', sandboxUser],
    ['ProxyCommand', words.map(shellWord).join(' ').replaceAll('%', '%%')],
    ['HostKeyAlias', hostKeyAlias],
    ['HostKeyAlgorithms', 'ssh-ed25519'],
    ['UserKnownHostsFile', quoted(knownHostsFile)],
    ['GlobalKnownHostsFile', '/dev/null'],
    ['StrictHostKeyChecking', 'yes'],
    ['UpdateHostKeys', 'no'],
    ['IdentityFile', quoted(identityFile)],
    ['IdentitiesOnly', 'yes'],
    ['IdentityAgent', 'none'],
    ['PreferredAuthentications', 'publickey'],
    ['ForwardAgent', 'no'],
    ['ForwardX11', 'no'],
  ];
}

/** A `Host` block of ssh_config(5). */
export function hostBlock(block: HostBlock): string {
  const names = [block.run, ...(isHostName(block.name) ? [block.name] : [])];
  const lines = hostOptions(block).map(([option, value]) => `  ${option} ${value}\n`);
  return `Host ${names.map((name) => `${name}${hostSuffix}`).join(' ')}\n${lines.join('')}`;
}

/** Names are people's own words; only what is no pattern and no option becomes one of a host. */
function isHostName(name: string | null): name is string {
  return name !== null && /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(name);
}

/** One word for the shell that ssh hands the ProxyCommand to. */
function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** A path in ssh_config(5): in quotes, which hide blanks; `%` and `${}` mean something else there. */
function quoted(path: string): string {
  const literal = path.replaceAll('%', '%%');
  return /^[\w@%+=:,./-]+$/.test(literal) ? literal : `"${literal}"`;
}
