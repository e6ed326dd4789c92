import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isTokenSecret, newTokenSecret, sameHash, secretForm, secretHash } from './token-secret.ts';

describe('a token secret', () => {
  it('has a prefix that scanners know and a checksum that holds', () => {
    for (let count = 0; count < 200; count += 1) {
      const secret = newTokenSecret();
      assert.match(secret, /^sw_[0-9A-Za-z]{36}$/);
      assert(isTokenSecret(secret));
    }
  });

  it('with one character changed is refused', () => {
    const secret = newTokenSecret();
    for (let at = 0; at < secret.length; at += 1)
      for (const other of ['0', 'A', 'z', '-', ' ']) {
        if (secret[at] === other) continue;
        assert(!isTokenSecret(secret.slice(0, at) + other + secret.slice(at + 1)), `character ${at}`);
      }
  });

  it('is never any other text', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => !isTokenSecret(text)));
    for (const text of [
      '',
      'sw_',
      `${newTokenSecret()}\n`,
      ` ${newTokenSecret()}`,
      newTokenSecret().slice(1),
    ])
      assert(!isTokenSecret(text));
  });

  it('of one kind is never taken for one of another', () => {
    const forms = ['sw_', 'sws_', 'swb_', 'swr_'].map(secretForm);
    for (const form of forms)
      for (const other of forms) assert.equal(other.fits(form.make()), form === other);
  });

  it('is not known from its hash, and hashes are compared whole', () => {
    const hash = secretHash('sw_x');
    assert.match(hash, /^[0-9a-f]{64}$/);
    assert(sameHash(hash, hash) && !sameHash(hash, secretHash('sw_y')) && !sameHash(hash, hash.slice(1)));
  });
});
