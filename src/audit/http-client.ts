import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';

export type HttpTrust = {
  /** Authorities that alone may vouch for the receiver, in PEM; none means those that Node ships. */
  readonly authorities: readonly string[];
  /** What we show to a receiver that asks for a certificate. */
  readonly identity: { readonly cert: string; readonly key: string } | null;
};

export type HttpClientOptions = HttpTrust & {
  /** `http:` is for loopback alone, which whoever made the URL has seen to. */
  readonly protocol: 'http:' | 'https:';
  readonly version: string;
  /** Of one request with its answer. */
  readonly sendMs: number;
  readonly answerBytesMax: number;
  readonly answerHeaderBytesMax: number;
};

export type HttpRequest = {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Absent where the method has none. */
  readonly body?: string;
};

/** `body` is null where it was longer than `answerBytesMax`. Redirects are answers like any other. */
export type Answer = {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string | null;
};

/** The way to one receiver: TLS verified or loopback, one connection that is kept, answers bounded in size and time. */
export type HttpClient = {
  /** Rejects where no answer came: a timeout, an abort by `signal`, or what the connection says. */
  exchange(request: HttpRequest, signal: AbortSignal): Promise<Answer>;
  close(): void;
};

/** Opens no connection yet. */
export function openHttpClient(options: HttpClientOptions): HttpClient {
  const isPlain = options.protocol === 'http:';
  const { authorities, identity } = options;
  const agent = isPlain
    ? new HttpAgent({ keepAlive: true, maxSockets: 1 })
    : new HttpsAgent({
        keepAlive: true,
        maxSockets: 1,
        ...(authorities.length === 0 ? {} : { ca: [...authorities] }),
        ...identity,
      });
  return {
    async exchange({ method, url, headers, body }, signal) {
      const ends = AbortSignal.any([signal, AbortSignal.timeout(options.sendMs)]);
      const outgoing = (isPlain ? httpRequest : httpsRequest)(url, {
        method,
        headers: {
          'user-agent': `sealwright/${options.version}`,
          ...headers,
          ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
        },
        agent,
        maxHeaderSize: options.answerHeaderBytesMax,
        signal: ends,
      });
      try {
        return await answerOf(outgoing, body, options.answerBytesMax);
      } catch (error) {
        outgoing.destroy();
        throw ends.aborted ? ends.reason : error;
      }
    },
    close: () => agent.destroy(),
  };
}

async function answerOf(
  outgoing: ReturnType<typeof httpRequest>,
  body: string | undefined,
  bytesMax: number,
): Promise<Answer> {
  const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve).on('error', reject).end(body);
  });
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) break;
    chunks.push(chunk);
  }
  const isWhole = bytes <= bytesMax;
  if (!isWhole) outgoing.destroy();
  const { statusCode: status = 0, headers } = incoming;
  return { status, headers, body: isWhole ? Buffer.concat(chunks).toString('utf8') : null };
}
