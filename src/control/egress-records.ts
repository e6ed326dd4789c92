import { setTimeout as pause } from 'node:timers/promises';
import type { JsonObject } from '../base/canonical-json.ts';
import type { EgressBatch } from '../contract/runner.ts';
import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import type { RunId } from '../model/ids.ts';
import type { RunRecord, Store } from '../store/store.ts';
import type { Gate, SystemNote } from './gate.ts';
import { controlLimits } from './limits.ts';
import type { LiveRun, LiveRuns } from './live-runs.ts';
import type { Logger } from './logger.ts';
import type { RunnerLink } from './runner-link.ts';

export type EgressRecordParts = {
  readonly store: Store;
  readonly live: LiveRuns;
  readonly link: RunnerLink;
  readonly gate: Gate;
  readonly logger: Logger;
};

type Told = { readonly fresh: readonly EgressFlow[]; readonly ends: readonly EgressFlowEnd[] };
type Owned = Pick<RunRecord, 'id' | 'session' | 'owner'>;

/**
 * Verdicts of the gateway: on the record before the runner hears that they are, and so before a byte of an allowed
 * flow goes out. Batches are taken in their order, many to a commit. What cannot be written is tried again for as long
 * as the connection that told it lasts; a new one tells it anew. They are in the store a moment later, and the runner
 * keeps them until then; a control that ends between the two has a verdict on the record twice, under one number.
 */
export class EgressRecords {
  readonly #parts: EgressRecordParts;
  readonly #stopped = new AbortController();
  #pending: EgressBatch[] = [];
  #draining: Promise<void> | null = null;
  #overflowed = false;
  /** The highest number of a flow that is on the record, for each live run. */
  readonly #highest = new WeakMap<LiveRun, number>();
  /** What is on the record and on its way to the store. */
  readonly #unkept = new Set<string>();
  #onKept: () => void = () => undefined;
  /** Settled but after a failure of the store: nothing then overtakes what is to be tried again. */
  #mended: Promise<void> = Promise.resolve();

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
    this.#onKept();
    await this.#draining;
  }

  async #drain(): Promise<void> {
    const { link, logger } = this.#parts;
    while (this.#pending.length > 0) {
      const { generation } = link;
      const batches = this.#next();
      let found: Told;
      try {
        await this.#room();
        found = await this.#record(batches);
      } catch (error) {
        logger.error({ error: String(error) }, 'verdicts of the gateway could not be recorded');
        await pause(controlLimits.writeRetryMs, undefined, { signal: this.#stopped.signal }).catch(() => {});
        if (this.#stopped.signal.aborted) break;
        if (link.generation === generation) this.#pending.unshift(...batches);
        continue;
      }
      const told = { generation, batches: batches.map(({ batch }) => batch) };
      void this.#keep(found, told);
      // A number of an earlier connection may stand for another batch on this one.
      if (link.generation !== generation) continue;
      void link.order({ order: 'recorded', batches: told.batches }).catch(() => undefined);
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

  /** Resolves when few enough wait for the store. */
  async #room(): Promise<void> {
    while (this.#unkept.size >= controlLimits.egressUnkeptMax && !this.#stopped.signal.aborted)
      await new Promise<void>((resolve) => {
        this.#onKept = resolve;
      });
  }

  /** Into the store, however long it takes; what is told again meanwhile finds it on the record. Never rejects. */
  async #keep({ fresh, ends }: Told, { generation, batches }: { generation: number; batches: number[] }) {
    const { store, link, live, logger } = this.#parts;
    const { signal } = this.#stopped;
    for (const flow of fresh) this.#unkept.add(keyOf(flow));
    for (await this.#mended; !signal.aborted; await this.#mended) {
      try {
        if (fresh.length + ends.length > 0) await store.flows.record(fresh, ends);
        if (link.generation === generation)
          void link.order({ order: 'kept', batches }).catch(() => undefined);
        break;
      } catch (error) {
        logger.error({ error: String(error) }, 'verdicts of the gateway could not be stored');
        this.#mended = pause(controlLimits.writeRetryMs, undefined, { signal }).catch(() => {});
      }
    }
    for (const flow of fresh) this.#unkept.delete(keyOf(flow));
    this.#onKept();
    for (const id of new Set(fresh.map(({ run }) => run))) {
      const running = live.get(id);
      if (running !== null) live.reached(running);
    }
  }

  async #record(batches: readonly EgressBatch[]): Promise<Told> {
    const { gate, live } = this.#parts;
    const told = batches.flatMap(({ flows }) => flows);
    const runs = await this.#ownersOf(new Set(batches.flatMap(({ flows, ends }) => [...flows, ...ends])));
    const fresh: EgressFlow[] = [];
    const notes: SystemNote[] = [];
    for (const [id, run] of runs) {
      const flows = told.filter((flow) => flow.run === id);
      if (run === null) {
        notes.push(...flows.filter(({ verdict }) => verdict === 'allowed').map(strangeNote));
        for (const flow of flows.filter(({ verdict }) => verdict === 'denied'))
          gate.note({ ...strangeNote(flow), countAs: `egress ${id}` });
      } else {
        const unknown = await this.#unknown(id, flows);
        fresh.push(...unknown);
        notes.push(...unknown.map((flow) => flowNote(flow, run)));
      }
    }
    await Promise.all(notes.map((note) => gate.record(note)));
    const ends = batches.flatMap((batch) => batch.ends).filter(({ run }) => runs.get(run) !== null);
    for (const { run, id } of fresh) {
      const running = live.get(run);
      if (running !== null) this.#highest.set(running, Math.max(this.#highest.get(running) ?? 0, id));
    }
    return { fresh, ends };
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
    const highest = await this.#highestOf(run);
    const doubtful = [...byId.keys()].filter((id) => id <= highest);
    const known = doubtful.length > 0 ? await this.#parts.store.flows.known(run, doubtful) : new Set();
    const isNew = (flow: EgressFlow) => !known.has(flow.id) && !this.#unkept.has(keyOf(flow));
    return [...byId.values()].reverse().filter(isNew);
  }

  /** No flow above it is on the record. */
  async #highestOf(run: RunId): Promise<number> {
    const { live, store } = this.#parts;
    const running = live.get(run);
    const remembered = running === null ? undefined : this.#highest.get(running);
    if (remembered !== undefined) return remembered;
    const { records } = await store.flows.newest(run, { before: null, limit: 1 });
    const highest = records[0]?.id ?? 0;
    if (running !== null) this.#highest.set(running, highest);
    return highest;
  }
}

function keyOf({ run, id }: EgressFlow): string {
  return `${run} ${id}`;
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

/** Nobody owns it, and its run is being stopped. What was allowed is on the record all the same; denials are counted. */
function strangeNote(flow: EgressFlow): SystemNote {
  return {
    action: flow.protocol === 'dns' ? 'egress.lookup' : 'egress.connect',
    actor: { id: 'system:control' },
    resource: { kind: 'run', id: flow.run },
    outcome: flow.verdict,
    rule: 'run:unknown',
    data: flowData(flow),
  };
}
