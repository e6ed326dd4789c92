import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { clientLimits } from './limits.ts';
import { EventParser } from './sse.ts';

const sent =
  'retry: 250\n\n: comment\n\nid: 1\nevent: stdout\ndata: {"text":"héllo"}\n\nevent: step\ndata:x\ndata: y\r\n\r\nid: 9\rdata\r\rdata: last\n\n';

test('events are the same however the bytes are cut', () => {
  const bytes = Buffer.from(sent);
  const whole = new EventParser();
  const expected = whole.push(bytes);
  assert.deepEqual(expected, [
    { event: 'stdout', data: '{"text":"héllo"}', id: '1' },
    { event: 'step', data: 'x\ny', id: '1' },
    { event: 'message', data: '', id: '9' },
    { event: 'message', data: 'last', id: '9' },
  ]);
  assert.equal(whole.retryMs, 250);
  fc.assert(
    fc.property(fc.array(fc.nat(bytes.length), { maxLength: 12 }), (cuts) => {
      const parser = new EventParser();
      const ends = [...cuts, bytes.length].sort((a, b) => a - b);
      const events = ends.flatMap((end, index) => parser.push(bytes.subarray(ends[index - 1] ?? 0, end)));
      assert.deepEqual(events, expected);
    }),
  );
});

test('an event that never ends is refused before it fills memory', () => {
  const chunk = Buffer.alloc(64 * 1024, 'x');
  for (const start of ['data: ', '', ': ']) {
    const parser = new EventParser();
    parser.push(Buffer.from(start));
    assert.throws(() => {
      for (let size = 0; size <= 2 * clientLimits.eventCharactersMax; size += chunk.length)
        parser.push(chunk);
    }, RangeError);
  }
  const lines = new EventParser();
  assert.throws(() => {
    for (let count = 0; count < 100; count++) lines.push(Buffer.from(`data: ${'x'.repeat(100_000)}\n`));
  }, RangeError);
});
