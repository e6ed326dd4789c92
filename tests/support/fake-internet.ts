import { execFileSync } from 'node:child_process';
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { namespaceFlags, unshare } from '../../src/base/libc.ts';
import { dnsTypes, parseQuery } from '../../src/gateway/dns/message.ts';

/** Where the fake internet's hosts are. All but `own` are in networks that are local here and nobody's interface. */
export const places = {
  site: '93.184.216.34',
  other: '93.184.216.99',
  site6: '2606:2800:220::34',
  private: '10.1.2.3',
  metadata: '169.254.169.254',
  cgnat: '100.64.0.9',
  /** An address of this host's own interface: the control plane's, however public it looks. */
  own: '93.184.217.7',
} as const;

/** A name and the addresses that each answer holds in turn; the last one stays. */
export type Zone = Readonly<Record<string, readonly (readonly string[])[]>>;

export type Arrival = { readonly at: string; readonly port: number; readonly what: string };

/**
 * An internet in a network namespace of this process's own: DNS at 127.0.0.1, HTTP, HTTPS, SSH's banner and echo at
 * each place. The server under test is started from here, so that it lives in it; so does everything that this
 * process connects to from now on. For root; nothing leaves the namespace.
 */
export class FakeInternet {
  /** What arrived at any place: connections, requests, and names that were asked of the resolver. */
  readonly arrivals: Arrival[] = [];
  readonly lookups: string[] = [];
  readonly caFile: string;
  readonly keyFile: string;
  readonly #folder: string;
  readonly #zone: Zone;
  readonly #ttlSeconds: number;
  readonly #asked = new Map<string, number>();
  readonly #servers: (Server | DatagramSocket)[] = [];

  private constructor(zone: Zone, ttlSeconds: number) {
    this.#zone = zone;
    this.#ttlSeconds = ttlSeconds;
    this.#folder = mkdtempSync(join(tmpdir(), 'sealwright-internet-'));
    this.caFile = join(this.#folder, 'ca.pem');
    this.keyFile = join(this.#folder, 'key.pem');
  }

  /** Nobody keeps an answer, unless it may be kept for `ttlSeconds`. */
  static async open(zone: Zone, ttlSeconds = 0): Promise<FakeInternet> {
    unshare(namespaceFlags.net);
    const networks = [
      'link set lo up',
      `addr add ${places.own}/32 dev lo`,
      ...['93.184.216.0/24', '10.1.2.0/24', '169.254.169.254/32', '100.64.0.0/24'].map(
        (network) => `route add local ${network} dev lo`,
      ),
      'route add local 2606:2800:220::/48 dev lo',
    ];
    execFileSync('ip', ['-batch', '-'], { input: `${networks.join('\n')}\n` });
    // Of this thread's namespace; a route makes an IPv4 address one's own, for IPv6 this does.
    writeFileSync('/proc/sys/net/ipv6/ip_nonlocal_bind', '1');
    const internet = new FakeInternet(zone, ttlSeconds);
    internet.#makeCertificate(Object.keys(zone));
    await internet.#serveDns();
    for (const place of Object.values(places)) await internet.#servePlace(place);
    return internet;
  }

  close(): void {
    for (const server of this.#servers) server.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #makeCertificate(names: readonly string[]): void {
    const words = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    const files = ['-keyout', this.keyFile, '-out', this.caFile, '-days', '3650'];
    const alternatives = names.map((name) => `DNS:${name}`).join(',');
    const subject = ['-subj', '/CN=fake internet', '-addext', `subjectAltName=${alternatives}`];
    execFileSync('openssl', [...words, ...files, ...subject], { stdio: 'ignore' });
  }

  async #serveDns(): Promise<void> {
    const socket = createSocket('udp4');
    socket.on('message', (message, from) => {
      const query = parseQuery(message);
      if (query === null || 'refuse' in query) return;
      this.lookups.push(query.name);
      socket.send(
        answerTo(message, query.question, query.type, this.#turn(query.name), this.#ttlSeconds),
        from.port,
        from.address,
      );
    });
    socket.bind(53, '127.0.0.1');
    await once(socket, 'listening');
    this.#servers.push(socket);
  }

  /** The addresses that the name has this time; a lookup asks for both families. */
  #turn(name: string): readonly string[] | null {
    const answers = this.#zone[name.toLowerCase()];
    if (answers === undefined) return null;
    const asked = this.#asked.get(name) ?? 0;
    this.#asked.set(name, asked + 1);
    return answers[Math.min(Math.floor(asked / 2), answers.length - 1)] ?? [];
  }

  async #servePlace(host: string): Promise<void> {
    const tls = { key: readFileSync(this.keyFile), cert: readFileSync(this.caFile) };
    const http = (request: IncomingMessage, response: ServerResponse) =>
      this.#answer(host, request, response);
    await this.#listen(createHttpServer(http), host, 80);
    await this.#listen(createHttpServer(http), host, 8080);
    await this.#listen(createHttpsServer(tls, http), host, 443);
    const banner = (socket: Socket) => {
      socket.write('SSH-2.0-Fake\r\n');
      socket.pipe(socket);
    };
    await this.#listen(createServer(banner), host, 22);
    await this.#listen(
      createServer((socket) => socket.pipe(socket)),
      host,
      7,
    );
  }

  async #listen(server: Server, host: string, port: number): Promise<void> {
    server.on('connection', (socket: Socket) => {
      socket.on('error', () => undefined);
      this.arrivals.push({ at: host, port, what: 'connection' });
    });
    server.listen(port, host);
    await once(server, 'listening');
    this.#servers.push(server);
  }

  #answer(at: string, request: IncomingMessage, response: ServerResponse): void {
    const { port } = request.socket.address() as { port: number };
    const what = `${request.method} ${request.headers.host}${request.url}`;
    this.arrivals.push({ at, port, what });
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => {
      if (request.url?.startsWith('/redirect') === true)
        return response.writeHead(302, { location: `http://${places.metadata}/latest` }).end();
      if (request.url === '/slow') {
        const timer = setInterval(() => response.write('tick\n'), 50);
        response.on('close', () => clearInterval(timer));
        return response.write('tick\n');
      }
      return response.end(`reached ${at} ${what} ${bytes}\n`);
    });
  }
}

function answerTo(
  message: Buffer,
  question: Buffer,
  type: number,
  addresses: readonly string[] | null,
  ttlSeconds: number,
): Buffer {
  const family = type === dnsTypes.a ? 4 : type === dnsTypes.aaaa ? 6 : 0;
  const fitting = (addresses ?? []).filter((address) => (address.includes(':') ? 6 : 4) === family);
  const records = fitting.map((address) => {
    const data = family === 4 ? Buffer.from(address.split('.').map(Number)) : ipv6Bytes(address);
    const head = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, data.length]);
    head.writeUInt32BE(ttlSeconds, 6);
    return Buffer.concat([head, data]);
  });
  const head = Buffer.alloc(12);
  message.copy(head, 0, 0, 2);
  head.writeUInt16BE(addresses === null ? 0x8183 : 0x8180, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  return Buffer.concat([head, question, ...records]);
}

function ipv6Bytes(address: string): Buffer {
  const [front = '', back = ''] = address.split('::');
  const groups = (text: string) =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const [first, last] = [groups(front), groups(back)];
  const all = [...first, ...Array<number>(8 - first.length - last.length).fill(0), ...last];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}
