import { setTimeout as pause } from 'node:timers/promises';
import type { JsonObject } from '../base/canonical-json.ts';
import type { EgressBatch } from '../contract/runner.ts';
import type { EgressFlow } from '../model/egress.ts';
import type { RunId } from '../model/ids.ts';
import type { RunRecord, Store } from '../store/store.ts';
import type { Gate, SystemNote } from './gate.ts';
import { controlLimits } from './limits.ts';
import type { LiveRuns } from './live-runs.ts';
import type { Logger } from './logger.ts';
import type { RunnerLink } from './runner-link.ts';

export type EgressRecordParts = {
  readonly store: Store;
  readonly live: LiveRuns;
  readonly link: RunnerLink;
  readonly gate: Gate;
  readonly logger: Logger;
};

type Owned = Pick<RunRecord, 'id' | 'session' | 'owner'>;

/**
 * Verdicts of the gateway: on the record and in the store before the runner hears that they are, and so before a
 * byte of an allowed flow goes out. Batches are taken in their order, many to a commit. What cannot be written is
 * tried again for as long as the connection that told it lasts; a new one tells it anew.
 */
export class EgressRecords {
  readonly #parts: EgressRecordParts;
  readonly #stopped = new AbortController();
  #pending: EgressBatch[] = [];
  #draining: Promise<void> | null = null;
  #overflowed = false;

  constructor(parts: EgressRecordParts) {
    this.#parts = parts;
  }

  take(batch: EgressBatch): void {
    if (this.#pending.length >= controlLimits.egressBatchesMax) this.#overflowed = true;
    else this.#pending.push(batch);
    this.#draining ??= this.#drain();
  }

  /** The connection is gone, and with it the numbers of its batches. */
  forget(): void {
    this.#pending = [];
    this.#overflowed = false;
  }

  /** Resolves when what was told so far is recorded, and at the latest after a moment: no end waits for a verdict. */
  async settled(): Promise<void> {
    if (this.#draining === null) return;
    const late = pause(controlLimits.egressSettleMs, undefined, { ref: false });
    await Promise.race([this.#draining, late]);
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    this.forget();
    await this.#draining;
  }

  async #drain(): Promise<void> {
    const { link, logger } = this.#parts;
    while (this.#pending.length > 0) {
      const { generation } = link;
      const batches = this.#next();
      try {
        await this.#record(batches);
      } catch (error) {
        logger.error({ error: String(error) }, 'verdicts of the gateway could not be recorded');
        await pause(controlLimits.writeRetryMs, undefined, { signal: this.#stopped.signal }).catch(() => {});
        if (this.#stopped.signal.aborted) break;
        if (link.generation === generation) this.#pending.unshift(...batches);
        continue;
      }
      // A number of an earlier connection may stand for another batch on this one.
      if (link.generation !== generation) continue;
      for (const { batch } of batches) void link.order({ order: 'recorded', batch }).catch(() => undefined);
    }
    this.#draining = null;
    // What did not fit is told again on a new connection.
    if (this.#overflowed && !this.#stopped.signal.aborted) link.reset();
  }

  #next(): EgressBatch[] {
    const batches: EgressBatch[] = [];
    let flows = 0;
    do {
      const batch = this.#pending.shift()!;
      flows += batch.flows.length;
      batches.push(batch);
    } while (this.#pending.length > 0 && flows < controlLimits.egressFlowsPerCommit);
    return batches;
  }

  async #record(batches: readonly EgressBatch[]): Promise<void> {
    const { store, gate, live } = this.#parts;
    const told = batches.flatMap(({ flows }) => flows);
    const runs = await this.#ownersOf(new Set(batches.flatMap(({ flows, ends }) => [...flows, ...ends])));
    const fresh: EgressFlow[] = [];
    for (const [id, run] of runs) {
      const flows = told.filter((flow) => flow.run === id);
      if (run === null) for (const flow of flows) gate.note(strangeNote(flow));
      else fresh.push(...(await this.#unknown(id, flows)));
    }
    await Promise.all(fresh.map((flow) => gate.record(flowNote(flow, runs.get(flow.run)!))));
    const ends = batches.flatMap((batch) => batch.ends).filter(({ run }) => runs.get(run) !== null);
    if (fresh.length + ends.length > 0) await store.flows.record(fresh, ends);
    for (const id of new Set(fresh.map(({ run }) => run))) {
      const running = live.get(id);
      if (running !== null) live.reached(running);
    }
  }

  async #ownersOf(told: ReadonlySet<{ readonly run: RunId }>): Promise<Map<RunId, Owned | null>> {
    const { store, live } = this.#parts;
    const runs = new Map<RunId, Owned | null>();
    for (const { run } of told)
      if (!runs.has(run)) runs.set(run, live.get(run)?.record ?? (await store.runs.get(run)));
    return runs;
  }

  /** Flows that were not recorded before, each once. */
  async #unknown(run: RunId, flows: readonly EgressFlow[]): Promise<EgressFlow[]> {
    const byId = new Map(flows.toReversed().map((flow) => [flow.id, flow]));
    const known = await this.#parts.store.flows.known(run, [...byId.keys()]);
    return [...byId.values()].reverse().filter(({ id }) => !known.has(id));
  }
}

function flowNote(flow: EgressFlow, { id, session, owner }: Owned): SystemNote {
  const { verdict, rule, denial } = flow;
  return {
    action: flow.protocol === 'dns' ? 'egress.lookup' : 'egress.connect',
    actor: { id: owner },
    resource: { kind: 'run', id, session },
    outcome: verdict,
    rule: `egress:${(verdict === 'allowed' ? rule : denial) ?? 'unnamed'}`,
    data: flowData(flow),
  };
}

function flowData(flow: EgressFlow): JsonObject {
  const { id, at, host, address, port, protocol, method, path, denial, generation, count } = flow;
  return {
    ...{ flow: id, at: new Date(at).toISOString() },
    ...{ host, address, port, protocol, method, path, denial, generation, count },
  };
}

/** The first of a run is a line, and the others are counted: nobody owns them, and the run is being stopped. */
function strangeNote(flow: EgressFlow): SystemNote {
  return {
    action: flow.protocol === 'dns' ? 'egress.lookup' : 'egress.connect',
    actor: { id: 'system:control' },
    resource: { kind: 'run', id: flow.run },
    outcome: flow.verdict,
    rule: 'run:unknown',
    data: flowData(flow),
    countAs: `egress ${flow.run}`,
  };
}
