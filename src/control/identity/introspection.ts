import { type Introspection, OAuthFault } from '../../contract/oauth.ts';
import type { AccessTokenClaims } from '../../identity/access-tokens.ts';
import type { VerifiedRun } from '../../identity/run-identity.ts';
import { secretHash } from '../../identity/token-secret.ts';
import { parseId } from '../../model/ids.ts';
import { type Asked, provedClient } from './oauth-clients.ts';
import { required } from './oauth-form.ts';
import type { OAuthParts } from './oauth-parts.ts';

/**
 * `/oauth2/introspect` (RFC 7662): whether a token works now, and what it is. For agents and services that proved
 * themselves, and for whoever holds `identity:read`. The token of a run is active while its run is live. Of refresh tokens and of what is not valid it says nothing else
 * than that it is not active.
 */
export async function introspect(parts: OAuthParts, asked: Asked): Promise<Introspection> {
  await admitted(parts, asked);
  const token = required(asked.form, 'token');
  const signed = await parts.accessTokens.inspect(token);
  if (signed !== null) return signedView(signed.claims, parts.accessTokens.issuer, signed.actor.scopes);
  const run = await parts.runIdentity.verify(token);
  if (run !== null) return runView(run, parts.accessTokens.issuer);
  const actor = await parts.identity.ofBearer(token);
  const id = parseId('token', actor?.credential ?? '');
  const record = id === null ? null : await parts.tokens.get(id);
  if (actor === null || record === null) return { active: false };
  return {
    active: true,
    token_type: 'Bearer',
    sub: actor.id,
    scope: [...actor.scopes].join(' '),
    iat: Math.floor(record.createdAt / 1000),
    ...(record.expiresAt === null ? {} : { exp: Math.floor(record.expiresAt / 1000) }),
    jti: record.id,
  };
}

/**
 * `/oauth2/revoke` (RFC 7009). Whoever holds a token may end it, and with an access or refresh token the sign-in that
 * it came from, in every process. Succeeds for what is no token too. Works while nothing can be recorded.
 */
export async function revoke(parts: OAuthParts, asked: Asked): Promise<void> {
  const { signIns, tokens, gate } = parts;
  const token = required(asked.form, 'token');
  const found = await owned(parts, token);
  if (found === null) return;
  gate.note({
    action: 'token.revoke',
    actor: { id: found.actor },
    resource: { kind: 'token', id: found.id },
    outcome: 'allowed',
    rule: 'token:held',
    request: asked.request,
  });
  const signIn = parseId('signIn', found.id);
  if (signIn !== null) await signIns.end(signIn, 'revoked by its holder');
  const id = parseId('token', found.id);
  if (id !== null) await tokens.revoke(id);
}

async function owned({ accessTokens, identity, store }: OAuthParts, token: string) {
  const signed = await accessTokens.inspect(token);
  if (signed !== null) return { id: signed.claims.signIn, actor: signed.actor.id };
  const record = await store.signIns.byRefresh(secretHash(token));
  if (record !== null) return { id: record.id, actor: record.actor };
  const actor = await identity.ofBearer(token);
  return actor?.credential === undefined ? null : { id: actor.credential, actor: actor.id };
}

/** A bearer of `identity:read`, by the gate; else an agent or service. */
async function admitted(parts: OAuthParts, asked: Asked): Promise<void> {
  const bearer = /^Bearer +([A-Za-z0-9._~+/-]+=*) *$/i.exec(asked.authorization ?? '')?.[1];
  if (bearer === undefined) {
    await provedClient(parts, asked);
    return;
  }
  const actor = await parts.identity.ofBearer(bearer);
  if (actor === null) throw new OAuthFault('invalid_client', 'The token that asks is not valid.');
  await parts.gate.read(
    { actor, request: asked.request },
    { action: 'token.list', resource: { kind: 'token' } },
  );
}

function runView(
  { id, subject, run, session, owner, audiences, ...times }: VerifiedRun,
  iss: string,
): Introspection {
  return {
    active: true,
    token_type: 'Bearer',
    sub: subject,
    iss,
    aud: [...audiences],
    iat: times.issuedAt / 1000,
    exp: times.expiresAt / 1000,
    jti: id,
    run,
    session,
    owner,
  };
}

function signedView(claims: AccessTokenClaims, issuer: string, scopes: Iterable<string>): Introspection {
  const { id, subject, act, client, issuedAt, expiresAt } = claims;
  return {
    active: true,
    token_type: 'Bearer',
    sub: subject,
    scope: [...scopes].join(' '),
    client_id: client,
    iss: issuer,
    aud: issuer,
    iat: issuedAt,
    exp: expiresAt,
    jti: id,
    ...(act === null ? {} : { act }),
  };
}
