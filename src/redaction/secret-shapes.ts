import { characterSets, endOfRun, isIn } from './characters.ts';
import { labelledValue } from './labelled.ts';
import { isPlainWord } from './plain-words.ts';
import { type ShapeBody, type ShapeRule, shapeRules } from './shape-rules.ts';
import type { Span } from './spans.ts';
import { TriggerAutomaton } from './trigger-automaton.ts';
import { userInfoAt } from './user-info.ts';

type Trigger = { readonly begin: string; readonly rule: ShapeRule; readonly index: number };

const triggers: readonly Trigger[] = shapeRules.flatMap((rule, index) =>
  rule.begins.map((begin) => ({ begin, rule, index })),
);
/** Made when the first text comes: programs that only read records do without. */
let automaton: TriggerAutomaton | null = null;
const { alphanumeric } = characterSets;
const wordCharactersMax = 64;

/**
 * What has the shape of a secret, by `shapeRules`; in no order, perhaps overlapping. The time is linear in the length
 * of the text, whatever it holds: each rule looks at a character once at most, besides a bounded number around a
 * beginning.
 */
export function shapedSpans(text: string): Span[] {
  const spans: Span[] = [];
  let search: Search | null = null;
  automaton ??= new TriggerAutomaton(triggers.map(({ begin }) => begin.toLowerCase()));
  automaton.scan(text, (word, end) => {
    search ??= new Search(text);
    const span = search.at(triggers[word]!, end);
    if (span === null) return end;
    spans.push(span);
    return span.end;
  });
  return spans;
}

/** One text, and how far each rule already looked in vain: a run that was no secret has none in its rest. */
class Search {
  readonly #text: string;
  readonly #vainUntil = new Map<number, number>();

  constructor(text: string) {
    this.#text = text;
  }

  at({ begin, rule, index }: Trigger, end: number): Span | null {
    const text = this.#text;
    const start = end - begin.length;
    if (rule.ignoresCase !== true && !text.startsWith(begin, start)) return null;
    if (rule.insideWords !== true && !beginsAt(text, start)) return null;
    const found = this.#body(rule.body, start, end, index);
    if (found === null) return null;
    return { start: rule.keepsBegin === true ? found.start : start, end: found.end, id: rule.id };
  }

  #body(body: ShapeBody, start: number, from: number, index: number): { start: number; end: number } | null {
    switch (body.form) {
      case 'labelled':
        return labelledValue(this.#text, start);
      case 'user-info':
        return userInfoAt(this.#text, from);
      case 'private-key':
        return privateKeyAt(this.#text, from);
      case 'run':
        return this.#run(body, from, index);
    }
  }

  #run(body: Extract<ShapeBody, { form: 'run' }>, from: number, index: number) {
    if (from < (this.#vainUntil.get(index) ?? 0)) return null;
    const set = characterSets[body.of];
    const end = endOfRun(this.#text, from, set);
    if (fits(this.#text, from, end, body)) return { start: from, end };
    // A longer run than the rule allows may still hold a shorter one further on: only what is too short is in vain.
    if (body.most === undefined) this.#vainUntil.set(index, end);
    return null;
  }
}

/** Whether nothing before it makes a word of it: letters and digits do, unless they end an escape (`%3D`, `\\n`). */
function beginsAt(text: string, start: number): boolean {
  if (start === 0 || !isIn(alphanumeric, text.charCodeAt(start - 1))) return true;
  return text[start - 2] === '\\' || text[start - 3] === '%' || text.startsWith('\\u', start - 6);
}

function fits(text: string, from: number, end: number, body: Extract<ShapeBody, { form: 'run' }>): boolean {
  const length = end - from;
  if (length < body.least || length > (body.most ?? length)) return false;
  if (body.most !== undefined && isIn(alphanumeric, text.charCodeAt(end))) return false;
  if (body.dots !== undefined && !holdsDots(text, from, end, body.dots)) return false;
  return body.mixed !== true || !isPlainWord(text.slice(from, Math.min(end, from + wordCharactersMax)));
}

/** Dots with something before and behind each. */
function holdsDots(text: string, from: number, end: number, least: number): boolean {
  const run = text.slice(from, end);
  let at = 0;
  for (let found = 0; found < least; found += 1) {
    const dot = run.indexOf('.', at + 1);
    if (dot < 0 || dot === run.length - 1) return false;
    at = dot + 1;
  }
  return true;
}

const endOfLabel = 'PRIVATE KEY';
const labelCharactersMax = 48;
const endLine = '-----END ';
const dashes = '-----';

/** From a private key's first line to its last, or to the end of the text. `from` is behind `BEGIN`. */
function privateKeyAt(text: string, from: number): { start: number; end: number } | null {
  if (!text.slice(from, from + labelCharactersMax).includes(endOfLabel)) return null;
  const last = text.indexOf(endLine, from);
  if (last < 0) return { start: from, end: text.length };
  const close = text.indexOf(dashes, last + endLine.length);
  return { start: from, end: close < 0 ? text.length : close + dashes.length };
}
