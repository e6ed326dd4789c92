import type { IncomingMessage } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { OAuthFault } from '../../contract/oauth.ts';
import { readBody, refuseEncodings } from '../json-body.ts';
import { type ApiLimits, serverLimits } from '../limits.ts';

export const formMediaType = 'application/x-www-form-urlencoded';

/**
 * Parses a form strictly: at most `formBytesMax`, ASCII, each parameter once. Throws OAuthFault `invalid_request`,
 * and the faults of `readBody`.
 */
export function formBodyParser(limits: ApiLimits) {
  return async (request: FastifyRequest, payload: IncomingMessage): Promise<ReadonlyMap<string, string>> => {
    refuseEncodings(request.headers['content-type'] ?? '', request.headers['content-encoding']);
    const bytes = await readBody(payload, serverLimits.formBytesMax, limits.bodyTimeoutMs);
    return parseForm(bytes.toString('latin1'));
  };
}

/** The query of a request, under the same rules. */
export function queryForm(url: string): ReadonlyMap<string, string> {
  const start = url.indexOf('?');
  return parseForm(start < 0 ? '' : url.slice(start + 1));
}

const plain = /^[A-Za-z0-9._~!*'()+%:/@,;$?[\]{}|\\^`"<> -]*$/;

/**
 * The parameters of form-encoded text (RFC 6749 appendix B), without empty ones. One that comes twice is refused: of
 * two readers each would take another (§3.1).
 */
export function parseForm(text: string): ReadonlyMap<string, string> {
  const form = new Map<string, string>();
  const seen = new Set<string>();
  for (const pair of text === '' ? [] : text.split('&')) {
    const [name, value, ...more] = pair.split('=').map(decoded);
    if (name === undefined || name === '' || value === undefined || more.length > 0)
      throw new OAuthFault('invalid_request', 'The form is not a list of name=value, joined by &.');
    if (seen.has(name)) throw new OAuthFault('invalid_request', 'A parameter stands there twice.');
    seen.add(name);
    if (seen.size > serverLimits.formParametersMax)
      throw new OAuthFault('invalid_request', 'There are too many parameters.');
    if (value !== '') form.set(name, value);
  }
  return form;
}

function decoded(text: string): string {
  try {
    if (plain.test(text)) return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    // Falls through: not UTF-8.
  }
  throw new OAuthFault('invalid_request', 'The form is not encoded as application/x-www-form-urlencoded.');
}
