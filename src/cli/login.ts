import { createHash, randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { createOAuthClient, type OAuthClient, OAuthRefusal } from '../client/oauth.ts';
import { commandLineClient, grantTypes, oauthPaths, type TokenAnswer } from '../contract/oauth.ts';
import { readAuthorities } from './authorities.ts';
import { hasDisplay, openBrowser } from './browser.ts';
import { type Context, note, print } from './context.ts';
import { type Credential, openCredentials, systemKeyring } from './credentials.ts';
import { CliFailure, UsageFailure } from './failure.ts';
import { cliLimits } from './limits.ts';
import { openLoopback } from './loopback.ts';
import { isLoopback } from './target.ts';
import { signInOf } from './token-source.ts';

type LoginFlags = { device?: boolean; token?: boolean };

export function defineLogin(program: Command, context: Context): void {
  program
    .command('login')
    .summary('sign in at a server')
    .description(
      'Signs in, in your browser. Where there is no display, or with --device, it shows a code to enter in a browser\n' +
        'elsewhere. With --token it reads an API token from standard input. What it gets is kept in the keyring of\n' +
        'the system, or where there is none in a file that only you can read.',
    )
    .option('--device', 'show a code to enter in a browser on another machine')
    .option('--token', 'read an API token from standard input')
    .action(async (flags: LoginFlags) => await login(context, flags));
  program
    .command('logout')
    .description('Ends the sign-in at the server, and forgets what was kept of it.')
    .action(async () => await logout(context));
}

async function login(context: Context, flags: LoginFlags): Promise<void> {
  const { environment } = context;
  const { url } = await context.describeTarget();
  if (flags.device === true && flags.token === true)
    throw new UsageFailure('--device and --token do not go together');
  if ((environment.variables.SEALWRIGHT_TOKEN ?? '') !== '')
    await note(environment, 'SEALWRIGHT_TOKEN is set, and goes before what you sign in with');
  const oauth = createOAuthClient({ url, authorities: await readAuthorities(environment) });
  try {
    const credential: Credential =
      flags.token === true
        ? { kind: 'token', token: await givenToken(context) }
        : signInOf(await signedIn(context, flags, url, oauth), environment.clock);
    await forget(context, url, oauth);
    const kept = await openCredentials(environment, systemKeyring).write(url, credential);
    await welcome(context, url, kept);
  } finally {
    oauth.close();
  }
}

async function signedIn(
  context: Context,
  { device }: LoginFlags,
  url: string,
  oauth: OAuthClient,
): Promise<TokenAnswer> {
  const useDevice = device === true || !hasDisplay(context.environment);
  return useDevice ? await byDevice(context, oauth) : await byBrowser(context, url, oauth);
}

/** Says who that is. A token that the server does not take is not kept. */
async function welcome(context: Context, url: string, kept: 'keyring' | 'file'): Promise<void> {
  const { environment } = context;
  const api = await context.connect();
  try {
    const { actor, role } = await api.whoami();
    const where = kept === 'keyring' ? "the system's keyring" : 'a file that only you can read';
    await note(environment, `signed in at ${url}; kept in ${where}`);
    await print(environment, `${actor}${role === null ? '' : ` (${role})`}\n`);
  } catch (error) {
    await openCredentials(environment, systemKeyring).remove(url);
    throw error;
  }
}

/** The authorization code flow with PKCE over this machine's loopback (RFC 8252, RFC 7636). */
async function byBrowser(context: Context, url: string, oauth: OAuthClient): Promise<TokenAnswer> {
  const { environment } = context;
  const issuer = await checkedIssuer(url, oauth);
  const loopback = await openLoopback();
  const abort = new AbortController();
  const off = environment.onInterrupt((signal) => abort.abort(new CliFailure(`Stopped by ${signal}.`)));
  const timer = setTimeout(
    () => abort.abort(new CliFailure('Nobody signed in in time.')),
    cliLimits.loginWaitMs,
  );
  try {
    const verifier = randomBytes(32).toString('base64url');
    const state = randomBytes(16).toString('base64url');
    const page = new URL(oauthPaths.authorize, issuer);
    const parameters = {
      response_type: 'code',
      client_id: commandLineClient,
      redirect_uri: loopback.redirectUri,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
      max_age: String(cliLimits.loginMaxAgeSeconds),
      state,
    };
    for (const [name, value] of Object.entries(parameters)) page.searchParams.set(name, value);
    const opened = await openBrowser(environment, page.href);
    const words = opened ? 'sign in in your browser; if it did not open, open' : 'open this in your browser:';
    await note(environment, `${words} ${page.href}`);
    const code = await loopback.code({ state, issuer }, abort.signal);
    return await oauth.token({
      grant_type: grantTypes.authorizationCode,
      client_id: commandLineClient,
      redirect_uri: loopback.redirectUri,
      code_verifier: verifier,
      code,
    });
  } finally {
    clearTimeout(timer);
    off();
    loopback.close();
  }
}

/**
 * What the server calls itself. Another server's name would send the browser there and its answer here, which is how a
 * code is stolen (RFC 9207 §1), so it must be this address; on this machine `localhost` may stand for another one.
 */
async function checkedIssuer(url: string, oauth: OAuthClient): Promise<string> {
  const { issuer } = await oauth.metadata();
  if (issuer === url) return issuer;
  const [asked, named] = [new URL(url), URL.canParse(issuer) ? new URL(issuer) : null];
  const isSame = named !== null && isLoopback(asked) && isLoopback(named) && asked.port === named.port;
  if (isSame && named.origin === issuer) return issuer;
  throw new CliFailure(`The server at ${url} calls itself ${issuer}.`, {
    hint: `Use the address that it calls itself by: sealwright --url ${issuer} login`,
  });
}

/** The device flow (RFC 8628), which asks no more often than the server says. */
async function byDevice({ environment }: Context, oauth: OAuthClient): Promise<TokenAnswer> {
  const device = await oauth.deviceAuthorization({ client_id: commandLineClient });
  const { verification_uri: page, user_code: code, device_code, expires_in: seconds } = device;
  await note(environment, `open ${page} in a browser and enter the code ${code}`);
  const until = environment.clock.monotonic() + seconds * 1000;
  let waitMs = device.interval * 1000;
  while (environment.clock.monotonic() < until) {
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    try {
      return await oauth.token({
        grant_type: grantTypes.deviceCode,
        client_id: commandLineClient,
        device_code,
      });
    } catch (error) {
      if (!(error instanceof OAuthRefusal)) throw error;
      if (error.error === 'slow_down') waitMs += cliLimits.deviceSlowDownMs;
      else if (error.error === 'access_denied') throw new CliFailure('The sign-in was refused.');
      else if (error.error !== 'authorization_pending') throw error;
    }
  }
  throw new CliFailure('Nobody entered the code in time.');
}

async function givenToken({ environment }: Context): Promise<string> {
  const text = (await environment.readInput(cliLimits.tokenCharactersMax)).trim();
  if (/^[A-Za-z0-9._~+/-]+=*$/.test(text)) return text;
  throw new UsageFailure('Standard input does not hold a token', 'sealwright login --token < file');
}

async function logout(context: Context): Promise<void> {
  const { environment } = context;
  const { url } = await context.describeTarget();
  const oauth = createOAuthClient({ url, authorities: await readAuthorities(environment) });
  try {
    const was = await forget(context, url, oauth);
    await note(environment, was ? `signed out at ${url}` : `you were not signed in at ${url}`);
  } finally {
    oauth.close();
  }
}

/** Forgets it first, so that it is gone from here whether the server answers or not. A token of somebody's own lives on. */
async function forget({ environment }: Context, url: string, oauth: OAuthClient): Promise<boolean> {
  const credentials = openCredentials(environment, systemKeyring);
  const kept = await credentials.read(url);
  const was = await credentials.remove(url);
  if (kept?.kind !== 'sign-in') return was;
  try {
    await oauth.revoke({ token: kept.refreshToken, client_id: commandLineClient });
  } catch {
    await note(environment, `the sign-in before could not be ended at ${url}; it ends by its time`);
  }
  return was;
}
