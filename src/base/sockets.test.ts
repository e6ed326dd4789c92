import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync, readlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import {
  bindEverywhere,
  descriptorsPerMessageMax,
  listenAt,
  listenEverywhere,
  receiveDescriptors,
  sendDescriptors,
  socketPair,
} from './sockets.ts';

const link = (fd: number) => readlinkSync(`/proc/self/fd/${fd}`);

test('descriptors arrive as new numbers of the same files, in their order', () => {
  const [ours, theirs] = socketPair('packets');
  const [one, two] = [openSync('/dev/null', 'r'), openSync('/dev/zero', 'r')];
  sendDescriptors(ours, [one, two]);
  sendDescriptors(ours, [two]);
  const received = [receiveDescriptors(theirs), receiveDescriptors(theirs)];
  assert.deepEqual(
    received.map((message) => message.map(link)),
    [['/dev/null', '/dev/zero'], ['/dev/zero']],
  );
  for (const fd of [ours, theirs, one, two, ...received.flat()]) closeSync(fd);
});

test('as many descriptors as a message takes arrive, and none where none was sent', () => {
  const [ours, theirs] = socketPair('packets');
  assert.throws(() => receiveDescriptors(theirs), { code: 'EAGAIN' });
  const many = Array<number>(descriptorsPerMessageMax).fill(0);
  sendDescriptors(ours, many);
  const received = receiveDescriptors(theirs);
  assert.equal(received.length, descriptorsPerMessageMax);
  closeSync(ours);
  assert.deepEqual(receiveDescriptors(theirs), [], 'the other end is gone');
  for (const fd of [theirs, ...received]) closeSync(fd);
});

test('a descriptor that was received is kept from programs that are started', () => {
  const [ours, theirs] = socketPair('packets');
  sendDescriptors(ours, [0]);
  const [fd] = receiveDescriptors(theirs);
  assert.notEqual(spawnSync('/usr/bin/test', ['-e', `/proc/self/fd/${fd}`]).status, 0);
  for (const one of [ours, theirs, fd!]) closeSync(one);
});

test('a listener takes connections of both families and knows the address that was wanted', async () => {
  const probe = createServer().listen(0);
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  const server = createServer((socket) => socket.end(String(socket.localAddress))).listen({
    fd: listenEverywhere(port, 16),
  });
  await once(server, 'listening');
  for (const [host, seen] of [
    ['127.0.0.2', '::ffff:127.0.0.2'],
    ['::1', '::1'],
  ] as const) {
    const [said] = (await once(connect({ host, port }), 'data')) as [Buffer];
    assert.equal(String(said), seen);
  }
  server.close();
});

for (const order of ['before', 'after'] as const)
  test(`a listener at one address wins there, made ${order} one that listens everywhere at its port`, async () => {
    const probe = createServer().listen(0);
    await once(probe, 'listening');
    const { port } = probe.address() as { port: number };
    probe.close();
    await once(probe, 'close');
    const make = {
      one: () => listenAt('127.0.0.7', port, 16),
      all: () => listenEverywhere(port, 16, true),
    };
    const names = order === 'before' ? (['one', 'all'] as const) : (['all', 'one'] as const);
    const servers = names.map((name) =>
      createServer((socket) => socket.end(name)).listen({ fd: make[name]() }),
    );
    for (const [host, name] of [
      ['127.0.0.7', 'one'],
      ['127.0.0.8', 'all'],
      ['::1', 'all'],
    ] as const) {
      const [said] = (await once(connect({ host, port }), 'data')) as [Buffer];
      assert.equal(String(said), name);
    }
    assert.throws(() => listenEverywhere(port, 16), { code: 'EADDRINUSE' }, 'one that is not shared');
    for (const server of servers) server.close();
  });

test('a bound socket answers both families', async () => {
  const probe = createSocket('udp6');
  await new Promise<void>((resolve) => probe.bind(0, resolve));
  const { port } = probe.address();
  probe.close();
  const server = createSocket('udp6');
  await new Promise<void>((resolve) => server.bind({ fd: bindEverywhere(port) }, resolve));
  server.on('message', (message, from) => server.send(message, from.port, from.address));
  for (const [type, address] of [
    ['udp4', '127.0.0.1'],
    ['udp6', '::1'],
  ] as const) {
    const client = createSocket(type);
    await new Promise<void>((resolve) => client.connect(port, address, resolve));
    client.send('x');
    const [answer] = await once(client, 'message');
    assert.equal(String(answer), 'x');
    client.close();
  }
  server.close();
});
