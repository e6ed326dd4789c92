import { Worker } from 'node:worker_threads';
import { Fault } from '../../contract/faults.ts';
import type { Logger } from '../logger.ts';
import type { Heads } from './indexer.ts';
import { searchLimits } from './limits.ts';
import type { Answered, FromThread, Question, ToThread } from './search-messages.ts';
import type { AuditSearch, EventPage, EventSearch, IndexCounts } from './search-types.ts';

/** What the thread is told when it starts. */
export type SearchThreadData = { readonly folder: string; readonly file: string; readonly heads: Heads };

export type SearchThreadOptions = SearchThreadData & {
  /** The thread's program, which opens an AuditSearch for `SearchThreadData` and serves it. */
  readonly program: URL;
  readonly logger: Logger;
};

type Waiting = { resolve(value: Answered): void; reject(error: Error): void };

/**
 * A search whose index is followed, read and made anew in a thread of its own, which starts at once. Where it dies its
 * questions end with Fault `audit.index-behind`, and another is started after `retryMs`.
 */
export function openSearchThread(options: SearchThreadOptions): AuditSearch {
  return new SearchThread(options);
}

class SearchThread implements AuditSearch {
  readonly #options: SearchThreadOptions;
  readonly #heads: Map<string, number>;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<() => void>();
  #worker: Worker | null = null;
  #again: NodeJS.Timeout | null = null;
  #next = 0;
  #closed = false;

  constructor(options: SearchThreadOptions) {
    this.#options = options;
    this.#heads = new Map(options.heads);
    this.#start();
  }

  async find(search: EventSearch): Promise<EventPage> {
    const page = (await this.#ask({ ask: 'find', search })) as EventPage;
    const events = page.events.map(({ line, cursor }) => ({
      line: Buffer.from(line.buffer, line.byteOffset, line.byteLength),
      cursor,
    }));
    return { ...page, events };
  }

  async counts(): Promise<IndexCounts> {
    return (await this.#ask({ ask: 'counts' })) as IndexCounts;
  }

  async rebuild(): Promise<IndexCounts> {
    return (await this.#ask({ ask: 'rebuild' })) as IndexCounts;
  }

  advanced(stream: string, seq: number): void {
    this.#heads.set(stream, Math.max(seq, this.#heads.get(stream) ?? 0));
    this.#worker?.postMessage({ advanced: { stream, seq } } satisfies ToThread);
  }

  onIndexed(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#again !== null) clearTimeout(this.#again);
    await this.#ask({ ask: 'close' }).catch(() => undefined);
    await this.#worker?.terminate();
  }

  #start(): void {
    const { program, folder, file } = this.#options;
    const workerData: SearchThreadData = { folder, file, heads: this.#heads };
    const worker = new Worker(program, { workerData });
    worker.on('message', (message: FromThread) => this.#receive(message));
    worker.on('error', (error) => this.#fail(worker, error));
    worker.on('exit', () => this.#fail(worker, new Error('the thread that searches ended')));
    // The log goes on without it, and a program that is done with everything else may end.
    worker.unref();
    this.#worker = worker;
  }

  #ask(question: Question): Promise<Answered> {
    const worker = this.#worker;
    if (worker === null) return Promise.reject(gone('the thread that searches is not running'));
    const id = this.#next++;
    const { promise, resolve, reject } = Promise.withResolvers<Answered>();
    this.#waiting.set(id, { resolve, reject });
    worker.ref();
    worker.postMessage({ id, question } satisfies ToThread);
    return promise;
  }

  #receive(message: FromThread): void {
    if ('indexed' in message) for (const listener of this.#listeners) listener();
    else if ('log' in message) this.#options.logger[message.log](message.fields, message.text);
    else {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (this.#waiting.size === 0) this.#worker?.unref();
      if ('value' in message) waiting?.resolve(message.value);
      else if ('fault' in message) waiting?.reject(new Fault(message.fault.code, message.fault));
      else waiting?.reject(new Error(message.problem));
    }
  }

  #fail(worker: Worker, error: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    for (const { reject } of this.#waiting.values()) reject(gone(String(error)));
    this.#waiting.clear();
    if (this.#closed) return;
    this.#options.logger.error({ reason: String(error) }, 'the thread that searches the audit log ended');
    this.#again = setTimeout(() => this.#start(), searchLimits.retryMs);
    this.#again.unref();
  }
}

function gone(message: string): Fault {
  return new Fault('audit.index-behind', {
    detail: 'The audit log cannot be searched at the moment. Nothing is lost; try again in a while.',
    message,
  });
}
