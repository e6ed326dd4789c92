import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Inlet, send } from './inlet.ts';
import { listening, portOf, settled } from './test-gate.ts';

/** Two connected sockets, the second as the gateway accepts one. */
async function pair(t: TestContext): Promise<[far: Socket, near: Socket]> {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true });
  await listening(server);
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const far = connect({ host: '127.0.0.1', port: portOf(server), allowHalfOpen: true, noDelay: true });
  const [near] = await accepted;
  for (const socket of [far, near]) socket.on('error', () => undefined);
  t.after(() => {
    server.close();
    far.destroy();
    near.destroy();
  });
  return [far, near];
}

async function readAll(inlet: Inlet): Promise<string> {
  let text = '';
  for (let chunk = await inlet.next(); chunk !== null; chunk = await inlet.next()) text += chunk;
  return text;
}

test('all that was sent is read in order, and then its end, as often as it is asked', async (t) => {
  const [far, near] = await pair(t);
  const inlet = new Inlet(near);
  far.write('one ');
  assert.equal(String(await inlet.next()), 'one ');
  far.end('two');
  assert.equal(await readAll(inlet), 'two');
  assert.equal(await inlet.next(), null);
});

test('what was read too far is read again, before anything else, and can be taken instead', async (t) => {
  const [far, near] = await pair(t);
  const inlet = new Inlet(near);
  far.end('headbody');
  const chunk = (await inlet.next())!;
  inlet.unread(chunk.subarray(4));
  assert.ok(inlet.hasMore);
  assert.equal(await readAll(inlet), 'body');
  assert.ok(!inlet.hasMore);
  assert.equal(inlet.takeHeld(), null);
  inlet.unread(chunk.subarray(4));
  assert.equal(String(inlet.takeHeld()), 'body');
  assert.equal(await inlet.next(), null);
  inlet.unread(Buffer.alloc(0));
  assert.ok(!inlet.hasMore);
});

test('a reset ends a read that waits and every later one, and is told from an orderly end', async (t) => {
  const [far, near] = await pair(t);
  const inlet = new Inlet(near);
  const waiting = inlet.next();
  far.resetAndDestroy();
  assert.equal(await waiting, null);
  assert.equal(await inlet.next(), null);
  assert.equal(inlet.endedWell, false);

  const [orderly, here] = await pair(t);
  orderly.end('x');
  const other = new Inlet(here);
  assert.equal(await readAll(other), 'x');
  assert.equal(other.endedWell, true);
});

test('a read leaves nothing on the socket, so that a pipe can go on where it stopped', async (t) => {
  const [far, near] = await pair(t);
  const inlet = new Inlet(near);
  for (let read = 0; read < 50; read += 1) {
    const next = inlet.next();
    far.write('x');
    await next;
  }
  for (const event of ['readable', 'end', 'close'])
    assert.ok(near.listenerCount(event) <= 1, `${event} has no listener of a read`);
  far.end('the rest');
  let rest = '';
  near.on('data', (chunk) => {
    rest += chunk;
  });
  await once(near, 'end');
  assert.equal(rest, 'the rest');
});

test('whoever reads nothing holds the writer', async (t) => {
  const [far, near] = await pair(t);
  const inlet = new Inlet(near);
  const piece = Buffer.alloc(256 * 1024);
  const first = inlet.next();
  let sent = 0;
  for (; sent < 64 * 1024 * 1024 && far.writableLength < 4 * piece.length; sent += piece.length) {
    far.write(piece);
    await settled();
  }
  await first;
  assert.ok(sent < 32 * 1024 * 1024, `it took ${sent} bytes`);
  assert.ok(near.readableLength <= 4 * near.readableHighWaterMark, `it holds ${near.readableLength} bytes`);
  far.end();
  let read = (await first)!.length;
  for (let chunk = await inlet.next(); chunk !== null; chunk = await inlet.next()) read += chunk.length;
  assert.equal(read, sent, 'and all comes once it is read');
});

test('send waits while nobody takes it, goes on when somebody does, and says when nobody will', async (t) => {
  const [far, near] = await pair(t);
  far.pause();
  const piece = Buffer.alloc(256 * 1024);
  let sent = 0;
  let settledCount = 0;
  const sending = (async () => {
    for (; sent < 64 * 1024 * 1024; sent += piece.length) {
      if (!(await send(near, piece))) return false;
      settledCount += 1;
    }
    return true;
  })();
  let before = -1;
  while (before !== settledCount) {
    before = settledCount;
    await settled();
  }
  assert.ok(sent < 32 * 1024 * 1024, `it sent ${sent} bytes`);
  assert.ok(near.writableLength <= piece.length + near.writableHighWaterMark);
  far.once('data', () => far.resetAndDestroy());
  far.resume();
  assert.equal(await sending, false);
  assert.ok(settledCount > before || sent < 64 * 1024 * 1024);
  assert.equal(await send(near, piece), false);
});

test('nothing is sent after the end', async (t) => {
  const [, near] = await pair(t);
  assert.equal(await send(near, Buffer.alloc(0)), true);
  near.end();
  assert.equal(await send(near, Buffer.from('x')), false);
  assert.equal(near.errored, null);
});
