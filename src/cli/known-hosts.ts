import { createHmac } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { sshHostKey } from '../contract/repository.ts';
import type { Environment } from './environment.ts';
import { CliFailure } from './failure.ts';
import { cliLimits } from './limits.ts';

/**
 * The keys that the caller's `known_hosts` files, or this machine's, have for a host: each its type and base64. What a
 * file marks as revoked is left out wherever it is; certificate authorities are, too.
 */
export async function hostKeysOf(
  { home }: Pick<Environment, 'home'>,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<string[]> {
  const files = [
    ...['known_hosts', 'known_hosts2'].map((name) => join(home, '.ssh', name)),
    ...['/etc/ssh/ssh_known_hosts', '/etc/ssh/ssh_known_hosts2'],
  ];
  const texts = await Promise.all(files.map(readKnownHosts));
  return knownKeys(texts.join('\n'), port === 22 ? host : `[${host}]:${port}`);
}

async function readKnownHosts(path: string): Promise<string> {
  try {
    if ((await stat(path)).size <= cliLimits.knownHostsBytesMax) return await readFile(path, 'latin1');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return '';
    throw new CliFailure(`${path} cannot be read (${code}), and with it the key of the host.`, {
      cause: error,
    });
  }
  throw new CliFailure(`${path} is larger than ${cliLimits.knownHostsBytesMax} bytes.`);
}

/** Of the lines of `known_hosts` files (sshd(8)), for a host as they name it: `host`, or `[host]:port`. */
export function knownKeys(text: string, host: string): string[] {
  const known = new Set<string>();
  const revoked = new Set<string>();
  for (const line of text.split(/\r?\n/)) {
    const words = line.trim().split(/[ \t]+/);
    const marker = words[0]?.startsWith('@') ? words.shift() : undefined;
    const [names = '', type = '', key = ''] = words;
    if (names.startsWith('#') || !sshHostKey.safeParse(`${type} ${key}`).success) continue;
    if (!namesHost(names, host)) continue;
    if (marker === '@revoked') revoked.add(`${type} ${key}`);
    else if (marker === undefined) known.add(`${type} ${key}`);
  }
  return [...known].filter((key) => !revoked.has(key));
}

/** One hashed name, or patterns between commas of which one with `!` counts against all. */
function namesHost(names: string, host: string): boolean {
  const [, salt, hash] = /^\|1\|([A-Za-z0-9+/=]+)\|([A-Za-z0-9+/=]+)$/.exec(names) ?? [];
  if (salt !== undefined && hash !== undefined)
    return createHmac('sha1', Buffer.from(salt, 'base64')).update(host).digest('base64') === hash;
  const patterns = names.toLowerCase().split(',');
  const matches = (pattern: string) => globOf(pattern).test(host);
  if (patterns.some((pattern) => pattern.startsWith('!') && matches(pattern.slice(1)))) return false;
  return patterns.some((pattern) => !pattern.startsWith('!') && matches(pattern));
}

/** `*` and `?` as ssh reads them; everything else is itself. */
function globOf(pattern: string): RegExp {
  const source = pattern
    .replace(/\*+/g, '*')
    .replace(/[.+^${}()|[\]\\/-]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 's');
}
