import type { AccessExplanationView, ExplainAccess } from '../contract/access-schemas.ts';
import type { FlagExplanation, FlagList, FlagView, PutFlag } from '../contract/flags-schemas.ts';
import type { LogRecord } from '../contract/log-record.ts';
import type { AnswerDevice, DeviceView, RotateToken, WhoamiView } from '../contract/oauth-schemas.ts';
import type {
  CreatedToken,
  CreateRun,
  CreateSession,
  CreateToken,
  EgressCountsView,
  EgressFlowView,
  EgressSimulationView,
  PolicySummaryView,
  PolicyView,
  PresetView,
  PutPolicy,
  ResumeRun,
  RunView,
  SessionView,
  SimulateEgress,
  TokenView,
  UploadView,
} from '../contract/schemas.ts';
import type { Actor } from '../model/actor.ts';
import type { RunId, SessionId, TokenId, UploadId } from '../model/ids.ts';
import type { AttachUseCases } from './attach/attach.ts';
import type { AuditEvidenceUseCases } from './audit/evidence.ts';
import type { AuditProofUseCases } from './audit/proofs.ts';
import type { AuditUseCases } from './audit/use-cases.ts';
import type { AuditSinkUseCases } from './audit-sinks.ts';
import type { AuditWitnessUseCases } from './audit-witnesses.ts';

import type { AccessPolicyUseCases } from './identity/access-policies.ts';
import type { AccountUseCases } from './identity/account.ts';
import type { AgentCredentialUseCases } from './identity/agent-credentials.ts';
import type { AgentUseCases } from './identity/agents.ts';
import type { AuthorityUseCases } from './identity/authority.ts';
import type { ElevationUseCases } from './identity/elevations.ts';
import type { InvitationUseCases } from './identity/invitations.ts';
import type { KeyUseCases } from './identity/keys.ts';
import type { OAuth } from './identity/oauth.ts';
import type { OwnTokens } from './identity/own-tokens.ts';
import type { PasswordResetUseCases } from './identity/password-resets.ts';
import type { ProviderSignInUseCases } from './identity/provider-sign-ins.ts';
import type { RoleUseCases } from './identity/roles.ts';
import type { SignInUseCases } from './identity/sign-in.ts';
import type { StepUpUseCases } from './identity/step-up.ts';
import type { TeamUseCases } from './identity/teams.ts';
import type { UserIdentityUseCases } from './identity/user-identities.ts';
import type { UserUseCases } from './identity/users.ts';

/** Who asks, and through which request; every use case takes one. */
export type Caller = {
  readonly actor: Actor;
  readonly request: {
    readonly id: string;
    readonly address: string | null;
    readonly userAgent: string | null;
  };
};

/** What a caller presents to prove who it is; untrusted text. `certificate` is a fingerprint that TLS vouches for. */
export type Presented =
  | { readonly bearer: string }
  | { readonly cookie: string }
  | { readonly certificate: string };

/** `version` makes the ETag; it grows with every change. */
export type Versioned<T> = { readonly view: T; readonly version: number };
export type Page<T> = { readonly items: readonly T[]; readonly nextCursor: string | null };
export type PageRequest = { readonly cursor?: string | undefined; readonly limit?: number | undefined };

/** Creation with a key: the same key and request answer with the resource that the first one made. */
export type Creation<T> = { readonly request: T; readonly idempotencyKey: string | null };

/** Log records, pulled; memory stays bounded however slow the puller is. `cancel` frees the runner's side. */
export type LogReader = AsyncIterable<LogRecord> & { cancel(): void };

/** Flows, pulled; what is not pulled yet is not in memory. `cancel` ends the reading. */
export type FlowReader = AsyncIterable<EgressFlowView> & { cancel(): void };

/** Events of the audit log, as they are recorded. */
export type { EventReader } from './audit/tail.ts';

export type FlowQuery = {
  /** The id of the last flow seen. */
  readonly after?: number | undefined;
  readonly verdict?: 'allowed' | 'denied' | undefined;
  readonly host?: string | undefined;
};

/** A finished artifact's bytes, pulled. */
export type ByteReader = AsyncIterable<Buffer> & {
  readonly bytes: number;
  readonly mediaType: string;
  cancel(): void;
};

export type Readiness = {
  readonly ready: boolean;
  readonly checks: Readonly<
    Record<
      'store' | 'audit' | 'access' | 'runner' | 'flags' | 'witnesses',
      { readonly ok: boolean; readonly detail?: string }
    >
  >;
};

/**
 * The use cases. Each decides through the gate, records, then acts; each throws Fault, with `resource.absent`
 * for what the caller may not see. Nothing here knows HTTP.
 */
export type Control = {
  readonly sessions: {
    create(caller: Caller, creation: Creation<CreateSession>): Promise<Versioned<SessionView>>;
    list(
      caller: Caller,
      query: PageRequest & { phase?: SessionView['phase'] | undefined; name?: string | undefined },
    ): Promise<Page<SessionView>>;
    get(caller: Caller, id: SessionId): Promise<Versioned<SessionView>>;
    /** `ifMatch` is the version the caller read. */
    rename(caller: Caller, id: SessionId, name: string, ifMatch: number): Promise<Versioned<SessionView>>;
    /** Stops the session's runs, removes its workspace and closes it. */
    close(caller: Caller, id: SessionId): Promise<void>;
  };
  readonly runs: {
    create(caller: Caller, creation: Creation<CreateRun>): Promise<Versioned<RunView>>;
    list(
      caller: Caller,
      query: PageRequest & {
        session?: SessionId | undefined;
        phase?: RunView['phase'] | undefined;
        name?: string | undefined;
      },
    ): Promise<Page<RunView>>;
    get(caller: Caller, id: RunId): Promise<Versioned<RunView>>;
    rename(caller: Caller, id: RunId, name: string, ifMatch: number): Promise<Versioned<RunView>>;
    /** Removes a finished run's files and hides its record; 409 while it is live. */
    remove(caller: Caller, id: RunId): Promise<void>;
    /** Containment: works while the audit log cannot be written. Stopping a finished run changes nothing. */
    stop(caller: Caller, id: RunId): Promise<RunView>;
    resume(caller: Caller, id: RunId, creation: Creation<ResumeRun>): Promise<Versioned<RunView>>;
    /** From `offset` on; with `follow` until the run has ended. Waits for a queued run. */
    logs(caller: Caller, id: RunId, options: { offset: number; follow: boolean }): Promise<LogReader>;
    artifact(caller: Caller, id: RunId, name: string): Promise<ByteReader>;
    /** Resolves with the run once it has finished. */
    finished(caller: Caller, id: RunId, signal: AbortSignal): Promise<RunView>;
    /**
     * Decides again, and records only a denial, what a stream about the run was let in for. Throws like the reading
     * itself where the caller may no longer.
     */
    mayStill(
      caller: Caller,
      id: RunId,
      action: 'run.read' | 'run.logs' | 'run.egress' | 'run.artifact' | 'run.recording',
    ): Promise<void>;
    /** Progress of a start, newest last; for people watching. */
    steps(caller: Caller, id: RunId): Promise<readonly { step: string; at: number }[]>;
    /** What it reached for, in the order of the verdicts; `after` is the id of the last flow seen. */
    egress(
      caller: Caller,
      id: RunId,
      query: PageRequest & FlowQuery,
    ): Promise<Page<EgressFlowView> & { readonly counts: EgressCountsView }>;
    /** The same as they are recorded, past `after`, until the run has ended. */
    flows(caller: Caller, id: RunId, query: FlowQuery): Promise<FlowReader>;
  };
  /**
   * Names are the cluster's. A policy of no team is read by whoever holds the scope, one of a team by its members;
   * each is changed by its owner, by members of its team and by whoever reaches everything.
   */
  readonly policies: {
    /**
     * A new generation, told to the live runs that name it. `ifMatch` is the generation that the caller read; null
     * makes a policy that is not there, and throws `precondition.required` where it is, `state.conflict` where the
     * caller may not see it.
     */
    put(
      caller: Caller,
      name: string,
      request: PutPolicy,
      ifMatch: number | null,
    ): Promise<Versioned<PolicyView>>;
    /** The policy as it is, or one generation of it that had a document. */
    get(caller: Caller, name: string, generation?: number): Promise<Versioned<PolicyView>>;
    list(caller: Caller, query: PageRequest): Promise<Page<PolicySummaryView>>;
    /** Its history stays. Live runs that name it lose its rules. */
    remove(caller: Caller, name: string): Promise<void>;
    /** Newest first, of removed policies too. */
    history(caller: Caller, name: string, query: PageRequest): Promise<Page<PolicySummaryView>>;
    presets(caller: Caller): Promise<readonly PresetView[]>;
    /** What it would say to the recorded flows that the caller may see. One at a time; it ends early with the signal. */
    simulate(caller: Caller, request: SimulateEgress, signal: AbortSignal): Promise<EgressSimulationView>;
  };
  readonly attach: AttachUseCases;
  readonly uploads: {
    /** Streams to the runner; nothing is kept when the stream fails. The bytes are untrusted and unparsed. */
    store(caller: Caller, bytes: AsyncIterable<Buffer>): Promise<UploadView>;
    /** Decides again, for one whose bytes still come, whether it may; throws where it may not. */
    mayStill(caller: Caller): Promise<void>;
    remove(caller: Caller, id: UploadId): Promise<void>;
  };
  readonly tokens: {
    create(caller: Caller, creation: Creation<CreateToken>): Promise<CreatedToken>;
    list(caller: Caller, query: PageRequest): Promise<Page<TokenView>>;
    revoke(caller: Caller, id: TokenId): Promise<void>;
    /** Another secret in its place, for whoever could make such a token; the old one ends at once or after an overlap. */
    rotate(caller: Caller, id: TokenId, request: RotateToken): Promise<CreatedToken>;
  };
  readonly ownTokens: OwnTokens;
  /** The authorization server, which speaks with callers who are not signed in yet. */
  readonly oauth: OAuth;
  /** Devices that wait for a person to let them in. Wrong codes are counted, and refused past a limit. */
  readonly devices: {
    find(caller: Caller, userCode: string): Promise<DeviceView>;
    answer(caller: Caller, request: AnswerDevice): Promise<void>;
  };
  /** A program whose authorization request the person has looked at. */
  readonly programs: {
    answer(
      caller: Caller,
      answered: { query: ReadonlyMap<string, string>; decision: 'approve' | 'deny' },
    ): Promise<{ readonly location: string }>;
  };
  readonly keys: KeyUseCases;
  /** Who the caller is; anybody may ask. */
  whoami(caller: Caller): Promise<WhoamiView>;
  readonly flags: {
    list(caller: Caller): Promise<FlagList>;
    /** The version is that of what was set over the API, 0 where nothing was. */
    get(caller: Caller, name: string): Promise<Versioned<FlagView>>;
    /** Sets it over the API; a file that names it wins. `ifMatch` is the version that the caller read, null for 0. */
    put(caller: Caller, name: string, request: PutFlag, ifMatch: number | null): Promise<Versioned<FlagView>>;
    /** Unsets it: it is off where the file does not name it. */
    remove(caller: Caller, name: string): Promise<void>;
    explain(caller: Caller, name: string, actor: string): Promise<FlagExplanation>;
  };
  readonly signIn: SignInUseCases;
  readonly providers: ProviderSignInUseCases;
  readonly stepUp: StepUpUseCases;
  readonly account: AccountUseCases;
  readonly users: UserUseCases;
  readonly userIdentities: UserIdentityUseCases;
  readonly invitations: InvitationUseCases;
  readonly passwordResets: PasswordResetUseCases;
  readonly roles: RoleUseCases;
  readonly teams: TeamUseCases;
  readonly accessPolicies: AccessPolicyUseCases;
  readonly elevations: ElevationUseCases;
  /** Why somebody may do something, or may not. */
  explainAccess(caller: Caller, request: ExplainAccess): Promise<AccessExplanationView>;
  readonly agents: AgentUseCases;
  readonly agentCredentials: AgentCredentialUseCases;
  readonly authority: AuthorityUseCases;
  readonly auditSinks: AuditSinkUseCases;
  readonly auditWitnesses: AuditWitnessUseCases;
  readonly audit: AuditUseCases;
  readonly auditProofs: AuditProofUseCases;
  readonly auditEvidence: AuditEvidenceUseCases;
  /** The actor that a credential proves, or null. Records a failed attempt. */
  authenticate(presented: Presented, request: Caller['request']): Promise<Actor | null>;
  /** The same caller as it is now, with no more rights than it had; null where its credential has ended. */
  renew(caller: Caller): Promise<Caller | null>;
  /** Called after every change that may take a right away, whoever made it. */
  onIdentityChange(listener: () => void): () => void;
  readiness(): Promise<Readiness>;
  /** Prometheus gauges that only control knows; needs `cluster:read`. */
  metrics(caller: Caller): Promise<string>;
  close(): Promise<void>;
};
