import { hash, timingSafeEqual } from 'node:crypto';
import {
  errors,
  type JWTPayload,
  type JWTVerifyOptions,
  jwtVerify,
  type ProtectedHeaderParameters,
} from 'jose';
import type { KeySet } from './key-set.ts';
import { providerLimits } from './limits.ts';
import { ProviderRefusal } from './provider.ts';

/** Whom a provider's tokens are checked against. */
export type Relation = {
  readonly issuer: string;
  readonly clientId: string;
  readonly algorithms: readonly string[];
  readonly keys: KeySet;
};

export type IdTokenClaims = JWTPayload & { readonly sub: string };

/**
 * The claims of an ID token (OpenID Connect Core §3.1.3.7): signed by a key of the provider with a pinned algorithm,
 * from it, for us alone, of this round, of now. Throws ProviderRefusal `id-token`.
 */
export async function verifyIdToken(
  token: string,
  relation: Relation,
  round: { readonly nonce: string; readonly accessToken: string; readonly now: number },
): Promise<IdTokenClaims> {
  const fail = (at: string) => new ProviderRefusal('id-token', at);
  const { payload, protectedHeader } = await verifyJwt(token, relation, fail, {
    maxTokenAge: providerLimits.idTokenAgeMs / 1000,
    requiredClaims: ['sub', 'exp', 'iat', 'nonce'],
    currentDate: new Date(round.now),
  });
  if (protectedHeader.typ !== undefined && protectedHeader.typ.toUpperCase() !== 'JWT') throw fail('typ');
  checkParties(payload, relation.clientId, fail);
  const { nonce, sub, at_hash: accessTokenHash } = payload;
  if (typeof nonce !== 'string' || !same(nonce, round.nonce)) throw fail('nonce');
  if (!isSubject(sub)) throw fail('sub');
  if (accessTokenHash !== undefined) {
    const expected = halfHash(round.accessToken, protectedHeader.alg);
    if (typeof accessTokenHash !== 'string' || !same(accessTokenHash, expected)) throw fail('at_hash');
  }
  return { ...payload, sub };
}

export type LogoutClaims = { readonly sub: string | null; readonly sid: string | null; readonly jti: string };

/**
 * The claims of a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6). That its `jti` comes once is for the
 * caller to see. Throws ProviderRefusal `logout-token`.
 */
export async function verifyLogoutToken(
  token: string,
  relation: Relation,
  options: { readonly untyped: boolean; readonly now: number },
): Promise<LogoutClaims> {
  const fail = (at: string) => new ProviderRefusal('logout-token', at);
  const { payload, protectedHeader } = await verifyJwt(token, relation, fail, {
    maxTokenAge: providerLimits.logoutTokenAgeMs / 1000,
    requiredClaims: ['iat', 'jti', 'events'],
    currentDate: new Date(options.now),
  });
  const type = protectedHeader.typ?.toLowerCase().replace(/^application\//, '');
  const isUntyped = type === undefined || type === 'jwt';
  if (type !== 'logout+jwt' && !(options.untyped && isUntyped)) throw fail('typ');
  checkParties(payload, relation.clientId, fail);
  const { sub, sid, jti, events } = payload;
  if (payload.nonce !== undefined) throw fail('nonce');
  if (!isObject(events) || !isObject(events[logoutEvent])) throw fail('events');
  if (!isSubject(jti)) throw fail('jti');
  for (const [name, value] of [
    ['sub', sub],
    ['sid', sid],
  ] as const)
    if (value !== undefined && !isSubject(value)) throw fail(name);
  if (sub === undefined && sid === undefined) throw fail('sub');
  return { sub: isSubject(sub) ? sub : null, sid: isSubject(sid) ? sid : null, jti };
}

const logoutEvent = 'http://schemas.openid.net/event/backchannel-logout';

type Verified = {
  readonly payload: JWTPayload;
  readonly protectedHeader: ProtectedHeaderParameters & { alg: string };
};

/** Form, algorithm, key, signature, issuer, audience and times, in this order. */
async function verifyJwt(
  token: string,
  { issuer, clientId, algorithms, keys }: Relation,
  fail: (at: string) => ProviderRefusal,
  options: JWTVerifyOptions,
): Promise<Verified> {
  if (token.length > providerLimits.tokenCharactersMax || !compactForm.test(token)) throw fail('form');
  try {
    const { payload, protectedHeader } = await jwtVerify(token, (header, jws) => keys.keyFor(header, jws), {
      ...options,
      issuer,
      audience: clientId,
      algorithms: [...algorithms],
      clockTolerance: providerLimits.skewMs / 1000,
    });
    return { payload, protectedHeader: { ...protectedHeader, alg: protectedHeader.alg } };
  } catch (error) {
    if (error instanceof ProviderRefusal) throw error;
    throw fail(placeOf(error));
  }
}

/** Base64url without padding, of lengths that can be (RFC 7515 §3.1): nothing else reaches the parser. */
const compactForm = /^(?:[A-Za-z0-9_-]{2,}\.){2}[A-Za-z0-9_-]{2,}$/;

function placeOf(error: unknown): string {
  if (error instanceof errors.JWTClaimValidationFailed || error instanceof errors.JWTExpired)
    return error.claim;
  if (error instanceof errors.JOSEAlgNotAllowed) return 'alg';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'signature';
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return 'key';
  return 'form';
}

/** For us alone, or for others too and then made for us: `azp` names no other client (§2, §3.1.3.7 items 3 to 5). */
function checkParties(payload: JWTPayload, clientId: string, fail: (at: string) => ProviderRefusal): void {
  const { aud, azp } = payload;
  const audiences = Array.isArray(aud) ? aud : [aud];
  if (!audiences.every((one) => typeof one === 'string')) throw fail('aud');
  if (audiences.length > 1 && azp === undefined) throw fail('azp');
  if (azp !== undefined && azp !== clientId) throw fail('azp');
}

/** The left half of a hash of what the token is bound to (§3.1.3.6). */
function halfHash(text: string, alg: string): string {
  const size = /^(?:EdDSA|Ed25519)$/.test(alg) ? '512' : alg.slice(-3);
  const digest = Buffer.from(hash(`sha${size}`, text, 'hex'), 'hex');
  return digest.subarray(0, digest.length / 2).toString('base64url');
}

function isSubject(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value.length > 0 &&
    value.length <= providerLimits.subjectCharactersMax &&
    /^[\x20-\x7E]+$/.test(value)
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function same(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
