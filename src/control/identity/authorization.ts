import { createHash, randomBytes } from 'node:crypto';
import { commandLineClient, OAuthFault, oauthPaths, type TokenAnswer } from '../../contract/oauth.ts';
import type { Proof } from '../../identity/sign-ins.ts';
import { sameHash, secretHash } from '../../identity/token-secret.ts';
import type { Actor, ActorId } from '../../model/actor.ts';
import { parseId, type SignInId } from '../../model/ids.ts';
import type { GrantableScope } from '../../model/scopes.ts';
import type { Caller } from '../control.ts';
import { openAndIssue } from './issuing.ts';
import { oauthLimits } from './limits.ts';
import type { Asked } from './oauth-clients.ts';
import { askedScopes, type Form, optional, required } from './oauth-form.ts';
import type { OAuthParts } from './oauth-parts.ts';

/** What stands behind a code until a program asks for it. */
type CodeGrant = {
  readonly redirectUri: string;
  readonly challenge: string;
  readonly scopes: readonly GrantableScope[] | null;
  readonly actor: ActorId;
  readonly proof: Proof;
};

const codePrefix = 'swc_';
const challengePattern = /^[A-Za-z0-9_-]{43}$/;
const verifierPattern = /^[A-Za-z0-9._~-]{43,128}$/;
const redirectPattern = /^http:\/\/(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})\/callback$/;

/**
 * Where the browser goes next (RFC 6749 §4.1): back to the program with a code or an error, or to the page where the
 * person signs in, which leads back here. Only the command line of this product may ask, on this machine's loopback,
 * so no consent is asked for. A request that names another client or address is refused here and goes nowhere.
 */
export async function authorize(
  parts: OAuthParts,
  query: Form,
  cookie: string | null,
): Promise<{ readonly location: string }> {
  const { identity, accessTokens, clock } = parts;
  const redirectUri = checkedRedirect(query);
  const back = (answer: Record<string, string>) => {
    const location = new URL(redirectUri);
    const state = optional(query, 'state');
    const whole = { ...answer, ...(state === null ? {} : { state }), iss: accessTokens.issuer };
    for (const [name, value] of Object.entries(whole)) location.searchParams.set(name, value);
    return { location: location.href };
  };
  try {
    const { challenge, scopes, maxAgeMs } = checkedRequest(query);
    const actor = cookie === null ? null : await identity.ofCookie(cookie);
    const signedInAt = actor?.signIn?.at;
    if (actor === null || signedInAt === undefined) return signInFirst(query, false);
    if (clock.now() - signedInAt > maxAgeMs) return signInFirst(query, true);
    const proof = await proofOf(parts, actor);
    const code = codePrefix + randomBytes(32).toString('base64url');
    const grant: CodeGrant = { redirectUri, challenge, scopes, actor: actor.id, proof };
    const expiresAt = clock.now() + oauthLimits.authorizationCodeMs;
    await parts.store.oneTimes.put('authorization-code', secretHash(code), grant, expiresAt);
    return back({ code });
  } catch (error) {
    if (!(error instanceof OAuthFault)) throw error;
    return back({ error: error.error, error_description: error.description });
  }
}

/** Grant `authorization_code`. A code works once; one that comes again ends what it gave (RFC 6749 §4.1.2). */
export async function redeemCode(parts: OAuthParts, { form, request }: Asked): Promise<TokenAnswer> {
  const { store, clock } = parts;
  const code = required(form, 'code');
  const verifier = required(form, 'code_verifier');
  const redirectUri = required(form, 'redirect_uri');
  const hash = secretHash(code);
  const grant = (await store.oneTimes.take('authorization-code', hash, clock.now())) as CodeGrant | null;
  if (grant === null) {
    await endIfReplayed(parts, hash, request);
    throw new OAuthFault('invalid_grant', 'The code is unknown, used or too old. Sign in once more.');
  }
  const challenge = createHash('sha256').update(verifier).digest('base64url');
  const fits = verifierPattern.test(verifier) && sameHash(challenge, grant.challenge);
  if (!fits || grant.redirectUri !== redirectUri)
    throw new OAuthFault('invalid_grant', 'The code was made for another program.');
  const { actor, proof, scopes } = grant;
  const { address, userAgent } = request;
  const { answer, record } = await openAndIssue(
    parts,
    {
      ...{ actor, proof, scopes, address, userAgent },
      client: commandLineClient,
      reach: null,
      refreshable: true,
    },
    { action: 'sign-in.program', grant: 'authorization_code', request },
  );
  const until = clock.now() + oauthLimits.authorizationCodeMs;
  await store.oneTimes.put('authorization-code', usedName(hash), { signIn: record.id }, until);
  return answer;
}

/** How the person of a browser's sign-in proved who it is: what comes of it is as old and as strong. */
export async function proofOf(
  { store, clock }: Pick<OAuthParts, 'store' | 'clock'>,
  actor: Actor,
): Promise<Proof> {
  const id = parseId('signIn', actor.credential ?? '');
  const record = id === null ? null : await store.signIns.get(id, clock.now());
  if (record === null || actor.signIn === undefined)
    throw new OAuthFault('access_denied', 'Sign in first: no program is let in by another one.');
  const { authAt, methods, mfa, provider, providerSession } = record;
  return { at: authAt, methods, mfa, provider, providerSession };
}

async function endIfReplayed(parts: OAuthParts, hash: string, request: Caller['request']): Promise<void> {
  const { store, clock, signIns, gate } = parts;
  const used = (await store.oneTimes.take('authorization-code', usedName(hash), clock.now())) as {
    signIn: SignInId;
  } | null;
  if (used === null) return;
  await signIns.end(used.signIn, 'its code was used again');
  gate.note({
    action: 'sign-in.reuse',
    actor: { id: 'system:nobody' },
    resource: { kind: 'token', id: used.signIn },
    outcome: 'denied',
    rule: 'authorization-code:reused',
    request,
  });
}

function usedName(hash: string): string {
  return `used ${hash}`;
}

/** A redirect to anywhere else would carry the code to a stranger, so nothing is sent to it. */
function checkedRedirect(query: Form): string {
  if (required(query, 'client_id') !== commandLineClient)
    throw new OAuthFault('invalid_client', `The only client of this page is ${commandLineClient}.`);
  const redirectUri = required(query, 'redirect_uri');
  const port = redirectPattern.exec(redirectUri)?.[1];
  if (port === undefined || Number(port) > 65_535)
    throw new OAuthFault(
      'invalid_request',
      'redirect_uri is http://127.0.0.1:PORT/callback on this machine.',
    );
  const state = optional(query, 'state');
  if (state !== null && state.length > oauthLimits.stateCharactersMax)
    throw new OAuthFault(
      'invalid_request',
      `state has at most ${oauthLimits.stateCharactersMax} characters.`,
    );
  return redirectUri;
}

function checkedRequest(query: Form) {
  if (required(query, 'response_type') !== 'code')
    throw new OAuthFault('unsupported_response_type', 'response_type is code.');
  const challenge = required(query, 'code_challenge');
  if (optional(query, 'code_challenge_method') !== 'S256' || !challengePattern.test(challenge))
    throw new OAuthFault('invalid_request', 'PKCE with code_challenge_method S256 is needed.');
  const mode = optional(query, 'response_mode') ?? 'query';
  if (mode !== 'query') throw new OAuthFault('invalid_request', 'response_mode is query.');
  const maxAge = optional(query, 'max_age');
  if (maxAge !== null && !/^\d{1,9}$/.test(maxAge))
    throw new OAuthFault('invalid_request', 'max_age is a number of seconds.');
  const maxAgeMs = Number(maxAge ?? oauthLimits.maxAgeSecondsMax) * 1000;
  return { challenge, scopes: askedScopes(query), maxAgeMs };
}

/** The page comes back to this very request. `fresh` asks for a proof even of who is signed in (RFC 9470 §5). */
function signInFirst(query: Form, fresh: boolean): { location: string } {
  const next = `${oauthPaths.authorize}?${new URLSearchParams([...query])}`;
  return { location: `/login?${new URLSearchParams({ ...(fresh ? { fresh: '1' } : {}), next })}` };
}
