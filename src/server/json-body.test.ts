import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { openTestServer } from '../../tests/support/test-server.ts';
import { Fault } from '../contract/faults.ts';
import { parseStrictJson } from './json-body.ts';

const vectors = process.env.SEALWRIGHT_VECTORS;

function refusal(text: string | Buffer): string {
  try {
    parseStrictJson(Buffer.from(text));
  } catch (error) {
    assert(error instanceof Fault && error.code === 'request.malformed', String(error));
    return error.detail;
  }
  return 'taken';
}

test('every value that JSON can hold is parsed as JSON.parse does', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 8 }), (text) => {
      let copy = '';
      try {
        copy = JSON.stringify(parseStrictJson(Buffer.from(text)));
      } catch (error) {
        const detail = (error as Fault).detail;
        assert.match(detail, /prototype|twice/);
        return;
      }
      assert.equal(copy, JSON.stringify(JSON.parse(text)));
    }),
  );
});

test('a key that stands twice is refused, however it is spelled', () => {
  assert.match(refusal('{"a":1,"a":2}'), /"a" twice/);
  assert.match(refusal('{"a":1,"\\u0061":2}'), /twice/);
  assert.match(refusal('[{"b":{"c":1,"d":[],"c":1}}]'), /"c" twice/);
  assert.equal(refusal('{"a":{"a":[{"a":1},{"a":1}]},"b":"a","c":"\\"a\\":1"}'), 'taken');
});

test('a key that changes prototypes is refused at any depth and in any spelling', () => {
  assert.match(refusal('{"a":[{"__proto__":{}}]}'), /prototype/);
  assert.match(refusal('{"\\u005f_proto__":1}'), /prototype/);
  assert.match(refusal('{"constructor":{"prototype":{}}}'), /prototype/);
  assert.equal(refusal('{"constructor":"x","prototype":"y"}'), 'taken');
});

test('nesting is bounded', () => {
  assert.equal(refusal(`${'['.repeat(32)}${']'.repeat(32)}`), 'taken');
  assert.match(refusal(`${'['.repeat(33)}${']'.repeat(33)}`), /nested/);
  assert.match(refusal('['.repeat(500_000)), /valid JSON/);
  assert.match(refusal(`${'[{"a":'.repeat(80_000)}1${'}]'.repeat(80_000)}`), /nested/);
});

test('bytes that are no UTF-8 and a byte order mark are refused', () => {
  assert.match(refusal(Buffer.from([0x22, 0xff, 0x22])), /UTF-8/);
  assert.match(refusal(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])), /UTF-8/);
  assert.match(refusal('\ufeff{}'), /byte order mark/);
});

test('no body of the JSON vectors is answered with anything but a 4xx, or a success where it fits the schema', {
  skip: vectors === undefined ? 'SEALWRIGHT_VECTORS is not set' : false,
}, async (t) => {
  const server = await openTestServer(t);
  const folder = join(vectors!, 'json', 'test_parsing');
  const names = readdirSync(folder);
  assert(names.length > 300);
  for (const name of names) {
    const response = await fetch(`${server.address}/api/v1/sessions`, {
      method: 'POST',
      headers: { authorization: 'Bearer owner-token', 'content-type': 'application/json' },
      body: readFileSync(join(folder, name)),
    });
    const body = (await response.json()) as { code?: string };
    const taken = name === 'y_object_empty.json';
    assert.equal(response.status, taken ? 201 : 400, `${name}: ${JSON.stringify(body)}`);
    if (name.startsWith('n_') && !name.startsWith('n_structure_no_data'))
      assert.equal(body.code, 'request.malformed', name);
  }
});
