import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { absent, Fault } from '../contract/faults.ts';
import {
  durationPattern,
  type EgressSimulationView,
  egressFull,
  type SimulateEgress,
} from '../contract/schemas.ts';
import type { ActorId } from '../model/actor.ts';
import type { EgressPolicy } from '../model/egress.ts';
import { isPresetName } from '../model/egress-presets.ts';
import { Simulation } from '../model/egress-simulate.ts';
import type { RunId, SessionId } from '../model/ids.ts';
import type { EndedRun, Store, Within } from '../store/store.ts';
import type { Caller } from './control.ts';
import { type EgressPolicies, smallest } from './egress-policies.ts';
import { invalidEgress, unenforceable } from './egress-requests.ts';
import type { Act, Gate } from './gate.ts';
import { controlLimits } from './limits.ts';
import type { LiveRuns } from './live-runs.ts';
import { shownOf } from './paging.ts';
import { readableRun, runAct } from './run-access.ts';
import { isWithin, withinOf } from './team-access.ts';

type SimulationParts = {
  readonly store: Store;
  readonly egressPolicies: EgressPolicies;
  readonly gate: Gate;
  readonly live: LiveRuns;
  readonly clock: Clock;
};

/** Whose flows are read, of runs that the caller `mayRead`. */
type Range = {
  readonly since: number;
  readonly run: RunId | null;
  readonly within: Within | undefined;
  readonly session: SessionId | undefined;
  readonly mayRead: (run: Parameters<typeof runAct>[1]) => boolean;
};

/**
 * Recorded flows against candidate policies. Reading many of them is work that only the caller wants, so one
 * simulation is done at a time, in short turns, with bounds on what it reads and how long; what goes past them makes
 * it `truncated`, the last flows first.
 */
export class EgressSimulations {
  readonly #parts: SimulationParts;
  readonly #callers = new Set<ActorId>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: SimulationParts) {
    this.#parts = parts;
  }

  /** Throws Fault `quota.exceeded` where one of the caller's is not done. */
  async simulate(
    caller: Caller,
    request: SimulateEgress,
    signal: AbortSignal,
  ): Promise<EgressSimulationView> {
    const range = await this.#rangeOf(caller, request);
    const policy = await this.#candidate(caller, request.policies);
    const { id } = caller.actor;
    if (this.#callers.has(id))
      throw new Fault('quota.exceeded', { detail: 'You have a simulation that is not done. Wait for it.' });
    this.#callers.add(id);
    const done = this.#last.then(() => this.#simulate(policy, range, signal));
    this.#last = done.catch(() => undefined);
    try {
      return await done;
    } finally {
      this.#callers.delete(id);
    }
  }

  async #simulate(policy: EgressPolicy, range: Range, signal: AbortSignal): Promise<EgressSimulationView> {
    const simulation = new Simulation(policy, controlLimits.simulateGroupsMax);
    const work = new Turns(this.#parts.clock, signal);
    let runs = 0;
    for await (const run of this.#runsOf(range, work)) {
      if (work.isOver) break;
      if (await this.#read(run, range.since, simulation, work)) runs += 1;
    }
    const { totals, groups, more } = simulation.summary(controlLimits.simulateGroupsShown);
    const since = new Date(range.since).toISOString();
    return { since, runs, totals, groups, more, truncated: work.isOver };
  }

  /** Whether the run had such flows. */
  async #read(run: RunId, since: number, simulation: Simulation, work: Turns): Promise<boolean> {
    let before: number | null = null;
    for (;;) {
      const page: Awaited<ReturnType<Store['flows']['newest']>> = await this.#parts.store.flows.newest(run, {
        before,
        limit: 200,
      });
      for (const flow of page.records) {
        if (flow.at < since) return before !== null;
        if (!(await work.mayRead())) return before !== null;
        simulation.add(flow);
        before = flow.id;
      }
      if (!page.more) return before !== null;
    }
  }

  async *#runsOf({ run, within, session, since, mayRead }: Range, work: Turns): AsyncGenerator<RunId> {
    if (run !== null) return yield run;
    const { live, store } = this.#parts;
    const running = live.all().map(({ record }) => record);
    const mine = running.filter(
      (record) => isWithin(within, record) && (session ?? record.session) === record.session,
    );
    for (const record of mine) if (mayRead(record)) yield record.id;
    const seen = new Set(mine.map(({ id }) => id));
    for (let after: EndedRun | null = null; ; ) {
      const page: Awaited<ReturnType<Store['flows']['runsSince']>> = await store.flows.runsSince(
        since,
        { within, session },
        { after, limit: 200 },
      );
      if (!(await work.mayVisit(page.records.length))) return;
      const unseen = page.records.filter(({ id, hasFlows }) => hasFlows && !seen.has(id));
      for (const { id } of await shownOf(unseen, mayRead)) yield id;
      after = page.records.at(-1) ?? null;
      if (!page.more) return;
    }
  }

  /** What the caller may see of what was asked for. What others' runs reached for is read on the record. */
  async #rangeOf(caller: Caller, { run, session, since, policies }: SimulateEgress): Promise<Range> {
    const { store, gate, clock } = this.#parts;
    const within = withinOf(caller.actor);
    const range: Range = {
      ...{ since: timeOf(since, clock.now()), run: run ?? null, within, session },
      mayRead: (found) => gate.may(caller, runAct('egress.simulate', found)),
    };
    if (run !== undefined) {
      await readableRun({ store, gate }, caller, run, 'egress.simulate');
      return range;
    }
    const found = session === undefined ? undefined : await store.sessions.get(session);
    if (found === null) throw absent('session');
    const names = policies.map(({ name }) => name ?? 'candidate');
    const act: Act = {
      action: 'egress.simulate',
      resource:
        found === undefined
          ? { kind: 'run' }
          : { kind: 'session', id: found.id, session: found.id, owner: found.owner, team: found.team },
      data: { policies: names, since: new Date(range.since).toISOString() },
    };
    const others = within === undefined || (within.teams.length > 0 && found?.team !== null);
    await (others ? gate.privileged(caller, act) : gate.read(caller, act));
    return range;
  }

  async #candidate(caller: Caller, asked: SimulateEgress['policies']): Promise<EgressPolicy> {
    const { egressPolicies, gate } = this.#parts;
    const isStored = ({ name }: { name?: string | undefined }) =>
      name !== undefined && name !== egressFull && !isPresetName(name);
    const stored = asked.filter(isStored).map(({ name }) => name!);
    const known = await egressPolicies.visible(gate, caller, stored);
    if (stored.some((name) => !known.has(name)))
      await gate.read(caller, { action: 'policy.read', resource: { kind: 'policy' } });
    const parts: EgressPolicy[] = [];
    for (const [index, { name, document }] of asked.entries()) {
      const at = `/policies/${index}`;
      if (isStored({ name }) && !known.has(name!))
        throw invalidEgress(`${at}/name`, `There is no preset or policy with the name ${name}.`);
      if (name === egressFull && asked.length > 1)
        throw invalidEgress(`${at}/name`, 'Nothing stands beside full.');
      parts.push(
        name === undefined ? this.#ofDocument(at, document!) : await this.#ofName(`${at}/name`, name),
      );
    }
    const rules = parts.flatMap((part) => part.rules);
    const { egressRulesMax } = controlLimits;
    if (rules.length > egressRulesMax)
      throw invalidEgress(
        '/policies',
        `These are ${rules.length} rules, of which a run takes ${egressRulesMax}.`,
      );
    const mode = parts.some((part) => part.mode === 'full') ? 'full' : 'restricted';
    return { mode, generation: 1, rules, limits: smallest(parts.map(({ limits }) => limits)) };
  }

  #ofDocument(at: string, document: NonNullable<Candidate['document']>): EgressPolicy {
    const compiled = this.#parts.egressPolicies.rulesOf('candidate', document);
    if ('problems' in compiled) throw unenforceable(`${at}/document`, compiled.problems);
    return { mode: 'restricted', generation: 1, ...compiled, limits: smallest([document.limits ?? {}]) };
  }

  async #ofName(at: string, name: string): Promise<EgressPolicy> {
    const { policy, unenforced } = await this.#parts.egressPolicies.compile({ names: [name], generation: 1 });
    if (unenforced[0] !== undefined) throw invalidEgress(at, unenforced[0]);
    return policy;
  }
}

type Candidate = SimulateEgress['policies'][number];

const unitMs: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 24 * 3_600_000,
  w: 7 * 24 * 3_600_000,
};

function timeOf(since: string | undefined, now: number): number {
  if (since === undefined) return now - controlLimits.simulateSinceMs;
  const [, amount, unit] = durationPattern.exec(since) ?? [];
  return unit === undefined ? Date.parse(since) : Math.max(0, now - Number(amount) * unitMs[unit]!);
}

/** Lets others in between, and says when it has been enough. */
class Turns {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #startedAt: number;
  #turnAt: number;
  #flows = 0;
  #runs = 0;
  isOver = false;

  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
    this.#startedAt = clock.monotonic();
    this.#turnAt = this.#startedAt;
  }

  /** Whether one more flow may be read. */
  async mayRead(): Promise<boolean> {
    this.#flows += 1;
    return await this.#goesOn(this.#flows <= controlLimits.simulateFlowsMax);
  }

  /** Whether so many more runs may be looked at. */
  async mayVisit(runs: number): Promise<boolean> {
    this.#runs += runs;
    return await this.#goesOn(this.#runs <= controlLimits.simulateRunsMax);
  }

  async #goesOn(fits: boolean): Promise<boolean> {
    const now = this.#clock.monotonic();
    this.isOver ||= !fits || this.#signal.aborted || now - this.#startedAt > controlLimits.simulateMs;
    if (now - this.#turnAt > controlLimits.simulateTurnMs) {
      await nextTurn();
      this.#turnAt = this.#clock.monotonic();
    }
    return !this.isOver;
  }
}
