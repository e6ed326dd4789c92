/** What JSON can say. Numbers are finite, strings are well-formed UTF-16. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;
export type JsonObject = { readonly [key: string]: JsonValue };

/** Far above any real document; a cycle runs into it. */
export const canonicalDepthMax = 256;

/** The bytes that decide whether a string needs more than its two quotes. */
const unplain = /["\\\u0000-\u001f\ud800-\udfff]/;

/**
 * The one spelling of a value (RFC 8785): members ordered by UTF-16 code units, no white space, ECMAScript
 * numbers, shortest escapes. Equal values give equal strings, so the UTF-8 bytes can be hashed and signed.
 *
 * Throws TypeError on what JSON cannot say or would silently change: NaN, Infinity, undefined (members
 * included), bigints, symbols, functions, lone surrogates, objects of a class, holes in arrays, and nesting
 * over `canonicalDepthMax`, which every cycle reaches.
 */
export function canonicalJson(value: JsonValue): string {
  return writeValue(value, 0);
}

function writeValue(value: unknown, depth: number): string {
  switch (typeof value) {
    case 'string':
      return writeString(value);
    case 'number':
      if (!Number.isFinite(value)) throw new TypeError(`${value} is not a JSON number`);
      return `${value}`;
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      if (value === null) return 'null';
      if (depth >= canonicalDepthMax) throw new TypeError('the value is cyclic or nested too deep');
      return Array.isArray(value) ? writeArray(value, depth + 1) : writeObject(value, depth + 1);
    default:
      throw new TypeError(`a value of type ${typeof value} is not JSON`);
  }
}

function writeString(text: string): string {
  if (!unplain.test(text)) return `"${text}"`;
  if (!text.isWellFormed()) throw new TypeError('a string holds a lone surrogate');
  return JSON.stringify(text);
}

function writeArray(items: readonly unknown[], depth: number): string {
  let text = '[';
  for (let index = 0; index < items.length; index += 1) {
    text += index === 0 ? writeValue(items[index], depth) : `,${writeValue(items[index], depth)}`;
  }
  return `${text}]`;
}

function writeObject(value: object, depth: number): string {
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw new TypeError('an object of a class is not JSON');
  }
  const keys = sortedKeys(value);
  let text = '{';
  for (let index = 0; index < keys.length; index += 1) {
    const key = keys[index]!;
    const member = writeValue((value as Record<string, unknown>)[key], depth);
    text += index === 0 ? `${writeString(key)}:${member}` : `,${writeString(key)}:${member}`;
  }
  return `${text}}`;
}

/** Most objects are written in order already; checking is cheaper than sorting. */
function sortedKeys(value: object): string[] {
  const keys = Object.keys(value);
  for (let index = 1; index < keys.length; index += 1) {
    if (keys[index - 1]! > keys[index]!) return keys.sort();
  }
  return keys;
}
