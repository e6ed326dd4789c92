import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { getCACertificates } from 'node:tls';
import { unreachable } from './api-error.ts';
import { clientLimits } from './limits.ts';
import type { HttpRequest, HttpResponse, Transport } from './transport.ts';

/**
 * Requests over TCP, TLS or, with `socketPath`, a Unix socket, on kept-alive connections. Only reads are sent a
 * second time, when a kept connection turns out to have been closed.
 */
export function nodeTransport(options: {
  url: URL;
  socketPath?: string | undefined;
  /** Authorities in PEM besides those that Node knows. */
  authorities?: string | undefined;
}): Transport {
  const { url, socketPath, authorities } = options;
  const library = url.protocol === 'https:' && socketPath === undefined ? https : http;
  const agent = new library.Agent({
    keepAlive: true,
    maxSockets: 64,
    ...(authorities === undefined ? {} : { ca: [...getCACertificates('default'), authorities] }),
  });
  const where = socketPath ?? url.origin;
  const target =
    socketPath === undefined
      ? { host: unbracketed(url.hostname), port: url.port, protocol: url.protocol }
      : { socketPath };
  const base = url.pathname.replace(/\/+$/, '');
  const once = (request: HttpRequest) =>
    exchange(
      library.request({
        ...target,
        agent,
        method: request.method,
        path: base + request.path,
        headers: { ...request.headers },
        ...(request.signal === undefined ? {} : { signal: request.signal }),
      }),
      request,
    );
  return {
    async send(request) {
      try {
        return await once(request).catch((error: unknown) => {
          if (request.method === 'GET' && error instanceof StaleConnection) return once(request);
          throw error;
        });
      } catch (error) {
        if (request.signal?.aborted === true) throw request.signal.reason;
        throw unreachable(where, error instanceof StaleConnection ? error.cause : error);
      }
    },
    close: () => agent.destroy(),
  };
}

class StaleConnection extends Error {}

function exchange(outgoing: ClientRequest, { body }: HttpRequest): Promise<HttpResponse> {
  const answered = Promise.withResolvers<HttpResponse>();
  const timer = setTimeout(
    () => outgoing.destroy(new Error('no answer in time')),
    clientLimits.answerTimeoutMs,
  );
  if (typeof body !== 'string' && body !== undefined) clearTimeout(timer);
  outgoing.setNoDelay(true);
  outgoing.once('response', (incoming) => {
    clearTimeout(timer);
    // An answer before the end of the request says that the rest is not wanted.
    incoming.once('end', () => {
      if (!outgoing.writableFinished) outgoing.destroy();
    });
    answered.resolve(responseOf(incoming));
  });
  let broken: Error | null = null;
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    clearTimeout(timer);
    const stale = outgoing.reusedSocket && error.code === 'ECONNRESET';
    answered.reject(broken ?? (stale ? new StaleConnection('stale', { cause: error }) : error));
  });
  if (body === undefined || typeof body === 'string') outgoing.end(body);
  else {
    // A source that fails makes pipeline() cut the request without saying why.
    const source = Readable.from(body).once('error', (error) => {
      broken = error;
    });
    pipeline(source, outgoing).catch((error: Error) => outgoing.destroy(error));
  }
  return answered.promise;
}

function responseOf(incoming: IncomingMessage): HttpResponse {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(incoming.headers))
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value;
  return { status: incoming.statusCode ?? 0, headers, body: incoming };
}

function unbracketed(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}
