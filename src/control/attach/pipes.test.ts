import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import {
  attachable,
  driverCaller,
  redeemed,
  type TestClient,
} from '../../../tests/support/attach-clients.ts';
import type { FakePipe } from '../../../tests/support/fake-terminals.ts';
import { TestControl } from '../../../tests/support/test-control.ts';
import { attachStreams } from '../../contract/attach.ts';
import type { RunId } from '../../model/ids.ts';

const ann = driverCaller();
let control: TestControl;

beforeEach(async () => {
  control = await TestControl.open();
});
afterEach(async () => {
  await control[Symbol.asyncDispose]();
});

async function opened(port?: number): Promise<{ run: RunId; client: TestClient; pipe: FakePipe }> {
  const { run } = await attachable(control, ann);
  const { attach: uses } = control.control;
  const { ticket, terminal } =
    port === undefined
      ? await uses.exec(ann, run, { command: ['tar', 'c'], env: { LANG: 'C' }, cwd: '/workspace/a' })
      : await uses.portForward(ann, run, { port });
  assert.equal(terminal, null);
  assert.equal(control.runner.terminals.pipes.length, 0, 'nothing begins before the ticket is redeemed');
  const client = await redeemed(control, ann, run, ticket);
  await client.until((other) => other.last('welcome') !== null);
  return { run, client, pipe: control.runner.terminals.pipes[0]! };
}

test('a command with pipes has its three streams and its status', async () => {
  const { run, client, pipe } = await opened();
  assert.deepEqual(pipe.spec, {
    run,
    by: 'user:ann',
    connection: client.last('welcome')?.connection,
    command: ['tar', 'c'],
    env: { LANG: 'C' },
    cwd: '/workspace/a',
  });
  await client.type('in');
  await control.runner.until(() => pipe.input === 'in');
  await client.connection.control({ type: 'end-input' });
  await control.runner.until(() => pipe.inputEnded);
  await pipe.write('out');
  await pipe.write('err', attachStreams.error);
  await pipe.exit(3);
  await client.until(({ closed }) => closed?.reason === 'ended');
  assert.deepEqual([client.text, client.textOf(attachStreams.error)], ['out', 'err']);
  assert.deepEqual(client.last('ended'), { type: 'ended', code: 3, signal: null });
  await control.stop();
  const ended = (await control.events()).find(({ action }) => action === 'attach.disconnect');
  assert.deepEqual([ended?.data?.reason, ended?.data?.bytesIn, ended?.data?.bytesOut], ['ended', 2, 6]);
  await control.start();
});

test('a connection to a port carries bytes both ways and ends with either side', async () => {
  const { client, pipe } = await opened(3000);
  assert.deepEqual(pipe.purpose, { purpose: 'port', run: client.last('welcome')?.run, port: 3000 });
  await client.type('GET /');
  await control.runner.until(() => pipe.input === 'GET /');
  await client.connection.control({ type: 'end-input' });
  await control.runner.until(() => pipe.inputEnded);
  await pipe.write('200');
  pipe.end();
  await client.until(({ closed }) => closed?.reason === 'ended');
  assert.deepEqual([client.text, client.last('ended')], ['200', null]);
});

test('a client that goes ends the command', async () => {
  const { client, pipe } = await opened();
  client.connection.gone('left');
  await control.runner.until(() => pipe.closed);
});

test('a slow reader holds the command up and is not cut', async () => {
  const { client, pipe } = await opened();
  const { promise, resolve } = Promise.withResolvers<void>();
  client.drain = promise;
  let written = 0;
  const writing = (async () => {
    for (; written < 100; written += 1) await pipe.write(Buffer.alloc(256 * 1024, 'x'));
  })();
  await client.until(({ chunks }) => chunks.length > 0);
  await client.connection.control({ type: 'keep-alive' });
  assert.equal(client.chunks.length, 1, 'no second frame before there is room');
  assert(written < 100);
  client.drain = null;
  resolve();
  await writing;
  await pipe.exit(0);
  await client.until(({ closed }) => closed !== null);
  assert.equal(client.text.length, 100 * 256 * 1024);
});

test('input that cannot be put on record ends the connection, so that nothing is left out of it', async () => {
  const { client, pipe } = await opened();
  control.auditFails = true;
  await client.type('evil');
  control.auditFails = false;
  assert.equal(client.closed?.reason, 'unrecorded');
  await control.runner.until(() => pipe.closed);
  assert.equal(pipe.input, '');
});

test('switching off cuts commands and ports at once', async () => {
  const { client, pipe, run } = await opened(80);
  const { session } = (await control.control.runs.get(ann, run)).view;
  await control.control.attach.configure(ann, session, { enabled: false });
  assert.equal(client.closed?.reason, 'switchedOff');
  await control.runner.until(() => pipe.closed);
});

test('what cannot be started says why, and leaves no place taken', async () => {
  const { run } = await attachable(control, ann);
  const { attach: uses } = control.control;
  control.runner.terminals.refusal = { code: 'state.conflict', detail: 'Nobody listens at port 81.' };
  for (let count = 0; count < 70; count += 1) {
    const { ticket } = await uses.portForward(ann, run, { port: 81 });
    await assert.rejects(redeemed(control, ann, run, ticket), /Nobody listens at port 81/);
  }
  control.runner.terminals.refusal = null;
  const { ticket } = await uses.portForward(ann, run, { port: 80 });
  await redeemed(control, ann, run, ticket);
});
