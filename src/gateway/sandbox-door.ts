import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { Authority } from '../base/certificates.ts';
import type { Clock } from '../base/clock.ts';
import type { EgressDenial, EgressFlow, EgressFlowEnd, EgressPolicy, EgressRule } from '../model/egress.ts';
import { knowsName, leadsToName, mayDial, ruleForAddress, ruleForName } from '../model/egress-decide.ts';
import type { RunId } from '../model/ids.ts';
import { addressClass, formatAddress, type IpAddress } from '../model/ip-address.ts';
import { Allowance, type Exceeded } from './allowance.ts';
import { gatewayLimits } from './limits.ts';
import { Denials, type Recorder } from './recorder.ts';
import type { Room } from './room.ts';
import { SyntheticNames } from './synthetic-names.ts';
import { SandboxTls } from './tls/sandbox-tls.ts';
import type { Upstreams } from './upstreams.ts';

/** What a program of the sandbox connected to, or named to a proxy: a name, or an address where there is none. */
export type Destination = {
  readonly host: string | null;
  /** Where it has a name, the address in the sandbox that led here. */
  readonly address: IpAddress;
  readonly port: number;
};

/** A connection that is to be cut when the policy stops allowing it. */
export type Live = { isAllowed(): boolean; cut(): void };

type Seen = Partial<Pick<EgressFlow, 'host' | 'address' | 'protocol' | 'method' | 'path'>> & { port: number };

/** One sandbox as the gateway knows it: its policy, its names and what is open. */
export class SandboxDoor {
  readonly upstreams: Upstreams;
  readonly tls: SandboxTls;
  readonly allowance: Allowance;
  readonly #room: Room;
  readonly #clock: Clock;
  readonly #recorder: Recorder;
  readonly #names: SyntheticNames;
  readonly #live = new Set<Live>();
  readonly #connections = new Set<Socket>();
  readonly #denials: Denials;
  #admitted: { readonly run: RunId; readonly policy: EgressPolicy } | null = null;
  #nextFlow = 1;
  /** Verdicts that are on their way to the record. */
  #waiting = 0;
  #closed = false;
  #onEmpty: () => void = () => undefined;

  constructor(parts: {
    upstreams: Upstreams;
    recorder: Recorder;
    clock: Clock;
    room: Room;
    era: number;
    authority: Authority;
  }) {
    this.upstreams = parts.upstreams;
    this.tls = new SandboxTls(parts.authority, () => parts.upstreams.roots());
    this.allowance = new Allowance(parts.clock);
    this.#room = parts.room;
    this.#clock = parts.clock;
    this.#recorder = parts.recorder;
    this.#names = new SyntheticNames(parts.era);
    this.#denials = new Denials(
      (facts) => this.#numbered(facts),
      (flow) => void this.#recorder.record(flow),
    );
  }

  get isOpen(): boolean {
    return this.#admitted !== null && !this.#closed;
  }

  /**
   * Lets through what the policy allows from now on and cuts what it does not allow any more: everything, where more
   * has been sent than it lets leave. Connections past its number stay, and none comes until there are fewer.
   */
  admit(run: RunId, policy: EgressPolicy, nextFlow: number, sentBefore = 0): void {
    this.#admitted = { run, policy };
    this.#nextFlow = Math.max(this.#nextFlow, nextFlow);
    const fits = this.allowance.change(policy.limits, sentBefore);
    for (const live of this.#live) if (!fits || !live.isAllowed()) live.cut();
  }

  /** Cuts everything. Resolves once the end of each flow is told. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#denials.close();
    this.#cutAll();
    for (const socket of this.#connections) socket.destroy();
    if (this.#live.size === 0) return;
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    await Promise.race([empty, pause(gatewayLimits.cutMs, undefined, { ref: false })]);
  }

  /** Whether there is room for one more connection, which counts until it is closed, whatever becomes of it. */
  enter(socket: Socket): boolean {
    const held = this.#connections.size;
    if (this.#closed || held >= gatewayLimits.connectionsPerSandboxMax || !this.#room.take(held))
      return false;
    this.#connections.add(socket);
    socket.once('close', () => {
      this.#connections.delete(socket);
      this.#room.leave();
    });
    return true;
  }

  /** Why there may be no further connection that a rule allows; null where there may. */
  mayConnect(): Exceeded | null {
    return this.allowance.connection(this.#live.size);
  }

  /** Whether these bytes may go upstream. Where they may not, everything that is open is cut. */
  maySend(bytes: number): boolean {
    const fits = this.allowance.send(bytes);
    if (!fits) this.#cutAll();
    return fits;
  }

  #cutAll(): void {
    for (const live of this.#live) live.cut();
  }

  /** The destination that an address and port inside the sandbox mean. */
  destination(address: IpAddress, port: number): Destination {
    return { host: this.#names.nameOf(address), address, port };
  }

  /** The address that is to stand for a canonical name; null where no rule names it or there are too many names. */
  addressFor(name: string, family: 4 | 6): string | null {
    if (!this.isOpen || !knowsName(this.#admitted!.policy, name)) return null;
    return this.#names.addressOf(name, family);
  }

  knowsName(name: string): boolean {
    return this.isOpen && knowsName(this.#admitted!.policy, name);
  }

  /** Whether names below it are known. */
  leadsToName(name: string): boolean {
    return this.isOpen && leadsToName(this.#admitted!.policy, name);
  }

  /** The rule that lets a connection through, or why there is none. */
  decide({ host, address, port }: Destination): { rule: EgressRule } | { denial: EgressDenial } {
    if (!this.isOpen) return { denial: 'no-rule' };
    const { policy } = this.#admitted!;
    const rule = host === null ? ruleForAddress(policy, address, port) : ruleForName(policy, host, port);
    if (rule !== null) return { rule };
    return { denial: host === null && addressClass(address) !== 'public' ? 'address-class' : 'no-rule' };
  }

  /** Those of the addresses that may be dialled, whatever name led to them. */
  dialable(addresses: readonly IpAddress[], port: number): readonly IpAddress[] {
    if (!this.isOpen) return [];
    const own = this.upstreams.own();
    return addresses.filter((address) => mayDial(this.#admitted!.policy, address, port, own));
  }

  track(live: Live): () => void {
    this.#live.add(live);
    return () => {
      this.#live.delete(live);
      if (this.#live.size === 0) this.#onEmpty();
    };
  }

  /** The number of the flow once its verdict is durable; null where that cannot be had. */
  async allow(rule: EgressRule, seen: Seen): Promise<number | null> {
    if (!this.isOpen || this.#waiting >= gatewayLimits.verdictsWaitingPerSandboxMax) return null;
    const flow = this.#flow(seen, { verdict: 'allowed', rule: rule.name, denial: null });
    this.#waiting += 1;
    const isRecorded = await this.#recorder.record(flow);
    this.#waiting -= 1;
    if (isRecorded) return flow.id;
    // It may be durable yet, once nobody acts on it any more.
    this.ended(flow.id, { bytesIn: 0, bytesOut: 0, outcome: 'cut' });
    return null;
  }

  deny(denial: EgressDenial, seen: Seen): void {
    if (!this.isOpen) return;
    const verdict = { verdict: 'denied', rule: null, denial } as const;
    this.#denials.add(this.#facts(seen, verdict));
  }

  ended(id: number, end: Pick<EgressFlowEnd, 'bytesIn' | 'bytesOut' | 'outcome'>): void {
    if (this.#admitted === null) return;
    this.#recorder.ended({ id, run: this.#admitted.run, at: this.#clock.now(), ...end });
  }

  #facts(seen: Seen, verdict: Pick<EgressFlow, 'verdict' | 'rule' | 'denial'>): FlowFacts {
    const { run, policy } = this.#admitted!;
    const nothing = { host: null, address: null, protocol: null, method: null, path: null };
    return { ...nothing, ...bounded(seen), ...verdict, run, generation: policy.generation };
  }

  #flow(seen: Seen, verdict: Pick<EgressFlow, 'verdict' | 'rule' | 'denial'>): EgressFlow {
    return this.#numbered(this.#facts(seen, verdict));
  }

  #numbered(facts: FlowFacts): EgressFlow {
    return { ...facts, id: this.#nextFlow++, at: this.#clock.now(), count: 1 };
  }
}

export type FlowFacts = Omit<EgressFlow, 'id' | 'at' | 'count'>;

/** What a flow is told to be, of what it is to and what was seen of it. */
export function seenOf({ host, address, port }: Destination, more: Omit<Seen, 'port'> = {}): Seen {
  return { host, address: host === null ? formatAddress(address) : null, port, ...more };
}

function bounded(seen: Seen): Seen {
  const cut = (text: string | null | undefined, max: number) => text?.slice(0, max) ?? null;
  const { host, method, path } = seen;
  return { ...seen, host: cut(host, 253), method: cut(method, 32), path: cut(path, 1_024) };
}
