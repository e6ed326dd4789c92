/** Sets of ASCII characters that the bodies of tokens are made of; each a table over the 128 codes. */
export type CharacterSet = Readonly<Uint8Array>;

/** The set of the characters of a text, in which `a-z` stands for a range. */
export function characterSet(text: string): CharacterSet {
  const set = new Uint8Array(128);
  for (const [, from, to, one] of text.matchAll(/([a-zA-Z0-9])-([a-zA-Z0-9])|(.)/gs)) {
    const first = (from ?? one)!.charCodeAt(0);
    const last = (to ?? one)!.charCodeAt(0);
    for (let code = first; code <= last; code += 1) set[code] = 1;
  }
  return set;
}

export const characterSets = {
  alphanumeric: characterSet('A-Za-z0-9'),
  /** Of names, and of base64url. */
  word: characterSet('A-Za-z0-9_-'),
  dotted: characterSet('A-Za-z0-9_.-'),
  base64: characterSet('A-Za-z0-9+/=_-'),
  /** What stands behind `Bearer` (RFC 6750 §2.1), and percent-encoded too. */
  token: characterSet('A-Za-z0-9._~+/=%-'),
  lowerHex: characterSet('0-9a-f'),
  hex: characterSet('0-9a-fA-F'),
  upper: characterSet('A-Z0-9'),
  path: characterSet('A-Za-z0-9_/-'),
} as const;

export type CharacterSetName = keyof typeof characterSets;

export function isIn(set: CharacterSet, code: number): boolean {
  return code < 128 && set[code] === 1;
}

/** Where the characters of the set that begin at `from` end. */
export function endOfRun(text: string, from: number, set: CharacterSet): number {
  let end = from;
  while (end < text.length && isIn(set, text.charCodeAt(end))) end += 1;
  return end;
}
