import { hash, randomInt, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { identityLimits } from './limits.ts';

/**
 * The text of a secret: a prefix, 30 random characters of base62 (178 bits) and their CRC-32 in six. The
 * prefix lets secret scanners find leaked ones and tells their kinds apart; the checksum tells a mistyped one
 * without a look-up.
 */
export type SecretForm = {
  /** A new one, at random. */
  make(): string;
  /** Whether the text has the form and the checksum of one. Says nothing about existence. */
  fits(text: string): boolean;
};

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const { secretRandomCharacters, secretChecksumCharacters } = identityLimits;
const body = new RegExp(`^[0-9A-Za-z]{${secretRandomCharacters + secretChecksumCharacters}}$`);

/** The secrets that begin with this prefix. */
export function secretForm(prefix: string): SecretForm {
  return {
    make() {
      let random = '';
      for (let index = 0; index < secretRandomCharacters; index += 1)
        random += alphabet[randomInt(alphabet.length)];
      return `${prefix}${random}${checksumOf(random)}`;
    },
    fits(text) {
      if (!text.startsWith(prefix)) return false;
      const rest = text.slice(prefix.length);
      if (!body.test(rest)) return false;
      return checksumOf(rest.slice(0, secretRandomCharacters)) === rest.slice(secretRandomCharacters);
    },
  };
}

const token = secretForm('sw_');

/** Of an API token: `sw_…`. */
export function newTokenSecret(): string {
  return token.make();
}

/** Whether the text has the form and the checksum of an API token. Says nothing about existence. */
export function isTokenSecret(text: string): boolean {
  return token.fits(text);
}

function checksumOf(random: string): string {
  let rest = crc32(random);
  let text = '';
  for (let index = 0; index < secretChecksumCharacters; index += 1) {
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
