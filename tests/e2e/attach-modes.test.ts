import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { AuditEvent } from '../../src/audit/event.ts';
import { ApiError } from '../../src/client/api-error.ts';
import type { PutAttachSettings } from '../../src/contract/attach-schemas.ts';
import type { RunId, SessionId } from '../../src/model/ids.ts';
import { type Attached, attach, attachTicket } from '../support/attached.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { joined, type Person } from '../support/real-people.ts';

/** Who may type in each mode of attaching, by people with accounts of their own, a real server and real sandboxes. */

const driving = ['session:read', 'session:write', 'run:read', 'run:write', 'control:write'] as const;
const eventsWithinMs = 10_000;

let instance: Instance;
let ada: Person;
let bob: Person;
let vera: Person;

before(async () => {
  instance = await startInstance({ environment: { SEALWRIGHT_MAX_RUNS_PER_SESSION: '4' } });
  ada = await joined(instance, 'ada', 'operator', driving);
  bob = await joined(instance, 'bob', 'operator', driving);
  vera = await joined(instance, 'vera', 'auditor', ['session:read', 'run:read']);
});

after(() => instance?.remove());

type Shell = { readonly run: RunId; readonly session: SessionId };

/** A shell of Ada's whose lines are echoed as they are read, in a session of its own. */
async function shell(settings: Partial<PutAttachSettings> = {}): Promise<Shell> {
  const { id: session } = await ada.sessions.create({ attach: { enabled: true, ...settings } });
  const command = ['sh', '-c', 'echo ready; while read line; do echo "got <$line>"; done'];
  const terminal = { columns: 80, rows: 24 };
  const { id: run } = await ada.runs.create({ session, command, terminal, diff: false });
  return { run, session };
}

/** Once it shows what is there. */
async function come(person: Person, run: RunId, wish: Parameters<typeof attach>[2]): Promise<Attached> {
  const attached = await attach(person, run, wish);
  await attached.shows(/ready/);
  return attached;
}

const drives = ({ session }: Attached) => session.state.input?.allowed === true;
const barOf = ({ session }: Attached) => {
  const { input } = session.state;
  return input === null || input.allowed ? null : input.bar;
};

/** Of a run, in their order, once there are as many as are to be. */
async function eventsOf(run: RunId, enough: (events: readonly AuditEvent[]) => boolean) {
  for (const end = performance.now() + eventsWithinMs; ; await pause(20)) {
    const found: AuditEvent[] = [];
    for await (const event of instance.client.audit.all({})) {
      const { action, resource } = event as AuditEvent;
      if (resource !== undefined && 'id' in resource && resource.id === run && action.startsWith('attach.'))
        found.push(event as AuditEvent);
    }
    // They come newest first.
    if (enough(found)) return found.reverse();
    assert(performance.now() < end, JSON.stringify(found.map(({ action, data }) => [action, data])));
  }
}

const leasesOf = (events: readonly AuditEvent[]) =>
  events
    .filter(({ action }) => action === 'attach.lease')
    .map(({ actor, data }) => `${actor.id} ${(data as { event?: string } | undefined)?.event}`);

async function cutWithinASecond(attached: Attached, act: () => Promise<unknown>, reason: string) {
  await act();
  const since = performance.now();
  const end = await attached.ended;
  assert(performance.now() - since < 1_000, 'within a second');
  assert(end.by === 'server', JSON.stringify(end));
  assert.equal(end.reason, reason);
}

describe('exclusive', () => {
  test('one drives at a time; another takes over, and hands back; all of it is on record', async () => {
    const { run } = await shell();
    const first = await come(ada, run, { role: 'driver' });
    await first.type('one\n');
    await first.shows(/got <one>/);
    const second = await attach(bob, run, { role: 'driver', drive: 'later' });
    second.session.drive();
    await second.is(({ input }) => input?.allowed === false && input.bar === 'no-lease');
    assert.equal(await second.session.input(Buffer.from('never\n')), false);
    second.session.drive({ takeover: true });
    await second.is(({ input }) => input?.allowed === true);
    await first.is(({ input }) => input?.allowed === false);
    assert.equal(await first.session.input(Buffer.from('never\n')), false);
    await second.type('two\n');
    await first.shows(/got <two>/);
    second.session.handOver(first.session.state.connection!);
    await first.is(({ input }) => input?.allowed === true);
    await second.is(({ input }) => input?.allowed === false);
    await first.type('three\n');
    await second.shows(/got <three>/);
    assert.doesNotMatch(first.text(), /never/);
    first.session.release();
    await first.is(({ input }) => input?.allowed === false);
    await first.leave();
    await second.leave();
    const events = await eventsOf(
      run,
      (all) => all.filter(({ action }) => action === 'attach.disconnect').length === 2,
    );
    assert.deepEqual(leasesOf(events), [
      'user:ada taken',
      'user:bob taken-over',
      'user:bob handed-over',
      'user:ada released',
    ]);
    const typed = events.filter(
      ({ action, outcome }) => action === 'attach.input' && outcome === 'succeeded',
    );
    assert.deepEqual(
      typed.map(({ actor, data }) => [actor.id, (data as { bytes: number }).bytes]),
      [
        ['user:ada', 4],
        ['user:bob', 4],
        ['user:ada', 6],
      ],
    );
  });

  test('keys of a viewer do nothing, whatever its client sends', async () => {
    const { run } = await shell();
    const viewer = await come(vera, run, {});
    const driver = await come(ada, run, { role: 'driver' });
    assert.equal(await viewer.session.input(Buffer.from('never\n')), false);
    viewer.session.drive({ takeover: true });
    await driver.type('after\n');
    await viewer.shows(/got <after>/);
    assert.doesNotMatch(viewer.text(), /never/);
    assert.deepEqual([drives(viewer), drives(driver)], [false, true]);
    await viewer.leave();
    await driver.leave();
  });
});

describe('collaborative', () => {
  test('two drive at once, and the recording says who typed what', async () => {
    const { run } = await shell({ mode: 'collaborative', recordInput: true });
    const [first, second] = [
      await come(ada, run, { role: 'driver' }),
      await come(bob, run, { role: 'driver' }),
    ];
    assert.deepEqual([drives(first), drives(second)], [true, true]);
    await first.type('from ada\n');
    await second.shows(/got <from ada>/);
    await second.type('from bob\n');
    await first.shows(/got <from bob>/);
    first.session.handOver(second.session.state.connection!);
    await first.type('and ada again\n');
    await second.shows(/got <and ada again>/);
    await first.leave();
    await second.leave();
    await ada.runs.stop(run);
    await ada.runs.wait(run);
    const [terminal] = await ada.attach.terminals(run);
    let cast = '';
    for await (const bytes of (await ada.attach.recording(run, terminal!.id)).body) cast += String(bytes);
    const played = cast
      .split('\n')
      .slice(1)
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as [number, string, string])
      .filter(([, code]) => code === 'i' || code === 'm')
      .map(([, code, data]) => `${code} ${data}`);
    const order = ['user:ada', 'from ada', 'user:bob', 'from bob', 'user:ada', 'and ada again'];
    let at = 0;
    for (const line of played) if (line.includes(order[at]!)) at += 1;
    assert.equal(at, order.length, JSON.stringify(played));
    const events = await eventsOf(run, (all) => leasesOf(all).length >= 2);
    assert.deepEqual(leasesOf(events).slice(0, 2), ['user:ada taken', 'user:bob taken']);
  });
});

describe('moderated', () => {
  test('keys pass only while another person who may drive is there', async () => {
    const { run } = await shell({ moderated: true });
    const driver = await attach(ada, run, { role: 'driver', drive: 'later' });
    driver.session.drive();
    await driver.is(({ input }) => input?.allowed === false && input.bar === 'no-observer');
    assert.equal(await driver.session.input(Buffer.from('alone\n')), false);
    const unfit = await come(vera, run, {});
    const own = await come(ada, run, {});
    await driver.is(({ clients }) => clients.length === 3);
    assert.equal(barOf(driver), 'no-observer', 'neither a viewer without the scope nor oneself counts');
    const observer = await come(bob, run, {});
    await driver.is(({ input }) => input?.allowed === true);
    await driver.type('watched\n');
    await observer.shows(/got <watched>/);
    await observer.leave();
    await driver.is(({ input }) => input?.allowed === false && input.bar === 'no-observer');
    assert.equal(await driver.session.input(Buffer.from('alone\n')), false);
    assert.doesNotMatch(unfit.text(), /alone/);
    for (const each of [unfit, own, driver]) await each.leave();
  });
});

describe('rights', () => {
  test('whoever lacks control:write is told what it needs, and may look on', async () => {
    const { run } = await shell();
    await assert.rejects(attachTicket(vera, run, { role: 'driver' }), (error) => {
      assert(error instanceof ApiError);
      assert.deepEqual([error.status, error.problem?.required], [403, 'control:write']);
      assert.match(error.message, /control:write/);
      return true;
    });
    const developer = await joined(instance, 'dev', 'developer', [
      'session:read',
      'session:write',
      'run:read',
      'run:write',
    ]);
    await assert.rejects(developer.sessions.create({ attach: { enabled: true } }), ({ message }: Error) =>
      /control:write/.test(message),
    );
    const { id: session } = await developer.sessions.create({});
    const command = ['sh', '-c', 'echo ready; sleep 300'];
    const terminal = { columns: 80, rows: 24 };
    const { id: own } = await developer.runs.create({ session, command, terminal, diff: false });
    await ada.attach.configure(session, { enabled: true });
    await assert.rejects(attachTicket(developer, own, { role: 'driver' }), ({ message }: Error) =>
      /control:write/.test(message),
    );
    const watching = await come(developer, own, {});
    await watching.leave();
    await developer.runs.stop(own);
  });

  test('each is cut within a second: by its token, its account, its role, and the switch', async () => {
    const { run, session } = await shell();
    const people = [
      await joined(instance, 'tom', 'operator', driving),
      await joined(instance, 'una', 'operator', driving),
      await joined(instance, 'rob', 'operator', driving),
    ] as const;
    const [tom, una, rob] = people;
    const lasting = await come(ada, run, {});
    const byToken = await come(tom, run, {});
    await cutWithinASecond(byToken, () => instance.client.tokens.revoke(tom.tokenId), 'revoked');
    const byAccount = await come(una, run, { role: 'driver' });
    await byAccount.type('as long as it may\n');
    await lasting.shows(/got <as long as it may>/);
    await cutWithinASecond(byAccount, () => instance.client.users.disable('una'), 'revoked');
    const byRole = await come(rob, run, { role: 'driver', drive: 'takeover' });
    await cutWithinASecond(
      byRole,
      () => instance.client.users.update('rob', { role: 'developer' }),
      'revoked',
    );
    assert.equal(lasting.session.state.phase, 'attached');
    await cutWithinASecond(lasting, () => bob.attach.configure(session, { enabled: false }), 'switchedOff');
    const events = await eventsOf(
      run,
      (all) => all.filter(({ action }) => action === 'attach.disconnect').length === 4,
    );
    assert.deepEqual(
      events
        .filter(({ action }) => action === 'attach.disconnect')
        .map(({ actor, data }) => `${actor.id} ${(data as { reason: string }).reason}`),
      ['user:tom revoked', 'user:una revoked', 'user:rob revoked', 'user:ada switchedOff'],
    );
    assert.equal(events.filter(({ action }) => action === 'attach.connect').length, 4);
  });
});
