import type {
  AddKey,
  AddSecret,
  AgentCredentialView,
  AgentView,
  AuthorityCertificateView,
  AuthorityView,
  CreateAgent,
  CreatedSecret,
  IssueCertificate,
  IssuedCertificateView,
  RotateAuthority,
  UpdateAgent,
} from '../contract/agents-schemas.ts';
import type {
  AuditKeyView,
  AuditStreamView,
  ConsistencyProofView,
  InclusionProofView,
} from '../contract/audit-proof-schemas.ts';
import type { FlagExplanation, FlagList, FlagView, PutFlag } from '../contract/flags-schemas.ts';
import type {
  CreateOwnToken,
  RotateKeys,
  RotateToken,
  SigningKeyView,
  WhoamiView,
} from '../contract/oauth-schemas.ts';
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
import type { RedeliveredView, SinkStatusList } from '../contract/sinks.ts';
import type { WitnessStatusList } from '../contract/witnesses.ts';
import { type AccessCalls, accessCalls } from './access-calls.ts';
import { type AttachCalls, attachCalls } from './attach/attach-calls.ts';
import { type AuditCalls, auditCalls } from './audit-calls.ts';
import { Connection, type TokenSource, textOf } from './connection.ts';
import { type Fetch, fetchTransport } from './fetch-transport.ts';
import { type FlowEvent, type FlowOptions, followFlows } from './flow-events.ts';
import { followEvents, type LogEvent, type LogOptions } from './log-events.ts';
import { nodeTransport } from './node-transport.ts';
import { type InvitationCalls, invitationCalls, type UserCalls, userCalls } from './people-calls.ts';
import { allOf, download, part, patchVersion, putVersion, queryText, rename } from './requests.ts';

export type Page<T> = { readonly items: readonly T[]; readonly nextCursor: string | null };
export type Query = Readonly<Record<string, string | number | undefined>>;
export type Made = {
  readonly idempotencyKey?: string | undefined;
  readonly signal?: AbortSignal | undefined;
};
export type Download = {
  readonly mediaType: string;
  readonly bytes: number | null;
  readonly body: AsyncIterable<Uint8Array>;
};
export type Readiness = {
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, { readonly ok: boolean; readonly detail?: string | undefined }>>;
};

/** One method a route. Every one rejects with ApiError. */
export type Client = AccessCalls & {
  readonly sessions: {
    create(request: CreateSession, made?: Made): Promise<SessionView>;
    list(query?: Query): Promise<Page<SessionView>>;
    all(query?: Query): AsyncGenerator<SessionView, void, undefined>;
    get(id: string): Promise<SessionView>;
    /** Whatever the name was before: a change by others meanwhile is read again. */
    rename(id: string, name: string): Promise<SessionView>;
    close(id: string): Promise<void>;
  };
  readonly runs: {
    create(request: CreateRun, made?: Made): Promise<RunView>;
    list(query?: Query): Promise<Page<RunView>>;
    all(query?: Query): AsyncGenerator<RunView, void, undefined>;
    get(id: string): Promise<RunView>;
    rename(id: string, name: string): Promise<RunView>;
    stop(id: string): Promise<RunView>;
    resume(id: string, request?: ResumeRun, made?: Made): Promise<RunView>;
    remove(id: string): Promise<void>;
    /** The run once it has finished, or as it is after `timeoutSeconds`. */
    wait(id: string, options?: { timeoutSeconds?: number; signal?: AbortSignal }): Promise<RunView>;
    logs(id: string, options?: LogOptions): AsyncGenerator<LogEvent, void, undefined>;
    artifact(id: string, name: string): Promise<Download>;
    diff(id: string): Promise<Download>;
    /** Oldest first. Hosts, addresses, methods and paths in it are untrusted text. */
    egress(id: string, query?: Query): Promise<Page<EgressFlowView> & { readonly counts: EgressCountsView }>;
    /** The same as they are recorded, and the run's end. Resumes what is cut off. */
    flows(id: string, options?: FlowOptions): AsyncGenerator<FlowEvent, void, undefined>;
  };
  readonly uploads: {
    /** Streams; an abort or a failing source leaves nothing at the server. */
    store(bytes: AsyncIterable<Uint8Array>, options?: { signal?: AbortSignal }): Promise<UploadView>;
    remove(id: string): Promise<void>;
  };
  readonly tokens: {
    create(request: CreateToken, made?: Made): Promise<CreatedToken>;
    list(query?: Query): Promise<Page<TokenView>>;
    all(query?: Query): AsyncGenerator<TokenView, void, undefined>;
    revoke(id: string): Promise<void>;
    /** Another secret in its place; the old one ends at once, or after `overlapSeconds`. */
    rotate(id: string, request?: RotateToken): Promise<CreatedToken>;
  };
  readonly account: AccountCalls;
  readonly keys: {
    list(): Promise<Page<SigningKeyView>>;
    rotate(request?: RotateKeys): Promise<SigningKeyView>;
  };
  whoami(): Promise<WhoamiView>;
  readonly policies: {
    /** Made or replaced, whatever it was before: a change by others meanwhile is read again. */
    put(name: string, request: PutPolicy): Promise<PolicyView>;
    get(name: string, query?: Query): Promise<PolicyView>;
    list(query?: Query): Promise<Page<PolicySummaryView>>;
    all(query?: Query): AsyncGenerator<PolicySummaryView, void, undefined>;
    history(name: string, query?: Query): Promise<Page<PolicySummaryView>>;
    remove(name: string): Promise<void>;
    presets(): Promise<Page<PresetView>>;
    /** Hosts, addresses, methods and paths in the answer are untrusted text. */
    simulate(request: SimulateEgress): Promise<EgressSimulationView>;
  };
  readonly flags: {
    list(): Promise<FlagList>;
    get(name: string): Promise<FlagView>;
    /** Set, whatever it was before: a change by others meanwhile is read again. */
    put(name: string, request: PutFlag): Promise<FlagView>;
    remove(name: string): Promise<void>;
    explain(name: string, query: { actor: string }): Promise<FlagExplanation>;
  };
  readonly users: UserCalls;
  readonly invitations: InvitationCalls;
  readonly agents: {
    create(request: CreateAgent): Promise<AgentView>;
    list(query?: Query): Promise<Page<AgentView>>;
    all(query?: Query): AsyncGenerator<AgentView, void, undefined>;
    get(id: string): Promise<AgentView>;
    /** Whatever it was before: a change by others meanwhile is read again. */
    update(id: string, change: UpdateAgent): Promise<AgentView>;
    disable(id: string): Promise<AgentView>;
    enable(id: string): Promise<AgentView>;
    remove(id: string): Promise<void>;
    credentials(id: string): Promise<Page<AgentCredentialView>>;
    addSecret(id: string, request: AddSecret): Promise<CreatedSecret>;
    addKey(id: string, request: AddKey): Promise<AgentCredentialView>;
    issueCertificate(id: string, request: IssueCertificate): Promise<IssuedCertificateView>;
    revokeCredential(id: string, credential: string): Promise<void>;
  };
  readonly authority: {
    get(): Promise<AuthorityView>;
    rotate(request?: RotateAuthority): Promise<AuthorityCertificateView>;
  };
  readonly auditSinks: {
    list(): Promise<SinkStatusList>;
    redeliver(name: string): Promise<RedeliveredView>;
  };
  readonly auditWitnesses: { list(): Promise<WitnessStatusList> };
  readonly attach: AttachCalls;
  readonly audit: AuditCalls;
  readonly auditProofs: AuditProofCalls;
  health(): Promise<{ readonly status: string; readonly version: string }>;
  /** Answers for a server that is not ready, too. */
  readiness(): Promise<Readiness>;
  /** Ends idle connections, so that a program can end. */
  close(): void;
};

/** What the record is checked by. */
type AuditProofCalls = {
  streams(): Promise<{ readonly items: readonly AuditStreamView[] }>;
  /** Signed notes, an empty line between two: of every stream, or of the one that is named. */
  checkpoints(stream?: string): Promise<string>;
  inclusion(stream: string, query: { seq: number; size?: number }): Promise<InclusionProofView>;
  consistency(stream: string, query: { first: number; size?: number }): Promise<ConsistencyProofView>;
  rotateKey(): Promise<AuditKeyView>;
};

/** What is the caller's own, whatever its scopes. */
type AccountCalls = {
  readonly tokens: {
    create(request: CreateOwnToken, made?: Made): Promise<CreatedToken>;
    list(query?: Query): Promise<Page<TokenView>>;
    revoke(id: string): Promise<void>;
    rotate(id: string, request?: RotateToken): Promise<CreatedToken>;
  };
};

export type ClientOptions = {
  /** `http:` or `https:`; a path is put before every route's. */
  readonly url: string;
  /** Sent as a bearer token. Not needed on the machine's own socket. */
  readonly token?: string | TokenSource | undefined;
  /** Certificates in PEM that the server's may be issued by, besides those that Node knows. */
  readonly authorities?: string | undefined;
  /** A Unix socket to use in place of the URL's host. */
  readonly socketPath?: string | undefined;
  /** Used in place of node:http; for browsers and tests. */
  readonly fetch?: Fetch | undefined;
};

/** A client; nothing is sent before the first call. Throws TypeError on a URL that is none. */
export function createClient(options: ClientOptions): Client {
  const url = new URL(options.url);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new TypeError('the URL is not http or https');
  const { fetch, socketPath, authorities } = options;
  const transport =
    fetch === undefined ? nodeTransport({ url, socketPath, authorities }) : fetchTransport({ url, fetch });
  const connection = new Connection(transport, options.token ?? null);
  return {
    sessions: sessionCalls(connection),
    runs: runCalls(connection),
    uploads: {
      store: (bytes, { signal } = {}) =>
        connection.json('POST', '/api/v1/uploads', {
          stream: bytes,
          mediaType: 'application/x-git-bundle',
          signal,
        }),
      remove: async (id) => connection.empty('DELETE', `/api/v1/uploads/${part(id)}`),
    },
    tokens: {
      create: (request, made) => connection.json('POST', '/api/v1/tokens', { body: request, ...made }),
      list: (query) => connection.json('GET', `/api/v1/tokens${queryText(query)}`),
      all: (query) => allOf(connection, '/api/v1/tokens', query),
      revoke: async (id) => connection.empty('DELETE', `/api/v1/tokens/${part(id)}`),
      rotate: async (id, request = {}) =>
        connection.json('POST', `/api/v1/tokens/${part(id)}/rotate`, { body: request }),
    },
    account: accountCalls(connection),
    keys: {
      list: async () => ({ ...(await connection.json('GET', '/api/v1/keys')), nextCursor: null }),
      rotate: (request = {}) => connection.json('POST', '/api/v1/keys/rotate', { body: request }),
    },
    whoami: () => connection.json('GET', '/api/v1/whoami'),
    policies: policyCalls(connection),
    flags: flagCalls(connection),
    users: userCalls(connection),
    invitations: invitationCalls(connection),
    agents: agentCalls(connection),
    authority: {
      get: () => connection.json('GET', '/api/v1/authority'),
      rotate: (request = {}) => connection.json('POST', '/api/v1/authority/rotate', { body: request }),
    },
    ...accessCalls(connection),
    auditWitnesses: { list: () => connection.json('GET', '/api/v1/audit/witnesses') },
    auditSinks: {
      list: () => connection.json('GET', '/api/v1/audit/sinks'),
      redeliver: (name) => connection.json('POST', `/api/v1/audit/sinks/${part(name)}/redeliver`),
    },
    attach: attachCalls(connection, async () => {
      const { nodeSocket } = await import('./attach/node-socket.ts');
      return nodeSocket({ url, socketPath, authorities });
    }),
    audit: auditCalls(connection),
    auditProofs: auditProofCalls(connection),
    health: () => connection.json('GET', '/healthz'),
    readiness: () => connection.json('GET', '/readyz', { alsoTake: 503 }),
    close: () => transport.close(),
  };
}

function auditProofCalls(connection: Connection): AuditProofCalls {
  const path = '/api/v1/audit';
  const prove = (stream: string) => `${path}/streams/${encodeURIComponent(stream)}`;
  return {
    streams: () => connection.json('GET', `${path}/streams`),
    checkpoints: async (stream) => {
      const query = queryText(stream === undefined ? {} : { stream });
      const { body } = await connection.send('GET', `${path}/checkpoint${query}`, { accept: 'text/plain' });
      return await textOf(body);
    },
    inclusion: (stream, query) => connection.json('GET', `${prove(stream)}/inclusion${queryText(query)}`),
    consistency: (stream, query) => connection.json('GET', `${prove(stream)}/consistency${queryText(query)}`),
    rotateKey: () => connection.json('POST', `${path}/key/rotate`),
  };
}

function accountCalls(connection: Connection): AccountCalls {
  const path = '/api/v1/account/tokens';
  return {
    tokens: {
      create: (request, made) => connection.json('POST', path, { body: request, ...made }),
      list: (query) => connection.json('GET', path + queryText(query)),
      revoke: async (id) => connection.empty('DELETE', `${path}/${part(id)}`),
      rotate: async (id, request = {}) =>
        connection.json('POST', `${path}/${part(id)}/rotate`, { body: request }),
    },
  };
}

function sessionCalls(connection: Connection): Client['sessions'] {
  const path = '/api/v1/sessions';
  return {
    create: (request, made) => connection.json('POST', path, { body: request, ...made }),
    list: (query) => connection.json('GET', path + queryText(query)),
    all: (query) => allOf(connection, path, query),
    get: async (id) => connection.json('GET', `${path}/${part(id)}`),
    rename: async (id, name) => rename(connection, `${path}/${part(id)}`, name),
    close: async (id) => connection.empty('DELETE', `${path}/${part(id)}`),
  };
}

function runCalls(connection: Connection): Client['runs'] {
  const path = '/api/v1/runs';
  const of = (id: string) => `${path}/${part(id)}`;
  return {
    create: (request, made) => connection.json('POST', path, { body: request, ...made }),
    list: (query) => connection.json('GET', path + queryText(query)),
    all: (query) => allOf(connection, path, query),
    get: async (id) => connection.json('GET', of(id)),
    rename: async (id, name) => rename(connection, of(id), name),
    stop: async (id) => connection.json('POST', `${of(id)}/stop`),
    resume: async (id, request = {}, made) =>
      connection.json('POST', `${of(id)}/resume`, { body: request, ...made }),
    remove: async (id) => connection.empty('DELETE', of(id)),
    wait: async (id, { timeoutSeconds, signal } = {}) =>
      connection.json('GET', `${of(id)}/wait${queryText({ timeoutSeconds })}`, { signal }),
    logs: (id, options = {}) =>
      followEvents((offset) => openLog(connection, of(id), offset, options), options),
    artifact: async (id, name) => download(connection, `${of(id)}/artifacts/${part(name)}`),
    diff: async (id) => download(connection, `${of(id)}/diff`),
    egress: async (id, query) => connection.json('GET', `${of(id)}/egress${queryText(query)}`),
    flows: (id, options = {}) =>
      followFlows((after) => openFlows(connection, of(id), after, options), options),
  };
}

function policyCalls(connection: Connection): Client['policies'] {
  const path = '/api/v1/policies';
  const of = (name: string) => `${path}/${part(name)}`;
  return {
    put: async (name, request) => putVersion(connection, of(name), request),
    get: async (name, query) => connection.json('GET', of(name) + queryText(query)),
    list: (query) => connection.json('GET', path + queryText(query)),
    all: (query) => allOf(connection, path, query),
    history: async (name, query) => connection.json('GET', `${of(name)}/history${queryText(query)}`),
    remove: async (name) => connection.empty('DELETE', of(name)),
    presets: () => connection.json('GET', '/api/v1/presets'),
    simulate: (request) => connection.json('POST', '/api/v1/egress/simulations', { body: request }),
  };
}

function flagCalls(connection: Connection): Client['flags'] {
  const path = '/api/v1/flags';
  const of = (name: string) => `${path}/${part(name)}`;
  return {
    list: () => connection.json('GET', path),
    get: async (name) => connection.json('GET', of(name)),
    put: async (name, request) => putVersion(connection, of(name), request),
    remove: async (name) => connection.empty('DELETE', of(name)),
    explain: async (name, query) => connection.json('GET', `${of(name)}/explain${queryText(query)}`),
  };
}

function agentCalls(connection: Connection): Client['agents'] {
  const path = '/api/v1/agents';
  const of = (id: string) => `${path}/${part(id)}`;
  return {
    create: (request) => connection.json('POST', path, { body: request }),
    list: (query) => connection.json('GET', path + queryText(query)),
    all: (query) => allOf(connection, path, query),
    get: async (id) => connection.json('GET', of(id)),
    update: async (id, change) => patchVersion(connection, of(id), change),
    disable: async (id) => connection.json('POST', `${of(id)}/disable`),
    enable: async (id) => connection.json('POST', `${of(id)}/enable`),
    remove: async (id) => connection.empty('DELETE', of(id)),
    credentials: async (id) => connection.json('GET', `${of(id)}/credentials`),
    addSecret: async (id, request) => connection.json('POST', `${of(id)}/secrets`, { body: request }),
    addKey: async (id, request) => connection.json('POST', `${of(id)}/keys`, { body: request }),
    issueCertificate: async (id, request) =>
      connection.json('POST', `${of(id)}/certificates`, { body: request }),
    revokeCredential: async (id, credential) =>
      connection.empty('DELETE', `${of(id)}/credentials/${part(credential)}`),
  };
}

function openLog(connection: Connection, run: string, offset: number, options: LogOptions) {
  const { follow = true, stream, signal } = options;
  const path = `${run}/logs${queryText({ offset, follow: String(follow), stream })}`;
  return connection.send('GET', path, { accept: 'text/event-stream', signal });
}

function openFlows(
  connection: Connection,
  run: string,
  after: number | undefined,
  { verdict, signal }: FlowOptions,
) {
  const path = `${run}/egress${queryText({ after, verdict })}`;
  return connection.send('GET', path, { accept: 'text/event-stream', signal });
}
