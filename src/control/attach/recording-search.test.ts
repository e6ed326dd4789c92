import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PlainLines } from '../../base/plain-lines.ts';
import { controlAttachLimits } from './limits.ts';
import { RecordingSearch } from './recording-search.ts';

const header = JSON.stringify({ version: 2, width: 80, height: 24 });
const cast = (...events: readonly (readonly [number, string, string])[]) =>
  Buffer.from([header, ...events.map((event) => JSON.stringify(event)), ''].join('\n'));

function found(text: string, bytes: Buffer, limit = 100, chunk = bytes.length) {
  const search = new RecordingSearch(text, limit);
  for (let at = 0; at < bytes.length; at += chunk) search.push(bytes.subarray(at, at + chunk));
  search.end();
  return search.matches;
}

function lines(text: string): string[] {
  const all: string[] = [];
  const plain = new PlainLines(
    { drawnOver: 'kept', charactersMax: controlAttachLimits.searchTextCharactersMax },
    (line) => all.push(line),
  );
  plain.push(text, 0);
  plain.end();
  return all;
}

test('a text is found with its line and when that began, over events, colours and case', () => {
  const bytes = cast([0.5, 'o', '$ make\r\n'], [1.5, 'o', '\x1b[31mFa'], [2, 'o', 'tal\x1b[0m: no rule\r\n']);
  assert.deepEqual(found('fatal: NO', bytes), [{ at: 1.5, line: 'Fatal: no rule' }]);
  assert.deepEqual(found('nothing', bytes), []);
});

test('the same is found however the bytes come, characters that are split among them', () => {
  const bytes = cast([1, 'o', 'grüße aus köln 🙂\r\n'], [2, 'o', 'more\r\n']);
  for (let chunk = 1; chunk < 12; chunk += 1)
    assert.deepEqual(found('köln 🙂', bytes, 10, chunk), [{ at: 1, line: 'grüße aus köln 🙂' }]);
});

test('input, markers, broken lines and what is no event are passed over', () => {
  const bytes = Buffer.concat([
    cast([1, 'i', 'secret\r\n'], [2, 'm', 'secret']),
    Buffer.from('[1,"o"\nnull\n{"a":1}\n["x","o","secret"]\n[3,"o","shown secret\\r\\n"]\n[4,"o","secr'),
  ]);
  assert.deepEqual(found('secret', bytes), [{ at: 3, line: 'shown secret' }]);
});

test('no more is answered than was asked for', () => {
  const bytes = cast(...Array.from({ length: 50 }, (_, at) => [at, 'o', 'hit\r\n'] as const));
  assert.equal(found('hit', bytes, 7).length, 7);
});

test('nothing that makes a terminal do something is left in a line', () => {
  const hostile = [
    ['\x1b]52;c;cm0gLXJm\x07text', ['text']],
    ['\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\', ['link']],
    ['\x1b]0;title\x9ctext', ['text']],
    ['\x1bP$q"p\x1b\\text', ['text']],
    ['\x1b_apc\x1b\\te\x1b^pm\x1b\\xt', ['text']],
    ['\x9b31mte\x9b0mxt', ['text']],
    ['\x90q\x9ctext', ['text']],
    ['te\x1b[>0cxt\x1b(B', ['text']],
    ['te\u202ext\u200b\u2066', ['text']],
    ['te\x00\x05\x7fxt', ['text']],
    ['\x1b]endless string', []],
    ['\x1b]string\x18text', ['text']],
    ['one\x1b[2;5Htwo', ['one', 'two']],
    ['10%\r20%\rdone\r\n', ['10%', '20%', 'done']],
    ['a\bb', ['b']],
  ] as const;
  for (const [text, expected] of hostile) assert.deepEqual(lines(text), expected, JSON.stringify(text));
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...hostile.map(([text]) => text), 'x', '\x1b', '[', ']', '\x07')),
      (all) => {
        for (const line of lines(all.join('')))
          assert.doesNotMatch(line, /[\p{Cc}\u200b-\u200f\u202a-\u202e]/u);
      },
    ),
  );
});

test('a line without end and a string without end stay within their bounds', () => {
  const long = lines('x'.repeat(3 * controlAttachLimits.searchTextCharactersMax + 1));
  assert.deepEqual(
    long.map(({ length }) => length),
    [...Array.from({ length: 3 }, () => controlAttachLimits.searchTextCharactersMax), 1],
  );
  const search = new RecordingSearch('hit', 10);
  search.push(Buffer.from(`${header}\n`));
  for (let count = 0; count < 64; count += 1) search.push(Buffer.alloc(256 * 1024, 'x'));
  search.push(Buffer.from('\n[7,"o","hit\\r\\n"]\n'));
  assert.deepEqual(search.matches, [{ at: 7, line: 'hit' }]);
});
