import assert from 'node:assert/strict';

/** Bounds of redaction. Characters are UTF-16 code units of what is held or searched, after white space is dropped. */
export const redactionLimits = {
  /** A value with fewer characters is not held: words of ordinary text would be taken for it. */
  valueCharactersMin: 8,
  /** Of a longer value only this much is looked for, from its beginning. */
  valueCharactersMax: 8 * 1024,
  /** A value is looked for in pieces of this length, so that a part of it is found where the rest was cut off. */
  pieceCharacters: 128,
  /** Pieces held at once, in all their spellings; past it a value is refused. Each takes about 350 bytes. */
  piecesMax: 131_072,
  /** The same of one holder, so that nobody takes the room of others. */
  piecesPerHolderMax: 2_048,
  /** How far past the end of what is kept a text is looked at, for a secret that the cut goes through. */
  lookAheadCharacters: 1_024,
  /** Of a name, from its end, and on either side of a word in a text that may be a name. */
  nameCharactersMax: 64,
  namesRememberedMax: 2_048,
  idCharactersMax: 64,
} as const;

/** Characters of a value's piece that find it; the rest of it is compared only where these occur. */
export const windowCharacters = 8;

const escapedCharactersMax = 6;
assert(
  redactionLimits.pieceCharacters * escapedCharactersMax <= redactionLimits.lookAheadCharacters,
  'a piece that begins before the cut is seen whole, even where every character of it is escaped',
);
assert(windowCharacters <= redactionLimits.valueCharactersMin, 'every value that is held has a window');
