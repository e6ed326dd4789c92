import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { sinkLimits } from './limits.ts';
import { failureCode, shownReason } from './reason.ts';
import type { SendResult, SinkParts } from './sink.ts';

/** `body` is null where it was longer than `sinkLimits.answerBytesMax`. */
export type Answer = {
  readonly status: number;
  readonly body: string | null;
  readonly retryAfter: string | null;
};
export type Post = {
  /** One POST of JSON without redirects; `read` judges an answer of 2xx. Never rejects. */
  send(
    body: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
    read?: (answer: Answer) => SendResult,
  ): Promise<SendResult>;
  close(): Promise<void>;
};

/**
 * The way to a receiver that speaks HTTP: TLS verified against the sink's authorities, or plain on loopback, one
 * connection that is kept, answers bounded in size and time. `path` stands in for an empty one in the sink's URL.
 */
export function openPost(parts: SinkParts, path: string): Post {
  const { settings, now } = parts;
  const url = new URL(settings.url.slice(settings.url.indexOf('+') + 1));
  if (url.pathname === '/') url.pathname = path;
  const isPlain = url.protocol === 'http:';
  const { authorities, identity } = settings;
  const agent = isPlain
    ? new HttpAgent({ keepAlive: true, maxSockets: 1 })
    : new HttpsAgent({
        keepAlive: true,
        maxSockets: 1,
        ...(authorities.length === 0 ? {} : { ca: [...authorities] }),
        ...identity,
      });
  const secrets = settings.secret === null ? [] : [settings.secret];
  return {
    async send(body, headers, signal, read = () => ({ kind: 'taken' })) {
      const ends = AbortSignal.any([signal, AbortSignal.timeout(parts.sendMs)]);
      const outgoing = (isPlain ? httpRequest : httpsRequest)(url, {
        method: 'POST',
        headers: {
          'user-agent': `sealwright/${parts.version}`,
          'content-type': 'application/json',
          ...headers,
          'content-length': Buffer.byteLength(body),
        },
        agent,
        maxHeaderSize: sinkLimits.answerHeaderBytesMax,
        signal: ends,
      });
      try {
        const answer = await exchange(outgoing, body);
        return answer.status >= 200 && answer.status < 300
          ? read(answer)
          : refusalOf(answer, [...secrets, ...Object.values(headers)], now());
      } catch (error) {
        outgoing.destroy();
        return { kind: 'later', reason: failureCode(ends.aborted ? ends.reason : error) };
      }
    },
    close: async () => agent.destroy(),
  };
}

async function exchange(outgoing: ReturnType<typeof httpRequest>, body: string): Promise<Answer> {
  const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve).on('error', reject).end(body);
  });
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > sinkLimits.answerBytesMax) break;
    chunks.push(chunk);
  }
  if (bytes > sinkLimits.answerBytesMax) outgoing.destroy();
  return {
    status: incoming.statusCode ?? 0,
    body: bytes > sinkLimits.answerBytesMax ? null : Buffer.concat(chunks).toString('utf8'),
    retryAfter: incoming.headers['retry-after'] ?? null,
  };
}

/**
 * Statuses that are about what was sent: not well formed, too large, not understood. Every other refusal is about the
 * address, the credential or the receiver, and the same events may be taken once somebody has put that right.
 */
const aboutContent: ReadonlySet<number> = new Set([400, 413, 422]);

function refusalOf(
  { status, body, retryAfter }: Answer,
  secrets: readonly string[],
  now: number,
): SendResult {
  const said = shownReason(body ?? '', secrets);
  const reason = `it answered ${status}${hintOf(status)}${said === null ? '' : `: ${said}`}`;
  if (aboutContent.has(status)) return { kind: 'refused', reason };
  const retryAfterMs = retryAfterOf(retryAfter, now);
  return { kind: 'later', reason, ...(retryAfterMs === null ? {} : { retryAfterMs }) };
}

function hintOf(status: number): string {
  if (status >= 300 && status < 400)
    return ' (redirects are not followed: put the new address into sinks.yaml)';
  if (status === 401 || status === 403) return ' (it does not accept the secret of this sink)';
  return status === 404 ? ' (the path of the address is not there)' : '';
}

/** Seconds or a date (RFC 9110 §10.2.3), bounded. */
function retryAfterOf(text: string | null, now: number): number | null {
  if (text === null) return null;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), sinkLimits.retryAfterMs);
}

/** `Authorization` for a token, or for a user whose password the secret is. */
export function authorizationOf({ user, secret }: SinkParts['settings']): Record<string, string> {
  if (secret === null) return {};
  const basic = () => `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`;
  return { authorization: user === undefined ? `Bearer ${secret}` : basic() };
}
