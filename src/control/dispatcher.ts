import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import type { RunFinished, RunnerEvent, RunnerStatus, RunSpec, StreamPlace } from '../contract/runner.ts';
import type { RunId, SessionId } from '../model/ids.ts';
import { type Ending, isTerminal, type RunChange, type RunState } from '../model/run.ts';
import type { RunSecrets } from '../redaction/run-secrets.ts';
import { isSecretName } from '../redaction/secret-names.ts';
import type { RunRecord, RunWrite, Store } from '../store/store.ts';
import type { EgressOrders } from './egress-orders.ts';
import { type EgressPolicies, usesStoredPolicies } from './egress-policies.ts';
import type { Gate } from './gate.ts';
import { controlLimits } from './limits.ts';
import type { LiveRun, LiveRuns, StartSource } from './live-runs.ts';
import type { Logger } from './logger.ts';
import type { RecordIntake } from './record-intake.ts';
import type { RunIdentities } from './run-identities.ts';
import { runnerStatus } from './runner-frames.ts';
import { LinkLost, type RunnerLink } from './runner-link.ts';
import type { Scheduler } from './scheduler.ts';
import type { StateWriter } from './state-writer.ts';

export type DispatcherParts = {
  readonly store: Store;
  readonly egressPolicies: EgressPolicies;
  readonly live: LiveRuns;
  readonly scheduler: Scheduler;
  readonly link: RunnerLink;
  readonly egressOrders: EgressOrders;
  readonly intake: RecordIntake;
  readonly identities: RunIdentities;
  readonly secrets: RunSecrets;
  readonly writer: StateWriter;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly logger: Logger;
};

const neverRan = { code: null, signal: null };

/**
 * Brings live runs and the runner together: orders starts and stops, and writes what the runner reports. The
 * end of a run is durable before anybody sees it and before the runner is told to forget it.
 */
export class Dispatcher {
  readonly #parts: DispatcherParts;
  readonly #work = new Set<Promise<void>>();
  readonly #stopped = new AbortController();

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
  }

  /** Takes up what an earlier process left; nothing is ordered before the runner has been reconciled with. */
  async recover(): Promise<void> {
    const { store, live, scheduler, secrets } = this.#parts;
    for (const record of await store.runs.live()) {
      const { id, session, priority, state, spec } = record;
      if (spec.envNames.some(isSecretName)) secrets.environment(id, (await store.runs.envOf(id)) ?? {});
      live.add(record, null, state.phase === 'queued' ? 'none' : 'unknown');
      if (state.phase === 'queued')
        scheduler.enqueue({ run: id, session, priority, queuedAt: state.queuedAt });
      else scheduler.occupy(id, session);
    }
  }

  /** A run that was just committed: ordered at once where it holds a slot, else queued. */
  adopt(record: RunRecord, source: StartSource): void {
    const { id, session, priority, state } = record;
    const starts = state.phase === 'starting';
    const live = this.#parts.live.add(record, starts ? source : null, 'none');
    if (starts) this.#go(this.#order(live));
    else this.#parts.scheduler.enqueue({ run: id, session, priority, queuedAt: state.queuedAt });
  }

  /** The scheduler gave a waiting run a slot. */
  startQueued(run: RunId): void {
    const live = this.#parts.live.get(run);
    if (live === null || live.ending) this.#parts.scheduler.release(run);
    else this.#go(this.#startQueued(live));
  }

  /**
   * Ends a live run: a waiting one at once, another through the runner, whose report of the end follows. The
   * wish is remembered, so that it outlives a runner that cannot be reached and this process.
   */
  async stop(live: LiveRun): Promise<void> {
    const { scheduler, store, clock } = this.#parts;
    live.stopRequested = true;
    if (scheduler.dequeue(live.record.id)) return await this.#cancelQueued(live);
    const ordered = live.delivery === 'accepted' || live.delivery === 'unknown';
    if (ordered) this.#orderStop(live);
    await store.runs.requestStop(live.record.id, clock.now()).catch((error: unknown) => {
      // Containment: the runner has the order, so a store that cannot be written takes nothing from it.
      if (!ordered) throw error;
      this.#parts.logger.error({ run: live.record.id, error: String(error) }, 'a stop could not be stored');
    });
  }

  /** Runs that the store cancelled with their session. */
  cancelled(records: readonly RunRecord[]): void {
    for (const record of records) {
      this.#parts.scheduler.dequeue(record.id);
      const live = this.#parts.live.get(record.id);
      if (live !== null) this.#conclude(live, record);
    }
  }

  onEvent(event: RunnerEvent): void {
    const live = this.#parts.live.get(event.run);
    if (event.event === 'finished') this.#go(this.#finished(event, live));
    else if (live === null || live.ending) return;
    else if (event.event === 'step') this.#parts.live.step(live, event.step, event.at);
    else this.#go(this.#running(live, event.at, event.heldBy));
  }

  /**
   * What both sides know, made one. A run that the runner hosts goes on. One whose start was perhaps never
   * received is ordered again; a repeated start is the same one. One that the runner accepted and neither hosts
   * nor reports finished is lost. What the store holds no live run for is stopped.
   */
  async reconcile(): Promise<void> {
    const { link, live } = this.#parts;
    const status = runnerStatus.parse(await link.order({ order: 'status' }));
    const hosted = new Map(status.live.map((run) => [run.run, run]));
    for (const run of hosted.values()) this.#meet(run);
    this.#parts.identities.renew();
    const missing = live
      .all()
      .filter((run) => run.record.state.phase !== 'queued' && !run.ending && !hosted.has(run.record.id));
    const lost = missing.filter((run) => mayHaveRun(run));
    for (const run of missing) if (!mayHaveRun(run)) this.#go(this.#order(run));
    if (lost.length > 0) this.#go(this.#giveUp(lost, link.generation, status.record));
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    await this.#parts.writer.close();
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  /** Those who wait for a run look whether it still has a runner. */
  onDisconnected(): void {
    this.#parts.scheduler.setOpen(false);
    for (const live of this.#parts.live.all()) this.#parts.live.changed(live);
  }

  /** Work that goes on behind; it handles its own failures, and what escapes is a bug that is logged. */
  #go(work: Promise<void>): void {
    const guarded = work.catch((error: unknown) => {
      if (!this.#stopped.signal.aborted)
        this.#parts.logger.error({ error: String(error) }, 'dispatching failed');
    });
    this.#work.add(guarded);
    void guarded.finally(() => this.#work.delete(guarded));
  }

  /** Shorter where this process is about to end. */
  async #pause(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#stopped.signal }).catch(() => undefined);
  }

  async #startQueued(live: LiveRun): Promise<void> {
    const { writer, clock, scheduler } = this.#parts;
    const { id, session, priority, state } = live.record;
    try {
      const change = { to: 'starting', at: clock.now() } as const;
      const written = await writer.write({ run: id, changes: () => [change] });
      if (written.outcome !== 'written') return scheduler.release(id);
      live.record = written.record;
    } catch (error) {
      this.#parts.logger.error({ run: id, error: String(error) }, 'a start could not be stored');
      await this.#pause(controlLimits.writeRetryMs);
      scheduler.release(id);
      if (!this.#stopped.signal.aborted)
        scheduler.enqueue({ run: id, session, priority, queuedAt: state.queuedAt });
      return;
    }
    await this.#order(live);
  }

  async #order(live: LiveRun): Promise<void> {
    if (live.stopRequested) return await this.#end(live, cancelledBeforeStart);
    const { link } = this.#parts;
    try {
      const spec = await this.#specOf(live);
      if ('phase' in spec) return await this.#end(live, spec);
      // The stop may have come meanwhile, and with its session's end an order that this one must not follow.
      if (live.stopRequested) return await this.#end(live, cancelledBeforeStart);
      live.delivery = 'sent';
      await link.order({ order: 'start', spec });
      live.delivery = 'accepted';
      live.source = null;
      this.#parts.live.changed(live);
      if (live.egressGeneration !== spec.egress.generation) this.#parts.egressOrders.send(live);
      if (live.stopRequested) this.#orderStop(live);
    } catch (error) {
      if (error instanceof LinkLost) return link.reset();
      if (!(error instanceof Fault)) throw error;
      await this.#end(live, {
        phase: 'failed',
        cause: 'provisioning',
        reason: error.detail,
        exit: neverRan,
      });
    }
  }

  /** The ending of a run that cannot be what was asked for any more. */
  async #specOf(live: LiveRun): Promise<RunSpec | Ending> {
    const { id, session, owner, spec, terminal } = live.record;
    const { env, repo } = live.source ?? (await this.#sourceOf(id, session));
    if (spec.envNames.some((name) => !Object.hasOwn(env, name))) return environmentLost;
    const asked = { names: live.record.egress.names, generation: live.egressGeneration };
    const { policy: egress, unenforced } = await this.#parts.egressPolicies.compile(asked);
    if (unenforced[0] !== undefined)
      return { phase: 'failed', cause: 'policy', reason: unenforced[0], exit: neverRan };
    const identity = await this.#parts.identities.first(live);
    const { command, cwd, limits, strict, diff } = spec;
    const whose = { run: id, session, owner };
    return { ...whose, repo, command, env, cwd, limits, strict, diff, terminal, egress, identity };
  }

  async #sourceOf(run: RunId, session: SessionId): Promise<StartSource> {
    const { store } = this.#parts;
    const [env, record] = await Promise.all([store.runs.envOf(run), store.sessions.get(session)]);
    this.#parts.secrets.environment(run, env ?? {});
    return { env: env ?? {}, repo: record?.repo ?? null, identity: null };
  }

  #orderStop(live: LiveRun): void {
    const { link } = this.#parts;
    if (live.ending) return;
    this.#go(
      link.order({ order: 'stop', run: live.record.id, as: 'cancelled' }).then(
        () => undefined,
        (error: unknown) => {
          this.#parts.logger.warn({ run: live.record.id, error: String(error) }, 'a stop is to be repeated');
        },
      ),
    );
  }

  async #cancelQueued(live: LiveRun): Promise<void> {
    const { session, priority, state, id } = live.record;
    try {
      await this.#write(live, { changes: () => [finish(this.#parts.clock.now(), cancelledBeforeStart)] });
    } catch (error) {
      live.stopRequested = false;
      this.#parts.scheduler.enqueue({ run: id, session, priority, queuedAt: state.queuedAt });
      throw error;
    }
  }

  async #running(live: LiveRun, at: number, heldBy: RunRecord['heldBy']): Promise<void> {
    const { writer, logger } = this.#parts;
    live.delivery = 'accepted';
    const write: RunWrite = {
      run: live.record.id,
      changes: (state) => (state.phase === 'starting' ? [{ to: 'running', at }] : []),
      heldBy,
    };
    try {
      const written = await writer.write(write, controlLimits.runningLingerMs);
      if (written.outcome === 'written' && !live.ended) live.record = written.record;
    } catch (error) {
      logger.error({ run: live.record.id, error: String(error) }, 'a running run could not be stored');
    }
    this.#parts.live.changed(live);
  }

  async #finished(
    event: RunFinished & { readonly recorded: StreamPlace },
    live: LiveRun | null,
  ): Promise<void> {
    const { store, link } = this.#parts;
    if (live === null) {
      const record = await store.runs.get(event.run);
      if (record === null) await link.order({ order: 'forget', runs: [event.run] }).catch(() => undefined);
      await link.order({ order: 'acknowledge', run: event.run }).catch(() => undefined);
      return;
    }
    if (live.ending) return;
    live.ending = true;
    await this.#parts.intake.settled(event.recorded);
    try {
      await this.#write(live, {
        changes: (state) => changesTo(state, event),
        heldBy: event.heldBy,
        usage: event.usage,
        artifacts: event.artifacts,
      });
    } catch (error) {
      await this.#repeat(live, error);
      return;
    }
    await link.order({ order: 'acknowledge', run: event.run }).catch(() => undefined);
  }

  /** The runner tells every unacknowledged end again on a new connection. */
  async #repeat(live: LiveRun, error: unknown): Promise<void> {
    this.#parts.logger.error({ run: live.record.id, error: String(error) }, 'an end could not be stored');
    await this.#pause(controlLimits.writeRetryMs);
    live.ending = false;
    this.#parts.link.reset();
  }

  /** An end that control itself decides. */
  async #end(live: LiveRun, ending: Ending): Promise<void> {
    if (live.ending) return;
    live.ending = true;
    try {
      await this.#write(live, { changes: () => [finish(this.#parts.clock.now(), ending)] });
    } catch (error) {
      await this.#repeat(live, error);
    }
  }

  async #write(live: LiveRun, write: Omit<RunWrite, 'run'>): Promise<void> {
    const written = await this.#parts.writer.write({ run: live.record.id, ...write });
    if (written.outcome === 'written') return this.#conclude(live, written.record);
    this.#parts.logger.error({ run: live.record.id, outcome: written.outcome }, 'an illegal end was refused');
    this.#parts.scheduler.release(live.record.id);
  }

  #conclude(live: LiveRun, record: RunRecord): void {
    this.#parts.live.end(live, record);
    this.#parts.scheduler.release(record.id);
    this.#parts.gate.note(endNote(record));
    this.#parts.secrets.ended(record.id);
  }

  #meet(hosted: RunnerStatus['live'][number]): void {
    const live = this.#parts.live.get(hosted.run);
    if (live === null) {
      this.#go(this.#stopStranger(hosted.run));
      return;
    }
    live.delivery = 'accepted';
    if (usesStoredPolicies(live.record.egress)) this.#parts.egressOrders.send(live);
    if (hosted.phase === 'running' && live.record.state.phase === 'starting')
      this.#go(this.#running(live, hosted.runningAt ?? this.#parts.clock.now(), hosted.heldBy));
    this.#parts.live.changed(live);
    if (live.stopRequested) this.#orderStop(live);
  }

  async #stopStranger(run: RunId): Promise<void> {
    this.#parts.logger.warn({ run }, 'the runner hosts a run that the store does not know as live');
    await this.#parts.link.order({ order: 'stop', run, as: 'cancelled' }).catch(() => undefined);
  }

  /** Ends that the runner kept may still be on their way right after a connection. */
  async #giveUp(lost: readonly LiveRun[], generation: number, recorded: StreamPlace): Promise<void> {
    await this.#pause(controlLimits.lostGraceMs);
    await this.#parts.intake.settled(recorded);
    if (this.#stopped.signal.aborted || this.#parts.link.generation !== generation) return;
    await Promise.all(lost.map((live) => this.#end(live, runnerLost)));
  }
}

/** Whether the runner may have begun: then the run is lost without it and never started a second time. */
function mayHaveRun(live: LiveRun): boolean {
  return live.delivery === 'accepted' || live.record.state.phase === 'running';
}

function finish(at: number, ending: Ending): RunChange {
  return { to: 'finished', at, ending };
}

function changesTo(state: RunState, event: RunFinished): RunChange[] {
  const changes: RunChange[] = [];
  if (isTerminal(state.phase)) return changes;
  if (state.phase === 'queued') changes.push({ to: 'starting', at: event.runningAt ?? event.at });
  if (state.phase !== 'running' && event.runningAt !== null)
    changes.push({ to: 'running', at: event.runningAt });
  return [...changes, finish(event.at, event.ending)];
}

const cancelledBeforeStart: Ending = {
  phase: 'cancelled',
  reason: 'It was stopped before it started.',
  exit: neverRan,
};

const environmentLost: Ending = {
  phase: 'failed',
  cause: 'provisioning',
  reason: 'The values of its environment are no longer known.',
  exit: neverRan,
};

const runnerLost: Ending = {
  phase: 'failed',
  cause: 'runner-lost',
  reason: 'The runner ended while it hosted this run.',
  exit: neverRan,
};

function endNote({ id, session, state }: RunRecord): Parameters<Gate['note']>[0] {
  const finished = 'finishedAt' in state ? state : null;
  return {
    action: 'run.end',
    actor: { id: 'system:control' },
    resource: { kind: 'run', id, session },
    outcome: state.phase === 'succeeded' ? 'succeeded' : 'failed',
    rule: 'runner:report',
    data: {
      phase: state.phase,
      cause: finished?.cause ?? null,
      exitCode: finished?.exit.code ?? null,
      signal: finished?.exit.signal ?? null,
    },
  };
}
