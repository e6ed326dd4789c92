import { randomInt } from 'node:crypto';
import { identityLimits } from './limits.ts';
import { secretHash } from './token-secret.ts';

/** Letters that are told apart on paper: neither i, l, o nor u (Crockford's base32). */
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

/** A new set, each in groups as people write them down. */
export function newRecoveryCodes(): readonly string[] {
  return Array.from({ length: identityLimits.recoveryCodes }, () =>
    Array.from({ length: identityLimits.recoveryCodeGroups }, group).join('-'),
  );
}

function group(): string {
  let text = '';
  for (let index = 0; index < identityLimits.recoveryCodeGroupCharacters; index += 1)
    text += alphabet[randomInt(alphabet.length)];
  return text;
}

/** What is stored of a code, however it was typed: case, spaces and hyphens do not count, nor o for 0 and i or l for 1. */
export function recoveryCodeHash(typed: string): string {
  const plain = typed.toLowerCase().replace(/[\s-]/g, '').replaceAll('o', '0').replace(/[il]/g, '1');
  return secretHash(`recovery ${plain}`);
}
