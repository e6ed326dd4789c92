import { closeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';

/**
 * Network namespaces in which every address is local, made by a thread and kept ready. Each is used by one
 * sandbox, once.
 */
export class NamespacePool {
  readonly #worker: Worker;
  readonly #ready: number[] = [];
  readonly #size: number;
  readonly #waiting = new Map<number, { resolve: (fd: number) => void; reject: (error: Error) => void }>();
  #next = 0;
  #making = 0;
  #closed = false;

  constructor(workerUrl: URL, size: number) {
    this.#size = size;
    this.#worker = new Worker(workerUrl, { trackUnmanagedFds: false });
    this.#worker.on('message', (answer: { id: number; fd?: number; problem?: string }) =>
      this.#settle(answer),
    );
    this.#worker.on('error', (error) => this.#fail(error));
  }

  /** A file descriptor of a fresh namespace, which the caller closes. Rejects when the kernel refuses one. */
  async take(): Promise<number> {
    const fd = this.#ready.shift();
    this.#refill();
    return fd ?? (await this.#make());
  }

  /** Makes the first one and thereby proves that the machine can. */
  async prepare(): Promise<void> {
    this.#ready.push(await this.#make());
    this.#refill();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const fd of this.#ready.splice(0)) closeSync(fd);
    await this.#worker.terminate();
  }

  #refill(): void {
    while (!this.#closed && this.#ready.length + this.#making < this.#size) {
      this.#making += 1;
      this.#make().then(
        (fd) => {
          this.#making -= 1;
          if (this.#closed) closeSync(fd);
          else this.#ready.push(fd);
        },
        () => {
          this.#making -= 1;
        },
      );
    }
  }

  #make(): Promise<number> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage(id);
    });
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
