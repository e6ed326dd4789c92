import { once } from 'node:events';
import { chmod, unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createConnection, type Socket } from 'node:net';
import type { FaultCode } from '../contract/faults.ts';
import { type ApiLimits, serverLimits } from './limits.ts';
import { rawProblem } from './problem.ts';

export type Listener = {
  readonly server: Server;
  /** No new connections; those without a request end now, busy ones within `closeGraceMs`. */
  close(): Promise<void>;
};

/** An HTTP/1.1 server with the limits of DESIGN §5. Bodies and streams keep their own time. */
export function createListener(
  handler: RequestListener,
  limits: ApiLimits,
  newRequestId: () => string,
): Listener {
  const server = createServer(
    {
      headersTimeout: limits.headerTimeoutMs,
      // Whole requests have no common limit: an upload may take hours. Each body reader has its own.
      requestTimeout: 0,
      keepAliveTimeout: limits.idleTimeoutMs,
      connectionsCheckingInterval: serverLimits.connectionsCheckMs,
      maxHeaderSize: limits.headerBytesMax,
      // A repeated Authorization or Content-Type becomes a list, which no parser here takes.
      joinDuplicateHeaders: true,
      requireHostHeader: true,
      insecureHTTPParser: false,
      noDelay: true,
      keepAlive: true,
    },
    handler,
  );
  server.timeout = limits.idleTimeoutMs;
  server.maxConnections = limits.connectionsMax;
  // Connections that nobody misses: without a request yet, or answered and only read out.
  const spare = new Set<Socket>();
  server.on('connection', (socket) => {
    lingerOnClose(socket, () => spare.add(socket));
    spare.add(socket);
    socket.once('close', () => spare.delete(socket));
  });
  server.on('request', (request) => spare.delete(request.socket));
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) =>
    answerUnreadable(error, socket, newRequestId()),
  );
  // No tunnels and no upgrades here: the connection ends.
  server.on('connect', (_request: IncomingMessage, socket: Socket) =>
    endWith(socket, rawProblem('request.method', 'CONNECT is not taken.', newRequestId())),
  );
  const close = async () => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    const sweepNow = () => {
      for (const socket of spare) socket.destroy();
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

const clientFaults: Readonly<Record<string, readonly [FaultCode, string]>> = {
  HPE_HEADER_OVERFLOW: ['request.headers-too-large', 'The request line and headers are too large.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['request.too-large', 'The chunk extensions are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request.timeout', 'The request headers did not arrive in time.'],
};

/** What is not HTTP gets a problem document, if nothing was answered yet, and loses its connection. */
function answerUnreadable(error: NodeJS.ErrnoException, socket: Socket, requestId: string): void {
  const answering = (socket as Socket & { _httpMessage?: { headersSent: boolean } | null })._httpMessage;
  if (error.code === 'ECONNRESET' || !socket.writable || answering?.headersSent === true) {
    socket.destroy();
    return;
  }
  const [code, detail] = clientFaults[error.code ?? ''] ?? [
    'request.malformed',
    'This is not a well-formed HTTP/1.1 request.',
  ];
  endWith(socket, rawProblem(code, detail, requestId));
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

export async function listenTcp(server: Server, host: string, port: number): Promise<number> {
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
