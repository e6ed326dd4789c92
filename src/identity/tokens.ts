import type { Clock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import type { Actor, ActorId, Reach } from '../model/actor.ts';
import { newId, type TokenId } from '../model/ids.ts';
import type { GrantableScope, Scope } from '../model/scopes.ts';
import type { Claim, Creation, Store, TokenRecord } from '../store/store.ts';
import { identityLimits } from './limits.ts';
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
  /** What the token may hold is for the caller to decide. */
  issue(
    token: NewToken,
    claim: Claim | null,
  ): Promise<IssuedToken | Exclude<Creation<never>, { outcome: 'created' }>>;
  get(id: TokenId): Promise<TokenRecord | null>;
  list: Store['tokens']['list'];
  /** From the moment it resolves, and in this process from the call on, the token verifies no more. */
  revoke(id: TokenId): Promise<boolean>;
  /** Writes what is still to be written about last uses. */
  close(): Promise<void>;
};

const adminScope = 'identity:write' satisfies GrantableScope;

/** Reads when the last administrator's token expires, which decides whether the bootstrap token works. */
export async function openTokens(options: {
  store: Store['tokens'];
  clock: Clock;
  bootstrap: BootstrapOptions;
  /** A last use that could not be written; nothing else depends on it. */
  onError: (error: unknown) => void;
}): Promise<Tokens> {
  const directory = new TokenDirectory(options);
  await directory.learnAdmins();
  return directory;
}

type Verified = { readonly record: TokenRecord; readonly actor: Actor; lastUsedAt: number };

class TokenDirectory implements Tokens {
  readonly #store: Store['tokens'];
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  readonly #bootstrapHash: string | null;
  /** By hash, oldest first. */
  readonly #verified = new Map<string, Verified>();
  /** Revoked since this process started: an answer of the store that was on its way is not believed. */
  readonly #revoked = new Set<string>();
  readonly #writes = new Set<Promise<void>>();
  /** The bootstrap token is refused until then; -Infinity where no administrator's token is left. */
  #adminUntil = Number.NEGATIVE_INFINITY;

  constructor(options: Parameters<typeof openTokens>[0]) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#onError = options.onError;
    const { secret } = options.bootstrap;
    this.#bootstrapHash = secret === null ? null : secretHash(secret);
  }

  async learnAdmins(): Promise<void> {
    const last = await this.#store.lastExpiryOf(adminScope, this.#clock.now());
    this.#adminUntil = last ?? Number.NEGATIVE_INFINITY;
  }

  async verify(bearer: string): Promise<Actor | null> {
    if (bearer.length > identityLimits.bearerCharactersMax) return null;
    const hash = secretHash(bearer);
    if (this.#bootstrapHash !== null && sameHash(hash, this.#bootstrapHash)) return this.#bootstrap();
    if (!isTokenSecret(bearer)) return null;
    const verified = this.#verified.get(hash) ?? (await this.#look(hash));
    if (verified === null) return null;
    const now = this.#clock.now();
    const { expiresAt } = verified.record;
    if (this.#revoked.has(hash) || (expiresAt !== null && expiresAt <= now)) {
      this.#verified.delete(hash);
      return null;
    }
    this.#noteUse(verified, now);
    return verified.actor;
  }

  async issue(token: NewToken, claim: Claim | null): ReturnType<Tokens['issue']> {
    const now = this.#clock.now();
    const secret = newTokenSecret();
    const record = { ...token, id: newId('token', now), hash: secretHash(secret), createdAt: now };
    const made = await this.#store.create(record, claim);
    if (made.outcome !== 'created') return made;
    if (token.scopes.includes(adminScope))
      this.#adminUntil = Math.max(this.#adminUntil, token.expiresAt ?? Number.POSITIVE_INFINITY);
    return { record: made.record, secret };
  }

  get(id: TokenId): Promise<TokenRecord | null> {
    return this.#store.get(id);
  }

  list(...query: Parameters<Store['tokens']['list']>): ReturnType<Store['tokens']['list']> {
    return this.#store.list(...query);
  }

  async revoke(id: TokenId): Promise<boolean> {
    const record = await this.#store.get(id);
    if (record === null) return false;
    this.#verified.delete(record.hash);
    this.#revoked.add(record.hash);
    try {
      const revoked = await this.#store.revoke(id, this.#clock.now());
      await this.learnAdmins();
      return revoked !== null;
    } catch (error) {
      this.#onError(error);
      throw error instanceof Fault
        ? error
        : new Fault('store.unavailable', { detail: notLasting, cause: error });
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#writes);
  }

  #bootstrap(): Actor | null {
    if (this.#clock.now() < this.#adminUntil) return null;
    return bootstrapActor;
  }

  async #look(hash: string): Promise<Verified | null> {
    const record = await this.#store.byHash(hash);
    if (record === null || !sameHash(record.hash, hash) || this.#revoked.has(hash)) return null;
    const actor: Actor = {
      id: record.actor,
      scopes: new Set<Scope>(record.scopes),
      reach: record.reach,
      narrowed: true,
      credential: record.id,
    };
    const verified = { record, actor, lastUsedAt: record.lastUsedAt ?? Number.NEGATIVE_INFINITY };
    const oldest = this.#verified.keys().next();
    if (this.#verified.size >= identityLimits.verifiedTokensMax && !oldest.done)
      this.#verified.delete(oldest.value);
    this.#verified.set(hash, verified);
    return verified;
  }

  #noteUse(verified: Verified, now: number): void {
    if (now - verified.lastUsedAt < identityLimits.lastUseEveryMs) return;
    verified.lastUsedAt = now;
    const write = this.#store.touch(verified.record.id, now).catch(this.#onError);
    this.#writes.add(write);
    void write.finally(() => this.#writes.delete(write));
  }
}

const notLasting = 'The token is refused by this process, but that could not be stored. Revoke it again.';

/** The way in before there is an administrator. */
export const bootstrapActor: Actor = { id: 'user:bootstrap', scopes: new Set<Scope>(['*']), reach: 'all' };
