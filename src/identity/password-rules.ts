import { brotliDecompressSync } from 'node:zlib';
import { packedCommonPasswords } from './known-passwords.ts';
import { identityLimits } from './limits.ts';

/** Whose password it is to be: it must not hold what everybody knows of them. */
export type PasswordOwner = {
  readonly name: string;
  readonly displayName: string | null;
  readonly email: string | null;
};

/** Where the password is to be used: what it is called there is what others try first. */
export type PasswordPlace = {
  readonly publicUrl: string;
  /** Words of the company, in any case. */
  readonly words: readonly string[];
};

/**
 * The one form in which a password is hashed and compared: Unicode NFC (RFC 8265 §4.2), so that keyboards that write
 * the same letter in other ways make the same password. Nothing is trimmed, folded or mapped.
 */
export function canonicalPassword(text: string): string {
  return text.normalize('NFC');
}

/** Alike for the look-up of common passwords: compatibility forms and case do not count. */
export function foldPassword(text: string): string {
  return text.normalize('NFKC').toLowerCase();
}

/**
 * Why nobody should have this password, or null where it will do: length, what everybody tries, what everybody knows
 * of its owner, and what it is for (NIST SP 800-63B §3.1.1.2). There are no rules of composition.
 */
export function passwordProblem(text: string, owner: PasswordOwner, place: PasswordPlace): string | null {
  const { passwordCharactersMin: min, passwordCharactersMax: max } = identityLimits;
  if (text.includes('\0') || !text.isWellFormed()) return 'has a NUL or is not well-formed Unicode';
  const characters = [...canonicalPassword(text)].length;
  if (characters < min) return `is shorter than ${min} characters`;
  if (characters > max) return `is longer than ${max} characters`;
  const folded = foldPassword(text);
  if (commonPasswords().has(folded)) return 'is on the list of passwords that attackers try first';
  if (new Set(folded).size < identityLimits.passwordDistinctMin) return 'repeats the same few characters';
  if (ownWords(owner).some((word) => folded.includes(word))) return 'holds your name or e-mail address';
  if (isMadeOf(folded, wordsOfPlace(place))) return 'is made of words of the product or of your company';
  return null;
}

/** Words of less than four characters are in too many passwords by chance. */
function ownWords({ name, displayName, email }: PasswordOwner): string[] {
  const words = [name, email ?? '', email?.split('@')[0] ?? '', ...(displayName ?? '').split(/\s+/u)];
  return words
    .map(foldPassword)
    .filter((word) => [...word].length >= identityLimits.passwordOwnWordCharactersMin);
}

const product = 'sealwright';

/** The product, the labels of its host, and the company's own words; longest first, because one may hold another. */
function wordsOfPlace({ publicUrl, words }: PasswordPlace): string[] {
  const labels = new URL(publicUrl).hostname
    .split('.')
    .filter((label) => label.length >= identityLimits.passwordOwnWordCharactersMin);
  return [product, ...labels, ...words].map(foldPassword).sort((a, b) => b.length - a.length);
}

/** Whether nothing but those words is in it, besides digits, punctuation and spaces. */
function isMadeOf(folded: string, words: readonly string[]): boolean {
  const rest = words.reduce((text, word) => text.replaceAll(word, ' '), folded);
  return rest !== folded && !/\p{L}/u.test(rest);
}

let common: ReadonlySet<string> | null = null;

/** Unpacked once, when the first password is chosen: about 18,000 words. */
export function commonPasswords(): ReadonlySet<string> {
  common ??= new Set(
    brotliDecompressSync(Buffer.from(packedCommonPasswords, 'base64')).toString('utf8').split('\n'),
  );
  return common;
}
