import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import { attachCloseCodes, attachProtocol, ticketProtocolPrefix } from '../../contract/attach.ts';
import { browserSocket } from './browser-socket.ts';
import type { SocketClose } from './socket.ts';

/** Node has the WebSocket of browsers too. */

async function connect(t: TestContext) {
  const server = createServer().listen(0, '127.0.0.1');
  const sockets = new WebSocketServer({ server, handleProtocols: () => attachProtocol });
  t.after(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.close();
  });
  await new Promise((resolve) => server.once('listening', resolve));
  const come = new Promise<{ peer: WebSocket; offered: string; url: string }>((resolve) =>
    sockets.once('connection', (peer, { url, headers }) =>
      resolve({ peer, url: url!, offered: String(headers['sec-websocket-protocol']) }),
    ),
  );
  const received = { bytes: 0, texts: [] as string[] };
  const more = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<SocketClose>();
  const socket = browserSocket(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)(
    { path: '/api/v1/runs/run_x/attach?from=5', ticket: 'sw_attach_secret', protocol: attachProtocol },
    {
      text: (text) => {
        received.texts.push(text);
        more.resolve();
      },
      binary: (bytes) => {
        received.bytes += bytes.length;
      },
      closed: closed.resolve,
    },
  );
  return { socket, received, more: more.promise, closed: closed.promise, ...(await come) };
}

test('the ticket is a subprotocol, and in no address', async (t) => {
  const { offered, url } = await connect(t);
  assert.equal(url, '/api/v1/runs/run_x/attach?from=5');
  assert.deepEqual(offered.split(/, */), [attachProtocol, `${ticketProtocolPrefix}sw_attach_secret`]);
});

const part = Buffer.alloc(64 * 1024);
const parts = 160;

test('what is drawn as it comes may be any amount', async (t) => {
  const { received, peer, more } = await connect(t);
  for (let sent = 0; sent < parts; sent += 1) peer.send(part);
  peer.send('end');
  await more;
  assert.equal(received.bytes, parts * part.length);
});

test('a page that does not draw leaves, as a slow client is cut, and hears no more', async (t) => {
  const { socket, received, peer, closed } = await connect(t);
  socket.pause();
  for (let sent = 0; sent < parts; sent += 1) peer.send(part);
  peer.send('end');
  assert.equal((await closed).code, attachCloseCodes.slow);
  assert.equal(received.bytes, 8 * 1024 * 1024);
  assert.deepEqual(received.texts, []);
});
