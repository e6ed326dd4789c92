import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';

/** To the thread: hash the text at this cost, or, where `kept` is a PHC string, say whether it is of the text. */
export type HashOrder = { readonly id: number; readonly text: string } & (
  | { readonly kept: null; readonly cost: HashCost }
  | { readonly kept: string }
);

export type HashCost = {
  readonly memoryCost: number;
  readonly timeCost: number;
  readonly parallelism: number;
  readonly outputLen: number;
  readonly salt: Uint8Array;
};

export type HashAnswer =
  | { readonly id: number; readonly value: string | boolean }
  | { readonly id: number; readonly problem: string };

type Waiting = { resolve(value: string | boolean): void; reject(error: Error): void };

const program = new URL(`./password-worker${extname(import.meta.filename)}`, import.meta.url);

/**
 * Argon2 in a thread of its own, which starts with the first call and keeps no program alive. Where it dies its calls
 * reject, and the next one starts another.
 */
export class PasswordThread {
  readonly #waiting = new Map<number, Waiting>();
  readonly #start: () => Worker;
  #worker: Worker | null = null;
  #next = 0;

  constructor(start = () => new Worker(program)) {
    this.#start = start;
  }

  async hash(text: string, cost: HashCost): Promise<string> {
    return (await this.#order({ text, kept: null, cost })) as string;
  }

  async verify(kept: string, text: string): Promise<boolean> {
    return (await this.#order({ text, kept })) as boolean;
  }

  #order(asked: { text: string; kept: null; cost: HashCost } | { text: string; kept: string }) {
    const worker = this.#running();
    const id = this.#next++;
    const { promise, resolve, reject } = Promise.withResolvers<string | boolean>();
    this.#waiting.set(id, { resolve, reject });
    // A call keeps the program alive until it is answered; an idle thread does not.
    worker.ref();
    worker.postMessage({ id, ...asked } satisfies HashOrder);
    return promise;
  }

  #running(): Worker {
    if (this.#worker !== null) return this.#worker;
    const worker = this.#start();
    worker.on('message', (answer: HashAnswer) => this.#settle(answer));
    worker.on('error', (error) => this.#fail(worker, error));
    worker.on('exit', () => this.#fail(worker, new Error('the thread that hashes passwords ended')));
    this.#worker = worker;
    return worker;
  }

  #settle(answer: HashAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (this.#waiting.size === 0) this.#worker?.unref();
    if ('value' in answer) waiting?.resolve(answer.value);
    else waiting?.reject(new Error(answer.problem));
  }

  #fail(worker: Worker, error: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    const failure = error instanceof Error ? error : new Error(String(error));
    for (const { reject } of this.#waiting.values()) reject(failure);
    this.#waiting.clear();
  }
}
