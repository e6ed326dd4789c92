import { hash } from 'node:crypto';
import { errors, type JWTPayload, jwtVerify } from 'jose';
import type { Clock } from '../base/clock.ts';
import { type Actor, type ActorId, provedAtOf } from '../model/actor.ts';
import { newId, parseId, type SignInId } from '../model/ids.ts';
import { type GrantableScope, type Scope, scopes as scopeTable } from '../model/scopes.ts';
import type { SignInRecord } from '../store/identity-store.ts';
import { identityLimits } from './limits.ts';
import { common } from './principals.ts';
import type { SignIns } from './sign-ins.ts';
import type { SigningKeys } from './signing-keys.ts';
import { hasExactly, readStrictJws } from './strict-jws.ts';

/** Who acts for the subject, and who acted before it (RFC 8693 §4.1). */
export type ActClaim = { readonly sub: string; readonly act?: ActClaim };

/** What a token says that this server signed and that has not ended. `scopes` null narrows nothing. */
export type AccessTokenClaims = {
  readonly id: string;
  readonly subject: ActorId;
  readonly act: ActClaim | null;
  readonly signIn: SignInId;
  readonly client: string;
  readonly scopes: readonly GrantableScope[] | null;
  /** Seconds since the epoch. */
  readonly issuedAt: number;
  readonly expiresAt: number;
};

export type IssuedAccessToken = {
  readonly token: string;
  readonly id: string;
  readonly expiresInSeconds: number;
};

/**
 * Access tokens (RFC 9068): Ed25519 JWTs that live five minutes and work no longer than the sign-in that they came
 * from. A token holds no rights: what its bearer may do is what its sign-in may do at that moment, narrowed to the
 * scopes that the token names.
 */
export type AccessTokens = {
  readonly issuer: string;
  /** For a live sign-in. `scopes` narrows it further; null leaves it as it is. Ends no later than the sign-in. */
  issue(
    record: SignInRecord,
    options?: { readonly scopes?: readonly GrantableScope[] | null; readonly act?: ActClaim | null },
  ): Promise<IssuedAccessToken>;
  /** The actor, or null for whatever is no valid token of a live sign-in. */
  verify(bearer: string): Promise<Actor | null>;
  /** The same with what the token says. */
  inspect(bearer: string): Promise<{ readonly actor: Actor; readonly claims: AccessTokenClaims } | null>;
};

export type AccessTokensOptions = {
  readonly keys: SigningKeys;
  readonly signIns: Pick<SignIns, 'actorOf'>;
  /** The origin of this server from outside: issuer, and the audience of its own tokens. */
  readonly issuer: string;
  readonly clock: Clock;
};

export function openAccessTokens(options: AccessTokensOptions): AccessTokens {
  return new SignedTokens(options);
}

const type = 'at+jwt';
const headerMembers = ['alg', 'typ', 'kid'] as const;
const claimNames: ReadonlySet<string> = new Set([
  ...['iss', 'aud', 'sub', 'sid', 'jti', 'iat', 'exp', 'client_id', 'scope', 'act'],
]);
const required = ['iss', 'aud', 'sub', 'sid', 'jti', 'iat', 'exp', 'client_id'];

/** `narrowed` is made for `of`, and again only when the sign-in's actor is another one than then. */
type Kept = {
  readonly claims: AccessTokenClaims;
  readonly kid: string;
  narrowed: { readonly of: Actor; readonly actor: Actor } | null;
};

class SignedTokens implements AccessTokens {
  readonly issuer: string;
  readonly #options: AccessTokensOptions;
  /** By SHA-256 of the token, oldest first. */
  readonly #kept = new Map<string, Kept>();

  constructor(options: AccessTokensOptions) {
    this.#options = options;
    this.issuer = options.issuer;
  }

  async issue(...[record, { scopes = record.scopes, act = null } = {}]: Parameters<AccessTokens['issue']>) {
    const { keys, clock } = this.#options;
    const now = clock.now();
    const iat = Math.floor(now / 1000);
    const exp = Math.floor(Math.min(now + identityLimits.accessTokenLifeMs, record.expiresAt) / 1000);
    const id = newId('token', now);
    const token = await keys.sign(type, {
      iss: this.issuer,
      aud: this.issuer,
      sub: record.onBehalfOf ?? record.actor,
      sid: record.id,
      jti: id,
      iat,
      exp,
      client_id: record.client ?? '',
      ...(scopes === null ? {} : { scope: scopes.join(' ') }),
      ...(act === null ? {} : { act }),
    });
    return { token, id, expiresInSeconds: exp - iat };
  }

  async verify(bearer: string): Promise<Actor | null> {
    return (await this.inspect(bearer))?.actor ?? null;
  }

  async inspect(bearer: string): Promise<{ actor: Actor; claims: AccessTokenClaims } | null> {
    if (bearer.length > identityLimits.accessTokenCharactersMax || !bearer.startsWith('eyJ')) return null;
    const key = hash('sha256', bearer, 'hex');
    const kept = await this.#verified(key, bearer);
    if (kept === null) return null;
    const { claims } = kept;
    const actor = await this.#options.signIns.actorOf(claims.signIn);
    if (actor === null || !isAbout(claims, actor)) {
      this.#kept.delete(key);
      return null;
    }
    return { actor: narrowedTo(kept, actor), claims };
  }

  /** From memory where the token was verified before and neither it nor its key is over. */
  async #verified(key: string, bearer: string): Promise<Kept | null> {
    const { keys, clock } = this.#options;
    const kept = this.#kept.get(key);
    if (kept === undefined) return await this.#keep(key, bearer);
    const isOver = kept.claims.expiresAt * 1000 + identityLimits.clockSkewMs <= clock.now();
    if (!isOver && (await keys.verifier(kept.kid)) !== null) return kept;
    this.#kept.delete(key);
    return null;
  }

  async #keep(key: string, bearer: string): Promise<Kept | null> {
    const found = await this.#check(bearer);
    if (found === null) return null;
    const kept: Kept = { ...found, narrowed: null };
    const oldest = this.#kept.keys().next();
    if (this.#kept.size >= identityLimits.accessTokensMax && !oldest.done) this.#kept.delete(oldest.value);
    this.#kept.set(key, kept);
    return kept;
  }

  /** Form first, then signature, then claims; only what passed all three is believed. */
  async #check(bearer: string): Promise<{ claims: AccessTokenClaims; kid: string } | null> {
    const { keys, clock } = this.#options;
    const untrusted = readStrictJws(bearer, identityLimits.accessTokenCharactersMax);
    if (untrusted === null || !hasExactly(untrusted.header, headerMembers)) return null;
    const { alg, typ, kid } = untrusted.header;
    if (alg !== 'EdDSA' || typ !== type || typeof kid !== 'string') return null;
    const key = await keys.verifier(kid);
    if (key === null) return null;
    try {
      const { payload } = await jwtVerify(bearer, key, {
        algorithms: ['EdDSA'],
        typ: type,
        issuer: this.issuer,
        audience: this.issuer,
        requiredClaims: required,
        clockTolerance: identityLimits.clockSkewMs / 1000,
        currentDate: new Date(clock.now()),
      });
      const claims = claimsOf(payload);
      return claims === null || clock.now() < claims.issuedAt * 1000 - identityLimits.clockSkewMs
        ? null
        : { claims, kid };
    } catch (error) {
      if (error instanceof errors.JOSEError) return null;
      throw error;
    }
  }
}

/** What we sign has these claims in these types and no other; anything else was not made here. */
function claimsOf(payload: JWTPayload): AccessTokenClaims | null {
  const { sub, sid, jti, iat, exp, aud, client_id: client, scope } = payload;
  const signIn = typeof sid === 'string' ? parseId('signIn', sid) : null;
  const scopes = scope === undefined ? null : scopesOf(scope);
  const act = payload.act === undefined ? null : actOf(payload.act);
  if (Object.keys(payload).some((name) => !claimNames.has(name))) return null;
  if (typeof sub !== 'string' || typeof jti !== 'string' || typeof client !== 'string') return null;
  if (!Number.isSafeInteger(iat) || !Number.isSafeInteger(exp) || typeof aud !== 'string') return null;
  if (signIn === null || scopes === undefined || act === undefined) return null;
  if ((exp! - iat!) * 1000 > identityLimits.accessTokenLifeMs) return null;
  const subject = sub as ActorId;
  return { id: jti, subject, act, signIn, client, scopes, issuedAt: iat!, expiresAt: exp! };
}

/** Undefined for what is no list of scopes. */
function scopesOf(scope: unknown): readonly GrantableScope[] | undefined {
  if (typeof scope !== 'string') return undefined;
  const words = scope === '' ? [] : scope.split(' ');
  const known: readonly string[] = scopeTable;
  return words.every((word) => known.includes(word)) ? (words as GrantableScope[]) : undefined;
}

function actOf(value: unknown): ActClaim | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { sub, act, ...rest } = value as Record<string, unknown>;
  if (typeof sub !== 'string' || Object.keys(rest).length > 0) return undefined;
  if (act === undefined) return { sub };
  const inner = actOf(act);
  return inner === undefined ? undefined : { sub, act: inner };
}

/** The sign-in is the one that the token was made for, and its actor has not become another. */
function isAbout({ subject, act }: AccessTokenClaims, actor: Actor): boolean {
  return (actor.onBehalfOf ?? actor.id) === subject && (act === null || act.sub === actor.id);
}

function narrowedTo(kept: Kept, of: Actor): Actor {
  const { scopes } = kept.claims;
  if (scopes === null) return of;
  if (kept.narrowed?.of === of) return kept.narrowed.actor;
  const { signIn: _interactive, ...machine } = of;
  const held = common(of.scopes, scopes as readonly Scope[]);
  const actor: Actor = { ...machine, ...provedAtOf(of), scopes: held, narrowed: true };
  kept.narrowed = { of, actor };
  return actor;
}
