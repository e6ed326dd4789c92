import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SlidingWindow } from './sliding-window.ts';

const lengthMs = 60_000;

test('in no stretch of the length are there more than the bound, and one more is let through as soon as it fits', () => {
  const step = fc.record({
    // In eighths, so that the test's own sums are exact.
    waitMs: fc.oneof(fc.constant(0), fc.nat(4_000), fc.nat(720_000)).map((eighths) => eighths / 8),
    most: fc.integer({ min: 1, max: 12 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const window = new SlidingWindow(lengthMs);
      const taken: number[] = [];
      let now = 1_000;
      for (const { waitMs, most } of steps) {
        now += waitMs;
        const within = (at: number) => taken.filter((time) => time + lengthMs > at).length;
        const fits = within(now) < most;
        const wait = window.take(most, now);
        assert.equal(wait === 0, fits);
        if (fits) taken.push(now);
        else {
          assert.ok(within(now + wait) < most, 'after the wait it fits');
          assert.ok(within(now + wait - 1 / 8) >= most, 'and not before');
        }
      }
    }),
    { numRuns: 500 },
  );
});

test('what is past is not kept: a million in a row hold no more than a window of them', () => {
  const window = new SlidingWindow(lengthMs);
  let taken = 0;
  for (let at = 0; at < 1_000_000; at += 1) if (window.take(5_000, at) === 0) taken += 1;
  assert.equal(taken, Math.ceil(1_000_000 / lengthMs) * 5_000);
});
