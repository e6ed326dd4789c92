import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Fault } from '../contract/faults.ts';
import { openHashQueue } from './hash-queue.ts';
import { identityLimits } from './limits.ts';

const { hashesWaitingMax, hashesWaitingPerAddressMax, hashWaitMs } = identityLimits;

/** Work that ends when told to, and the order in which it began. */
function openWork() {
  const queue = openHashQueue();
  const began: string[] = [];
  const ends: (() => void)[] = [];
  const ask = (address: string | null, name = address ?? 'local') =>
    queue.run(address, async () => {
      began.push(name);
      await new Promise<void>((resolve) => ends.push(resolve));
    });
  const endOne = async () => {
    ends.shift()!();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { queue, began, ask, endOne, ends };
}

const withCode = (code: string) => (error: unknown) =>
  error instanceof Fault && error.code === code && typeof error.extra.retryAfterSeconds === 'number';

describe('the queue of hashes', () => {
  it('works on one at a time, and goes on after a failure', async () => {
    const { queue } = openWork();
    let atOnce = 0;
    let most = 0;
    const work = async () => {
      most = Math.max(most, ++atOnce);
      await new Promise((resolve) => setImmediate(resolve));
      atOnce -= 1;
      throw new Error('of the work');
    };
    const asked = Array.from({ length: 10 }, (_, index) => queue.run(`10.0.0.${index}`, work));
    for (const { status } of await Promise.allSettled(asked)) assert.equal(status, 'rejected');
    assert.equal(most, 1);
    assert.equal(await queue.run(null, async () => 'still works'), 'still works');
  });

  it('gives every address its turn: one that asks often waits behind itself', async () => {
    const { ask, began, endOne, ends } = openWork();
    const asked = [
      ask('10.0.0.1', 'first'),
      ask('10.0.0.1', 'a1'),
      ask('10.0.0.1', 'a2'),
      ask('10.0.0.2', 'b1'),
    ];
    for (let left = asked.length; left > 0; left -= 1) await endOne();
    await Promise.all(asked);
    assert.deepEqual(began, ['first', 'a1', 'b1', 'a2']);
    assert.equal(ends.length, 0);
  });

  it('is never filled by one address, a /64 of IPv6 counting as one', async () => {
    const { ask, queue, endOne } = openWork();
    const first = ask('2001:db8::1');
    const mine = Array.from({ length: hashesWaitingPerAddressMax }, (_, index) =>
      ask(`2001:db8::${index + 2}`),
    );
    await assert.rejects(ask('2001:db8::ffff'), withCode('rate.exceeded'));
    const other = ask('2001:db8:1::1');
    assert.equal(queue.waiting, hashesWaitingPerAddressMax + 1);
    for (let left = mine.length + 2; left > 0; left -= 1) await endOne();
    await Promise.all([first, other, ...mine]);
  });

  it('refuses past its bound, whoever asks', async () => {
    const { ask, queue, endOne } = openWork();
    const asked = [ask('10.1.0.0')];
    for (let count = 0; count < hashesWaitingMax; count += 1)
      asked.push(ask(`10.0.${count >> 8}.${count & 255}`));
    assert.equal(queue.waiting, hashesWaitingMax);
    await assert.rejects(ask('10.2.0.0'), withCode('auth.busy'));
    for (let left = asked.length; left > 0; left -= 1) await endOne();
    await Promise.all(asked);
    assert.equal(queue.waiting, 0);
  });

  it('refuses what waited too long, and what came after it has its turn', async (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const { ask, began, endOne } = openWork();
    const first = ask('10.0.0.1');
    const late = ask('10.0.0.2');
    context.mock.timers.tick(hashWaitMs - 1);
    const later = ask('10.0.0.3');
    context.mock.timers.tick(1);
    await assert.rejects(late, withCode('auth.busy'));
    await endOne();
    await endOne();
    await Promise.all([first, later]);
    assert.deepEqual(began, ['10.0.0.1', '10.0.0.3']);
  });
});
