import { Fault } from '../contract/faults.ts';

/**
 * The cookie that a browser's sign-in is. Over TLS the prefix makes browsers keep it to this very host and to TLS
 * (RFC 6265bis §4.1.3.2); on plain loopback that name could not be set, and the other is never looked at over TLS,
 * where a page of a sibling domain could have planted it.
 */
export const cookieNames = { secure: '__Host-sealwright', plain: 'sealwright' } as const;

export function cookieName(isSecure: boolean): string {
  return isSecure ? cookieNames.secure : cookieNames.plain;
}

/** The untrusted value of the sign-in's cookie in a `Cookie` header, under the rule of `onlyCookie`. */
export function sessionCookie(header: string | undefined, isSecure: boolean): string | null {
  return onlyCookie(header, cookieName(isSecure));
}

/**
 * The untrusted value of the cookie of this name, or null without one. Two of the name mean that somebody planted one:
 * then nobody can say which is whose, so both are refused as `request.malformed`. Names are compared byte by byte:
 * quoted values, other cases and exotic white space make another cookie.
 */
export function onlyCookie(header: string | undefined, name: string): string | null {
  if (header?.includes(name) !== true) return null;
  const start = `${name}=`;
  const values = header
    .split(';')
    .map(trimmed)
    .filter((pair) => pair.startsWith(start))
    .map((pair) => pair.slice(start.length));
  if (values.length < 2) return values[0] ?? null;
  throw new Fault('request.malformed', {
    detail: `The cookie ${name} came twice. Remove this site's cookies in the browser, and sign in again.`,
  });
}

/**
 * Hands out the cookie of a sign-in, or with null takes it back. Scripts never see it, and no page of another site sends
 * it. It ends with the browser, or with the sign-in.
 */
export function setSessionCookie(
  reply: { header(name: string, value: string): unknown },
  cookie: string | null,
  isSecure: boolean,
): void {
  const attributes = `Path=/; HttpOnly; SameSite=Strict${isSecure ? '; Secure' : ''}${cookie === null ? '; Max-Age=0' : ''}`;
  reply.header('set-cookie', `${cookieName(isSecure)}=${cookie ?? ''}; ${attributes}`);
}

/** Without the spaces and tabs around it, and without a regular expression that long runs of them would slow down. */
function trimmed(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text[start])) start++;
  while (end > start && isBlank(text[end - 1])) end--;
  return text.slice(start, end);
}

function isBlank(character: string | undefined): boolean {
  return character === ' ' || character === '\t';
}
