import { openHttpClient } from '../http-client.ts';
import { retryAfterOf } from '../sinks/http-post.ts';
import { failureCode, shownReason } from '../sinks/reason.ts';
import { witnessLimits } from './limits.ts';
import { conflict } from './shelf.ts';
import type { Witness, WitnessParts } from './witness.ts';

/**
 * Any receiver of POST: the body is the signed note, headers name stream, origin and size. 2xx: it is kept. 409: what the
 * receiver has contradicts it. All checking is the receiver's.
 */
export function openPostWitness({ settings, version, sendMs, now }: WitnessParts): Witness {
  const url = new URL(settings.url.slice(settings.url.indexOf('+') + 1));
  const protocol = url.protocol === 'http:' ? 'http:' : 'https:';
  const client = openHttpClient({ ...settings, ...witnessLimits, protocol, version, sendMs });
  const { secret } = settings;
  return {
    async push({ stream, checkpoint: { origin, size, note } }, signal) {
      const headers = {
        'content-type': 'text/plain; charset=utf-8',
        'sealwright-stream': stream,
        'sealwright-origin': origin,
        'sealwright-size': String(size),
        ...(secret === null ? {} : { authorization: `Bearer ${secret}` }),
      };
      try {
        const answer = await client.exchange({ method: 'POST', url, headers, body: note }, signal);
        const { status, body } = answer;
        if (status >= 200 && status < 300) return { kind: 'kept' };
        const said = shownReason(body ?? '', secret === null ? [] : [secret]);
        const reason = `it answered ${status}${said === null ? '' : `: ${said}`}`;
        if (status === 409) return conflict(`what it has of ${stream} is not of this log: ${reason}`);
        const retryAfterMs = retryAfterOf(answer.headers['retry-after'] ?? null, now());
        return { kind: 'later', reason, ...(retryAfterMs === null ? {} : { retryAfterMs }) };
      } catch (error) {
        return { kind: 'later', reason: failureCode(error) };
      }
    },
    close: () => client.close(),
  };
}
