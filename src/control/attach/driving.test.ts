import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import {
  attach,
  attachable,
  driverCaller,
  recorded,
  redeemed,
  type TestClient,
  viewerCaller,
} from '../../../tests/support/attach-clients.ts';
import { actorOf, callerOf, TestControl } from '../../../tests/support/test-control.ts';
import { leaseMs } from '../../model/terminal.ts';
import type { Caller } from '../control.ts';

const [ann, bob] = [driverCaller('ann'), driverCaller('bob')];
let offset = 0;
let control: TestControl;

beforeEach(async () => {
  offset = 0;
  control = await TestControl.open({
    clock: { now: () => Date.now() + offset, monotonic: () => performance.now() + offset },
  });
});
afterEach(async () => {
  await control[Symbol.asyncDispose]();
});

type Driven = Awaited<ReturnType<typeof attachable>> & { first: TestClient; second: TestClient };

/** Two drivers of one terminal; the first has the lease. */
async function driven(settings: Parameters<typeof attachable>[2] = {}): Promise<Driven> {
  const made = await attachable(control, ann, settings);
  const first = await attach(control, ann, made.run, { role: 'driver' });
  await first.until((client) => client.last('input') !== null);
  const second = await attach(control, bob, made.run, { role: 'driver' });
  await second.until((client) => client.last('input') !== null);
  return { ...made, first, second };
}

async function leaseEvents(): Promise<unknown[]> {
  const events = await recorded(control);
  return events
    .filter(({ action }) => action === 'attach.lease')
    .map(({ actor, data }) => `${actor.id} ${data?.event}`);
}

/** What reached the terminal, once something behind it has. */
async function typedBefore({ terminal }: Driven, marker: string, by: TestClient): Promise<string> {
  await by.type(marker);
  await control.runner.until(() => terminal.typed.endsWith(marker));
  return terminal.typed;
}

describe('one driver at a time', () => {
  test('the second is told who drives, and what it types is refused', async () => {
    const all = await driven();
    const { first, second } = all;
    assert.deepEqual(second.last('input'), {
      type: 'input',
      allowed: false,
      bar: 'no-lease',
      holder: first.id,
    });
    await second.type('evil');
    assert.equal(await typedBefore(all, 'ok', first), 'ok');
    assert.deepEqual(second.last('refused')?.of, 'data');
    await second.connection.control({ type: 'drive' });
    assert.equal(second.last('refused')?.code, 'state.conflict');
  });

  test('a takeover takes the wheel at once, and the other becomes a driver without it', async () => {
    const all = await driven();
    const { first, second, terminal } = all;
    await first.type('one');
    await second.connection.control({ type: 'drive', takeover: true });
    assert(second.mayType);
    assert.deepEqual(first.last('input'), {
      type: 'input',
      allowed: false,
      bar: 'no-lease',
      holder: second.id,
    });
    await first.type('evil');
    await typedBefore(all, 'two', second);
    assert.deepEqual(
      terminal.inputs.map(({ by, text }) => `${by} ${text}`),
      ['user:ann one', 'user:bob two'],
    );
    assert.deepEqual(await leaseEvents(), ['user:ann taken', 'user:bob taken-over']);
  });

  test('of takeovers at once one after another wins, and one has it in the end', async () => {
    const { first, second } = await driven();
    const all = [first, second, first, second, first].map((client) =>
      client.connection.control({ type: 'drive', takeover: true }),
    );
    await Promise.all(all);
    assert.deepEqual([first.mayType, second.mayType].toSorted(), [false, true]);
  });

  test('a hand-over gives it to a named driver, by whoever drives and by others; never to a viewer', async () => {
    const { run, first, second } = await driven();
    const viewer = await attach(control, viewerCaller(), run);
    await viewer.until((client) => client.last('input') !== null);
    await first.connection.control({ type: 'hand-over', to: second.id });
    assert.deepEqual([first.mayType, second.mayType], [false, true]);
    await first.connection.control({ type: 'hand-over', to: first.id });
    assert.deepEqual([first.mayType, second.mayType], [true, false]);
    await first.connection.control({ type: 'hand-over', to: viewer.id });
    assert.equal(first.last('refused')?.of, 'hand-over');
    await viewer.connection.control({ type: 'hand-over', to: viewer.id });
    assert.equal(viewer.last('refused')?.code, 'access.denied');
    assert.deepEqual([first.mayType, viewer.mayType], [true, false]);
  });

  test('what was released or lapsed another takes with drive', async () => {
    const all = await driven();
    const { first, second } = all;
    await first.connection.control({ type: 'release' });
    assert.deepEqual(second.last('input'), { type: 'input', allowed: false, bar: 'no-lease', holder: null });
    await second.connection.control({ type: 'drive' });
    assert(second.mayType && !first.mayType);
    offset += leaseMs;
    await second.type('late');
    await second.until((client) => !client.mayType);
    await first.connection.control({ type: 'drive' });
    assert.equal(await typedBefore(all, 'x', first), 'x', 'nothing was typed on a lease that had lapsed');
    assert.deepEqual(await leaseEvents(), [
      'user:ann taken',
      'user:ann released',
      'user:bob taken',
      'user:bob lapsed',
      'user:ann taken',
    ]);
  });

  test('typing and keep-alive renew it', async () => {
    const { first, second } = await driven();
    for (const renew of [() => first.type('x'), () => first.connection.control({ type: 'keep-alive' })]) {
      offset += leaseMs - 1_000;
      await renew();
      await second.connection.control({ type: 'drive' });
      assert(first.mayType && !second.mayType);
    }
    await second.connection.control({ type: 'keep-alive' });
    offset += leaseMs;
    await second.connection.control({ type: 'drive' });
    assert(second.mayType, 'nobody renews for another');
  });

  test('who reconnects within its time keeps it; another actor, or another credential, does not', async () => {
    const { run, first, second } = await driven();
    first.connection.gone('lost');
    const third = await attach(control, bob, run, { role: 'driver' });
    await third.until((client) => client.last('input') !== null);
    await second.connection.control({ type: 'drive' });
    assert(!second.mayType && !third.mayType, 'it is kept for who left');
    const other = callerOf({ ...ann.actor, credential: 'tok_01kamcq5r8v0x4m2e7hj9n3tzb' });
    await assert.rejects(attach(control, other, run, { role: 'driver' }), 'a credential that is none');
    const back = await attach(control, ann, run, { role: 'driver' });
    await back.until((client) => client.mayType);
    assert.deepEqual(await leaseEvents(), ['user:ann taken', 'user:ann kept']);
  });
});

describe('collaborating', () => {
  test('drivers type together, and the record says who typed what', async () => {
    const all = await driven({ mode: 'collaborative' });
    const { first, second, terminal } = all;
    assert(first.mayType && second.mayType);
    for (const text of ['a', 'b', 'c']) {
      await first.type(text);
      await second.type(text.toUpperCase());
    }
    await typedBefore(all, '!', first);
    assert.deepEqual(
      terminal.inputs.map(({ by, text }) => `${by} ${text}`),
      ['user:ann a', 'user:bob A', 'user:ann b', 'user:bob B', 'user:ann c', 'user:bob C', 'user:ann !'],
    );
    first.connection.gone('left');
    second.connection.gone('left');
    await control.stop();
    const typed = (await control.events()).filter(({ action }) => action === 'attach.input');
    assert.deepEqual(
      typed.map(({ actor, data }) => [actor.id, data?.bytes]),
      [
        ['user:ann', 4],
        ['user:bob', 3],
      ],
    );
    await control.start();
  });
});

describe('moderated', () => {
  test('a driver types only while somebody else who may drive watches', async () => {
    const { run, terminal } = await attachable(control, ann, { moderated: true });
    const driver = await attach(control, ann, run, { role: 'driver' });
    await driver.until((client) => client.last('input') !== null);
    const barred = { type: 'input', allowed: false, bar: 'no-observer' };
    assert.deepEqual({ ...driver.last('input'), holder: undefined }, { ...barred, holder: undefined });
    for (const watcher of [ann, viewerCaller()]) {
      const client = await attach(control, watcher, run);
      await client.until((other) => other.last('input') !== null);
      await driver.type('evil');
      assert(!driver.mayType, 'oneself, and who may only look on, are no observers');
      client.connection.gone('left');
    }
    const agent = { ...actorOf('helper', 'all', ['run:read', 'control:write']), id: 'agent:helper' } as const;
    const own = await attach(control, callerOf({ ...agent, onBehalfOf: 'user:ann' }), run);
    await own.until((other) => other.last('input') !== null);
    assert(!driver.mayType, 'who acts for the driver is no observer');
    const observer = await attach(control, bob, run);
    await driver.until((client) => client.mayType);
    await driver.type('watched');
    await control.runner.until(() => terminal.typed === 'watched');
    observer.connection.gone('left');
    assert(!driver.mayType);
    await driver.type('evil');
    assert.equal(terminal.typed, 'watched');
  });

  test('starts a command in a terminal while somebody else who may drive watches the run', async () => {
    const { run } = await attachable(control, ann, { moderated: true });
    const { attach: uses } = control.control;
    const size = { columns: 80, rows: 24 };
    const start = async (caller: Caller) => {
      const asked = { command: ['sh', '-c', 'all of it is on its command line'], terminal: size };
      const { ticket } = await uses.exec(caller, run, asked);
      return await redeemed(control, caller, run, ticket);
    };
    await attach(control, ann, run, { role: 'driver' });
    const vera = await attach(control, viewerCaller(), run);
    await vera.until((client) => client.last('input') !== null);
    await assert.rejects(start(ann), /somebody else with control:write watches/);
    assert.equal(control.runner.terminals.all.size, 1);
    const observer = await attach(control, bob, run);
    await observer.until((client) => client.last('input') !== null);
    await start(ann);
    assert.equal(control.runner.terminals.all.size, 2);
    observer.connection.gone('left');
    await assert.rejects(start(ann), /somebody else with control:write watches/);
  });

  test('takes no commands and ports that nobody could watch, nor keeps those that there are', async () => {
    const { run, session } = await attachable(control, ann);
    const { attach: uses } = control.control;
    const early = await uses.exec(ann, run, { command: ['cat'] });
    await uses.configure(ann, session, { enabled: true, moderated: true });
    await assert.rejects(uses.exec(ann, run, { command: ['cat'] }), /in a terminal/);
    await assert.rejects(uses.portForward(ann, run, { port: 80 }), /in a terminal/);
    await uses.exec(ann, run, { command: ['cat'], terminal: { columns: 80, rows: 24 } });
    const { request } = ann;
    await assert.rejects(uses.redeem({ run, ticket: early.ticket, from: null, request }), /in a terminal/);
    assert.equal(control.runner.terminals.pipes.length, 0);
  });
});

test('whether input is recorded is what the session says, from the next key on', async () => {
  const all = await driven({ recordInput: true });
  await all.first.type('a');
  await control.control.attach.configure(ann, all.session, { enabled: true });
  await typedBefore(all, 'b', all.first);
  assert.deepEqual(
    all.terminal.inputs.map(({ recordInput }) => recordInput),
    [true, false],
  );
});

test('another mode ends the leases of the one before', async () => {
  const { session, first, second } = await driven({ mode: 'collaborative' });
  await control.control.attach.configure(ann, session, { enabled: true });
  assert(!first.mayType && !second.mayType);
  assert.deepEqual(first.last('settings'), { type: 'settings', mode: 'exclusive', moderated: false });
  await second.connection.control({ type: 'drive' });
  assert(second.mayType && !first.mayType);
});

test('who drives says how large the terminal is, and everybody learns it', async () => {
  const { run, first, second, terminal } = await driven();
  const size = { columns: 132, rows: 43 };
  await second.connection.control({ type: 'resize', size });
  assert.equal(second.last('refused')?.of, 'resize');
  const viewer = await attach(control, viewerCaller(), run);
  await viewer.until((client) => client.last('input') !== null);
  await viewer.connection.control({ type: 'resize', size });
  assert.equal(viewer.last('refused')?.code, 'access.denied');
  assert.deepEqual(terminal.size, { columns: 80, rows: 24 });
  await first.connection.control({ type: 'resize', size });
  await viewer.until((client) => client.last('resized') !== null);
  assert.deepEqual(viewer.last('resized'), { type: 'resized', size });
});

test('who else is attached is told whenever it changes', async () => {
  const { run, first, second } = await driven();
  const names = (client: TestClient) =>
    client.last('clients')?.clients.map(({ actor, role, driving }) => `${actor} ${role} ${driving}`);
  await first.until((client) => names(client)?.length === 2);
  assert.deepEqual(names(first), ['user:ann driver true', 'user:bob driver false']);
  const viewer = await attach(control, viewerCaller(), run);
  await second.until((client) => names(client)?.length === 3);
  viewer.connection.gone('left');
  await first.connection.control({ type: 'release' });
  await second.until((client) => names(client)?.join() === 'user:ann driver false,user:bob driver false');
});

test('a client in a loop of control frames is cut', async () => {
  const { first, second } = await driven();
  for (let count = 0; count < 60; count += 1) await second.connection.control({ type: 'keep-alive' });
  assert.equal(second.closed?.reason, 'protocol');
  assert.equal(first.closed, null);
});
