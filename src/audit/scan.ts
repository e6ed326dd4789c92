import { noHash } from './event.ts';

/**
 * Recognises the ordinary lines of a stream by their bytes alone, four at a time: several times faster than
 * parsing them and writing them anew, which `readLine` does. It is never wrong about a line that it accepts,
 * and whatever it is not sure of (escapes, names beyond ASCII, fractions, deep nesting) it leaves to `readLine`.
 */
export class LineScanner {
  readonly #bytes: Buffer;
  readonly #view: DataView;

  /** At least `scanMarginBytes` follow the newline of every line that is asked about: words reach past it. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /**
   * Where the line at `start` ends, behind its newline, when it is certainly a canonical event that stands at
   * `next` in its stream; -1 where `readLine` must be asked. The line must be UTF-8 and end in a newline, where
   * every scan stops.
   */
  endOfNextLine(start: number, next: NextLine): number {
    let at = this.#steps(start, beforePrev);
    if (at < 0 || !this.#has(at, next.link)) return -1;
    at += next.link.length;
    if (this.#has(at, request[0]!.opening)) at = this.#steps(at, request);
    if (at < 0) return -1;
    at = this.#steps(at, this.#has(at, resource[0]!.opening) ? resource : resourceWithoutId);
    if (at < 0) return -1;
    at = this.#seq(at, next.seq);
    return at >= 0 && this.#has(at, next.ending) ? at + next.ending.length : -1;
  }

  #has(at: number, literal: Literal): boolean {
    const { view, lastAt, lastMask } = literal;
    for (let offset = 0; offset < lastAt; offset += 4) {
      if (this.#view.getInt32(at + offset, true) !== view.getInt32(offset, true)) return false;
    }
    const last = this.#view.getInt32(at + lastAt, true) ^ view.getInt32(lastAt, true);
    return (last & lastMask) === 0;
  }

  // The methods below return the position after what they scanned, or -1 where they are not sure.

  #steps(from: number, steps: readonly Step[]): number {
    let at = from;
    for (let index = 0; index < steps.length; index += 1) {
      const { opening, optional, then } = steps[index]!;
      if (this.#has(at, opening)) {
        at += opening.length;
        if (then === 'string') at = this.#string(at);
        else if (then === 'object') at = this.#object(at, 1);
        else if (then === 'value') at = this.#value(at, 0);
        if (at < 0) return -1;
      } else if (!optional) {
        return -1;
      }
    }
    return at;
  }

  #value(at: number, depth: number): number {
    const first = this.#bytes[at]!;
    if (first === 0x22) return this.#string(at + 1);
    if (first >= 0x31 && first <= 0x39) return this.#integer(at);
    if (first === 0x74) return this.#has(at, trueWord) ? at + 4 : -1;
    if (first === 0x66) return this.#has(at, falseWord) ? at + 5 : -1;
    if (first === 0x6e) return this.#has(at, nullWord) ? at + 4 : -1;
    if (first === 0x30) return isNumberByte(this.#bytes[at + 1]!) ? -1 : at + 1;
    if (depth >= scanDepthMax) return -1;
    if (first === 0x7b) return this.#object(at + 1, depth + 1);
    return first === 0x5b ? this.#array(at + 1, depth + 1) : -1;
  }

  /** From after the opening quote. All bytes but escapes and control characters stand for themselves. */
  #string(from: number): number {
    let at = from;
    while (isPlainWord(this.#view.getInt32(at, true))) at += 4;
    for (; ; at += 1) {
      const byte = this.#bytes[at]!;
      if (byte === 0x22) return at + 1;
      if (byte < 0x20 || byte === 0x5c) return -1;
    }
  }

  /** From after the opening quote. ASCII alone, where the order of bytes is the order of code units. */
  #name(from: number): number {
    for (let at = from; ; at += 1) {
      const byte = this.#bytes[at]!;
      if (byte === 0x22) return at + 1;
      if (byte < 0x20 || byte === 0x5c || byte > 0x7e) return -1;
    }
  }

  /** A positive integer of at most 15 digits, which every double spells the same. */
  #integer(from: number): number {
    const bytes = this.#bytes;
    if (bytes[from]! < 0x31 || bytes[from]! > 0x39) return -1;
    let at = from + 1;
    while (bytes[at]! >= 0x30 && bytes[at]! <= 0x39) at += 1;
    return at - from > 15 || isNumberByte(bytes[at]!) ? -1 : at;
  }

  #seq(from: number, seq: number): number {
    const at = this.#integer(from);
    let value = 0;
    for (let index = from; index < at; index += 1) value = value * 10 + this.#bytes[index]! - 0x30;
    return value === seq ? at : -1;
  }

  #object(from: number, depth: number): number {
    const bytes = this.#bytes;
    if (bytes[from] === 0x7d) return from + 1;
    let at = from;
    let before = -1;
    for (;;) {
      if (bytes[at] !== 0x22) return -1;
      const name = at + 1;
      at = this.#name(name);
      if (at < 0 || bytes[at] !== 0x3a) return -1;
      if (before >= 0 && !isNameBefore(bytes, before, name)) return -1;
      before = name;
      at = this.#value(at + 1, depth);
      if (at < 0) return -1;
      if (bytes[at] === 0x7d) return at + 1;
      if (bytes[at] !== 0x2c) return -1;
      at += 1;
    }
  }

  #array(from: number, depth: number): number {
    if (this.#bytes[from] === 0x5d) return from + 1;
    let at = from;
    for (;;) {
      at = this.#value(at, depth);
      if (at < 0) return -1;
      if (this.#bytes[at] === 0x5d) return at + 1;
      if (this.#bytes[at] !== 0x2c) return -1;
      at += 1;
    }
  }
}

/** Fixed bytes, padded to whole words; `lastMask` tells what of the last word, at `lastAt`, counts. */
type Literal = {
  readonly length: number;
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly lastAt: number;
  readonly lastMask: number;
};

/** How far past a line's newline the scanner may read: the word that holds the newline matches nothing. */
export const scanMarginBytes = 3;
const scanDepthMax = 16;

/** What the next line of a stream must say of its place. */
export class NextLine {
  seq: number;
  readonly link = literal(`,"prev":"${noHash}"`);
  readonly ending: Literal;

  /** `seq` is that of the line before the next. */
  constructor(stream: string, seq: number) {
    this.seq = seq;
    this.ending = literal(`,"stream":${JSON.stringify(stream)},"v":2}\n`);
  }

  advance(prev: string): void {
    this.seq += 1;
    this.link.bytes.write(prev, linkOffset, 'latin1');
  }
}

const linkOffset = ',"prev":"'.length;

function literal(text: string): Literal {
  const bytes = Buffer.from(text);
  const padded = Buffer.alloc(4 * Math.ceil(bytes.length / 4));
  bytes.copy(padded);
  const over = padded.length - bytes.length;
  return {
    length: bytes.length,
    bytes: padded,
    view: new DataView(padded.buffer, padded.byteOffset, padded.byteLength),
    lastMask: -1 >>> (8 * over),
    lastAt: padded.length - 4,
  };
}

type Step = {
  readonly opening: Literal;
  /** An object's opening brace belongs to the opening. */
  readonly then: 'string' | 'object' | 'value' | 'nothing';
  readonly optional: boolean;
};

function step(text: string, then: Step['then'], optional = false): Step {
  return { opening: literal(text), then, optional };
}

const beforePrev = [
  step('{"action":"', 'string'),
  step(',"actor":{"id":"', 'string'),
  step(',"kind":"', 'string'),
  step(',"onBehalfOf":"', 'string', true),
  step(',"token":"', 'string', true),
  step('},"at":"', 'string'),
  step(',"data":{', 'object', true),
  step(',"decision":{"allow":', 'value'),
  step(',"rule":"', 'string'),
  step('},"id":"', 'string'),
  step(',"of":"', 'string', true),
  step(',"outcome":"', 'string'),
  step(',"phase":"', 'string'),
];
const request = [
  step(',"request":{"address":', 'value'),
  step(',"id":"', 'string'),
  step(',"userAgent":', 'value'),
  step('}', 'nothing'),
];
const resourceSession = [step(',"session":"', 'string', true), step('},"seq":', 'nothing')];
const resource = [step(',"resource":{"id":"', 'string'), step(',"kind":"', 'string'), ...resourceSession];
const resourceWithoutId = [step(',"resource":{"kind":"', 'string'), ...resourceSession];
const trueWord = literal('true');
const falseWord = literal('false');
const nullWord = literal('null');

/** Whether none of four bytes is a quote, a backslash or below 0x20: the borrow of a subtraction shows a hit. */
function isPlainWord(word: number): boolean {
  const quote = word ^ 0x22222222;
  const backslash = word ^ 0x5c5c5c5c;
  const control = (word - 0x20202020) & ~word;
  const other = ((quote - 0x01010101) & ~quote) | ((backslash - 0x01010101) & ~backslash);
  return ((control | other) & 0x80808080) === 0;
}

function isNumberByte(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || byte === 0x2e || byte === 0x65 || byte === 0x45;
}

/** Whether the name at `first` sorts before the one at `second`; both end at a quote, and equal ones do not. */
function isNameBefore(bytes: Buffer, first: number, second: number): boolean {
  for (let index = 0; ; index += 1) {
    const a = bytes[first + index]!;
    const b = bytes[second + index]!;
    if (b === 0x22) return false;
    if (a === 0x22) return true;
    if (a !== b) return a < b;
  }
}
