import { grantTypes, OAuthFault, type TokenAnswer } from '../../contract/oauth.ts';
import { secretHash } from '../../identity/token-secret.ts';
import { within } from '../../model/scopes.ts';
import { admittedActor, tokenAnswer } from './issuing.ts';
import type { Asked, OAuthClient } from './oauth-clients.ts';
import { askedScopes, required } from './oauth-form.ts';
import type { OAuthParts } from './oauth-parts.ts';

/**
 * Grant `refresh_token` (RFC 6749 §6, RFC 9700 §4.14): another access token, and another refresh token in place of
 * the one that was used. One that was used before has been stolen, or its thief came first: the whole sign-in ends
 * everywhere, and that is on record. Everything that can be refused is refused before the token is used up.
 */
export async function refresh(
  parts: OAuthParts,
  client: OAuthClient,
  { form, request }: Asked,
): Promise<TokenAnswer> {
  const { store, signIns, accessTokens, gate } = parts;
  const token = required(form, 'refresh_token');
  const asked = askedScopes(form);
  const owner = await store.signIns.byRefresh(secretHash(token));
  if (owner === null || owner.client !== client.id) throw refused();
  await admittedActor(parts, owner.id, request);
  if (asked !== null && owner.scopes !== null && !within(new Set(owner.scopes), asked))
    throw new OAuthFault('invalid_scope', 'A refresh asks for no scope beyond those that were granted.');
  const event = {
    actor: { id: owner.actor },
    resource: { kind: 'token', id: owner.id },
    rule: `grant:${grantTypes.refreshToken}`,
    request,
  } as const;
  const scopes = asked ?? owner.scopes;
  const data = { client: client.id, scopes: scopes === null ? null : [...scopes] };
  await gate.record({ ...event, action: 'token.refresh', outcome: 'allowed', data });
  const refreshed = await signIns.refresh(token, client.id);
  if (refreshed.outcome === 'reused')
    gate.note({ ...event, action: 'sign-in.reuse', outcome: 'denied', rule: 'refresh-token:reused', data });
  if (refreshed.outcome !== 'refreshed') throw refused();
  return tokenAnswer(await accessTokens.issue(refreshed.record, { scopes }), refreshed.refreshToken, scopes);
}

function refused(): OAuthFault {
  return new OAuthFault('invalid_grant', 'The refresh token is not valid any more. Sign in once more.');
}
