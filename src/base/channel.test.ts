import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { createConnection, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import {
  type Channel,
  ChannelError,
  connectChannel,
  type Frame,
  frameBytesMax,
  listenChannel,
} from './channel.ts';

const key = randomBytes(32);
let folder: string;
let path: string;
let servers: Server[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-channel-'));
  path = join(folder, 'sock');
  servers = [];
});
afterEach(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function listen(serve: (channel: Channel) => Promise<void>, errors: unknown[] = []): Promise<void> {
  servers.push(await listenChannel({ path, key, serve, onError: (error) => errors.push(error) }));
}

async function echo(channel: Channel): Promise<void> {
  for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
    if (frame.kind === 'json') await channel.sendJson(frame.value);
    else await channel.sendData(frame.bytes);
  }
}

test('both ends that hold the key exchange frames of every size, in order', async () => {
  await listen(echo);
  const channel = await connectChannel(path, key);
  for (const size of [0, 1, 4095, 4096, 100_000, 3_000_000]) {
    const bytes = randomBytes(size);
    const sent = channel.sendData(bytes);
    const frame = (await channel.read()) as Frame & { kind: 'data' };
    await sent;
    assert.deepEqual(frame.bytes, bytes);
  }
  await channel.sendJson({ text: 'ü\u0000', list: [1, null] });
  assert.deepEqual(await channel.read(), { kind: 'json', value: { text: 'ü\u0000', list: [1, null] } });
  channel.close();
});

test('the socket can be opened by its owner alone', async () => {
  await listen(echo);
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test('a client without the key is cut off before anything it sends is read', async () => {
  const served: string[] = [];
  const errors: unknown[] = [];
  await listen(async () => {
    served.push('served');
  }, errors);
  await assert.rejects(connectChannel(path, randomBytes(32)));
  assert.deepEqual(served, []);
  assert.ok(errors[0] instanceof ChannelError);
});

test('a client refuses a server that does not hold the key, and one that only mirrors', async () => {
  const mirror = createServer((socket) => socket.pipe(socket));
  servers.push(mirror.listen(path));
  await once(mirror, 'listening');
  await assert.rejects(connectChannel(path, key), /does not hold the key/);
});

test('a replayed handshake is refused', async () => {
  const errors: unknown[] = [];
  const seen: Buffer[] = [];
  await listen(echo, errors);
  const proxyPath = join(folder, 'proxy');
  const proxy = createServer((socket) => {
    const up = createConnection(path);
    socket.on('data', (chunk) => seen.push(chunk));
    socket.pipe(up).pipe(socket);
  });
  servers.push(proxy.listen(proxyPath));
  await once(proxy, 'listening');
  const honest = await connectChannel(proxyPath, key);
  await honest.sendJson('hello');
  await honest.read();
  honest.close();
  const replay = createConnection(path);
  replay.on('error', () => undefined);
  replay.write(Buffer.concat(seen).subarray(0, 64));
  replay.resume();
  await once(replay, 'close');
  assert.match(String(errors.at(-1)), /does not hold the key/);
});

test('a frame that claims to be larger than the limit ends the connection', async () => {
  const errors: unknown[] = [];
  await listen(echo, errors);
  const channel = await connectChannel(path, key);
  const header = Buffer.alloc(5);
  header.writeUInt8(2, 0);
  header.writeUInt32BE(frameBytesMax + 1, 1);
  await channel.sendRaw(header);
  await channel.closed;
  assert.match(String(errors[0]), /too large/);
});

test('a reader that stalls holds the writer back instead of filling memory', async () => {
  let sent = 0;
  await listen(async (channel) => {
    for (let index = 0; index < 1_000; index += 1) {
      await channel.sendData(Buffer.alloc(256 * 1024));
      sent += 1;
    }
    channel.end();
  });
  const channel = await connectChannel(path, key);
  await channel.read();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(sent < 100, `${sent} frames were sent to a reader that took one`);
  let read = 1;
  while ((await channel.read()) !== null) read += 1;
  assert.equal(read, 1_000);
});

test('a connection cut inside a frame is an error, between frames an end', async () => {
  await listen(async (channel) => {
    await channel.sendJson('whole');
    await channel.sendRaw(Buffer.from([1, 0, 0, 0, 9, 34]));
  });
  const channel = await connectChannel(path, key);
  assert.deepEqual(await channel.read(), { kind: 'json', value: 'whole' });
  await assert.rejects(channel.read());
});
