import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { listening, Peer, portOf, settled } from '../test-gate.ts';
import { splice } from './splice.ts';

/** A program and a site, and the gateway's two sockets between them. */
type Line = { program: Socket; client: Socket; upstream: Socket; site: Socket };

async function line(t: TestContext): Promise<Line> {
  const pair = async (pauseOnConnect: boolean): Promise<[Socket, Socket]> => {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect });
    await listening(server);
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const near = connect({ host: '127.0.0.1', port: portOf(server), allowHalfOpen: true, noDelay: true });
    const [far] = await accepted;
    server.close();
    return [near, far];
  };
  const [program, client] = await pair(true);
  const [upstream, site] = await pair(false);
  for (const socket of [program, client, upstream, site]) socket.on('error', () => undefined);
  t.after(() => {
    for (const socket of [program, client, upstream, site]) socket.destroy();
  });
  return { program, client, upstream, site };
}

test('bytes pass in both directions and an end of both is closed', async (t) => {
  const { program, client, upstream, site } = await line(t);
  const done = splice(client, upstream, () => true);
  const [left, right] = [new Peer(program), new Peer(site)];
  left.write('ping');
  await right.until('ping');
  right.write('pong');
  await left.until('pong');
  program.end();
  site.end();
  assert.equal(await done, 'closed');
  assert.deepEqual([await left.ended(), await right.ended()], ['end', 'end']);
  assert.deepEqual([upstream.bytesWritten, upstream.bytesRead], [4, 4]);
});

for (const who of ['program', 'site'] as const)
  test(`when the ${who} ends its side, the other side goes on for as long as it wants`, async (t) => {
    const { program, client, upstream, site } = await line(t);
    const done = splice(client, upstream, () => true);
    const [first, second] = who === 'program' ? [program, site] : [site, program];
    const [early, late] = [new Peer(first), new Peer(second)];
    first.end('last words');
    assert.equal(await late.ended(), 'end');
    assert.equal(late.text, 'last words');
    for (let word = 0; word < 5; word += 1) {
      late.write(`word ${word} `);
      await early.until(`word ${word} `);
    }
    second.end('and out');
    assert.equal(await early.ended(), 'end');
    assert.match(early.text, /and out$/);
    assert.equal(await done, 'closed');
  });

for (const who of ['program', 'site'] as const)
  test(`a reset by the ${who} is passed on as one`, async (t) => {
    const { program, client, upstream, site } = await line(t);
    const done = splice(client, upstream, () => true);
    const [first, second] = who === 'program' ? [program, site] : [site, program];
    const [early, late] = [new Peer(first), new Peer(second)];
    early.write('half a mess');
    await late.until('half a mess');
    first.resetAndDestroy();
    assert.equal(await late.ended(), 'reset');
    assert.equal(await done, 'reset');
  });

for (const who of ['program', 'site'] as const)
  test(`when the ${who} ended in order and is gone, what the other still sends is no reset of the flow`, async (t) => {
    const { program, client, upstream, site } = await line(t);
    const done = splice(client, upstream, () => true);
    const [first, second] = who === 'program' ? [program, site] : [site, program];
    const [early, late] = [new Peer(first), new Peer(second)];
    late.write('hello');
    await early.until('hello');
    // What TLS clients do: an end, and a close that does not wait for the other side's last record.
    first.end('close_notify');
    await once(first, 'finish');
    first.destroy();
    assert.equal(await late.ended(), 'end');
    // The first meets a closed socket, which answers with a reset; the next one fails by it.
    for (const gone = who === 'program' ? client : upstream; !gone.destroyed; await settled())
      late.write('close_notify');
    assert.equal(await done, 'closed');
  });

for (const direction of ['up', 'down'] as const)
  test(`a reader that stalls holds the writer, ${direction}stream, and loses nothing`, async (t) => {
    const { program, client, upstream, site } = await line(t);
    void splice(client, upstream, () => true);
    const [writer, from, to, reader] =
      direction === 'up' ? [program, client, upstream, site] : [site, upstream, client, program];
    reader.pause();
    const piece = Buffer.alloc(256 * 1024, 'x');
    let sent = 0;
    for (; sent < 128 * 1024 * 1024 && writer.writableLength < 4 * piece.length; sent += piece.length) {
      writer.write(piece);
      await settled();
    }
    assert.ok(sent < 64 * 1024 * 1024, `it took ${sent} bytes`);
    assert.ok(from.readableLength + to.writableLength < 512 * 1024, 'the gateway holds little of it');
    let read = 0;
    reader.on('data', (chunk) => {
      read += chunk.length;
    });
    reader.resume();
    writer.end();
    await once(reader, 'end');
    assert.equal(read, sent);
  });

test('400 MB pass each way at once in constant memory', async (t) => {
  const { program, client, upstream, site } = await line(t);
  const done = splice(client, upstream, () => true);
  const total = 400 * 1024 * 1024;
  const piece = Buffer.alloc(256 * 1024, 'x');
  let most = 0;
  let held = 0;
  const write = async (socket: Socket) => {
    for (let sent = 0; sent < total; sent += piece.length) {
      if (!socket.write(piece)) await once(socket, 'drain');
      most = Math.max(most, process.memoryUsage.rss());
      held = Math.max(held, client.readableLength + upstream.writableLength);
      held = Math.max(held, upstream.readableLength + client.writableLength);
    }
    socket.end();
  };
  const counts = [program, site].map(async (socket) => {
    let read = 0;
    socket.on('data', (chunk) => {
      read += chunk.length;
    });
    await once(socket, 'end');
    return read;
  });
  const before = process.memoryUsage.rss();
  await Promise.all([write(program), write(site)]);
  assert.deepEqual(await Promise.all(counts), [total, total]);
  assert.equal(await done, 'closed');
  assert.ok(held < 1024 * 1024, `the gateway held ${held} bytes`);
  assert.ok(most - before < 160 * 1024 * 1024, `memory grew by ${most - before} bytes`);
  assert.deepEqual([upstream.bytesWritten, upstream.bytesRead], [total, total]);
});

test('silence past the bound ends both with a reset', async (t) => {
  const { program, client, upstream, site } = await line(t);
  const done = splice(client, upstream, () => true);
  const [left, right] = [new Peer(program), new Peer(site)];
  client.emit('timeout');
  assert.equal(await done, 'timed-out');
  assert.deepEqual([await left.ended(), await right.ended()], ['reset', 'reset']);
});

test('an end that is gone before the splice ends the other, and it is over', async (t) => {
  const { client, upstream, site } = await line(t);
  const right = new Peer(site);
  client.destroy();
  await once(client, 'close');
  assert.equal(await splice(client, upstream, () => true), 'reset');
  assert.equal(await right.ended(), 'reset');
});

test('both ends gone before the splice is over at once', async (t) => {
  const { client, upstream } = await line(t);
  client.destroy();
  upstream.destroy();
  await splice(client, upstream, () => true);
});
