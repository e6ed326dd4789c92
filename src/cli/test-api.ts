import { ApiError } from '../client/api-error.ts';
import type { FlowEvent } from '../client/flow-events.ts';
import type { FlagView } from '../contract/flags-schemas.ts';
import type { SigningKeyView } from '../contract/oauth-schemas.ts';
import type {
  CreatedToken,
  EgressFlowView,
  EgressSimulationView,
  LogEnd,
  PolicyView,
  RunView,
  SessionView,
  TokenView,
} from '../contract/schemas.ts';
import type { SinkStatusView } from '../contract/sinks.ts';
import type { WitnessStatusView } from '../contract/witnesses.ts';
import { newId } from '../model/ids.ts';
import { defaultRunLimits } from '../model/limits.ts';
import { attachOff } from '../model/terminal.ts';
import type { Api, LogEvent, LogOptions } from './api.ts';
import type { Context } from './context.ts';
import { testAccessApi } from './test-access-api.ts';
import { fakeAgents, fakeAuthority } from './test-agents.ts';
import { FakeAttach } from './test-attach.ts';
import type { TestEnvironment } from './test-environment.ts';
import { fakeInvitations, fakeUsers } from './test-users.ts';

/** For tests: a server in memory. `calls` tells what was asked of it, in order. */
export class TestServer {
  readonly calls: string[] = [];
  readonly attach = new FakeAttach(this.calls);
  readonly sessions: SessionView[] = [];
  readonly runs: RunView[] = [];
  readonly tokens: TokenView[] = [];
  readonly uploads: Buffer[] = [];
  readonly policies: PolicyView[] = [];
  readonly flags: FlagView[] = [];
  readonly flagProblems: string[] = [];
  /** What every run reached for. */
  readonly flows: EgressFlowView[] = [];
  simulation: EgressSimulationView = {
    ...{ since: '2026-01-01T00:00:00.000Z', runs: 0, groups: [], truncated: false },
    totals: { flows: 0, unchanged: 0, newlyDenied: 0, newlyAllowed: 0, unknown: 0 },
    more: { groups: 0, flows: 0 },
  };
  readonly key: SigningKeyView = {
    id: newId('key', 1),
    algorithm: 'EdDSA',
    createdAt: '2026-01-01T00:00:00.000Z',
    retiredAt: null,
    expiresAt: null,
  };
  patch: Buffer = Buffer.alloc(0);
  /** Of the audit log. */
  unreadableLines = 0;
  exportBreaks = false;
  /** What each reading of a log yields; an Error breaks it off. The last one is used again. */
  logs: (LogEvent | Error)[][] = [[ended(0)]];
  readonly logOptions: LogOptions[] = [];
  refuseRuns: ApiError | null = null;
  /** What runs are that are made. */
  newRuns: Partial<RunView> = {};
  onStop: () => void = () => {};
  onWait: () => void = () => {};
  onFlow: () => void = () => {};
  #clock = Date.parse('2026-01-01T00:00:00Z');

  session(name: string | null, more: Partial<SessionView> = {}): SessionView {
    this.#clock += 1000;
    const id = newId('session', this.#clock);
    const createdAt = new Date(this.#clock).toISOString();
    const made: SessionView = {
      id,
      name,
      phase: 'active',
      owner: 'user:t',
      team: null,
      repo: false,
      egress: { names: [], mode: 'restricted' },
      attach: attachOff,
      remote: null,
      createdAt,
      closedAt: null,
      liveRuns: 0,
      ...more,
    };
    this.sessions.unshift(made);
    return made;
  }

  run(name: string | null, more: Partial<RunView> = {}): RunView {
    this.#clock += 1000;
    const made: RunView = {
      ...emptyRun,
      id: newId('run', this.#clock),
      session: newId('session', this.#clock),
      name,
      createdAt: new Date(this.#clock).toISOString(),
      ...more,
    };
    this.runs.unshift(made);
    return made;
  }

  readonly api: Api = {
    sessions: {
      create: async (request) => {
        this.calls.push(`sessions.create ${JSON.stringify(request)}`);
        const egress = { names: request.egress ?? [], mode: 'restricted' } as const;
        const { name = null, team = null } = request;
        const attach = { ...attachOff, enabled: request.attach?.enabled ?? false };
        return this.session(name, { repo: request.repo !== undefined, egress, team, attach });
      },
      list: async (query = {}) =>
        pageOf(
          this.sessions.filter(({ name }) => query.name === undefined || name === query.name),
          query,
        ),
      get: async (id) => found(this.sessions, id),
      rename: async (id, name) => ({ ...found(this.sessions, id), name }),
      close: async (id) => void this.calls.push(`sessions.close ${id}`),
    },
    runs: {
      create: async (request) => {
        this.calls.push(`runs.create ${JSON.stringify(request)}`);
        if (this.refuseRuns !== null) throw this.refuseRuns;
        const { session, command, name = null } = request;
        return this.run(name, { session, command, ...this.newRuns });
      },
      list: async (query = {}) =>
        pageOf(
          this.runs.filter(({ name }) => query.name === undefined || name === query.name),
          query,
        ),
      get: async (id) => found(this.runs, id),
      stop: async (id) => {
        this.calls.push(`runs.stop ${id}`);
        this.onStop();
        return found(this.runs, id);
      },
      resume: async (id, request = {}) => {
        this.calls.push(`runs.resume ${id} ${JSON.stringify(request)}`);
        return this.run(request.name ?? null, { parent: id as RunView['id'] });
      },
      wait: async (id) => {
        this.calls.push(`runs.wait ${id}`);
        const run = found(this.runs, id);
        this.onWait();
        return run;
      },
      egress: async (_id, { after = -1, verdict, ...query } = {}) => ({
        ...pageOf(
          this.flows.filter((flow) => flow.id > Number(after) && (verdict ?? flow.verdict) === flow.verdict),
          query,
        ),
        counts: null,
      }),
      flows: (_, { verdict } = {}) => this.#readFlows(verdict),
      logs: (_, options = {}) => this.#readLog(options),
      diff: async () => ({ mediaType: 'text/x-diff', bytes: this.patch.length, body: chunksOf(this.patch) }),
    },
    uploads: {
      store: async (bytes) => {
        const chunks: Uint8Array[] = [];
        for await (const chunk of bytes) chunks.push(chunk);
        this.uploads.push(Buffer.concat(chunks));
        this.calls.push('uploads.store');
        const id = newId('upload', this.#clock);
        return { id, bytes: 0, sha256: '', createdAt: '' };
      },
      remove: async () => void this.calls.push('uploads.remove'),
    },
    tokens: {
      create: async (request) => {
        this.calls.push(`tokens.create ${JSON.stringify(request)}`);
        const { name, scopes } = request;
        const id = newId('token', this.#clock);
        return {
          id,
          name,
          scopes,
          actor: 'user:t',
          reach: 'own',
          createdAt: '',
          expiresAt: null,
          lastUsedAt: null,
          token: 'sw_secret',
        };
      },
      list: async (query = {}) => pageOf(this.tokens, query),
      revoke: async (id) => void this.calls.push(`tokens.revoke ${id}`),
      rotate: async (id, { overlapSeconds } = {}) => {
        this.calls.push(`tokens.rotate ${id} ${overlapSeconds}`);
        return createdToken(id);
      },
    },
    account: {
      tokens: {
        create: async (request) => {
          this.calls.push(`account.tokens.create ${JSON.stringify(request)}`);
          return createdToken(newId('token', this.#clock));
        },
        list: async (query = {}) => pageOf(this.tokens, query),
        revoke: async (id) => void this.calls.push(`account.tokens.revoke ${id}`),
        rotate: async (id, { overlapSeconds } = {}) => {
          this.calls.push(`account.tokens.rotate ${id} ${overlapSeconds}`);
          return createdToken(id);
        },
      },
    },
    keys: {
      list: async () => ({ items: [this.key], nextCursor: null }),
      rotate: async ({ compromised } = {}) => {
        this.calls.push(`keys.rotate ${compromised}`);
        return this.key;
      },
    },
    whoami: async () => ({
      ...{ actor: 'user:t', role: 'developer', scopes: ['run:read'], reach: 'team', teams: ['red'] },
      ...{ onBehalfOf: null, credential: null, signIn: null, expiresAt: null },
    }),
    policies: {
      put: async (name, { document, reason = null, team }) => {
        this.calls.push(`policies.put ${name} ${JSON.stringify({ document, reason, team })}`);
        const made = this.#policy(name, document, reason);
        this.policies.push(made);
        return made;
      },
      get: async (name, { generation } = {}) => {
        const all = this.policies.filter((policy) => policy.name === name);
        const policy = generation === undefined ? all.at(-1) : all[Number(generation) - 1];
        if (policy === undefined) throw absent();
        return policy;
      },
      list: async (query = {}) =>
        pageOf(
          this.policies.map(({ document: _document, ...policy }) => ({ ...policy, removed: false })),
          query,
        ),
      remove: async (name) => void this.calls.push(`policies.remove ${name}`),
      simulate: async (request) => {
        this.calls.push(`policies.simulate ${JSON.stringify(request)}`);
        return this.simulation;
      },
    },
    attach: this.attach.api,
    flags: {
      list: async () => ({ items: [...this.flags], problems: [...this.flagProblems] }),
      get: async (name) => this.#flag(name),
      put: async (name, { rule }) => {
        this.calls.push(`flags.put ${name} ${JSON.stringify(rule)}`);
        const flag = this.#flag(name);
        return flag.source === 'file' ? flag : { ...flag, rule };
      },
      remove: async (name) => void this.calls.push(`flags.remove ${name}`),
      explain: async (name, { actor }) => {
        const { rule, source, problem } = this.#flag(name);
        return { name, actor, on: rule === 'on', by: String(rule), rule, source, problem };
      },
    },
    users: fakeUsers(this.calls),
    invitations: fakeInvitations(this.calls),
    agents: fakeAgents(this.calls),
    authority: fakeAuthority(this.calls),
    ...testAccessApi(this.calls),
    auditWitnesses: { list: async () => ({ items: [testWitness] }) },
    auditSinks: {
      list: async () => ({ items: [testSink] }),
      redeliver: async (name) => {
        this.calls.push(`auditSinks.redeliver ${name}`);
        return { delivered: 2, remaining: 1, stoppedBy: 'it answered \x1b[2J' };
      },
    },
    audit: {
      list: async (query = {}) => ({
        ...pageOf([{ at: 'now', action: '\x1b[2J', actor: { id: 'user:t' }, query }], query),
        unreadable: this.unreadableLines,
      }),
      export: async (query) => {
        this.calls.push(`audit.export ${JSON.stringify(query)}`);
        return { mediaType: 'application/jsonl', bytes: null, body: this.#exported() };
      },
      evidence: async (query) => {
        this.calls.push(`audit.evidence ${JSON.stringify(query)}`);
        const { evidence } = this;
        return {
          mediaType: 'application/jsonl',
          bytes: null,
          body: (async function* () {
            yield evidence;
          })(),
        };
      },
      tail: async function* (this: void) {
        yield '{"at":"now","action":"\\u001b[2J\u202e"}';
      },
      reindex: async () => ({ events: 7, unreadable: this.unreadableLines }),
    },
    auditProofs: {
      streams: async () => ({ items: [] }),
      checkpoints: async (stream) => `note of ${stream ?? 'all'}\n`,
      inclusion: async () => Promise.reject(absent()),
      consistency: async () => Promise.reject(absent()),
      rotateKey: async () => {
        this.calls.push('auditProofs.rotateKey');
        return { origin: 'log', key: 'log+key' };
      },
    },
    health: async () => ({ status: 'ok', version: '9.9.9' }),
    readiness: async () => ({ ready: true, checks: { store: { ok: true } } }),
  };

  /** The bundle that the server gives. */
  evidence: Uint8Array = Buffer.alloc(0);

  async *#exported(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('{"a":1}\n{"\u009b":2}');
    if (this.exportBreaks) throw new Error('cut off');
    yield Buffer.from('\n');
  }

  #flag(name: string): FlagView {
    const flag = this.flags.find((each) => each.name === name);
    if (flag === undefined) throw absent();
    return flag;
  }

  #policy(name: string, document: PolicyView['document'], reason: string | null): PolicyView {
    const generation = this.policies.filter((policy) => policy.name === name).length + 1;
    const createdAt = new Date(this.#clock).toISOString();
    const owned = { owner: 'user:t', team: null, author: 'user:t' };
    return { name, generation, ...owned, reason, createdAt, document };
  }

  /** Those that come while it reads, too: `onFlow` may add more. */
  async *#readFlows(verdict: string | undefined): AsyncGenerator<FlowEvent, void, undefined> {
    for (let at = 0; at < this.flows.length; at += 1) {
      const flow = this.flows[at]!;
      if ((verdict ?? flow.verdict) === flow.verdict) yield { event: 'flow', flow };
      this.onFlow();
    }
    const [end] = [ended(0)];
    if (end.event === 'end') yield end;
  }

  async *#readLog(options: LogOptions): AsyncGenerator<LogEvent, void, undefined> {
    this.logOptions.push(options);
    const events = this.logs.length > 1 ? this.logs.shift()! : this.logs[0]!;
    for (const event of events) {
      if (event instanceof Error) throw event;
      yield event;
    }
  }
}

export function ended(exitCode: number | null, more: Partial<LogEnd> = {}): LogEvent {
  const phase = exitCode === 0 ? 'succeeded' : 'failed';
  const cause = exitCode === 0 ? null : 'exit';
  return { event: 'end', end: { phase, cause, reason: null, exitCode, signal: null, ...more } };
}

export function wrote(event: 'stdout' | 'stderr', bytes: string | Buffer, next: number): LogEvent {
  return { event, bytes: Buffer.from(bytes as string), next };
}

const { timeoutSeconds, ...limits } = defaultRunLimits;
const emptyRun: Omit<RunView, 'id' | 'session'> = {
  parent: null,
  name: null,
  owner: 'user:t',
  team: null,
  command: ['true'],
  envNames: [],
  cwd: null,
  limits,
  timeoutSeconds,
  priority: 0,
  strict: false,
  terminal: null,
  egress: { names: [], mode: 'restricted' },
  phase: 'queued',
  cause: null,
  reason: null,
  exitCode: null,
  signal: null,
  createdAt: '',
  startedAt: null,
  finishedAt: null,
  heldBy: null,
  usage: null,
  artifacts: [],
  filesExpired: false,
};

function found<T extends { id: string }>(items: readonly T[], id: string): T {
  const item = items.find((candidate) => candidate.id === id);
  if (item === undefined) throw absent();
  return item;
}

function absent(): ApiError {
  return new ApiError({ status: 404, code: 'resource.absent', detail: 'No such thing.' });
}

function pageOf<T>(items: readonly T[], query: { limit?: unknown; cursor?: unknown }) {
  const start = Number(query.cursor ?? 0);
  const end = start + Number(query.limit ?? 50);
  return { items: items.slice(start, end), nextCursor: end < items.length ? String(end) : null };
}

async function* chunksOf(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let start = 0; start < bytes.length; start += 7) yield bytes.subarray(start, start + 7);
}

export function testContext(environment: TestEnvironment, server: TestServer): Context {
  return {
    environment,
    connect: async () => server.api,
    describeTarget: async () => ({ url: 'http://127.0.0.1:7717', profile: null, token: true }),
    isHere: async () => true,
    dataFolder: async () => environment.folder,
    version: '1.2.3',
    verbose: false,
    status: 0,
  };
}

function createdToken(id: string): CreatedToken {
  return {
    ...{ id: id as CreatedToken['id'], name: 'x', actor: 'user:t', scopes: [], reach: 'own', createdAt: '' },
    ...{ expiresAt: null, lastUsedAt: null, token: 'sw_secret' },
  };
}

const testWitness: WitnessStatusView = {
  name: 'vault',
  url: 'file:///mnt/vault/',
  required: true,
  streams: [
    {
      ...{ stream: 'control', state: 'conflict', size: 41, lastKeptAt: null, ageSeconds: 61.2 },
      lastError: { at: '2026-01-01T00:00:00.000Z', reason: 'two histories \x1b[2J' },
      cosigned: null,
    },
  ],
};

const testSink: SinkStatusView = {
  name: 'loki',
  url: 'loki+https://loki.example',
  format: 'event',
  state: 'retrying',
  lastError: { at: '2026-01-01T00:00:00.000Z', reason: 'it answered 503' },
  sentEvents: 5,
  failedSends: 2,
  deadLetters: 1,
  streams: [{ stream: 'control', sentSeq: 5, lagEvents: 7, lagSeconds: 3.4 }],
};
