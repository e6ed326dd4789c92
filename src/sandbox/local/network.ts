import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { Authority } from '../../base/certificates.ts';
import { systemClock } from '../../base/clock.ts';
import { connectionState, type LoopbackFamily } from '../../base/sockets.ts';
import { Fault } from '../../contract/faults.ts';
import type { EgressPolicy } from '../../model/egress.ts';
import type { RunId } from '../../model/ids.ts';
import { type Door, type Gateway, type Listener, standingPorts, standingProxies } from '../gateway.ts';
import { localLimits } from './limits.ts';
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
  readonly #connections = new Set<Socket>();
  #connecting: Promise<unknown> = Promise.resolve();
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

  /**
   * A connection to what the workload listens with, at 127.0.0.1 or else at ::1. Where the gateway listens nobody of the
   * sandbox can, and the gateway is for the sandbox alone.
   */
  async connect(port: number): Promise<Socket> {
    const isTheGateways = this.#listeners.some(
      (listener) => listener.proxy === null && listener.port === port,
    );
    if (!isTheGateways)
      for (const family of ['inet', 'inet6'] as const) {
        const socket = await this.#connect(family, port);
        if (socket !== null) return socket;
      }
    throw new Fault('state.conflict', {
      detail: `Nobody in the sandbox accepts connections at port ${port}.`,
    });
  }

  async #connect(family: LoopbackFamily, port: number): Promise<Socket | null> {
    if (this.#closed !== null) return null;
    const connecting = this.#namespaces.connect(this.namespaceFd, family, port).catch(() => null);
    this.#connecting = Promise.all([this.#connecting, connecting]);
    const fd = await connecting;
    if (fd === null) return null;
    if (!(await this.#isConnected(fd))) {
      closeSync(fd);
      return null;
    }
    const socket = new Socket({ fd, allowHalfOpen: true });
    this.#connections.add(socket);
    socket.once('close', () => this.#connections.delete(socket));
    return socket;
  }

  /** Over loopback that is known at once, but where whoever listens accepts nothing. */
  async #isConnected(fd: number): Promise<boolean> {
    const givesUpAt = systemClock.monotonic() + localLimits.connectMs;
    for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, localLimits.connectMostMs)) {
      if (this.#closed !== null || systemClock.monotonic() > givesUpAt) return false;
      const state = connectionState(fd);
      if (state !== 'connecting') return state === 'connected';
      await pause(waitMs);
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    for (const socket of this.#connections) socket.destroy();
    // Who is asked to enter the namespace does so by the number that is closed below.
    await Promise.all([this.#changing, this.#connecting]);
    await this.#door?.close();
    for (const { fd } of this.#listeners) closeSync(fd);
    closeSync(this.namespaceFd);
  }
}
