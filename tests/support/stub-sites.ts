import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createSecureServer } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import type { Server, Socket } from 'node:net';
import type { FakeInternet } from './fake-internet.ts';

/** What a site answers to a request whose body is read; null where it has no such page. */
export type Site = (request: IncomingMessage, body: Buffer) => string | Buffer | null;

/** Where sites of a fake internet are that a test serves itself; HTTP/2 is spoken at a port of its own. */
export const stubAddress = '93.184.216.50';
export const http2Port = 8443;

/**
 * Servers by name at one address of the fake internet: HTTP, HTTPS, HTTP/2, and WebSockets that say each message
 * back. `requests` are what has come, such as `GET https://site.example/path`.
 */
export class StubSites {
  readonly requests: string[] = [];
  readonly #sites: Readonly<Record<string, Site>>;
  readonly #servers: Server[] = [];

  private constructor(sites: Readonly<Record<string, Site>>) {
    this.#sites = sites;
  }

  static async open(internet: FakeInternet, sites: Readonly<Record<string, Site>>): Promise<StubSites> {
    const stub = new StubSites(sites);
    const tls = { key: readFileSync(internet.keyFile), cert: readFileSync(internet.caFile) };
    const answer = (scheme: string) => (request: IncomingMessage, response: ServerResponse) =>
      void stub.#answer(scheme, request, response);
    const upgrade = (scheme: string) => (request: IncomingMessage, socket: Socket) =>
      stub.#upgrade(scheme, request, socket);
    await stub.#listen(createServer(answer('http')).on('upgrade', upgrade('ws')), 80);
    await stub.#listen(createHttpsServer(tls, answer('https')).on('upgrade', upgrade('wss')), 443);
    const http2 = createSecureServer(tls).on('stream', (stream, headers) => {
      stub.requests.push(`${headers[':method']} h2://${headers[':authority']}${headers[':path']}`);
      stream.respond({ ':status': 200 });
      stream.end('by HTTP/2\n');
    });
    await stub.#listen(http2 as unknown as Server, http2Port);
    return stub;
  }

  close(): void {
    for (const server of this.#servers) server.close();
  }

  async #listen(server: Server, port: number): Promise<void> {
    server.on('connection', (socket: Socket) => socket.on('error', () => undefined));
    server.listen(port, stubAddress);
    await once(server, 'listening');
    this.#servers.push(server);
  }

  async #answer(scheme: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { host = '' } = request.headers;
    this.requests.push(`${request.method} ${scheme}://${host}${request.url}`);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const page = this.#sites[host]?.(request, Buffer.concat(chunks)) ?? null;
    if (page === null) return void response.writeHead(404).end('no such page\n');
    response.writeHead(200, { 'content-type': typeOf(page) }).end(page);
  }

  #upgrade(scheme: string, request: IncomingMessage, socket: Socket): void {
    this.requests.push(`GET ${scheme}://${request.headers.host}${request.url}`);
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.on('data', (frame: Buffer) => {
      socket.write(saidBack(frame));
      if ((frame[0]! & 0x0f) === closing) socket.end();
    });
  }
}

function typeOf(page: string | Buffer): string {
  if (typeof page !== 'string') return 'application/octet-stream';
  if (page.startsWith('data:')) return 'text/event-stream';
  if (page.startsWith('{')) return 'application/json';
  return page.startsWith('<') ? 'text/html' : 'text/plain';
}

const closing = 8;

/** One short frame that came masked, unmasked (RFC 6455 §5). */
function saidBack(frame: Buffer): Buffer {
  const length = frame[1]! & 0x7f;
  const mask = frame.subarray(2, 6);
  const payload = frame.subarray(6, 6 + length).map((byte, index) => byte ^ mask[index % 4]!);
  return Buffer.concat([Buffer.from([frame[0]!, length]), payload]);
}
