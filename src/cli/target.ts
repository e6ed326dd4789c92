import { join } from 'node:path';
import type { TokenSource } from '../client/connection.ts';
import { readAuthorities } from './authorities.ts';
import { openCredentials, systemKeyring } from './credentials.ts';
import type { Environment } from './environment.ts';
import { CliFailure, UsageFailure } from './failure.ts';
import { dataFolder, defaultUrl, profilePath, readProfile } from './profile.ts';

/** Which server, and as whom. */
export type Target = {
  readonly url: string;
  /** A bearer secret, or where they come from after `login`; null where there is none for this server. */
  readonly token: string | TokenSource | null;
  /** Certificates in PEM that the server's may be issued by, besides those that Node knows; absent for none. */
  readonly authorities: string | undefined;
  /** The profile that was read; null where there is none. */
  readonly profilePath: string | null;
  readonly dataFolder: string;
  /** The socket of a server on this machine; whether anybody answers there is unknown. */
  readonly socketPath: string;
};

/**
 * `--url`, then SEALWRIGHT_URL, then the profile; SEALWRIGHT_TOKEN, then what `login` got, then the profile. A token
 * is never taken from the command line, where other users would read it, and goes to the server it is of alone.
 */
export async function chooseTarget(environment: Environment, flags: { url?: string }): Promise<Target> {
  const { variables, home, platform } = environment;
  const path = profilePath(variables, home);
  const profile = await readProfile(path, platform);
  const url = checkedUrl(
    flags.url ?? nonEmpty(variables.SEALWRIGHT_URL) ?? profile?.url ?? defaultUrl,
    environment,
  );
  const profileToken = profile !== null && sameServer(profile.url, url) ? (profile.token ?? null) : null;
  const folder = dataFolder(environment, profile);
  return {
    url,
    token: nonEmpty(variables.SEALWRIGHT_TOKEN) ?? (await signedIn(environment, url)) ?? profileToken,
    authorities: await readAuthorities(environment),
    profilePath: profile === null ? null : path,
    dataFolder: folder,
    socketPath: join(folder, 'control', 'local.sock'),
  };
}

/** What `login` keeps for the server. The rest is loaded only where there is something. */
async function signedIn(environment: Environment, url: string): Promise<string | TokenSource | null> {
  const credentials = openCredentials(environment, systemKeyring);
  const kept = await credentials.read(url);
  if (kept === null || kept.kind === 'token') return kept?.token ?? null;
  const [{ createOAuthClient }, { signInTokens }] = await Promise.all([
    import('../client/oauth.ts'),
    import('./token-source.ts'),
  ]);
  const oauth = createOAuthClient({ url, authorities: await readAuthorities(environment) });
  return signInTokens({ origin: url, credentials, oauth, clock: environment.clock });
}

function nonEmpty(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}

function sameServer(a: string, b: string): boolean {
  return URL.canParse(a) && URL.canParse(b) && new URL(a).origin === new URL(b).origin;
}

/** Refuses what would send the token in the clear over a network. */
function checkedUrl(text: string, { variables }: Environment): string {
  if (!URL.canParse(text) || !/^https?:\/\//i.test(text)) {
    throw new UsageFailure(
      `"${text}" is not the URL of a server`,
      `It looks like ${defaultUrl} or https://sealwright.example`,
    );
  }
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw new UsageFailure('The URL holds a user or password', 'Give the token as SEALWRIGHT_TOKEN.');
  }
  if (url.protocol === 'http:' && !isLoopback(url) && variables.SEALWRIGHT_ALLOW_HTTP !== '1') {
    throw new CliFailure(
      `${url.origin} is not encrypted, so your token would cross the network in the clear.`,
      {
        hint: 'Use https, or set SEALWRIGHT_ALLOW_HTTP=1 where the way there is safe.',
      },
    );
  }
  return url.origin;
}

/** Whether an address is this machine's own. */
export function isLoopback({ hostname }: URL): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(hostname);
}
