import { type CharacterSet, characterSet, isIn } from './characters.ts';
import { redactionLimits } from './limits.ts';
import { isPlainWord, namesOnly } from './plain-words.ts';
import { isNumericSecretName, isSecretName } from './secret-names.ts';

/** What a label says is secret: from where to where. */
export type Labelled = { readonly start: number; readonly end: number };

const nameCharacters = characterSet('A-Za-z0-9_.-');
/** Where a value without quotes ends. */
const valueEnds = characterSet(' \t\r\n"\'`&;,<>(){}[]|\\');
const lineEnds = characterSet('\r\n');
const blanks = characterSet(' \t');
const blanksMax = 8;

/** Headers whose whole line is the secret. */
const headerName = /^(?:set-cookie2?|cookie|(?:proxy-)?authorization)$/i;

/**
 * The value that a name around `at` labels, or null: behind `=`, `:` or `=>`, in quotes or not, and behind an option
 * (`--password hunter2`). Behind a bare colon a plain word is none (`token:refused`, `secret: absent`), and neither are
 * ids of ours or counts.
 */
export function labelledValue(text: string, at: number): Labelled | null {
  const { name, isOption, end } = nameAround(text, at);
  if (!isSecretName(name)) return null;
  const opened = afterQuote(text, end);
  const sign = separatorAt(text, opened);
  if (sign === null)
    return isOption ? valueAt(text, { from: end, name, certain: true, needsBlank: true }) : null;
  if (sign.isColon && headerName.test(name)) return lineFrom(text, sign.end);
  return valueAt(text, { from: sign.end, name, certain: !sign.isColon || opened > end, needsBlank: false });
}

function nameAround(text: string, at: number): { name: string; isOption: boolean; end: number } {
  const { nameCharactersMax } = redactionLimits;
  let start = at;
  while (start > 0 && at - start < nameCharactersMax && isIn(nameCharacters, text.charCodeAt(start - 1)))
    start -= 1;
  let end = at;
  while (end < text.length && end - at < nameCharactersMax && isIn(nameCharacters, text.charCodeAt(end)))
    end += 1;
  return { name: text.slice(start, end), isOption: text[start] === '-', end };
}

/** Behind the quote, escaped or not, that ends a quoted name. */
function afterQuote(text: string, at: number): number {
  const quote = text[at] === '\\' ? at + 1 : at;
  return text[quote] === '"' || text[quote] === "'" ? quote + 1 : at;
}

function separatorAt(text: string, from: number): { end: number; isColon: boolean } | null {
  const at = skip(text, from, blanks, blanksMax);
  if (text[at] === ':')
    return text[at + 1] === '=' ? { end: at + 2, isColon: false } : { end: at + 1, isColon: true };
  if (text[at] === '%' && /^%3d$/i.test(text.slice(at, at + 3))) return { end: at + 3, isColon: false };
  if (text[at] !== '=') return null;
  return { end: text[at + 1] === '>' || text[at + 1] === '=' ? at + 2 : at + 1, isColon: false };
}

type Place = {
  readonly from: number;
  readonly name: string;
  /** The label leaves no doubt, whatever the value looks like. */
  readonly certain: boolean;
  readonly needsBlank: boolean;
};

function valueAt(text: string, { from, name, certain, needsBlank }: Place): Labelled | null {
  const at = skip(text, from, blanks, blanksMax);
  if (needsBlank && at === from) return null;
  const start = afterQuote(text, at);
  const quote = start > at ? text[start - 1]! : null;
  if (quote === null && needsBlank && text[start] === '-') return null;
  // What is no secret is told by its first characters, so that nothing long is read twice.
  const head = start + redactionLimits.nameCharactersMax + 16;
  const near = quote === null ? endAt(text, start, valueEnds, head) : closingQuote(text, start, quote, head);
  const value = text.slice(start, near);
  if (value === '' || namesOnly(value)) return null;
  if (/^[0-9]+$/.test(value) && !isNumericSecretName(name)) return null;
  if (!certain && quote === null && isPlainWord(value)) return null;
  const most = text.length;
  return {
    start,
    end: quote === null ? endAt(text, near, valueEnds, most) : closingQuote(text, start, quote, most),
  };
}

function lineFrom(text: string, from: number): Labelled | null {
  const start = skip(text, from, blanks, blanksMax);
  const end = endAt(text, start, lineEnds, text.length);
  return end === start ? null : { start, end };
}

function skip(text: string, from: number, set: CharacterSet, most: number): number {
  let at = from;
  while (at - from < most && isIn(set, text.charCodeAt(at))) at += 1;
  return at;
}

function endAt(text: string, from: number, ends: CharacterSet, most: number): number {
  let end = from;
  while (end < Math.min(text.length, most) && !isIn(ends, text.charCodeAt(end))) end += 1;
  return end;
}

/** Where the quote closes that opened before `from`, at the next one that no backslash escapes; `most` at the latest. */
function closingQuote(text: string, from: number, quote: string, most: number): number {
  const isEscaped = text[from - 2] === '\\';
  const last = Math.min(text.length, most);
  for (let at = from; at < last; at += 1) {
    if (text[at] === quote) return isEscaped && text[at - 1] === '\\' ? at - 1 : at;
    if (text[at] === '\\' && !isEscaped) at += 1;
  }
  return last;
}
