import { httpLimits } from './limits.ts';

/** RFC 3986 §3.3 without `;`, whose parameters some servers cut off before they look at dots. */
const path = /^\/(?:[A-Za-z0-9\-._~!$&'()*+,=:@/]|%[0-9A-Fa-f]{2})*$/;
const unreserved = /^[A-Za-z0-9\-._~]$/;

/** `/`, `\` and control bytes; and `%` before what would be decoded a second time, IIS's `%u` form included. */
const forbiddenByte = /%(?:2F|5C|7F|[01][0-9A-F]|25(?:u[0-9A-Fa-f]{2})?[0-9A-Fa-f]{2})/;

/** UTF-8 in more bytes than needed, which lenient decoders take for `/` or `.` (RFC 3629 §10). */
const overlong = /%(?:C[01]%[89AB]|E0%[89]|F0%8|F8%8[0-7]|FC%8[0-3])/;

/**
 * The one normal form of a path, without its query, for rules to look at: unreserved characters are decoded once,
 * every other encoded byte stays encoded in upper-case hex, and nothing else changes. Null where servers differ
 * about what the path is: encoded `/`, any `\`, `;`, control bytes, empty or dot segments (raw or encoded), double
 * or overlong encoding, characters outside RFC 3986, more than 8,192 characters. Such a path is to be refused, not
 * repaired. Idempotent; `*`, the target of OPTIONS, is its own normal form.
 */
export function normalPath(rawTargetPath: string): string | null {
  if (rawTargetPath === '*') return '*';
  if (rawTargetPath.length > httpLimits.pathCharactersMax || !path.test(rawTargetPath)) return null;
  const decoded = rawTargetPath.replace(/%[0-9A-Fa-f]{2}/g, (encoded) => {
    const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
    return unreserved.test(character) ? character : encoded.toUpperCase();
  });
  if (forbiddenByte.test(decoded) || overlong.test(decoded)) return null;
  const segments = decoded.slice(1).split('/');
  const last = segments.length - 1;
  const isRefused = (segment: string, at: number): boolean =>
    segment === '.' || segment === '..' || (segment === '' && at < last);
  return segments.some(isRefused) ? null : decoded;
}
