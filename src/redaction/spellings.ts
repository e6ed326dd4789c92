import { redactionLimits, windowCharacters } from './limits.ts';
import { NormalText } from './normal-text.ts';

/** How a piece of a value is found in a text that was read as `NormalText`. */
export type Spelling = {
  readonly text: string;
  /** The character before it, or behind it, holds bits of it: groups of base64 do not end where bytes do. */
  readonly sharesFirst: boolean;
  readonly sharesLast: boolean;
};

const { pieceCharacters, valueCharactersMax } = redactionLimits;
const base64Bits = 6;
const scratch = new NormalText(valueCharactersMax);

/**
 * Every spelling of a value that is looked for, in pieces: as it is, in base64 and base64url wherever in a longer text
 * it stands, and in hexadecimal. Escapes of URLs and JSON, white space and line breaks need none: the text is read
 * without. Empty where the value is too short to be told from ordinary words.
 */
export function spellingsOf(value: string | Uint8Array): Spelling[] {
  const text = typeof value === 'string' ? value.slice(0, valueCharactersMax) : null;
  const bytes =
    text === null ? Buffer.from(value as Uint8Array).subarray(0, valueCharactersMax) : Buffer.from(text);
  const plain = text === null ? [] : [read(text), readUnquoted(text)];
  if ((plain[0]?.length ?? bytes.length) < redactionLimits.valueCharactersMin) return [];
  if (text !== null && bytes.length !== text.length) plain.push(read(bytes.toString('latin1')));
  const whole = new Set(plain.filter(({ length }) => length >= windowCharacters));
  return [
    ...[...whole].flatMap((known) => piecesOf(known.length).map((piece) => spelled(known.slice(...piece)))),
    ...piecesOf(bytes.length).flatMap(([from, to]) => encoded(bytes.subarray(from, to))),
  ];
}

function spelled(text: string): Spelling {
  return { text, sharesFirst: false, sharesLast: false };
}

function read(text: string): string {
  const { length } = scratch.read(text, 'plain');
  return scratch.slice(0, length);
}

/** As the decoded reading has it, when what the text holds is what was meant: without quotes and commas. */
function readUnquoted(text: string): string {
  return read(text).replace(/["'`,]/g, '');
}

/** From where to where each piece is; the last reaches back where it would be short. */
function piecesOf(length: number): (readonly [number, number])[] {
  const count = Math.ceil(length / pieceCharacters);
  return Array.from({ length: count }, (_, index) => {
    const from = Math.max(0, Math.min(index * pieceCharacters, length - pieceCharacters));
    return [from, Math.min(from + pieceCharacters, length)] as const;
  });
}

function encoded(bytes: Buffer): Spelling[] {
  const hex = bytes.toString('hex');
  return [...[0, 1, 2].map((before) => base64Core(bytes, before)), spelled(hex), spelled(hex.toUpperCase())];
}

/** The characters of base64 that the bytes alone decide, behind `before` other bytes of a group. */
function base64Core(bytes: Buffer, before: number): Spelling {
  const text = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
  const [first, after] = [(8 * before) / base64Bits, (8 * (before + bytes.length)) / base64Bits];
  return {
    text: text.slice(Math.ceil(first), Math.floor(after)),
    sharesFirst: !Number.isInteger(first),
    sharesLast: !Number.isInteger(after),
  };
}
