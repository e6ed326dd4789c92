import assert from 'node:assert/strict';
import { test } from 'node:test';
import { csvHeader, csvRow } from './csv.ts';

const rowOf = (event: object) => csvRow(Buffer.from(JSON.stringify(event)));
/** The field of a column, as a reader of RFC 4180 finds it. */
function field(row: string, name: string): string {
  const split = (text: string) =>
    [...text.matchAll(/"((?:[^"]|"")*)"(?:,|\r\n)/g)].map(([, value = '']) => value.replaceAll('""', '"'));
  return split(row)[split(csvHeader).indexOf(name)]!;
}

test('a row has every column, empty where the event says nothing', () => {
  const row = rowOf({
    at: 'now',
    seq: 7,
    actor: { id: 'user:ann' },
    decision: { allow: true },
    data: { a: [1] },
  });
  assert.equal(field(row, 'at'), 'now');
  assert.equal(field(row, 'seq'), '7');
  assert.equal(field(row, 'actor'), 'user:ann');
  assert.equal(field(row, 'allow'), 'true');
  assert.equal(field(row, 'data'), '{"a":[1]}');
  assert.equal(field(row, 'user_agent'), '');
});

test('nothing in a row is a formula to a spreadsheet', () => {
  for (const text of ['=1+1', '+1', '-1', '@x', '\t=1', '\r=1', ' =1', '\u00a0=1', '＝1', '－1']) {
    const shown = field(rowOf({ action: text }), 'action');
    assert.match(shown, /^('|\\u)/, text);
  }
  assert.equal(field(rowOf({ action: 'run.create' }), 'action'), 'run.create');
});

test('nothing in a row ends it, or hides or turns around what it says', () => {
  const hostile = 'a"b,c\r\nd\u001b[2J\u0000\u202e\u200b\u2028\u{e0041}';
  const row = rowOf({ action: hostile });
  assert.equal(row.split('\n').length, 2);
  assert.equal(
    field(row, 'action'),
    'a"b,c\\u000d\\u000ad\\u001b[2J\\u0000\\u202e\\u200b\\u2028\\udb40\\udc41',
  );
});
