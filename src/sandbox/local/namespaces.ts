import { Worker } from 'node:worker_threads';
import type { LoopbackFamily } from '../../base/sockets.ts';
import type { ProxyKind } from '../../model/gateway-address.ts';
import type { Listener } from '../gateway.ts';

/** To the thread: listen at ports in a namespace that is there, or, for null, in a new one; or connect to one in it. */
export type NamespaceOrder = { readonly id: number } & Wanted;
type Wanted =
  | {
      readonly namespace: number | null;
      readonly ports: readonly number[];
      readonly proxies: readonly ProxyKind[];
    }
  | { readonly namespace: number; readonly connect: LoopbackFamily; readonly port: number };

export type NamespaceAnswer =
  | { readonly id: number; readonly fd: number; readonly listeners: readonly Listener[] }
  | { readonly id: number; readonly problem: string };

type Made = Extract<NamespaceAnswer, { fd: number }>;
type Waiting = { resolve: (made: Made) => void; reject: (error: Error) => void };

/** Makes network namespaces in which every address is local, and sockets in them, in a thread of its own. */
export class NamespaceMaker {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;

  constructor(workerUrl: URL) {
    this.#worker = new Worker(workerUrl, { trackUnmanagedFds: false });
    this.#worker.on('message', (answer: NamespaceAnswer) => this.#settle(answer));
    this.#worker.on('error', (error) => this.#fail(error));
  }

  /** A fresh namespace and its listeners, all of which the caller closes. Rejects when the kernel refuses one. */
  make(ports: readonly number[], proxies: readonly ProxyKind[]): Promise<Pick<Made, 'fd' | 'listeners'>> {
    return this.#order({ namespace: null, ports, proxies });
  }

  /** More listeners in a namespace, which the caller closes. Rejects when one of the ports is taken there. */
  async listen(namespaceFd: number, ports: readonly number[]): Promise<readonly Listener[]> {
    return (await this.#order({ namespace: namespaceFd, ports, proxies: [] })).listeners;
  }

  /** A socket on its way to a port of a namespace's loopback, which the caller closes (`connectLoopback`). */
  async connect(namespaceFd: number, family: LoopbackFamily, port: number): Promise<number> {
    return (await this.#order({ namespace: namespaceFd, connect: family, port })).fd;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
    this.#fail(new Error('the maker of namespaces was closed'));
  }

  #order(wanted: Wanted): Promise<Made> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...wanted, id } satisfies NamespaceOrder);
    });
  }

  #settle(answer: NamespaceAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ('fd' in answer) waiting?.resolve(answer);
    else waiting?.reject(new Error(answer.problem));
  }

  #fail(error: unknown): void {
    const failure = error instanceof Error ? error : new Error(String(error));
    for (const { reject } of this.#waiting.values()) reject(failure);
    this.#waiting.clear();
  }
}
