import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { dictionary } from '@zxcvbn-ts/language-common';
import { identityLimits } from '../src/identity/limits.ts';
import { foldPassword } from '../src/identity/password-rules.ts';

/**
 * Writes src/identity/known-passwords.ts: the passwords that everybody knows and that are long enough to be one here,
 * folded, sorted and compressed. Run it when the package that lists them changes; a test compares.
 */

const file = join(import.meta.dirname, '../src/identity/known-passwords.ts');
const lineCharacters = 1_000;

/** Each password that the rules would otherwise take, folded, in order. */
export function listCommonPasswords(): readonly string[] {
  const folded = dictionary['passwords-common'].map((password) => foldPassword(String(password)));
  const long = folded.filter((password) => [...password].length >= identityLimits.passwordCharactersMin);
  return [...new Set(long)].sort();
}

function write(): void {
  const packed = brotliCompressSync(listCommonPasswords().join('\n')).toString('base64');
  const lines = packed.match(new RegExp(`.{1,${lineCharacters}}`, 'g')) ?? [];
  const text = [
    '/** Brotli of one password a line, in base64. Made by tools/known-passwords.ts; do not edit. */',
    'export const packedCommonPasswords = `',
    ...lines,
    '`;',
    '',
  ].join('\n');
  writeFileSync(file, text);
  console.log(`${readFileSync(file).length} bytes`);
}

if (import.meta.main) write();
