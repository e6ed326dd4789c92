import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import {
  attach,
  attachable,
  driverCaller,
  recorded,
  redeemed,
  runningIn,
  TestClient,
  viewerCaller,
} from '../../../tests/support/attach-clients.ts';
import { actorOf, callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import { clientNetworksOf } from '../../access/client-networks.ts';
import { attachLimits } from '../../contract/attach.ts';
import { newId, type RunId } from '../../model/ids.ts';

const ann = driverCaller();
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

async function refusals(): Promise<string[]> {
  const events = await recorded(control);
  return events
    .filter(({ action }) => action === 'attach.refuse')
    .map(({ actor, decision }) => `${actor.id} ${decision.rule}`);
}

describe('a ticket', () => {
  test('is issued on the record, names no secret, and is spent by its first use', async () => {
    const { run } = await attachable(control, ann);
    const issued = await control.control.attach.ticket(ann, run, { role: 'driver' });
    assert.equal(issued.path, `/api/v1/runs/${run}/attach`);
    await redeemed(control, ann, run, issued.ticket);
    await assert.rejects(redeemed(control, ann, run, issued.ticket), withCode('auth.invalid'));
    const log = JSON.stringify(await recorded(control));
    assert(!log.includes(issued.ticket) && !log.includes(issued.ticket.slice(10, 30)));
    assert.deepEqual(await refusals(), ['user:ann attach:ticket-used']);
  });

  test('is decided about where it is redeemed: from outside the networks for attaching it opens nothing', async () => {
    const networks = clientNetworksOf({ 'sign-in': [], administration: [], attach: ['10.8.0.0/16'] });
    await using kept = await TestControl.open({ networks });
    const inside = { ...ann, request: { ...ann.request, address: '10.8.1.1' } };
    const { run } = await attachable(kept, inside);
    const from = async (address: string) => {
      const { ticket } = await kept.control.attach.ticket(inside, run, { role: 'driver' });
      const request = { ...ann.request, address };
      const { abandon } = await kept.control.attach.redeem({ run, ticket, from: null, request });
      abandon();
    };
    await assert.rejects(from('192.0.2.1'), withCode('access.denied'));
    await from('10.8.2.2');
  });

  test('that ten present at once lets in one', async () => {
    const { run } = await attachable(control, ann);
    const { ticket } = await control.control.attach.ticket(ann, run, {});
    const all = await Promise.allSettled(
      Array.from({ length: 10 }, () => redeemed(control, ann, run, ticket)),
    );
    assert.equal(all.filter(({ status }) => status === 'fulfilled').length, 1);
    const connects = (await recorded(control)).filter(({ action }) => action === 'attach.connect');
    assert.equal(connects.length, 1);
  });

  test('that is unknown, missing, late or another run’s opens nothing, and each is on record', async () => {
    const { run } = await attachable(control, ann);
    const { run: other } = await attachable(control, ann);
    const { attach: uses } = control.control;
    const refused = (text: string | null, of = run) =>
      assert.rejects(redeemed(control, ann, of, text), withCode('auth.invalid'));
    await refused('sw_attach_nonsense');
    await refused(null);
    const { ticket } = await uses.ticket(ann, run, {});
    await refused(ticket, other);
    await refused(ticket);
    const late = (await uses.ticket(ann, run, {})).ticket;
    offset += attachLimits.ticketLifeMs;
    await refused(late);
    assert.deepEqual(await refusals(), [
      'system:nobody attach:ticket-unknown',
      'system:nobody attach:ticket-missing',
      'user:ann attach:ticket-other-run',
      'user:ann attach:ticket-used',
      'user:ann attach:ticket-expired',
    ]);
  });

  test('gives the role that it was issued for and no other', async () => {
    const { run } = await attachable(control, ann);
    const client = await attach(control, ann, run, { role: 'viewer' });
    await client.until((viewer) => viewer.last('input') !== null);
    assert.equal(client.last('welcome')?.role, 'viewer');
    await client.connection.control({ type: 'drive', takeover: true });
    assert.equal(client.last('refused')?.code, 'access.denied');
    assert.equal(client.mayType, false);
  });

  test('ends with the credential that it came by', async () => {
    const admin = callerOf({ id: 'user:root', scopes: new Set(['*']), reach: 'all' });
    const made = await control.control.tokens.create(admin, {
      request: {
        name: 'ci',
        scopes: ['run:read', 'run:write', 'session:read'],
        actor: 'service:ci',
        reach: 'all',
      },
      idempotencyKey: null,
    });
    const actor = await control.control.authenticate({ bearer: made.token }, ann.request);
    const caller = callerOf(actor!);
    const run = await runningIn(control, ann, await control.session(ann, { attach: { enabled: true } }));
    const { ticket } = await control.control.attach.ticket(caller, run, {});
    await control.control.tokens.revoke(admin, made.id);
    await assert.rejects(redeemed(control, caller, run, ticket), withCode('access.denied'));
    assert.deepEqual(await refusals(), ['service:ci attach:actor-ended']);
  });

  test('does not outlast the attach switch, the run or the session', async () => {
    const { run, session } = await attachable(control, ann);
    const { attach: uses } = control.control;
    const [first, second] = [await uses.ticket(ann, run, {}), await uses.ticket(ann, run, {})];
    await uses.configure(ann, session, { enabled: false });
    await assert.rejects(redeemed(control, ann, run, first.ticket), withCode('access.denied'));
    await uses.configure(ann, session, { enabled: true });
    control.runner.finish(run);
    await control.finished(ann, run);
    await assert.rejects(redeemed(control, ann, run, second.ticket), withCode('state.conflict'));
    await assert.rejects(uses.ticket(ann, run, {}), withCode('state.conflict'));
    assert.deepEqual(await refusals(), ['user:ann attach:switched-off', 'user:ann attach:nothing-there']);
  });

  test('is refused beyond what one actor may leave unused', async () => {
    const { run } = await attachable(control, ann);
    for (let count = 0; count < attachLimits.ticketsPerActorMax; count += 1)
      await control.control.attach.ticket(ann, run, {});
    await assert.rejects(control.control.attach.ticket(ann, run, {}), withCode('quota.exceeded'));
  });
});

describe('who asks for a ticket', () => {
  test('needs run:read to look on and control:write to drive, to run commands and to reach ports', async () => {
    const { run } = await attachable(control, ann);
    const { attach: uses } = control.control;
    const vera = viewerCaller();
    await uses.ticket(vera, run, { role: 'viewer' });
    const stranger = callerOf(actorOf('eve', 'own'));
    for (const denied of [
      uses.ticket(vera, run, { role: 'driver' }),
      uses.exec(vera, run, { command: ['id'] }),
      uses.portForward(vera, run, { port: 80 }),
    ])
      await assert.rejects(denied, withCode('access.denied'));
    for (const hidden of [
      uses.ticket(stranger, run, {}),
      uses.exec(stranger, run, { command: ['id'] }),
      uses.portForward(stranger, run, { port: 80 }),
      uses.terminals(stranger, run),
      uses.ticket(ann, newId('run', 1), {}),
    ])
      await assert.rejects(hidden, withCode('resource.absent'));
  });

  test('learns that attaching is off, and what to do, where it may know of the run', async () => {
    const session = await control.session(ann);
    const run = await runningIn(control, ann, session);
    const { attach: uses } = control.control;
    for (const asked of [
      uses.ticket(ann, run, {}),
      uses.exec(ann, run, { command: ['id'] }),
      uses.portForward(ann, run, { port: 80 }),
    ])
      await assert.rejects(asked, (error: Error) => {
        assert.match(error.message, /attach-control ses_\w+ on/);
        return withCode('access.denied')(error);
      });
  });

  test('gets none for a run without a terminal, and none for a terminal of another run', async () => {
    const session = await control.session(ann, { attach: { enabled: true } });
    const { id: run } = await control.run(ann, session);
    const { terminal } = await attachable(control, ann);
    const { attach: uses } = control.control;
    await assert.rejects(uses.ticket(ann, run, {}), withCode('state.conflict'));
    await assert.rejects(uses.ticket(ann, run, { terminal: terminal.id }), withCode('resource.absent'));
  });
});

test('switching needs control:write, also when a session is made with it', async () => {
  const dev = callerOf(actorOf('dev'));
  const session = await control.session(dev);
  const { attach: uses } = control.control;
  await assert.rejects(uses.configure(dev, session, { enabled: true }), withCode('access.denied'));
  await assert.rejects(control.session(dev, { attach: { enabled: true } }), withCode('access.denied'));
  const on = await uses.configure(ann, session, { enabled: true, mode: 'collaborative', reason: 'pairing' });
  assert.deepEqual(on, { enabled: true, mode: 'collaborative', moderated: false, recordInput: false });
  const { view } = await control.control.sessions.get(ann, session);
  assert.deepEqual(view.attach, on);
  const event = (await recorded(control)).find(
    ({ action, outcome }) => action === 'attach.control' && outcome === 'allowed',
  );
  assert.deepEqual(event?.data, { attach: on, reason: 'pairing' });
  await control.control.sessions.close(dev, session);
  await assert.rejects(uses.configure(ann, session, { enabled: true }), withCode('state.conflict'));
});

test('an upgrade that the server turned away says whose its ticket is, which is not used up by it', async () => {
  const { run } = await attachable(control, ann);
  const { ticket } = await control.control.attach.ticket(ann, run, { role: 'driver' });
  control.control.attach.refused({ run, ticket, from: null, request: ann.request }, 'origin');
  control.control.attach.refused(
    { run, ticket: 'sw_attach_x', from: null, request: ann.request },
    'ticket-in-url',
  );
  assert.deepEqual(await refusals(), ['user:ann attach:origin', 'system:nobody attach:ticket-in-url']);
  await redeemed(control, ann, run, ticket);
});

test('an upgrade that the server turned away is on record, and repetitions are counted', async () => {
  const run = newId('run', 1);
  const { request } = ann;
  for (let count = 0; count < 5; count += 1)
    control.control.attach.refused({ run, ticket: null, from: null, request }, 'origin');
  control.control.attach.refused({ run, ticket: null, from: null, request }, 'ticket-in-url');
  await control.stop();
  const events = (await control.events()).filter(({ action }) => action === 'attach.refuse');
  assert.deepEqual(
    events.map(({ decision, data }) => [decision.rule, data?.repeated ?? null]),
    [
      ['attach:origin', null],
      ['attach:ticket-in-url', null],
      ['attach:origin', 4],
    ],
  );
  await control.start();
});

test('whoever has no ticket fills the record with no names of runs', async () => {
  const { request } = ann;
  const from = (address: string) => ({ ...request, address });
  const refused = (address: string) =>
    control.control.attach.refused(
      { run: newId('run', 1), ticket: null, from: null, request: from(address) },
      'ticket-missing',
    );
  for (let count = 0; count < 20; count += 1) refused('192.0.2.1');
  for (let count = 0; count < 20; count += 1) refused(`2001:db8::${count}`);
  const found = (await recorded(control)).filter(({ action }) => action === 'attach.refuse');
  assert.deepEqual(
    found.map(({ request: { address } = {} }) => address),
    ['192.0.2.1', '2001:db8::0'],
  );
});

test('a resumed run has a terminal of its own, as large as its parent’s', async () => {
  const { run, terminal } = await attachable(control, ann);
  control.runner.finish(run);
  await control.finished(ann, run);
  const resumed = await control.control.runs.resume(ann, run, { request: {}, idempotencyKey: null });
  const { id, ...size } = resumed.view.terminal!;
  assert.deepEqual(size, { columns: 80, rows: 24 });
  assert.notEqual(id, terminal.id);
});

test('a client that is faster than the start of its run waits for it', async () => {
  const session = await control.session(ann, { attach: { enabled: true } });
  const { id: run } = await control.run(ann, session, { terminal: { columns: 80, rows: 24 } });
  const { ticket } = await control.control.attach.ticket(ann, run, { role: 'driver' });
  const coming = redeemed(control, ann, run, ticket, 0);
  await control.runner.until(() => control.runner.live.has(run));
  control.runner.terminals.of(run).write('first');
  control.runner.running(run);
  const client = await coming;
  await client.until(({ text }) => text === 'first');
  assert.equal(client.last('welcome')?.resumed, true);
});

describe('what changes while a client waits for the start of its run holds for it:', () => {
  async function starting() {
    const session = await control.session(ann, { attach: { enabled: true } });
    const { id: run } = await control.run(ann, session, { terminal: { columns: 80, rows: 24 } });
    await control.runner.until(() => control.runner.live.has(run));
    return { run, session, uses: control.control.attach };
  }

  /** Redeems, and gives what comes of it once the change was made and the run has begun. */
  async function waitedFor(run: RunId, ticket: string, change: () => Promise<unknown>) {
    const coming = redeemed(control, ann, run, ticket);
    coming.catch(() => undefined);
    // It was decided about by then, and waits.
    await recorded(control);
    await change();
    control.runner.running(run);
    return coming;
  }

  test('attaching that was switched off starts no command', async () => {
    const { run, session, uses } = await starting();
    const { ticket } = await uses.exec(ann, run, { command: ['id'] });
    const coming = waitedFor(run, ticket, () => uses.configure(ann, session, { enabled: false }));
    await assert.rejects(coming, withCode('access.denied'));
    assert.equal(control.runner.terminals.pipes.length, 0);
    assert((await refusals()).includes('user:ann attach:switched-off'));
  });

  test('a session that is moderated by then lets nobody do what nobody can watch', async () => {
    const { run, session, uses } = await starting();
    const { ticket } = await uses.portForward(ann, run, { port: 80 });
    const moderated = { enabled: true, moderated: true };
    const coming = waitedFor(run, ticket, () => uses.configure(ann, session, moderated));
    await assert.rejects(coming, withCode('access.denied'));
    assert.equal(control.runner.terminals.pipes.length, 0);
  });

  test('a driver of a session that is moderated by then types nothing unwatched', async () => {
    const { run, session, uses } = await starting();
    const { ticket } = await uses.ticket(ann, run, { role: 'driver' });
    const moderated = { enabled: true, moderated: true };
    const client = await waitedFor(run, ticket, () => uses.configure(ann, session, moderated));
    await client.until((driver) => driver.last('input') !== null);
    assert.deepEqual(client.last('input'), {
      ...{ type: 'input', allowed: false, bar: 'no-observer', holder: client.id },
    });
    assert.equal(client.last('welcome')?.moderated, true);
  });
});

test('between the answer to an upgrade and its first frame a session that is moderated or closed is noticed', async () => {
  for (const change of ['moderate', 'close'] as const) {
    const { run, session } = await attachable(control, ann);
    const { attach: uses, sessions } = control.control;
    const { ticket } = await uses.exec(ann, run, { command: ['sleep', '9'] });
    const upgrade = { run, ticket, from: null, request: ann.request };
    const { begin } = await uses.redeem(upgrade);
    if (change === 'close') await sessions.close(ann, session);
    else await uses.configure(ann, session, { enabled: true, moderated: true });
    const client = new TestClient();
    client.connection = begin(client);
    await client.until(({ closed }) => closed !== null);
    assert.equal(client.last('welcome'), null);
  }
});

test('a terminal whose end only the runner knows of yet is nothing to attach to', async () => {
  const { run, terminal } = await attachable(control, ann);
  control.runner.terminals.all.delete(terminal.id);
  await assert.rejects(attach(control, ann, run), withCode('state.conflict'));
  assert.deepEqual(await refusals(), ['user:ann attach:nothing-there']);
  const events = await recorded(control);
  const ended = events.filter(({ action }) => action === 'attach.disconnect');
  assert.deepEqual(
    ended.map(({ data }) => data?.reason),
    ['not-started'],
  );
});

test('a run and an actor have a bounded number of connections, and those that end make room', async () => {
  const { run } = await attachable(control, ann);
  const { ticket } = await control.control.attach.ticket(ann, run, {});
  const clients = [await redeemed(control, ann, run, ticket)];
  for (let count = 1; count < attachLimits.connectionsPerActorMax; count += 1)
    clients.push(await attach(control, ann, run));
  await assert.rejects(attach(control, ann, run), withCode('quota.exceeded'));
  clients[0]!.connection.gone('left');
  clients[0]!.connection.gone('lost');
  await attach(control, ann, run);
  await assert.rejects(attach(control, ann, run), withCode('quota.exceeded'));
  await attach(control, driverCaller('bob'), run);
});
