import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { qrModules } from './qr-code.ts';

/** Each matrix was compared with what the Python package `qrcode` makes of the same text with the same mask. */
const knownAnswers: readonly (readonly [string, number, string])[] = [
  ['A', 21, 'bc9009ae87ca68f1d256b69eb26362086d73d9f0b95f1e9f3dccae752626c3b6'],
  ['x'.repeat(30), 29, '7ae0003517e2f06ee8a4fc19cc4e476dce01149550fc434051a88638aff81e8f'],
  ['z'.repeat(250), 61, '2d9c6babfc473c66a847dd2c0d86f8e14f4fb6147ca1aebe3798772b6c25d88a'],
  ['q'.repeat(400), 77, 'e566325d86fadfa2e9e7fd2c50f7bf015128cb4cb4240775eef39d0dabe7f306'],
];

test('a code is the one that another program makes', () => {
  for (const [text, size, digest] of knownAnswers) {
    const rows = qrModules(text).map((row) => row.map((dark) => (dark ? 1 : 0)).join(''));
    assert.equal(rows.length, size, text.slice(0, 8));
    assert.equal(createHash('sha256').update(rows.join('\n')).digest('hex'), digest, text.slice(0, 8));
  }
});

test('a text that is too long is refused', () => {
  assert.equal(qrModules('q'.repeat(412)).length, 77);
  assert.throws(() => qrModules('q'.repeat(413)), RangeError);
});
