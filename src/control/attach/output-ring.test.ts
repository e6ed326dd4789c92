import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { OutputRing } from './output-ring.ts';

test('the newest bytes are there by their offsets, whatever came in what pieces', () => {
  const pieces = fc.array(fc.nat({ max: 300_000 }), { maxLength: 12 });
  fc.assert(
    fc.property(pieces, fc.integer({ min: 1, max: 400_000 }), fc.nat({ max: 1_000 }), (sizes, max, start) => {
      const ring = new OutputRing(max, start);
      let all = Buffer.alloc(0);
      for (const [index, size] of sizes.entries()) {
        const piece = Buffer.from(Array.from({ length: size }, (_, at) => (at * 7 + index) & 255));
        all = Buffer.concat([all, piece]);
        ring.push(piece);
      }
      const end = start + all.length;
      assert.equal(ring.end, end);
      const oldest = Math.max(start, end - max);
      assert(ring.covers(end) && !ring.covers(end + 1) && !ring.covers(start - 1));
      for (const from of [oldest, Math.floor((oldest + end) / 2), end]) {
        assert(ring.covers(from), `${from} of ${oldest} to ${end}`);
        assert(ring.slice(from, Number.POSITIVE_INFINITY).equals(all.subarray(from - start)));
        assert(ring.slice(from, 10).equals(all.subarray(from - start, from - start + 10)));
      }
    }),
    { numRuns: 60 },
  );
});

test('what was dropped is not said to be there, and it begins anew where it is told to', () => {
  const ring = new OutputRing(100);
  ring.push(Buffer.alloc(1_000_000, 1));
  assert(!ring.covers(999_899));
  assert(ring.covers(999_900));
  ring.reset(5);
  assert(ring.covers(5) && !ring.covers(4) && !ring.covers(6));
  ring.push(Buffer.from('abc'));
  assert.equal(ring.slice(6, 9).toString(), 'bc');
});
