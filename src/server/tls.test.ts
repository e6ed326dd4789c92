import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Agent, get } from 'node:https';
import { connect as connectTcp } from 'node:net';
import test, { type TestContext } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { loopbackPair } from '../../tests/support/certificates.ts';
import { drain, openRaw, rawExchange } from '../../tests/support/raw-http.ts';
import { openTestServer } from '../../tests/support/test-server.ts';
import { openTlsSource } from './tls.ts';

async function openTlsServer(t: TestContext, limits = {}) {
  const first = loopbackPair();
  const source = openTlsSource(first);
  const server = await openTestServer(t, { tls: source, limits });
  return { server, source, ca: first.authority };
}

/** A connection whose handshake is done; rejects with what the handshake failed by. */
async function openSecure(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', ...options });
  await once(socket, 'secureConnect');
  socket.on('error', () => undefined);
  return socket;
}

const ask = 'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

test('with a pair the listener speaks HTTPS with the same limits and headers, and says so', async (t) => {
  const { server, ca } = await openTlsServer(t);
  assert.equal(server.address, `https://127.0.0.1:${server.port}`);
  const socket = await openSecure(server.port, { ca });
  assert(socket.authorized);
  assert.equal(socket.getProtocol(), 'TLSv1.3');
  socket.write(ask);
  const answer = await drain(socket);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['strict-transport-security'], 'max-age=31536000; includeSubDomains');
  const broken = await openSecure(server.port, { ca });
  broken.write('hello\r\n\r\n');
  const refusal = await drain(broken);
  assert.equal(refusal.status, 400);
  assert.equal(refusal.headers['strict-transport-security'], 'max-age=31536000; includeSubDomains');
  const long = await openSecure(server.port, { ca });
  long.write(`GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`);
  assert.equal((await drain(long)).status, 431);
});

test('versions before TLS 1.2, weak suites and other protocols are refused in the handshake', async (t) => {
  const { server, ca } = await openTlsServer(t);
  const weak = 'DEFAULT@SECLEVEL=0';
  const refused: Record<string, ConnectionOptions> = {
    'TLS 1.0': { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: weak },
    'TLS 1.1': { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: weak },
    CBC: { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0' },
    'CBC and SHA-256': { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0' },
    'HTTP/2': { ALPNProtocols: ['h2'] },
  };
  for (const [name, options] of Object.entries(refused))
    await assert.rejects(
      openSecure(server.port, { ca, ...options }),
      /alert|handshake|ALPN|disconnected/i,
      name,
    );
  const old = await openSecure(server.port, { ca, maxVersion: 'TLSv1.2', ALPNProtocols: ['h2', 'http/1.1'] });
  assert.deepEqual([old.getProtocol(), old.alpnProtocol], ['TLSv1.2', 'http/1.1']);
  old.write(ask);
  assert.equal((await drain(old)).status, 200);
});

test('a client of TLS 1.2 cannot renegotiate', async (t) => {
  const { server, ca } = await openTlsServer(t);
  const socket = await openSecure(server.port, { ca, maxVersion: 'TLSv1.2' });
  const ended = new Promise((resolve) => socket.once('close', resolve));
  let renegotiated = false;
  socket.renegotiate({}, (error) => {
    renegotiated = error === null;
  });
  await ended;
  assert(!renegotiated);
});

test('what speaks no TLS, or begins a handshake and stops, is cut without a word', async (t) => {
  const { server, ca } = await openTlsServer(t, { headerTimeoutMs: 600 });
  assert.equal((await rawExchange(server.port, ask)).text.includes('HTTP'), false);
  const silent = await openRaw(server.port);
  const half = await openRaw(server.port);
  half.write(Buffer.from('1603010200010001fc0303', 'hex'));
  const cut = await Promise.all([drain(silent), drain(half)]);
  assert.deepEqual([cut[0].text, cut[1].text], ['', '']);
  const socket = await openSecure(server.port, { ca });
  socket.write('GET /healthz HTTP/1.1\r\nHos');
  assert.equal((await drain(socket)).status, 408);
  const honest = await openSecure(server.port, { ca });
  honest.write(ask);
  assert.equal((await drain(honest)).status, 200);
});

test('another pair is used from the next handshake on, and connections that are open stay', async (t) => {
  const { server, source, ca } = await openTlsServer(t);
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ca });
  t.after(() => agent.destroy());
  const socketUsed = async () => {
    const [response] = (await once(get(`${server.address}/healthz`, { agent }), 'response')) as [
      IncomingMessage,
    ];
    const { socket } = response;
    response.resume();
    await once(response, 'end');
    assert.equal(response.statusCode, 200);
    return socket;
  };
  const before = await socketUsed();
  const next = loopbackPair();
  source.change(next);
  assert.equal(await socketUsed(), before, 'the kept connection goes on');
  await assert.rejects(openSecure(server.port, { ca }), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
  const socket = await openSecure(server.port, { ca: next.authority });
  assert(socket.authorized);
  socket.destroy();
});

test('a close cuts handshakes, idle and silent connections at once', async (t) => {
  const { server, ca } = await openTlsServer(t);
  const raw = connectTcp({ port: server.port, host: '127.0.0.1' });
  raw.on('error', () => undefined);
  await once(raw, 'connect');
  const idle = await openSecure(server.port, { ca });
  idle.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(idle, 'data');
  const silent = await openSecure(server.port, { ca });
  const closed = Promise.all([once(raw, 'close'), once(idle, 'close'), once(silent, 'close')]);
  const startedAt = performance.now();
  await server.close();
  await closed;
  assert(performance.now() - startedAt < 1_000, 'nobody waits for them');
});
