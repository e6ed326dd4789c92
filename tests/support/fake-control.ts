import { createHash } from 'node:crypto';
import { absent, Fault } from '../../src/contract/faults.ts';
import type { FlagView } from '../../src/contract/flags-schemas.ts';
import type { LogRecord, RecordKind } from '../../src/contract/log-record.ts';
import { recordHeaderBytes } from '../../src/contract/log-record.ts';
import type {
  CreateRun,
  EgressFlowView,
  PolicyView,
  RunView,
  SessionView,
  TokenView,
  UploadView,
} from '../../src/contract/schemas.ts';
import { attachSettingsOf } from '../../src/control/attach/settings.ts';
import type {
  Caller,
  Control,
  FlowReader,
  LogReader,
  Page,
  Readiness,
  Versioned,
} from '../../src/control/control.ts';
import type { Actor } from '../../src/model/actor.ts';
import { inReach, type Resource } from '../../src/model/decide.ts';
import { newId, parseId } from '../../src/model/ids.ts';
import { defaultRunLimits } from '../../src/model/limits.ts';
import { isTerminal } from '../../src/model/run.ts';
import { type GrantableScope, holds } from '../../src/model/scopes.ts';
import { type FakeAttach, openFakeAttach } from './fake-attach.ts';
import { fakeOAuth } from './fake-oauth.ts';

/**
 * A Control that lives in memory: enough of the real one to drive the HTTP layer, with handles for what a test
 * wants to happen. It decides by the real rules, so denials and absences look as they do in the product.
 */
export type FakeControl = Control & {
  readonly attach: FakeAttach;
  /** Bearer secrets and whom they stand for. */
  readonly actors: Map<string, Actor>;
  /** What actors, by id, are once they are asked about again; what they were where absent. */
  readonly renewals: Map<string, Actor>;
  readonly identityChanged: () => void;
  readonly logsOf: (run: string) => FakeLog;
  /** Ends a run; followers of its log and waiters see it. */
  readonly finish: (run: string, ending?: Partial<RunView>) => void;
  readonly artifacts: Map<string, Buffer>;
  /** What runs reached for. */
  readonly flows: Map<string, EgressFlowView[]>;
  /** The lines of the audit log. */
  readonly auditLines: string[];
  readonly uploads: Control['uploads'] & { readonly kept: Map<string, Buffer> };
  ready: Readiness;
  /** What the next read of a run or session throws, for failures from below. */
  failure: unknown;
  readonly authentications: string[];
};

/** A log that grows; readers pull it, and `pulled` counts what they took. */
export class FakeLog implements Iterable<LogRecord> {
  readonly records: LogRecord[] = [];
  readonly steps: { step: string; at: number }[] = [];
  pulled = 0;
  cancelled = 0;
  /** Bytes that a reader gets without end, instead of `records`. */
  endless: Buffer | null = null;
  ended = false;
  failure: Error | null = null;
  #offset = 0;
  #waiters = new Set<() => void>();

  append(kind: RecordKind, payload: string | Buffer): void {
    const bytes = Buffer.from(payload);
    this.#offset += recordHeaderBytes + bytes.length;
    this.records.push({ kind, payload: bytes, nextOffset: this.#offset });
    this.#wake();
  }

  end(): void {
    this.ended = true;
    this.#wake();
  }

  fail(error: Error): void {
    this.failure = error;
    this.#wake();
  }

  [Symbol.iterator](): Iterator<LogRecord> {
    return this.records[Symbol.iterator]();
  }

  reader(offset: number, follow: boolean): LogReader {
    let stopped = false;
    const read = this.#read.bind(this);
    const cancel = () => {
      if (!stopped) this.cancelled += 1;
      stopped = true;
      this.#wake();
    };
    return { cancel, [Symbol.asyncIterator]: () => read(offset, follow, () => stopped) };
  }

  async *#read(offset: number, follow: boolean, stopped: () => boolean): AsyncGenerator<LogRecord> {
    for (let at = 0; !stopped(); ) {
      if (this.failure !== null) throw this.failure;
      const record = this.#next(at);
      if (record !== null) {
        at += 1;
        if (record.nextOffset <= offset) continue;
        this.pulled += 1;
        yield record;
      } else if (this.ended || !follow) return;
      else await new Promise<void>((resolve) => this.#waiters.add(resolve));
    }
  }

  #next(at: number): LogRecord | null {
    if (this.endless === null) return this.records[at] ?? null;
    const size = recordHeaderBytes + this.endless.length;
    return { kind: 'stdout', payload: this.endless, nextOffset: (at + 1) * size };
  }

  #wake(): void {
    for (const waiter of this.#waiters) waiter();
    this.#waiters.clear();
  }
}

/** Ever the same events; a tail gives them and goes on until it is cancelled. */
function fakeAudit(state: FakeState): Control['audit'] {
  const gate = (caller: Caller) => state.gate(caller, 'audit:read', { kind: 'audit' });
  const lines = () => state.auditLines.map((line) => Buffer.from(line));
  return {
    list: async (caller) => {
      gate(caller);
      return { items: [{ action: 'run.create' }], nextCursor: null, unreadable: 0 };
    },
    export: async (caller) => {
      gate(caller);
      return (async function* () {
        for (const line of lines()) yield line;
        if (state.failure !== null) throw state.failure;
      })();
    },
    tail: async (caller, { after }) => {
      gate(caller);
      const cancelled = Promise.withResolvers<void>();
      return {
        start: after ?? 'now',
        cancel: cancelled.resolve,
        async *[Symbol.asyncIterator]() {
          for (const [at, line] of lines().entries()) yield { line, cursor: `c${at}` };
          await cancelled.promise;
        },
      };
    },
    mayStill: async (caller) => gate(caller),
    reindex: async (caller) => {
      gate(caller);
      return { events: state.auditLines.length, unreadable: 0 };
    },
  };
}

/** What the HTTP layer's own tests have no need of: whatever is asked of it is absent. */
function notFaked<T extends object>(): T {
  const refuse = async () => {
    throw absent('resource');
  };
  return new Proxy(refuse, { get: () => notFaked() }) as unknown as T;
}

export const ownerActor: Actor = { id: 'user:owner', scopes: new Set(['*']), reach: 'all' };

const ok = { ok: true } as const;
const allReady: Readiness = {
  ready: true,
  checks: { store: ok, audit: ok, access: ok, runner: ok, flags: ok, witnesses: ok },
};

export function openFakeControl(): FakeControl {
  const state = new FakeState();
  const uploadsKept = new Map<string, Buffer>();
  return {
    actors: state.actors,
    authentications: state.authentications,
    artifacts: state.artifacts,
    flows: state.flows,
    auditLines: state.auditLines,
    logsOf: (run) => state.logsOf(run),
    finish: (run, ending) => state.finish(run, ending),
    ready: allReady,
    get failure() {
      return state.failure;
    },
    set failure(failure: unknown) {
      state.failure = failure;
    },
    attach: openFakeAttach((caller, act, of) => {
      const needs = act === 'view' ? 'run:read' : 'control:write';
      if (parseId('run', of) !== null) state.find(state.runs, caller, needs, 'run', of);
      else state.find(state.sessions, caller, needs, 'session', of);
    }),
    sessions: fakeSessions(state),
    runs: fakeRuns(state),
    uploads: { ...fakeUploads(state, uploadsKept), kept: uploadsKept },
    tokens: fakeTokens(state),
    policies: fakePolicies(state),
    flags: fakeFlags(state),
    ...fakeOAuth({
      gate: (caller, needs) => state.gate(caller, needs, { kind: 'key' }),
      tokens: fakeTokens(state),
    }),
    ...elsewhere(),
    auditSinks: fakeSinks(state),
    auditWitnesses: {
      list: async (caller) => {
        state.gate(caller, 'audit:read', { kind: 'audit' });
        return { items: [] };
      },
    },
    audit: fakeAudit(state),
    async authenticate(presented) {
      const secret = Object.values(presented)[0] ?? '';
      state.authentications.push(secret);
      return state.actors.get(secret) ?? null;
    },
    renewals: state.renewals,
    identityChanged: () => {
      for (const listener of state.onChange) listener();
    },
    renew: async ({ actor, request }) => {
      if (![...state.actors.values()].includes(actor)) return null;
      return { actor: state.renewals.get(actor.id) ?? actor, request };
    },
    onIdentityChange: (listener) => {
      state.onChange.add(listener);
      return () => state.onChange.delete(listener);
    },
    async readiness() {
      return this.ready;
    },
    async metrics(caller) {
      state.gate(caller, 'cluster:read', { kind: 'cluster' });
      return 'sealwright_fake 1\n';
    },
    close: async () => undefined,
  };
}

type Entry<T> = { view: T; version: number };

class FakeState {
  readonly actors = new Map<string, Actor>([['owner-token', ownerActor]]);
  readonly authentications: string[] = [];
  readonly artifacts = new Map<string, Buffer>();
  readonly sessions = new Map<string, Entry<SessionView>>();
  readonly runs = new Map<string, Entry<RunView>>();
  readonly tokens = new Map<string, TokenView>();
  /** Every generation of a name; null is a removal. */
  readonly policies = new Map<string, (PolicyView | null)[]>();
  readonly flows = new Map<string, EgressFlowView[]>();
  flag: { rule: FlagView['rule']; version: number } | null = null;
  readonly keys = new Map<string, string>();
  readonly renewals = new Map<string, Actor>();
  readonly onChange = new Set<() => void>();
  failure: unknown = null;
  readonly auditLines: string[] = [];
  readonly #logs = new Map<string, FakeLog>();
  readonly #ends = new Map<string, Set<() => void>>();

  gate(caller: Caller, needs: GrantableScope, resource: Resource): void {
    if (!inReach(caller.actor, resource)) throw absent(resource.kind);
    if (holds(caller.actor.scopes, needs)) return;
    throw new Fault('access.denied', { detail: `This needs ${needs}.`, extra: { required: needs } });
  }

  find<T extends { owner: string }>(
    entries: Map<string, Entry<T>>,
    caller: Caller,
    needs: GrantableScope,
    kind: 'session' | 'run',
    id: string,
  ): Entry<T> {
    if (this.failure !== null) throw this.failure;
    const entry = entries.get(id);
    if (entry === undefined) throw absent(kind);
    this.gate(caller, needs, { kind, id, owner: entry.view.owner as Actor['id'] });
    return entry;
  }

  logsOf(run: string): FakeLog {
    const log = this.#logs.get(run) ?? new FakeLog();
    this.#logs.set(run, log);
    return log;
  }

  finish(run: string, ending: Partial<RunView> = {}): void {
    const entry = this.runs.get(run)!;
    entry.view = {
      ...entry.view,
      phase: 'succeeded',
      exitCode: 0,
      finishedAt: entry.view.createdAt,
      ...ending,
    };
    entry.version += 1;
    this.logsOf(run).end();
    for (const wake of this.#ends.get(run) ?? []) wake();
  }

  ended(run: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const set = this.#ends.get(run) ?? new Set();
      this.#ends.set(run, set.add(resolve));
      signal.addEventListener('abort', () => {
        set.delete(resolve);
        reject(signal.reason as Error);
      });
    });
  }
}

const now = '2026-01-02T03:04:05.678Z';

function fakeSessions(state: FakeState): Control['sessions'] {
  return {
    async create(caller, { request, idempotencyKey }) {
      state.gate(caller, 'session:write', { kind: 'session' });
      const known = idempotencyKey === null ? undefined : state.keys.get(idempotencyKey);
      if (known !== undefined) return { ...state.sessions.get(known)! };
      const view: SessionView = {
        id: newId('session', 1),
        name: request.name ?? null,
        phase: 'pending',
        owner: caller.actor.id,
        team: request.team ?? null,
        repo: request.repo !== undefined,
        egress: { names: request.egress ?? [], mode: 'restricted' },
        attach: attachSettingsOf(request.attach),
        remote: null,
        createdAt: now,
        closedAt: null,
        liveRuns: 0,
      };
      const entry = { view, version: 1 };
      state.sessions.set(view.id, entry);
      if (idempotencyKey !== null) state.keys.set(idempotencyKey, view.id);
      return { ...entry };
    },
    async list(caller, { cursor, limit = 50 }) {
      state.gate(caller, 'session:read', { kind: 'session' });
      const all = [...state.sessions.values()].map(({ view }) => view);
      return pageOf(all, cursor, limit);
    },
    get: async (caller, id) => ({ ...state.find(state.sessions, caller, 'session:read', 'session', id) }),
    async rename(caller, id, name, ifMatch) {
      return renamed(state.find(state.sessions, caller, 'session:write', 'session', id), name, ifMatch);
    },
    async close(caller, id) {
      const entry = state.find(state.sessions, caller, 'session:write', 'session', id);
      entry.view = { ...entry.view, phase: 'closed', closedAt: now };
    },
  };
}

function fakeRuns(state: FakeState): Control['runs'] {
  const find = (caller: Caller, needs: GrantableScope, id: string) =>
    state.find(state.runs, caller, needs, 'run', id);
  return {
    async create(caller, { request }) {
      state.gate(caller, 'run:write', { kind: 'run' });
      const session = state.find(state.sessions, caller, 'run:write', 'session', request.session);
      const view = emptyRunOf(request);
      const egress = { names: request.egress ?? session.view.egress.names, mode: 'restricted' } as const;
      return addRun(state, { ...view, egress, owner: caller.actor.id, limits: emptyRun.limits });
    },
    async list(caller, { cursor, limit = 50 }) {
      state.gate(caller, 'run:read', { kind: 'run' });
      const all = [...state.runs.values()].map(({ view }) => view);
      return pageOf(all, cursor, limit);
    },
    get: async (caller, id) => find(caller, 'run:read', id),
    rename: async (caller, id, name, ifMatch) => renamed(find(caller, 'run:write', id), name, ifMatch),
    async remove(caller, id) {
      const entry = find(caller, 'run:write', id);
      if (!isTerminal(entry.view.phase)) throw new Fault('state.conflict', { detail: 'The run is live.' });
      state.runs.delete(id);
    },
    async stop(caller, id) {
      const entry = find(caller, 'run:write', id);
      if (!isTerminal(entry.view.phase)) state.finish(id, { phase: 'cancelled', exitCode: 143 });
      return entry.view;
    },
    async resume(caller, id, { request }) {
      const { view } = find(caller, 'run:write', id);
      const command = request.command ?? view.command;
      return addRun(state, { ...view, command, parent: view.id, phase: 'queued', exitCode: null });
    },
    async logs(caller, id, { offset, follow }) {
      find(caller, 'run:read', id);
      return state.logsOf(id).reader(offset, follow);
    },
    async artifact(caller, id, name) {
      const { view } = find(caller, 'run:read', id);
      const info = view.artifacts.find((artifact) => artifact.name === name);
      const bytes = state.artifacts.get(name);
      if (info === undefined || bytes === undefined) throw absent('artifact');
      return {
        bytes: info.bytes,
        mediaType: info.mediaType,
        cancel: () => undefined,
        async *[Symbol.asyncIterator]() {
          for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
        },
      };
    },
    async mayStill(caller, id) {
      find(caller, 'run:read', id);
    },
    async finished(caller, id, signal) {
      const entry = find(caller, 'run:read', id);
      if (!isTerminal(entry.view.phase)) await state.ended(id, signal);
      return entry.view;
    },
    async steps(caller, id) {
      find(caller, 'run:read', id);
      return [...state.logsOf(id).steps];
    },
    ...fakeEgress(state, find),
  };
}

type Find = (caller: Caller, needs: GrantableScope, id: string) => Entry<RunView>;

function fakeEgress(state: FakeState, find: Find): Pick<Control['runs'], 'egress' | 'flows'> {
  return {
    async egress(caller, id, { cursor, limit = 50, after = -1, verdict, host }) {
      find(caller, 'run:read', id);
      const flows = (state.flows.get(id) ?? [])
        .filter((flow) => flow.id > after)
        .filter((flow) => verdict === undefined || flow.verdict === verdict)
        .filter((flow) => host === undefined || flow.host === host);
      return { ...pageOf(flows, cursor, limit), counts: null };
    },
    async flows(caller, id, { after = -1, verdict }) {
      find(caller, 'run:read', id);
      return flowReader(state, id, after, verdict);
    },
  };
}

/** What is there and what comes, until the run ends. */
function flowReader(state: FakeState, id: string, after: number, verdict: string | undefined): FlowReader {
  const stop = new AbortController();
  async function* read() {
    let last = after;
    while (!stop.signal.aborted) {
      const over = isTerminal(state.runs.get(id)!.view.phase);
      for (const flow of [...(state.flows.get(id) ?? [])]) {
        if (flow.id <= last || (verdict ?? flow.verdict) !== flow.verdict) continue;
        last = flow.id;
        yield flow;
      }
      if (over) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  return { cancel: () => stop.abort(), [Symbol.asyncIterator]: read };
}

function fakeUploads(state: FakeState, kept: Map<string, Buffer>): Control['uploads'] {
  return {
    async store(caller, bytes) {
      state.gate(caller, 'session:write', { kind: 'upload' });
      const hash = createHash('sha256');
      let size = 0;
      const head: Buffer[] = [];
      for await (const chunk of bytes) {
        hash.update(chunk);
        size += chunk.length;
        if (size < 1_000_000) head.push(chunk);
      }
      const id = newId('upload', 1);
      kept.set(id, Buffer.concat(head));
      const view: UploadView = { id, bytes: size, sha256: hash.digest('hex'), createdAt: now };
      return view;
    },
    mayStill: async (caller) => state.gate(caller, 'session:write', { kind: 'upload' }),
    async remove(caller, id) {
      state.gate(caller, 'session:write', { kind: 'upload' });
      if (!kept.delete(id)) throw absent('upload');
    },
  };
}

function fakeTokens(state: FakeState): Control['tokens'] {
  return {
    async create(caller, { request }) {
      state.gate(caller, 'identity:write', { kind: 'token' });
      const view: TokenView = {
        id: newId('token', 1),
        name: request.name,
        actor: request.actor ?? caller.actor.id,
        scopes: request.scopes,
        reach: request.reach ?? 'own',
        createdAt: now,
        expiresAt: null,
        lastUsedAt: null,
      };
      state.tokens.set(view.id, view);
      const token = `fake-${view.id}`;
      const { actor, reach } = view;
      state.actors.set(token, { id: actor as Actor['id'], scopes: new Set(request.scopes), reach });
      return { ...view, token };
    },
    async list(caller, { cursor, limit = 50 }) {
      state.gate(caller, 'identity:read', { kind: 'token' });
      return pageOf([...state.tokens.values()], cursor, limit);
    },
    async revoke(caller, id) {
      state.gate(caller, 'identity:write', { kind: 'token' });
      if (!state.tokens.delete(id)) throw absent('token');
      state.actors.delete(`fake-${id}`);
    },
    async rotate(caller, id) {
      state.gate(caller, 'identity:write', { kind: 'token' });
      const view = state.tokens.get(id);
      if (view === undefined) throw absent('token');
      return { ...view, token: `fake-${id}` };
    },
  };
}

function fakePolicies(state: FakeState): Control['policies'] {
  const gate = (caller: Caller, needs: GrantableScope, name?: string) =>
    state.gate(caller, needs, { kind: 'policy', ...(name === undefined ? {} : { id: name }) });
  const current = (name: string) => state.policies.get(name)?.at(-1) ?? null;
  const summaries = (name: string) =>
    (state.policies.get(name) ?? []).map((view, index) => {
      const {
        owner = 'user:owner',
        team = null,
        author = owner,
        reason = null,
        createdAt = now,
      } = view ?? {};
      return { name, generation: index + 1, owner, team, author, reason, createdAt, removed: view === null };
    });
  return {
    async simulate(caller, { policies, since }) {
      state.gate(caller, 'run:read', { kind: 'run' });
      const totals = { flows: policies.length, unchanged: 0, newlyDenied: 0, newlyAllowed: 0, unknown: 0 };
      const more = { groups: 0, flows: 0 };
      return { since: since ?? now, runs: 0, totals, groups: [], more, truncated: false };
    },
    async put(caller, name, { document, reason = null, team = null }, ifMatch) {
      gate(caller, 'policy:write', name);
      const before = current(name);
      if ((before?.generation ?? null) !== ifMatch)
        throw new Fault(ifMatch === null ? 'precondition.required' : 'precondition.failed', {
          detail: 'No.',
        });
      const generations = state.policies.get(name) ?? [];
      const generation = generations.length + 1;
      const owned = { owner: caller.actor.id, team, author: caller.actor.id };
      const view = { name, generation, ...owned, reason, createdAt: now, document };
      state.policies.set(name, [...generations, view]);
      return { view, version: generation };
    },
    async get(caller, name, generation) {
      gate(caller, 'policy:read', name);
      const view = generation === undefined ? current(name) : state.policies.get(name)?.[generation - 1];
      if (view === null || view === undefined) throw absent('policy');
      return { view, version: view.generation };
    },
    async list(caller, { cursor, limit = 50 }) {
      gate(caller, 'policy:read');
      const newest = [...state.policies.keys()].sort().flatMap((name) => summaries(name).slice(-1));
      return pageOf(
        newest.filter(({ removed }) => !removed),
        cursor,
        limit,
      );
    },
    async remove(caller, name) {
      gate(caller, 'policy:write', name);
      if (current(name) === null) throw absent('policy');
      state.policies.get(name)!.push(null);
    },
    async history(caller, name, { cursor, limit = 50 }) {
      gate(caller, 'policy:read', name);
      if (!state.policies.has(name)) throw absent('policy');
      return pageOf(summaries(name).reverse(), cursor, limit);
    },
    async presets(caller) {
      gate(caller, 'policy:read');
      return [{ name: 'npm', source: '', rules: [] }];
    },
  };
}

/** What the tests of HTTP do without. */
function fakeSinks(state: FakeState): Control['auditSinks'] {
  return {
    list: async (caller) => {
      state.gate(caller, 'audit:read', { kind: 'audit' });
      return { items: [] };
    },
    redeliver: async (caller) => {
      state.gate(caller, 'incident:write', { kind: 'audit' });
      throw absent('sink');
    },
  };
}

function elsewhere() {
  return {
    signIn: notFaked<Control['signIn']>(),
    providers: notFaked<Control['providers']>(),
    stepUp: notFaked<Control['stepUp']>(),
    account: notFaked<Control['account']>(),
    users: notFaked<Control['users']>(),
    userIdentities: notFaked<Control['userIdentities']>(),
    invitations: notFaked<Control['invitations']>(),
    passwordResets: notFaked<Control['passwordResets']>(),
    roles: notFaked<Control['roles']>(),
    teams: notFaked<Control['teams']>(),
    accessPolicies: notFaked<Control['accessPolicies']>(),
    elevations: notFaked<Control['elevations']>(),
    explainAccess: notFaked<Control['explainAccess']>(),
    agents: notFaked<Control['agents']>(),
    agentCredentials: notFaked<Control['agentCredentials']>(),
    authority: notFaked<Control['authority']>(),
    auditProofs: notFaked<Control['auditProofs']>(),
    auditEvidence: notFaked<Control['auditEvidence']>(),
  };
}

function fakeFlags(state: FakeState): Control['flags'] {
  const gate = (caller: Caller, needs: GrantableScope, name?: string) => {
    state.gate(caller, needs, { kind: 'flag', ...(name === undefined ? {} : { id: name }) });
    if (name !== undefined && name !== 'sso-tickets') throw absent('flag');
  };
  const view = (): FlagView => {
    const { flag } = state;
    const set = flag === null ? null : { rule: flag.rule, author: 'user:owner', changedAt: now };
    const source = flag === null ? 'default' : 'api';
    const rest = { opens: 'a door', since: '0.1.0', problem: null };
    return { name: 'sso-tickets', ...rest, rule: flag?.rule ?? 'off', source, set };
  };
  const versioned = () => ({ view: view(), version: state.flag?.version ?? 0 });
  return {
    async list(caller) {
      gate(caller, 'cluster:read');
      return { items: [view()], problems: [] };
    },
    async get(caller, name) {
      gate(caller, 'cluster:read', name);
      return versioned();
    },
    async put(caller, name, { rule }, ifMatch) {
      gate(caller, 'flag:write', name);
      if ((state.flag?.version ?? 0) !== (ifMatch ?? 0))
        throw new Fault(ifMatch === null ? 'precondition.required' : 'precondition.failed', {
          detail: 'No.',
        });
      state.flag = { rule, version: (ifMatch ?? 0) + 1 };
      return versioned();
    },
    async remove(caller, name) {
      gate(caller, 'flag:write', name);
      if (state.flag === null) throw absent('flag');
      state.flag = null;
    },
    async explain(caller, name, actor) {
      gate(caller, 'identity:read', name);
      return { name, actor, on: false, by: 'off', rule: 'off', source: 'default', problem: null };
    },
  };
}

const { timeoutSeconds, ...limits } = defaultRunLimits;
const emptyRun = {
  parent: null,
  name: null,
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
  createdAt: now,
  startedAt: null,
  finishedAt: null,
  heldBy: null,
  usage: null,
  artifacts: [],
  filesExpired: false,
} satisfies Partial<RunView>;

function emptyRunOf(request: CreateRun): RunView {
  const terminal = request.terminal === undefined ? null : { id: newId('terminal', 1), ...request.terminal };
  return { ...emptyRun, ...request, terminal, env: undefined, diff: undefined } as unknown as RunView;
}

function addRun(state: FakeState, view: RunView): Versioned<RunView> {
  const entry = { view: { ...view, id: newId('run', 1) }, version: 1 };
  state.runs.set(entry.view.id, entry);
  return { ...entry };
}

function renamed<T>(entry: Entry<T>, name: string, ifMatch: number): Versioned<T> {
  if (entry.version !== ifMatch)
    throw new Fault('precondition.failed', { detail: `It is at version ${entry.version}.` });
  entry.view = { ...entry.view, name };
  entry.version += 1;
  return { ...entry };
}

function pageOf<T>(all: readonly T[], cursor: string | undefined, limit: number): Page<T> {
  const start = cursor === undefined ? 0 : Number(cursor);
  const items = all.slice(start, start + limit);
  const end = start + items.length;
  return { items, nextCursor: end < all.length ? String(end) : null };
}
