import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { Fault } from '../contract/faults.ts';
import { identityLimits } from './limits.ts';

/** A public key as it is stored: the members of RFC 7638's thumbprint, in their order, and the thumbprint as `kid`. */
export type PublicKeyJwk =
  | { readonly crv: 'Ed25519'; readonly kty: 'OKP'; readonly x: string; readonly kid: string }
  | {
      readonly crv: 'P-256';
      readonly kty: 'EC';
      readonly x: string;
      readonly y: string;
      readonly kid: string;
    }
  | { readonly e: string; readonly kty: 'RSA'; readonly n: string; readonly kid: string };

/** What each kind of key may sign with. */
export const keyAlgorithms = {
  OKP: ['EdDSA'],
  EC: ['ES256'],
  RSA: ['RS256', 'PS256'],
} as const satisfies Record<PublicKeyJwk['kty'], readonly string[]>;

const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];
/** Told of every JWK and kept of none: they are what the key's owner says of it. */
const tolerated = ['kid', 'use', 'alg', 'key_ops', 'ext'];

/**
 * Reads a JWK (RFC 7517) from outside: a public key for signatures, and nothing else. Throws Fault
 * `request.invalid`; what it says never repeats a member's value, for somebody may have sent the private key.
 */
export function readPublicKey(jwk: Readonly<Record<string, unknown>>): PublicKeyJwk {
  const secret = privateMembers.find((name) => Object.hasOwn(jwk, name));
  if (secret !== undefined)
    throw refused(
      `holds the private member ${secret}: nobody but its owner may know it. Make another key and send its public half`,
    );
  const members = membersOf(jwk);
  const unknown = Object.keys(jwk).find((name) => !(name in members) && !tolerated.includes(name));
  if (unknown !== undefined) throw refused('has members that its kind of key does not have');
  if (Object.hasOwn(jwk, 'use') && jwk.use !== 'sig') throw refused('is not for signatures');
  let key: KeyObject;
  try {
    key = createPublicKey({ key: members, format: 'jwk' });
  } catch (cause) {
    throw refused('is not a key', cause);
  }
  const flaw = keyFlaw(key);
  if (flaw !== null) throw refused(flaw);
  // As the library writes it, so that one key has one thumbprint however it was spelled.
  const { crv, e, kty, n, x, y } = key.export({ format: 'jwk' });
  const canonical = kty === 'RSA' ? { e, kty, n } : kty === 'EC' ? { crv, kty, x, y } : { crv, kty, x };
  const kid = createHash('sha256').update(JSON.stringify(canonical)).digest('base64url');
  return { ...canonical, kid } as PublicKeyJwk;
}

function membersOf(jwk: Readonly<Record<string, unknown>>): Record<string, string> {
  const { kty, crv } = jwk;
  const names =
    kty === 'RSA'
      ? ['kty', 'n', 'e']
      : kty === 'EC' && crv === 'P-256'
        ? ['kty', 'crv', 'x', 'y']
        : kty === 'OKP' && crv === 'Ed25519'
          ? ['kty', 'crv', 'x']
          : null;
  if (names === null) throw refused('is neither Ed25519 nor EC on P-256 nor RSA');
  const members: Record<string, string> = {};
  for (const name of names) {
    const value = jwk[name];
    if (typeof value !== 'string' || !/^[A-Za-z0-9_-]{1,2000}$/.test(value))
      throw refused(`has no usable member ${name}`);
    members[name] = value;
  }
  return members;
}

/** Why nobody may prove with this key who it is, as words that follow "a key that", or null. */
export function keyFlaw(key: KeyObject): string | null {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details = {} } = key;
  if (type === 'ed25519') return null;
  if (type === 'ec')
    return details.namedCurve === 'prime256v1' ? null : 'is on another curve than P-256: use that one';
  if (type !== 'rsa') return 'is neither Ed25519 nor EC on P-256 nor RSA';
  const { modulusLength = 0, publicExponent = 0n } = details;
  const { rsaBitsMin, rsaBitsMax } = identityLimits;
  if (modulusLength < rsaBitsMin || modulusLength > rsaBitsMax)
    return `is an RSA key of ${modulusLength} bits: use ${rsaBitsMin} to ${rsaBitsMax}`;
  const isUsual = publicExponent >= 65_537n && publicExponent < 2n ** 32n && publicExponent % 2n === 1n;
  return isUsual ? null : 'has an unusual RSA exponent: use 65537';
}

function refused(problem: string, cause?: unknown): Fault {
  return new Fault('request.invalid', {
    detail: `The public key ${problem}.`,
    extra: { in: 'body', errors: [{ path: '/jwk', message: problem }] },
    cause,
  });
}
