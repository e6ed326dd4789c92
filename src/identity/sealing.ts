import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { Fault } from '../contract/faults.ts';

/**
 * What must be read again and may not lie open in the store: AES-256-GCM (NIST SP 800-38D) under a key of its own for
 * each purpose, derived from the master key (RFC 5869). The purpose is authenticated too, so what was sealed as one
 * thing never opens as another, nor in the row of somebody else when the purpose names the row.
 */
export type Sealing = {
  /** Text that only this master key opens again, and only for this purpose. */
  seal(purpose: string, plain: string): string;
  /** Throws Fault `store.unavailable` where it was sealed under another key or purpose, or was changed. */
  unseal(purpose: string, sealed: string): string;
};

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const version = 'v1.';

/** `key` is 32 random bytes that stand in a file of their own, never in the store. */
export function openSealing(key: Buffer): Sealing {
  assert(key.length === keyBytes, 'a master key has 32 bytes');
  const keyOf = (purpose: string) =>
    Buffer.from(hkdfSync('sha256', key, '', `sealwright ${purpose}`, keyBytes));
  return {
    seal(purpose, plain) {
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv('aes-256-gcm', keyOf(purpose), nonce).setAAD(Buffer.from(purpose));
      const body = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final()]);
      return version + Buffer.concat([nonce, body, cipher.getAuthTag()]).toString('base64url');
    },
    unseal(purpose, sealed) {
      try {
        assert(sealed.startsWith(version));
        const bytes = Buffer.from(sealed.slice(version.length), 'base64url');
        const body = bytes.subarray(nonceBytes, -tagBytes);
        const decipher = createDecipheriv('aes-256-gcm', keyOf(purpose), bytes.subarray(0, nonceBytes))
          .setAAD(Buffer.from(purpose))
          .setAuthTag(bytes.subarray(-tagBytes));
        return Buffer.concat([decipher.update(body), decipher.final()]).toString('utf8');
      } catch (cause) {
        throw new Fault('store.unavailable', {
          detail:
            'A sealed value of the store cannot be opened. Restore identity.key from the backup of the store.',
          cause,
        });
      }
    },
  };
}
