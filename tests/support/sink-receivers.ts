import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { AuditEvent } from '../../src/audit/event.ts';
import type { SinkSettings } from '../../src/contract/sinks.ts';
import { loopbackPair } from './certificates.ts';

/**
 * What a stand-in does with what arrives. `die` breaks the connection once it has read, `stall` never answers; the others
 * are answers of HTTP.
 */
export type Behaviour =
  | 'take'
  | 'die'
  | 'stall'
  | 'busy'
  | 'unauthorized'
  | 'redirect'
  | 'huge'
  | 'slow-headers'
  | 'many-headers';

/** A receiver that keeps what it took. */
export type Receiver = {
  readonly settings: Pick<SinkSettings, 'url'> & Partial<SinkSettings>;
  /** The events that it took, in the order in which it took them. */
  events(): AuditEvent[];
  /** Requests or connections that reached it. */
  readonly asked: number;
  behave: Behaviour;
  /** Ids of events that it refuses for good. */
  readonly refuses: Set<string>;
  close(): Promise<void>;
};

export type HttpReceiver = Receiver & {
  /** What arrived last, whole. */
  last: { headers: IncomingMessage['headers']; path: string; body: string } | null;
};

/** How the body of a kind of sink is read, and what it is answered. */
export type HttpDialect = {
  readonly kind: 'loki' | 'otlp' | 'webhook';
  read(body: string): AuditEvent[];
  /** The answer where some of the events are refused. */
  refusal(refused: number): { status: number; body: string };
};

const badRequest = () => ({ status: 400, body: 'it is too far behind' });
const textsOf = (values: unknown[]) => values.map((text) => JSON.parse(String(text)) as AuditEvent);

export const dialects: Readonly<Record<HttpDialect['kind'], HttpDialect>> = {
  loki: {
    kind: 'loki',
    read: (body) => {
      const { streams } = JSON.parse(body) as { streams: { values: [string, string][] }[] };
      const values = streams.flatMap((stream) => stream.values);
      return textsOf(values.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text));
    },
    refusal: badRequest,
  },
  otlp: {
    kind: 'otlp',
    read: (body) => {
      const { resourceLogs } = JSON.parse(body);
      return textsOf(
        resourceLogs[0].scopeLogs[0].logRecords.map(
          ({ body }: { body: { stringValue: string } }) => body.stringValue,
        ),
      );
    },
    refusal: badRequest,
  },
  webhook: {
    kind: 'webhook',
    read: (body) => (JSON.parse(body) as { events: AuditEvent[] }).events,
    refusal: badRequest,
  },
};

/** A server for one dialect, with TLS under an authority of its own, or in the clear. */
export async function openHttpReceiver(
  dialect: HttpDialect,
  options: { tls?: boolean } = {},
): Promise<HttpReceiver> {
  const pair = loopbackPair();
  const sockets = new Set<Socket>();
  const taken: AuditEvent[] = [];
  const isPlain = options.tls === false;
  const server: Server = isPlain
    ? createHttpServer()
    : createHttpsServer({ ...pair, cert: pair.certificate });
  const receiver: HttpReceiver = {
    settings: {
      url: '',
      secret: dialect.kind === 'webhook' ? 'a-key-of-the-tests-of-webhooks' : 'a-token-of-the-tests',
      authorities: isPlain ? [] : [pair.authority],
    },
    events: () => taken,
    asked: 0,
    behave: 'take',
    refuses: new Set(),
    last: null,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined);
  });
  server.on('request', async (request: IncomingMessage, response: ServerResponse) => {
    (receiver as { asked: number }).asked += 1;
    const body = await textOf(request).catch(() => null);
    if (body === null) return;
    receiver.last = { headers: request.headers, path: request.url ?? '', body };
    if (receiver.behave !== 'take') return misbehave(receiver.behave, request, response);
    const events = dialect.read(body);
    const refused = events.filter(({ id }) => receiver.refuses.has(id)).length;
    const answer = refused > 0 ? dialect.refusal(refused) : { status: 200, body: '{}' };
    if (refused === 0) taken.push(...events);
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body);
  });
  const port = await listen(server);
  const scheme = isPlain ? 'http' : 'https';
  Object.assign(receiver.settings, { url: `${dialect.kind}+${scheme}://127.0.0.1:${port}` });
  return receiver;
}

export function misbehave(behaviour: Behaviour, request: IncomingMessage, response: ServerResponse): void {
  switch (behaviour) {
    case 'die':
      request.socket.destroy();
      return;
    case 'busy':
      response.writeHead(503, { 'retry-after': '0' }).end('later');
      return;
    case 'unauthorized':
      response.writeHead(401).end(`no such credential: ${request.headers.authorization}`);
      return;
    case 'redirect':
      response.writeHead(307, { location: 'http://127.0.0.1:1/' }).end();
      return;
    case 'huge':
      response.writeHead(500);
      response.on('error', () => undefined);
      sendForEver(response);
      return;
    case 'slow-headers':
      request.socket.write('HTTP/1.1 200 OK\r\nx-slow: ');
      return;
    case 'many-headers':
      request.socket.write(`HTTP/1.1 200 OK\r\n${'x-header: much\r\n'.repeat(10_000)}\r\n`);
      return;
    default: // Stalls.
  }
}

function sendForEver(response: ServerResponse): void {
  while (response.write('no end '.repeat(1_000))) if (response.destroyed) return;
  response.once('drain', () => sendForEver(response));
}

export async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

export type SyslogReceiver = Receiver & { readonly messages: string[] };

/** Reads what is counted by octets, and ends a connection once it has read it to its end. */
export async function openSyslogReceiver(): Promise<SyslogReceiver> {
  const pair = loopbackPair();
  const sockets = new Set<Socket>();
  const messages: string[] = [];
  let asked = 0;
  const server = createTlsServer({ key: pair.key, cert: pair.certificate, allowHalfOpen: true });
  const receiver: SyslogReceiver = {
    settings: { url: '', authorities: [pair.authority] },
    events: () => messages.map((text) => JSON.parse(text.slice(text.indexOf('] {') + 2)) as AuditEvent),
    get asked() {
      return asked;
    },
    messages,
    behave: 'take',
    refuses: new Set(),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on('tlsClientError', () => undefined);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined);
  });
  server.on('secureConnection', (socket) => {
    asked += 1;
    socket.on('error', () => undefined);
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      if (receiver.behave === 'die') socket.destroy();
    });
    socket.on('end', () => {
      if (receiver.behave !== 'take') return;
      messages.push(...countedMessages(Buffer.concat(chunks)));
      socket.end();
    });
  });
  const port = await listen(server);
  Object.assign(receiver.settings, { url: `syslog+tls://127.0.0.1:${port}` });
  return receiver;
}

/** The messages of RFC 5425 §4.3. */
export function countedMessages(bytes: Buffer): string[] {
  const messages: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const end = space + 1 + Number(bytes.subarray(at, space).toString());
    messages.push(bytes.subarray(space + 1, end).toString('utf8'));
    at = end;
  }
  return messages;
}

/** The file of a file sink, read as its receiver. */
export function openFileReceiver(path: string): Receiver {
  const text = () => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return '';
    }
  };
  return {
    settings: { url: `file://${path}` },
    events: () =>
      text()
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line)),
    asked: 0,
    behave: 'take',
    refuses: new Set(),
    close: async () => undefined,
  };
}

export async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
