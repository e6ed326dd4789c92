import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isOwnPath } from './sign-in-page.ts';

const own = 'https://sealwright.example';

/** Where a browser ends up: by the text itself, and by its path once that was resolved. */
function originsOf(text: string): readonly string[] {
  const { pathname, search, hash } = new URL(text, own);
  return [text, pathname + search + hash].map((one) => new URL(one, own).origin);
}

test('a page of our own is one, whatever is done with its address', () => {
  for (const path of ['/', '/account', '/device#BCDF-GHJK', '/a/../b', '/a//b', '/x?next=//evil.example']) {
    assert.equal(isOwnPath(path), true, path);
    assert.deepEqual(originsOf(path), [own, own], path);
  }
});

test('what becomes the address of another site on the way is none', () => {
  const elsewhere = [
    '/.//evil.example',
    '/..//evil.example',
    '/%2e//evil.example/x',
    '/%2E%2e//evil.example',
    '/a/..//evil.example',
    '/a/b/../..//evil.example?x#y',
    '/././/evil.example',
  ];
  for (const path of elsewhere) {
    assert.notEqual(originsOf(path)[1], own, `${path} is hostile`);
    assert.equal(isOwnPath(path), false, path);
  }
  for (const path of [
    '//evil.example',
    '/\\evil.example',
    '/\t/evil.example',
    'javascript:alert(1)',
    '',
    'x',
  ])
    assert.equal(isOwnPath(path), false, path);
});
