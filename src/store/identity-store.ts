import type { ActorId, Reach } from '../model/actor.ts';
import type { CredentialId, ElevationId, InvitationId, KeyId, SignInId } from '../model/ids.ts';
import type { GrantableScope } from '../model/scopes.ts';
import type { Listed, Page, Swap } from './store.ts';

/**
 * What control remembers of people, machines and their rights. As everywhere in the store: every method that writes
 * is one transaction and durable when it resolves, times are milliseconds since the epoch, and secrets are stored
 * as SHA-256 in hex or sealed. Each write that can take a right away adds a `Change` in the same commit.
 */
export type IdentityStore = {
  readonly users: UserStore;
  readonly passkeys: PasskeyStore;
  readonly invitations: InvitationStore;
  readonly signIns: SignInStore;
  readonly oneTimes: OneTimeStore;
  readonly teams: TeamStore;
  readonly roles: RoleStore;
  readonly agents: AgentStore;
  readonly accessPolicies: AccessPolicyStore;
  readonly elevations: ElevationStore;
  readonly signingKeys: SigningKeyStore;
  readonly flags: FlagStore;
  readonly attempts: AttemptStore;
  readonly changes: ChangeStore;
};

/** What changed, for every process that keeps something of it in memory. `id` names which; `*` is all of the kind. */
export const changeKinds = [
  'user',
  'agent',
  'token',
  'sign-in',
  'role',
  'team',
  'access-policy',
  'elevation',
  'key',
  'flag',
  'run',
] as const;
export type ChangeKind = (typeof changeKinds)[number];
export type Change = { readonly seq: number; readonly kind: ChangeKind; readonly id: string };

export type ChangeStore = {
  /** The highest number so far; 0 where nothing changed yet. */
  last(): Promise<number>;
  /**
   * In their order, a page of them. Numbers are in the order of the commits. Where some of them were forgotten, `*` of
   * every kind stands in their place.
   */
  since(seq: number): Promise<readonly Change[]>;
  /** For what no other method of the store writes, such as the end of a run's identity. */
  note(kind: ChangeKind, id: string): Promise<void>;
  forgetBefore(time: number): Promise<void>;
};

export type UserPhase = 'active' | 'disabled';

/** `name` is the actor `user:<name>`, for ever: a removed user's name is not free again. */
export type UserRecord = {
  readonly name: string;
  readonly displayName: string | null;
  readonly email: string | null;
  readonly role: string;
  /** Roles that the user may be elevated to for a time. */
  readonly eligibleRoles: readonly string[];
  readonly phase: UserPhase;
  /** A PHC string; null where the user signs in elsewhere or by passkey alone. */
  readonly passwordHash: string | null;
  /** Sealed; null where none is enrolled. */
  readonly totpSealed: string | null;
  readonly createdAt: number;
  readonly lastSignInAt: number | null;
  readonly version: number;
};

/** Who a user is at a provider: its issuer and subject, never its e-mail address. */
export type ExternalIdentity = { readonly provider: string; readonly subject: string };

export type UserChange = Partial<
  Pick<
    UserRecord,
    'displayName' | 'email' | 'role' | 'eligibleRoles' | 'phase' | 'passwordHash' | 'totpSealed'
  >
>;

export type UserStore = {
  /** `taken` where the name is, or was, somebody's, or the external identity is. */
  create(
    user: Omit<UserRecord, 'lastSignInAt' | 'version'>,
    options: { external: ExternalIdentity | null; teams: readonly string[] },
  ): Promise<{ readonly outcome: 'created'; readonly record: UserRecord } | { readonly outcome: 'taken' }>;
  /** Null for absent and removed users. */
  get(name: string): Promise<UserRecord | null>;
  byExternal(identity: ExternalIdentity): Promise<UserRecord | null>;
  externalsOf(name: string): Promise<readonly ExternalIdentity[]>;
  /** False where somebody has it already. */
  link(name: string, identity: ExternalIdentity): Promise<boolean>;
  /** False where it is not this user's. */
  unlink(name: string, identity: ExternalIdentity): Promise<boolean>;
  list(
    filter: { role?: string | undefined; phase?: UserPhase | undefined },
    page: Page,
  ): Promise<Listed<UserRecord>>;
  /**
   * `version` null changes whatever is there. `last` where no active user would be left who has the role `keep`, whichever
   * process changes another at the same time.
   */
  update(
    name: string,
    change: UserChange,
    version: number | null,
    keep?: string,
  ): Promise<Swap<UserRecord> | { readonly outcome: 'last' }>;
  /** Compare-and-swap of a password hash, so that an upgrade never undoes a change. */
  rehash(name: string, from: string, to: string): Promise<boolean>;
  signedIn(name: string, at: number): Promise<void>;
  /** Ends every sign-in of it with the user itself, in one commit. `last` as with `update`. */
  remove(name: string, at: number, keep?: string): Promise<'removed' | 'absent' | 'last'>;
  /** True for one caller alone where `step` is above every one that was taken before: a code works once (RFC 6238 §5.2). */
  takeTotpStep(name: string, step: number): Promise<boolean>;
  /** Replaces all; each is the SHA-256 of a code. */
  putRecoveryCodes(name: string, hashes: readonly string[]): Promise<void>;
  /** True for one caller alone, once. */
  takeRecoveryCode(name: string, hash: string, at: number): Promise<boolean>;
  recoveryCodesLeft(name: string): Promise<number>;
  /** How many active users have the role. */
  countByRole(role: string): Promise<number>;
};

export type PasskeyRecord = {
  /** The authenticator's credential id, base64url. */
  readonly id: string;
  readonly user: string;
  readonly name: string;
  /** COSE, base64url. */
  readonly publicKey: string;
  readonly counter: number;
  readonly transports: readonly string[];
  readonly createdAt: number;
  readonly lastUsedAt: number | null;
};

export type PasskeyStore = {
  /** False where the credential is somebody's already. */
  add(passkey: Omit<PasskeyRecord, 'lastUsedAt'>): Promise<boolean>;
  get(id: string): Promise<PasskeyRecord | null>;
  of(user: string): Promise<readonly PasskeyRecord[]>;
  /** False where the counter went back: a copy of the authenticator exists (WebAuthn §6.1.1). Zeros never grow. */
  used(id: string, counter: number, at: number): Promise<boolean>;
  remove(user: string, id: string): Promise<boolean>;
};

export type InvitationRecord = {
  readonly id: InvitationId;
  /** SHA-256 of the secret in the link, hex. */
  readonly hash: string;
  /** The name that it is for; null lets the invited choose. */
  readonly name: string | null;
  readonly email: string | null;
  readonly role: string;
  readonly teams: readonly string[];
  readonly createdBy: ActorId;
  readonly createdAt: number;
  readonly expiresAt: number;
};

export type InvitationStore = {
  create(invitation: InvitationRecord): Promise<void>;
  /** Unused and unexpired ones. */
  get(id: InvitationId, now: number): Promise<InvitationRecord | null>;
  byHash(hash: string, now: number): Promise<InvitationRecord | null>;
  list(page: Page, now: number): Promise<Listed<InvitationRecord>>;
  /** Makes the user and uses the invitation up, in one commit. `taken` leaves the invitation as it was. */
  accept(
    hash: string,
    user: Omit<UserRecord, 'lastSignInAt' | 'version'>,
    now: number,
  ): Promise<
    { readonly outcome: 'accepted'; readonly record: UserRecord } | { readonly outcome: 'absent' | 'taken' }
  >;
  revoke(id: InvitationId, at: number): Promise<boolean>;
};

/** How long-lived: a browser's cookie, or refresh tokens of a program that a person or agent signed in. */
export type SignInKind = 'browser' | 'program';

/**
 * One sign-in. It works until `expiresAt`, until it was not used for its idle time, or until it is revoked: then
 * nothing that came from it works any more, neither its cookie nor its access tokens nor its refresh tokens.
 */
export type SignInRecord = {
  readonly id: SignInId;
  readonly kind: SignInKind;
  readonly actor: ActorId;
  /** The OAuth client that it was made for; null for the browser. */
  readonly client: string | null;
  /** What it is narrowed to; null for all that its actor may do. */
  readonly scopes: readonly GrantableScope[] | null;
  /** What its reach is narrowed to; null for its actor's. */
  readonly reach: Reach | null;
  /** The presets and policies that alone it may ask for; null for those of its actor. */
  readonly egress: readonly string[] | null;
  /** When the person last proved who it is. */
  readonly authAt: number;
  readonly methods: readonly string[];
  readonly mfa: boolean;
  /** Null for local accounts. */
  readonly provider: string | null;
  /** The provider's own session, by which it tells us of a logout. */
  readonly providerSession: string | null;
  /** Whom the actor acts for; null for itself. */
  readonly onBehalfOf: ActorId | null;
  /** The sign-in, token or run that it was exchanged from: it ends with it. */
  readonly parent: string | null;
  readonly createdAt: number;
  readonly idleMs: number;
  readonly lastUsedAt: number;
  readonly expiresAt: number;
  readonly address: string | null;
  readonly userAgent: string | null;
};

export type SignInStore = {
  /** `secret` is the hash of the cookie, or of the first refresh token; null for a sign-in without either. */
  create(signIn: SignInRecord, secret: string | null): Promise<void>;
  /** Null for absent, revoked, expired and idle ones, and for those whose parent is gone. */
  get(id: SignInId, now: number): Promise<SignInRecord | null>;
  /** Of a browser's cookie, under the same rule. */
  byCookie(hash: string, now: number): Promise<SignInRecord | null>;
  list(filter: { actor?: ActorId | undefined }, page: Page, now: number): Promise<Listed<SignInRecord>>;
  touch(id: SignInId, at: number): Promise<void>;
  /** After the person proved again who it is; a browser gets another cookie with it. */
  proved(
    id: SignInId,
    proof: { at: number; methods: readonly string[]; mfa: boolean; cookie: string | null },
  ): Promise<boolean>;
  /**
   * Uses up a refresh token and puts the next in its place: one compare-and-swap, so of any number of callers on any
   * number of processes one gets it. A token that was used before ends its sign-in in the same commit (RFC 9700 §4.14).
   */
  rotate(
    used: string,
    next: string,
    now: number,
  ): Promise<
    | { readonly outcome: 'rotated'; readonly record: SignInRecord }
    | { readonly outcome: 'reused'; readonly record: SignInRecord }
    | { readonly outcome: 'absent' }
  >;
  /** The sign-in that a refresh token, used or not, belongs to. */
  byRefresh(hash: string): Promise<SignInRecord | null>;
  /** False where it is absent or ended already. Those that were exchanged from it end too. */
  revoke(id: SignInId, at: number, reason: string): Promise<boolean>;
  /** All of an actor, but `except`; how many. */
  revokeOf(actor: ActorId, at: number, reason: string, except: SignInId | null): Promise<number>;
  /** All that a provider's logout means: of its session, or where that is null of its subject. */
  revokeOfProvider(
    provider: string,
    which: { session: string } | { user: string },
    at: number,
  ): Promise<readonly SignInRecord[]>;
  /** Removes what ended before `time`. */
  forgetBefore(time: number): Promise<void>;
};

/**
 * What works once within a short time: authorization codes, device codes, tickets, challenges, the middle of a
 * sign-in, links to a new password, states of a round to a provider. `hash` is of the secret, or the plain name where it is none.
 */
export type OneTimeKind =
  | 'authorization-code'
  | 'device-code'
  | 'user-code'
  | 'ticket'
  | 'challenge'
  | 'pending-sign-in'
  | 'password-reset'
  | 'password-reset-newest'
  | 'provider-state'
  | 'assertion-id';

export type OneTimeStore = {
  /** False where the hash is in use. `data` is JSON that this program wrote. */
  put(kind: OneTimeKind, hash: string, data: unknown, expiresAt: number): Promise<boolean>;
  /** What was put, for one caller alone; null afterwards, and when its time is over. */
  take(kind: OneTimeKind, hash: string, now: number): Promise<unknown>;
  /** Looks without taking. */
  peek(kind: OneTimeKind, hash: string, now: number): Promise<unknown>;
  /** Compare-and-swap of the data, as it was read; false where it changed or is gone. */
  replace(kind: OneTimeKind, hash: string, from: unknown, to: unknown, now: number): Promise<boolean>;
  forgetBefore(time: number): Promise<void>;
};

export type TeamRecord = {
  readonly name: string;
  readonly description: string | null;
  readonly members: readonly ActorId[];
  readonly createdAt: number;
  readonly version: number;
};

export type TeamStore = {
  /** Makes or replaces. `version` is what the writer read; null where it read that there is none. */
  put(team: Omit<TeamRecord, 'version'>, version: number | null): Promise<Swap<TeamRecord>>;
  get(name: string): Promise<TeamRecord | null>;
  list(page: { after: string | null; limit: number }): Promise<Listed<TeamRecord>>;
  /** Names. */
  of(actor: ActorId): Promise<readonly string[]>;
  /** Makes the actor a member of exactly these of the teams `among`; other memberships stay. Unknown teams are made. */
  assign(actor: ActorId, teams: readonly string[], among: readonly string[]): Promise<void>;
  /** What it shared stays its owners'. */
  remove(name: string): Promise<boolean>;
};

/** A role that an administrator made; those that ship are in `model/scopes.ts`. */
export type RoleRecord = {
  readonly name: string;
  readonly description: string | null;
  readonly scopes: readonly GrantableScope[];
  readonly reach: Reach;
  readonly createdAt: number;
  readonly version: number;
};

export type RoleStore = {
  put(role: Omit<RoleRecord, 'version'>, version: number | null): Promise<Swap<RoleRecord>>;
  get(name: string): Promise<RoleRecord | null>;
  list(): Promise<readonly RoleRecord[]>;
  /** `used` where a user, agent or invitation has it. */
  remove(name: string): Promise<'removed' | 'absent' | 'used'>;
};

/** An agent or service, `id` being its actor id. Its name is never free again. */
export type AgentRecord = {
  readonly id: ActorId;
  readonly displayName: string | null;
  readonly owner: ActorId;
  readonly role: string;
  /** Beyond those of its role; nobody gives what it does not hold. */
  readonly scopes: readonly GrantableScope[];
  /** The presets and policies that alone it may ask for, whatever it runs; null for any. */
  readonly egress: readonly string[] | null;
  readonly phase: UserPhase;
  readonly createdAt: number;
  readonly version: number;
};

export type AgentCredentialKind = 'secret' | 'public-key' | 'certificate';

export type AgentCredentialRecord = {
  readonly id: CredentialId;
  readonly agent: ActorId;
  readonly kind: AgentCredentialKind;
  readonly name: string | null;
  /** A secret's hash, a key's JWK thumbprint (RFC 7638), or a certificate's SHA-256 fingerprint in hex. */
  readonly proof: string;
  /** The public key as a JWK, or the certificate in PEM; null for a secret. */
  readonly material: string | null;
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly lastUsedAt: number | null;
};

export type RevokedCredential = Pick<AgentCredentialRecord, 'id' | 'agent' | 'proof'> & {
  readonly revokedAt: number;
};

export type AgentStore = {
  create(
    agent: Omit<AgentRecord, 'version'>,
  ): Promise<{ readonly outcome: 'created'; readonly record: AgentRecord } | { readonly outcome: 'taken' }>;
  get(id: ActorId): Promise<AgentRecord | null>;
  list(filter: { owner?: ActorId | undefined }, page: Page): Promise<Listed<AgentRecord>>;
  update(
    id: ActorId,
    change: Partial<Pick<AgentRecord, 'displayName' | 'owner' | 'role' | 'scopes' | 'egress' | 'phase'>>,
    version: number | null,
  ): Promise<Swap<AgentRecord>>;
  /** With its credentials and sign-ins. */
  remove(id: ActorId, at: number): Promise<boolean>;
  /** False where the proof is, or was, somebody's: a key proves one agent alone. */
  addCredential(credential: Omit<AgentCredentialRecord, 'lastUsedAt'>): Promise<boolean>;
  /** Valid ones: not revoked, not expired. */
  credentials(agent: ActorId, now: number): Promise<readonly AgentCredentialRecord[]>;
  credentialByProof(
    kind: AgentCredentialKind,
    proof: string,
    now: number,
  ): Promise<AgentCredentialRecord | null>;
  credential(id: CredentialId): Promise<AgentCredentialRecord | null>;
  /** Revoked ones whose own time is not over yet, the newest first. */
  revoked(kind: AgentCredentialKind, now: number): Promise<readonly RevokedCredential[]>;
  touchCredential(id: CredentialId, at: number): Promise<void>;
  revokeCredential(id: CredentialId, at: number): Promise<boolean>;
};

/** One generation of an administrator's Cedar policy; a null text is its removal. */
export type AccessPolicyRecord = {
  readonly name: string;
  /** From 1, without gaps. */
  readonly generation: number;
  readonly text: string | null;
  readonly author: ActorId;
  readonly reason: string | null;
  readonly createdAt: number;
};

export type AccessPolicyStore = {
  /** `current` is the generation that the writer read; null where it read that there is none. */
  put(
    policy: Omit<AccessPolicyRecord, 'generation'>,
    current: number | null,
  ): Promise<
    { readonly outcome: 'written'; readonly record: AccessPolicyRecord } | { readonly outcome: 'stale' }
  >;
  get(name: string): Promise<AccessPolicyRecord | null>;
  getGeneration(name: string, generation: number): Promise<AccessPolicyRecord | null>;
  /** All current ones that have a text, by name. */
  all(): Promise<readonly AccessPolicyRecord[]>;
  history(name: string, page: { before: number | null; limit: number }): Promise<Listed<AccessPolicyRecord>>;
};

export type ElevationState = 'requested' | 'active' | 'denied' | 'ended';

export type ElevationRecord = {
  readonly id: ElevationId;
  readonly user: ActorId;
  readonly role: string;
  readonly reason: string;
  readonly seconds: number;
  readonly state: ElevationState;
  readonly requestedAt: number;
  readonly decidedBy: ActorId | null;
  readonly decidedAt: number | null;
  /** Set once it is active. */
  readonly expiresAt: number | null;
};

export type ElevationStore = {
  /**
   * False, and nothing is made, where the user has one that is in force when this one is asked for, or that waits and was
   * asked for after `waitingSince`.
   */
  create(elevation: ElevationRecord, waitingSince: number): Promise<boolean>;
  get(id: ElevationId): Promise<ElevationRecord | null>;
  list(
    filter: { user?: ActorId | undefined; state?: ElevationState | undefined },
    page: Page,
  ): Promise<Listed<ElevationRecord>>;
  /** The one that works now, or null. */
  activeOf(user: ActorId, now: number): Promise<ElevationRecord | null>;
  /** Compare-and-swap: null where it is no longer in the state `from`. */
  move(
    id: ElevationId,
    from: ElevationState,
    to: Pick<ElevationRecord, 'state'> &
      Partial<Pick<ElevationRecord, 'decidedBy' | 'decidedAt' | 'expiresAt'>>,
  ): Promise<ElevationRecord | null>;
};

/** `access` signs access tokens, `authority` the certificates of agents. */
export type SigningKeyUse = 'access' | 'authority';

export type SigningKeyRecord = {
  readonly id: KeyId;
  readonly use: SigningKeyUse;
  /** A JWK, or the authority's certificate in PEM. */
  readonly public: string;
  readonly sealed: string;
  readonly createdAt: number;
  /** When it stops signing; null for the one that signs now. */
  readonly retiredAt: number | null;
  /** When nothing that it signed is taken any more. */
  readonly expiresAt: number | null;
};

export type SigningKeyStore = {
  /** Those that verify now, the newest first. */
  valid(use: SigningKeyUse, now: number): Promise<readonly SigningKeyRecord[]>;
  /** The first key of a use, unless another process made one meanwhile: what is there then is returned. */
  ensure(key: SigningKeyRecord): Promise<SigningKeyRecord>;
  /** `key` signs from now on; all others of its use verify until `overlapUntil`. */
  rotate(key: SigningKeyRecord, overlapUntil: number): Promise<void>;
};

/** One generation of a flag as an administrator set it. */
export type FlagRecord = {
  readonly name: string;
  /** JSON of `contract/flags.ts`. */
  readonly rule: string;
  readonly author: ActorId;
  readonly changedAt: number;
  readonly version: number;
};

export type FlagStore = {
  put(flag: Omit<FlagRecord, 'version'>, version: number | null): Promise<Swap<FlagRecord>>;
  list(): Promise<readonly FlagRecord[]>;
  remove(name: string): Promise<boolean>;
};

/** Failures counted in windows that all processes share. */
export type AttemptStore = {
  /** One more; how many there are now within the window that began with the first, and when it ends. */
  add(
    key: string,
    windowMs: number,
    now: number,
  ): Promise<{ readonly count: number; readonly endsAt: number }>;
  /** Adds to each in one step, in windows that all end at `endsAt`; what each comes to now. */
  addAll(
    counts: readonly { readonly key: string; readonly by: number }[],
    endsAt: number,
    now: number,
  ): Promise<readonly number[]>;
  count(key: string, now: number): Promise<{ readonly count: number; readonly endsAt: number }>;
  clear(key: string): Promise<void>;
  forgetBefore(time: number): Promise<void>;
};
