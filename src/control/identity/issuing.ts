import type { JsonObject } from '../../base/canonical-json.ts';
import { OAuthFault, type TokenAnswer } from '../../contract/oauth.ts';
import type { ActClaim, IssuedAccessToken } from '../../identity/access-tokens.ts';
import type { NewProgramSignIn } from '../../identity/sign-ins.ts';
import type { Actor } from '../../model/actor.ts';
import type { SignInId } from '../../model/ids.ts';
import type { GrantableScope } from '../../model/scopes.ts';
import type { SignInRecord } from '../../store/identity-store.ts';
import type { Caller } from '../control.ts';
import type { OAuthParts } from './oauth-parts.ts';

type IssuingParts = Pick<OAuthParts, 'signIns' | 'accessTokens' | 'gate' | 'signInConfig'>;

export type Issue = {
  /** What the record calls it, such as `token.issue`. */
  readonly action: string;
  readonly grant: string;
  readonly request: Caller['request'];
  readonly data?: JsonObject;
  readonly act?: ActClaim | null;
  /** Throws where what it comes from has ended; asked once the sign-in is there, so that an end then ends that too. */
  readonly still?: () => Promise<void>;
};

/** Opens a sign-in and hands out its tokens, once that is on record; without a record there is no sign-in. */
export async function openAndIssue(
  parts: IssuingParts,
  signIn: NewProgramSignIn,
  { action, grant, request, data = {}, act = null, still = async () => undefined }: Issue,
): Promise<{ readonly answer: TokenAnswer; readonly record: SignInRecord }> {
  const { signIns, accessTokens, gate } = parts;
  const { record, refreshToken } = await signIns.openProgram(signIn);
  try {
    await still();
    await admittedActor(parts, record.id, request);
    const issued = await accessTokens.issue(record, { act });
    const scopes = record.scopes === null ? null : [...record.scopes];
    const { client, onBehalfOf } = record;
    await gate.record({
      action,
      actor: { id: record.actor },
      resource: { kind: 'token', id: record.id },
      outcome: 'succeeded',
      rule: `grant:${grant}`,
      request,
      data: { ...data, client, scopes, onBehalfOf, accessToken: issued.id },
    });
    return { answer: tokenAnswer(issued, refreshToken, record.scopes), record };
  } catch (error) {
    await signIns.end(record.id, 'not handed out').catch(() => undefined);
    throw error;
  }
}

/**
 * Whose a live sign-in is, where its role may come from there. Throws OAuthFault `invalid_grant` where it has ended, and
 * `access_denied`, which is on record, for another network.
 */
export async function admittedActor(
  { signIns, gate, signInConfig }: Pick<IssuingParts, 'signIns' | 'gate' | 'signInConfig'>,
  id: SignInId,
  request: Caller['request'],
): Promise<Actor> {
  const actor = await signIns.actorOf(id);
  if (actor === null) throw new OAuthFault('invalid_grant', 'The sign-in has ended. Sign in once more.');
  if (signInConfig.mayComeFrom(actor.role ?? '', request.address)) return actor;
  gate.note({
    action: 'token.issue',
    actor,
    resource: { kind: 'token', id },
    outcome: 'denied',
    rule: 'network:sign-in',
    request,
    countAs: `network:sign-in ${request.address ?? 'local'}`,
  });
  throw new OAuthFault('access_denied', 'Your role gets no tokens from this network.');
}

/** `scope` is said where it narrows: without it the token may do all that its bearer may. */
export function tokenAnswer(
  { token, expiresInSeconds }: IssuedAccessToken,
  refreshToken: string | null,
  scopes: readonly GrantableScope[] | null,
): TokenAnswer {
  return {
    access_token: token,
    token_type: 'Bearer',
    expires_in: expiresInSeconds,
    ...(refreshToken === null ? {} : { refresh_token: refreshToken }),
    ...(scopes === null ? {} : { scope: scopes.join(' ') }),
  };
}
