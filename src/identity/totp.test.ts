import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newTotp, totpCode, totpStep } from './totp.ts';

/** The secret of RFC 6238 appendix B, in base32. */
const secret = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';

describe('one-time codes', () => {
  it('are those of RFC 6238 appendix B, by their last six digits', () => {
    for (const [seconds, code] of [
      [59, '287082'],
      [1_111_111_109, '081804'],
      [1_111_111_111, '050471'],
      [1_234_567_890, '005924'],
      [2_000_000_000, '279037'],
      [20_000_000_000, '353130'],
    ] as const) {
      assert.equal(totpCode(secret, seconds * 1000), code);
      assert.equal(totpStep(secret, code, seconds * 1000), Math.floor(seconds / 30));
    }
  });

  it('are taken one step early and late, as the step that they are of, and no further', () => {
    const now = 1_111_111_111_000;
    const step = Math.floor(now / 30_000);
    for (const [away, taken] of [
      [-2, null],
      [-1, step - 1],
      [1, step + 1],
      [2, null],
    ] as const)
      assert.equal(totpStep(secret, totpCode(secret, now + away * 30_000), now), taken, String(away));
  });

  it('are six digits and nothing that looks like them', () => {
    const now = 59_000;
    for (const bad of [
      '',
      '28708',
      '2870822',
      ' 287082',
      '287082\n',
      '２８７０８２',
      '+28708',
      '0x2870',
      '1e5',
    ])
      assert.equal(totpStep(secret, bad, now), null, JSON.stringify(bad));
  });

  it('come from a new secret of 160 bits for everybody, which the address carries whatever the name is', () => {
    const { secret: made, uri } = newTotp('a b/c:d@e', 'seal.example:8443');
    assert.match(made, /^[A-Z2-7]{32}$/);
    assert.notEqual(newTotp('a', 'b').secret, made);
    const parsed = new URL(uri);
    assert.deepEqual([parsed.protocol, parsed.searchParams.get('secret')], ['otpauth:', made]);
  });
});
