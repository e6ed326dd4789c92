import type { JsonObject } from '../../base/canonical-json.ts';
import { OAuthFault, type TokenAnswer } from '../../contract/oauth.ts';
import type { ActClaim, IssuedAccessToken } from '../../identity/access-tokens.ts';
import type { NewProgramSignIn } from '../../identity/sign-ins.ts';
import type { GrantableScope } from '../../model/scopes.ts';
import type { SignInRecord } from '../../store/identity-store.ts';
import type { Caller } from '../control.ts';
import type { OAuthParts } from './oauth-parts.ts';

type IssuingParts = Pick<OAuthParts, 'signIns' | 'accessTokens' | 'gate'>;

export type Issue = {
  /** What the record calls it, such as `token.issue`. */
  readonly action: string;
  readonly grant: string;
  readonly request: Caller['request'];
  readonly data?: JsonObject;
  readonly act?: ActClaim | null;
};

/** Opens a sign-in and hands out its tokens, once that is on record; without a record there is no sign-in. */
export async function openAndIssue(
  parts: IssuingParts,
  signIn: NewProgramSignIn,
  { action, grant, request, data = {}, act = null }: Issue,
): Promise<{ readonly answer: TokenAnswer; readonly record: SignInRecord }> {
  const { signIns, accessTokens, gate } = parts;
  const { record, refreshToken } = await signIns.openProgram(signIn);
  try {
    if ((await signIns.actorOf(record.id)) === null)
      throw new OAuthFault('invalid_grant', 'Who it would be given to may not sign in any more.');
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
