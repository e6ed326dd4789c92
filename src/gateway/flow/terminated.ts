import assert from 'node:assert/strict';
import { type EgressFlowEnd, type EgressRule, tunnelMethod } from '../../model/egress.ts';
import { gatewayLimits } from '../limits.ts';
import { isSpoken, type SpokenProtocol } from '../tls/sandbox-tls.ts';
import type { Connection, Opened } from './connection.ts';
import { readHead, serveHttp } from './http.ts';
import { serveHttp2 } from './http2.ts';
import { lastWords, refusalText, status } from './refusal.ts';

/** What a program's hello says, and its bytes; `name` is the one that its address stands for. */
export type Hello = { readonly name: string; readonly alpn: readonly string[]; readonly bytes: Buffer };

/**
 * A connection whose TLS ends here, so that every request of it is seen. The connection has a verdict of its own,
 * durable before the hello to the upstream; its flow has the method of a tunnel that is looked into, CONNECT, which no
 * request on it can have, and counts what its requests do not: handshakes and framing. The
 * upstream is asked first, and both sides then speak what it chose of what the program offers: nothing is translated
 * between versions of HTTP, where messages get lost or doubled.
 */
export async function serveTerminated(connection: Connection, rule: EgressRule, hello: Hello): Promise<void> {
  const offered = hello.alpn.filter(isSpoken);
  if (hello.alpn.length > 0 && offered.length === 0) return connection.deny('protocol', 'https');
  const opened = await connection.open();
  if (typeof opened === 'string') return await connection.notOpened(rule, opened);
  const { socket } = opened;
  const flow = await connection.allow(rule, opened.address, { method: tunnelMethod });
  if (flow === null) {
    socket.destroy();
    return connection.notAllowed('https');
  }
  let outcome: EgressFlowEnd['outcome'] = 'reset';
  try {
    outcome = await serveSecured({ connection, rule, hello, offered }, opened);
  } finally {
    socket.destroy();
    const { bytesOut, bytesIn } = connection.told;
    connection.ended(flow, {
      bytesOut: Math.max(0, socket.bytesWritten - bytesOut),
      bytesIn: Math.max(0, socket.bytesRead - bytesIn),
      outcome,
    });
  }
}

type Terminated = {
  readonly connection: Connection;
  readonly rule: EgressRule;
  readonly hello: Hello;
  readonly offered: readonly SpokenProtocol[];
};

async function serveSecured(parts: Terminated, { socket, address }: Opened) {
  const { connection, rule, hello, offered } = parts;
  const { tls } = connection.door;
  const upstream = await tls.connect(socket, { name: hello.name, offered });
  if (typeof upstream === 'string') return await refuseSecured(parts, upstream);
  const alpn = spokenWith(upstream.alpnProtocol, offered);
  if (alpn === undefined) return await refuseSecured(parts, 'unreachable');
  const client = await tls.accept(connection.client, hello.bytes, { name: hello.name, alpn });
  if (client === null) return 'reset';
  connection.secured(client);
  const first = { socket: upstream, address };
  if (alpn === 'h2') await serveHttp2(connection, rule, first);
  else await serveHttp(connection, rule, { first, open: () => openAgain(parts) });
  return 'closed';
}

/** What the program is answered: what the upstream chose, or HTTP/1.1 where it chose nothing; undefined for neither. */
function spokenWith(
  chosen: string | false | null,
  offered: readonly SpokenProtocol[],
): SpokenProtocol | null | undefined {
  if (typeof chosen === 'string' && isSpoken(chosen)) return chosen;
  if (offered.length === 0) return null;
  return offered.includes('http/1.1') ? 'http/1.1' : undefined;
}

/** Another connection for the next request on one whose upstream has ended; it must speak HTTP/1 again. */
async function openAgain({ connection, hello }: Terminated) {
  const opened = await connection.open();
  if (typeof opened === 'string') return opened;
  const { socket, address } = opened;
  const offered = hello.alpn.length === 0 ? [] : ['http/1.1'];
  const upstream = await connection.door.tls.connect(socket, { name: hello.name, offered });
  return typeof upstream === 'string' ? upstream : { socket: upstream, address };
}

/** The program is told inside TLS where it speaks HTTP/1, which takes a request first; else by an alert. */
async function refuseSecured(
  { connection, hello, offered }: Terminated,
  why: 'certificate' | 'unreachable',
): Promise<EgressFlowEnd['outcome']> {
  if (why === 'certificate') connection.noteDenial(why, 'https');
  const mayTell = hello.alpn.length === 0 || offered.includes('http/1.1');
  const alpn = hello.alpn.length === 0 ? null : 'http/1.1';
  const { name, bytes } = hello;
  const client = mayTell ? await connection.door.tls.accept(connection.client, bytes, { name, alpn }) : null;
  if (client === null) {
    connection.client.resetAndDestroy();
    return 'unreachable';
  }
  connection.secured(client);
  assert(connection.client === client);
  const giveUp = () => client.destroy();
  const timer = setTimeout(giveUp, gatewayLimits.firstBytesMs);
  if ((await readHead(connection.inlet, giveUp).finally(() => clearTimeout(timer))) !== null) {
    const { destination } = connection;
    const text =
      why === 'certificate'
        ? refusalText({ destination, denial: why, protocol: 'https' })
        : 'Sealwright: the upstream cannot be reached, or does not speak TLS and HTTP as the program does.\n';
    lastWords(client, status(502, 'Bad Gateway', text));
  }
  return 'unreachable';
}
