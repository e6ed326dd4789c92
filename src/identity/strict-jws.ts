import { jsonFlaw } from '../base/json-flaw.ts';
import { identityLimits } from './limits.ts';

type Members = Readonly<Record<string, unknown>>;

/** What a compact JWS says of itself. Nothing is verified yet: not one word of it is to be believed. */
export type UntrustedJws = { readonly header: Members; readonly claims: Members };

const part = /^[A-Za-z0-9_-]+$/;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads a compact JWS (RFC 7515 §7.1) that has one spelling only, or null: three parts of base64url without padding,
 * white space or idle bits, each of the first two a JSON object in UTF-8 that names no member twice. Libraries take
 * more, and what two readers read differently is how a forged token passes.
 */
export function readStrictJws(text: string, charactersMax: number): UntrustedJws | null {
  if (text.length > charactersMax) return null;
  const [head, body, signature, ...more] = text.split('.');
  if (head === undefined || body === undefined || signature === undefined || more.length > 0) return null;
  if (strictBytes(signature) === null) return null;
  const header = membersOf(head);
  const claims = header === null ? null : membersOf(body);
  return header === null || claims === null ? null : { header, claims };
}

/** Whether the object has exactly these members, no other and none missing. */
export function hasExactly(members: Members, names: readonly string[]): boolean {
  return Object.keys(members).length === names.length && names.every((name) => Object.hasOwn(members, name));
}

/** The bytes, or null where another text would give the same ones. */
function strictBytes(text: string): Buffer | null {
  if (!part.test(text)) return null;
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : null;
}

function membersOf(text: string): Members | null {
  const bytes = strictBytes(text);
  if (bytes === null) return null;
  try {
    const json = utf8.decode(bytes);
    const value: unknown = JSON.parse(json);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
    return jsonFlaw(json, identityLimits.jwtDepthMax) === null ? (value as Members) : null;
  } catch {
    return null;
  }
}
