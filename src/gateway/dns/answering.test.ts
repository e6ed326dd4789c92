import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { promises as dns } from 'node:dns';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../base/clock.ts';
import { bindEverywhere } from '../../base/sockets.ts';
import { unlimitedEgress } from '../../model/egress.ts';
import { parseAddress } from '../../model/ip-address.ts';
import { gatewayLimits } from '../limits.ts';
import { Room } from '../room.ts';
import { SandboxDoor } from '../sandbox-door.ts';
import { hostRule, portOf, settled, TestGate } from '../test-gate.ts';
import { serveDnsConnection, serveDnsDatagrams } from './answering.ts';
import { dnsTypes } from './message.ts';

const rules = [hostRule('site.test'), hostRule('*.wild.test')];

/** A stub resolver of Node's that asks the door over UDP, and over TCP where it is told to. */
async function resolverOf(
  t: TestContext,
  door: SandboxDoor,
): Promise<{ resolver: dns.Resolver; port: number }> {
  const socket = serveDnsDatagrams(door, bindEverywhere(0));
  t.after(() => socket.close());
  const { port } = socket.address();
  const resolver = new dns.Resolver({ timeout: 1_000, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  return { resolver, port };
}

async function tcpOf(t: TestContext, door: SandboxDoor): Promise<Socket> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    serveDnsConnection(door, socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect({ host: '127.0.0.1', port: portOf(server), allowHalfOpen: true });
  client.on('error', () => undefined);
  await once(client, 'connect');
  t.after(() => {
    client.destroy();
    server.close();
  });
  return client;
}

function query(id: number, name: string, type: number = dnsTypes.a): Buffer {
  const labels = name.split('.').map((label) => `${String.fromCharCode(label.length)}${label}`);
  const head = Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([head, Buffer.from(`${labels.join('')}\0`, 'latin1'), Buffer.of(0, type, 0, 1)]);
}

function framed(message: Buffer): Buffer {
  return Buffer.concat([Buffer.of(message.length >> 8, message.length & 255), message]);
}

/** The messages of a TCP connection, once there are so many. */
async function messages(socket: Socket, count: number): Promise<Buffer[]> {
  let bytes = Buffer.alloc(0);
  const found: Buffer[] = [];
  while (found.length < count) {
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
      found.push(bytes.subarray(2, 2 + bytes.readUInt16BE(0)));
      bytes = bytes.subarray(2 + bytes.readUInt16BE(0));
    }
  }
  return found;
}

const rcode = (message: Buffer): number => message[3]! & 15;

test('a name that a rule knows has an address in each family that stands for it, and no other records', async (t) => {
  const { door } = new TestGate(t, { rules });
  const { resolver } = await resolverOf(t, door);
  const [four] = await resolver.resolve4('site.test', { ttl: true });
  const [six] = await resolver.resolve6('site.test');
  assert.equal(four!.ttl, gatewayLimits.dnsTtlSeconds);
  for (const address of [four!.address, six!])
    assert.equal(door.destination(parseAddress(address)!, 443).host, 'site.test');
  await assert.rejects(resolver.resolveTxt('site.test'), { code: 'ENODATA' });
  await assert.rejects(resolver.resolveMx('site.test'), { code: 'ENODATA' });
  const [sub] = await resolver.resolve4('a.wild.test');
  assert.notEqual(sub, four!.address);
});

test('HTTPS records of a known name are empty, so that no program learns of another way to it', async (t) => {
  const gate = new TestGate(t, { rules });
  const socket = await tcpOf(t, gate.door);
  socket.write(framed(query(1, 'site.test', 65)));
  const [answer] = await messages(socket, 1);
  assert.deepEqual([rcode(answer!), answer!.readUInt16BE(6)], [0, 0]);
  assert.equal(gate.flows.length, 0);
});

test('the case of a name and a dot at its end change nothing', async (t) => {
  const { door } = new TestGate(t, { rules });
  const { resolver } = await resolverOf(t, door);
  const addresses = [];
  for (const name of ['site.test', 'SITE.TEST', 'sItE.tEsT', 'site.test.', 'Site.Test.'])
    addresses.push(...(await resolver.resolve4(name)));
  assert.equal(new Set(addresses).size, 1);
});

test('every other name does not exist, and is recorded once however often and for whatever it is asked', async (t) => {
  const gate = new TestGate(t, { rules });
  const { resolver } = await resolverOf(t, gate.door);
  for (let turn = 0; turn < 3; turn += 1) {
    await assert.rejects(resolver.resolve4('secret.evil.test'), { code: 'ENOTFOUND' });
    await assert.rejects(resolver.resolve6('SECRET.evil.test.'), { code: 'ENOTFOUND' });
    await assert.rejects(resolver.resolveTxt('secret.evil.test'), { code: 'ENOTFOUND' });
  }
  const { host, port, protocol, verdict, denial } = await gate.flow();
  assert.deepEqual(
    [host, port, protocol, verdict, denial],
    ['secret.evil.test', 53, 'dns', 'denied', 'no-rule'],
  );
  await settled();
  assert.equal(gate.flows.length, 1);
  await assert.rejects(resolver.resolve4('wild.test'), { code: 'ENODATA' });
  await assert.rejects(resolver.resolve4('asite.test'), { code: 'ENOTFOUND' });
  assert.equal((await gate.flow(2)).host, 'asite.test');
  assert.deepEqual(gate.upstreams.asked, [], 'nothing that is asked gets out');
  await resolver.resolve4('site.test');
});

test('a name above a known one exists without an address, so that nobody takes the known one for absent', async (t) => {
  const gate = new TestGate(t, { rules });
  const { resolver } = await resolverOf(t, gate.door);
  for (const name of ['test', 'wild.test'])
    await assert.rejects(resolver.resolve4(name), { code: 'ENODATA' }, name);
  for (const name of ['ild.test', 'est', 'test.test'])
    await assert.rejects(resolver.resolve4(name), { code: 'ENOTFOUND' }, name);
});

test('an address that stands for a name points to it, and no other address to anything', async (t) => {
  const gate = new TestGate(t, { rules });
  const { resolver } = await resolverOf(t, gate.door);
  const [four] = await resolver.resolve4('site.test');
  const [six] = await resolver.resolve6('site.test');
  assert.deepEqual(await resolver.reverse(four!), ['site.test']);
  assert.deepEqual(await resolver.reverse(six!), ['site.test']);
  await settled();
  assert.equal(gate.flows.length, 0, 'nothing was denied');
  for (const address of ['198.18.0.1', '198.18.250.1', '192.0.2.1', '2001:db8::1', 'fd73:6561:6c77::ffff'])
    await assert.rejects(resolver.reverse(address), { code: 'ENOTFOUND' }, address);
  assert.ok((await gate.flow()).denial);
});

test('a door that is not admitted refuses, records nothing and gives no address', async (t) => {
  const gate = new TestGate(t, { rules });
  const { upstreams, recorder, authority } = gate;
  const door = new SandboxDoor({
    upstreams,
    recorder,
    clock: systemClock,
    room: new Room(10),
    era: 0,
    authority,
  });
  const { resolver } = await resolverOf(t, door);
  await assert.rejects(resolver.resolve4('site.test'), { code: 'EREFUSED' });
  await settled();
  assert.equal(gate.flows.length, 0);
  door.admit('run_other' as never, { mode: 'restricted', generation: 1, rules, limits: unlimitedEgress }, 1);
  await resolver.resolve4('site.test');
  await door.close();
  await assert.rejects(resolver.resolve4('site.test'), { code: 'EREFUSED' });
});

test('a name that a policy change adds is there at once, and keeps its address when it goes and comes back', async (t) => {
  const gate = new TestGate(t, { rules });
  const { resolver } = await resolverOf(t, gate.door);
  await assert.rejects(resolver.resolve4('new.test'), { code: 'ENOTFOUND' });
  gate.admit([...rules, hostRule('new.test')]);
  const first = await resolver.resolve4('new.test');
  gate.admit(rules);
  await assert.rejects(resolver.resolve4('new.test'), { code: 'ENOTFOUND' });
  gate.admit([hostRule('new.test')]);
  assert.deepEqual(await resolver.resolve4('new.test'), first);
});

test('queries that come together on one TCP connection are all answered, cut as they may be, and then its end', async (t) => {
  const gate = new TestGate(t, { rules });
  const socket = await tcpOf(t, gate.door);
  const names = ['site.test', 'other.test', 'a.wild.test'];
  const all = Buffer.concat(names.map((name, index) => framed(query(index + 1, name))));
  socket.write(all);
  const answers = await messages(socket, 3);
  assert.deepEqual(
    answers.map((answer) => [answer.readUInt16BE(0), rcode(answer)]),
    [
      [1, 0],
      [2, 3],
      [3, 0],
    ],
  );
  for (const byte of all) socket.write(Buffer.of(byte));
  socket.end();
  assert.equal((await messages(socket, 3)).length, 3);
  await once(socket, 'end');
});

test('a TCP connection that sends no DNS messages is closed, and a datagram that is none is not answered', async (t) => {
  const gate = new TestGate(t, { rules });
  const socket = await tcpOf(t, gate.door);
  socket.write('GET / HTTP/1.1\r\nHost: site.test\r\n\r\n');
  socket.resume();
  await once(socket, 'end');
  const { resolver, port } = await resolverOf(t, gate.door);
  const datagrams = createSocket('udp4');
  t.after(() => datagrams.close());
  datagrams.on('message', () => assert.fail('it was answered'));
  for (const bytes of [Buffer.alloc(0), Buffer.of(1), Buffer.alloc(12, 0xff)])
    await new Promise((resolve) => datagrams.send(bytes, port, '127.0.0.1', resolve));
  await resolver.resolve4('site.test');
});

test('a TCP connection that asks and never reads is cut', async (t) => {
  const gate = new TestGate(t, { rules });
  const socket = await tcpOf(t, gate.door);
  socket.pause();
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const many = Buffer.concat(Array.from({ length: 1_000 }, (_, id) => framed(query(id, 'site.test'))));
  for (let sent = 0; !socket.destroyed && sent < 256 * 1024 * 1024; sent += many.length) {
    if (!socket.write(many))
      await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed]);
    await settled();
  }
  assert.ok(socket.destroyed);
});
