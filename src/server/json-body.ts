import type { IncomingMessage } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { jsonFlaw } from '../base/json-flaw.ts';
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
  const flaw = jsonFlaw(text, serverLimits.jsonDepthMax);
  if (flaw !== null) throw malformed(`The body ${flaw}.`);
  return value;
}

function malformed(detail: string): Fault {
  return new Fault('request.malformed', { detail });
}
