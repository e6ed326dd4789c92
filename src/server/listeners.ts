import { once } from 'node:events';
import { chmod, unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import { createConnection, type Socket } from 'node:net';
import type { FaultCode } from '../contract/faults.ts';
import type { Upgrades } from './attach/upgrades.ts';
import { type ApiLimits, serverLimits } from './limits.ts';
import { rawProblem } from './problem.ts';
import { contextOf, Handshakes, type TlsSource, tlsOptions } from './tls.ts';

export type Listener = {
  readonly server: Server;
  /** No new connections; those without a request end now, busy ones within `closeGraceMs`. */
  close(): Promise<void>;
};

export type ListenerOptions = {
  readonly limits: ApiLimits;
  readonly newRequestId: () => string;
  /** Null speaks plain HTTP. */
  readonly tls: TlsSource | null;
  readonly upgrades: Pick<Upgrades, 'wants' | 'take'>;
};

/** An HTTP/1.1 server with the limits of DESIGN §5. Bodies and streams keep their own time. */
export function createListener(handler: RequestListener, options: ListenerOptions): Listener {
  const { limits, newRequestId, tls, upgrades } = options;
  const server = newServer(handler, options);
  server.timeout = limits.idleTimeoutMs;
  server.maxConnections = limits.connectionsMax;
  // Connections that nobody misses: without a request yet, or answered and only read out.
  const spare = new Set<Socket>();
  const handshakes = new Handshakes();
  const onReady = (socket: Socket) => {
    lingerOnClose(socket, () => spare.add(socket));
    spare.add(socket);
    socket.once('close', () => spare.delete(socket));
  };
  if (tls === null) server.on('connection', onReady);
  else {
    server.on('connection', (socket) => handshakes.begun(socket));
    server.on('secureConnection', (socket: Socket) => {
      handshakes.done(socket);
      onReady(socket);
    });
    // What speaks no TLS here is told nothing.
    server.removeAllListeners('tlsClientError');
    server.on('tlsClientError', (_error: Error, socket: Socket) => socket.destroy());
  }
  server.on('request', (request) => spare.delete(request.socket));
  server.on('upgrade', (request, socket: Socket, head) => {
    spare.delete(socket);
    upgrades.take(request, { socket, head }, handler);
  });
  answerUnanswerable(server, { newRequestId, isSecure: tls !== null });
  const stopFollowing = tls?.onChange((pair) =>
    (server as unknown as HttpsServer).setSecureContext(contextOf(pair)),
  );
  const close = async () => {
    stopFollowing?.();
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    const sweepNow = () => {
      for (const socket of spare) socket.destroy();
      handshakes.cut();
      server.closeIdleConnections();
    };
    sweepNow();
    const sweep = setInterval(sweepNow, serverLimits.closeSweepMs);
    const cut = setTimeout(() => server.closeAllConnections(), serverLimits.closeGraceMs);
    await closed;
    clearInterval(sweep);
    clearTimeout(cut);
  };
  return { server, close };
}

function newServer(handler: RequestListener, { limits, tls, upgrades }: ListenerOptions): Server {
  const options = {
    headersTimeout: limits.headerTimeoutMs,
    // Whole requests have no common limit: an upload may take hours. Each body reader has its own.
    requestTimeout: 0,
    keepAliveTimeout: limits.idleTimeoutMs,
    connectionsCheckingInterval: serverLimits.connectionsCheckMs,
    maxHeaderSize: limits.headerBytesMax,
    // A repeated Authorization, Host or Content-Type becomes a list, which no parser here takes.
    joinDuplicateHeaders: true,
    // Node's own refusal would carry none of our headers; admission refuses instead.
    requireHostHeader: false,
    insecureHTTPParser: false,
    shouldUpgradeCallback: (request: IncomingMessage) => upgrades.wants(request),
    noDelay: true,
    keepAlive: true,
  } as const;
  if (tls === null) return createServer(options, handler);
  return createHttpsServer(
    { ...options, ...tlsOptions(tls.current, limits.headerTimeoutMs) },
    handler,
  ) as unknown as Server;
}

/** What never becomes a request gets a problem document with the headers of every answer, or is cut. */
function answerUnanswerable(
  server: Server,
  { newRequestId, isSecure }: { newRequestId: () => string; isSecure: boolean },
): void {
  const problem = (code: FaultCode, detail: string) =>
    rawProblem({ code, detail }, { requestId: newRequestId(), isSecure });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) =>
    answerUnreadable(error, socket, problem),
  );
  // No tunnels here: the connection ends.
  server.on('connect', (_request: IncomingMessage, socket: Socket) =>
    endWith(socket, problem('request.method', 'CONNECT is not taken.')),
  );
  server.on('checkExpectation', ({ socket }: IncomingMessage) =>
    endWith(socket, problem('request.malformed', 'Only 100-continue can be expected.')),
  );
}

const clientFaults: Readonly<Record<string, readonly [FaultCode, string]>> = {
  HPE_HEADER_OVERFLOW: ['request.headers-too-large', 'The request line and headers are too large.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['request.too-large', 'The chunk extensions are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request.timeout', 'The request headers did not arrive in time.'],
};

/** What is not HTTP gets a problem document, if nothing was answered yet, and loses its connection. */
function answerUnreadable(
  error: NodeJS.ErrnoException,
  socket: Socket,
  problem: (code: FaultCode, detail: string) => string,
): void {
  const answering = (socket as Socket & { _httpMessage?: { headersSent: boolean } | null })._httpMessage;
  if (error.code === 'ECONNRESET' || !socket.writable || answering?.headersSent === true) {
    socket.destroy();
    return;
  }
  const [code, detail] = clientFaults[error.code ?? ''] ?? [
    'request.malformed',
    'This is not a well-formed HTTP/1.1 request.',
  ];
  endWith(socket, problem(code, detail));
}

function endWith(socket: Socket, text: string): void {
  socket.end(text);
  socket.destroySoon();
}

/**
 * Ends a connection whose request was not read to its end without a reset, which could overtake the answer:
 * what still comes is thrown away until the caller is done or `lingerMs` are over.
 */
function lingerOnClose(socket: Socket, onLinger: () => void): void {
  const destroySoon = socket.destroySoon.bind(socket);
  socket.destroySoon = () => {
    if (socket.destroyed || socket.readableEnded) return destroySoon();
    socket.end();
    onLinger();
    const timer = setTimeout(() => socket.destroy(), serverLimits.lingerMs);
    timer.unref();
    socket.once('end', () => socket.destroy()).once('close', () => clearTimeout(timer));
    socket.resume();
  };
}

/** Port 0 takes a free one. */
export type Place = { readonly host: string; readonly port: number };

export async function listenTcp(server: Server, { host, port }: Place): Promise<number> {
  await listening(server, () => server.listen({ host, port }));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}

/** Listens on a Unix socket that only this user can open. A file that nobody listens on any more is replaced. */
export async function listenLocal(server: Server, path: string): Promise<void> {
  const bind = async () => {
    const before = process.umask(0o177);
    try {
      await listening(server, () => server.listen(path));
    } finally {
      process.umask(before);
    }
  };
  try {
    await bind();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || (await answers(path))) throw error;
    await unlink(path);
    await bind();
  }
  await chmod(path, 0o600);
}

async function listening(server: Server, listen: () => void): Promise<void> {
  const ready = once(server, 'listening');
  listen();
  await ready;
}

async function answers(path: string): Promise<boolean> {
  const socket = createConnection({ path });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
