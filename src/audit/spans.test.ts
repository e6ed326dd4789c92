import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Spans } from './spans.ts';

test('spans are the set of the bytes that were added, in any order, as few as can be', () => {
  const span = fc.tuple(fc.nat(60), fc.nat(12)).map(([from, length]) => ({ from, to: from + length }));
  fc.assert(
    fc.property(fc.array(span), span, (added, whole) => {
      const spans = new Spans();
      const bytes = new Set<number>();
      for (const one of added) {
        spans.add(one);
        for (let at = one.from; at < one.to; at += 1) bytes.add(at);
      }
      assert.equal(spans.bytes, bytes.size);
      for (const [index, { from }] of spans.all.entries())
        assert(index === 0 || from > spans.all[index - 1]!.to, 'in order, and none touches the next');
      const gaps = spans.gapsIn(whole).flatMap(({ from, to }) => numbers(from, to));
      assert.deepEqual(
        gaps,
        numbers(whole.from, whole.to).filter((at) => !bytes.has(at)),
      );
    }),
  );
});

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}
