import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { addressKey } from '../model/address-key.ts';
import { openRates, type RatesOptions, type SharedCounts } from './rates.ts';

const minute = 60_000;

/** A clock that a test moves, at the start of a window. */
function clockAt(start = 1_000 * minute) {
  const clock = { time: start, now: () => clock.time, monotonic: () => clock.time };
  return clock;
}

function ratesOf(t: TestContext, options: Partial<RatesOptions> = {}) {
  const clock = clockAt();
  const errors: unknown[] = [];
  const rates = openRates({
    ...{ perMinute: {}, clock, shared: null, onRefused: () => undefined },
    onError: (error) => errors.push(error),
    ...options,
  });
  t.after(() => rates.close());
  return { rates, clock, errors };
}

/** The seconds to wait, or null where it was allowed. */
async function wait(spent: Promise<void>): Promise<number | null> {
  return await spent.then(
    () => null,
    (fault: { code: string; extra: { retryAfterSeconds: number } }) => {
      assert.equal(fault.code, 'rate.exceeded');
      return fault.extra.retryAfterSeconds;
    },
  );
}

/** How many of so many requests are allowed. */
async function allowed(count: number, spend: (index: number) => Promise<void>): Promise<number> {
  let sum = 0;
  for (let index = 0; index < count; index++) if ((await wait(spend(index))) === null) sum += 1;
  return sum;
}

function sharedInMemory(): SharedCounts & {
  readonly counts: Map<string, number>;
  fails: boolean;
  calls: number;
} {
  const shared = {
    counts: new Map<string, number>(),
    fails: false,
    calls: 0,
    async add(counts: Parameters<SharedCounts['add']>[0]) {
      shared.calls += 1;
      if (shared.fails) throw new Error('the store is gone');
      return counts.map(({ key, by }) => {
        shared.counts.set(key, (shared.counts.get(key) ?? 0) + by);
        return shared.counts.get(key)!;
      });
    },
  };
  return shared;
}

test('an IPv6 host is counted by its /64, an IPv4 address by itself, however written', () => {
  assert.equal(addressKey('2001:db8:1:2:3:4:5:6'), addressKey('2001:db8:1:2::9'));
  assert.notEqual(addressKey('2001:db8:1:2::1'), addressKey('2001:db8:1:3::1'));
  assert.equal(addressKey('::1'), addressKey('::2'));
  assert.equal(addressKey('fe80::1%eth0'), addressKey('fe80::2'));
  assert.equal(addressKey('::ffff:192.0.2.1'), '192.0.2.1');
  assert.notEqual(addressKey('192.0.2.1'), addressKey('192.0.2.2'));
  assert.equal(addressKey(null), 'local');
});

test('classes, actors and addresses are counted apart, and a limit that is off stops the start', async (t) => {
  let refused = 0;
  const onRefused = () => {
    refused += 1;
  };
  const { rates } = ratesOf(t, { perMinute: { write: 1 }, onRefused });
  await rates.ofActor('write', 'user:a', null);
  await rates.ofActor('write', 'user:b', null);
  await rates.ofActor('default', 'user:a', null);
  await rates.ofAddress('write', '192.0.2.1');
  await assert.rejects(rates.ofActor('write', 'user:a', null), { code: 'rate.exceeded' });
  await assert.rejects(rates.ofAddress('write', '192.0.2.1'), { code: 'rate.exceeded' });
  assert.equal(refused, 2);
  for (const bad of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
    assert.throws(() => ratesOf(t, { perMinute: { write: bad } }));
});

test('an actor is held wherever it asks from, and an address whoever asks from it, ten times as wide', async (t) => {
  const { rates } = ratesOf(t, { perMinute: { write: 10 } });
  assert.equal(await allowed(20, (index) => rates.ofActor('write', 'user:a', `192.0.2.${index}`)), 10);
  const many = await allowed(200, (index) => rates.ofActor('write', `user:${index % 50}`, '2001:db8::1'));
  assert.equal(many, 100);
  assert.equal(await wait(rates.ofActor('write', 'user:new', '2001:db8::2')), 60, 'the same /64');
  assert.equal(await wait(rates.ofActor('write', 'user:new', '192.0.2.1')), null);
  assert.equal(
    await wait(rates.ofActor('write', 'user:new', null)),
    null,
    'the machine’s own socket has none',
  );
});

test('the window slides: at its end nobody may ask twice as much, and Retry-After keeps its word', async (t) => {
  const { rates, clock } = ratesOf(t, { perMinute: { default: 60 } });
  const ask = () => rates.ofActor('default', 'user:a', null);
  clock.time += 50_000;
  assert.equal(await allowed(100, ask), 60);
  clock.time += 10_001;
  assert((await allowed(100, ask)) <= 1, 'a new window has begun, and what was before still counts');
  for (let round = 0; round < 200; round++) {
    const seconds = await wait(ask());
    if (seconds === null) continue;
    assert(seconds <= 60);
    clock.time += seconds * 1_000;
    assert.equal(await wait(ask()), null, `after ${seconds} s`);
  }
  clock.time += 3 * minute;
  assert.equal(await allowed(100, ask), 60);
  clock.time -= 10 * minute;
  assert.equal(await allowed(100, ask), 0, 'a clock that goes back forgives nothing');
});

test('all processes together allow about what one does', async (t) => {
  const shared = sharedInMemory();
  const clock = clockAt();
  const all = [0, 1, 2].map(() => ratesOf(t, { perMinute: { default: 600 }, shared, clock }).rates);
  const sum = await allowed(6_000, async (index) => {
    await all[index % 3]!.ofActor('default', 'user:a', null);
  });
  assert(sum >= 600 && sum <= 800, `${sum} were allowed`);
  clock.time += minute;
  const next = await allowed(6_000, (index) => all[index % 3]!.ofActor('default', 'user:a', null));
  assert(next <= 200, `${next} were allowed right after`);
});

test('what is far from its limit is not told to anybody', async (t) => {
  const shared = sharedInMemory();
  const { rates } = ratesOf(t, { perMinute: { default: 600 }, shared });
  for (let index = 0; index < 70; index++) await rates.ofActor('default', 'user:a', '192.0.2.1');
  assert.equal(shared.calls, 0);
  for (let index = 0; index < 10; index++) await rates.ofActor('default', 'user:a', '192.0.2.1');
  await new Promise(setImmediate);
  assert.deepEqual([...shared.counts.keys()], ['default user:a 1000']);
});

test('refused credentials are counted exactly, by all processes together', async (t) => {
  const shared = sharedInMemory();
  const clock = clockAt();
  const all = [0, 1, 2].map(() => ratesOf(t, { perMinute: { signIn: 20 }, shared, clock }).rates);
  const tries = Array.from({ length: 120 }, (_, index) =>
    wait(all[index % 3]!.ofAddress('signIn', '192.0.2.1')),
  );
  assert.equal((await Promise.all(tries)).filter((seconds) => seconds === null).length, 20);
  assert.equal(await wait(all[0]!.ofAddress('signIn', '192.0.2.2')), null);
});

test('while nothing can be exchanged each process holds its own limits, and tells later what it counted', async (t) => {
  const shared = sharedInMemory();
  shared.fails = true;
  const { rates, errors } = ratesOf(t, { perMinute: { default: 16, signIn: 5 }, shared });
  assert.equal(await allowed(50, () => rates.ofActor('default', 'user:a', null)), 16);
  assert.equal(await allowed(50, () => rates.ofAddress('signIn', '192.0.2.1')), 5);
  assert(errors.length > 0);
  shared.fails = false;
  t.mock.timers.enable({ apis: ['setInterval'] });
  const { rates: other } = ratesOf(t, { perMinute: { default: 16 }, shared });
  shared.fails = true;
  await allowed(10, () => other.ofActor('default', 'user:b', null));
  await new Promise(setImmediate);
  shared.fails = false;
  t.mock.timers.tick(1_000);
  await new Promise(setImmediate);
  assert.equal(shared.counts.get('default user:b 1000'), 10);
});

test('whoever comes from ever new addresses holds no more than so many counts', async (t) => {
  const { rates } = ratesOf(t, { perMinute: { default: 1 } });
  const hex = (index: number) => index.toString(16);
  for (let index = 0; index < 110_000; index++)
    await rates.ofAddress('default', `2001:db8:${hex(index >> 12)}:${hex(index & 4095)}::1`);
  assert.equal(await wait(rates.ofAddress('default', '2001:db8:0:0::1')), null, 'the first were forgotten');
  assert.notEqual(
    await wait(rates.ofAddress('default', `2001:db8:${hex(109_999 >> 12)}:${hex(109_999 & 4095)}::1`)),
    null,
  );
});
