import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { describe, test } from 'node:test';
import { domainToASCII } from 'node:url';
import fc from 'fast-check';
import { canonicalHost, canonicalPattern, hostCharactersMax, hostMatches } from './host-name.ts';

const letter = fc.constantFrom(...'abcxyz019_-');
const label = fc.string({ unit: letter, minLength: 1, maxLength: 8 });
const host = fc
  .array(label, { minLength: 1, maxLength: 5 })
  .map((labels) => canonicalHost(labels.join('.')))
  .filter((name) => name !== null);
/** Text made of what attacks on host parsers are made of. */
const hostile = fc.string({
  unit: fc.oneof(
    fc.constantFrom(
      ...'aA09x.-_*%/:@[]?#\\ \t\n\0',
      'xn--',
      '0x',
      '。',
      '．',
      'ａ',
      '１',
      'ß',
      'ü',
      '\u00ad',
    ),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  ),
  maxLength: 24,
});

describe('canonicalHost', () => {
  for (const [text, expected] of [
    ['Example.ORG', 'example.org'],
    ['example.org.', 'example.org'],
    ['localhost', 'localhost'],
    ['_dmarc.example.org', '_dmarc.example.org'],
    ['Bücher.example', 'xn--bcher-kva.example'],
    ['BÜCHER.example', 'xn--bcher-kva.example'],
    ['XN--BCHER-KVA.example', 'xn--bcher-kva.example'],
    ['faß.de', 'xn--fa-hia.de'],
    ['ex。com', 'ex.com'],
    ['ａ.ｃｏｍ', 'a.com'],
    ['a\u00adb.com', 'ab.com'],
    ['1e3', '1e3'],
    ['3com.com', '3com.com'],
    ['a.0xg', 'a.0xg'],
    [`${'a'.repeat(63)}.b`, `${'a'.repeat(63)}.b`],
  ]) {
    test(`${JSON.stringify(text)} is ${expected}`, () => assert.equal(canonicalHost(text!), expected));
  }

  for (const text of [
    '',
    '.',
    '..',
    '.a',
    'a..b',
    'a.b..',
    '127.0.0.1',
    '127.1',
    '127.0.0.1.',
    '0177.0.0.1',
    '0x7f.1',
    '0X7F.1',
    '0x',
    'a.0x',
    'a.1',
    '2130706433',
    '１２７.0.0.1',
    '０x7f.1',
    '①②⑦.①',
    '٣.com',
    '127。0。0。1',
    '[::1]',
    '::1',
    'fe80::1%eth0',
    'fe80--1%lo',
    '%31.com',
    'a b.com',
    ' a.com',
    'a.com ',
    'a.com\n',
    'a\tb.com',
    'a\0.com',
    'a\u0085.com',
    'a\u00a0.com',
    'a.com:80',
    'u@a.com',
    'a.com/',
    'a.com／b',
    'a.com?',
    'a.com#',
    'a\\b',
    '-a.com',
    'a-.com',
    '*.a.com',
    '\u00ad.com',
    '\ud800.com',
    `${'a'.repeat(64)}.b`,
    `${'ü'.repeat(64)}.b`,
    `${'a.'.repeat(127)}b`,
    'a'.repeat(100_000),
  ]) {
    test(`${JSON.stringify(text.slice(0, 40))} is no host`, () => assert.equal(canonicalHost(text), null));
  }

  test('a name of 253 characters is a host and one of 254 is not', () => {
    const longest = `${'a.'.repeat(126)}b`;
    assert.equal(longest.length, hostCharactersMax);
    assert.equal(canonicalHost(longest), longest);
    assert.equal(canonicalHost(`${longest}.`), longest);
    assert.equal(canonicalHost(`a${longest}`), null);
  });

  test('whatever comes, the result is null or its own canonical form, plain ASCII, and no IP address', () => {
    fc.assert(
      fc.property(fc.oneof(hostile, fc.string({ unit: 'binary' })), (text) => {
        const name = canonicalHost(text);
        if (name === null) return;
        assert.equal(canonicalHost(name), name);
        assert.equal(canonicalHost(`${name.toUpperCase()}.`), name);
        assert.match(name, /^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/);
        assert.equal(isIP(name), 0);
        assert.equal(domainToASCII(name), name);
        assert.equal(new URL(`https://${name}/`).hostname, name);
      }),
      { numRuns: 5_000 },
    );
  });

  test('a name that the URL parser reads as an IPv4 address is never a host', () => {
    const part = fc.oneof(
      fc.nat(70_000).map(String),
      fc.nat(70_000).map((n) => `0x${n.toString(16)}`),
      fc.nat(511).map((n) => `0${n.toString(8)}`),
    );
    const spelling = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('.'));
    fc.assert(
      fc.property(spelling, fc.constantFrom('', '.'), (text, dot) => {
        assert.equal(canonicalHost(text + dot), null);
        assert.equal(canonicalHost((text + dot).toUpperCase()), null);
      }),
    );
  });
});

describe('canonicalPattern', () => {
  for (const [text, expected] of [
    ['Example.org.', 'example.org'],
    ['*.Example.org', '*.example.org'],
    ['*.bücher.example', '*.xn--bcher-kva.example'],
  ]) {
    test(`${text} is ${expected}`, () => assert.equal(canonicalPattern(text!), expected));
  }

  for (const text of [
    '*',
    '*.',
    '*.com',
    '*.com.',
    '**.a.b',
    '*.*.a.b',
    'a.*.b',
    'a*.b.c',
    '*a.b',
    '*.1.2',
    '*.-a.b',
    '＊.a.b',
  ]) {
    test(`${text} is no pattern`, () => assert.equal(canonicalPattern(text), null));
  }

  test('whatever comes, the result is null or its own canonical form', () => {
    const starred = hostile.map((text) => `*.${text}`);
    fc.assert(
      fc.property(fc.oneof(hostile, starred), (text) => {
        const pattern = canonicalPattern(text);
        if (pattern !== null) assert.equal(canonicalPattern(pattern), pattern);
      }),
    );
  });
});

describe('hostMatches', () => {
  test('a host names itself alone', () => {
    assert.ok(hostMatches('a.b', 'a.b'));
    for (const name of ['c.a.b', 'ca.b', 'b', 'a.b.c', 'a.bc']) assert.ok(!hostMatches('a.b', name), name);
  });

  test('a star names strict subdomains alone', () => {
    assert.ok(hostMatches('*.a.b', 'c.a.b'));
    assert.ok(hostMatches('*.a.b', 'd.c.a.b'));
    for (const name of ['a.b', 'ca.b', '.a.b', 'b', 'c.a.b.d', 'c.xa.b', 'c-a.b', 'c.a.bb']) {
      assert.ok(!hostMatches('*.a.b', name), name);
    }
  });

  test('matching never crosses labels', () => {
    fc.assert(
      fc.property(host, host, (parent, name) => {
        const wanted = parent.split('.');
        const labels = name.split('.');
        const below =
          labels.length > wanted.length &&
          JSON.stringify(labels.slice(labels.length - wanted.length)) === JSON.stringify(wanted);
        assert.equal(hostMatches(`*.${parent}`, name), below);
        assert.ok(hostMatches(`*.${parent}`, `${name}.${parent}`));
        assert.ok(!hostMatches(`*.${parent}`, `${name}${parent}`));
        assert.equal(hostMatches(parent, name), parent === name);
      }),
    );
  });
});
