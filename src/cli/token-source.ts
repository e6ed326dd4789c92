import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { TokenSource } from '../client/connection.ts';
import { type OAuthClient, OAuthRefusal } from '../client/oauth.ts';
import { commandLineClient, grantTypes, type TokenAnswer } from '../contract/oauth.ts';
import type { Credential, Credentials } from './credentials.ts';
import { CliFailure } from './failure.ts';
import { withLock } from './file-lock.ts';
import { cliLimits } from './limits.ts';

type SignIn = Extract<Credential, { kind: 'sign-in' }>;

export type TokenSourceOptions = {
  readonly origin: string;
  readonly credentials: Credentials;
  readonly oauth: Pick<OAuthClient, 'token'>;
  readonly clock: Clock;
};

/**
 * The tokens of a sign-in. A refresh token works once, and one that comes twice ends the sign-in, so of all programs
 * of this user that run at the same time one refreshes and the others take what it got: whoever holds the lock looks
 * again before it asks, and writes before it lets go.
 */
export function signInTokens(options: TokenSourceOptions): TokenSource {
  const { origin, credentials, clock } = options;
  const isFresh = (credential: Credential | null, refused: string | null): credential is SignIn =>
    credential?.kind === 'sign-in' &&
    credential.accessToken !== refused &&
    clock.now() < credential.expiresAt - cliLimits.refreshBeforeMs;
  const tokenOf = async (refused: string | null): Promise<string | null> => {
    const kept = await credentials.read(origin);
    if (kept === null || kept.kind === 'token') return kept?.token ?? null;
    if (isFresh(kept, refused)) return kept.accessToken;
    return await withLock(join(credentials.folder, 'credentials.lock'), clock, async () => {
      const now = await credentials.read(origin);
      if (now === null || now.kind === 'token') return now?.token ?? null;
      return isFresh(now, refused) ? now.accessToken : await refreshed(options, now);
    });
  };
  return { token: () => tokenOf(null), renew: (refused) => tokenOf(refused) };
}

/** What a token answer leaves to keep. Throws CliFailure where the server gave nothing to refresh with. */
export function signInOf(answer: TokenAnswer, clock: Clock): SignIn {
  const { access_token: accessToken, refresh_token: refreshToken, expires_in: seconds } = answer;
  if (refreshToken === undefined) throw new CliFailure('The server gave no refresh token.');
  return { kind: 'sign-in', accessToken, refreshToken, expiresAt: clock.now() + seconds * 1000 };
}

async function refreshed({ origin, credentials, oauth, clock }: TokenSourceOptions, kept: SignIn) {
  try {
    const answer = await oauth.token({
      grant_type: grantTypes.refreshToken,
      client_id: commandLineClient,
      refresh_token: kept.refreshToken,
    });
    const next = signInOf(answer, clock);
    await credentials.write(origin, next);
    return next.accessToken;
  } catch (error) {
    if (!(error instanceof OAuthRefusal) || error.error !== 'invalid_grant') throw error;
    await credentials.remove(origin);
    throw new CliFailure(`Your sign-in at ${origin} has ended.`, {
      hint: "Run 'sealwright login' again.",
      cause: error,
    });
  }
}
