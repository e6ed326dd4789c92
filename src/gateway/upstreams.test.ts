import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import dns from 'node:dns';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { Clock } from '../base/clock.ts';
import { formatAddress, parseAddress } from '../model/ip-address.ts';
import { answer, dnsTypes, parseQuery } from './dns/message.ts';
import { gatewayLimits } from './limits.ts';
import { listening, portOf } from './test-gate.ts';
import { openUpstreams, type Upstreams } from './upstreams.ts';

type Zone = Map<string, { addresses: readonly string[]; ttl: number } | 'refused'>;
type Names = { upstreams: Upstreams; zone: Zone; asked: string[]; pass(ms: number): void };

/** Upstreams whose resolver is a DNS server of this test, with a clock that stands. */
async function withNames(t: TestContext, zone: Zone): Promise<Names> {
  const socket = createSocket('udp4');
  const asked: string[] = [];
  socket.on('message', (message, from) => {
    const query = parseQuery(message);
    if (query === null || 'refuse' in query) return;
    asked.push(`${query.name} ${query.type === dnsTypes.a ? 'A' : 'AAAA'}`);
    const known = zone.get(query.name);
    const content =
      known === undefined
        ? ({ kind: 'absent' } as const)
        : known === 'refused'
          ? ({ kind: 'refused' } as const)
          : ({ kind: 'address', ...known } as const);
    socket.send(answer(query, content, { udpLimit: 1_232 }), from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.after(() => socket.close());
  let now = 1_000;
  const clock: Clock = { now: () => now, monotonic: () => now };
  const pass = (ms: number) => {
    now += ms;
  };
  return {
    upstreams: openUpstreams(clock, {
      resolvers: [`127.0.0.1:${socket.address().port}`],
      authorities: [],
    }),
    zone,
    asked,
    pass,
  };
}

async function addresses(upstreams: Upstreams, name: string): Promise<string[]> {
  return (await upstreams.resolve(name)).map(formatAddress);
}

test('a name has the addresses of both families, from the resolver and nowhere else', async (t) => {
  const zone: Zone = new Map([
    ['both.test', { addresses: ['192.0.2.1', '192.0.2.2', '2001:db8::1'], ttl: 60 }],
    ['four.test', { addresses: ['192.0.2.1'], ttl: 60 }],
    ['six.test', { addresses: ['2001:db8::1'], ttl: 60 }],
  ]);
  const { upstreams } = await withNames(t, zone);
  assert.deepEqual((await addresses(upstreams, 'both.test')).sort(), [
    '192.0.2.1',
    '192.0.2.2',
    '2001:db8::1',
  ]);
  assert.deepEqual(await addresses(upstreams, 'four.test'), ['192.0.2.1']);
  assert.deepEqual(await addresses(upstreams, 'six.test'), ['2001:db8::1']);
});

test("a name that the resolver does not know has none, whatever this host's own files say", async (t) => {
  const { upstreams, asked } = await withNames(t, new Map());
  assert.deepEqual(await addresses(upstreams, 'absent.test'), []);
  assert.deepEqual(await addresses(upstreams, 'localhost'), []);
  assert.deepEqual(asked.filter((one) => one.startsWith('absent')).sort(), [
    'absent.test A',
    'absent.test AAAA',
  ]);
});

test('an answer is used again within its time to live, and asked for anew after it', async (t) => {
  const zone: Zone = new Map([['a.test', { addresses: ['192.0.2.1'], ttl: 5 }]]);
  const { upstreams, asked, pass } = await withNames(t, zone);
  const both = await Promise.all([addresses(upstreams, 'a.test'), addresses(upstreams, 'a.test')]);
  assert.deepEqual(both, [['192.0.2.1'], ['192.0.2.1']]);
  zone.set('a.test', { addresses: ['192.0.2.9'], ttl: 5 });
  pass(4_999);
  assert.deepEqual(await addresses(upstreams, 'a.test'), ['192.0.2.1']);
  assert.equal(asked.length, 2);
  pass(1);
  assert.deepEqual(await addresses(upstreams, 'a.test'), ['192.0.2.9']);
  assert.equal(asked.length, 4);
});

test('no answer is used for longer than the bound, and one without a time to live not again', async (t) => {
  const zone: Zone = new Map([
    ['long.test', { addresses: ['192.0.2.1'], ttl: 86_400 }],
    ['never.test', { addresses: ['192.0.2.1'], ttl: 0 }],
  ]);
  const { upstreams, zone: live, pass } = await withNames(t, zone);
  for (const name of ['long.test', 'never.test']) {
    await upstreams.resolve(name);
    live.set(name, { addresses: ['192.0.2.9'], ttl: 60 });
  }
  assert.deepEqual(await addresses(upstreams, 'never.test'), ['192.0.2.9']);
  pass(gatewayLimits.resolvedMostMs - 1);
  assert.deepEqual(await addresses(upstreams, 'long.test'), ['192.0.2.1']);
  pass(1);
  assert.deepEqual(await addresses(upstreams, 'long.test'), ['192.0.2.9']);
});

test('a resolver that refuses or does not know is asked again soon, as it may be out of order for a moment', async (t) => {
  const zone: Zone = new Map([['a.test', 'refused']]);
  const { upstreams, pass } = await withNames(t, zone);
  for (const name of ['a.test', 'b.test']) assert.deepEqual(await addresses(upstreams, name), []);
  for (const name of ['a.test', 'b.test']) zone.set(name, { addresses: ['192.0.2.1'], ttl: 5 });
  pass(gatewayLimits.resolvedNoneMs);
  for (const name of ['a.test', 'b.test']) assert.deepEqual(await addresses(upstreams, name), ['192.0.2.1']);
});

async function listen(
  t: TestContext,
  host: string,
  port = 0,
): Promise<{ server: Server; accepted: Socket[] }> {
  const accepted: Socket[] = [];
  const server = createServer((socket) => accepted.push(socket.on('error', () => undefined)));
  if (port === 0) await listening(server);
  else {
    server.listen(port, host);
    await once(server, 'listening');
  }
  t.after(() => {
    server.close();
    for (const socket of accepted) socket.destroy();
  });
  return { server, accepted };
}

const parsed = (texts: readonly string[]) => texts.map((text) => parseAddress(text)!);

test('of several addresses the one that answers is connected, and named', async (t) => {
  const { server, accepted } = await listen(t, '127.0.0.1');
  const { upstreams } = await withNames(t, new Map());
  for (const choice of [['127.0.0.1'], ['127.0.0.2', '127.0.0.1'], ['127.0.0.3', '::1', '127.0.0.1']]) {
    const dialled = await upstreams.dial(parsed(choice), portOf(server));
    assert.equal(formatAddress(dialled!.address), '127.0.0.1');
    assert.equal(dialled!.socket.remoteAddress, '127.0.0.1');
    dialled!.socket.destroy();
  }
  assert.equal(accepted.length, 3);
});

test('where none of them answers there is no connection', async (t) => {
  const { server } = await listen(t, '127.0.0.1');
  const port = portOf(server);
  const { upstreams } = await withNames(t, new Map());
  assert.equal(await upstreams.dial(parsed(['127.0.0.2', '::1', '127.0.0.3']), port), null);
  assert.equal(await upstreams.dial(parsed(['127.0.0.2']), port), null);
});

test('nothing is looked up to dial', async (t) => {
  const { server } = await listen(t, '127.0.0.1');
  const { upstreams, asked } = await withNames(t, new Map());
  const lookup = t.mock.method(dns, 'lookup');
  const dialled = await upstreams.dial(parsed(['127.0.0.2', '127.0.0.1']), portOf(server));
  assert.ok(dialled !== null);
  dialled.socket.destroy();
  assert.equal(lookup.mock.callCount(), 0);
  assert.deepEqual(asked, []);
});

test('what an upstream says first is not lost, and its end leaves the other side open', async (t) => {
  const { server } = await listen(t, '127.0.0.1');
  server.on('connection', (socket: Socket) => socket.end('welcome'));
  const { upstreams } = await withNames(t, new Map());
  const dialled = await upstreams.dial(parsed(['127.0.0.1']), portOf(server));
  let text = '';
  dialled!.socket.on('data', (chunk) => {
    text += chunk;
  });
  await once(dialled!.socket, 'end');
  assert.equal(text, 'welcome');
  assert.equal(dialled!.socket.writable, true);
  dialled!.socket.destroy();
});

test("this host's own addresses are known, the loopback ones among them", async (t) => {
  const { upstreams } = await withNames(t, new Map());
  const own = upstreams.own().map(({ address, prefix }) => `${formatAddress(address)}/${prefix}`);
  assert.ok(own.includes('127.0.0.1/32'));
});
