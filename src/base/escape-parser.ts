/**
 * Splits what programs write to a terminal into text and control sequences, as terminals do (ECMA-48; the states are
 * those of vt100.net/emu/dec_ansi_parser). What it gets is hostile: nothing grows without a bound, and sequences are cut
 * wherever they like.
 */
export type Sequence =
  | { readonly kind: 'text'; readonly text: string }
  /** One character of C0 or C1, or DEL. */
  | { readonly kind: 'control'; readonly character: string }
  /** ESC, and after it `intermediates` and a final character. */
  | { readonly kind: 'escape'; readonly intermediates: string; readonly final: string }
  | {
      readonly kind: 'csi';
      /** `?`, `>`, `=` or `<`, or nothing. */
      readonly prefix: string;
      readonly parameters: string;
      readonly intermediates: string;
      readonly final: string;
    }
  /** A string up to its terminator; `body` is null where it was too long to keep. */
  | { readonly kind: StringKind; readonly body: string | null };

/** OSC, DCS, SOS, PM and APC; and the title of screen and tmux (ESC k). */
export type StringKind = 'osc' | 'dcs' | 'sos' | 'pm' | 'apc' | 'title';

const stringKinds: Readonly<Record<string, StringKind>> = {
  ']': 'osc',
  P: 'dcs',
  X: 'sos',
  '^': 'pm',
  _: 'apc',
  k: 'title',
};

/** A control sequence that is longer is ignored, as terminals do. */
const sequenceCharactersMax = 256;

const special = /[\u0000-\u001f\u007f-\u009f]/g;
const csiBody = /^([<=>?]?)([0-9;:]*)([ -/]*)$/;

type State = 'ground' | 'escape' | 'csi' | 'string' | 'string-escape';

export class EscapeParser {
  readonly #sink: (sequence: Sequence) => void;
  readonly #stringCharactersMax: number;
  #state: State = 'ground';
  /** Of a sequence that has begun. */
  #held = '';
  #string: StringKind = 'osc';
  #tooLong = false;

  /** Bodies of strings are kept up to that length. */
  constructor(stringCharactersMax: number, sink: (sequence: Sequence) => void) {
    this.#stringCharactersMax = stringCharactersMax;
    this.#sink = sink;
  }

  push(text: string): void {
    let at = 0;
    while (at < text.length) {
      if (this.#state === 'ground' || this.#state === 'string') {
        special.lastIndex = at;
        const next = special.exec(text)?.index ?? text.length;
        if (next > at) this.#run(text.slice(at, next));
        at = next;
        if (at === text.length) return;
      }
      this.#character(text[at]!);
      at += 1;
    }
  }

  #run(text: string): void {
    if (this.#state === 'ground') this.#sink({ kind: 'text', text });
    else this.#keep(text);
  }

  #character(character: string): void {
    const code = character.charCodeAt(0);
    if (this.#state === 'string-escape') {
      if (character === '\\') {
        this.#endString();
        return;
      }
      // Another sequence cuts the string off.
      this.#begin('escape');
    }
    if (code === 0x18 || code === 0x1a) this.#begin('ground');
    else if (code === 0x1b) this.#begin(this.#state === 'string' ? 'string-escape' : 'escape');
    else if (code >= 0x80 && code <= 0x9f) this.#eightBit(character, code);
    else if (this.#state === 'string') this.#inString(character, code);
    else if (code < 0x20 || code === 0x7f) this.#sink({ kind: 'control', character });
    else if (this.#state === 'escape') this.#inEscape(character, code);
    else if (this.#state === 'csi') this.#inCsi(character, code);
    else this.#sink({ kind: 'text', text: character });
  }

  #begin(state: State): void {
    this.#state = state;
    if (state === 'string-escape') return;
    this.#held = '';
    this.#tooLong = false;
  }

  /** The controls of C1 stand for ESC and a letter; UTF-8 terminals obey them too. */
  #eightBit(character: string, code: number): void {
    if (code === 0x9c && this.#state === 'string') {
      this.#endString();
      return;
    }
    const letter = String.fromCharCode(code - 0x40);
    const introduces = letter === '[' || (letter !== 'k' && stringKinds[letter] !== undefined);
    this.#begin(introduces ? 'escape' : 'ground');
    if (introduces) this.#inEscape(letter, letter.charCodeAt(0));
    else this.#sink({ kind: 'control', character });
  }

  #inEscape(character: string, code: number): void {
    if (code < 0x30) {
      if (this.#held.length < sequenceCharactersMax) this.#held += character;
      return;
    }
    const intermediates = this.#held;
    const string = intermediates === '' ? stringKinds[character] : undefined;
    if (string !== undefined) {
      this.#begin('string');
      this.#string = string;
    } else if (character === '[' && intermediates === '') this.#begin('csi');
    else {
      this.#begin('ground');
      this.#sink({ kind: 'escape', intermediates, final: character });
    }
  }

  #inCsi(character: string, code: number): void {
    if (code < 0x40) {
      if (this.#held.length < sequenceCharactersMax) this.#held += character;
      else this.#tooLong = true;
      return;
    }
    const match = this.#tooLong ? null : csiBody.exec(this.#held);
    this.#begin('ground');
    if (match === null) return;
    const [, prefix = '', parameters = '', intermediates = ''] = match;
    this.#sink({ kind: 'csi', prefix, parameters, intermediates, final: character });
  }

  #inString(character: string, code: number): void {
    if (code === 0x07 && this.#string === 'osc') this.#endString();
    else if (code < 0x20 || code === 0x7f) return;
    else this.#keep(character);
  }

  #keep(text: string): void {
    if (this.#held.length + text.length > this.#stringCharactersMax) {
      this.#tooLong = true;
      this.#held = '';
    }
    if (!this.#tooLong) this.#held += text;
  }

  #endString(): void {
    const body = this.#tooLong ? null : this.#held;
    this.#begin('ground');
    this.#sink({ kind: this.#string, body });
  }
}
