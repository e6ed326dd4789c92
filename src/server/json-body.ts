import type { IncomingMessage } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { Fault } from '../contract/faults.ts';
import { type ApiLimits, serverLimits } from './limits.ts';

/**
 * Parses a JSON body strictly: UTF-8 without a byte order mark, at most `bodyBytesMax`, whole within
 * `bodyTimeoutMs`, no key twice, no `__proto__`, no more than `jsonDepthMax` levels. Two parsers that read the
 * same bytes differently are how a request means one thing to a guard and another to what it guards. An empty
 * body is undefined; the route's schema says whether it may be.
 */
export function jsonBodyParser(limits: ApiLimits) {
  return async (request: FastifyRequest, payload: IncomingMessage): Promise<unknown> => {
    refuseEncodings(request.headers['content-type'] ?? '', request.headers['content-encoding']);
    const bytes = await readBody(payload, limits.bodyBytesMax, limits.bodyTimeoutMs);
    return bytes.length === 0 ? undefined : parseStrictJson(bytes);
  };
}

/** Refuses what would have to be decoded first: compressed bodies and other character sets. */
export function refuseEncodings(contentType: string, contentEncoding: string | undefined): void {
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(contentType)?.[1];
  if (charset !== undefined && charset.toLowerCase() !== 'utf-8')
    throw new Fault('request.media-type', { detail: 'Only the character set utf-8 is taken.' });
  if (contentEncoding !== undefined && contentEncoding.toLowerCase() !== 'identity')
    throw new Fault('request.media-type', { detail: 'Compressed bodies are not taken: send it as it is.' });
}

/** All bytes of a body. Throws `request.too-large`, `request.timeout` or `request.malformed`. */
export function readBody(payload: IncomingMessage, bytesMax: number, timeoutMs: number): Promise<Buffer> {
  const tooLarge = new Fault('request.too-large', { detail: `The body is larger than ${bytesMax} bytes.` });
  if (Number(payload.headers['content-length'] ?? 0) > bytesMax) return Promise.reject(tooLarge);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const settle = (act: () => void) => {
      clearTimeout(timer);
      payload.off('data', onData).off('end', onEnd).off('error', onError);
      act();
    };
    const timer = setTimeout(
      () =>
        settle(() => reject(new Fault('request.timeout', { detail: 'The body did not arrive in time.' }))),
      timeoutMs,
    );
    const onData = (chunk: Buffer) => {
      size += chunk.length;
      if (size > bytesMax) settle(() => reject(tooLarge));
      else chunks.push(chunk);
    };
    const onEnd = () => settle(() => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
    const onError = (cause: Error) =>
      settle(() =>
        reject(new Fault('request.malformed', { detail: 'The body ended before it was whole.', cause })),
      );
    payload.on('data', onData).on('end', onEnd).on('error', onError);
  });
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The value, or a Fault `request.malformed`. The value is unverified beyond its syntax. */
export function parseStrictJson(bytes: Buffer): unknown {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw malformed('The body is not valid UTF-8.');
  }
  if (text.startsWith('\ufeff')) throw malformed('The body starts with a byte order mark.');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed('The body is not valid JSON.');
  }
  inspect(text);
  return value;
}

type Level = { readonly keys: Set<string> | null; readonly under: string | null };

/** Walks text that is known to be JSON, for what the parser lets pass. */
function inspect(text: string): void {
  const levels: Level[] = [];
  let key: string | null = null;
  let awaitsKey = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') {
      const end = stringEnd(text, at);
      if (awaitsKey) {
        key = keyOf(text, at, end);
        admitKey(key, levels.at(-1)!);
      }
      awaitsKey = false;
      at = end;
    } else if (character === '{' || character === '[') {
      levels.push({ keys: character === '{' ? new Set() : null, under: key });
      if (levels.length > serverLimits.jsonDepthMax)
        throw malformed(`The body is nested deeper than ${serverLimits.jsonDepthMax} levels.`);
      awaitsKey = character === '{';
      key = null;
    } else if (character === '}' || character === ']') {
      levels.pop();
      awaitsKey = false;
    } else if (character === ',') {
      awaitsKey = levels.at(-1)?.keys !== null;
      key = null;
    }
  }
}

function admitKey(key: string, level: Level): void {
  if (key === '__proto__' || (key === 'prototype' && level.under === 'constructor'))
    throw malformed('The body holds a key that would change the prototype of an object.');
  if (level.keys!.has(key))
    throw malformed(`The body holds the key ${JSON.stringify(key.slice(0, 64))} twice.`);
  level.keys!.add(key);
}

function keyOf(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, end);
  return raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw;
}

/** The index of the quote that ends the string that starts at `start`. */
function stringEnd(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  for (;;) {
    let backslashes = 0;
    while (text[end - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return end;
    end = text.indexOf('"', end + 1);
  }
}

function malformed(detail: string): Fault {
  return new Fault('request.malformed', { detail });
}
