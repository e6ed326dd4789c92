/** What a text is compared as; `decoded` undoes what URLs, JSON and source code do to strings besides. */
export type Reading = 'plain' | 'decoded';

const percent = 0x25;
const backslash = 0x5c;
const [dash, plus, underscore, slash] = [0x2d, 0x2b, 0x5f, 0x2f];
const ascii = 128;

/** White space and control characters, which lines are broken with. */
function isBlank(code: number): boolean {
  return code <= 0x20 || code === 0x7f || code === 0xa0 || code === 0xad || isWideBlank(code);
}

function isWideBlank(code: number): boolean {
  return code >= 0x2000 && (code <= 0x200f || code === 0x2028 || code === 0x2029 || code === 0xfeff);
}

/** Between the strings of a list that was written down. */
function isBetween(code: number): boolean {
  return code === 0x22 || code === 0x27 || code === 0x60 || code === 0x2c;
}

/**
 * A text without what a split secret is split by, in which base64 and base64url are the same, and where each character
 * of it stood. Texts are joined, so that what two neighbours share is found.
 */
export class NormalText {
  /** The characters, `length` of them. */
  readonly codes: Uint16Array;
  length = 0;
  /** Whether the other reading may differ. */
  isCoded = false;
  readonly #from: Uint32Array;
  readonly #to: Uint32Array;

  constructor(charactersMax: number) {
    this.codes = new Uint16Array(charactersMax);
    this.#from = new Uint32Array(charactersMax);
    this.#to = new Uint32Array(charactersMax);
  }

  /** Takes the place of what was read before. A text of at most `charactersMax` characters. */
  read(text: string, reading: Reading): this {
    this.length = 0;
    this.isCoded = false;
    if (reading === 'plain') this.#readPlain(text);
    else this.#readDecoded(text);
    return this;
  }

  /** Where the text held the characters from `first` to before `after`. */
  placeOf(first: number, after: number): { start: number; end: number } {
    return { start: this.#from[first]!, end: this.#to[after - 1]! };
  }

  /** The characters from `first` to before `after`, as text. */
  slice(first: number, after: number): string {
    return String.fromCharCode(...this.codes.subarray(first, after));
  }

  #readPlain(text: string): void {
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (code === percent || code === backslash || isBetween(code)) this.isCoded = true;
      if (!isBlank(code)) this.#push(code, at, at + 1);
    }
  }

  #readDecoded(text: string): void {
    for (let at = 0; at < text.length; ) {
      const { code, end } = decodedAt(text, at);
      if (code >= 0 && !isBlank(code) && !isBetween(code)) this.#push(code, at, end);
      at = end;
    }
  }

  #push(code: number, from: number, to: number): void {
    const index = this.length;
    this.codes[index] = code === dash ? plus : code === underscore ? slash : code;
    this.#from[index] = from;
    this.#to[index] = to;
    this.length = index + 1;
  }
}

/** The character that begins at `at`, decoded; a code of -1 is a line break that was written as an escape. */
function decodedAt(text: string, at: number): { code: number; end: number } {
  const code = text.charCodeAt(at);
  if (code === percent) return hexAt(text, at + 1, 2) ?? { code, end: at + 1 };
  if (code !== backslash || at + 1 >= text.length) return { code, end: at + 1 };
  const letter = text[at + 1]!;
  if (letter === 'u') return hexAt(text, at + 2, 4) ?? { code, end: at + 1 };
  if (letter === 'x') return hexAt(text, at + 2, 2) ?? { code, end: at + 1 };
  if ('nrtbf'.includes(letter)) return { code: -1, end: at + 2 };
  return { code: text.charCodeAt(at + 1), end: at + 2 };
}

function hexAt(text: string, at: number, digits: 2 | 4): { code: number; end: number } | null {
  let code = 0;
  for (let index = at; index < at + digits; index += 1) {
    const digit = hexDigit(text.charCodeAt(index));
    if (digit < 0) return null;
    code = code * 16 + digit;
  }
  return { code, end: at + digits };
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return code < ascii && letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}
