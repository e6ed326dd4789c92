import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { EgressDenial, EgressFlowEnd, EgressRule } from '../../model/egress.ts';
import type { Exceeded } from '../allowance.ts';
import { isTrailer } from '../http/body.ts';
import { type Authority, isFieldValue, isMethodToken, parseAuthority } from '../http/head.ts';
import { httpLimits } from '../http/limits.ts';
import { gatewayLimits } from '../limits.ts';
import type { Connection, Opened } from './connection.ts';
import { type Asked, hostValue, judgeRequest } from './http.ts';
import { refusalStatus, refusalText } from './refusal.ts';

/**
 * HTTP/2 on a connection whose TLS ends here: each request of it is judged and recorded as in HTTP/1 before any of it
 * goes upstream. nghttp2 parses both sides, and refuses what RFC 9113 §8 calls malformed: fields of a connection,
 * lengths that do not fit, pseudo-fields out of place. Resolves when the program's side has ended,
 * and with it every request.
 */
export async function serveHttp2(connection: Connection, rule: EgressRule, upstream: Opened): Promise<void> {
  const relay = new Http2Relay(connection, rule, upstream);
  await relay.ended;
}

const { NGHTTP2_CANCEL, NGHTTP2_FLAG_END_STREAM, NGHTTP2_INTERNAL_ERROR, NGHTTP2_REFUSED_STREAM } = constants;

/** Bounds of both sessions. What one connection may have on its way is bounded by its windows. */
const sessionBounds = {
  maxHeaderListPairs: httpLimits.headersMax + 4,
  maxSessionInvalidFrames: 100,
} as const;

type End = Pick<EgressFlowEnd, 'bytesIn' | 'bytesOut' | 'outcome'>;

class Http2Relay {
  readonly ended: Promise<void>;
  readonly #connection: Connection;
  readonly #rule: EgressRule;
  readonly #address: string;
  readonly #program: ServerHttp2Session;
  readonly #upstream: ClientHttp2Session;
  readonly #isUpstreamGone: boolean;

  constructor(connection: Connection, rule: EgressRule, { socket, address }: Opened) {
    this.#connection = connection;
    this.#rule = rule;
    this.#address = address;
    this.#isUpstreamGone = socket.destroyed || socket.readableEnded;
    // A session has no half: its end in one direction is its end.
    for (const side of [connection.client, socket]) side.allowHalfOpen = false;
    this.#program = performServerHandshake(connection.client, {
      ...sessionBounds,
      settings: {
        maxConcurrentStreams: gatewayLimits.streamsMax,
        maxHeaderListSize: httpLimits.headBytesMax,
      },
    });
    // A TLS socket that no server made does not say that it is secure, which the session waits for.
    connection.client.emit('secureConnect');
    this.#upstream = connect(`https://${hostValue(connection.destination, rule)}`, {
      ...sessionBounds,
      createConnection: () => socket,
      settings: {
        enablePush: false,
        initialWindowSize: gatewayLimits.streamWindowBytes,
        maxHeaderListSize: httpLimits.headBytesMax,
      },
    });
    this.ended = this.#run();
  }

  async #run(): Promise<void> {
    const [program, upstream] = [this.#program, this.#upstream];
    const serving = new Set<Promise<void>>();
    for (const session of [program, upstream]) {
      session.on('error', () => undefined);
      session.setTimeout(gatewayLimits.idleMs, () => session.destroy());
    }
    upstream.once('connect', () => {
      if (!upstream.destroyed) upstream.setLocalWindowSize(gatewayLimits.connectionWindowBytes);
    });
    // Programs take a closing session for a reason to make another connection.
    const retire = () => {
      if (!program.closed) program.close();
    };
    upstream.once('goaway', retire).once('close', retire);
    // A session never hears of an end that its socket had before.
    if (this.#isUpstreamGone) upstream.destroy();
    program.on('stream', (stream, headers, flags) => {
      stream.on('error', () => undefined);
      const served = this.#serve(stream, headers, flags).catch(() => stream.close(NGHTTP2_INTERNAL_ERROR));
      serving.add(served);
      void served.finally(() => serving.delete(served));
    });
    const sweep = this.#sweep(serving);
    if (!program.destroyed) await once(program, 'close').catch(() => undefined);
    clearInterval(sweep);
    upstream.destroy();
    await Promise.allSettled(serving);
  }

  /** A session that ends waits for its socket to end, whatever the other end does; one that was seen so twice is cut. */
  #sweep(serving: ReadonlySet<unknown>): NodeJS.Timeout {
    let wasEnding = false;
    return setInterval(() => {
      const isEnding = this.#program.destroyed || (this.#program.closed && serving.size === 0);
      if (isEnding && wasEnding) this.#connection.client.destroy();
      wasEnding = isEnding;
    }, gatewayLimits.firstBytesMs);
  }

  async #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number): Promise<void> {
    const request = parseRequest(headers);
    if (request === null) return this.#deny(stream, 'malformed');
    const judged = judgeRequest(this.#connection, this.#rule, request);
    if ('denial' in judged) return this.#deny(stream, judged.denial, judged);
    const exceeded = this.#connection.mayRequest();
    if (exceeded !== null) return this.#deny(stream, exceeded, { method: request.method, path: judged.path });
    // From here on, so that a change of policy finds it while its verdict is on its way.
    const asked = { method: request.method, path: judged.path };
    this.#connection.requests.add(asked);
    try {
      await this.#serveAllowed(stream, { ...request, ...judged }, flags);
    } finally {
      this.#connection.requests.delete(asked);
    }
  }

  async #serveAllowed(
    stream: ServerHttp2Stream,
    { method, path, query, fields, rule }: Request & { readonly rule: EgressRule },
    flags: number,
  ): Promise<void> {
    const flow = await this.#connection.allow(rule, this.#address, { method, path });
    if (flow === null) {
      if (!this.#connection.isCut) this.#deny(stream, 'no-record', { method, path });
      return;
    }
    const authority = hostValue(this.#connection.destination, rule);
    const pseudo = { ':method': method, ':scheme': 'https', ':authority': authority, ':path': path + query };
    const endStream = (flags & NGHTTP2_FLAG_END_STREAM) !== 0;
    let end: End = { bytesIn: 0, bytesOut: 0, outcome: 'reset' };
    try {
      end = (await this.#exchange(stream, { ...fields, ...pseudo }, endStream)) ?? end;
    } finally {
      this.#connection.endedRequest(flow, end);
    }
  }

  async #exchange(
    stream: ServerHttp2Stream,
    headers: OutgoingHttpHeaders,
    endStream: boolean,
  ): Promise<End | null> {
    if (stream.closed) return null;
    if (this.#upstream.closed || this.#upstream.destroyed) {
      // Not processed, so that the program may ask again (RFC 9113 §8.7).
      stream.close(NGHTTP2_REFUSED_STREAM);
      return null;
    }
    const maySend = (bytes: number) => this.#connection.maySend(bytes);
    if (!maySend(sizeOf(headers))) return null;
    const upstream = this.#upstream.request(headers, { endStream, waitForTrailers: !endStream });
    return await relay(stream, upstream, { endStream, maySend });
  }

  #deny(stream: ServerHttp2Stream, why: EgressDenial | Exceeded, asked: Partial<Asked> = {}): void {
    const what = typeof why === 'object' ? ({ denial: 'limit', exceeded: why } as const) : { denial: why };
    this.#connection.noteDenial(what.denial, 'https', asked);
    if (stream.closed || stream.headersSent) return;
    const { destination } = this.#connection;
    const refused = { destination, protocol: 'https', ...asked, ...what } as const;
    const { code, fields } = refusalStatus(refused);
    stream.respond({ ':status': code, 'content-type': 'text/plain; charset=utf-8', ...fields });
    // The rest of its body is nobody's.
    stream.end(refusalText(refused), () => stream.close());
    stream.resume();
  }
}

/** The size of a field section as RFC 7541 §4.1 counts it, which is more than what is sent of it. */
function sizeOf(headers: OutgoingHttpHeaders): number {
  return Object.entries(headers)
    .flatMap(([name, value]) => [value].flat().map((each) => name.length + String(each).length + 32))
    .reduce((sum, size) => sum + size, 0);
}

/** Joins the two streams of one request until both are closed. */
async function relay(
  stream: ServerHttp2Stream,
  upstream: ClientHttp2Stream,
  { endStream, maySend }: { endStream: boolean; maySend: (bytes: number) => boolean },
): Promise<End> {
  const bytes = { bytesOut: 0, bytesIn: 0 };
  let isWhole = false;
  upstream.on('error', () => undefined);
  if (!endStream) {
    // Heard before the pipe hears it: to a stream that is destroyed, it writes nothing.
    stream.on('data', (chunk: Buffer) => {
      if (maySend(chunk.length)) bytes.bytesOut += chunk.length;
      else upstream.destroy();
    });
    passTrailers(stream, upstream, (trailers) => maySend(sizeOf(trailers)));
    stream.pipe(upstream);
  }
  let interim = 0;
  upstream.on('headers', (headers) => {
    interim += 1;
    if (interim <= gatewayLimits.interimAnswersMax && !stream.headersSent)
      orClose(stream, () => stream.additionalHeaders(headers));
  });
  upstream.on('response', (headers, flags) => {
    const isEmpty = (flags & NGHTTP2_FLAG_END_STREAM) !== 0;
    passTrailers(upstream, stream);
    orClose(stream, () =>
      stream.respond(headers as OutgoingHttpHeaders, { endStream: isEmpty, waitForTrailers: !isEmpty }),
    );
    upstream.on('data', (chunk: Buffer) => {
      bytes.bytesIn += chunk.length;
    });
    upstream.once('end', () => {
      isWhole = !upstream.aborted && upstream.rstCode === 0;
    });
    upstream.pipe(stream);
  });
  upstream.once('close', () => {
    if (stream.closed || isWhole) return;
    stream.close(upstream.rstCode === 0 ? NGHTTP2_CANCEL : upstream.rstCode);
  });
  stream.once('close', () => upstream.close(stream.rstCode === 0 ? NGHTTP2_CANCEL : stream.rstCode));
  await Promise.all([closed(stream), closed(upstream)]);
  return { ...bytes, outcome: isWhole ? 'closed' : 'reset' };
}

/** What an upstream sent may be what cannot be sent on, such as status 101; then this stream ends and nothing else. */
function orClose(stream: ServerHttp2Stream | ClientHttp2Stream, act: () => void): void {
  if (stream.closed || stream.destroyed) return;
  try {
    act();
  } catch {
    stream.close(NGHTTP2_INTERNAL_ERROR);
  }
}

async function closed(stream: ServerHttp2Stream | ClientHttp2Stream): Promise<void> {
  if (!stream.destroyed) await once(stream, 'close').catch(() => undefined);
}

/** Trailers of one side for the other; those that belong in a head end the stream. */
function passTrailers(
  from: ServerHttp2Stream | ClientHttp2Stream,
  to: ServerHttp2Stream | ClientHttp2Stream,
  mayPass = (_trailers: OutgoingHttpHeaders) => true,
): void {
  let trailers: IncomingHttpHeaders = {};
  from.once('trailers', (received: IncomingHttpHeaders) => {
    const isTaken = ([name, value]: [string, unknown]) =>
      isTrailer(name) && isFieldValue(name, String(value));
    if (Object.entries(received).every(isTaken) && mayPass(received)) trailers = received;
    else to.close(NGHTTP2_INTERNAL_ERROR);
  });
  to.once('wantTrailers', () => orClose(to, () => to.sendTrailers(trailers)));
}

type Request = Asked & {
  readonly authority: Authority;
  /** With its `?`, or empty. */
  readonly query: string;
  readonly fields: OutgoingHttpHeaders;
};

/** Pseudo-fields come from what was judged; `host` says the same as `:authority`, and the other is for proxies. */
const notForwarded: ReadonlySet<string> = new Set(['host', 'proxy-authorization']);
const target = /^(\/[\x21\x22\x24-\x3e\x40-\x7e]*|\*)(\?[\x21\x22\x24-\x7e]*)?$/;

/** What nghttp2 took for a request, as strictly as one of HTTP/1; null where two readers could differ about it. */
function parseRequest(headers: IncomingHttpHeaders): Request | null {
  const { ':method': method, ':scheme': scheme, ':path': whole, ':authority': named, host } = headers;
  const [, path, query = ''] = target.exec(whole ?? '') ?? [];
  if (method === undefined || !isMethodToken(method) || method === 'CONNECT') return null;
  if (path === undefined || (path === '*' && (method !== 'OPTIONS' || query !== ''))) return null;
  const authority = parseAuthority(named ?? host ?? '');
  if (scheme !== 'https' || authority === null || (host ?? named) !== (named ?? host)) return null;
  const fields: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(':') || notForwarded.has(name)) continue;
    if (![value].flat().every((each) => isFieldValue(name, each ?? ''))) return null;
    fields[name] = value;
  }
  return { method, path, query, authority, fields };
}
