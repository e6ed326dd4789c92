import type { IncomingHttpHeaders } from 'node:http';
import { Fault } from '../contract/faults.ts';
import { apiLimits } from '../contract/limits.ts';

/** The entity tag of a version: `"v3"`. Strong: the same tag means the same representation. */
export function etagOf(version: number): string {
  return `"v${version}"`;
}

/** The version that `If-Match` names. Throws 428 where it is absent and 412 where no version has such a tag. */
export function requiredVersion(headers: IncomingHttpHeaders): number {
  const given = headers['if-match'];
  if (given === undefined)
    throw new Fault('precondition.required', {
      detail: 'Send If-Match with the ETag that you read, so that nobody else’s change is lost.',
    });
  const version = /^"v(\d{1,15})"$/.exec(given)?.[1];
  if (version === undefined)
    throw new Fault('precondition.failed', { detail: 'If-Match does not hold one ETag of this resource.' });
  return Number(version);
}

/** As `requiredVersion`; null where there is no `If-Match`, which says that the caller read of nothing. */
export function askedVersion(headers: IncomingHttpHeaders): number | null {
  return headers['if-match'] === undefined ? null : requiredVersion(headers);
}

/** Whether `If-None-Match` names this version, so that 304 is the whole answer. */
export function unchanged(headers: IncomingHttpHeaders, etag: string): boolean {
  const given = headers['if-none-match'];
  return given?.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag) ?? false;
}

/** The key of a creation that may be sent twice, or null. Printable ASCII, at most 255 characters. */
export function idempotencyKey(headers: IncomingHttpHeaders): string | null {
  const given = headers['idempotency-key'];
  if (given === undefined) return null;
  const text = Array.isArray(given) ? given.join(',') : given;
  if (text.length > apiLimits.idempotencyKeyCharactersMax || !/^[\x21-\x7e]+$/.test(text))
    throw new Fault('request.invalid', {
      detail: `Idempotency-Key is 1 to ${apiLimits.idempotencyKeyCharactersMax} printable characters without spaces.`,
      extra: { in: 'header', errors: [{ path: '/idempotency-key', message: 'is not a usable key' }] },
    });
  return text;
}
