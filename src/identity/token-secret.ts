import { hash, randomInt, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { identityLimits } from './limits.ts';

/**
 * The text of an API token: `sw_`, 30 random characters of base62 (178 bits) and their CRC-32 in six. The
 * prefix lets secret scanners find leaked tokens; the checksum tells a mistyped one without a look-up.
 */
const prefix = 'sw_';
const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const pattern = new RegExp(
  `^${prefix}[0-9A-Za-z]{${identityLimits.secretRandomCharacters + identityLimits.secretChecksumCharacters}}$`,
);

export function newTokenSecret(): string {
  let body = '';
  for (let index = 0; index < identityLimits.secretRandomCharacters; index += 1)
    body += alphabet[randomInt(alphabet.length)];
  return `${prefix}${body}${checksumOf(body)}`;
}

/** Whether the text has the form and the checksum of a token. Says nothing about existence. */
export function isTokenSecret(text: string): boolean {
  if (!pattern.test(text)) return false;
  const end = prefix.length + identityLimits.secretRandomCharacters;
  return checksumOf(text.slice(prefix.length, end)) === text.slice(end);
}

function checksumOf(body: string): string {
  let rest = crc32(body);
  let text = '';
  for (let index = 0; index < identityLimits.secretChecksumCharacters; index += 1) {
    text = alphabet[rest % alphabet.length] + text;
    rest = Math.floor(rest / alphabet.length);
  }
  return text;
}

/** What is stored in place of a secret: SHA-256, hex. Enough for a secret that cannot be guessed. */
export function secretHash(secret: string): string {
  return hash('sha256', secret, 'hex');
}

/** Takes the same time wherever the hashes differ. */
export function sameHash(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
