import { createHash, randomBytes } from 'node:crypto';
import { Fault } from '../../contract/faults.ts';
import { commandLineClient, OAuthFault, type TokenAnswer } from '../../contract/oauth.ts';
import { sameHash, secretHash } from '../../identity/token-secret.ts';
import { actorName } from '../../model/actor.ts';
import type { SignInId } from '../../model/ids.ts';
import type { GrantableScope } from '../../model/scopes.ts';
import type { Caller } from '../control.ts';
import { type Approval, approvalBy, refuseEnded } from './approvals.ts';
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
  readonly approval: Approval;
};

/** The page that asks the person (`web/authorize.ts`). */
const consentPage = '/authorize';
const codePrefix = 'swc_';
const challengePattern = /^[A-Za-z0-9_-]{43}$/;
const verifierPattern = /^[A-Za-z0-9._~-]{43,128}$/;
const redirectPattern = /^http:\/\/(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})\/callback$/;

/**
 * Where the browser goes next (RFC 6749 §4.1): to the page that asks the person, or back to the program with an error.
 * Only the command line of this product may ask, on this machine's loopback; a request that names another client or
 * address is refused here and goes nowhere. Nothing is given out yet, whoever is signed in.
 */
export function authorize(
  { accessTokens }: Pick<OAuthParts, 'accessTokens'>,
  query: Form,
): { readonly location: string } {
  const redirectUri = checkedRedirect(query);
  try {
    checkedRequest(query);
    return { location: `${consentPage}?${new URLSearchParams([...query])}` };
  } catch (error) {
    if (!(error instanceof OAuthFault)) throw error;
    return back(accessTokens.issuer, redirectUri, query, errorOf(error));
  }
}

/**
 * The person has looked at what asks and says yes or no: any program of the person could have sent the browser here.
 * Answers where the browser goes with a code, or with the refusal. Throws Fault `auth.step-up` where the program asks
 * for a proof that is newer, and `request.invalid` where the request is none.
 */
export async function answerAuthorization(
  parts: OAuthParts,
  caller: Caller,
  { query, decision }: { readonly query: Form; readonly decision: 'approve' | 'deny' },
): Promise<{ readonly location: string }> {
  const { gate, store, accessTokens, clock } = parts;
  const { redirectUri, challenge, scopes, maxAgeMs } = checkedWhole(query);
  const { id } = caller.actor;
  const resource = { kind: 'account', id: actorName(id), owner: id } as const;
  const asked = { program: redirectUri, scopes: scopes === null ? null : [...scopes] };
  const act = { action: 'account.program.approve', resource, data: { decision, ...asked } } as const;
  await gate.read(caller, act);
  const approval = await approvalBy(parts, caller, act);
  if (clock.now() - approval.proof.at > maxAgeMs)
    throw new Fault('auth.step-up', {
      detail: 'The program asks you to prove again who you are.',
      extra: { maxAgeSeconds: maxAgeMs / 1000 },
    });
  return await gate.act(caller, act, async () => {
    if (decision === 'deny') return back(accessTokens.issuer, redirectUri, query, { error: 'access_denied' });
    const code = codePrefix + randomBytes(32).toString('base64url');
    const grant: CodeGrant = { redirectUri, challenge, scopes, approval };
    const expiresAt = clock.now() + oauthLimits.authorizationCodeMs;
    await store.oneTimes.put('authorization-code', secretHash(code), grant, expiresAt);
    return back(accessTokens.issuer, redirectUri, query, { code });
  });
}

function back(issuer: string, redirectUri: string, query: Form, answer: Record<string, string>) {
  const location = new URL(redirectUri);
  const state = optional(query, 'state');
  const whole = { ...answer, ...(state === null ? {} : { state }), iss: issuer };
  for (const [name, value] of Object.entries(whole)) location.searchParams.set(name, value);
  return { location: location.href };
}

function errorOf({ error, description }: OAuthFault): Record<string, string> {
  return { error, error_description: description };
}

function checkedWhole(query: Form) {
  try {
    return { redirectUri: checkedRedirect(query), ...checkedRequest(query) };
  } catch (error) {
    if (!(error instanceof OAuthFault)) throw error;
    throw new Fault('request.invalid', { detail: error.description });
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
  const { approval, scopes } = grant;
  const { actor, proof } = approval;
  const { address, userAgent } = request;
  const { answer, record } = await openAndIssue(
    parts,
    {
      ...{ actor, proof, scopes, address, userAgent },
      client: commandLineClient,
      reach: null,
      refreshable: true,
    },
    {
      ...{ action: 'sign-in.program', grant: 'authorization_code', request },
      still: () => refuseEnded(parts, approval),
    },
  );
  const until = clock.now() + oauthLimits.authorizationCodeMs;
  await store.oneTimes.put('authorization-code', usedName(hash), { signIn: record.id }, until);
  return answer;
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
