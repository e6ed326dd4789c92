import type { RepoSource, RunStep } from '../contract/runner.ts';
import type { RunId, SessionId } from '../model/ids.ts';
import type { RunRecord } from '../store/store.ts';
import { controlLimits } from './limits.ts';

/** How far the order to start a run has come. `unknown`: a control process before this one may have sent it. */
export type Delivery = 'none' | 'unknown' | 'sent' | 'accepted';

/** A token that is being signed for a run that is about to be; when that began. */
export type EarlyIdentity = { readonly at: number; readonly token: Promise<string> };

/** What a start needs beside the record. */
export type StartSource = {
  readonly env: Readonly<Record<string, string>>;
  readonly repo: RepoSource | null;
  /** Null where it is made when the start is ordered. */
  readonly identity: EarlyIdentity | null;
};

/** What this process knows of a run that has not finished. */
export type LiveRun = {
  /** As last written to the store. */
  record: RunRecord;
  /** Kept until the runner has accepted the run; null where only the store holds it. */
  source: StartSource | null;
  delivery: Delivery;
  /** Of what it may reach, with every change that the store holds; the record may be older. */
  egressGeneration: number;
  /** When the token that it proves itself with was made; before all times where this process made none. */
  identityAt: number;
  /** How often verdicts of it were recorded, for those who wait for more. */
  flowsTold: number;
  stopRequested: boolean;
  /** Its end has been reported and is on its way to the store. */
  ending: boolean;
  /** Its end is durable. */
  ended: boolean;
  steps: { step: RunStep; at: number }[];
  readonly watchers: Set<() => void>;
};

/** The runs that have not finished, and those who wait for one to go on. Driven by events, never polled. */
export class LiveRuns {
  readonly #byId = new Map<RunId, LiveRun>();

  add(record: RunRecord, source: StartSource | null, delivery: Delivery): LiveRun {
    const live: LiveRun = {
      record,
      source,
      delivery,
      egressGeneration: record.egress.generation,
      identityAt: Number.NEGATIVE_INFINITY,
      flowsTold: 0,
      stopRequested: record.stopRequestedAt !== null,
      ending: false,
      ended: false,
      steps: [],
      watchers: new Set(),
    };
    this.#byId.set(record.id, live);
    return live;
  }

  get(id: RunId): LiveRun | null {
    return this.#byId.get(id) ?? null;
  }

  all(): LiveRun[] {
    return [...this.#byId.values()];
  }

  of(session: SessionId): LiveRun[] {
    return this.all().filter((live) => live.record.session === session);
  }

  step(live: LiveRun, step: RunStep, at: number): void {
    if (live.steps.length < controlLimits.stepsMax) live.steps.push({ step, at });
    this.changed(live);
  }

  /** More of what it reached for is in the store. */
  reached(live: LiveRun): void {
    live.flowsTold += 1;
    this.changed(live);
  }

  /** Tells those who wait to look again. */
  changed(live: LiveRun): void {
    for (const look of [...live.watchers]) look();
  }

  /** The run's end is durable: it is no longer live, and whoever waited for that goes on. */
  end(live: LiveRun, record: RunRecord): void {
    live.record = record;
    live.source = null;
    live.ended = true;
    this.#byId.delete(record.id);
    this.changed(live);
  }

  /** Resolves once the condition holds. Rejects with the signal's reason. */
  async until(live: LiveRun, holds: () => boolean, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (holds()) return;
    await new Promise<void>((resolve, reject) => {
      const settle = (act: () => void) => {
        live.watchers.delete(look);
        signal.removeEventListener('abort', abort);
        act();
      };
      const look = () => {
        if (holds()) settle(resolve);
      };
      const abort = () => settle(() => reject(signal.reason));
      live.watchers.add(look);
      signal.addEventListener('abort', abort, { once: true });
    });
  }
}
