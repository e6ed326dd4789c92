import assert from 'node:assert/strict';
import type { RunId, SessionId } from '../model/ids.ts';
import { controlLimits } from './limits.ts';

export type SchedulerConfig = {
  /** Runs that the host carries at a time. */
  readonly maxRuns: number;
  /** Runs that write to one workspace at a time. */
  readonly maxRunsPerSession: number;
};

export type Waiting = {
  readonly run: RunId;
  readonly session: SessionId;
  readonly priority: number;
  readonly queuedAt: number;
};

type Entry = Waiting & { readonly rank: number; readonly order: number };

/**
 * Who runs next, in memory and without time of its own. Every ten seconds of waiting weigh as much as one
 * point of priority, and among equals the first come is first: since all age alike, the order of two entries
 * never changes and is a number fixed on arrival. An entry whose session is busy is passed over.
 *
 * `start` is called for a run that has a slot; the slot stays taken until `release`. While the scheduler is
 * closed, as it is without a runner, nothing starts.
 */
export class Scheduler {
  readonly #config: SchedulerConfig;
  readonly #start: (run: RunId) => void;
  /** Sorted: the next one first. */
  readonly #queue: Entry[] = [];
  readonly #slots = new Map<RunId, SessionId>();
  readonly #perSession = new Map<SessionId, number>();
  readonly #waiting = new Map<SessionId, number>();
  #open = false;
  #arrivals = 0;
  #pumping = false;

  constructor(config: SchedulerConfig, start: (run: RunId) => void) {
    assert(config.maxRuns >= 1 && config.maxRunsPerSession >= 1, 'something can run');
    this.#config = config;
    this.#start = start;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  get running(): number {
    return this.#slots.size;
  }

  /** Takes a slot for a new run where nobody waits for it; false means that the run has to queue. */
  tryReserve(run: RunId, session: SessionId): boolean {
    if (!this.#open || this.#waiting.has(session) || !this.#hasRoom(session)) return false;
    this.occupy(run, session);
    return true;
  }

  /** The run has a slot whatever the limits say: it is live already. */
  occupy(run: RunId, session: SessionId): void {
    if (this.#slots.has(run)) return;
    this.#slots.set(run, session);
    this.#perSession.set(session, (this.#perSession.get(session) ?? 0) + 1);
  }

  /** Frees the slot of a run that has ended; anything else is left as it is. */
  release(run: RunId): void {
    const session = this.#slots.get(run);
    if (session === undefined) return;
    this.#slots.delete(run);
    subtract(this.#perSession, session);
    this.#pump();
  }

  enqueue(waiting: Waiting): void {
    const rank = waiting.queuedAt - waiting.priority * controlLimits.priorityPointMs;
    const entry = { ...waiting, rank, order: this.#arrivals++ };
    this.#queue.splice(this.#placeOf(entry), 0, entry);
    this.#waiting.set(entry.session, (this.#waiting.get(entry.session) ?? 0) + 1);
    this.#pump();
  }

  /** Whether the run was waiting; it will not start now. */
  dequeue(run: RunId): boolean {
    const index = this.#queue.findIndex((entry) => entry.run === run);
    if (index < 0) return false;
    this.#take(index);
    return true;
  }

  setOpen(open: boolean): void {
    this.#open = open;
    this.#pump();
  }

  #hasRoom(session: SessionId): boolean {
    const { maxRuns, maxRunsPerSession } = this.#config;
    return this.#slots.size < maxRuns && (this.#perSession.get(session) ?? 0) < maxRunsPerSession;
  }

  /** `start` may release or enqueue; those calls are served by the loop that is already going on. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      for (let next = this.#next(); next !== null; next = this.#next()) {
        this.occupy(next.run, next.session);
        this.#start(next.run);
      }
    } finally {
      this.#pumping = false;
    }
  }

  #next(): Entry | null {
    if (!this.#open || this.#slots.size >= this.#config.maxRuns) return null;
    const index = this.#queue.findIndex((entry) => this.#hasRoom(entry.session));
    return index < 0 ? null : this.#take(index);
  }

  #take(index: number): Entry {
    const [entry] = this.#queue.splice(index, 1);
    assert(entry !== undefined, 'the index is within the queue');
    subtract(this.#waiting, entry.session);
    return entry;
  }

  #placeOf(entry: Entry): number {
    let low = 0;
    let high = this.#queue.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#queue[middle]!;
      if (other.rank < entry.rank || (other.rank === entry.rank && other.order < entry.order))
        low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function subtract(counts: Map<SessionId, number>, session: SessionId): void {
  const left = (counts.get(session) ?? 0) - 1;
  if (left > 0) counts.set(session, left);
  else counts.delete(session);
}
