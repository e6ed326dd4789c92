import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { attempt, chainOf } from '../../tests/support/audit.ts';
import { canonicalJson, type JsonObject } from '../base/canonical-json.ts';
import type { EventId, NewEvent } from './event.ts';
import { readLine } from './line.ts';
import { LineScanner, NextLine, scanMarginBytes } from './scan.ts';

const margin = Buffer.alloc(scanMarginBytes);
const request = { id: 'req_1', address: '::1', userAgent: 'curl/8' };
const ordinary: NewEvent[] = [
  attempt('run.create'),
  attempt('run.create', { request, data: { b: [1, 'x', true, false, null, 0, {}], a: { c: [] } } }),
  attempt('session.create', { resource: { kind: 'session' }, request: { ...request, address: null } }),
  attempt('ünïcode', { actor: { id: 'agent:é', kind: 'agent', onBehalfOf: 'user:bob', token: 't' } }),
  { ...attempt('run.create'), phase: 'outcome', outcome: 'succeeded', of: 'evt_1' as EventId },
  attempt('x', { data: { '': 1, a: 2, 'a b': 3, aa: 4, b: 999_999_999_999_999 } }),
];

/** What the scanner says of the second line of a stream whose first line is `before`. */
function scan(before: string, line: Buffer): boolean {
  const next = new NextLine('control', 1);
  next.advance(hash('sha256', `\0${before}`, 'hex'));
  const bytes = Buffer.concat([line, Buffer.from('\n'), margin]);
  return new LineScanner(bytes).endOfNextLine(0, next) === line.length + 1;
}

function secondLine(event: NewEvent): [before: string, line: string] {
  const [before, line] = chainOf('control', [attempt('first'), event]);
  return [before!, line!];
}

test('ordinary lines are recognised without parsing', () => {
  for (const event of ordinary) {
    const [before, line] = secondLine(event);
    assert.ok(scan(before, Buffer.from(line)), line);
  }
});

test('a line with another prev, seq or stream, or anything behind it, is not recognised', () => {
  const [before, line] = secondLine(ordinary[0]!);
  const scans = (text: string) => scan(before, Buffer.from(text));
  assert.ok(scans(line));
  assert.ok(!scan(`${before} `, Buffer.from(line)));
  for (const [from, to] of [
    ['"seq":2', '"seq":3'],
    ['"seq":2', '"seq":02'],
    ['"seq":2', '"seq":2.0'],
    ['"control"', '"contro1"'],
  ]) {
    assert.ok(!scans(line.replace(from!, to!)), to);
  }
  for (const text of [`${line} `, `${line}\r`, ` ${line}`, line.slice(0, -1), `${line}}`, '', '{', '"']) {
    assert.ok(!scans(text), text);
  }
});

test('what the scanner accepts, the parser accepts with the same facts, whatever was done to the line', () => {
  const anyByte = fc.integer({ min: 0, max: 255 });
  const telling = fc.constantFrom(...Buffer.from('"\\{}[],:0123456789.-+eE \t\u0000\u001f\u007fabtrfnu'));
  const edit = fc.record({
    at: fc.nat(),
    remove: fc.integer({ min: 0, max: 12 }),
    insert: fc.array(fc.oneof(anyByte, telling), { maxLength: 4 }),
  });
  let accepted = 0;
  fc.assert(
    fc.property(fc.constantFrom(...ordinary), fc.array(edit, { maxLength: 2 }), (event, edits) => {
      const [before, line] = secondLine(event);
      let bytes = Buffer.from(line);
      for (const { at, remove, insert } of edits) {
        const from = at % (bytes.length + 1);
        bytes = Buffer.concat([bytes.subarray(0, from), Buffer.from(insert), bytes.subarray(from + remove)]);
      }
      if (bytes.includes('\n') || !isUtf8(bytes) || !scan(before, bytes)) return;
      accepted += 1;
      assert.deepEqual(readLine(bytes), {
        stream: 'control',
        seq: 2,
        prev: hash('sha256', `\0${before}`, 'hex'),
        v: 2,
      });
    }),
    { numRuns: 20_000 },
  );
  assert.ok(accepted > 1000, 'the property was tried on accepted lines');
});

test('of any data, only the canonical spelling is accepted, by the scanner and by the parser', () => {
  const json = fc.dictionary(
    fc.string({ unit: 'binary', maxLength: 8 }),
    fc.jsonValue(),
  ) as fc.Arbitrary<JsonObject>;
  fc.assert(
    fc.property(json, (data) => {
      const [before, line] = secondLine(attempt('x', { data: { zz: 0 } }));
      for (const spelling of [canonicalJson(data), JSON.stringify(data), JSON.stringify(data, null, 1)]) {
        if (spelling.includes('\n')) continue;
        const bytes = Buffer.from(line.replace('{"zz":0}', () => spelling));
        const isCanonical = spelling === canonicalJson(data);
        assert.equal('flaw' in readLine(bytes), !isCanonical, spelling);
        if (scan(before, bytes)) assert.ok(isCanonical, spelling);
      }
    }),
    { numRuns: 2_000 },
  );
});

test('numbers and names that the scanner must leave to the parser are not waved through', () => {
  const [before, line] = secondLine(attempt('x', { data: { zz: 0 } }));
  const scans = (data: string) => scan(before, Buffer.from(line.replace('{"zz":0}', () => data)));
  assert.ok(scans('{"a":999999999999999,"b":0}'), 'control');
  for (const number of [
    '12345678901234567890',
    '01',
    '00',
    '-0',
    '1.0',
    '1e5',
    '0.10',
    '1E5',
    '+1',
    '.5',
    '1.',
    '0e0',
  ]) {
    assert.ok(!scans(`{"a":${number}}`), number);
  }
  for (const members of [
    '"b":1,"a":2',
    '"a":1,"a":2',
    '"aa":1,"a":2',
    '"\ufb33":1,"\u{1f602}":2',
    '"a":1,',
    '"a"',
    '"a":1 ',
  ]) {
    assert.ok(!scans(`{${members}}`), members);
  }
});
