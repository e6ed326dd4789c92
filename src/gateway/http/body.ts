import assert from 'node:assert/strict';
import {
  type Bad,
  connectionOptions,
  type Field,
  parseAuthority,
  parseField,
  type RequestHead,
  type ResponseFraming,
} from './head.ts';
import { httpLimits } from './limits.ts';

export type BodyStep =
  /** `rest` is what follows the body, once it is done; null before. */
  { readonly body: Buffer; readonly done: boolean; readonly rest: Buffer | null } | Bad;

const nothing = Buffer.alloc(0);
const cr = 0x0d;
const lf = 0x0a;

const tokenText = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const quotedText = '"(?:[\\t\\x20\\x21\\x23-\\x5b\\x5d-\\x7e]|\\\\[\\t\\x20-\\x7e])*"';
/** RFC 9112 §7.1 without white space anywhere but in quotes; the size and then the extensions. */
const sizeLine = new RegExp(`^([0-9A-Fa-f]+)((?:;${tokenText}(?:=(?:${tokenText}|${quotedText}))?)*)$`);
const sizeLineBytesMax = httpLimits.chunkSizeDigitsMax + httpLimits.chunkExtensionBytesMax + 2;

/** What must stand in the head or nowhere: framing, routing and the connection (RFC 9110 §6.5.1). */
const notInTrailers = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Whether a field may come after the body. */
export function isTrailer(name: string): boolean {
  return !notInTrailers.has(name);
}

/** The size that a chunk's first line gives, or null. */
function chunkSize(line: string): number | null {
  const [, digits, extensions] = sizeLine.exec(line) ?? [];
  if (digits === undefined || digits.length > httpLimits.chunkSizeDigitsMax) return null;
  if (extensions!.length > httpLimits.chunkExtensionBytesMax) return null;
  const size = Number.parseInt(digits, 16);
  return size <= httpLimits.lengthBytesMax ? size : null;
}

/** Whether more bytes can still make a line of this: no control byte but tab, and a CR only at the end. */
function mayBecomeLine(text: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*\r?$/.test(text);
}

type Expected = 'size' | 'data' | 'data-end' | 'trailer' | 'close' | 'end';

function firstExpected(framing: ResponseFraming): Expected {
  if (framing.kind === 'none') return 'end';
  if (framing.kind === 'length') return framing.bytes === 0 ? 'end' : 'data';
  return framing.kind === 'chunked' ? 'size' : 'close';
}

/**
 * Follows one body to its end. What it hands out is the message as it came, chunk framing included, and every
 * byte of that was checked: a chunk's size line and each trailer line come out whole or not at all. Keeps no
 * payload and at most one incomplete line. A body that is refused once stays refused; then the upstream has part of
 * a message and its connection must be cut. A body up to the close of the connection is never done.
 */
export class BodyReader {
  #expected: Expected;
  /** Payload bytes that the length or the chunk still promises. */
  #left = 0;
  readonly #isChunked: boolean;
  #trailerBytes = 0;
  /** The line, or the CRLF after a chunk, whose end has not come. */
  #held: Buffer = nothing;
  #refusal: Bad | null = null;

  constructor(framing: ResponseFraming) {
    this.#isChunked = framing.kind === 'chunked';
    if (framing.kind === 'length') this.#left = framing.bytes;
    this.#expected = firstExpected(framing);
  }

  /** Whether the body is at its end; true from the start where there is none. */
  get done(): boolean {
    return this.#expected === 'end';
  }

  push(chunk: Buffer): BodyStep {
    if (this.#refusal !== null) return this.#refusal;
    if (this.#expected === 'close') return { body: chunk, done: false, rest: null };
    const input = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    let at = 0;
    while (!this.done && at < input.length) {
      const next = this.#step(input, at);
      if (typeof next !== 'number') {
        this.#refusal = next;
        this.#held = nothing;
        return next;
      }
      if (next === at) break;
      at = next;
    }
    const rest = this.done ? input.subarray(at) : null;
    // A copy, as the line must not keep the whole chunk alive.
    this.#held = this.done || at === input.length ? nothing : Buffer.from(input.subarray(at));
    return { body: input.subarray(0, at), done: this.done, rest };
  }

  /** Takes what comes next; its end, or `at` where it is not all there. */
  #step(input: Buffer, at: number): number | Bad {
    if (this.#expected === 'data') return this.#takeData(input, at);
    if (this.#expected === 'data-end') return this.#takeDataEnd(input, at);
    const isSize = this.#expected === 'size';
    const bytesMax = isSize ? sizeLineBytesMax : httpLimits.trailerBytesMax - this.#trailerBytes;
    const window = input.subarray(at, at + bytesMax);
    const end = window.indexOf(lf);
    if (end === -1) {
      if (window.length === bytesMax) return { bad: 'a line of the body is too long' };
      return mayBecomeLine(window.toString('latin1')) ? at : { bad: 'a line of the body is not well formed' };
    }
    if (window[end - 1] !== cr) return { bad: 'a line of the body ends without CR' };
    const line = window.toString('latin1', 0, end - 1);
    const refusal = isSize ? this.#takeSize(line) : this.#takeTrailer(line);
    return refusal ?? at + end + 1;
  }

  #takeData(input: Buffer, at: number): number {
    const count = Math.min(this.#left, input.length - at);
    this.#left -= count;
    if (this.#left === 0) this.#expected = this.#isChunked ? 'data-end' : 'end';
    return at + count;
  }

  #takeDataEnd(input: Buffer, at: number): number | Bad {
    if (input[at] !== cr || (at + 1 < input.length && input[at + 1] !== lf)) {
      return { bad: 'a chunk is not as long as it says' };
    }
    if (at + 1 === input.length) return at;
    this.#expected = 'size';
    return at + 2;
  }

  #takeSize(line: string): Bad | null {
    const size = chunkSize(line);
    if (size === null) return { bad: 'the size of a chunk is not well formed' };
    this.#left = size;
    this.#expected = size === 0 ? 'trailer' : 'data';
    return null;
  }

  #takeTrailer(line: string): Bad | null {
    this.#trailerBytes += line.length + 2;
    if (line === '') {
      this.#expected = 'end';
      return null;
    }
    const field = parseField(line);
    if ('bad' in field) return field;
    return notInTrailers.has(field[0]) ? { bad: 'a trailer that belongs in the head' } : null;
  }
}

/** Of RFC 9110 §7.6.1, with Proxy-Authorization, which is for the gateway, and what is written anew. */
const notForwarded = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);

export type Forwarding = {
  /** The whole value of Host: the canonical name, with its port where that is not the protocol's. */
  readonly host: string;
  /** What a rule looked at, in its normal form; where none did, that of the head. */
  readonly path: string;
  /** Whether the upgrade that the head asks for is asked of the upstream. */
  readonly upgrade: boolean;
};

/**
 * The head that goes upstream, written anew from what was parsed: origin-form, this Host first, one framing field
 * at most, no hop-by-hop field but an upgrade that is allowed, and `connection: close` where the program does not
 * keep the connection. The version is the program's, so that no answer comes that it cannot read. Field names are in
 * lower case.
 */
export function serializeRequestHead(head: RequestHead, { host, path, upgrade }: Forwarding): Buffer {
  assert(parseAuthority(host) !== null, 'host is not one');
  assert(path === '*' || /^\/[\x21\x22\x24-\x3e\x40-\x7e]*$/.test(path), 'path is not one');
  const query = head.target.query === null ? '' : `?${head.target.query}`;
  const named = connectionOptions(head.headers);
  assert(named !== null, 'the head was not parsed here');
  const isKept = ([name]: Field): boolean =>
    !notForwarded.has(name) && !named.has(name) && (name !== 'expect' || head.expectsContinue);
  const fields: Field[] = [['host', host], ...head.headers.filter(isKept)];
  if (head.framing.kind === 'length') fields.push(['content-length', String(head.framing.bytes)]);
  if (head.framing.kind === 'chunked') fields.push(['transfer-encoding', 'chunked']);
  if (upgrade && head.upgrade !== null) fields.push(['connection', 'upgrade'], ['upgrade', head.upgrade]);
  else if (!head.keepAlive) fields.push(['connection', 'close']);
  const lines = [
    `${head.method} ${path}${query} ${head.version}`,
    ...fields.map(([name, value]) => `${name}: ${value}`),
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}
