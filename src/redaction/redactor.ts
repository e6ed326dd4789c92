import type { JsonValue } from '../base/canonical-json.ts';
import { redactionLimits } from './limits.ts';
import { namesOnly } from './plain-words.ts';
import { isNumericSecretName, isSecretName } from './secret-names.ts';
import { shapedSpans } from './secret-shapes.ts';
import type { SecretValues } from './secret-values.ts';
import { joinSpans, markerOf, replaceSpans, type Span } from './spans.ts';
import { TextStream } from './text-stream.ts';

/** A text that may have been cut: what is shown of it, and how many characters of it lie behind that. */
export type Shown = { readonly text: string; readonly beyond: number };

/**
 * Takes secrets out of what is about to be written down, and puts `[redacted:<rule>]` in place of each: neither its
 * length nor a part of it. By name, by shape (`shapeRules`), and by value where it was made with `SecretValues`.
 * Never throws, whatever the texts hold; takes time linear in their length.
 */
export type Redactor = {
  /** The text without its secrets. */
  text(value: string): string;
  /** The same of a text that comes in pieces. */
  stream(): TextStream;
  /** The same of at most the first `charactersMax` characters; a secret that the cut goes through is gone whole. */
  start(value: string, charactersMax: number): Shown;
  /** Of neighbours in a list: a value split over them is found, and so is what follows an option (`--password`). */
  starts(values: readonly string[], charactersMax: number): Shown[];
  /** The marker where a member's name says that its value is secret, and the value is one; null where not. */
  named(name: string, value: JsonValue): string | null;
  /** Every string, name and named value of a document; what is nested deeper than `depthMax` is dropped. */
  document(value: JsonValue): JsonValue;
};

const byName = 'by-name';
const depthMax = 32;
const tooDeep = '…[nested]';

/** One that knows secrets by name and shape, and with `values` by value. */
export function openRedactor(values: SecretValues | null = null): Redactor {
  const spansIn = (text: string): Span[] => {
    const shaped = shapedSpans(text);
    const known = values === null ? shaped : shaped.concat(values.spansIn(text));
    return known.length < 2 ? known : joinSpans(known);
  };
  return {
    text: (value) => redacted(value, spansIn(value)),
    stream: () => new TextStream(spansIn),
    start: (value, charactersMax) => started(value, charactersMax, spansIn),
    starts: (list, charactersMax) => startedAll(list, charactersMax, { spansIn, values }),
    named,
    document: (value) => documentOf(value, 0, { spansIn, values }),
  };
}

/** By name and shape alone. */
export const plainRedactor: Redactor = openRedactor();

type Finder = (text: string) => Span[];
type Means = { readonly spansIn: Finder; readonly values: SecretValues | null };

function redacted(text: string, spans: readonly Span[]): string {
  return spans.length === 0 ? text : replaceSpans(text, spans);
}

function started(value: string, charactersMax: number, spansIn: Finder): Shown {
  if (value.length <= charactersMax) return { text: redacted(value, spansIn(value)), beyond: 0 };
  const seen = value.slice(0, charactersMax + redactionLimits.lookAheadCharacters);
  return shownOf(value, charactersMax, spansIn(seen));
}

/** What begins before the cut is gone whole, and what lies behind it is counted from its end. */
function shownOf(value: string, charactersMax: number, spans: readonly Span[]): Shown {
  const within = spans.filter(({ start }) => start < charactersMax);
  const cut = Math.min(value.length, Math.max(charactersMax, within.at(-1)?.end ?? 0));
  return { text: redacted(value.slice(0, cut), within), beyond: value.length - cut };
}

function startedAll(list: readonly string[], charactersMax: number, { spansIn, values }: Means): Shown[] {
  const seen = list.map((value) => value.slice(0, charactersMax + redactionLimits.lookAheadCharacters));
  const across = values === null || list.length < 2 ? [] : splitAlong(seen, values.spansIn(seen.join('')));
  return list.map((value, index) => {
    if (isAfterOption(list, index)) return { text: markerOf(byName), beyond: 0 };
    const spans = spansIn(seen[index]!);
    const more = across[index] ?? [];
    return shownOf(value, charactersMax, more.length === 0 ? spans : joinSpans([...spans, ...more]));
  });
}

/** The spans of joined texts, for each of them. */
function splitAlong(texts: readonly string[], spans: readonly Span[]): Span[][] {
  const left = joinSpans(spans).reverse();
  let offset = 0;
  return texts.map(({ length }) => {
    const own: Span[] = [];
    for (let span = left.at(-1); span !== undefined && span.start < offset + length; span = left.at(-1)) {
      const { start, end, id } = span;
      if (length > 0)
        own.push({ start: Math.max(0, start - offset), end: Math.min(length, end - offset), id });
      if (end > offset + length) break;
      left.pop();
    }
    offset += length;
    return own;
  });
}

function isAfterOption(list: readonly string[], index: number): boolean {
  const before = index === 0 ? '' : list[index - 1]!;
  const value = list[index]!;
  return before.startsWith('-') && !value.startsWith('-') && value !== '' && named(before, value) !== null;
}

function named(name: string, value: JsonValue): string | null {
  if (value === null || typeof value === 'boolean' || value === '') return null;
  if (typeof value === 'number') return isNumericSecretName(name) ? markerOf(byName) : null;
  if (!isSecretName(name) || holdsNothing(value)) return null;
  return markerOf(byName);
}

/** Ids, and lists of them or of nothing. */
function holdsNothing(value: JsonValue): boolean {
  if (typeof value === 'string') return namesOnly(value);
  if (Array.isArray(value)) return value.every((item) => typeof item === 'string' && namesOnly(item));
  return false;
}

function documentOf(value: JsonValue, depth: number, means: Means): JsonValue {
  if (typeof value === 'string') return redacted(value, means.spansIn(value));
  if (typeof value !== 'object' || value === null) return value;
  if (depth === depthMax) return tooDeep;
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item === 'string'))
      return startedAll(value, Number.MAX_SAFE_INTEGER, means).map(({ text }) => text);
    return value.map((item: JsonValue) => documentOf(item, depth + 1, means));
  }
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      redacted(name, means.spansIn(name)),
      named(name, member) ?? documentOf(member, depth + 1, means),
    ]),
  );
}
