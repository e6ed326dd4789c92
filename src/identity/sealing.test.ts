import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { openSealing } from './sealing.ts';

const closed = { code: 'store.unavailable' };

describe('what is sealed', () => {
  const key = randomBytes(32);
  const sealing = openSealing(key);

  it('opens again under the same key and purpose, whatever it holds', () => {
    for (const plain of ['', 'a', 'ünïcödé\0\n', 'x'.repeat(10_000)])
      assert.equal(openSealing(key).unseal('totp ann', sealing.seal('totp ann', plain)), plain);
  });

  it('shows nothing of itself, and is different each time', () => {
    const [one, two] = [sealing.seal('totp ann', 'secret'), sealing.seal('totp ann', 'secret')];
    assert.notEqual(one, two);
    assert(!Buffer.from(one.slice(3), 'base64url').includes('secret'));
  });

  it('opens under no other purpose and no other key', () => {
    const sealed = sealing.seal('totp ann', 'secret');
    assert.throws(() => sealing.unseal('totp bob', sealed), closed);
    assert.throws(() => sealing.unseal('key ann', sealed), closed);
    assert.throws(() => openSealing(randomBytes(32)).unseal('totp ann', sealed), closed);
  });

  it('does not open once one bit of it changed, or where it is cut', () => {
    const sealed = sealing.seal('totp ann', 'secret');
    const bytes = Buffer.from(sealed.slice(3), 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      assert.throws(() => sealing.unseal('totp ann', `v1.${changed.toString('base64url')}`), closed);
    }
    for (const text of ['', 'v1.', `v2.${sealed.slice(3)}`, sealed.slice(0, -4)])
      assert.throws(() => sealing.unseal('totp ann', text), closed);
  });
});
