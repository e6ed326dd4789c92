import assert from 'node:assert/strict';
import { once } from 'node:events';
import test, { type TestContext } from 'node:test';
import type { FakeAttached } from '../../../tests/support/fake-attach.ts';
import { openRaw } from '../../../tests/support/raw-http.ts';
import {
  closePayload,
  type FrameToSend,
  frameBytes,
  opcodes,
  RawWebSocket,
  upgradeText,
} from '../../../tests/support/raw-websocket.ts';
import { openTestServer, type TestServer } from '../../../tests/support/test-server.ts';
import { attachCloseCodes, attachLimits, attachStreams } from '../../contract/attach.ts';
import { newId, type RunId } from '../../model/ids.ts';
import { attachServerLimits } from './limits.ts';

const run = newId('run', 1) as RunId;
const { input, output } = attachStreams;

type Pair = { readonly socket: RawWebSocket; readonly at: FakeAttached };

async function join(server: TestServer): Promise<Pair> {
  const { attach } = server.control;
  const index = attach.presented.length;
  const ticket = attach.issue(run);
  const request = upgradeText(`/api/v1/runs/${run}/attach`, { ticket, headers: { Origin: server.address } });
  const socket = new RawWebSocket(await openRaw(server.port), request);
  assert.equal((await socket.answer).status, 101);
  return { socket, at: await attach.at(index) };
}

/** A server whose clock a test may move on. */
async function openTimed(t: TestContext) {
  let ahead = 0;
  const clock = { now: () => Date.now(), monotonic: () => performance.now() + ahead };
  const server = await openTestServer(t, { clock });
  const later = (ms: number) => {
    ahead += ms;
  };
  return { server, later };
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

const binary = (text: string | Buffer): FrameToSend => ({
  opcode: opcodes.binary,
  payload: Buffer.concat([Buffer.of(input), Buffer.from(text)]),
});
const text = (value: unknown): FrameToSend => ({
  opcode: opcodes.text,
  payload: Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
});

function typed(at: FakeAttached): Buffer {
  return Buffer.concat(at.said.filter((said) => Buffer.isBuffer(said)));
}

async function works({ socket, at }: Pair): Promise<void> {
  const before = typed(at).length;
  socket.send(binary('x'));
  await until(() => typed(at).length === before + 1);
  at.client.data(output, Buffer.from('y'));
  const frame = await socket.next();
  assert.deepEqual(
    [frame?.opcode, String(frame?.payload)],
    [opcodes.binary, `${String.fromCharCode(output)}y`],
  );
}

/** Frames that no client of the protocol sends, and the code of the close frame that answers them. */
const hostile: Readonly<Record<string, readonly [readonly FrameToSend[], code: number, gone: string]>> = {
  unmasked: [[{ ...binary('x'), mask: null }], 1002, 'protocol'],
  'a reserved bit': [[{ ...binary('x'), rsv: 4 }], 1002, 'protocol'],
  'an unknown opcode': [[{ opcode: 3 }], 1002, 'protocol'],
  'a control frame in pieces': [[{ opcode: opcodes.ping, fin: false }], 1002, 'protocol'],
  'a long ping': [[{ opcode: opcodes.ping, payload: Buffer.alloc(126) }], 1002, 'protocol'],
  'a continuation of nothing': [[{ opcode: opcodes.continuation }], 1002, 'protocol'],
  'one byte too many': [[binary(Buffer.alloc(attachLimits.frameBytesMax))], 1009, 'tooLarge'],
  'a length past all numbers': [[{ opcode: opcodes.binary, length: 2 ** 62 }], 1009, 'tooLarge'],
  'text that is no UTF-8': [[{ opcode: opcodes.text, payload: Buffer.of(0xff) }], 1007, 'protocol'],
  'text that is no JSON': [[text('{')], 1002, 'protocol'],
  'an unknown type': [[text({ type: 'become-driver' })], 1002, 'protocol'],
  'a forged identity': [
    [text({ type: 'drive', connection: newId('connection', 1), role: 'driver' })],
    1002,
    'protocol',
  ],
  'a hand-over to nobody': [[text({ type: 'hand-over', to: '../x' })], 1002, 'protocol'],
  'a size without end': [[text({ type: 'resize', size: { columns: 1e9, rows: 1 } })], 1002, 'protocol'],
  'long JSON': [[text(`${' '.repeat(attachLimits.controlBytesMax)}{"type":"release"}`)], 1002, 'protocol'],
  'output as input': [[{ opcode: opcodes.binary, payload: Buffer.of(output, 1) }], 1002, 'protocol'],
  'an empty binary frame': [[{ opcode: opcodes.binary }], 1002, 'protocol'],
  'a close code of nobody': [[{ opcode: opcodes.close, payload: closePayload(1006) }], 1002, 'protocol'],
  'too much JSON': [
    Array.from({ length: attachLimits.controlFramesPerSecondMax * 2 + 1 }, () =>
      text({ type: 'keep-alive' }),
    ),
    1002,
    'protocol',
  ],
  'too many pings': [
    Array.from({ length: attachLimits.controlFramesPerSecondMax * 2 + 1 }, () => ({ opcode: opcodes.ping })),
    1002,
    'protocol',
  ],
  'pongs that nobody asked for': [
    Array.from({ length: attachLimits.controlFramesPerSecondMax * 2 + 1 }, () => ({ opcode: opcodes.pong })),
    1002,
    'protocol',
  ],
};

test('frames that break the protocol end that connection alone, with the code that says why', async (t) => {
  const server = await openTestServer(t);
  const bystander = await join(server);
  for (const [name, [frames, code, gone]] of Object.entries(hostile)) {
    const pair = await join(server);
    pair.socket.send(...frames);
    assert.deepEqual([name, await pair.socket.closeCode()], [name, code]);
    await pair.socket.closed;
    await until(() => pair.at.gone !== null);
    assert.deepEqual([name, pair.at.gone], [name, gone]);
    assert.equal(typed(pair.at).length, 0, name);
  }
  await works(bystander);
  bystander.socket.socket.destroy();
});

test('a message in pieces without end is bounded by its size, by their number, and by time', async (t) => {
  const { server, later } = await openTimed(t);
  const piece = (size: number): FrameToSend => ({
    opcode: opcodes.continuation,
    fin: false,
    payload: Buffer.alloc(size),
  });
  const first: FrameToSend = { opcode: opcodes.binary, fin: false, payload: Buffer.of(input) };
  const many = attachServerLimits.fragmentsMax + 1;
  const large = await join(server);
  large.socket.send(first, ...Array.from({ length: 20 }, () => piece(8 * 1024)));
  assert.equal(await large.socket.closeCode(), 1009);
  const empty = await join(server);
  empty.socket.send(first, ...Array.from({ length: many }, () => piece(0)));
  assert.equal(await empty.socket.closeCode(), 1008);
  const slow = await join(server);
  const whole = await join(server);
  slow.socket.send(first, piece(1), { opcode: opcodes.ping });
  assert.equal((await slow.socket.next())?.opcode, opcodes.pong, 'control frames stand inside');
  later(attachServerLimits.messageMs / 2);
  slow.socket.send(piece(1), { opcode: opcodes.ping });
  assert.equal((await slow.socket.next())?.opcode, opcodes.pong);
  later(attachServerLimits.messageMs / 2 + 1);
  assert.equal(await slow.socket.closeCode(), attachCloseCodes.timeout);
  assert.equal(slow.at.gone, 'timeout');
  whole.socket.send({ ...first, payload: Buffer.of(input, 0x61) }, { ...piece(1), fin: true });
  await until(() => typed(whole.at).length === 2);
  for (const { socket } of [large, empty, slow, whole]) socket.socket.destroy();
});

test('who never answers a ping is cut, and who answers stays', async (t) => {
  const { server, later } = await openTimed(t);
  const silent = await join(server);
  const lively = await join(server);
  const answer = async () => {
    const ping = await lively.socket.next();
    assert.equal(ping?.opcode, opcodes.ping);
    lively.socket.send({ opcode: opcodes.pong, payload: ping.payload });
  };
  later(attachLimits.pingMs);
  await answer();
  assert.equal((await silent.socket.next())?.opcode, opcodes.ping);
  // Talking is not answering.
  silent.socket.send(text({ type: 'keep-alive' }), binary('x'));
  later(attachLimits.pingMs);
  await answer();
  later(attachLimits.pongMs - attachLimits.pingMs);
  assert.equal(await silent.socket.closeCode(), attachCloseCodes.timeout);
  assert.equal(silent.at.gone, 'timeout');
  await answer();
  await works(lively);
  lively.socket.socket.destroy();
});

test('who leaves a pipe unread is not asked whether it is there, and is once it reads', async (t) => {
  const { server, later } = await openTimed(t);
  const { socket, at } = await join(server);
  socket.socket.pause();
  let carried = 0;
  let isStopped = false;
  const carry = async () => {
    while (!isStopped) {
      at.client.data(output, Buffer.alloc(64 * 1024));
      carried += 1;
      await at.client.drained();
    }
  };
  const carrying = carry();
  let before = -1;
  while (carried !== before) {
    before = carried;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  for (let at = 0; at < 4; at += 1) {
    later(attachLimits.pongMs + 1);
    await new Promise((resolve) => setTimeout(resolve, attachServerLimits.lookMs + 100));
  }
  assert.equal(at.gone, null);
  isStopped = true;
  socket.socket.resume();
  await carrying;
  let bytes = 0;
  while (bytes < carried * 64 * 1024) {
    const frame = await socket.next();
    if (frame?.opcode === opcodes.binary) bytes += frame.payload.length - 1;
    else if (frame?.opcode === opcodes.ping) socket.send({ opcode: opcodes.pong, payload: frame.payload });
  }
  await works({ socket, at });
  socket.socket.destroy();
});

test('a reader that stalls is cut once 64 frames wait for it, and the others get everything', async (t) => {
  const server = await openTestServer(t);
  const stalled = await join(server);
  const reading = await join(server);
  let read = 0;
  const reader = (async () => {
    for (let frame = await reading.socket.next(); frame !== null; frame = await reading.socket.next())
      if (frame.opcode === opcodes.binary) read += frame.payload.length - 1;
  })();
  stalled.socket.socket.pause();
  const chunk = Buffer.alloc(64 * 1024, 'x');
  let sent = 0;
  while (stalled.at.gone === null) {
    for (const { at } of [stalled, reading]) at.client.data(output, chunk);
    sent += chunk.length;
    assert(sent < 64 * 1024 * 1024, 'what waits is bounded');
    await until(() => read === sent);
  }
  assert.equal(stalled.at.gone, 'slow');
  assert(sent >= attachLimits.queueFramesMax * chunk.length, 'not before 64 frames wait');
  const { arrayBuffers } = process.memoryUsage();
  for (let at = 0; at < 1_000; at += 1) stalled.at.client.data(output, chunk);
  assert(process.memoryUsage().arrayBuffers - arrayBuffers < 1024 * 1024, 'nothing is kept for who was cut');
  stalled.socket.socket.destroy();
  reading.at.client.data(output, chunk);
  await until(() => read === sent + chunk.length);
  reading.socket.socket.destroy();
  await reader;
});

test('small pieces that wait become few frames, and arrive whole and in order', async (t) => {
  const server = await openTestServer(t);
  const { socket, at } = await join(server);
  socket.socket.pause();
  // What the kernel and the window take is not there any more for what follows.
  while (true) {
    const full = await Promise.race([
      at.client.drained().then(() => false),
      new Promise((resolve) => setTimeout(resolve, 100, true)),
    ]);
    if (full) break;
    at.client.data(output, Buffer.alloc(64 * 1024, 'x'));
  }
  const pieces = Array.from({ length: 100_000 }, (_, index) => `${index};`);
  for (const piece of pieces) at.client.data(output, Buffer.from(piece));
  at.client.send({ type: 'resized', size: { columns: 1, rows: 1 } });
  assert.equal(at.gone, null);
  socket.socket.resume();
  let all = '';
  let frames = 0;
  for (;;) {
    const frame = await socket.next();
    if (frame?.opcode !== opcodes.binary) break;
    all += frame.payload.toString('latin1', 1);
    frames += 1;
    assert(frame.payload.length <= 1 + attachLimits.outputBytesMax);
  }
  assert.equal(all.replace(/^x+/, ''), pieces.join(''));
  assert(frames < 200, `${frames} frames`);
  socket.socket.destroy();
});

test('a client is read no faster than its input is taken', async (t) => {
  const server = await openTestServer(t);
  const { socket, at } = await join(server);
  const release = Promise.withResolvers<void>();
  at.hold = release.promise;
  const pasted = Buffer.alloc(16 * 1024 * 1024);
  for (let index = 0; index < pasted.length; index += 1) pasted[index] = index % 251;
  const size = 100 * 1024;
  for (let index = 0; index < pasted.length; index += size)
    socket.socket.write(frameBytes(binary(pasted.subarray(index, index + size))));
  await until(() => at.said.length === 1);
  for (let index = 0; index < 3; index += 1) await server.call('GET', '/healthz');
  assert.equal(at.said.length, 1, 'one piece at a time');
  assert(socket.socket.writableLength > 4 * 1024 * 1024, 'the rest waits with the client');
  release.resolve();
  await until(() => typed(at).length === pasted.length);
  assert(typed(at).equals(pasted));
  socket.socket.destroy();
});

test('what came before the end arrives before the close frame, and nothing after it', async (t) => {
  const server = await openTestServer(t);
  const { socket, at } = await join(server);
  socket.socket.pause();
  for (let index = 0; index < 60; index += 1) at.client.data(output, Buffer.alloc(64 * 1024, 'x'));
  at.client.send({ type: 'ended', code: 0, signal: null });
  at.client.close('ended', 'The command has ended.');
  at.client.data(output, Buffer.from('later'));
  socket.socket.resume();
  let bytes = 0;
  let last = '';
  for (;;) {
    const frame = await socket.next();
    if (frame?.opcode === opcodes.binary) bytes += frame.payload.length - 1;
    else if (frame?.opcode === opcodes.text) last = String(frame.payload);
    else {
      assert.deepEqual(frame?.payload, closePayload(1000, 'The command has ended.'));
      break;
    }
  }
  assert.deepEqual([bytes, JSON.parse(last).type], [60 * 64 * 1024, 'ended']);
  await socket.closed;
});

test('after a revocation not even what waits arrives, and nothing more is taken', async (t) => {
  const server = await openTestServer(t);
  for (const reason of ['revoked', 'switchedOff', 'unrecorded'] as const) {
    const idle = await join(server);
    idle.at.client.close(reason, 'x'.repeat(500));
    idle.socket.send(binary('late'));
    const frame = await idle.socket.next();
    assert.equal(frame?.payload.readUInt16BE(), attachCloseCodes[reason]);
    assert.equal(frame?.payload.length, 125);
    await idle.socket.closed;
    await until(() => idle.at.gone !== null);
    assert.deepEqual([idle.at.gone, idle.at.said], [reason, []]);
    const behind = await join(server);
    behind.socket.socket.pause();
    for (let index = 0; index < 60; index += 1) behind.at.client.data(output, Buffer.alloc(64 * 1024, 'x'));
    behind.at.client.close(reason, 'Cut.');
    await until(() => behind.at.gone !== null);
    behind.socket.socket.resume();
    let bytes = 0;
    for (let frame = await behind.socket.next(); frame !== null; frame = await behind.socket.next())
      bytes += frame.payload.length;
    assert(bytes < 60 * 64 * 1024, 'what waited in this process is gone');
  }
});

test('where control fails, that client alone is told so', async (t) => {
  const server = await openTestServer(t);
  const broken = await join(server);
  const whole = await join(server);
  const failure = Promise.reject(new Error('broken'));
  failure.catch(() => undefined);
  broken.at.hold = failure;
  broken.socket.send(binary('x'));
  assert.equal(await broken.socket.closeCode(), attachCloseCodes.internal);
  assert.equal(broken.at.gone, 'internal');
  assert(server.log.some(({ msg }) => msg === 'what an attached client said failed inside'));
  await works(whole);
  whole.socket.socket.destroy();
});

test('an end without a close frame is a loss, and the metrics count connections and cuts', async (t) => {
  const server = await openTestServer(t);
  const lost = await join(server);
  const gauge = async () => (await server.call('GET', '/metrics')).text;
  assert.match(await gauge(), /^sealwright_attach_connections 1$/m);
  lost.socket.socket.resetAndDestroy();
  await until(() => lost.at.gone !== null);
  assert.equal(lost.at.gone, 'lost');
  const cut = await join(server);
  cut.at.client.close('revoked', '');
  await once(cut.socket.socket, 'close');
  await until(() => cut.at.gone !== null);
  const text = await gauge();
  assert.match(text, /^sealwright_attach_connections 0$/m);
  assert.match(text, /^sealwright_attach_cuts_total\{reason="revoked"\} 1$/m);
});
