import type { Socket } from 'node:net';
import type {
  EgressDenial,
  EgressFlow,
  EgressFlowEnd,
  EgressProtocol,
  EgressRule,
} from '../../model/egress.ts';
import { looksAtRequests, protocolOfPort } from '../../model/egress-decide.ts';
import { canonicalHost } from '../../model/host-name.ts';
import { formatAddress, type IpAddress, parseAddress, unmapped } from '../../model/ip-address.ts';
import type { Exceeded } from '../allowance.ts';
import { Inlet } from '../inlet.ts';
import { gatewayLimits } from '../limits.ts';
import { type Destination, type SandboxDoor, seenOf } from '../sandbox-door.ts';
import { ClientHelloReader } from '../tls/client-hello.ts';
import { type Asked, allowedPath, serveHttp } from './http.ts';
import { lastWords, type Refused, refuse, status } from './refusal.ts';
import { splice } from './splice.ts';
import { serveTerminated } from './terminated.ts';

/** What the record says of a request. */
export type AskedFor = Pick<Partial<EgressFlow>, 'method' | 'path'>;

/** A proxy that a program came by: it named its destination there and is told there whether it may. */
export type Entrance = {
  /** Of the program's socket, with what came along already. */
  readonly inlet: Inlet;
  refuse(refused: Refused): void;
  /** Whether this head of a request is the proxy's to judge, and not one more for the same destination. */
  isElsewhere(head: Buffer): boolean;
};

/** An upstream connection whose address was checked. */
export type Opened = { readonly socket: Socket; readonly address: string };

/**
 * One connection of a sandbox, on its way through: destination, rule, what the bytes say they are, addresses,
 * record, and only then the first byte upstream (DESIGN §7). Never rejects.
 */
export class Connection {
  readonly door: SandboxDoor;
  readonly destination: Destination;
  /** The requests that are on their way, on a connection whose rule looks at requests. */
  readonly requests = new Set<Asked>();
  /** What the flows of its requests have counted. */
  readonly told = { bytesOut: 0, bytesIn: 0 };
  #client: Socket;
  #inlet: Inlet;
  /** What is seen of it: its requests, or bytes that pass untouched. */
  #sees: 'requests' | 'bytes' = 'bytes';
  #isSecured = false;
  /** That of the rule that allows the destination. */
  #protocol: EgressProtocol;
  readonly #upstreams = new Map<Socket, IpAddress>();
  /** Null once the program speaks to its destination. */
  #entrance: Entrance | null;
  #isCut = false;

  constructor(door: SandboxDoor, client: Socket, destination: Destination, entrance: Entrance | null = null) {
    this.door = door;
    this.#client = client;
    this.#inlet = entrance?.inlet ?? new Inlet(client);
    this.destination = destination;
    this.#protocol = protocolOfPort(destination.port);
    this.#entrance = entrance;
  }

  /** Towards the program: what was accepted, or the TLS that ends here. */
  get client(): Socket {
    return this.#client;
  }

  get inlet(): Inlet {
    return this.#inlet;
  }

  /** The program's TLS ends here, and what follows goes through this. */
  secured(client: Socket): void {
    this.#isSecured = true;
    this.#client = client;
    this.#inlet = new Inlet(client);
  }

  /** True once the policy that let it through is gone; both ends are then, too. */
  get isCut(): boolean {
    return this.#isCut;
  }

  async serve(): Promise<void> {
    this.client.on('error', () => undefined);
    await this.through((rule) => this.carry(rule));
  }

  /** Serves by the rule that allows the destination, where one does, and cuts that once none does any more. */
  async through(serve: (rule: EgressRule) => Promise<void>): Promise<void> {
    const decision = this.door.decide(this.destination);
    if ('denial' in decision) return this.deny(decision.denial, protocolOfPort(this.destination.port));
    const { rule } = decision;
    this.#protocol = rule.protocol;
    const exceeded = this.door.mayConnect();
    if (exceeded !== null) return this.deny(exceeded, rule.protocol);
    const untrack = this.door.track({ isAllowed: () => this.#isAllowed(rule), cut: () => this.#cut() });
    try {
      await serve(rule);
    } finally {
      untrack();
    }
  }

  /** By the protocol of the rule; from here on it is the destination that the program speaks to. */
  async carry(rule: EgressRule): Promise<void> {
    this.#entrance = null;
    if (rule.protocol === 'https') await this.#serveTls(rule);
    else if (rule.protocol === 'http') await this.carryRequests(rule);
    else await this.#serveRaw(rule);
  }

  /** Requests of HTTP/1, each judged on its own. */
  async carryRequests(rule: EgressRule): Promise<void> {
    this.#sees = 'requests';
    await serveHttp(this, rule, { open: () => this.open() });
  }

  /** Whether a request on it is not for this destination but for the proxy that it came by. */
  isElsewhere(head: Buffer): boolean {
    return this.#entrance?.isElsewhere(head) ?? false;
  }

  /** Puts it on the record and tells the program, in what it speaks: inside TLS that ends here, HTTP. */
  deny(
    why: EgressDenial | Exceeded,
    protocol = protocolOfPort(this.destination.port),
    more: AskedFor = {},
  ): void {
    const what = typeof why === 'object' ? ({ denial: 'limit', exceeded: why } as const) : { denial: why };
    this.noteDenial(what.denial, protocol, more);
    const refused = { destination: this.destination, protocol, ...more, ...what };
    if (this.#entrance !== null) this.#entrance.refuse(refused);
    else refuse(this.#client, this.#isSecured ? 'http' : protocol, refused);
  }

  noteDenial(denial: EgressDenial, protocol: EgressProtocol, more: AskedFor = {}): void {
    this.door.deny(denial, seenOf(this.destination, { protocol, ...more }));
  }

  /** A connection to the destination's checked addresses, or why there is none. */
  async open(): Promise<Opened | EgressDenial | 'unreachable'> {
    const { host, address, port } = this.destination;
    const addresses = host === null ? [address] : await this.door.upstreams.resolve(host);
    if (this.#isCut) return 'no-rule';
    if (addresses.length === 0) return 'unresolved';
    const dialable = this.door.dialable(addresses, port);
    if (dialable.length === 0) return 'address-class';
    const dialled = await this.door.upstreams.dial(dialable, port);
    if (dialled === null) return 'unreachable';
    const { socket } = dialled;
    socket.on('error', () => undefined);
    if (this.#isCut || this.client.destroyed) {
      socket.destroy();
      return this.#isCut ? 'no-rule' : 'unreachable';
    }
    this.#upstreams.set(socket, dialled.address);
    socket.once('close', () => this.#upstreams.delete(socket));
    return { socket, address: formatAddress(dialled.address) };
  }

  /** The flow's number once its verdict is durable, null where nothing may follow. */
  async allow(rule: EgressRule, address: string, more: AskedFor = {}): Promise<number | null> {
    const flow = await this.door.allow(rule, {
      ...seenOf(this.destination, { protocol: rule.protocol, ...more }),
      address,
    });
    if (flow === null || !this.#isCut) return flow;
    this.ended(flow, { bytesIn: 0, bytesOut: 0, outcome: 'cut' });
    return null;
  }

  /** Nothing may be sent: the verdict is not durable, unless what was recorded is cut already. */
  notAllowed(protocol: EgressProtocol, more: AskedFor = {}): void {
    if (!this.#isCut) this.deny('no-record', protocol, more);
  }

  ended(flow: number, end: Pick<EgressFlowEnd, 'bytesIn' | 'bytesOut' | 'outcome'>): void {
    this.door.ended(flow, this.#isCut ? { ...end, outcome: 'cut' } : end);
  }

  /** Why there may be no request now, on it or as it; null where there may, and then it is counted. */
  mayRequest(): Exceeded | null {
    return this.door.allowance.request();
  }

  /** Whether these bytes may go upstream. Where they may not, it is recorded and everything of the sandbox is cut. */
  maySend(bytes: number): boolean {
    if (this.door.maySend(bytes)) return true;
    this.noteDenial('limit', this.#protocol);
    return false;
  }

  /** The end of one of its requests. */
  endedRequest(flow: number, end: Pick<EgressFlowEnd, 'bytesIn' | 'bytesOut' | 'outcome'>): void {
    this.told.bytesOut += end.bytesOut;
    this.told.bytesIn += end.bytesIn;
    this.ended(flow, end);
  }

  #cut(): void {
    this.#isCut = true;
    for (const socket of [this.client, ...this.#upstreams.keys()]) socket.resetAndDestroy();
  }

  /** Whether the policy of now allows what is open: the destination, the addresses behind it and the request. */
  #isAllowed(first: EgressRule): boolean {
    const decision = this.door.decide(this.destination);
    if ('denial' in decision || decision.rule.protocol !== first.protocol) return false;
    if (this.#sees === 'bytes' && looksAtRequests(decision.rule)) return false;
    const dialled = [...this.#upstreams.values()];
    if (this.door.dialable(dialled, this.destination.port).length < dialled.length) return false;
    return [...this.requests].every((asked) => allowedPath(decision.rule, asked) !== null);
  }

  /**
   * The name that the hello asks for must be the one that was looked up; the bytes then pass untouched. TLS ends
   * here where a rule looks at requests, and where a hello hides its name: nobody can tell a name that is really
   * encrypted, behind which may be another, from the random bytes that browsers send in its place (RFC 9849 §6.2);
   * what ends here has the name that can be seen.
   */
  async #serveTls(rule: EgressRule): Promise<void> {
    const reader = new ClientHelloReader();
    const timer = setTimeout(() => this.client.destroy(), gatewayLimits.firstBytesMs);
    const hello = await this.#readHello(reader).finally(() => clearTimeout(timer));
    if (hello === null) return void this.client.destroy();
    if (hello.state === 'invalid') return this.deny(hello.isTls ? 'malformed' : 'protocol', 'https');
    const { host } = this.destination;
    const asked = hello.serverName === null ? null : canonicalHost(hello.serverName);
    if (host === null) return await this.#tunnel(rule, reader.bytes);
    if (asked !== host) return this.deny('name-mismatch', 'https');
    if (!looksAtRequests(rule) && hello.ech === 'none') return await this.#tunnel(rule, reader.bytes);
    this.#sees = 'requests';
    await serveTerminated(this, rule, { name: host, alpn: hello.alpn, bytes: reader.bytes });
  }

  async #readHello(reader: ClientHelloReader) {
    let first = true;
    let isTls = true;
    for (let chunk = await this.inlet.next(); chunk !== null; chunk = await this.inlet.next()) {
      if (first) isTls = chunk[0] === tlsHandshake;
      first = false;
      const step = reader.push(chunk);
      if (step.state === 'hello') return { state: 'hello', ...step.hello } as const;
      if (step.state === 'invalid') return { state: 'invalid', isTls } as const;
    }
    return null;
  }

  async #serveRaw(rule: EgressRule): Promise<void> {
    if (rule.protocol !== 'ssh') return await this.#tunnel(rule, this.inlet.takeHeld() ?? Buffer.alloc(0));
    // The program's banner may come before the server's or after it (RFC 4253 §4.2), so it is asked for first.
    const timer = setTimeout(() => this.client.destroy(), gatewayLimits.firstBytesMs);
    let seen = Buffer.alloc(0);
    while (seen.length < sshBanner.length) {
      const chunk = await this.inlet.next();
      if (chunk === null) break;
      seen = Buffer.concat([seen, chunk]);
    }
    clearTimeout(timer);
    if (!seen.subarray(0, sshBanner.length).equals(sshBanner)) return this.deny('protocol', 'ssh');
    await this.#tunnel(rule, seen);
  }

  async #tunnel(rule: EgressRule, first: Buffer): Promise<void> {
    const exceeded = this.mayRequest();
    if (exceeded !== null) return this.deny(exceeded, rule.protocol);
    const opened = await this.open();
    if (typeof opened === 'string') return await this.notOpened(rule, opened);
    const { socket, address } = opened;
    const flow = await this.allow(rule, address);
    if (flow === null) {
      socket.destroy();
      return this.notAllowed(rule.protocol);
    }
    if (first.length > 0 && this.maySend(first.length)) socket.write(first);
    const outcome = await splice(this.client, socket, (bytes) => this.maySend(bytes));
    this.ended(flow, { bytesOut: socket.bytesWritten, bytesIn: socket.bytesRead, outcome });
  }

  /** What there is to say and to record of a destination that was allowed and could not be reached. */
  async notOpened(rule: EgressRule, why: EgressDenial | 'unreachable', more: AskedFor = {}): Promise<void> {
    if (why !== 'unreachable') return this.deny(why, rule.protocol, more);
    const flow = await this.door.allow(rule, seenOf(this.destination, { protocol: rule.protocol, ...more }));
    if (flow !== null) this.ended(flow, { bytesIn: 0, bytesOut: 0, outcome: 'unreachable' });
    if (rule.protocol === 'http' || this.#isSecured || this.#entrance !== null)
      lastWords(this.#client, status(502, 'Bad Gateway', 'Sealwright: the upstream cannot be reached.\n'));
    else this.#client.resetAndDestroy();
  }
}

const tlsHandshake = 22;
const sshBanner = Buffer.from('SSH-');

/** Serves a connection that was accepted for `port` of a sandbox. */
export function serveConnection(door: SandboxDoor, client: Socket, port: number): void {
  const address = parseAddress(client.localAddress ?? '');
  if (address === null || !door.isOpen || !door.enter(client)) {
    client.resetAndDestroy();
    return;
  }
  const destination = door.destination(unmapped(address), port);
  new Connection(door, client, destination).serve().catch(() => client.destroy());
}
