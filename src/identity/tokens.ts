import type { Clock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import { type Actor, type ActorId, narrowerReach, type Reach } from '../model/actor.ts';
import { newId, type TokenId } from '../model/ids.ts';
import type { GrantableScope, Scope } from '../model/scopes.ts';
import type { IdentityStore } from '../store/identity-store.ts';
import type { Claim, Creation, Store, TokenRecord } from '../store/store.ts';
import type { ChangeFeed } from './change-feed.ts';
import { identityLimits } from './limits.ts';
import { common, egressOf, type Principal, type Principals } from './principals.ts';
import { isTokenSecret, newTokenSecret, sameHash, secretHash } from './token-secret.ts';

/** `secret` null means that there is no bootstrap token, as in production mode. */
export type BootstrapOptions = { readonly secret: string | null };

export type NewToken = {
  readonly name: string;
  readonly actor: ActorId;
  readonly scopes: readonly GrantableScope[];
  readonly reach: Reach;
  readonly expiresAt: number | null;
};

/** The secret is known here and to the caller once; only its hash is stored. */
export type IssuedToken = { readonly record: TokenRecord; readonly secret: string };

export type Tokens = {
  /** The actor of a bearer secret, or null. A bad checksum costs no look-up. */
  verify(bearer: string): Promise<Actor | null>;
  /** The actor of a token that was verified before, as it is now; null where the token has ended. */
  actorOf(id: TokenId): Promise<Actor | null>;
  /** The holder of the bootstrap token while there is no administrator; null afterwards. */
  bootstrapActor(): Promise<Actor | null>;
  /** What the token may hold is for the caller to decide. */
  issue(
    token: NewToken,
    claim: Claim | null,
  ): Promise<IssuedToken | Exclude<Creation<never>, { outcome: 'created' }>>;
  /**
   * Another secret in place of a token's, with a life as long as that one had. The old one ends after `overlapMs`, if
   * not before. Null where it is absent or revoked already.
   */
  rotate(id: TokenId, overlapMs: number): Promise<IssuedToken | null>;
  get(id: TokenId): Promise<TokenRecord | null>;
  list: Store['tokens']['list'];
  /** From the moment it resolves, and in this process from the call on, the token verifies no more. */
  revoke(id: TokenId): Promise<boolean>;
  /** Writes what is still to be written about last uses. */
  close(): Promise<void>;
};

const adminScope = 'identity:write' satisfies GrantableScope;

export type TokensOptions = {
  readonly store: Store['tokens'];
  readonly users: Pick<IdentityStore['users'], 'countByRole'>;
  readonly principals: Principals;
  readonly changes: ChangeFeed;
  readonly clock: Clock;
  readonly bootstrap: BootstrapOptions;
  /** A last use that could not be written; nothing else depends on it. */
  readonly onError: (error: unknown) => void;
};

export function openTokens(options: TokensOptions): Tokens {
  return new TokenDirectory(options);
}

type Verified = {
  readonly record: TokenRecord;
  lastUsedAt: number;
  /** Made from the principal as it was then; another principal makes another actor. */
  made: { readonly from: object | string; readonly actor: Actor | null } | null;
};

class TokenDirectory implements Tokens {
  readonly #options: TokensOptions;
  readonly #bootstrapHash: string | null;
  /** By hash, oldest first. */
  readonly #verified = new Map<string, Verified>();
  /** What this process revoked: an answer of the store that was on its way is not believed. */
  readonly #revoked = new Set<string>();
  readonly #writes = new Set<Promise<void>>();
  /** Grows with every change anywhere, so that an answer that was on its way is not kept. */
  #generation = 0;
  /** False while nothing changed since there was found to be no administrator; null where that is not known. */
  #administered: false | null = null;

  constructor(options: TokensOptions) {
    this.#options = options;
    const { secret } = options.bootstrap;
    this.#bootstrapHash = secret === null ? null : secretHash(secret);
    options.changes.on(({ kind }) => {
      if (kind !== 'token' && kind !== 'user') return;
      this.#generation += 1;
      this.#administered = null;
      if (kind === 'token') this.#verified.clear();
    });
  }

  async verify(bearer: string): Promise<Actor | null> {
    if (bearer.length > identityLimits.bearerCharactersMax) return null;
    const hash = secretHash(bearer);
    if (this.#bootstrapHash !== null && sameHash(hash, this.#bootstrapHash))
      return await this.bootstrapActor();
    if (!isTokenSecret(bearer)) return null;
    const kept = this.#options.changes.isFresh ? this.#verified.get(hash) : undefined;
    return await this.#use(kept ?? (await this.#look(hash)));
  }

  async actorOf(id: TokenId): Promise<Actor | null> {
    const record = await this.#options.store.get(id);
    return record === null ? null : await this.#use(verifiedOf(record));
  }

  async issue(token: NewToken, claim: Claim | null): ReturnType<Tokens['issue']> {
    const now = this.#options.clock.now();
    const secret = newTokenSecret();
    const record = { ...token, id: newId('token', now), hash: secretHash(secret), createdAt: now };
    const made = await this.#options.store.create(record, claim);
    if (made.outcome !== 'created') return made;
    await this.#options.changes.look();
    return { record: made.record, secret };
  }

  get(id: TokenId): Promise<TokenRecord | null> {
    return this.#options.store.get(id);
  }

  list(...query: Parameters<Store['tokens']['list']>): ReturnType<Store['tokens']['list']> {
    return this.#options.store.list(...query);
  }

  async revoke(id: TokenId): Promise<boolean> {
    const { store, clock, changes, onError } = this.#options;
    const record = await store.get(id);
    if (record === null) return false;
    this.#verified.delete(record.hash);
    this.#revoked.add(record.hash);
    try {
      const revoked = await store.revoke(id, clock.now());
      await changes.look();
      return revoked !== null;
    } catch (error) {
      onError(error);
      throw error instanceof Fault
        ? error
        : new Fault('store.unavailable', { detail: notLasting, cause: error });
    }
  }

  async rotate(id: TokenId, overlapMs: number): Promise<IssuedToken | null> {
    const { store, clock, changes } = this.#options;
    const old = await store.get(id);
    if (old === null) return null;
    const now = clock.now();
    const secret = newTokenSecret();
    const { name, actor, scopes, reach, createdAt } = old;
    const expiresAt = old.expiresAt === null ? null : now + (old.expiresAt - createdAt);
    const next = { id: newId('token', now), name, actor, scopes, reach, createdAt: now, expiresAt };
    const record = await store.rotate(id, { ...next, hash: secretHash(secret) }, now + overlapMs);
    await changes.look();
    return record === null ? null : { record, secret };
  }

  async close(): Promise<void> {
    await Promise.all(this.#writes);
  }

  async bootstrapActor(): Promise<Actor | null> {
    const { changes, clock } = this.#options;
    if (changes.isFresh && this.#administered === false) return bootstrapActor;
    const generation = this.#generation;
    const isAdministered = await this.#isAdministered(clock.now());
    if (!isAdministered && generation === this.#generation) this.#administered = false;
    return isAdministered ? null : bootstrapActor;
  }

  async #isAdministered(now: number): Promise<boolean> {
    const { store, users } = this.#options;
    if ((await store.lastExpiryOf(adminScope, now)) !== null) return true;
    return (await users.countByRole('admin')) > 0;
  }

  async #look(hash: string): Promise<Verified | null> {
    const generation = this.#generation;
    const record = await this.#options.store.byHash(hash);
    if (record === null || !sameHash(record.hash, hash)) return null;
    const verified = verifiedOf(record);
    if (generation !== this.#generation) return verified;
    const oldest = this.#verified.keys().next();
    if (this.#verified.size >= identityLimits.verifiedTokensMax && !oldest.done)
      this.#verified.delete(oldest.value);
    this.#verified.set(hash, verified);
    return verified;
  }

  async #use(verified: Verified | null): Promise<Actor | null> {
    if (verified === null) return null;
    const { record } = verified;
    const from = await this.#options.principals.of(record.actor);
    if (verified.made?.from !== from) verified.made = { from, actor: actorOf(record, from) };
    const now = this.#options.clock.now();
    const isOver = record.expiresAt !== null && record.expiresAt <= now;
    if (isOver || this.#revoked.has(record.hash) || verified.made.actor === null) return null;
    this.#noteUse(verified, now);
    return verified.made.actor;
  }

  #noteUse(verified: Verified, now: number): void {
    if (now - verified.lastUsedAt < identityLimits.lastUseEveryMs) return;
    verified.lastUsedAt = now;
    const { store, onError } = this.#options;
    const write = store.touch(verified.record.id, now).catch(onError);
    this.#writes.add(write);
    void write.finally(() => this.#writes.delete(write));
  }
}

function verifiedOf(record: TokenRecord): Verified {
  return { record, lastUsedAt: record.lastUsedAt ?? Number.NEGATIVE_INFINITY, made: null };
}

/** What was granted, and no more than whom it stands for may do by now; a name that nobody has bounds nothing. */
function actorOf(record: TokenRecord, from: Principal | 'unknown' | 'disabled'): Actor | null {
  if (from === 'disabled') return null;
  const { actor: id, id: credential } = record;
  const granted = new Set<Scope>(record.scopes);
  if (from === 'unknown') return { id, scopes: granted, reach: record.reach, narrowed: true, credential };
  const reach = narrowerReach(record.reach, from.reach);
  const { role, teams } = from;
  const scopes = common(from.scopes, granted);
  return { id, scopes, reach, role, teams, ...egressOf(from.egress), narrowed: true, credential };
}

const notLasting = 'The token is refused by this process, but that could not be stored. Revoke it again.';

/** The way in before there is an administrator. */
export const bootstrapActor: Actor = { id: 'user:bootstrap', scopes: new Set<Scope>(['*']), reach: 'all' };
