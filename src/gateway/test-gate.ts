import { EventEmitter, once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { createSecureContext } from 'node:tls';
import { createAuthority } from '../base/certificates.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import {
  type EgressFlow,
  type EgressFlowEnd,
  type EgressLimits,
  type EgressPolicy,
  type EgressRule,
  unlimitedEgress,
} from '../model/egress.ts';
import type { RunId } from '../model/ids.ts';
import { formatAddress, type IpAddress, parseAddress, parseCidr } from '../model/ip-address.ts';
import { Connection } from './flow/connection.ts';
import { type FlowBatch, Recorder } from './recorder.ts';
import { Room } from './room.ts';
import { SandboxDoor } from './sandbox-door.ts';
import type { Upstreams } from './upstreams.ts';

export const run = 'run_test' as RunId;

export function hostRule(host: string, more: Partial<EgressRule> = {}): EgressRule {
  return { name: `test#${host}`, target: { host }, ports: [443], protocol: 'https', ...more };
}

export function cidrRule(cidr: string, more: Partial<EgressRule> = {}): EgressRule {
  return { name: `test#${cidr}`, target: { cidr }, ports: [9000], protocol: 'tcp', ...more };
}

/** Tells who waits that something changed. */
class Changes {
  readonly #emitter = new EventEmitter().setMaxListeners(0);

  tell(): void {
    this.#emitter.emit('change');
  }

  /** What `look` finds, once it finds something. */
  async until<T>(look: () => T | undefined | null | false): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== undefined && found !== null && found !== false) return found;
      await once(this.#emitter, 'change');
    }
  }
}

/** One end of a connection, as a program that reads all there is. */
export class Peer {
  readonly socket: Socket;
  readonly #changes = new Changes();
  #bytes = Buffer.alloc(0);
  #end: 'end' | 'reset' | 'close' | null = null;

  constructor(socket: Socket) {
    this.socket = socket;
    const settle = (how: 'end' | 'reset' | 'close') => {
      this.#end ??= how;
      this.#changes.tell();
    };
    socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#changes.tell();
    });
    socket.on('error', () => settle('reset')).on('end', () => settle('end'));
    socket.on('close', () => settle('close'));
  }

  /** All that came, a character a byte. */
  get text(): string {
    return this.#bytes.toString('latin1');
  }

  write(text: string | Buffer): void {
    this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
  }

  /** All that came, once it has this text; throws where the end comes before. */
  async until(text: string): Promise<string> {
    await this.#changes.until(() => this.text.includes(text) || this.#end !== null);
    if (!this.text.includes(text)) throw new Error(`${this.#end} after ${JSON.stringify(this.text)}`);
    return this.text;
  }

  /** How the other end stopped: an orderly end, or a reset. */
  async ended(): Promise<'end' | 'reset' | 'close'> {
    return await this.#changes.until(() => this.#end);
  }
}

/** A server that keeps every connection, for a test to speak in its place. */
export class TestSite {
  readonly peers: Peer[] = [];
  readonly server: Server;
  readonly #changes = new Changes();
  #taken = 0;

  private constructor() {
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.peers.push(new Peer(socket));
      this.#changes.tell();
    });
  }

  static async open(t: TestContext): Promise<TestSite> {
    const site = new TestSite();
    await listening(site.server);
    t.after(() => {
      site.server.close();
      for (const { socket } of site.peers) socket.destroy();
    });
    return site;
  }

  get port(): number {
    return portOf(this.server);
  }

  /** The next connection, in their order. */
  async next(): Promise<Peer> {
    const peer = await this.#changes.until(() => this.peers[this.#taken]);
    this.#taken += 1;
    return peer;
  }
}

type Dial = { readonly addresses: readonly string[]; readonly port: number };

/** Upstreams without a network: names by a table, and one local server for whatever is dialled. */
export class TestUpstreams implements Upstreams {
  readonly names = new Map<string, readonly string[]>();
  readonly asked: string[] = [];
  readonly dials: Dial[] = [];
  ownAddresses: readonly string[] = [];
  /** Certificates that upstreams are verified with. */
  authorities: string[] = [];
  /** The local port behind every address; null where nobody answers. */
  port: number | null = null;
  /** Settles before an answer is given, where a test holds it back. */
  resolving: Promise<void> = Promise.resolve();
  dialling: Promise<void> = Promise.resolve();
  readonly changes = new Changes();

  async resolve(name: string): Promise<readonly IpAddress[]> {
    this.asked.push(name);
    this.changes.tell();
    await this.resolving;
    return (this.names.get(name) ?? []).map((address) => parseAddress(address)!);
  }

  async dial(addresses: readonly IpAddress[], port: number) {
    this.dials.push({ addresses: addresses.map(formatAddress), port });
    this.changes.tell();
    await this.dialling;
    if (this.port === null) return null;
    const socket = connect({ host: '127.0.0.1', port: this.port, allowHalfOpen: true, noDelay: true });
    await once(socket, 'connect');
    return { socket, address: addresses[0]! };
  }

  own() {
    return this.ownAddresses.map((cidr) => parseCidr(cidr)!);
  }

  roots() {
    return createSecureContext({ ca: this.authorities });
  }
}

type GateOptions = {
  readonly rules: readonly EgressRule[];
  readonly mode?: EgressPolicy['mode'];
  readonly site?: TestSite | { readonly port: number };
  /** Batches wait for `acknowledge`. */
  readonly byHand?: boolean;
  readonly clock?: Clock;
};

export const siteAddress = '93.184.216.34';
export const siteHost = 'site.test';

/** A door that is admitted, with its record, and programs that connect through it. */
export class TestGate {
  readonly upstreams = new TestUpstreams();
  readonly authority = createAuthority(Date.now());
  readonly batches: FlowBatch[] = [];
  readonly recorder: Recorder;
  readonly door: SandboxDoor;
  readonly changes = new Changes();
  byHand: boolean;
  #acknowledged = 0;
  #generation = 0;
  readonly #server: Server;
  readonly #sockets: Socket[] = [];
  readonly #servers: Server[] = [];

  constructor(
    t: TestContext,
    { rules, mode = 'restricted', site, byHand = false, clock = systemClock }: GateOptions,
  ) {
    this.byHand = byHand;
    this.recorder = new Recorder((batch) => this.#take(batch));
    this.door = new SandboxDoor({
      upstreams: this.upstreams,
      recorder: this.recorder,
      clock,
      room: new Room(100_000),
      era: 0,
      authority: this.authority,
    });
    this.upstreams.names.set(siteHost, [siteAddress]);
    this.upstreams.port = site?.port ?? null;
    this.admit(rules, mode);
    this.#server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true });
    t.after(() => {
      for (const server of [this.#server, ...this.#servers]) server.close();
      void this.door.close();
      for (const socket of this.#sockets) socket.destroy();
      for (const { batch } of this.batches) this.recorder.recorded(batch);
    });
  }

  get flows(): EgressFlow[] {
    return this.batches.flatMap(({ flows }) => flows);
  }

  get ends(): EgressFlowEnd[] {
    return this.batches.flatMap(({ ends }) => ends);
  }

  admit(
    rules: readonly EgressRule[],
    mode: EgressPolicy['mode'] = 'restricted',
    limits: Partial<EgressLimits> = {},
    sentBefore = 0,
  ): void {
    this.#generation += 1;
    const policy = { mode, generation: this.#generation, rules, limits: { ...unlimitedEgress, ...limits } };
    this.door.admit(run, policy, 1, sentBefore);
  }

  /** Makes everything durable that was told. */
  acknowledge(): void {
    for (const { batch } of this.batches.slice(this.#acknowledged)) this.recorder.recorded(batch);
    this.#acknowledged = this.batches.length;
  }

  async flow(at = 0): Promise<EgressFlow> {
    return await this.changes.until(() => this.flows[at]);
  }

  async end(at = 0): Promise<EgressFlowEnd> {
    return await this.changes.until(() => this.ends[at]);
  }

  /** A connected pair: the program's end and the gateway's. */
  async pair(): Promise<{ program: Peer; socket: Socket }> {
    if (!this.#server.listening) await listening(this.#server);
    const accepted = once(this.#server, 'connection') as Promise<[Socket]>;
    const port = portOf(this.#server);
    const program = new Peer(connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true }));
    const [socket] = await accepted;
    this.#sockets.push(program.socket, socket);
    return { program, socket };
  }

  /** A program's connection to a name, or to an address, through the gateway. */
  async connect(
    target: string,
    port: number,
  ): Promise<{ program: Peer; served: Promise<void>; socket: Socket }> {
    const { program, socket } = await this.pair();
    const literal = parseAddress(target);
    const address = literal ?? parseAddress(this.door.addressFor(target, 4) ?? '198.19.255.255')!;
    const destination = { host: literal === null ? target : null, address, port };
    return { program, socket, served: new Connection(this.door, socket, destination).serve() };
  }

  /** A local port at which real clients reach a name through the gateway, as if they had looked it up. */
  async portTo(name: string, port: number): Promise<number> {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
      this.#sockets.push(socket);
      const address = parseAddress(this.door.addressFor(name, 4)!)!;
      void new Connection(this.door, socket, { host: name, address, port }).serve();
    });
    await listening(server);
    this.#servers.push(server);
    return portOf(server);
  }

  /** A program's connection to a proxy. */
  async proxied(serve: (door: SandboxDoor, socket: Socket) => void): Promise<Peer> {
    const { program, socket } = await this.pair();
    socket.on('error', () => undefined);
    serve(this.door, socket);
    return program;
  }

  #take(batch: FlowBatch): void {
    this.batches.push(batch);
    this.changes.tell();
    if (!this.byHand) queueMicrotask(() => this.acknowledge());
  }
}

export async function listening(server: Server): Promise<void> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
}

export function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** Lets whatever is ready in the event loop happen, for a test that something does not. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
