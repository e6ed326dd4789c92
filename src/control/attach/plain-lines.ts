import { controlAttachLimits } from './limits.ts';

/**
 * Where a scan stands in what a terminal was sent (ECMA-48): in text, behind ESC, in a control sequence, or in a string
 * that ends with ST (OSC, DCS, SOS, PM, APC), where `string-escape` is behind an ESC in one.
 */
type Place = 'text' | 'escape' | 'intermediate' | 'control' | 'string' | 'string-escape';

/** Control sequences that put what follows somewhere else, so that it is not part of the same line. */
const moves = new Set('ABCDEFGHJSTdfhl');

/**
 * Lines of text as somebody who looked on would have read them, one after another: without escape sequences and control
 * characters, in memory that does not grow with what is sent. A line counts from when its first character came.
 */
export class PlainLines {
  readonly #onLine: (line: string, at: number) => void;
  #place: Place = 'text';
  #line = '';
  #at = 0;
  /** A carriage return: what follows either ends the line or overwrites it. */
  #returned = false;

  constructor(onLine: (line: string, at: number) => void) {
    this.#onLine = onLine;
  }

  push(text: string, at: number): void {
    for (const character of text) this.#take(character, character.codePointAt(0)!, at);
  }

  end(): void {
    this.#break();
  }

  #take(character: string, code: number, at: number): void {
    // CAN and SUB end any sequence, and ESC begins another; a string ends with BEL too, as xterm has it.
    if (code === 0x18 || code === 0x1a) this.#place = 'text';
    else if (code === 0x1b) this.#place = this.#place === 'string' ? 'string-escape' : 'escape';
    else if (this.#place === 'text') this.#text(character, code, at);
    else if (this.#place === 'escape') this.#escape(character, code);
    else if (this.#place === 'intermediate') this.#final(code);
    else if (this.#place === 'control') this.#control(character, code);
    else if (this.#place === 'string') this.#string(code);
    else this.#place = character === '\\' ? 'text' : 'string';
  }

  #text(character: string, code: number, at: number): void {
    if (code === 0x0a || code === 0x0b || code === 0x0c || code === 0x85) this.#break();
    else if (code === 0x0d) this.#returned = true;
    else if (code === 0x08) this.#line = this.#line.slice(0, -1);
    else if (code === 0x9b) this.#place = 'control';
    else if (code === 0x90 || code === 0x98 || (code >= 0x9d && code <= 0x9f)) this.#place = 'string';
    else if (code === 0x09) this.#add(' ', at);
    else if (!isInvisible(code)) this.#add(character, at);
  }

  #escape(character: string, code: number): void {
    if (character === '[') this.#place = 'control';
    else if (']PX^_'.includes(character)) this.#place = 'string';
    else if (code >= 0x20 && code <= 0x2f) this.#place = 'intermediate';
    else {
      this.#place = 'text';
      if ('DEMc78'.includes(character)) this.#break();
    }
  }

  #final(code: number): void {
    if (code < 0x20 || code > 0x2f) this.#place = 'text';
  }

  #control(character: string, code: number): void {
    if (code < 0x40 || code > 0x7e) return;
    this.#place = 'text';
    if (moves.has(character)) this.#break();
  }

  #string(code: number): void {
    if (code === 0x07 || code === 0x9c) this.#place = 'text';
  }

  #add(character: string, at: number): void {
    if (this.#returned) this.#break();
    if (this.#line === '') this.#at = at;
    this.#line += character;
    if (this.#line.length >= controlAttachLimits.searchTextCharactersMax) this.#break();
  }

  #break(): void {
    this.#returned = false;
    if (this.#line !== '') this.#onLine(this.#line, this.#at);
    this.#line = '';
  }
}

/** Control characters, and what changes the direction or the look of what is around it without being seen. */
function isInvisible(code: number): boolean {
  if (code < 0x20 || (code >= 0x7f && code <= 0x9f)) return true;
  if (code >= 0x200b && code <= 0x200f) return true;
  if (code >= 0x2028 && code <= 0x202e) return true;
  return (code >= 0x2060 && code <= 0x206f) || code === 0xfeff || (code >= 0xd800 && code <= 0xdfff);
}
