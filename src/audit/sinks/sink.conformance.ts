import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { loopbackPair } from '../../../tests/support/certificates.ts';
import type { Behaviour, Receiver } from '../../../tests/support/sink-receivers.ts';
import { firstOfEach, quickTimes, SinkWorld, until } from '../../../tests/support/sink-world.ts';

/** How an implementation is tried: a stand-in for its receiver in a folder of the test's own, and what that can do. */
export type SinkUnderTest = {
  readonly open: (folder: string) => Promise<Receiver>;
  /** Ways in which the receiver can fail. */
  readonly failures: readonly Behaviour[];
  /** Whether it can refuse one event and take the others. */
  readonly refuses: boolean;
  readonly tls: boolean;
};

/** What every way out of the log keeps; called inside the suite of each. */
export function sinkConformance(tried: SinkUnderTest): void {
  let world: SinkWorld;
  let receiver: Receiver;
  beforeEach(async () => {
    world = new SinkWorld();
    receiver = await tried.open(world.path);
  });
  afterEach(async () => {
    await world.close();
    await receiver.close();
  });
  const has = (count: number) => until(() => receiver.events().length >= count, `${count} events arrived`);
  const ids = (stream: string) => world.events(stream).map(({ id }) => id);
  const cursorAt = (seq: number) =>
    until(
      () =>
        existsSync(statePath('.json')) && readFileSync(statePath('.json'), 'utf8').includes(`"seq":${seq},`),
      'the cursor is kept',
    );
  const statePath = (ending: string) => join(world.stateFolder, `receiver${ending}`);

  it('carries every event of every stream once and in order where nothing goes wrong', async () => {
    world.append('control', 700);
    world.append('runner-1', 3);
    const sinks = await world.start(receiver.settings);
    await has(703);
    world.append('control', 2);
    await has(705);
    for (const stream of ['control', 'runner-1']) {
      const arrived = receiver.events().filter((event) => event.stream === stream);
      assert.deepEqual(arrived, world.events(stream));
    }
    await until(
      async () => (await sinks.status())[0]!.streams.every(({ lagEvents }) => lagEvents === 0),
      'no lag',
    );
    const [status] = await sinks.status();
    assert.deepEqual([status?.state, status?.sentEvents, status?.deadLetters], ['running', 705, 0]);
    assert.equal(statSync(statePath('.json')).mode & 0o777, 0o600);
  });

  it('goes on behind what was taken after a restart', async () => {
    world.append('control', 5);
    await world.start(receiver.settings);
    await has(5);
    await cursorAt(5);
    await world.stop();
    world.append('control', 5);
    await world.start(receiver.settings);
    await has(10);
    assert.deepEqual(receiver.events(), world.events('control'));
  });

  it('sends again, and skips nothing, where its cursor was lost or is none', async () => {
    world.append('control', 3);
    for (const spoil of [
      () => rmSync(statePath('.json')),
      () => writeFileSync(statePath('.json'), '{"v":1,"streams":{"control":{"seq":"9","id":"x"}}}'),
      () => writeFileSync(statePath('.json'), ''),
      () =>
        writeFileSync(statePath('.json'), '{"v":1,"streams":{"control":{"seq":3,"id":"evt_of_another"}}}'),
      () => writeFileSync(statePath('.json'), '{"v":1,"streams":{"control":{"seq":9,"id":"evt_ahead"}}}'),
    ]) {
      const before = receiver.events().length;
      await world.start(receiver.settings);
      await has(before + 3);
      await cursorAt(3);
      await world.stop();
      assert.deepEqual(receiver.events().slice(before), world.events('control'));
      spoil();
    }
  });

  it('stays behind what is durable', async () => {
    world.append('control', 10);
    world.heads.set('control', 4);
    const sinks = await world.start(receiver.settings);
    await has(4);
    await until(async () => (await sinks.status())[0]?.streams[0]?.lagEvents === 0, 'no lag');
    assert.equal(receiver.events().length, 4);
    world.heads.set('control', 10);
    await has(10);
    assert.deepEqual(receiver.events(), world.events('control'));
  });

  for (const behaviour of tried.failures)
    it(`loses nothing and keeps the order where the receiver does this for a while: ${behaviour}`, async () => {
      world.append('control', 2);
      const times = {
        ...quickTimes,
        sendMs: behaviour === 'stall' || behaviour === 'slow-headers' ? 300 : 2_000,
      };
      const sinks = await world.start(receiver.settings, { times });
      await has(2);
      receiver.behave = behaviour;
      world.append('control', 600);
      await until(async () => (await sinks.status())[0]!.failedSends > 1, 'it failed twice');
      const [failing] = await sinks.status();
      assert.equal(failing?.state, 'retrying');
      assert.equal(failing?.streams[0]?.sentSeq, 2);
      assert.equal(failing?.streams[0]?.lagEvents, 600);
      assert(failing!.streams[0]!.lagSeconds > 0);
      assert.match(failing?.lastError?.reason ?? '', /^[\x20-\x7E]{1,400}$/);
      assert(!JSON.stringify([failing, world.problems]).includes('-of-the-tests'), 'no secret is shown');
      receiver.behave = 'take';
      await until(() => new Set(receiver.events().map(({ id }) => id)).size === 602, 'all arrived');
      assert.deepEqual(firstOfEach(receiver.events()), ids('control'));
      await until(async () => (await sinks.status())[0]?.state === 'running', 'it runs again');
      assert.equal((await sinks.status())[0]?.deadLetters, 0);
    });

  if (tried.refuses) refusals();
  if (tried.tls)
    it('sends nothing to who has no certificate of the authority that it trusts', async () => {
      world.append('control', 1);
      const sinks = await world.start({ ...receiver.settings, authorities: [loopbackPair().authority] });
      await until(async () => (await sinks.status())[0]!.failedSends > 1, 'it failed twice');
      assert.match((await sinks.status())[0]?.lastError?.reason ?? '', /CERT|SIGNATURE|ISSUER/);
      await world.stop();
      await world.start({ ...receiver.settings, authorities: [] });
      await until(() => world.problems.length >= 2, 'the roots that ship do not vouch for it either');
      assert.deepEqual([receiver.events(), receiver.asked], [[], 0]);
    });

  /** Of receivers that can say no to an event. */
  function refusals(): void {
    it('puts an event that is refused for good aside, goes on, and sends it again when it is told to', async () => {
      const events = world.append('control', 40);
      const bad = [events[7]!.id, events[8]!.id, events[39]!.id];
      for (const id of bad) receiver.refuses.add(id);
      const sinks = await world.start(receiver.settings);
      await until(async () => (await sinks.status())[0]?.streams[0]?.sentSeq === 40, 'it went on');
      const good = ids('control').filter((id) => !bad.includes(id));
      assert.deepEqual(firstOfEach(receiver.events()), good);
      const letters = readFileSync(statePath('.dead.jsonl'), 'utf8').trimEnd().split('\n');
      const kept = letters.map((line) => JSON.parse(line) as { id: string; seq: number; reason: string });
      assert.deepEqual(
        kept.map(({ seq }) => seq),
        [8, 9, 40],
      );
      assert.match(kept[0]!.reason, /400.*too far behind/);
      assert.equal(statSync(statePath('.dead.jsonl')).mode & 0o777, 0o600);
      assert.deepEqual(await sinks.redeliver('receiver'), { delivered: 0, remaining: 3, stoppedBy: null });
      receiver.refuses.clear();
      receiver.behave = 'busy';
      const stopped = await sinks.redeliver('receiver');
      assert.deepEqual([stopped?.delivered, stopped?.remaining], [0, 3]);
      assert.match(stopped?.stoppedBy ?? '', /503/);
      receiver.behave = 'take';
      await world.stop();
      const again = await world.start(receiver.settings);
      assert.deepEqual(await again.redeliver('receiver'), { delivered: 3, remaining: 0, stoppedBy: null });
      assert.deepEqual(firstOfEach(receiver.events()), [...good, ...bad]);
      assert.equal(await again.redeliver('another'), null);
      assert.equal(readFileSync(statePath('.dead.jsonl'), 'utf8'), '');
    });
  }
}
