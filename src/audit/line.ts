import { isUtf8 } from 'node:buffer';
import { canonicalJson, type JsonValue } from '../base/canonical-json.ts';
import { auditLimits } from './limits.ts';

/** What places a line in its stream. */
export type LineFacts = {
  readonly stream: string;
  readonly seq: number;
  readonly prev: string;
  readonly v: 1 | 2;
};
/** Why bytes are no line of a log, in words for the auditor. */
export type LineFlaw = { readonly flaw: string };

export type EventMember = {
  readonly name: string;
  readonly type: 'string' | 'object' | 'number';
  readonly optional: boolean;
};

/** The top-level members of an event, in canonical order. */
export const eventMembers: readonly EventMember[] = [
  { name: 'action', type: 'string', optional: false },
  { name: 'actor', type: 'object', optional: false },
  { name: 'at', type: 'string', optional: false },
  { name: 'data', type: 'object', optional: true },
  { name: 'decision', type: 'object', optional: false },
  { name: 'id', type: 'string', optional: false },
  { name: 'of', type: 'string', optional: true },
  { name: 'outcome', type: 'string', optional: false },
  { name: 'phase', type: 'string', optional: false },
  { name: 'prev', type: 'string', optional: false },
  { name: 'request', type: 'object', optional: true },
  { name: 'resource', type: 'object', optional: false },
  { name: 'seq', type: 'number', optional: false },
  { name: 'stream', type: 'string', optional: false },
  { name: 'v', type: 'number', optional: false },
];
const memberNames = new Set(eventMembers.map(({ name }) => name));

/**
 * The facts of a line (`bytes` without its newline), or its flaw. A line is accepted when it is the canonical
 * spelling (RFC 8785) of an object with an event's top-level members: so white space, duplicate members, other
 * escapes, other number spellings, carriage returns and bytes that are no UTF-8 are all flaws. What the members
 * say is not judged.
 */
export function readLine(bytes: Buffer): LineFacts | LineFlaw {
  if (bytes.length >= auditLimits.lineBytesMax) return { flaw: 'the line is longer than any event' };
  if (!isUtf8(bytes)) return { flaw: 'the line is not UTF-8' };
  return parseLine(bytes.toString('utf8'));
}

function parseLine(text: string): LineFacts | LineFlaw {
  let value: JsonValue;
  try {
    value = JSON.parse(text) as JsonValue;
  } catch {
    return { flaw: 'the line is not JSON' };
  }
  if (!isSpelledCanonically(value, text)) return { flaw: 'the line is not in canonical spelling' };
  const facts = factsOf(value);
  return facts ?? { flaw: 'the line is not an event' };
}

function isSpelledCanonically(value: JsonValue, text: string): boolean {
  try {
    return canonicalJson(value) === text;
  } catch {
    return false;
  }
}

/** Whether a value has an event's top-level members and no others, each of its type. */
export function hasEventMembers(value: JsonValue): value is Record<string, JsonValue> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const object = value as Record<string, JsonValue>;
  if (!Object.keys(object).every((name) => memberNames.has(name))) return false;
  return eventMembers.every(({ name, type, optional }) => {
    if (!Object.hasOwn(object, name)) return optional;
    const found = object[name];
    return typeof found === type && found !== null && !Array.isArray(found);
  });
}

function factsOf(value: JsonValue): LineFacts | null {
  if (!hasEventMembers(value)) return null;
  const { v, stream, seq, prev } = value;
  if ((v !== 1 && v !== 2) || !Number.isSafeInteger(seq) || (seq as number) < 1) return null;
  if (!/^[0-9a-f]{64}$/.test(prev as string)) return null;
  return { stream: stream as string, seq: seq as number, prev: prev as string, v };
}
