import { rename, rm } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Fault } from '../../contract/faults.ts';
import { type AuditIndex, DamagedIndex } from '../../store/audit-index.ts';
import type { Logger } from '../logger.ts';
import { findEvents } from './find.ts';
import { AuditIndexer, type Heads, type Step } from './indexer.ts';
import { searchLimits } from './limits.ts';
import type { AuditSearch, EventPage, EventSearch, IndexCounts } from './search-types.ts';

export type SearchOptions = {
  /** Holds the streams. */
  readonly folder: string;
  /** The index; `<file>.next` while another one is made. */
  readonly file: string;
  readonly open: (file: string) => AuditIndex;
  /** What the log's own streams hold durably when this opens. */
  readonly heads: Heads;
  readonly logger: Logger;
};

/** A database with what lies beside it. */
const parts = ['', '-wal', '-shm'] as const;

/**
 * Keeps the index and follows the log into it, in the thread that opens it. An index that is missing, damaged, of
 * another version or of another log is made anew by itself.
 */
export async function openAuditSearch(options: SearchOptions): Promise<AuditSearch> {
  await removeIndex(`${options.file}.next`);
  const search = new IndexedSearch(options, await openAnyIndex(options));
  search.start();
  return search;
}

async function openAnyIndex({ file, open, logger }: SearchOptions): Promise<AuditIndex> {
  try {
    return open(file);
  } catch (error) {
    if (!(error instanceof DamagedIndex)) throw error;
    logger.warn({ reason: error.message }, 'the index of the audit log is made anew');
    await removeIndex(file);
    return open(file);
  }
}

async function removeIndex(file: string): Promise<void> {
  for (const part of parts) await rm(file + part, { force: true });
}

type Waiter = { readonly heads: Heads; readonly since: number; resolve(): void };
type Opened = { readonly index: AuditIndex; readonly indexer: AuditIndexer };

class IndexedSearch implements AuditSearch {
  readonly #options: SearchOptions;
  readonly #heads: Map<string, number>;
  readonly #listeners = new Set<() => void>();
  readonly #waiters = new Set<Waiter>();
  /** What uses the index now: it is not taken from under it. */
  readonly #uses = new Set<Promise<unknown>>();
  /** Null where it could not be opened again; the next step tries. */
  #opened: Opened | null;
  #following: Promise<void> = Promise.resolve();
  /** While the index is replaced. */
  #swap: Promise<void> | null = null;
  #rebuild: Promise<IndexCounts> | null = null;
  #wake = Promise.withResolvers<void>();
  #steps = 0;
  #closed = false;

  constructor(options: SearchOptions, index: AuditIndex) {
    this.#options = options;
    this.#heads = new Map(options.heads);
    this.#opened = this.#withIndexer(index);
  }

  start(): void {
    this.#following = this.#follow();
  }

  async find(search: EventSearch): Promise<EventPage> {
    await this.#caughtUp();
    return await this.#using(({ index }) => findEvents(this.#options.folder, index, search));
  }

  async counts(): Promise<IndexCounts> {
    return await this.#using(({ index }) => countsOf(index));
  }

  advanced(stream: string, seq: number): void {
    this.#heads.set(stream, Math.max(seq, this.#heads.get(stream) ?? 0));
    this.#wake.resolve();
  }

  onIndexed(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  rebuild(): Promise<IndexCounts> {
    this.#rebuild ??= this.#makeAnew().finally(() => {
      this.#rebuild = null;
    });
    return this.#rebuild;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#wake.resolve();
    await this.#following;
    await this.#rebuild?.catch(() => undefined);
    await this.#release();
  }

  #withIndexer(index: AuditIndex): Opened {
    const indexer = new AuditIndexer({ folder: this.#options.folder, index, heads: this.#heads });
    return { index, indexer };
  }

  /** Never rejects: what fails is tried again. */
  async #follow(): Promise<void> {
    while (!this.#closed) {
      this.#wake = Promise.withResolvers();
      const step = await this.#step().catch((error: unknown) => this.#failed(error));
      if (step?.found !== true) await this.#pause();
      else await nextTurn();
    }
  }

  /** Whoever waits goes on once the index holds what the log held when they asked. */
  async #step(): Promise<Step> {
    this.#steps += 1;
    const number = this.#steps;
    const step = await this.#using(({ indexer }) => indexer.step());
    const passed = ({ heads }: Waiter) => step.isDrained && this.#opened?.indexer.hasPassed(heads) === true;
    for (const waiter of this.#waiters)
      if (number > waiter.since && (!step.found || passed(waiter))) waiter.resolve();
    if (step.found) for (const listener of this.#listeners) listener();
    return step;
  }

  #failed(error: unknown): null {
    this.#options.logger.warn(
      { reason: String(error) },
      'the index of the audit log is not brought up to date',
    );
    return null;
  }

  async #pause(): Promise<void> {
    const timer = setTimeout(() => this.#wake.resolve(), searchLimits.pollMs);
    await this.#wake.promise;
    clearTimeout(timer);
  }

  async #caughtUp(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { heads: new Map(this.#heads), since: this.#steps, resolve };
    this.#waiters.add(waiter);
    this.#wake.resolve();
    const late = setTimeout(() => reject(behind()), searchLimits.catchUpMs);
    try {
      await promise;
    } finally {
      clearTimeout(late);
      this.#waiters.delete(waiter);
    }
  }

  /** An index that turns out to be damaged is replaced, and the log read into it again. */
  async #using<T>(act: (opened: Opened) => Promise<T>): Promise<T> {
    const opened = await this.#usable();
    const use = act(opened);
    this.#uses.add(use);
    try {
      return await use;
    } catch (error) {
      if (!(error instanceof DamagedIndex)) throw error;
      this.#uses.delete(use);
      if (this.#opened === opened) await this.#replace(() => removeIndex(this.#options.file));
      throw behind(error);
    } finally {
      this.#uses.delete(use);
    }
  }

  async #usable(): Promise<Opened> {
    for (;;) {
      if (this.#swap !== null) await this.#swap;
      else if (this.#opened !== null) return this.#opened;
      else await this.#replace(async () => undefined);
    }
  }

  async #makeAnew(): Promise<IndexCounts> {
    const { file, open } = this.#options;
    const next = `${file}.next`;
    await removeIndex(next);
    const { index, indexer } = this.#withIndexer(open(next));
    try {
      while (!this.#closed && (await indexer.step()).found) await nextTurn();
    } finally {
      await indexer.close();
      await index.close();
    }
    if (this.#closed) throw behind();
    await this.#replace(async () => {
      await removeIndex(file);
      await rename(next, file);
    });
    return await this.counts();
  }

  /** Closes the index, changes its files and opens what is there then. One at a time; whoever asks meanwhile waits. */
  async #replace(change: () => Promise<void>): Promise<void> {
    while (this.#swap !== null) await this.#swap;
    const swapped = Promise.withResolvers<void>();
    this.#swap = swapped.promise;
    try {
      await this.#release();
      await change();
      this.#opened = this.#withIndexer(await openAnyIndex(this.#options));
    } finally {
      this.#swap = null;
      swapped.resolve();
    }
  }

  async #release(): Promise<void> {
    await Promise.allSettled(this.#uses);
    const opened = this.#opened;
    this.#opened = null;
    await opened?.indexer.close();
    await opened?.index.close();
  }
}

function behind(cause?: DamagedIndex): Fault {
  return new Fault('audit.index-behind', {
    detail: 'The search index does not hold all events yet. Nothing is lost; try again in a while.',
    ...(cause === undefined ? {} : { message: cause.message, cause }),
  });
}

async function countsOf(index: AuditIndex): Promise<IndexCounts> {
  const marks = await index.marks();
  return {
    events: await index.last(),
    unreadable: marks.reduce((sum, { unreadable }) => sum + unreadable, 0),
  };
}
