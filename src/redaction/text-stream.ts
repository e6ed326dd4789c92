import { redactionLimits } from './limits.ts';
import { joinSpans, markerOf, type Span } from './spans.ts';

/** Raw characters that were let go, and what is said of them. */
export type Released = { readonly characters: number; readonly text: string; readonly isWhole: boolean };

export const streamLimits = {
  /** What is kept of what was let go, for names that label what follows. */
  contextCharacters: 256,
  /** A secret that goes on for longer is let go as its marker before it has ended. */
  openCharactersMax: 8 * 1024,
  /** What such a secret is known by, of its beginning, and what its end may have begun with. */
  openHeadCharacters: 512,
  openTailCharacters: 128,
} as const;

const nothing: Released = { characters: 0, text: '', isWhole: true };
const hold = redactionLimits.lookAheadCharacters;
/** CSI, OSC and the other strings of ECMA-48, and two characters of what is shorter. */
const sequences = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|.)/gs;
const boundary = /[\x00-\x20\x7f](?=[^\x00-\x20\x7f]*$)/;

/**
 * Takes secrets out of a text that comes in pieces, wherever it is split: the newest `lookAheadCharacters` are held back, in
 * which one may have begun. What is between the parts of a coloured secret counts as part of it.
 */
export class TextStream {
  readonly #spansIn: (text: string) => Span[];
  #context = '';
  #pending = '';
  /** Whether what was let go ends in a secret that goes on. */
  #isInside = false;

  constructor(spansIn: (text: string) => Span[]) {
    this.#spansIn = spansIn;
  }

  /** Characters that are held back. */
  get held(): number {
    return this.#pending.length;
  }

  /** Takes more, and lets go what no secret can reach into any more. */
  push(text: string): Released {
    this.#pending += text;
    return this.#pending.length < 2 * hold ? nothing : this.#release(this.#pending.length - hold);
  }

  /** For a text that pauses: all but its last word. A secret with white space in it may be cut by that, and others not. */
  settle(): Released {
    const at = boundary.exec(this.#pending);
    return at === null ? this.#release(this.#pending.length - hold) : this.#release(at.index + 1);
  }

  /** Everything that is held. */
  flush(): Released {
    return this.#release(this.#pending.length, true);
  }

  #release(wanted: number, atOnce = false): Released {
    if (wanted <= 0) return nothing;
    const pending = this.#pending;
    const spans = this.#spans();
    let cut = wholeCharacters(pending, wanted);
    const across = spans.find(({ start, end }) => start < cut && (end > cut || end === pending.length));
    const isOpen = across !== undefined && across.end === pending.length;
    if (across !== undefined) cut = across.end;
    if (isOpen && !atOnce && pending.length - across.start <= streamLimits.openCharactersMax)
      cut = Math.max(0, across.start);
    if (cut === 0) return nothing;
    const released = pending.slice(0, cut);
    const text = spans.length === 0 ? released : this.#say(released, spans);
    this.#keep(cut, isOpen && cut > across.start ? across : null);
    return { characters: cut, text, isWhole: text === released };
  }

  /** Where secrets are in what is held; one that began before begins before 0. */
  #spans(): Span[] {
    const text = this.#context + this.#pending;
    const plain = this.#spansIn(text);
    const found = text.includes('\x1b') ? [...plain, ...this.#colouredSpans(text)] : plain;
    const offset = this.#context.length;
    return joinSpans(found)
      .map(({ start, end, id }) => ({ start: start - offset, end: end - offset, id }))
      .filter(({ end }) => end > 0);
  }

  /** Those in the text without its escape sequences, as places in the text. */
  #colouredSpans(text: string): Span[] {
    const kept: { readonly from: number; readonly at: number }[] = [];
    let shown = '';
    let from = 0;
    for (const { index, 0: sequence } of text.matchAll(sequences)) {
      kept.push({ from, at: shown.length });
      shown += text.slice(from, index);
      from = index + sequence.length;
    }
    kept.push({ from, at: shown.length });
    shown += text.slice(from);
    return this.#spansIn(shown).map(({ start, end, id }) => ({
      start: placeOf(kept, start),
      end: placeOf(kept, end - 1) + 1,
      id,
    }));
  }

  #say(text: string, spans: readonly Span[]): string {
    let said = '';
    let from = 0;
    for (const { start, end, id } of spans) {
      if (start >= text.length) break;
      said += text.slice(from, Math.max(0, start));
      if (start >= 0 || !this.#isInside) said += markerOf(id);
      from = end;
    }
    return said + text.slice(from);
  }

  #keep(cut: number, open: Span | null): void {
    const { contextCharacters, openHeadCharacters, openTailCharacters } = streamLimits;
    if (open === null && cut >= contextCharacters)
      this.#context = this.#pending.slice(cut - contextCharacters, cut);
    else {
      const released = this.#context + this.#pending.slice(0, cut);
      const begin = open === null ? released.length : open.start + this.#context.length;
      const headEnd = begin + openHeadCharacters;
      const tailStart = Math.max(headEnd, released.length - openTailCharacters);
      const head = released.slice(Math.max(0, begin - contextCharacters), headEnd);
      this.#context = head + released.slice(tailStart);
    }
    this.#pending = this.#pending.slice(cut);
    this.#isInside = open !== null;
  }
}

/** Not between the halves of a character. */
function wholeCharacters(text: string, cut: number): number {
  const code = text.charCodeAt(cut);
  return cut < text.length && code >= 0xdc00 && code <= 0xdfff ? cut - 1 : cut;
}

function placeOf(kept: readonly { readonly from: number; readonly at: number }[], place: number): number {
  let [low, high] = [0, kept.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (kept[middle]!.at <= place) low = middle;
    else high = middle - 1;
  }
  return kept[low]!.from + place - kept[low]!.at;
}
