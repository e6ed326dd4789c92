import { standardPorts } from './egress-decide.ts';
import { canonicalHost } from './host-name.ts';
import { formatAddress, parseAddress } from './ip-address.ts';

/** Where a repository is on another machine. */
export type RepositoryUrl = {
  readonly scheme: 'https' | 'ssh';
  /** Whom ssh signs in as; null where the URL names nobody, and always with https. */
  readonly user: string | null;
  /** A canonical name, or an address in its one spelling without brackets. */
  readonly host: string;
  readonly port: number;
  /** From its first slash on, percent-encoded as it was given. */
  readonly path: string;
};

export const repositoryUrlCharactersMax = 2_048;

const parts =
  /^([a-z][a-z0-9+.-]*):\/\/(?:([^/?#]*)@)?(\[[^\]/?#@]*\]|[^:/?#@[\]]*)(?::([0-9]*))?([/?#].*)?$/is;
const sshUser = /^[a-z0-9_][a-z0-9_.+-]{0,63}$/i;
/** RFC 3986 §3.3, without anything that decodes to a control character. */
const path = /^(?:[a-z0-9._~!$&'()*+,;=:@/-]|%(?!0|1|7f)[0-9a-f]{2})*$/i;

/**
 * The repository that a URL names: `https://host[:port]/path` or `ssh://[user@]host[:port]/path`. Everything else is
 * a problem, said of the URL ("is plain http, …") and never quoting it, because it may hold a password: other
 * transports of git (`file:`, `git:`, `ext::` …), credentials, queries, hosts that no policy can name.
 */
export function parseRepositoryUrl(text: string): { url: RepositoryUrl } | { problem: string } {
  if (text.length > repositoryUrlCharactersMax)
    return { problem: `is longer than ${repositoryUrlCharactersMax} characters` };
  const [, schemeText, user = null, hostText, portText = '', rest = ''] = parts.exec(text) ?? [];
  const scheme = schemeText?.toLowerCase();
  if (scheme === 'http') return { problem: 'is plain http, which anybody on the way can change: use https' };
  if (scheme !== 'https' && scheme !== 'ssh') return { problem: 'is not an https:// or ssh:// URL' };
  if (user !== null && (scheme === 'https' || user.includes(':'))) return { problem: hasCredentials };
  if (user !== null && !sshUser.test(user)) return { problem: 'names a user that is not a login name' };
  const host = hostOf(hostText!);
  if (host === null) return { problem: 'names no host by its DNS name or in the usual form of its address' };
  const port = portText === '' ? standardPorts[scheme] : Number(portText);
  if (port < 1 || port > 65_535) return { problem: 'has a port that is not 1 to 65535' };
  if (/[?#]/.test(rest)) return { problem: 'has a query or fragment, which a repository does not have' };
  if (!path.test(rest))
    return { problem: 'has characters in its path that a URL writes as %XX, or may not have' };
  if (!/[^/]/.test(rest)) return { problem: 'names a host and no repository on it' };
  return { url: { scheme, user, host, port, path: rest } };
}

const hasCredentials =
  'holds a user or password. Secrets for repositories are not there yet, so what is cloned must need no sign-in';

function hostOf(text: string): string | null {
  const inBrackets = /^\[(.*)\]$/.exec(text)?.[1];
  const address = parseAddress(inBrackets ?? text);
  if (address === null) return inBrackets === undefined ? canonicalHost(text) : null;
  return (address.family === 6) === (inBrackets !== undefined) ? formatAddress(address) : null;
}

/** The one spelling of a repository's URL; parsing it gives the same. */
export function formatRepositoryUrl(url: RepositoryUrl): string {
  const user = url.user === null ? '' : `${url.user}@`;
  return `${url.scheme}://${user}${authorityOf(url)}${url.path}`;
}

/** Its host, with the port where that is not the scheme's own: `git.example`, `[fd00::1]:8443`. */
export function authorityOf({ scheme, host, port }: Pick<RepositoryUrl, 'scheme' | 'host' | 'port'>): string {
  const bracketed = host.includes(':') ? `[${host}]` : host;
  return port === standardPorts[scheme] ? bracketed : `${bracketed}:${port}`;
}
