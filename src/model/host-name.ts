/** RFC 1035 §2.3.4, without the root's dot. */
export const hostCharactersMax = 253;
const labelCharactersMax = 63;
/** No text that maps to a host is longer: a character outside the BMP is two units and at least one of the result. */
const textUnitsMax = 2 * (hostCharactersMax + 1);

const plain = /^[a-z0-9._-]+$/;
const plainOrForeign = /^[A-Za-z0-9._\u0080-\u{10ffff}-]+$/u;
const label = /^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?$/;
/** What WHATWG's URL and `inet_aton` read as the last number of an IPv4 address. */
const numberLike = /^(?:[0-9]+|0x[0-9a-f]*)$/;

/**
 * The one spelling of a DNS name: ASCII in lower case, non-ASCII labels as IDNA (UTS 46, as WHATWG's URL does it),
 * without the trailing dot. Null for what is no name or could be read as an IP address anywhere: a last label that
 * is a number (`127.1`, `0x7f.1`, `1.2.3.4.`), brackets, zone ids, percent signs, white space, control characters,
 * empty or over-long labels. Single labels such as `localhost` are names; whether they may be reached is policy.
 * The result is its own canonical form.
 */
export function canonicalHost(text: string): string | null {
  if (text.length === 0 || text.length > textUnitsMax) return null;
  const ascii = plain.test(text) ? text : asciiOf(text);
  if (ascii === null) return null;
  const host = ascii.endsWith('.') ? ascii.slice(0, -1) : ascii;
  if (host.length > hostCharactersMax) return null;
  const labels = host.split('.');
  if (!labels.every((each) => each.length <= labelCharactersMax && label.test(each))) return null;
  if (numberLike.test(labels.at(-1)!)) return null;
  return host.includes('xn--') && hostOfUrl(host) !== host ? null : host;
}

/** The text with only characters that a host may have once it is mapped; dots are not looked at yet. */
function asciiOf(text: string): string | null {
  if (!text.isWellFormed() || !plainOrForeign.test(text)) return null;
  const lower = text.toLowerCase();
  return plain.test(lower) ? lower : hostOfUrl(text);
}

/** The URL parser's host, which is `domainToASCII`: the text must have no character that ends a host. */
function hostOfUrl(text: string): string | null {
  return URL.parse(`http://${text}/`)?.hostname ?? null;
}

/**
 * The one spelling of what a rule names: a canonical host, or `*.` and a canonical host of two labels or more for
 * its strict subdomains. Null for anything else with a star, `*.com` included.
 */
export function canonicalPattern(text: string): string | null {
  if (!text.startsWith('*.')) return canonicalHost(text);
  const parent = canonicalHost(text.slice(2));
  if (parent === null || !parent.includes('.') || parent.length > hostCharactersMax - 2) return null;
  return `*.${parent}`;
}

/**
 * Whether a host is what the pattern names, label by label; both are canonical. `*.a.b` names `c.a.b` and
 * `d.c.a.b`, never `a.b` or `ca.b`.
 */
export function hostMatches(pattern: string, host: string): boolean {
  if (!pattern.startsWith('*.')) return pattern === host;
  const parent = pattern.slice(2);
  const cut = host.length - parent.length;
  return cut >= 2 && host[cut - 1] === '.' && host.slice(cut) === parent;
}
