import { closeSync } from 'node:fs';
import type { Authority } from '../../base/certificates.ts';
import type { EgressPolicy } from '../../model/egress.ts';
import type { RunId } from '../../model/ids.ts';
import { type Door, type Gateway, type Listener, standingPorts, standingProxies } from '../gateway.ts';
import type { NamespaceMaker } from './namespaces.ts';

/**
 * One sandbox's network: a namespace in which every address is local, and the listeners in it. The descriptors
 * are kept for as long as the sandbox lives, so that a gateway that was started anew gets them again.
 */
export class SandboxNetwork {
  readonly namespaceFd: number;
  readonly #namespaces: NamespaceMaker;
  readonly #door: Door | null;
  readonly #listeners: Listener[];
  #isAdmitted = false;
  #changing: Promise<void> = Promise.resolve();
  #closed: Promise<void> | null = null;

  private constructor(
    namespaces: NamespaceMaker,
    namespaceFd: number,
    listeners: readonly Listener[],
    door: Door | null,
  ) {
    this.#namespaces = namespaces;
    this.namespaceFd = namespaceFd;
    this.#listeners = [...listeners];
    this.#door = door;
  }

  /** Without a gateway nothing listens, and every connection is refused at once. */
  static async make(
    namespaces: NamespaceMaker,
    gateway: Gateway | null,
    authority: Authority,
  ): Promise<SandboxNetwork> {
    const [ports, proxies] = gateway === null ? [[], []] : [standingPorts, standingProxies];
    const { fd, listeners } = await namespaces.make(ports, proxies);
    return new SandboxNetwork(namespaces, fd, listeners, gateway?.open(listeners, authority) ?? null);
  }

  /** One policy after the other, in the order of the calls. */
  admit(run: RunId, policy: EgressPolicy): Promise<void> {
    const admitted = this.#changing.then(() => this.#admit(run, policy));
    this.#changing = admitted.catch(() => undefined);
    return admitted;
  }

  async #admit(run: RunId, policy: EgressPolicy): Promise<void> {
    if (this.#door === null || this.#closed !== null) return;
    const there = new Set(this.#listeners.flatMap(({ port, proxy }) => (proxy === null ? port : [])));
    const missing = [...new Set(policy.rules.flatMap(({ ports }) => ports))].filter(
      (port) => !there.has(port),
    );
    const tried = await Promise.allSettled(
      missing.map((port) => this.#namespaces.listen(this.namespaceFd, [port])),
    );
    const fresh = tried.flatMap((port) => (port.status === 'fulfilled' ? port.value : []));
    this.#listeners.push(...fresh);
    // Once it runs, the workload may hold a port itself: that must not keep the rest of a change from it.
    const refused = tried.find((port) => port.status === 'rejected');
    if (refused !== undefined && !this.#isAdmitted) throw refused.reason;
    this.#isAdmitted = true;
    await this.#door.admit(run, policy, fresh);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#changing;
    await this.#door?.close();
    for (const { fd } of this.#listeners) closeSync(fd);
    closeSync(this.namespaceFd);
  }
}
