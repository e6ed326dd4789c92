import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { normalPath } from './target.ts';

/** Each with a path like it that is taken. */
const refused: readonly (readonly [why: string, hostile: string, control: string])[] = [
  ['no leading slash', 'a/b', '/a/b'],
  ['nothing', '', '/'],
  ['* with more', '*/a', '*'],
  ['a query', '/a?b', '/a%3Fb'],
  ['a fragment', '/a#b', '/a%23b'],
  ['an absolute URL', 'http://a/b', '/http:/a/b'],
  ['an empty segment', '/a//b', '/a/b'],
  ['an empty first segment', '//a.example/b', '/a.example/b'],
  ['empty last segments', '/a//', '/a/'],
  ['a dot segment', '/a/./b', '/a/.b/b'],
  ['a dot segment at the end', '/a/.', '/a/a.'],
  ['a parent segment', '/a/../b', '/a/.../b'],
  ['a parent segment at the end', '/a/..', '/a/..a'],
  ['an encoded dot segment', '/a/%2e/b', '/a/%2eb/b'],
  ['an encoded parent segment', '/a/%2e%2E/b', '/a/%2e%2E%2e/b'],
  ['a half-encoded parent segment', '/a/.%2e/b', '/a/.%2eb'],
  ['a parameter', '/a;b=c', '/a%3Bb=c'],
  ['a parent segment behind a parameter', '/a/..;/b', '/a/..%3B/b'],
  ['an encoded slash', '/a%2fb', '/a%2eb'],
  ['an encoded slash in upper case', '/a%2Fb', '/a%2Eb'],
  ['a backslash', '/a\\b', '/a/b'],
  ['an encoded backslash', '/a%5cb', '/a%5Bb'],
  ['NUL', '/a%00', '/a%30'],
  ['an encoded line break', '/a%0d%0ab', '/a%20b'],
  ['an encoded control byte', '/a%1fb', '/a%21b'],
  ['an encoded DEL', '/a%7f', '/a%7e'],
  ['a percent sign alone', '/a%', '/a%25'],
  ['one hex digit', '/a%4', '/a%41'],
  ['a digit that is not hex', '/a%4g', '/a%4f'],
  ['an IIS escape', '/a%u002fb', '/a%25u'],
  ['a doubly encoded IIS escape', '/a%25u002fb', '/a%25u00/2fb'],
  ['double encoding', '/a%252fb', '/a%25/2fb'],
  ['double encoding of a dot', '/a/%252e%252e/b', '/a/%25.%25./b'],
  ['double encoding that is itself encoded', '/a%25%32%66b', '/a%25%32/b'],
  ['triple encoding', '/a%25252f', '/a%25%25'],
  ['an overlong slash', '/a%c0%afb', '/a%c3%afb'],
  ['an overlong dot', '/%c0%ae%c0%ae/b', '/%c2%ae%c2%ae/b'],
  ['an overlong slash of three bytes', '/a%e0%80%afb', '/a%e0%a0%afb'],
  ['a raw byte that is not ASCII', '/\xe9', '/%e9'],
  ['a raw character that is not a byte', '/\u2044', '/%E2%81%84'],
  ['white space', '/a b', '/a%20b'],
  ['a tab', '/a\tb', '/a%2Bb'],
  ['a raw NUL', '/a\0b', '/a0b'],
  ['a line break at the end', '/a\n', '/a'],
  ['a bracket, which RFC 3986 has encoded', '/a[b]', '/a%5Bb%5D'],
  ['8,193 characters', `/${'a'.repeat(8192)}`, `/${'a'.repeat(8191)}`],
];

for (const [why, hostile, control] of refused) {
  test(`${why} has no normal form`, () => {
    assert.equal(normalPath(hostile), null);
    assert.notEqual(normalPath(control), null);
  });
}

test('unreserved characters are decoded and other bytes keep upper-case hex', () => {
  assert.equal(normalPath('/%41%7a%30%2d%2E%5f%7E'), '/Az0-._~');
  assert.equal(normalPath('/caf%c3%a9/%40scope/@scope'), '/caf%C3%A9/%40scope/@scope');
  assert.equal(normalPath("/a!$&'()*+,=:@b/"), "/a!$&'()*+,=:@b/");
  assert.equal(normalPath('*'), '*');
});

/** Likely to come out of a path that somebody tries to get past a rule. */
const pieces = [
  '/',
  '.',
  '..',
  ';',
  '\\',
  '%',
  '%2',
  '%2e',
  '%2F',
  '%5c',
  '%25',
  '%c0',
  '%af',
  'a',
  '41',
  '?',
  '\0',
];
const hostilePath = fc
  .array(fc.oneof(fc.constantFrom(...pieces), fc.string({ maxLength: 3 })), { maxLength: 12 })
  .map((parts) => `/${parts.join('')}`);
/** Of bytes that mostly are taken, each raw or encoded. */
const likelyPath = fc
  .array(fc.tuple(fc.integer({ min: 0x21, max: 0xff }), fc.boolean()), { maxLength: 20 })
  .map((bytes) => {
    const isRaw = (byte: number): boolean => /[A-Za-z0-9\-._~@=/]/.test(String.fromCharCode(byte));
    const write = ([byte, raw]: [number, boolean]): string =>
      raw && isRaw(byte) ? String.fromCharCode(byte) : `%${byte.toString(16)}`;
    return `/${bytes.map(write).join('')}`;
  });

test('a normal form is its own normal form, and decodes to what the path decodes to', () => {
  let taken = 0;
  fc.assert(
    fc.property(fc.oneof(hostilePath, likelyPath), (raw) => {
      const normal = normalPath(raw);
      if (normal === null) return;
      taken++;
      assert.equal(normalPath(normal), normal);
      assert.equal(unescape(normal), unescape(raw));
    }),
    { numRuns: 5_000 },
  );
  assert.ok(taken > 500, `${taken} were taken`);
});

test('however servers decode or resolve a normal form, they get the same segments', () => {
  fc.assert(
    fc.property(fc.oneof(hostilePath, likelyPath), (raw) => {
      const normal = normalPath(raw);
      if (normal === null) return;
      assert.equal(new URL(`http://a.example${normal}`).pathname, normal);
      assert.equal(unescape(normal).split(/[/\\]/).length, normal.split('/').length);
      assert.equal(unescape(unescape(normal)), unescape(normal));
    }),
    { numRuns: 5_000 },
  );
});
