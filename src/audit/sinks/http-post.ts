import { type Answer, openHttpClient } from '../http-client.ts';
import { sinkLimits } from './limits.ts';
import { failureCode, shownReason } from './reason.ts';
import type { SendResult, SinkParts } from './sink.ts';

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

/** The way to a receiver that speaks HTTP. `path` stands in for an empty one in the sink's URL. */
export function openPost(parts: SinkParts, path: string): Post {
  const { settings, version, sendMs, now } = parts;
  const url = new URL(settings.url.slice(settings.url.indexOf('+') + 1));
  if (url.pathname === '/') url.pathname = path;
  const protocol = url.protocol === 'http:' ? 'http:' : 'https:';
  const client = openHttpClient({ ...settings, ...sinkLimits, protocol, version, sendMs });
  const secrets = settings.secret === null ? [] : [settings.secret];
  return {
    async send(body, headers, signal, read = () => ({ kind: 'taken' })) {
      const request = { 'content-type': 'application/json', ...headers };
      try {
        const answer = await client.exchange({ method: 'POST', url, headers: request, body }, signal);
        return answer.status >= 200 && answer.status < 300
          ? read(answer)
          : refusalOf(answer, [...secrets, ...Object.values(headers)], now());
      } catch (error) {
        return { kind: 'later', reason: failureCode(error) };
      }
    },
    close: async () => client.close(),
  };
}

/**
 * Statuses that are about what was sent: not well formed, too large, not understood. Every other refusal is about the
 * address, the credential or the receiver, and the same events may be taken once somebody has put that right.
 */
const aboutContent: ReadonlySet<number> = new Set([400, 413, 422]);

function refusalOf({ status, body, headers }: Answer, secrets: readonly string[], now: number): SendResult {
  const said = shownReason(body ?? '', secrets);
  const reason = `it answered ${status}${hintOf(status)}${said === null ? '' : `: ${said}`}`;
  if (aboutContent.has(status)) return { kind: 'refused', reason };
  const retryAfterMs = retryAfterOf(headers['retry-after'] ?? null, now);
  return { kind: 'later', reason, ...(retryAfterMs === null ? {} : { retryAfterMs }) };
}

function hintOf(status: number): string {
  if (status >= 300 && status < 400)
    return ' (redirects are not followed: put the new address into sinks.yaml)';
  if (status === 401 || status === 403) return ' (it does not accept the secret of this sink)';
  return status === 404 ? ' (the path of the address is not there)' : '';
}

/** Seconds or a date (RFC 9110 §10.2.3), bounded. */
export function retryAfterOf(text: string | null, now: number): number | null {
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
