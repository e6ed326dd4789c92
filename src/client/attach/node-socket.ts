import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { getCACertificates } from 'node:tls';
import { WebSocket } from 'ws';
import { attachLimits } from '../../contract/attach.ts';
import { errorOf, unreachable } from '../api-error.ts';
import { textOf } from '../connection.ts';
import { clientLimits } from '../limits.ts';
import type { AttachSocket, OpenSocket, SocketEvents } from './socket.ts';

/** How long a closing handshake may take. */
const closeMs = 1_000;

/**
 * WebSockets over TCP, TLS or, with `socketPath`, a Unix socket. The ticket is a bearer token; over TCP the Origin is the
 * server's own. A server that says nothing for `pongMs`, no ping either, is taken for gone.
 */
export function nodeSocket(options: {
  readonly url: URL;
  readonly socketPath?: string | undefined;
  /** Authorities in PEM besides those that Node knows. */
  readonly authorities?: string | undefined;
}): OpenSocket {
  const { url, socketPath, authorities } = options;
  const scheme = url.protocol === 'https:' && socketPath === undefined ? 'wss:' : 'ws:';
  const base = `${scheme}//${url.host}${url.pathname.replace(/\/+$/, '')}`;
  return ({ path, ticket, protocol }, events) => {
    const socket = new WebSocket(base + path, [protocol], {
      headers: { authorization: `Bearer ${ticket}` },
      perMessageDeflate: false,
      followRedirects: false,
      maxPayload: attachLimits.frameBytesMax,
      handshakeTimeout: clientLimits.answerTimeoutMs,
      ...(socketPath === undefined
        ? { origin: url.origin }
        : { createConnection: () => connect({ path: socketPath }) }),
      ...(authorities === undefined ? {} : { ca: [...getCACertificates('default'), authorities] }),
    });
    return watched(socket, socketPath ?? url.origin, events);
  };
}

function watched(socket: WebSocket, where: string, events: SocketEvents): AttachSocket {
  let opened = false;
  let refusal: Error | null = null;
  let silence: ReturnType<typeof setTimeout> | undefined;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => socket.terminate(), attachLimits.pongMs);
  };
  socket.once('open', () => {
    opened = true;
    heard();
  });
  socket.on('ping', heard);
  socket.on('message', (data: Buffer, isBinary) => {
    heard();
    if (isBinary) events.binary(data);
    else events.text(data.toString('utf8'));
  });
  socket.once('unexpected-response', (request, response) => {
    void refusalOf(response).then((error) => {
      refusal = error;
      request.destroy(error);
    });
  });
  socket.on('error', (error) => {
    if (!opened) refusal ??= unreachable(where, error);
  });
  socket.once('close', (code, reason) => {
    clearTimeout(silence);
    events.closed({ code, reason: reason.toString('utf8'), refusal });
  });
  return {
    send: (message) =>
      new Promise((resolve) => {
        if (socket.readyState === WebSocket.OPEN) socket.send(message, () => resolve());
        else resolve();
      }),
    pause() {
      clearTimeout(silence);
      socket.pause();
    },
    resume() {
      socket.resume();
      if (socket.readyState === WebSocket.OPEN) heard();
    },
    close() {
      socket.close(1000);
      setTimeout(() => socket.terminate(), closeMs).unref();
    },
  };
}

async function refusalOf(response: IncomingMessage): Promise<Error> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(response.headers))
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value;
  const text = await textOf(response).catch(() => '');
  return errorOf(response.statusCode ?? 0, headers, text);
}
