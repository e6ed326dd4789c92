import type { PolicyDocument } from '../contract/policy.ts';
import type { ArtifactInfo, RepoSource } from '../contract/runner.ts';
import type { RunTerminal } from '../contract/runner-terminals.ts';
import type { ActorId, Reach } from '../model/actor.ts';
import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import type { RunId, SessionId, TokenId, UploadId } from '../model/ids.ts';
import type { HeldBy, RunLimits, Usage } from '../model/limits.ts';
import type { RunChange, RunPhase, RunState } from '../model/run.ts';
import type { GrantableScope } from '../model/scopes.ts';
import type { SessionPhase } from '../model/session.ts';
import type { AttachSettings } from '../model/terminal.ts';
import type { IdentityStore } from './identity-store.ts';

/** What somebody may find: its own and what its teams share. */
export type Within = { readonly owner: ActorId; readonly teams: readonly string[] };

/** In place of the team of a policy whose team was removed: no team has this name, so it is its owner's alone. */
export const ownerAlone = '-';

/**
 * What control remembers. Every method that writes is one transaction and durable when it resolves. Phases
 * change only through the state machines of `model`; a change that they refuse is not written.
 *
 * All throw Fault `store.unavailable` or `storage.full`; what was asked is then not done. Times are
 * milliseconds since the epoch.
 */
export type Store = {
  readonly sessions: SessionStore;
  readonly runs: RunStore;
  readonly uploads: UploadStore;
  readonly tokens: TokenStore;
  readonly policies: PolicyStore;
  readonly flows: FlowStore;
  readonly identity: IdentityStore;
  readonly idempotency: {
    find(claim: Claim): Promise<ClaimFound>;
    /** Forgets claims made before `time`; a key may then be used anew. */
    forgetBefore(time: number): Promise<void>;
  };
  /** Rejects where the store can neither be read nor written. */
  check(): Promise<void>;
  close(): Promise<void>;
};

export type SessionRecord = {
  readonly id: SessionId;
  readonly name: string | null;
  readonly phase: SessionPhase;
  readonly owner: ActorId;
  /** Whose members see and use it too; null for its owner alone. */
  readonly team: string | null;
  readonly repo: RepoSource | null;
  /** What its runs may reach that do not say it themselves. */
  readonly egress: AskedEgress;
  /** Whether and how people attach to the terminals of its runs. */
  readonly attach: AttachSettings;
  readonly createdAt: number;
  readonly closedAt: number | null;
  readonly liveRuns: number;
  readonly version: number;
};

/** What was asked for and never changes. Values of the environment are kept apart, see `RunStore.envOf`. */
export type StoredSpec = {
  readonly command: readonly string[];
  readonly envNames: readonly string[];
  readonly cwd: string | null;
  readonly limits: RunLimits;
  readonly strict: boolean;
  readonly diff: boolean;
};

/** What may be reached, as it was asked for: names of presets and stored policies in order, or `full` alone. */
export type AskedEgress = {
  readonly names: readonly string[];
  /** Why `full` was asked for; null for everything else. */
  readonly reason: string | null;
};

export type RunEgress = AskedEgress & {
  /** The generation of the compiled policy, from 1; grows with every change of a policy that a live run names. */
  readonly generation: number;
};

export type RunRecord = {
  readonly id: RunId;
  readonly session: SessionId;
  readonly parent: RunId | null;
  readonly name: string | null;
  readonly owner: ActorId;
  /** Its session's. */
  readonly team: string | null;
  readonly spec: StoredSpec;
  readonly egress: RunEgress;
  /** The terminal of its command, as large as that began; null where it has pipes. */
  readonly terminal: RunTerminal | null;
  readonly priority: number;
  readonly state: RunState;
  /** Set when somebody asked for the end of a live run; the order is given again until the run has ended. */
  readonly stopRequestedAt: number | null;
  readonly heldBy: HeldBy | null;
  readonly usage: Usage | null;
  readonly artifacts: readonly ArtifactInfo[];
  readonly filesExpired: boolean;
  readonly version: number;
};

export type UploadRecord = {
  readonly id: UploadId;
  readonly owner: ActorId;
  readonly createdAt: number;
  /** Null while the bytes are still arriving. */
  readonly stored: { readonly bytes: number; readonly sha256: string } | null;
  /** The session whose workspace is made from it. */
  readonly session: SessionId | null;
};

export type TokenRecord = {
  readonly id: TokenId;
  readonly name: string;
  readonly actor: ActorId;
  readonly scopes: readonly GrantableScope[];
  readonly reach: Reach;
  /** SHA-256 of the secret, hex. */
  readonly hash: string;
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly lastUsedAt: number | null;
};

/** One generation of a policy; a null document is its removal. */
export type PolicyRecord = {
  readonly name: string;
  /** From 1, without gaps; a policy that is made again after its removal goes on counting. */
  readonly generation: number;
  readonly document: PolicyDocument | null;
  /** Who made the first generation. */
  readonly owner: ActorId;
  /** Whose members see and use it; null for everybody who may read policies, `ownerAlone` for its owner. */
  readonly team: string | null;
  readonly author: ActorId;
  readonly reason: string | null;
  readonly createdAt: number;
};

/** A policy as it is now. */
export type CurrentPolicy = PolicyRecord & { readonly document: PolicyDocument };

/** One generation without its document, which may be large. */
export type PolicySummary = Omit<PolicyRecord, 'document'> & { readonly removed: boolean };

/** A verdict as it was told, and how the flow ended once that is known. */
export type FlowRecord = EgressFlow & { readonly end: Omit<EgressFlowEnd, 'id' | 'run'> | null };

/** A caller's idempotency key. `digest` stands for the request; `resource` is what it made. */
export type Claim = { readonly actor: ActorId; readonly key: string; readonly digest: string };
export type ClaimFound =
  | { readonly outcome: 'free' }
  | { readonly outcome: 'replayed'; readonly resource: string }
  | { readonly outcome: 'claimed-otherwise' };

/** `replayed` names the resource that the same key and request made before; nothing is written then. */
export type Creation<T, Refused extends string = never> =
  | { readonly outcome: 'created'; readonly record: T }
  | Exclude<ClaimFound, { outcome: 'free' }>
  | (Refused extends string ? { readonly outcome: Refused } : never);

export type After = { readonly createdAt: number; readonly id: string };
/** Newest first; `after` is the last record of the page before. `limit` is at most `pageRecordsMax`. */
export type Page = { readonly after: After | null; readonly limit: number };
export type Listed<T> = { readonly records: readonly T[]; readonly more: boolean };

/** Compare-and-swap: `stale` where the version is another by now. */
export type Swap<T> =
  | { readonly outcome: 'written'; readonly record: T }
  | { readonly outcome: 'stale' | 'absent' };

export type SessionStore = {
  /**
   * `upload` where the upload is absent, another's, unfinished or used; it belongs to the session afterwards. `team`
   * where there is no such team.
   */
  create(
    session: Omit<SessionRecord, 'liveRuns' | 'version'>,
    options: { claim: Claim | null; openPerOwnerMax: number },
  ): Promise<Creation<SessionRecord, 'quota' | 'upload' | 'team'>>;
  get(id: SessionId): Promise<SessionRecord | null>;
  list(
    filter: { within?: Within | undefined; phase?: SessionPhase | undefined; name?: string | undefined },
    page: Page,
  ): Promise<Listed<SessionRecord>>;
  rename(id: SessionId, name: string, version: number): Promise<Swap<SessionRecord>>;
  /** Whatever its phase; null where it is absent. */
  setAttach(id: SessionId, attach: AttachSettings): Promise<SessionRecord | null>;
  /**
   * Ends an open session and cancels its queued runs, which are returned, in one commit. Null where the
   * session is not open.
   */
  terminate(id: SessionId, at: number, reason: string): Promise<readonly RunRecord[] | null>;
  /**
   * Ends at most `max` open sessions that have no name, no live run, and neither were made nor had a run's end at
   * `before` or later. Nobody can find them by a name, so nobody waits for them.
   */
  terminateIdle(before: number, max: number): Promise<readonly Pick<SessionRecord, 'id' | 'owner'>[]>;
  /** False where the session is not terminating or has live runs. */
  close(id: SessionId, at: number): Promise<boolean>;
  /** Sessions that are terminating, oldest first. */
  terminating(): Promise<readonly SessionRecord[]>;
  countByPhase(): Promise<Readonly<Partial<Record<SessionPhase, number>>>>;
};

export type RunWrite = {
  readonly run: RunId;
  /** The changes from the state that the store holds; none leaves the state as it is. */
  readonly changes: (state: RunState) => readonly RunChange[];
  readonly heldBy?: HeldBy | null;
  readonly usage?: Usage | null;
  readonly artifacts?: readonly ArtifactInfo[];
};

/** `refused` is an illegal transition: nothing of this write happened. */
export type RunWritten =
  | { readonly outcome: 'written'; readonly record: RunRecord }
  | { readonly outcome: 'refused' | 'absent' };

export type RunStore = {
  /**
   * The state is `queued` or, where a slot is free, already `starting`: one commit either way. `closed` where
   * the session takes no runs any more.
   */
  create(
    run: Omit<
      RunRecord,
      'team' | 'version' | 'stopRequestedAt' | 'heldBy' | 'usage' | 'artifacts' | 'filesExpired'
    >,
    options: { env: Readonly<Record<string, string>>; claim: Claim | null; livePerOwnerMax: number },
  ): Promise<Creation<RunRecord, 'quota' | 'closed'>>;
  /** Null for absent and removed runs. */
  get(id: RunId): Promise<RunRecord | null>;
  list(
    filter: {
      within?: Within | undefined;
      session?: SessionId | undefined;
      phase?: RunPhase | undefined;
      name?: string | undefined;
    },
    page: Page,
  ): Promise<Listed<RunRecord>>;
  /** Values of the environment, kept until the run has started; null afterwards. Secret. */
  envOf(id: RunId): Promise<Readonly<Record<string, string>> | null>;
  /** All writes in one commit, answered in order. The first `running` of a session makes it active. */
  write(writes: readonly RunWrite[]): Promise<readonly RunWritten[]>;
  rename(id: RunId, name: string, version: number): Promise<Swap<RunRecord>>;
  /** Remembers that a live run is to end. */
  requestStop(id: RunId, at: number): Promise<void>;
  /** Hides a finished run for good; false where it is live or absent. */
  remove(id: RunId, at: number): Promise<boolean>;
  /** Every run that has not finished, oldest first. */
  live(): Promise<readonly RunRecord[]>;
  liveOf(session: SessionId): Promise<readonly RunRecord[]>;
  /** Finished runs whose files are still there and that ended before `time`, oldest first. */
  finishedBefore(time: number, limit: number): Promise<readonly RunId[]>;
  markFilesExpired(runs: readonly RunId[]): Promise<void>;
  countByPhase(): Promise<Readonly<Partial<Record<RunPhase, number>>>>;
};

export type UploadStore = {
  /** Before the first byte arrives, so that an upload that was cut off can be found and removed. */
  begin(upload: { id: UploadId; owner: ActorId; createdAt: number }): Promise<void>;
  /** `createdAt` becomes `at`: an upload's time begins once it can be used. */
  finish(id: UploadId, at: number, stored: { bytes: number; sha256: string }): Promise<UploadRecord | null>;
  get(id: UploadId): Promise<UploadRecord | null>;
  /** False where it is absent or a session that is not closed was made from it. */
  remove(id: UploadId): Promise<boolean>;
  /** Uploads from before `time` that no open session uses. */
  unusedBefore(time: number, limit: number): Promise<readonly UploadRecord[]>;
};

export type TokenStore = {
  create(token: Omit<TokenRecord, 'lastUsedAt'>, claim: Claim | null): Promise<Creation<TokenRecord>>;
  get(id: TokenId): Promise<TokenRecord | null>;
  byHash(hash: string): Promise<TokenRecord | null>;
  list(filter: { actor?: ActorId | undefined }, page: Page): Promise<Listed<TokenRecord>>;
  /** The token never verifies again. Null where it is absent or revoked already. */
  revoke(id: TokenId, at: number): Promise<TokenRecord | null>;
  /**
   * Puts `next` in the place of a token, which ends at `endsAt` if not before, in one commit. Where that is no later
   * than `next` was made, the old one is revoked. Null where it is absent or revoked already.
   */
  rotate(id: TokenId, next: Omit<TokenRecord, 'lastUsedAt'>, endsAt: number): Promise<TokenRecord | null>;
  touch(id: TokenId, at: number): Promise<void>;
  /** When the last token that holds the scope expires; null where none does after `now`. */
  lastExpiryOf(scope: GrantableScope, now: number): Promise<number | null>;
};

/** The generation of the compiled policy of each live run that names a changed policy. */
export type Affected = readonly { readonly run: RunId; readonly generation: number }[];

export type PolicyStore = {
  /**
   * Adds a generation, and one to the compiled policy of every live run that names it, in one commit. `current`
   * is the generation that the writer read; null where it read that there is no such policy. A team that is
   * undefined stays as it was; `team` where there is no such team. The owner of a name stays, its removal too.
   */
  put(
    policy: Omit<CurrentPolicy, 'generation' | 'owner' | 'team'> & {
      readonly team: string | null | undefined;
    },
    current: number | null,
  ): Promise<
    | { readonly outcome: 'written'; readonly record: CurrentPolicy; readonly affected: Affected }
    | { readonly outcome: 'stale' }
    | { readonly outcome: 'team' }
  >;
  /** Adds a generation without a document; `absent` where there is no such policy. */
  remove(
    policy: Omit<PolicyRecord, 'generation' | 'document' | 'owner' | 'team'>,
  ): Promise<
    | { readonly outcome: 'written'; readonly record: PolicyRecord; readonly affected: Affected }
    | { readonly outcome: 'absent' }
  >;
  /** Null for absent and removed policies. */
  get(name: string): Promise<CurrentPolicy | null>;
  /** The last generation, which may be its removal; null where the name was never used. */
  newest(name: string): Promise<PolicyRecord | null>;
  /** Null where the name never had such a generation. */
  getGeneration(name: string, generation: number): Promise<PolicyRecord | null>;
  /** The current ones of these names, in no order. */
  getAll(names: readonly string[]): Promise<readonly CurrentPolicy[]>;
  /** Current ones, by name; those that everybody sees are within everybody's reach. */
  list(
    filter: { within?: Within | undefined },
    page: { after: string | null; limit: number },
  ): Promise<Listed<PolicySummary>>;
  /** Whether a name of a policy is this actor's, also where the policy was removed. */
  isOwner(actor: ActorId): Promise<boolean>;
  /** Newest first; `before` is the last generation of the page before. */
  history(name: string, page: { before: number | null; limit: number }): Promise<Listed<PolicySummary>>;
};

export type FlowCounts = {
  /** Flows, with those that one record stands for. */
  readonly allowed: number;
  readonly denied: number;
  readonly bytesOut: number;
  readonly bytesIn: number;
};

export type FlowStore = {
  /** One commit. A flow that is there already stays as it is, and so does an end; an end of no flow is dropped. */
  record(flows: readonly EgressFlow[], ends: readonly EgressFlowEnd[]): Promise<void>;
  /** Which of these flows of a run are there. */
  known(run: RunId, ids: readonly number[]): Promise<ReadonlySet<number>>;
  /** In the order of the verdicts; `after` is the id of the last flow of the page before. */
  list(
    run: RunId,
    filter: { verdict?: EgressFlow['verdict'] | undefined; host?: string | undefined },
    page: { after: number | null; limit: number },
  ): Promise<Listed<FlowRecord>>;
  /** The last verdict first; `before` is the id of the last flow of the page before. */
  newest(run: RunId, page: { before: number | null; limit: number }): Promise<Listed<FlowRecord>>;
  /**
   * Finished runs that keep their files, and so their flows, and that ended at `since` or later: the last end first.
   * `after` is the last run of the page before.
   */
  runsSince(
    since: number,
    filter: { within?: Within | undefined; session?: SessionId | undefined },
    page: { after: EndedRun | null; limit: number },
  ): Promise<Listed<EndedRun>>;
  countsOf(run: RunId): Promise<FlowCounts>;
  /** Removes at most `max` flows of a run; true where there may be more. */
  remove(run: RunId, max: number): Promise<boolean>;
};

export type EndedRun = Pick<RunRecord, 'id' | 'session' | 'owner' | 'team'> & {
  readonly endedAt: number;
  readonly hasFlows: boolean;
};
