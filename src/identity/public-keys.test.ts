import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, type JsonWebKey, type KeyObject } from 'node:crypto';
import { describe, it } from 'node:test';
import { calculateJwkThumbprint } from 'jose';
import { Fault } from '../contract/faults.ts';
import { readPublicKey } from './public-keys.ts';

const jwkOf = (key: KeyObject): Record<string, unknown> => key.export({ format: 'jwk' }) as JsonWebKey & {};
const ed25519 = generateKeyPairSync('ed25519');
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const rsa = (modulusLength: number, publicExponent = 65_537) =>
  generateKeyPairSync('rsa', { modulusLength, publicExponent });
const rsa2048 = rsa(2_048);

function refusal(jwk: Record<string, unknown>): string {
  try {
    readPublicKey(jwk);
  } catch (error) {
    assert(error instanceof Fault && error.code === 'request.invalid', String(error));
    return error.detail;
  }
  assert.fail(`${JSON.stringify(jwk).slice(0, 200)} was taken`);
}

describe('a public key', () => {
  it('of each kind is taken, and known by its thumbprint (RFC 7638)', async () => {
    for (const { publicKey } of [ed25519, p256, rsa2048]) {
      const jwk = jwkOf(publicKey);
      const read = readPublicKey({ ...jwk, kid: 'mine', use: 'sig', alg: 'whatever', key_ops: ['verify'] });
      assert.equal(read.kid, await calculateJwkThumbprint(jwk));
      assert.deepEqual({ ...read, kid: undefined }, { ...jwk, kid: undefined });
    }
    // The example of RFC 7638 §3.1.
    const n =
      '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs' +
      'tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw';
    assert.equal(
      readPublicKey({ kty: 'RSA', n, e: 'AQAB' }).kid,
      'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs',
    );
  });

  it('has one thumbprint however it is spelled', () => {
    const { n } = jwkOf(rsa2048.publicKey);
    const padded = Buffer.concat([Buffer.alloc(1), Buffer.from(String(n), 'base64url')]).toString(
      'base64url',
    );
    const both = [n, padded].map((spelling) => readPublicKey({ kty: 'RSA', n: spelling, e: 'AQAB' }).kid);
    assert.equal(both[0], both[1]);
  });

  it('with any private member is refused, and the answer holds nothing of it', () => {
    for (const { privateKey } of [ed25519, p256, rsa2048]) {
      const jwk = jwkOf(privateKey);
      const detail = refusal(jwk);
      assert.match(detail, /private member/);
      assert(!detail.includes(String(jwk.d).slice(0, 8)));
    }
    assert.match(refusal({ kty: 'oct', k: 'c2VjcmV0' }), /private member k/);
    assert.match(refusal({ ...jwkOf(ed25519.publicKey), d: null }), /private member d/);
  });

  it('that is weak, of another kind or not on its curve is refused', () => {
    assert.match(refusal(jwkOf(rsa(1_024).publicKey)), /1024 bits/);
    assert.match(refusal(jwkOf(rsa(2_048, 3).publicKey)), /exponent/);
    assert.match(refusal(jwkOf(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey)), /neither/);
    assert.match(refusal(jwkOf(generateKeyPairSync('x25519').publicKey)), /neither/);
    const y = createHash('sha256').update('y').digest('base64url');
    assert.match(refusal({ ...jwkOf(p256.publicKey), y }), /not a key/);
    const zero = Buffer.alloc(32).toString('base64url');
    assert.match(refusal({ kty: 'EC', crv: 'P-256', x: zero, y: zero }), /not a key/);
  });

  it('with members of the wrong type, none or strange ones is refused', () => {
    for (const jwk of [
      {},
      { kty: 'RSA' },
      { kty: 'RSA', n: 1, e: 'AQAB' },
      { kty: 'RSA', n: 'A'.repeat(2_001), e: 'AQAB' },
      { kty: 'OKP', crv: 'Ed25519', x: 'AA' },
      { kty: 'OKP', crv: 'Ed25519', x: ['AA'] },
      { kty: ['OKP'], crv: 'Ed25519', x: 'AA' },
      { ...jwkOf(ed25519.publicKey), x5u: 'https://evil.example' },
      { ...jwkOf(ed25519.publicKey), use: 'enc' },
    ])
      refusal(jwk);
  });
});
