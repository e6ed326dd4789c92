import type { Clock } from '../base/clock.ts';
import {
  type Actor,
  type ActorId,
  narrowerEgress,
  narrowerReach,
  provedAtOf,
  type Reach,
} from '../model/actor.ts';
import { newId, parseId, type SignInId } from '../model/ids.ts';
import type { GrantableScope } from '../model/scopes.ts';
import type { SignInRecord, SignInStore } from '../store/identity-store.ts';
import type { ChangeFeed } from './change-feed.ts';
import { identityLimits } from './limits.ts';
import { common, egressOf, type Principal, type Principals } from './principals.ts';
import { secretForm, secretHash } from './token-secret.ts';

const cookieForm = secretForm('swb_');
const refreshTokenForm = secretForm('swr_');

/** How somebody proved who it is. */
export type Proof = {
  readonly at: number;
  /** RFC 8176 values, such as `pwd`, `otp`, `hwk`, `mfa`. */
  readonly methods: readonly string[];
  readonly mfa: boolean;
  readonly provider: string | null;
  readonly providerSession: string | null;
};

export type NewSignIn = {
  readonly actor: ActorId;
  readonly proof: Proof;
  readonly address: string | null;
  readonly userAgent: string | null;
};

export type NewProgramSignIn = NewSignIn & {
  readonly client: string;
  readonly scopes: readonly GrantableScope[] | null;
  /** What its reach is narrowed to; null for its actor's. */
  readonly reach: Reach | null;
  /** The presets and policies that alone it may ask for; its actor's where absent. */
  readonly egress?: readonly string[] | null;
  readonly onBehalfOf?: ActorId | null;
  readonly parent?: string | null;
  readonly refreshable: boolean;
  /** The most that it may live; the configured life where absent. */
  readonly expiresAt?: number;
};

export type Refreshed =
  | { readonly outcome: 'refreshed'; readonly record: SignInRecord; readonly refreshToken: string }
  | { readonly outcome: 'reused'; readonly record: SignInRecord }
  | { readonly outcome: 'refused' };

/**
 * Sign-ins and what comes from them. Ending one reaches every process within the change feed's interval: its
 * cookie, its access tokens and its refresh tokens stop working, and its live streams end.
 */
export type SignIns = {
  /** A browser's. The cookie's value is known here and to the caller once. */
  openBrowser(signIn: NewSignIn): Promise<{ readonly record: SignInRecord; readonly cookie: string }>;
  /** A program's, of a person or a machine; the refresh token is null where `refreshable` is false. */
  openProgram(
    signIn: NewProgramSignIn,
  ): Promise<{ readonly record: SignInRecord; readonly refreshToken: string | null }>;
  /** The actor of a cookie, or null. Notes the use. */
  ofCookie(cookie: string): Promise<Actor | null>;
  /** The actor of a live sign-in, from memory where that may be believed; null where it has ended. Notes the use. */
  actorOf(id: SignInId): Promise<Actor | null>;
  /** One caller alone gets the next token; a token that comes again ends its sign-in everywhere. */
  refresh(refreshToken: string, client: string): Promise<Refreshed>;
  /** After step-up. A browser gets another cookie, so that one stolen before is worth nothing. */
  prove(id: SignInId, proof: Proof): Promise<{ readonly cookie: string | null } | null>;
  /** In this process from the call on, even where the store cannot be written. */
  end(id: SignInId, reason: string): Promise<boolean>;
  endAllOf(actor: ActorId, reason: string, except: SignInId | null): Promise<number>;
  /** Writes what is still to be written about last uses. */
  close(): Promise<void>;
};

export type SignInLives = {
  readonly browserIdleMs: number;
  readonly browserMs: number;
  readonly programIdleMs: number;
  readonly programMs: number;
};

export type SignInsOptions = {
  readonly store: SignInStore;
  readonly principals: Principals;
  readonly changes: ChangeFeed;
  readonly clock: Clock;
  readonly lives: SignInLives;
  /** Whose API token it is that a sign-in was exchanged from, or that the credential or run lives; null once it is over. */
  readonly parentOf: (parent: string) => Promise<Actor | 'alive' | null>;
  /** A last use that could not be written; nothing else depends on it. */
  readonly onError: (error: unknown) => void;
};

export function openSignIns(options: SignInsOptions): SignIns {
  return new SignInDirectory(options);
}

type Kept = {
  readonly record: SignInRecord;
  lastUsedAt: number;
  writtenAt: number;
  /** Made from the principal as it was then; another principal makes another actor. */
  made: {
    readonly from: Principal | string;
    readonly above: Actor | 'alive';
    readonly actor: Actor | null;
  } | null;
};

class SignInDirectory implements SignIns {
  readonly #options: SignInsOptions;
  readonly #kept = new Map<SignInId, Kept>();
  readonly #ofCookie = new Map<string, SignInId>();
  /** What this process ends while the store does not say so yet, or cannot. */
  readonly #ended = new Set<SignInId>();
  readonly #writes = new Set<Promise<void>>();
  #generation = 0;

  constructor(options: SignInsOptions) {
    this.#options = options;
    options.changes.on(({ kind, id }) => {
      if (kind !== 'sign-in' && kind !== 'user' && kind !== 'agent') return;
      this.#generation += 1;
      if (kind === 'sign-in' && id !== '*') return this.#drop(id as SignInId);
      this.#kept.clear();
      // Which ones were missed nobody knows: a cookie may be of a sign-in that has another by now.
      if (kind === 'sign-in') this.#ofCookie.clear();
    });
  }

  async openBrowser(signIn: NewSignIn): ReturnType<SignIns['openBrowser']> {
    const { browserIdleMs, browserMs } = this.#options.lives;
    const record: SignInRecord = {
      ...this.#newRecord(signIn, browserIdleMs, browserMs),
      kind: 'browser',
      client: null,
      scopes: null,
      reach: null,
      egress: null,
      onBehalfOf: null,
      parent: null,
    };
    const cookie = cookieForm.make();
    await this.#options.store.create(record, secretHash(cookie));
    return { record, cookie };
  }

  async openProgram(signIn: NewProgramSignIn): ReturnType<SignIns['openProgram']> {
    const { programIdleMs, programMs } = this.#options.lives;
    const { client, scopes, reach, egress = null, onBehalfOf = null, parent = null, refreshable } = signIn;
    const base = this.#newRecord(signIn, programIdleMs, programMs);
    const expiresAt = Math.min(base.expiresAt, signIn.expiresAt ?? Number.POSITIVE_INFINITY);
    const own = { kind: 'program', client, scopes, reach, egress, onBehalfOf, parent, expiresAt } as const;
    const record = { ...base, ...own };
    const refreshToken = refreshable ? refreshTokenForm.make() : null;
    await this.#options.store.create(record, refreshToken === null ? null : secretHash(refreshToken));
    return { record, refreshToken };
  }

  async ofCookie(cookie: string): Promise<Actor | null> {
    if (!cookieForm.fits(cookie)) return null;
    const hash = secretHash(cookie);
    const id = this.#ofCookie.get(hash);
    const kept = id === undefined ? null : this.#keptOf(id);
    if (kept !== null) return await this.#use(kept);
    const generation = this.#generation;
    const record = await this.#options.store.byCookie(hash, this.#options.clock.now());
    if (record === null) this.#ofCookie.delete(hash);
    else if (generation === this.#generation) this.#keepCookie(hash, record.id);
    return await this.#found(record, generation);
  }

  async actorOf(id: SignInId): Promise<Actor | null> {
    const kept = this.#keptOf(id);
    if (kept !== null) return await this.#use(kept);
    const generation = this.#generation;
    return await this.#found(await this.#options.store.get(id, this.#options.clock.now()), generation);
  }

  async refresh(refreshToken: string, client: string): Promise<Refreshed> {
    const { store, clock, changes } = this.#options;
    if (!refreshTokenForm.fits(refreshToken)) return { outcome: 'refused' };
    const used = secretHash(refreshToken);
    const owner = await store.byRefresh(used);
    if (owner === null || owner.client !== client) return { outcome: 'refused' };
    const next = refreshTokenForm.make();
    const rotated = await store.rotate(used, secretHash(next), clock.now());
    if (rotated.outcome === 'absent') return { outcome: 'refused' };
    if (rotated.outcome === 'rotated')
      return { outcome: 'refreshed', record: rotated.record, refreshToken: next };
    this.#drop(rotated.record.id);
    await changes.look();
    return { outcome: 'reused', record: rotated.record };
  }

  async prove(id: SignInId, { at, methods, mfa }: Proof): ReturnType<SignIns['prove']> {
    const { store, clock, changes } = this.#options;
    const record = await store.get(id, clock.now());
    if (record === null || this.#ended.has(id)) return null;
    const cookie = record.kind === 'browser' ? cookieForm.make() : null;
    const hash = cookie === null ? null : secretHash(cookie);
    if (!(await store.proved(id, { at, methods, mfa, cookie: hash }))) return null;
    this.#drop(id);
    await changes.look();
    return { cookie };
  }

  async end(id: SignInId, reason: string): Promise<boolean> {
    this.#ended.add(id);
    this.#drop(id);
    const ended = await this.#options.store.revoke(id, this.#options.clock.now(), reason);
    await this.#options.changes.look();
    this.#ended.delete(id);
    return ended;
  }

  async endAllOf(actor: ActorId, reason: string, except: SignInId | null): Promise<number> {
    const { store, clock, changes } = this.#options;
    const known = [...this.#kept.values()].map(({ record }) => record);
    const ending = known.filter((record) => record.actor === actor && record.id !== except);
    for (const { id } of ending) this.#ended.add(id);
    const count = await store.revokeOf(actor, clock.now(), reason, except);
    await changes.look();
    for (const { id } of ending) this.#ended.delete(id);
    return count;
  }

  async close(): Promise<void> {
    await Promise.all(this.#writes);
  }

  #newRecord({ actor, proof, address, userAgent }: NewSignIn, idleMs: number, lifeMs: number) {
    const now = this.#options.clock.now();
    const { at: authAt, methods, mfa, provider, providerSession } = proof;
    return {
      id: newId('signIn', now),
      actor,
      ...{ authAt, methods, mfa, provider, providerSession, address, userAgent },
      createdAt: now,
      idleMs,
      lastUsedAt: now,
      expiresAt: now + lifeMs,
    };
  }

  /** What is in memory and may be believed. */
  #keptOf(id: SignInId): Kept | null {
    const kept = this.#kept.get(id);
    if (kept === undefined || !this.#options.changes.isFresh) return null;
    const now = this.#options.clock.now();
    const isOver = now >= kept.record.expiresAt || now >= kept.lastUsedAt + kept.record.idleMs;
    return isOver ? null : kept;
  }

  async #found(record: SignInRecord | null, generation: number): Promise<Actor | null> {
    if (record === null || this.#ended.has(record.id)) return null;
    const { parent, lastUsedAt } = record;
    const kept: Kept = { record, lastUsedAt, writtenAt: lastUsedAt, made: null };
    // Nothing tells this process of the end of a token that another revoked in time, so then the store is asked.
    const asksAlways = parent !== null && parseId('signIn', parent) === null;
    if (generation === this.#generation && !asksAlways) this.#keep(kept);
    return await this.#use(kept);
  }

  async #use(kept: Kept): Promise<Actor | null> {
    const { principals } = this.#options;
    const { actor: id, parent } = kept.record;
    const above = parent === null ? 'alive' : await this.#parentOf(parent);
    if (above === null) return null;
    const from = await principals.of(id);
    if (kept.made?.from !== from || kept.made.above !== above) {
      const actor = await principals.ofSignIn(kept.record);
      kept.made = { from, above, actor: actor === null ? null : within(above, actor) };
    }
    if (kept.made.actor !== null) this.#noteUse(kept);
    return this.#ended.has(kept.record.id) ? null : kept.made.actor;
  }

  async #parentOf(parent: string): Promise<Actor | 'alive' | null> {
    const signIn = parseId('signIn', parent);
    return signIn === null ? await this.#options.parentOf(parent) : await this.actorOf(signIn);
  }

  #noteUse(kept: Kept): void {
    const now = this.#options.clock.now();
    kept.lastUsedAt = Math.max(kept.lastUsedAt, now);
    const everyMs = Math.min(identityLimits.lastUseEveryMs, kept.record.idleMs / 4);
    if (now - kept.writtenAt < everyMs) return;
    kept.writtenAt = now;
    const write = this.#options.store.touch(kept.record.id, now).catch(this.#options.onError);
    this.#writes.add(write);
    void write.finally(() => this.#writes.delete(write));
  }

  #keep(kept: Kept): void {
    if (this.#kept.size >= identityLimits.signInsMax) this.#kept.clear();
    this.#kept.set(kept.record.id, kept);
  }

  #keepCookie(hash: string, id: SignInId): void {
    if (this.#ofCookie.size >= identityLimits.signInsMax) this.#ofCookie.clear();
    this.#ofCookie.set(hash, id);
  }

  /** With its cookies, because a sign-in that goes on may have got another. */
  #drop(id: SignInId): void {
    this.#kept.delete(id);
    for (const [hash, owner] of this.#ofCookie) if (owner === id) this.#ofCookie.delete(hash);
  }
}

/**
 * Never more than what it was exchanged from may do now. Whoever acts for another reaches no further than its own,
 * unless the other reaches everything: its teams are not the other's.
 */
function within(above: Actor | 'alive', actor: Actor): Actor {
  if (above === 'alive') return actor;
  const reach = above.id === actor.id || above.reach === 'all' ? above.reach : 'own';
  return {
    ...actor,
    ...provedAtOf(above),
    ...egressOf(narrowerEgress(actor.egress, above.egress)),
    scopes: common(above.scopes, actor.scopes),
    reach: narrowerReach(actor.reach, reach),
  };
}
