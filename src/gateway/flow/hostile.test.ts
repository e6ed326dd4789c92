import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  connect as connectHttp2,
  createSecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { createAuthority, openIssuer } from '../../base/certificates.ts';
import type { EgressFlow } from '../../model/egress.ts';
import { gatewayLimits } from '../limits.ts';
import { hostRule, listening, portOf, settled, siteHost, TestGate } from '../test-gate.ts';

const publicAuthority = createAuthority(Date.now());
const { key, certificate } = openIssuer(publicAuthority).leaf(siteHost);
const inside = { methods: ['GET', 'POST'], paths: ['/open/**'] };

async function gateTo(t: TestContext, port: number) {
  const gate = new TestGate(t, { rules: [hostRule(siteHost, inside)], site: { port } });
  gate.upstreams.authorities = [publicAuthority.certificate];
  return { gate, port: await gate.portTo(siteHost, 443) };
}

async function tlsSite(
  t: TestContext,
  onSocket: (socket: TLSSocket, reset: () => void) => void,
  ALPNProtocols = ['h2'],
) {
  const server = createTlsServer({ key, cert: certificate, ALPNProtocols }, (socket) => {
    socket.on('error', () => undefined);
    onSocket(socket, () => [...sockets].at(-1)!.resetAndDestroy());
  });
  server.on('tlsClientError', () => undefined);
  await listening(server);
  const sockets = new Set<Socket>();
  server.on('connection', (s: Socket) => sockets.add(s));
  t.after(() => {
    server.close();
    for (const s of sockets) s.destroy();
  });
  return portOf(server);
}

/** A local port before another; what the program says after its first bytes waits for `release`. */
async function holding(t: TestContext, port: number) {
  const gates: (() => void)[] = [];
  const server = createServer((program) => {
    const onward = connect(port, '127.0.0.1');
    for (const s of [program, onward]) s.on('error', () => undefined);
    onward.pipe(program);
    program.once('data', (hello) => {
      onward.write(hello);
      program.pause();
      gates.push(() => program.pipe(onward));
    });
    t.after(() => {
      program.destroy();
      onward.destroy();
    });
  });
  await listening(server);
  t.after(() => server.close());
  return {
    port: portOf(server),
    release: () => {
      for (const g of gates) g();
    },
  };
}

/** A session of a program that trusts the sandbox's authority. */
function program2(t: TestContext, gate: TestGate, port: number, more: object = {}) {
  const options = { host: '127.0.0.1', port, servername: siteHost, ca: gate.authority.certificate };
  const socket = connectTls({ ...options, ALPNProtocols: ['h2'], ...more });
  socket.on('error', () => undefined);
  const client = connectHttp2(`https://${siteHost}`, { createConnection: () => socket });
  client.on('error', () => undefined);
  t.after(() => client.destroy());
  return client;
}

/** Frames of HTTP/2 as hex: a head of 9 bytes and the payload. */
const settings = '000000040000000000';
const early = {
  nothing: '',
  settings,
  'bytes that are no frame': 'ff'.repeat(60_000),
  'a frame that ends it': `${settings}00000706000000000000000000000000`,
  'that it goes away': `${settings}0000080700000000000000000000000002`,
};
const endings = ['ends', 'resets'] as const;

for (const [what, frames] of Object.entries(early))
  for (const how of endings)
    test(`an upstream that says ${what} and ${how} while the program still shakes hands ends the program's requests`, async (t) => {
      const said = Promise.withResolvers<void>();
      const site = await tlsSite(t, (socket, reset) => {
        socket.write(Buffer.from(frames, 'hex'));
        setImmediate(() => {
          if (how === 'ends') socket.end();
          else reset();
          socket.once('close', () => setImmediate(said.resolve));
          if (how === 'ends') setTimeout(said.resolve, 20);
        });
      });
      const { gate, port } = await gateTo(t, site);
      const held = await holding(t, port);
      const client = program2(t, gate, held.port);
      const stream = client.request({ ':path': '/open/' });
      stream.on('error', () => undefined).resume();
      await said.promise;
      held.release();
      if (!stream.destroyed) await once(stream, 'close').catch(() => undefined);
      assert.notEqual(stream.rstCode, 0);
      const allowed = () => gate.flows.filter(({ verdict }) => verdict === 'allowed').length;
      await gate.changes.until(() => gate.ends.length > 0 && gate.ends.length === allowed());
    });

/** A server of both versions of HTTP that counts what it is asked. */
async function webSite(t: TestContext) {
  const asked: string[] = [];
  const server = createSecureServer({ key, cert: certificate, allowHTTP1: true }, (request, response) => {
    asked.push(request.url);
    response.end('answered');
  });
  server.on('sessionError', () => undefined);
  await listening(server);
  t.after(() => server.close());
  return { port: portOf(server), asked };
}

type Alpn = 'h2' | 'http/1.1';

/** A program that asks for one path and reads what comes. */
function asks(t: TestContext, gate: TestGate, port: number, alpn: Alpn, path: string) {
  if (alpn === 'h2') {
    const stream = program2(t, gate, port).request({ ':path': path });
    return void stream.on('error', () => undefined).resume();
  }
  const options = { host: '127.0.0.1', port, servername: siteHost, ca: gate.authority.certificate };
  const socket = connectTls({ ...options, ALPNProtocols: [alpn] });
  socket.on('error', () => undefined).resume();
  socket.write(`GET ${path} HTTP/1.1\r\nhost: ${siteHost}\r\n\r\n`);
  t.after(() => socket.destroy());
}

for (const alpn of ['h2', 'http/1.1'] as const)
  test(`a request that a policy takes away while its verdict is recorded is not sent, and is cut (${alpn})`, async (t) => {
    const { port: site, asked } = await webSite(t);
    const { gate, port } = await gateTo(t, site);
    gate.byHand = true;
    asks(t, gate, port, alpn, '/open/');
    await gate.flow(0);
    gate.acknowledge();
    const { id } = await gate.flow(1);
    gate.admit([hostRule(siteHost, { ...inside, paths: ['/other/**'] })]);
    gate.acknowledge();
    const end = await gate.changes.until(() => gate.ends.find((each) => each.id === id));
    assert.deepEqual([end.outcome, end.bytesOut, asked], ['cut', 0, []]);
    gate.byHand = false;
    asks(t, gate, port, alpn, '/other/');
    await gate.changes.until(() => asked.length > 0);
    assert.deepEqual(asked, ['/other/']);
  });

/** A server of HTTP/2 alone. */
async function site2(t: TestContext, onStream: (stream: ServerHttp2Stream) => void) {
  const server = createSecureServer({ key, cert: certificate });
  server.on('sessionError', () => undefined);
  server.on('stream', (stream) => {
    stream.on('error', () => undefined);
    onStream(stream);
  });
  await listening(server);
  t.after(() => server.close());
  return portOf(server);
}

test('an upstream that never stops announcing an answer fills nobody: a program gets the first announcements', async (t) => {
  const most = gatewayLimits.interimAnswersMax;
  const site = await site2(t, (stream) => {
    for (let index = 0; index < 3 * most; index += 1)
      stream.additionalHeaders({ ':status': 103, link: '</a>' });
    stream.respond({ ':status': 200 });
    stream.end();
  });
  const { gate, port } = await gateTo(t, site);
  const stream = program2(t, gate, port).request({ ':path': '/open/' });
  let hints = 0;
  stream.on('headers', () => {
    hints += 1;
  });
  const [headers] = (await once(stream.resume(), 'response')) as [IncomingHttpHeaders];
  assert.deepEqual([hints, headers[':status']], [most, 200]);
});

test('a connection ends in the record after its requests, with none of their bytes', async (t) => {
  const site = await site2(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.write(Buffer.alloc(300_000));
  });
  const { gate, port } = await gateTo(t, site);
  const client = program2(t, gate, port);
  let left = 3 * 300_000;
  const read = Promise.withResolvers<void>();
  for (let index = 0; index < 3; index += 1)
    client
      .request({ ':path': '/open/' })
      .on('error', () => undefined)
      .on('data', (chunk: Buffer) => {
        left -= chunk.length;
        if (left === 0) read.resolve();
      });
  await read.promise;
  client.destroy();
  const ends = await gate.changes.until(() => gate.ends.length === 4 && gate.ends);
  const [{ id }] = gate.flows as [EgressFlow];
  assert.equal(ends.at(-1)!.id, id);
  assert.ok(ends.at(-1)!.bytesIn < 100_000, String(ends.at(-1)!.bytesIn));
});

test('one sandbox fills no more of the record than its share', async (t) => {
  const gate = new TestGate(t, { rules: [hostRule(siteHost)], byHand: true });
  const most = gatewayLimits.verdictsWaitingPerSandboxMax;
  assert.ok(most < gatewayLimits.flowsWaitingMax);
  const rule = hostRule(siteHost);
  const waiting = Array.from({ length: most }, () => gate.door.allow(rule, { port: 443 }));
  assert.equal(await gate.door.allow(rule, { port: 443 }), null);
  gate.byHand = false;
  gate.acknowledge();
  assert.ok((await Promise.all(waiting)).every((flow) => flow !== null));
  assert.notEqual(await gate.door.allow(rule, { port: 443 }), null);
});

test('a program that is to be told of a bad certificate and asks for nothing is let go', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const site = await tlsSite(t, () => undefined, ['http/1.1']);
  const { gate, port } = await gateTo(t, site);
  gate.upstreams.authorities = [];
  const options = { host: '127.0.0.1', port, servername: siteHost, ca: gate.authority.certificate };
  const socket = connectTls(options);
  socket.on('error', () => undefined).resume();
  await once(socket, 'secureConnect');
  await gate.changes.until(() => gate.flows.find(({ denial }) => denial === 'certificate'));
  await settled();
  t.mock.timers.tick(gatewayLimits.firstBytesMs);
  await settled();
  t.mock.timers.tick(gatewayLimits.endsHeldMs);
  assert.ok(await gate.end());
});

test('a program that closes HTTP/2 and never its connection is let go, and the flow ends', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const site = await site2(t, () => undefined);
  const { gate, port } = await gateTo(t, site);
  const raw = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  t.after(() => raw.destroy());
  const options = { socket: raw, servername: siteHost, ca: gate.authority.certificate, allowHalfOpen: true };
  const socket = connectTls({ ...options, ALPNProtocols: ['h2'] });
  socket.on('error', () => undefined).resume();
  await once(socket, 'secureConnect');
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(Buffer.from(`${settings}000008070000000000${'00'.repeat(8)}`, 'hex'));
  await once(socket, 'end');
  await settled();
  assert.deepEqual(gate.ends, []);
  for (let index = 0; index < 2; index += 1) t.mock.timers.tick(gatewayLimits.firstBytesMs);
  await gate.end();
});

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const)
  test(`a session of an upstream that did not prove its name is never resumed (${maxVersion})`, async (t) => {
    const other = openIssuer(publicAuthority).leaf('other.test');
    let heard = 0;
    const options = { key: other.key, cert: other.certificate, maxVersion };
    const server = createTlsServer(options, (socket) => {
      socket.on('error', () => undefined).on('data', () => (heard += 1));
    });
    server.on('tlsClientError', () => undefined);
    await listening(server);
    t.after(() => server.close());
    const { gate, port } = await gateTo(t, portOf(server));
    for (let index = 0; index < 3; index += 1) {
      asks(t, gate, port, 'http/1.1', '/open/');
      assert.equal((await gate.end(index)).outcome, 'unreachable');
    }
    assert.equal(heard, 0);
  });

test('a program cannot negotiate its TLS 1.2 anew, which costs it little and the gateway much', async (t) => {
  const { port: site, asked } = await webSite(t);
  const { gate, port } = await gateTo(t, site);
  const options = { host: '127.0.0.1', port, servername: siteHost, ca: gate.authority.certificate };
  const socket = connectTls({ ...options, ALPNProtocols: ['http/1.1'], maxVersion: 'TLSv1.2' });
  socket.on('error', () => undefined).resume();
  await once(socket, 'secureConnect');
  let renewed = 0;
  const again = () =>
    void socket.renegotiate({}, (error) => {
      if (error !== null) return;
      renewed += 1;
      again();
    });
  again();
  asks(t, gate, port, 'h2', '/open/');
  await gate.changes.until(() => gate.ends.length > 0);
  assert.equal(renewed, 0);
  assert.deepEqual(asked, ['/open/']);
});

test('trailers of HTTP/2 that a server behind could take for a field of the head end their stream', async (t) => {
  const trailers: IncomingHttpHeaders[] = [];
  const site = await site2(t, (stream) => {
    stream.on('trailers', (each) => trailers.push(each));
    stream.on('end', () => stream.respond({ ':status': 200 }, { endStream: true })).resume();
  });
  const { gate, port } = await gateTo(t, site);
  const client = program2(t, gate, port);
  for (const [name, isTaken] of [
    ['x-sum', true],
    ['content_length', false],
    ['transfer_encoding', false],
    ['host', false],
  ] as const) {
    const stream = client.request({ ':path': '/open/', ':method': 'POST' }, { waitForTrailers: true });
    stream.on('error', () => undefined).resume();
    stream.on('wantTrailers', () => stream.sendTrailers({ [name]: '1' }));
    stream.end('body');
    await once(stream, 'close').catch(() => undefined);
    assert.equal(stream.rstCode === 0, isTaken, name);
  }
  assert.deepEqual(trailers.map(Object.entries), [[['x-sum', '1']]]);
});
