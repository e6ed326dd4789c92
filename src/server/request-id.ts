import type { IncomingMessage } from 'node:http';
import { newId } from '../model/ids.ts';
import { serverLimits } from './limits.ts';

const safe = new RegExp(`^[A-Za-z0-9][A-Za-z0-9._-]{0,${serverLimits.requestIdCharactersMax - 1}}$`);
const counterDigits = 8;

/**
 * Gives each request its id: the caller's `X-Request-Id` when it is short and plain enough to stand in a log,
 * otherwise a request id of ours. Ids of one process share random bits and differ by a counter, because fresh
 * randomness for each would cost more than the rest of a small request.
 */
export function requestIds(nowMs: number): (request: Pick<IncomingMessage, 'headers'>) => string {
  const prefix = newId('request', nowMs).slice(0, -counterDigits);
  let count = 0;
  return (request) => {
    const given = request.headers['x-request-id'];
    if (typeof given === 'string' && safe.test(given)) return given;
    count = (count + 1) >>> 0;
    return prefix + count.toString(16).padStart(counterDigits, '0');
  };
}
