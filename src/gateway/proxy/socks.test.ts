import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { greetingBytesMax, parseGreeting, parseRequest, requestBytesMax } from './socks.ts';

const bytes = fc.uint8Array({ maxLength: 600 }).map((array) => Buffer.from(array));

test('no bytes make a greeting or a request throw, or need more than the longest message', () => {
  fc.assert(
    fc.property(bytes, (seen) => {
      const [greeting, request] = [parseGreeting(seen), parseRequest(seen)];
      if (seen.length >= greetingBytesMax) assert.notEqual(greeting, null);
      if (seen.length >= requestBytesMax) assert.notEqual(request, null);
      for (const message of [greeting, request]) assert.ok((message?.bytes ?? 0) <= seen.length);
    }),
    { numRuns: 2_000 },
  );
});

test('what is read does not depend on what follows, and before its end it is not read', () => {
  const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
  fc.assert(
    fc.property(host, fc.integer({ min: 1, max: 65_535 }), bytes, (name, port, rest) => {
      const text = Buffer.from(name);
      const tail = Buffer.of(port >> 8, port & 255);
      const message = Buffer.concat([Buffer.of(5, 1, 0, 3, text.length), text, tail]);
      assert.deepEqual(parseRequest(Buffer.concat([message, rest])), {
        is: 'connect',
        bytes: message.length,
        host: name,
        port,
      });
      for (let end = 0; end < message.length; end += 1)
        assert.equal(parseRequest(message.subarray(0, end)), null);
    }),
  );
});

test('the methods of a greeting are looked at up to its end and no further', () => {
  assert.deepEqual(parseGreeting(Buffer.of(5, 2, 1, 2, 0)), { is: 'greeting', bytes: 4, takesNone: false });
  assert.deepEqual(parseGreeting(Buffer.of(5, 2, 1, 0, 9)), { is: 'greeting', bytes: 4, takesNone: true });
});
