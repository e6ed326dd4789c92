import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import {
  attach,
  attachable,
  driverCaller,
  recorded,
  TestClient,
  viewerCaller,
} from '../../../tests/support/attach-clients.ts';
import { TestControl } from '../../../tests/support/test-control.ts';
import { attachLimits } from '../../contract/attach.ts';
import { controlAttachLimits } from './limits.ts';

const ann = driverCaller();
let control: TestControl;

beforeEach(async () => {
  control = await TestControl.open();
});
afterEach(async () => {
  await control[Symbol.asyncDispose]();
});

test('a hundred look on over one connection to the runner, and each sees the same', async () => {
  const { run, terminal } = await attachable(control, ann);
  terminal.write('before');
  const viewers: TestClient[] = [];
  for (let count = 0; count < 100; count += 1)
    viewers.push(await attach(control, viewerCaller(`viewer-${Math.floor(count / 50)}`), run));
  await Promise.all(viewers.map((viewer) => viewer.until((client) => client.last('input') !== null)));
  assert.equal(terminal.channels.size, 1);
  assert(terminal.shown < 10, `the screen was drawn ${terminal.shown} times`);
  for (let count = 0; count < 100; count += 1) terminal.write(`line ${count}\r\n`);
  await Promise.all(viewers.map((viewer) => viewer.until(({ text }) => text.endsWith('line 99\r\n'))));
  const [first] = viewers;
  for (const viewer of viewers) assert.equal(viewer.text, first!.text);
  assert.match(await gauges(), /sealwright_attach_clients 100/);
  for (const viewer of viewers) viewer.connection.gone('left');
  await control.runner.until(() => terminal.channels.size === 0);
});

async function gauges(): Promise<string> {
  const caller = { ...ann, actor: { ...ann.actor, scopes: new Set(['cluster:read'] as const) } };
  return await control.control.metrics(caller);
}

test('who comes in the midst of output gets a screen and exactly what follows it', async () => {
  const { run, terminal } = await attachable(control, ann);
  const numbers = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, at) => `${from + at},`).join('');
  const first = await attach(control, ann, run);
  await first.until((client) => client.last('input') !== null);
  const clients: TestClient[] = [];
  for (let count = 0; count < 40; count += 1) {
    terminal.write(`${numbers(count * 1_000, count * 1_000 + 1_000)}`);
    clients.push(await attach(control, viewerCaller(), run));
  }
  terminal.write('end');
  for (const client of clients) {
    await client.until(({ text }) => text.endsWith('end'));
    const { offset, snapshotBytes } = client.last('welcome')!;
    const screen = client.text.slice(0, snapshotBytes);
    assert.equal(screen, `<screen at ${offset}>`);
    assert.equal(client.text.slice(snapshotBytes), terminal.output.subarray(offset).toString());
  }
});

test('who comes back goes on where it was, or gets the screen where that is too long ago', async () => {
  const { run, terminal } = await attachable(control, ann);
  terminal.write('0123456789');
  const first = await attach(control, ann, run);
  await first.until((client) => client.last('input') !== null);
  first.connection.gone('lost');
  const back = await attach(control, ann, run, { from: 4 });
  await back.until(({ text }) => text === '456789');
  assert.deepEqual([back.last('welcome')?.resumed, back.last('welcome')?.snapshotBytes], [true, 0]);
  back.connection.gone('lost');
  await control.runner.until(() => terminal.channels.size === 0);
  terminal.keptFrom = 8;
  const late = await attach(control, ann, run, { from: 4 });
  await late.until(({ text }) => text === '<screen at 10>');
  assert.equal(late.last('welcome')?.resumed, false);
  const wrong = await attach(control, ann, run, { from: 11 });
  await wrong.until(({ text }) => text === '<screen at 10>');
});

test('a connection to the runner that breaks is made anew, and nothing is missing or twice', async () => {
  const { run, terminal } = await attachable(control, ann);
  const client = await attach(control, ann, run, { role: 'driver' });
  await client.until(({ mayType }) => mayType);
  for (let count = 0; count < 5; count += 1) {
    terminal.write(`before ${count} `);
    for (const channel of terminal.channels) channel.close();
    terminal.write(`between ${count} `);
    await client.until(({ text }) => text.endsWith(`between ${count} `));
  }
  assert.equal(client.text, `<screen at 0>${terminal.output}`);
  await client.type('still');
  await control.runner.until(() => terminal.typed === 'still');
  assert.equal(client.closed, null);
});

test('where output was lost in a break everybody is to come again, and the lease is kept', async () => {
  const { run, terminal } = await attachable(control, ann);
  const client = await attach(control, ann, run, { role: 'driver' });
  await client.until(({ mayType }) => mayType);
  terminal.write('x'.repeat(100));
  await client.until(({ text }) => text.endsWith('x'));
  terminal.keptFrom = 200;
  terminal.output = Buffer.alloc(300, 'y');
  for (const channel of terminal.channels) channel.close();
  await client.until(({ closed }) => closed !== null);
  assert.equal(client.closed?.reason, 'goingAway');
  const back = await attach(control, ann, run, { role: 'driver', from: 100 });
  await back.until(({ mayType }) => mayType);
  assert.equal(back.text, '<screen at 300>');
});

test('a runner that is gone with its terminals ends them', async () => {
  const { run } = await attachable(control, ann);
  const client = await attach(control, ann, run, { role: 'driver' });
  await client.until(({ mayType }) => mayType);
  await control.runner.stop();
  control.runner.forgetAll();
  await control.runner.listen();
  await client.until(({ closed }) => closed?.reason === 'ended');
  assert.equal(client.last('ended')?.code, null);
});

test('what is typed while the runner is away is refused, not kept for later', async () => {
  const { run, terminal } = await attachable(control, ann);
  const client = await attach(control, ann, run, { role: 'driver' });
  await client.until(({ mayType }) => mayType);
  await control.runner.stop();
  await client.type('lost');
  await client.until((driver) => driver.last('refused') !== null);
  assert.equal(client.last('refused')?.code, 'runner.unavailable');
  await control.runner.listen();
  await control.connected();
  while (!client.frames.some(({ type }) => type === 'ended') && terminal.channels.size === 0)
    await control.runner.until(() => terminal.channels.size > 0);
  await client.type('again');
  await control.runner.until(() => terminal.typed === 'again');
});

test('a client that the server cuts as too slow leaves the others and the shell alone', async () => {
  const { run, terminal } = await attachable(control, ann);
  const [slow, quick] = [await attach(control, ann, run), await attach(control, ann, run)];
  for (const client of [slow, quick]) await client.until((other) => other.last('input') !== null);
  slow.connection.gone('slow');
  const chunk = Buffer.alloc(64 * 1024, 'x');
  for (let count = 0; count < 64; count += 1) terminal.write(chunk);
  terminal.write('end');
  await quick.until(({ text }) => text.endsWith('end'));
  assert(quick.chunks.every(({ bytes }) => bytes.length <= attachLimits.outputBytesMax));
  assert.equal(slow.text, '<screen at 0>');
});

test('a terminal that does not read holds up who types, and nobody else', async () => {
  const { run, terminal } = await attachable(control, ann);
  terminal.stalls = true;
  const client = await attach(control, ann, run, { role: 'driver' });
  await client.until(({ mayType }) => mayType);
  let taken = 0;
  const typing = (async () => {
    for (; taken < 200; taken += 1) await client.connection.input(Buffer.alloc(64 * 1024));
  })();
  terminal.write('shown');
  await client.until(({ text }) => text.endsWith('shown'));
  assert(taken < 200, 'the socket takes some, and not everything');
  terminal.end(0);
  await client.until(({ closed }) => closed !== null);
  for (const channel of terminal.channels) channel.close();
  await typing;
});

test('a terminal that ends before its client has come is shown to its end all the same', async () => {
  const { run } = await attachable(control, ann);
  const { attach: uses } = control.control;
  const { ticket } = await uses.exec(ann, run, { command: ['true'], terminal: { columns: 80, rows: 24 } });
  const { begin } = await uses.redeem({ run, ticket, from: null, request: ann.request });
  const exec = [...control.runner.terminals.all.values()].find(({ kind }) => kind === 'exec')!;
  exec.write('done');
  exec.end(7);
  await control.runner.until(() => exec.channels.size === 0);
  const client = new TestClient();
  client.connection = begin(client);
  await client.until(({ closed }) => closed !== null);
  assert.equal(client.text, 'done');
  assert.deepEqual(
    client.frames.map(({ type }) => type),
    ['welcome', 'clients', 'ended'],
  );
  assert.equal(client.last('ended')?.code, 7);
});

test('a command in a terminal is its starter’s to drive, and others may look on', async () => {
  const { run } = await attachable(control, ann);
  const { attach: uses } = control.control;
  const size = { columns: 100, rows: 30 };
  const { ticket, terminal } = await uses.exec(ann, run, {
    command: ['bash'],
    env: { A: '1' },
    terminal: size,
  });
  assert.equal(control.runner.countOf('open-terminal'), 0, 'it starts when the ticket is redeemed');
  const { begin } = await uses.redeem({ run, ticket, from: null, request: ann.request });
  const client = new TestClient();
  client.connection = begin(client);
  await client.until(({ mayType }) => mayType);
  assert.deepEqual([client.last('welcome')?.terminal, client.last('welcome')?.size], [terminal, size]);
  const viewer = await attach(control, viewerCaller(), run, { terminal: terminal! });
  await viewer.until((other) => other.last('input') !== null);
  control.runner.terminals.all.get(terminal!)!.write('hello');
  await viewer.until(({ text }) => text.endsWith('hello'));
  const listed = await uses.terminals(viewerCaller(), run);
  assert.deepEqual(
    listed.map(({ kind, actor, command }) => `${kind} ${actor} ${command.join(' ')}`),
    ['run user:ann true', 'exec user:ann bash'],
  );
});

test('who never came leaves nothing behind', async () => {
  const { run } = await attachable(control, ann);
  const { attach: uses } = control.control;
  const { ticket } = await uses.exec(ann, run, { command: ['bash'], terminal: { columns: 80, rows: 24 } });
  const { abandon } = await uses.redeem({ run, ticket, from: null, request: ann.request });
  abandon();
  await control.runner.until(() => control.runner.countOf('close-terminal') === 1);
  const ended = (await recorded(control)).filter(({ action }) => action === 'attach.disconnect');
  assert.deepEqual(
    ended.map(({ data }) => data?.reason),
    ['never-came'],
  );
});

test('nothing is left of those who came and went', async () => {
  const { run, terminal } = await attachable(control, ann);
  for (let count = 0; count < 200; count += 1) {
    const client = await attach(control, ann, run, { role: 'driver' });
    if (count % 2 === 0) await client.until(({ mayType }) => mayType);
    if (count % 3 === 0) await client.type('x');
    client.connection.gone(count % 5 === 0 ? 'left' : 'lost');
  }
  const last = await attach(control, ann, run, { role: 'driver' });
  await last.until(({ mayType }) => mayType);
  await last.connection.control({ type: 'release' });
  last.connection.gone('left');
  await control.runner.until(() => terminal.channels.size === 0);
  const text = await gauges();
  assert.match(text, /sealwright_attach_clients 0/);
  assert.match(text, /sealwright_attach_terminals 0/);
});

test('what terminals showed is read and searched on the record, also after the run', async () => {
  const { run, terminal } = await attachable(control, ann);
  terminal.write('first\r\n\x1b[31mFatal\x1b[0m error\r\n');
  control.runner.finish(run);
  await control.finished(ann, run);
  const { attach: uses } = control.control;
  const parts: Buffer[] = [];
  for await (const bytes of await uses.recording(viewerCaller(), run, terminal.id)) parts.push(bytes);
  assert.deepEqual(Buffer.concat(parts), terminal.cast());
  const { signal } = new AbortController();
  const found = await uses.search(viewerCaller(), run, terminal.id, { text: 'fatal', limit: 5 }, signal);
  assert.deepEqual(found, [{ at: 0.5, line: 'Fatal error' }]);
  const read = (await recorded(control)).filter(({ action }) => action === 'run.recording');
  assert.deepEqual(
    read.map(({ actor }) => actor.id),
    ['user:vera', 'user:vera'],
  );
  const absent = { code: 'resource.absent' };
  await assert.rejects(uses.recording(ann, run, 'trm_01kamcq5r8v0x4m2e7hj9n3tzb'), absent);
});

test('while a large recording is searched others have their turns', async () => {
  const { run, terminal } = await attachable(control, ann);
  const event = `${JSON.stringify([1, 'o', 'nothing of the kind '.repeat(500)])}\n`;
  const header = `${JSON.stringify({ version: 2, width: 80, height: 24 })}\n`;
  terminal.recording = Buffer.from(header + event.repeat(400));
  const { signal } = new AbortController();
  let [turns, isOver] = [0, false];
  const others = (async () => {
    for (; !isOver; turns += 1) await turn();
  })();
  const query = { text: 'fatal', limit: 5 };
  assert.deepEqual(await control.control.attach.search(ann, run, terminal.id, query, signal), []);
  isOver = true;
  await others;
  const pieces = terminal.recording.length / controlAttachLimits.searchPieceBytes;
  assert(turns >= pieces, `${turns} turns for ${pieces} pieces`);
});

test('the more look on, the seldomer all of them are told who all of them are', async () => {
  const { run } = await attachable(control, ann);
  const viewers: TestClient[] = [];
  for (let count = 0; count < 60; count += 1)
    viewers.push(await attach(control, viewerCaller(`viewer-${Math.floor(count / 50)}`), run));
  const drivers: TestClient[] = [];
  for (let count = 0; count < 6; count += 1)
    drivers.push(await attach(control, driverCaller(`driver-${count}`), run, { role: 'driver' }));
  const [viewer] = viewers;
  const told = () => viewer!.frames.filter(({ type }) => type === 'clients').length;
  await viewer!.until((client) => client.last('clients')?.clients.length === 66);
  const [before, began] = [told(), performance.now()];
  for (const { connection } of drivers)
    for (let count = 0; count < 20; count += 1) {
      await connection.control({ type: 'drive', takeover: true });
      await connection.control({ type: 'release' });
    }
  const most = (performance.now() - began) / (controlAttachLimits.tellClientsMs + viewers.length) + 2;
  assert(told() - before <= most, `${told() - before} times, and ${most} at most`);
  assert(drivers.every(({ closed }) => closed === null));
});
