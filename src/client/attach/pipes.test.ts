import assert from 'node:assert/strict';
import { once } from 'node:events';
import { buffer, text } from 'node:stream/consumers';
import test from 'node:test';
import { attachCloseCodes, attachStreams } from '../../contract/attach.ts';
import { ApiError } from '../api-error.ts';
import { nodeSocket } from './node-socket.ts';
import { openExec, openPort } from './pipes.ts';
import { openTestAttachServer, type TestAttachServer, type TestPeer } from './test-attach-server.ts';

async function started(server: TestAttachServer) {
  const opening = openExec(nodeSocket({ url: server.url }), server.ticket(null));
  const peer = await server.peer();
  peer.welcome({ terminal: null, size: null });
  return { exec: await opening, peer };
}

async function forwarded(server: TestAttachServer) {
  const opening = openPort(nodeSocket({ url: server.url }), server.ticket(null));
  const peer = await server.peer();
  peer.welcome({ terminal: null, size: null });
  return { port: await opening, peer };
}

const code = (wanted: string) => (error: unknown) => error instanceof ApiError && error.code === wanted;

test('a command has its three pipes, the end of its input and its own status', async (t) => {
  const server = await openTestAttachServer(t);
  const { exec, peer } = await started(server);
  exec.stdin.end('what it reads');
  await peer.frame('end-input');
  assert.equal(peer.typed, 'what it reads');
  peer.data('out', attachStreams.output);
  peer.data('err', attachStreams.error);
  peer.data('put', attachStreams.output);
  peer.end(42);
  const [stdout, stderr, exit] = await Promise.all([text(exec.stdout), text(exec.stderr), exec.exit]);
  assert.deepEqual([stdout, stderr, exit], ['output', 'err', { code: 42, signal: null }]);
});

test('a command whose output nobody reads waits, and all of it comes once somebody does', async (t) => {
  const server = await openTestAttachServer(t);
  const { exec, peer } = await started(server);
  const bytes = Buffer.from(Array.from({ length: 50_000 }, (_, at) => at % 253));
  for (let count = 0; count < 400; count++) peer.data(bytes);
  const sent = new Promise<string>((resolve) => peer.socket.ping('', false, () => resolve('sent')));
  assert.equal(
    await Promise.race([sent, new Promise((resolve) => setTimeout(resolve, 300, 'held'))]),
    'held',
  );
  const all = buffer(exec.stdout);
  await sent;
  peer.end(0);
  assert((await all).equals(Buffer.concat(Array(400).fill(bytes))));
  assert.deepEqual(await exec.exit, { code: 0, signal: null });
});

test('whoever writes faster than the command reads waits', async (t) => {
  const server = await openTestAttachServer(t);
  const { exec, peer } = await started(server);
  peer.socket.pause();
  const chunk = Buffer.alloc(64 * 1024, 'y');
  let taken = 0;
  const writing = (async () => {
    for (; taken < 2_000; taken++) {
      if (!exec.stdin.write(chunk)) await once(exec.stdin, 'drain');
    }
    exec.stdin.end();
  })();
  assert.equal(
    await Promise.race([writing.then(() => 'taken'), new Promise((r) => setTimeout(r, 1_000, 'held'))]),
    'held',
  );
  assert(exec.stdin.writableLength <= 2 * chunk.length);
  peer.socket.resume();
  await writing;
  await peer.frame('end-input');
  assert.equal(
    peer.input.reduce((bytes, message) => bytes + message.length - 1, 0),
    2_000 * chunk.length,
  );
});

for (const [reason, wanted] of [
  ['revoked', 'access.denied'],
  ['unrecorded', 'audit.unavailable'],
  ['goingAway', 'server.unreachable'],
] as const)
  test(`a command whose connection is cut as ${reason} has no status, but a reason`, async (t) => {
    const server = await openTestAttachServer(t);
    const { exec, peer } = await started(server);
    const output = text(exec.stdout);
    peer.data('half');
    peer.socket.close(attachCloseCodes[reason]);
    await assert.rejects(exec.exit, code(wanted));
    await assert.rejects(output, code(wanted));
    assert(exec.stdin.destroyed);
  });

test('hanging up ends the connection', async (t) => {
  const server = await openTestAttachServer(t);
  const { exec, peer } = await started(server);
  exec.close();
  assert.equal(await peer.closed, 1000);
  await assert.rejects(exec.exit);
});

test('a refusal of a command or port comes before anything else', async (t) => {
  const server = await openTestAttachServer(t);
  for (const open of [openExec, openPort]) {
    server.refusals.push({ status: 409, body: { code: 'state.conflict', detail: 'The run has ended.' } });
    await assert.rejects(open(nodeSocket({ url: server.url }), server.ticket(null)), code('state.conflict'));
  }
});

test('a port carries bytes both ways, and the end of either side', async (t) => {
  const server = await openTestAttachServer(t);
  const { port, peer } = await forwarded(server);
  port.end('GET / HTTP/1.0\r\n\r\n');
  await peer.frame('end-input');
  assert.equal(peer.typed, 'GET / HTTP/1.0\r\n\r\n');
  peer.data('HTTP/1.0 200 OK\r\n\r\nhi');
  peer.end(null);
  assert.equal(await text(port), 'HTTP/1.0 200 OK\r\n\r\nhi');
});

test('a port that is cut fails, and one that is left ends at the server', async (t) => {
  const server = await openTestAttachServer(t);
  const cut = await forwarded(server);
  cut.peer.socket.close(attachCloseCodes.switchedOff);
  await assert.rejects(text(cut.port), code('access.denied'));
  const left = await forwarded(server);
  left.port.destroy();
  assert.equal(await left.peer.closed, 1000);
});

test('a command in a terminal is told the size; one with pipes has none', async (t) => {
  const server = await openTestAttachServer(t);
  const opening = openExec(nodeSocket({ url: server.url }), server.ticket());
  const peer: TestPeer = await server.peer();
  peer.welcome();
  const exec = await opening;
  exec.resize({ columns: 5, rows: 4 });
  assert.deepEqual((await peer.frame('resize')).size, { columns: 5, rows: 4 });
  const piped = await started(server);
  piped.exec.resize({ columns: 5, rows: 4 });
  piped.exec.stdin.end();
  await piped.peer.frame('end-input');
  assert.deepEqual(piped.peer.frames, []);
});

test('what comes in one piece with the welcome is kept, and the end too', async (t) => {
  const server = await openTestAttachServer(t);
  const socket = nodeSocket({ url: server.url });
  const atOnce = async () => {
    const peer = await server.peer();
    peer.welcome({ terminal: null, size: null });
    peer.data('all of it', attachStreams.output);
    peer.end(0);
  };
  const [exec] = await Promise.all([openExec(socket, server.ticket(null)), atOnce()]);
  assert.deepEqual([await text(exec.stdout), await exec.exit], ['all of it', { code: 0, signal: null }]);
  const [port] = await Promise.all([openPort(socket, server.ticket(null)), atOnce()]);
  assert.equal(await text(port), 'all of it');
  const cutAtOnce = async () => {
    const peer = await server.peer();
    peer.welcome({ terminal: null, size: null });
    peer.socket.close(attachCloseCodes.revoked);
  };
  const [cut] = await Promise.all([openPort(socket, server.ticket(null)), cutAtOnce()]);
  await assert.rejects(text(cut));
});
