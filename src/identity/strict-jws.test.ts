import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasExactly, readStrictJws } from './strict-jws.ts';

const encoded = (text: string | Buffer) => Buffer.from(text).toString('base64url');
const join = (...parts: string[]) => parts.join('.');
const head = encoded('{"alg":"EdDSA"}');
const body = encoded('{"sub":"user:ann"}');
const signature = encoded(Buffer.alloc(64, 7));

test('what is one JWS in its one spelling is read, and nothing about it is verified', () => {
  assert.deepEqual(readStrictJws(join(head, body, signature), 500), {
    header: { alg: 'EdDSA' },
    claims: { sub: 'user:ann' },
  });
});

test('no other spelling of the same bytes is read', () => {
  const idle = `${signature.slice(0, -1)}${signature.at(-1) === 'w' ? 'x' : 'w'}`;
  const spellings = [
    join(`${head}=`, body, signature),
    join(head, `${body}==`, signature),
    join(head, body, `${signature}==`),
    join(head, body, `${signature}\n`),
    join(` ${head}`, body, signature),
    join(head, body, `${signature.slice(0, 10)} ${signature.slice(10)}`),
    join(head, body, signature.slice(0, -1)),
    join(head, body, idle),
    join(head, body, signature.replaceAll('B', '+')),
    join(head, body, ''),
    join('', body, signature),
    join(head, '', signature),
    join(head, body),
    join(head, body, signature, ''),
    join(head, body, signature, signature),
    '',
    '..',
  ];
  for (const text of spellings) assert.equal(readStrictJws(text, 500), null, JSON.stringify(text));
});

test('a part that two readers could read differently is not read', () => {
  const texts: (string | Buffer)[] = [
    '{"alg":"EdDSA","alg":"none"}',
    '{"alg":"EdDSA","\\u0061lg":"none"}',
    '{"a":{"b":1,"b":2}}',
    '{"__proto__":{}}',
    '\ufeff{"alg":"EdDSA"}',
    '{"alg":"EdDSA"} x',
    '[]',
    'null',
    '"x"',
    '7',
    '{',
    `{"a":${'['.repeat(50)}${']'.repeat(50)}}`,
    Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
  ];
  for (const text of texts) {
    assert.equal(readStrictJws(join(encoded(text), body, signature), 500), null, String(text));
    assert.equal(readStrictJws(join(head, encoded(text), signature), 500), null, String(text));
  }
});

test('nothing longer than asked for is looked at', () => {
  const text = join(head, body, signature);
  assert.notEqual(readStrictJws(text, text.length), null);
  assert.equal(readStrictJws(text, text.length - 1), null);
});

test('members are exactly those, own ones, in any order', () => {
  assert.equal(hasExactly({ b: 1, a: 2 }, ['a', 'b']), true);
  assert.equal(hasExactly({ a: 1 }, ['a', 'b']), false);
  assert.equal(hasExactly({ a: 1, b: 1, c: 1 }, ['a', 'b']), false);
  assert.equal(hasExactly({ a: 1 }, ['toString']), false);
});
