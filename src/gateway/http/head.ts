import assert from 'node:assert/strict';
import { isIPv6 } from 'node:net';
import { httpLimits } from './limits.ts';

/**
 * HTTP/1.x heads by RFC 9112, without any of the leniencies that it grants a recipient: where two parsers could
 * differ about where a message ends or whom it is for, the message is refused.
 */

/** Why a message is refused, for the log and the program; holds nothing of the message. */
export type Bad = { readonly bad: string };

/** The name in lower case; the value without white space around it, one character a byte (latin1). */
export type Field = readonly [name: string, value: string];

/** The host in lower case and an IPv6 address without its brackets, otherwise as written; not yet canonical. */
export type Authority = { readonly host: string; readonly port: number | null };

export type RequestTarget = {
  readonly form: 'origin' | 'absolute' | 'asterisk';
  /** As written, not normal; `/` where absolute-form has none, `*` for OPTIONS of a whole server. */
  readonly path: string;
  /** As written, without its `?`; null without one. */
  readonly query: string | null;
  /** Of absolute-form alone; it names the same host and port as Host. */
  readonly authority: Authority | null;
};

export type Version = 'HTTP/1.0' | 'HTTP/1.1';

export type RequestFraming =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' };

export type ResponseFraming =
  | RequestFraming
  | { readonly kind: 'until-close' }
  /** Status 101: what follows is no longer HTTP. */
  | { readonly kind: 'upgraded' };

export type RequestHead = {
  readonly method: string;
  readonly target: RequestTarget;
  readonly version: Version;
  /** In the order of arrival, the framing and hop-by-hop ones included. */
  readonly headers: readonly Field[];
  readonly host: Authority;
  readonly framing: RequestFraming;
  /** Whether another request may follow; never with HTTP/1.0, as the gateway is a proxy (RFC 9112 §9.3). */
  readonly keepAlive: boolean;
  /** The program waits for 100 before it sends its body. Never without a body or with HTTP/1.0. */
  readonly expectsContinue: boolean;
  /** The value of Upgrade in lower case, maybe a list. Null where Connection does not name it or a body follows. */
  readonly upgrade: string | null;
};

export type ResponseHead = {
  readonly version: Version;
  readonly status: number;
  readonly reason: string;
  readonly headers: readonly Field[];
  readonly framing: ResponseFraming;
  readonly keepAlive: boolean;
  /** Of status 101 alone: what the upstream changes to, in lower case. */
  readonly upgrade: string | null;
};

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const fieldLine = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)$/;
/** Any visible ASCII but `#`, as a fragment is never sent. */
const requestLine = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21\x22\x24-\x7e]+) (HTTP\/1\.[01])$/;
const statusLine = /^(HTTP\/1\.[01]) ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)$/;
const absoluteForm = /^http:\/\/([^/?]*)(.*)$/i;
const authority = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z._-]+))(?::([1-9][0-9]{0,4}))?$/;

const connectStart = 'CONNECT ';

/** What says where a message ends and whom it is for; servers must not read these from another spelling. */
const decisiveNames = new Set(['host', 'content-length', 'transfer-encoding']);

function bad(why: string): Bad {
  return { bad: why };
}

function isWhiteSpace(character: string | undefined): boolean {
  return character === ' ' || character === '\t';
}

/** Without the optional white space of RFC 9110 §5.6.3; `trim()` takes more, a regular expression takes longer. */
function trimmed(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isWhiteSpace(text[start])) start++;
  while (end > start && isWhiteSpace(text[end - 1])) end--;
  return text.slice(start, end);
}

/**
 * One field line without its CRLF. Beyond the grammar: Host, Content-Length and Transfer-Encoding have at most one
 * space before the value and nothing after it, and no name may become one of them where `_` is read as `-` (CGI).
 */
export function parseField(line: string): Field | Bad {
  const match = fieldLine.exec(line);
  if (match === null) return bad('a field line is not well formed');
  const name = match[1]!.toLowerCase();
  const value = trimmed(match[2]!);
  if (decisiveNames.has(name)) {
    const isPlain = match[2] === value || match[2] === ` ${value}`;
    return isPlain ? [name, value] : bad('white space around the value of a framing field');
  }
  if (decisiveNames.has(name.replaceAll('_', '-'))) return bad('a field name imitates a framing field');
  return [name, value];
}

/** Whether it is a method that a request may have, in whatever version of HTTP. */
export function isMethodToken(text: string): boolean {
  return token.test(text) && text.length <= httpLimits.methodCharactersMax;
}

/** Whether a field that HTTP/2 took is one here too. */
export function isFieldValue(name: string, value: string): boolean {
  return !('bad' in parseField(`${name}: ${value}`));
}

/** The lines of a head without their CRLF and without the blank one; at least one, none empty. */
function splitHead(bytes: Buffer): string[] | Bad {
  if (bytes.length > httpLimits.headBytesMax) return bad('the head is too large');
  const lines = bytes.toString('latin1').split('\r\n');
  if (lines.some((line) => /[\r\n]/.test(line))) return bad('CR or LF on its own');
  if (lines.some((line) => /[\0-\x08\x0b-\x1f\x7f]/.test(line))) return bad('a control byte');
  if (lines.pop() !== '' || lines.pop() !== '') return bad('the head does not end with a blank line');
  if (lines.length === 0 || lines.includes('')) return bad('a blank line before the end of the head');
  if (lines.length - 1 > httpLimits.headersMax) return bad('too many header fields');
  return lines;
}

function parseFields(lines: readonly string[]): Field[] | Bad {
  const fields: Field[] = [];
  for (const line of lines) {
    const field = parseField(line);
    if ('bad' in field) return field;
    fields.push(field);
  }
  return fields;
}

function valuesOf(headers: readonly Field[], name: string): string[] {
  return headers.filter((field) => field[0] === name).map((field) => field[1]);
}

/** The options of Connection in lower case; null where one is no token or would take a decisive field away. */
export function connectionOptions(headers: readonly Field[]): ReadonlySet<string> | null {
  const options = valuesOf(headers, 'connection')
    .flatMap((value) => value.split(','))
    .map((option) => trimmed(option).toLowerCase())
    .filter((option) => option !== '');
  if (options.some((option) => !token.test(option) || decisiveNames.has(option))) return null;
  return new Set(options);
}

/** RFC 9112 §6, with every case that it leaves to the recipient refused. */
function parseFraming(headers: readonly Field[], version: Version): RequestFraming | Bad {
  const lengths = valuesOf(headers, 'content-length');
  const codings = valuesOf(headers, 'transfer-encoding');
  if (lengths.length + codings.length > 1) return bad('more than one framing field');
  if (codings.length === 1) {
    if (codings[0] !== 'chunked') return bad('a transfer coding other than chunked');
    return version === 'HTTP/1.1' ? { kind: 'chunked' } : bad('chunked in HTTP/1.0');
  }
  if (lengths.length === 0) return { kind: 'none' };
  const bytes = /^(?:0|[1-9][0-9]{0,15})$/.test(lengths[0]!) ? Number(lengths[0]) : Number.NaN;
  return bytes <= httpLimits.lengthBytesMax ? { kind: 'length', bytes } : bad('Content-Length is no length');
}

/** `host` or `host:port`: a name of letters, digits, `.`, `-` and `_`, an IPv4 address or `[IPv6]`; else null. */
export function parseAuthority(text: string): Authority | null {
  if (text.length > httpLimits.hostCharactersMax) return null;
  const match = authority.exec(text);
  if (match === null) return null;
  const [, address, name] = match;
  const port = match[3] === undefined ? null : Number(match[3]);
  if (port !== null && port > 65_535) return null;
  if (address !== undefined && !isIPv6(address)) return null;
  return { host: (address ?? name)!.toLowerCase(), port };
}

function parseHost(headers: readonly Field[]): Authority | Bad {
  const values = valuesOf(headers, 'host');
  if (values.length !== 1) return bad('not exactly one Host');
  return parseAuthority(values[0]!) ?? bad('Host is no host');
}

function parseTarget(method: string, text: string): RequestTarget | Bad {
  if (text === '*') {
    if (method !== 'OPTIONS') return bad('only OPTIONS has the target *');
    return { form: 'asterisk', path: '*', query: null, authority: null };
  }
  if (text.startsWith('/')) return { form: 'origin', ...splitQuery(text), authority: null };
  const match = absoluteForm.exec(text);
  if (/^https:/i.test(text)) return bad('the target is an https URL, which takes CONNECT');
  if (match === null) return bad('the target is neither a path nor an http URL');
  const named = parseAuthority(match[1]!);
  if (named === null) return bad('the host of the target is no host');
  if (match[2] === '' && method === 'OPTIONS') {
    return { form: 'absolute', path: '*', query: null, authority: named };
  }
  const rest = match[2]!.startsWith('/') ? match[2]! : `/${match[2]}`;
  return { form: 'absolute', ...splitQuery(rest), authority: named };
}

function splitQuery(text: string): { path: string; query: string | null } {
  const mark = text.indexOf('?');
  if (mark === -1) return { path: text, query: null };
  return { path: text.slice(0, mark), query: text.slice(mark + 1) };
}

function isSameAuthority(one: Authority, other: Authority): boolean {
  return one.host === other.host && (one.port ?? 80) === (other.port ?? 80);
}

/** Null where nothing is asked for; Bad where what is asked for is not clear. */
function parseUpgrade(headers: readonly Field[], options: ReadonlySet<string>): string | null | Bad {
  const values = valuesOf(headers, 'upgrade');
  if (values.length > 1) return bad('more than one Upgrade');
  if (values.length === 0 || !options.has('upgrade')) return null;
  return values[0]!.split(',').every(isProtocol) ? values[0]!.toLowerCase() : bad('Upgrade is no list');
}

/** `websocket` or `HTTP/2.0`, with white space around it. */
function isProtocol(text: string): boolean {
  const parts = trimmed(text).split('/');
  return parts.length <= 2 && parts.every((part) => token.test(part));
}

function parseExpect(headers: readonly Field[]): boolean | Bad {
  const values = valuesOf(headers, 'expect');
  if (values.length === 0) return false;
  if (values.length > 1 || values[0]!.toLowerCase() !== '100-continue') return bad('an unknown expectation');
  return true;
}

type Connection = {
  readonly headers: readonly Field[];
  readonly framing: RequestFraming;
  readonly options: ReadonlySet<string>;
  readonly upgrade: string | null;
};

/** What both kinds of head have in common. */
function parseConnection(lines: readonly string[], version: Version): Connection | Bad {
  const headers = parseFields(lines);
  if ('bad' in headers) return headers;
  const framing = parseFraming(headers, version);
  if ('bad' in framing) return framing;
  const options = connectionOptions(headers);
  if (options === null) return bad('Connection is no list, or names Host or a framing field');
  const upgrade = parseUpgrade(headers, options);
  if (upgrade !== null && typeof upgrade !== 'string') return upgrade;
  return { headers, framing, options, upgrade: version === 'HTTP/1.1' ? upgrade : null };
}

/**
 * The head of a request, from its first byte up to and including the blank line. What it returns has one reading:
 * one host, one target, one way to find the end of the body. The host and the path are still what the program
 * wrote: compare the host with the name that was looked up and give the path to `normalPath`.
 */
export function parseRequestHead(bytes: Buffer): { readonly head: RequestHead } | Bad {
  const lines = splitHead(bytes);
  if ('bad' in lines) return lines;
  const match = requestLine.exec(lines[0]!);
  if (match === null) return bad('the request line is not well formed');
  const method = match[1]!;
  const version = match[3] as Version;
  if (method.length > httpLimits.methodCharactersMax) return bad('the method is too long');
  if (method === 'CONNECT') return bad('CONNECT is not taken here');
  const target = parseTarget(method, match[2]!);
  if ('bad' in target) return target;
  const connection = parseConnection(lines.slice(1), version);
  if ('bad' in connection) return connection;
  const { headers, framing, options } = connection;
  const host = parseHost(headers);
  if ('bad' in host) return host;
  if (target.authority !== null && !isSameAuthority(target.authority, host)) {
    return bad('the target and Host name different hosts');
  }
  const expects = parseExpect(headers);
  if (typeof expects !== 'boolean') return expects;
  const expectsContinue = expects && framing.kind !== 'none' && version === 'HTTP/1.1';
  const upgrade = framing.kind === 'none' ? connection.upgrade : null;
  const keepAlive = version === 'HTTP/1.1' && !options.has('close');
  return { head: { method, target, version, headers, host, framing, keepAlive, expectsContinue, upgrade } };
}

export function isConnectHead(bytes: Buffer): boolean {
  return bytes.toString('latin1', 0, connectStart.length) === connectStart;
}

/**
 * The destination of a CONNECT request: authority-form with a port, no body, and Host, which HTTP/1.0 may leave out,
 * for the same host. The host is as the program wrote it, as in `parseRequestHead`.
 */
export function parseConnectHead(bytes: Buffer): { readonly host: string; readonly port: number } | Bad {
  const lines = splitHead(bytes);
  if ('bad' in lines) return lines;
  const match = requestLine.exec(lines[0]!);
  if (match === null || match[1] !== 'CONNECT') return bad('the request line is not well formed');
  const target = parseAuthority(match[2]!);
  if (target === null || target.port === null) return bad('the target of CONNECT is not host:port');
  const connection = parseConnection(lines.slice(1), match[3] as Version);
  if ('bad' in connection) return connection;
  const { headers, framing } = connection;
  if (framing.kind !== 'none') return bad('CONNECT with a body');
  if (match[3] === 'HTTP/1.1' || valuesOf(headers, 'host').length > 0) {
    const host = parseHost(headers);
    if ('bad' in host) return host;
    if (host.host !== target.host || (host.port ?? target.port) !== target.port)
      return bad('the target and Host name different hosts');
  }
  return { host: target.host, port: target.port };
}

/** RFC 9112 §6.3, given what the fields say. */
function responseFraming(
  status: number,
  requestMethod: string,
  { framing, upgrade }: Connection,
): ResponseFraming | Bad {
  if (status === 101) {
    if (upgrade === null || framing.kind !== 'none') return bad('101 without Upgrade, or with a body');
    return { kind: 'upgraded' };
  }
  if (status < 200 || status === 204) {
    const isEmpty = framing.kind === 'none' || (framing.kind === 'length' && framing.bytes === 0);
    return isEmpty ? { kind: 'none' } : bad('a body with a status that has none');
  }
  if (requestMethod === 'HEAD' || status === 304) return { kind: 'none' };
  return framing.kind === 'none' ? { kind: 'until-close' } : framing;
}

/** RFC 9112 §9.3, for a response. */
function isKept(version: Version, options: ReadonlySet<string>): boolean {
  return !options.has('close') && (version === 'HTTP/1.1' || options.has('keep-alive'));
}

/**
 * The head of a response to a request of this method, as strictly as a request: the upstream is untrusted too.
 * A 1xx other than 101 is followed by another head. Whether the request asked for the upgrade of a 101, and
 * whether a chunked body suits an HTTP/1.0 program, is for the caller to check.
 */
export function parseResponseHead(
  bytes: Buffer,
  requestMethod: string,
): { readonly head: ResponseHead } | Bad {
  const lines = splitHead(bytes);
  if ('bad' in lines) return lines;
  const match = statusLine.exec(lines[0]!);
  if (match === null) return bad('the status line is not well formed');
  const version = match[1] as Version;
  const status = Number(match[2]);
  const connection = parseConnection(lines.slice(1), version);
  if ('bad' in connection) return connection;
  const framing = responseFraming(status, requestMethod, connection);
  if ('bad' in framing) return framing;
  const keepAlive = framing.kind !== 'until-close' && isKept(version, connection.options);
  const upgrade = status === 101 ? connection.upgrade : null;
  const head = {
    version,
    status,
    reason: match[3]!,
    headers: connection.headers,
    framing,
    keepAlive,
    upgrade,
  };
  return { head };
}

export type HeadStep =
  | { readonly state: 'more' }
  /** `rest` is what follows the head: the body, or the next message. */
  | { readonly state: 'head'; readonly bytes: Buffer; readonly rest: Buffer }
  | { readonly state: 'too-large' };

const cr = 0x0d;
const lf = 0x0a;
const tab = 0x09;

function isControl(byte: number): boolean {
  return (byte < 0x20 && byte !== tab) || byte === 0x7f;
}

/**
 * Cuts heads out of a stream, one after another. Bytes that no head may hold (a bare CR or LF, a control byte, a
 * blank first line) end it at once, so that the parser refuses what is there instead of waiting for the rest.
 * Keeps at most 16 KiB; `bytes` and `rest` may share memory with the chunk. Stays `too-large` once it is.
 */
export class HeadReader {
  /** What came of a head whose end has not come; its size is that of the largest head. */
  #held: Buffer | null = null;
  #size = 0;
  /** How much of CR LF CR LF was seen. */
  #ending = 0;
  #overflowed = false;

  push(chunk: Buffer): HeadStep {
    if (this.#overflowed) return { state: 'too-large' };
    const limit = Math.min(chunk.length, httpLimits.headBytesMax - this.#size);
    for (let at = 0; at < limit; at++) {
      if (this.#endsWith(chunk[at]!, this.#size + at === 0)) return this.#cut(chunk, at + 1);
    }
    this.#hold(chunk.subarray(0, limit));
    if (this.#size < httpLimits.headBytesMax) return { state: 'more' };
    this.#overflowed = true;
    this.#held = null;
    return { state: 'too-large' };
  }

  /** Whether this byte ends the head, well or badly. */
  #endsWith(byte: number, isFirst: boolean): boolean {
    const expectsLf = this.#ending % 2 === 1;
    this.#ending = byte === cr || byte === lf ? this.#ending + 1 : 0;
    if (expectsLf) return byte !== lf || this.#ending === 4;
    if (byte === cr) return isFirst;
    return isControl(byte);
  }

  #hold(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#held ??= Buffer.alloc(httpLimits.headBytesMax);
    bytes.copy(this.#held, this.#size);
    this.#size += bytes.length;
  }

  #cut(chunk: Buffer, end: number): HeadStep {
    let bytes = chunk.subarray(0, end);
    if (this.#held !== null) {
      this.#hold(bytes);
      assert(this.#size <= httpLimits.headBytesMax);
      bytes = this.#held.subarray(0, this.#size);
    }
    this.#held = null;
    this.#size = 0;
    this.#ending = 0;
    return { state: 'head', bytes, rest: chunk.subarray(end) };
  }
}
