import { Worker } from 'node:worker_threads';

/** Makes network namespaces in which every address is local, in a thread of its own. */
export class NamespaceMaker {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve: (fd: number) => void; reject: (error: Error) => void }>();
  #next = 0;

  constructor(workerUrl: URL) {
    this.#worker = new Worker(workerUrl, { trackUnmanagedFds: false });
    this.#worker.on('message', (answer: { id: number; fd?: number; problem?: string }) =>
      this.#settle(answer),
    );
    this.#worker.on('error', (error) => this.#fail(error));
  }

  /** A file descriptor of a fresh namespace, which the caller closes. Rejects when the kernel refuses one. */
  make(): Promise<number> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage(id);
    });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
    this.#fail(new Error('the maker of namespaces was closed'));
  }

  #settle(answer: { id: number; fd?: number; problem?: string }): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.fd !== undefined) waiting?.resolve(answer.fd);
    else waiting?.reject(new Error(answer.problem));
  }

  #fail(error: unknown): void {
    const failure = error instanceof Error ? error : new Error(String(error));
    for (const { reject } of this.#waiting.values()) reject(failure);
    this.#waiting.clear();
  }
}
