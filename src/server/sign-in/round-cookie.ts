import { onlyCookie } from '../cookies.ts';

/**
 * What binds a browser to its way to a provider and back, see `identity/providers/round.ts`. Unlike the cookie of a
 * sign-in it must come along when another site sends the browser here, so it is `SameSite=Lax`; it is good for nothing
 * but the end of that way.
 */
const names = { secure: '__Host-sealwright-round', plain: 'sealwright-round' } as const;
const lifeSeconds = 600;

function nameOf(isSecure: boolean): string {
  return isSecure ? names.secure : names.plain;
}

/** The untrusted value, or null; under the rule of `onlyCookie`. */
export function roundCookie(header: string | undefined, isSecure: boolean): string | null {
  return onlyCookie(header, nameOf(isSecure));
}

/** Hands it out, or with null takes it back. */
export function setRoundCookie(
  reply: { header(name: string, value: string): unknown },
  secret: string | null,
  isSecure: boolean,
): void {
  const life = secret === null ? 0 : lifeSeconds;
  const secure = isSecure ? '; Secure' : '';
  reply.header(
    'set-cookie',
    `${nameOf(isSecure)}=${secret ?? ''}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${life}${secure}`,
  );
}
