import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Continuation } from '../audit/mirror.ts';
import { controlLimits } from './limits.ts';
import { MirrorWrites } from './mirror-writes.ts';

const continuation = (): Continuation => ({ lines: [], events: [] });

it('lines are written one after the other, while what follows is taken already, up to a bound', async () => {
  const begun: Continuation[] = [];
  const ends: (() => void)[] = [];
  const writes = new MirrorWrites((one) => {
    begun.push(one);
    return new Promise((resolve) => ends.push(resolve));
  });
  const all = Array.from({ length: controlLimits.mirrorWritesMax }, continuation);
  for (const one of all.slice(0, -1)) await writes.add(one);
  assert.deepEqual(begun.length, 1, 'the second waits for the first');
  let isTaken = false;
  const last = writes.add(all.at(-1)!).then(() => {
    isTaken = true;
  });
  for (let at = 0; at < all.length; at += 1) {
    assert.equal(isTaken, false);
    while (ends.length <= at) await new Promise(setImmediate);
    ends[at]!();
  }
  await last;
  await writes.written();
  assert.deepEqual(begun, all);
});

it('behind a write that was given up none is begun', async () => {
  const begun: Continuation[] = [];
  const writes = new MirrorWrites(async (one) => {
    begun.push(one);
    throw new Error('control ends');
  });
  await writes.add(continuation());
  await writes.add(continuation());
  await assert.rejects(writes.written(), /control ends/);
  assert.equal(begun.length, 1);
});
