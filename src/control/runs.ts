import type { Clock } from '../base/clock.ts';
import { absent, Fault } from '../contract/faults.ts';
import type { RunView } from '../contract/schemas.ts';
import { newId, type RunId } from '../model/ids.ts';
import type { RunLimits } from '../model/limits.ts';
import { isTerminal, type RunState } from '../model/run.ts';
import type { TerminalSize } from '../model/terminal.ts';
import type { RunSecrets } from '../redaction/run-secrets.ts';
import type { Claim, RunEgress, RunRecord, SessionRecord, Store, StoredSpec } from '../store/store.ts';
import { openArtifact } from './artifact-stream.ts';
import type { Caller, Control, Creation, Versioned } from './control.ts';
import { claimOf, replayed } from './creation.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { EgressPolicies } from './egress-policies.ts';
import { askedEgress, egressData, requireEgress } from './egress-requests.ts';
import { openFlows } from './flow-stream.ts';
import type { Gate } from './gate.ts';
import { controlLimits } from './limits.ts';
import type { LiveRuns } from './live-runs.ts';
import { openLogs } from './log-stream.ts';
import { positionCursor, shownOf, storePage, storePosition, viewPage } from './paging.ts';
import { findRun, readableRun, runAct } from './run-access.ts';
import type { RunIdentities } from './run-identities.ts';
import type { RunnerLink } from './runner-link.ts';
import type { Scheduler } from './scheduler.ts';
import { withinOf } from './team-access.ts';
import { flowView, runView } from './views.ts';

export type RunParts = {
  readonly store: Store;
  readonly egressPolicies: EgressPolicies;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly live: LiveRuns;
  readonly dispatcher: Dispatcher;
  readonly identities: RunIdentities;
  readonly secrets: RunSecrets;
  readonly scheduler: Scheduler;
  readonly link: RunnerLink;
  readonly livePerOwnerMax: number;
  readonly defaultLimits: RunLimits;
  readonly strictRuns: boolean;
};

export function runUseCases(parts: RunParts): Control['runs'] {
  const { store } = parts;
  return {
    create: (caller, creation) => create(parts, caller, creation),
    list: (caller, query) => list(parts, caller, query),
    get: async (caller, id) => runView(await readableRun(parts, caller, id, 'run.read')),
    rename: (caller, id, name, ifMatch) => rename(parts, caller, id, name, ifMatch),
    remove: (caller, id) => remove(parts, caller, id),
    stop: (caller, id) => stop(parts, caller, id),
    resume: (caller, id, creation) => resume(parts, caller, id, creation),
    logs: async (caller, id, options) => {
      const record = await readableRun(parts, caller, id, 'run.logs');
      const current = parts.live.get(id) === null ? await endedRun(store, record) : record;
      return await openLogs(parts, current, options);
    },
    artifact: async (caller, id, name) => {
      const record = await readableRun(parts, caller, id, 'run.artifact');
      return await openArtifact(parts.link, record, name);
    },
    finished: (caller, id, signal) => finished(parts, caller, id, signal),
    mayStill: async (caller, id, action) => {
      await parts.gate.read(caller, runAct(action, await findRun(store, id)));
    },
    steps: async (caller, id) => {
      const record = await findRun(store, id);
      await parts.gate.read(caller, runAct('run.read', record));
      return [...(parts.live.get(id)?.steps ?? [])];
    },
    egress: (caller, id, query) => egress(parts, caller, id, query),
    flows: async (caller, id, { after, verdict, host }) => {
      await readableRun(parts, caller, id, 'run.egress');
      return openFlows(parts, id, after ?? null, { verdict, host });
    },
  };
}

/** A run that is about to be made, whether anew or from a parent. */
type NewRun = {
  readonly action: 'run.create' | 'run.resume';
  readonly about: string;
  readonly parent: RunId | null;
  readonly name: string | null;
  readonly priority: number;
  readonly spec: StoredSpec;
  readonly env: Readonly<Record<string, string>>;
  readonly egress: RunEgress;
  /** How large its terminal is; null for none. */
  readonly terminal: TerminalSize | null;
};

async function create(
  parts: RunParts,
  ...[caller, creation]: Parameters<Control['runs']['create']>
): Promise<Versioned<RunView>> {
  const { request } = creation;
  const env = request.env ?? {};
  const own = askedEgress(request);
  const session = await parts.store.sessions.get(request.session);
  if (session === null) throw absent('session');
  const spec: StoredSpec = {
    command: request.command,
    envNames: Object.keys(env),
    cwd: request.cwd ?? null,
    limits: limitsOf(parts.defaultLimits, request),
    strict: parts.strictRuns || (request.strict ?? false),
    diff: request.diff ?? true,
  };
  const { name = null, priority = 0 } = request;
  const made = {
    action: 'run.create',
    about: 'run.create',
    parent: null,
    name,
    priority,
    spec,
    env,
    egress: { ...(own ?? session.egress), generation: 1 },
    terminal: request.terminal ?? null,
  } as const;
  return await make(parts, caller, session, creation, made);
}

function limitsOf(
  defaults: RunLimits,
  request: Creation<Parameters<Control['runs']['create']>[1]['request']>['request'],
): RunLimits {
  const { limits = {}, timeoutSeconds } = request;
  return {
    cpus: limits.cpus ?? defaults.cpus,
    memoryBytes: limits.memoryBytes ?? defaults.memoryBytes,
    pids: limits.pids ?? defaults.pids,
    diskBytes: limits.diskBytes ?? defaults.diskBytes,
    outputBytes: limits.outputBytes ?? defaults.outputBytes,
    timeoutSeconds: timeoutSeconds ?? defaults.timeoutSeconds,
  };
}

async function resume(
  parts: RunParts,
  ...[caller, id, creation]: Parameters<Control['runs']['resume']>
): Promise<Versioned<RunView>> {
  const parent = await findRun(parts.store, id);
  await parts.gate.read(caller, runAct('run.resume', parent));
  if (!isTerminal(parent.state.phase))
    throw conflict('The run has not finished. Stop it, or wait for its end.');
  const session = await parts.store.sessions.get(parent.session);
  if (session === null) throw absent('session');
  const { request } = creation;
  const env = request.env ?? {};
  const missing = request.env === undefined ? parent.spec.envNames : [];
  if (missing.length > 0)
    throw new Fault('request.invalid', {
      detail: `The values of the run's environment were not kept. Give env with ${missing.slice(0, 8).join(', ')}.`,
    });
  const spec = {
    ...parent.spec,
    command: request.command ?? parent.spec.command,
    envNames: Object.keys(env),
  };
  const { priority } = parent;
  const made = {
    action: 'run.resume',
    about: `run.resume ${id}`,
    parent: id,
    name: request.name ?? parent.name,
    priority,
    spec,
    env,
    egress: { ...parent.egress, generation: 1 },
    terminal: parent.terminal?.size ?? null,
  } as const;
  return await make(parts, caller, session, creation, made);
}

/**
 * One audit fsync, one commit, then the order. Where a slot is free the run is stored as `starting` at once;
 * should the order be lost, reconciling repeats it.
 */
async function make(
  parts: RunParts,
  caller: Caller,
  session: SessionRecord,
  creation: Creation<unknown>,
  made: NewRun,
): Promise<Versioned<RunView>> {
  const { secrets, live, clock } = parts;
  const id = newId('run', clock.now());
  secrets.environment(id, made.env);
  try {
    return await makeAs(id, parts, caller, session, creation, made);
  } finally {
    if (live.get(id) === null) secrets.ended(id);
  }
}

async function makeAs(
  id: RunId,
  parts: RunParts,
  caller: Caller,
  session: SessionRecord,
  creation: Creation<unknown>,
  made: NewRun,
): Promise<Versioned<RunView>> {
  const { store, gate } = parts;
  const { names } = made.egress;
  const act = {
    ...runAct(made.action, { id, session: session.id, owner: session.owner, team: session.team }),
    data: {
      parent: made.parent,
      program: made.spec.command[0] ?? '',
      arguments: made.spec.command.length - 1,
      ...(made.terminal === null ? {} : { terminal: { ...made.terminal } }),
      ...egressData(made.egress),
    },
  };
  await maskedAsSession(gate.read(caller, act));
  await requireEgress(gate, caller, act, made.egress);
  const claim = claimOf(caller, made.about, creation);
  const before = claim === null ? null : replayed(await store.idempotency.find(claim));
  if (before !== null) return runView(await findRun(store, before as RunId));
  if (session.phase !== 'pending' && session.phase !== 'active') throw closed();
  if (names.length > 0) await parts.egressPolicies.require(gate, caller, names);
  return await gate.act(caller, act, () => commit(parts, caller, session, id, claim, made));
}

/** What the caller named is the session, so that is what seems absent. */
async function maskedAsSession(decided: Promise<void>): Promise<void> {
  try {
    await decided;
  } catch (error) {
    throw error instanceof Fault && error.code === 'resource.absent' ? absent('session') : error;
  }
}

async function commit(
  parts: RunParts,
  caller: Caller,
  session: SessionRecord,
  id: RunId,
  claim: Claim | null,
  made: NewRun,
): Promise<Versioned<RunView>> {
  const { store, scheduler, dispatcher, identities, clock, livePerOwnerMax } = parts;
  const { parent, name, priority, spec, env, egress } = made;
  const now = clock.now();
  const terminal = made.terminal === null ? null : { id: newId('terminal', now), size: made.terminal };
  const reserved = scheduler.tryReserve(id, session.id);
  const state: RunState = reserved
    ? { phase: 'starting', queuedAt: now, startingAt: now }
    : { phase: 'queued', queuedAt: now };
  const owner = caller.actor.id;
  const identity = reserved ? identities.early({ run: id, session: session.id, owner }) : null;
  const run = { id, session: session.id, parent, name, owner, spec, egress, terminal, priority, state };
  try {
    const created = await store.runs.create(run, { env, claim, livePerOwnerMax });
    if (created.outcome === 'created') {
      dispatcher.adopt(created.record, { env, repo: session.repo, identity });
      return runView(created.record);
    }
    if (reserved) scheduler.release(id);
    if (created.outcome === 'closed') throw closed();
    if (created.outcome === 'quota') throw quota(livePerOwnerMax);
    return runView(await findRun(store, replayed(created) as RunId));
  } catch (error) {
    if (reserved && parts.live.get(id) === null) scheduler.release(id);
    throw error;
  }
}

function closed(): Fault {
  return conflict('The session is closed and takes no more runs. Create another one.');
}

function conflict(detail: string): Fault {
  return new Fault('state.conflict', { detail });
}

function quota(limit: number): Fault {
  return new Fault('quota.exceeded', {
    detail: `You have ${limit} runs waiting or running, which is the most. Wait for one to end, or stop one.`,
    extra: { limit },
  });
}

async function list(
  { store, gate }: RunParts,
  ...[caller, query]: Parameters<Control['runs']['list']>
): ReturnType<Control['runs']['list']> {
  await gate.read(caller, { action: 'run.list', resource: { kind: 'run' } });
  const { session, phase, name } = query;
  const within = withinOf(caller.actor);
  const listed = await store.runs.list({ within, session, phase, name }, storePage(query));
  const shown = await shownOf(listed.records, (record) => gate.may(caller, runAct('run.read', record)));
  return viewPage(
    listed,
    (record) => runView(record).view,
    (record) => ({ createdAt: record.state.queuedAt, id: record.id }),
    shown,
  );
}

async function rename(
  { store, gate }: RunParts,
  ...[caller, id, name, ifMatch]: Parameters<Control['runs']['rename']>
): Promise<Versioned<RunView>> {
  const record = await findRun(store, id);
  const act = { ...runAct('run.rename', record), data: { name } };
  return await gate.act(caller, act, async () => {
    const swapped = await store.runs.rename(id, name, ifMatch);
    if (swapped.outcome === 'written') return runView(swapped.record);
    if (swapped.outcome === 'absent') throw absent('run');
    throw new Fault('precondition.failed', { detail: 'The run changed since it was read. Read it again.' });
  });
}

async function remove({ store, gate, clock, link }: RunParts, caller: Caller, id: RunId): Promise<void> {
  const record = await findRun(store, id);
  await gate.act(caller, runAct('run.remove', record), async () => {
    if (!(await store.runs.remove(id, clock.now())))
      throw conflict('The run has not finished. Stop it, or wait for its end.');
    const forgotten = await link.order({ order: 'forget', runs: [id] }).catch(() => undefined);
    // What does not go at once is left to the sweeper, and so is the mark.
    const flowsLeft = await store.flows.remove(id, controlLimits.sweepFlowsMax);
    if (forgotten !== undefined && !flowsLeft) await store.runs.markFilesExpired([id]);
  });
}

/** Asks memory before the store, so that a store in trouble does not keep a run alive. */
async function stop(parts: RunParts, caller: Caller, id: RunId): Promise<RunView> {
  const { store, gate, live, dispatcher } = parts;
  const known = live.get(id)?.record ?? (await findRun(store, id));
  await gate.contain(caller, runAct('run.stop', known), async () => {
    const running = live.get(id);
    if (running !== null) await dispatcher.stop(running);
  });
  return runView(await findRun(store, id)).view;
}

async function egress(
  parts: RunParts,
  ...[caller, id, { after: seen, verdict, host, ...query }]: Parameters<Control['runs']['egress']>
): ReturnType<Control['runs']['egress']> {
  await readableRun(parts, caller, id, 'run.egress');
  const { flows } = parts.store;
  const { after: before, limit } = storePosition(query);
  const isFirst = before === null && seen === undefined;
  const after = isFirst ? null : Math.max(before?.[0] ?? 0, seen ?? 0);
  const [{ records, more }, counts] = await Promise.all([
    flows.list(id, { verdict, host }, { after, limit }),
    isFirst ? flows.countsOf(id) : null,
  ]);
  const last = records.at(-1);
  const position = last === undefined ? undefined : ([last.id, last.run] as const);
  return { items: records.map(flowView), nextCursor: positionCursor(more, position), counts };
}

async function finished(
  parts: RunParts,
  ...[caller, id, signal]: Parameters<Control['runs']['finished']>
): Promise<RunView> {
  const record = await findRun(parts.store, id);
  await parts.gate.read(caller, runAct('run.read', record));
  const live = parts.live.get(id);
  if (live === null) return runView(await endedRun(parts.store, record)).view;
  await parts.live.until(live, () => live.ended, signal);
  return runView(live.record).view;
}

/** A run that is no longer live has a durable end, which may be newer than what was read. */
async function endedRun(store: Store, record: RunRecord): Promise<RunRecord> {
  return isTerminal(record.state.phase) ? record : await findRun(store, record.id);
}
