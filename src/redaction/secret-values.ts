import { hash, randomBytes } from 'node:crypto';
import { redactionLimits, windowCharacters } from './limits.ts';
import { NormalText } from './normal-text.ts';
import type { Span } from './spans.ts';
import { type Spelling, spellingsOf } from './spellings.ts';

export type Held = 'held' | 'too-short' | 'full';

/** A piece of a value in one spelling, by hashes alone. */
type Needle = Omit<Spelling, 'text'> & {
  readonly length: number;
  /** Of its first window and of one in the middle; the last is what it is filed under. */
  readonly head: number;
  readonly middle: number;
  readonly tail: number;
  readonly digest: string;
  /** What stands in its place: the id of who held it first. */
  readonly id: string;
  holders: number;
};

const idPattern = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const filterBits = 18;
const textCharacters = 8 * 1024;
const paddingMax = 2;
const equals = 0x3d;
const staleMarksMin = 64;

/**
 * The values that are secret while somebody holds them, by what this process can find them with and no more: it keeps
 * three rolling hashes and a salted SHA-256 of each piece, never a value.
 *
 * Texts are searched in one pass whose cost does not grow with the number of values. Found are a value as it is, in
 * base64 and base64url (inside longer ones too), in hexadecimal, percent-encoded and escaped in any mixture, split over
 * white space, lines and neighbouring strings, and in pieces of `pieceCharacters`. Not found are values under
 * `valueCharactersMin`, and spellings that are made to hide: reversed, compressed, encrypted, encoded twice.
 */
export class SecretValues {
  readonly #salt = randomBytes(16).toString('hex');
  /** Odd, and unknown outside, so that nobody can make texts that collide. */
  readonly #base = randomBytes(4).readUInt32LE() | 1;
  readonly #leaving = power(this.#base, windowCharacters);
  readonly #byTail = new Map<number, Needle[]>();
  readonly #byDigest = new Map<string, Needle>();
  readonly #byHolder = new Map<string, Set<Needle>>();
  readonly #filter = new Uint8Array(1 << (filterBits - 3));
  readonly #text = new NormalText(textCharacters);
  #staleMarks = 0;

  /** Pieces held, in all their spellings. */
  get size(): number {
    return this.#byDigest.size;
  }

  /**
   * Looks for a value until its holder (a run, say) lets go. `id` stands in its place. `too-short` and `full` hold
   * nothing: then this value is not found. Throws TypeError where `id` is no name for a marker.
   */
  hold(holder: string, id: string, value: string | Uint8Array): Held {
    if (!idPattern.test(id)) throw new TypeError('the id of a secret value is not fit for a marker');
    const spellings = spellingsOf(value);
    if (spellings.length === 0) return 'too-short';
    const held = this.#byHolder.get(holder) ?? new Set<Needle>();
    const isHeld = ({ text }: Spelling) => held.has(this.#byDigest.get(this.#digest(text))!);
    const more = spellings.filter((spelling) => !isHeld(spelling));
    const { piecesMax, piecesPerHolderMax } = redactionLimits;
    if (held.size + more.length > piecesPerHolderMax) return 'full';
    if (this.size + more.length > piecesMax) return 'full';
    for (const spelling of more) if (!isHeld(spelling)) held.add(this.#add(spelling, id));
    this.#byHolder.set(holder, held);
    return 'held';
  }

  /** Forgets what this holder held, unless another holds it too. */
  letGo(holder: string): void {
    for (const needle of this.#byHolder.get(holder) ?? []) this.#remove(needle);
    this.#byHolder.delete(holder);
  }

  /** What a text holds of the values; perhaps overlapping. Linear in its length. */
  spansIn(text: string): Span[] {
    if (this.size === 0 || text.length < windowCharacters) return [];
    const spans: Span[] = [];
    const normal = text.length <= textCharacters ? this.#text : new NormalText(text.length);
    this.#search(normal.read(text, 'plain'), spans);
    if (normal.isCoded) this.#search(normal.read(text, 'decoded'), spans);
    return spans;
  }

  #add({ text, ...shares }: Spelling, id: string): Needle {
    const digest = this.#digest(text);
    const known = this.#byDigest.get(digest);
    if (known !== undefined) {
      known.holders += 1;
      return known;
    }
    const needle: Needle = {
      length: text.length,
      head: this.#windowOf(text, 0),
      middle: this.#windowOf(text, middleOf(text.length)),
      tail: this.#windowOf(text, text.length - windowCharacters),
      ...{ ...shares, digest, id, holders: 1 },
    };
    this.#byDigest.set(digest, needle);
    const same = this.#byTail.get(needle.tail);
    if (same === undefined) this.#byTail.set(needle.tail, [needle]);
    else same.push(needle);
    this.#mark(needle.tail);
    return needle;
  }

  #remove(needle: Needle): void {
    needle.holders -= 1;
    if (needle.holders > 0) return;
    this.#byDigest.delete(needle.digest);
    const rest = this.#byTail.get(needle.tail)!.filter((other) => other !== needle);
    if (rest.length === 0) this.#byTail.delete(needle.tail);
    else this.#byTail.set(needle.tail, rest);
    // A mark may be shared, so they go all at once, when many are stale.
    this.#staleMarks += 1;
    if (this.#staleMarks > this.size + staleMarksMin) this.#markAll();
  }

  #mark(tail: number): void {
    const bit = tail >>> (32 - filterBits);
    this.#filter[bit >> 3]! |= 1 << (bit & 7);
  }

  #markAll(): void {
    this.#filter.fill(0);
    this.#staleMarks = 0;
    for (const tail of this.#byTail.keys()) this.#mark(tail);
  }

  #search(text: NormalText, spans: Span[]): void {
    const { codes, length } = text;
    const base = this.#base;
    const leaving = this.#leaving;
    const filter = this.#filter;
    let rolling = 0;
    for (let at = 0; at < length; at += 1) {
      rolling = (Math.imul(rolling, base) + codes[at]!) | 0;
      if (at >= windowCharacters) rolling = (rolling - Math.imul(codes[at - windowCharacters]!, leaving)) | 0;
      const bit = rolling >>> (32 - filterBits);
      if ((filter[bit >> 3]! & (1 << (bit & 7))) === 0 || at < windowCharacters - 1) continue;
      const needle = this.#endingAt(text, at + 1, rolling);
      if (needle !== null) spans.push(spanOf(text, at + 1, needle));
    }
  }

  /** The longest piece that ends before `after`, whose last window has this hash. */
  #endingAt(text: NormalText, after: number, tail: number): Needle | null {
    let longest: Needle | null = null;
    for (const needle of this.#byTail.get(tail) ?? []) {
      const from = after - needle.length;
      if (from < 0 || needle.length <= (longest?.length ?? 0)) continue;
      if (this.#windowAt(text.codes, from) !== needle.head) continue;
      if (this.#windowAt(text.codes, from + middleOf(needle.length)) !== needle.middle) continue;
      if (this.#digest(text.slice(from, after)) === needle.digest) longest = needle;
    }
    return longest;
  }

  #windowAt(codes: Uint16Array, from: number): number {
    let window = 0;
    for (let at = from; at < from + windowCharacters; at += 1)
      window = (Math.imul(window, this.#base) + codes[at]!) | 0;
    return window;
  }

  #windowOf(text: string, from: number): number {
    let window = 0;
    for (let at = from; at < from + windowCharacters; at += 1)
      window = (Math.imul(window, this.#base) + text.charCodeAt(at)) | 0;
    return window;
  }

  #digest(text: string): string {
    return hash('sha256', this.#salt + text, 'base64');
  }
}

function power(base: number, exponent: number): number {
  let result = 1;
  for (let count = 0; count < exponent; count += 1) result = Math.imul(result, base);
  return result;
}

function middleOf(length: number): number {
  return (length - windowCharacters) >> 1;
}

function spanOf(text: NormalText, after: number, { length, sharesFirst, sharesLast, id }: Needle): Span {
  const { codes } = text;
  const first = after - length;
  const from = sharesFirst && first > 0 && isBase64(codes[first - 1]!) ? first - 1 : first;
  let to = sharesLast && after < text.length && isBase64(codes[after]!) ? after + 1 : after;
  while (sharesLast && to < text.length && to - after <= paddingMax && codes[to] === equals) to += 1;
  return { ...text.placeOf(from, to), id };
}

/** As `NormalText` has it: the signs of base64url are those of base64. */
function isBase64(code: number): boolean {
  const isDigit = code >= 0x30 && code <= 0x39;
  const letter = code | 0x20;
  return isDigit || (letter >= 0x61 && letter <= 0x7a) || code === 0x2b || code === 0x2f;
}
