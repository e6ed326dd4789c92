import { readdir } from 'node:fs/promises';
import { streamPattern } from '../../audit/event.ts';
import { type AuditIndex, DamagedIndex, type IndexedEvent } from '../../store/audit-index.ts';
import { FollowedStream, stillHas } from './follower.ts';
import { searchLimits } from './limits.ts';

/** The last durable event of each stream that this machine writes; of the others every whole line counts. */
export type Heads = ReadonlyMap<string, number>;

/**
 * `found` where something new was in the log. `isDrained` where every stream of which no head is known had nothing left
 * after the step began.
 */
export type Step = { readonly found: boolean; readonly isDrained: boolean };

/**
 * Brings all streams of a folder into an index, step by step, each event once and those of several streams by their
 * times. Not for two callers at once. A step that fails changes nothing: the next one takes it up again.
 */
export class AuditIndexer {
  readonly #folder: string;
  readonly #index: AuditIndex;
  readonly #heads: Heads;
  #streams: Map<string, FollowedStream> | null = null;

  constructor(parts: { folder: string; index: AuditIndex; heads: Heads }) {
    this.#folder = parts.folder;
    this.#index = parts.index;
    this.#heads = parts.heads;
  }

  /**
   * Puts the next events into the index. Throws DamagedIndex where the log is not the one
   * that was indexed, too: one that was restored, or cut.
   */
  async step(): Promise<Step> {
    try {
      const streams = await this.#follow();
      const { events, live } = await this.#nextEvents(streams);
      const isDrained = [...live].every(({ stream }) => this.#heads.has(stream));
      const marks = [...streams.values()].flatMap((stream) => stream.mark() ?? []);
      if (marks.length === 0) return { found: false, isDrained };
      await this.#index.add(events, marks);
      return { found: true, isDrained };
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Whether it took everything up to these heads. */
  hasPassed(heads: Heads): boolean {
    return [...heads].every(([stream, seq]) => (this.#streams?.get(stream)?.taken ?? 0) >= seq);
  }

  async close(): Promise<void> {
    const streams = this.#streams;
    this.#streams = null;
    for (const stream of streams?.values() ?? []) await stream.close();
  }

  /** The streams of the folder, those that are new among them. */
  async #follow(): Promise<Map<string, FollowedStream>> {
    const streams = this.#streams ?? (await this.#begin());
    this.#streams = streams;
    for (const name of await streamNames(this.#folder)) {
      if (streams.has(name)) continue;
      if (streams.size >= searchLimits.streamsMax)
        throw new Error(`there are more than ${searchLimits.streamsMax} streams`);
      const mark = { stream: name, seq: 0, digest: '', unreadable: 0 };
      streams.set(name, new FollowedStream(this.#folder, mark));
    }
    return streams;
  }

  async #begin(): Promise<Map<string, FollowedStream>> {
    const streams = new Map<string, FollowedStream>();
    for (const mark of await this.#index.marks()) {
      if (!(await stillHas(this.#folder, mark)))
        throw new DamagedIndex(`the stream ${mark.stream} is not the one that was indexed`);
      streams.set(mark.stream, new FollowedStream(this.#folder, mark));
    }
    return streams;
  }

  /** Streams that may have more are left in `live`. */
  async #nextEvents(streams: ReadonlyMap<string, FollowedStream>) {
    const events: IndexedEvent[] = [];
    const live = new Set(streams.values());
    for (let lines = 0; lines < searchLimits.stepEventsMax; lines += 1) {
      const first = await this.#firstOf(live);
      if (first === null) break;
      if (first.event !== null) events.push(first.event);
      first.from.take();
    }
    return { events, live };
  }

  /** The line that is next by time. A stream without one leaves `live`, until the next step. */
  async #firstOf(live: Set<FollowedStream>) {
    let first: { at: number; event: IndexedEvent | null; from: FollowedStream } | null = null;
    for (const from of live) {
      const next = await from.next(this.#heads.get(from.stream) ?? Number.POSITIVE_INFINITY);
      if (next === null) live.delete(from);
      else {
        // What is no event has no time, and goes first.
        const at = next.event?.at ?? 0;
        if (first === null || at < first.at) first = { at, event: next.event, from };
      }
    }
    return first;
  }
}

/** The folders of streams, by name; none where there is no folder. */
async function streamNames(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return entries
    .filter((entry) => entry.isDirectory() && streamPattern.test(entry.name))
    .map(({ name }) => name)
    .sort();
}
