import assert from 'node:assert/strict';
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { isIP } from 'node:net';
import {
  bits,
  type Der,
  integer,
  objectId,
  octets,
  pem,
  sequence,
  set,
  tagged,
  time,
  utf8,
  yes,
} from './der.ts';

/**
 * Certificates (RFC 5280) that a gateway shows to one sandbox: an authority, and under it one for each name.
 * ECDSA with P-256 and SHA-256 throughout, which every TLS library of the last decade takes.
 */

/** A certificate and the key that signs with it, as PEM; the key is PKCS#8. Whoever has the key can be any host. */
export type Credential = { readonly key: string; readonly certificate: string };
export type Authority = Credential;

/** A canonical DNS name, or an address by its 4 or 16 bytes. */
export type SubjectName = string | { readonly bytes: Uint8Array };

export type Issuer = {
  /** For exactly this name, as long as the authority is valid. All have one key. */
  leaf(name: SubjectName): Credential;
};

const dayMs = 86_400_000;
/** Before: the clock that reads it may be behind. After: no sandbox lives as long; verifiers bound it at 398 days. */
const validityMs = { before: dayMs, after: 390 * dayMs };
const serialBytes = 16;
const nameCharactersMax = 253;
const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

const oid = {
  ecPublicKey: objectId('1.2.840.10045.2.1'),
  ecdsaWithSha256: objectId('1.2.840.10045.4.3.2'),
  commonName: objectId('2.5.4.3'),
  subjectKeyIdentifier: objectId('2.5.29.14'),
  keyUsage: objectId('2.5.29.15'),
  subjectAlternativeName: objectId('2.5.29.17'),
  basicConstraints: objectId('2.5.29.19'),
  authorityKeyIdentifier: objectId('2.5.29.35'),
  extendedKeyUsage: objectId('2.5.29.37'),
  serverAuth: objectId('1.3.6.1.5.5.7.3.1'),
};
const algorithm = sequence(oid.ecdsaWithSha256);
/** The same of all authorities, so that their hash is; the key identifiers tell them apart. */
const authorityName = nameOf('Sealwright sandbox CA');
const leafName = nameOf('Sealwright gateway');
/** What OpenSSL calls the authority in a folder of certificates: `<hash>.0`. */
export const authorityHash = 'dc549c46';

const authorityExtensions = [
  extension(oid.basicConstraints, sequence(yes, integer(Buffer.of(0))), 'critical'),
  extension(oid.keyUsage, bits(Buffer.of(0x04), 2), 'critical'), // keyCertSign
];
// The name is not critical because the subject is not empty (§4.2.1.6): an empty one is what some verifiers trip over.
const leafExtensions = [
  extension(oid.basicConstraints, sequence(), 'critical'),
  extension(oid.keyUsage, bits(Buffer.of(0x80), 7), 'critical'), // digitalSignature
  extension(oid.extendedKeyUsage, sequence(oid.serverAuth)),
];

/** A new one, self-signed, valid from a day before `now` for a year and some weeks. */
export function createAuthority(now: number): Authority {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const identifier = keyIdentifier(pair.publicKey);
  const certificate = certify(
    [
      authorityName,
      validity(now - validityMs.before, now + validityMs.after),
      authorityName,
      publicKeyInfo(pair.publicKey),
      extensions([...authorityExtensions, extension(oid.subjectKeyIdentifier, octets(identifier))]),
    ],
    pair.privateKey,
  );
  return { key: privatePem(pair.privateKey), certificate };
}

/** Mints under an authority that `createAuthority` made. Throws on any other text. */
export function openIssuer(authority: Authority): Issuer {
  const authorityKey = createPrivateKey(authority.key);
  const { validFromDate, validToDate } = new X509Certificate(authority.certificate);
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = privatePem(pair.privateKey);
  const head = [
    authorityName,
    validity(+validFromDate, +validToDate),
    leafName,
    publicKeyInfo(pair.publicKey),
  ];
  const authorityId = tagged(0x80, keyIdentifier(createPublicKey(authorityKey)));
  const standing = [
    ...leafExtensions,
    extension(oid.subjectKeyIdentifier, octets(keyIdentifier(pair.publicKey))),
    extension(oid.authorityKeyIdentifier, sequence(authorityId)),
  ];
  return {
    leaf: (name) => {
      const named = extension(oid.subjectAlternativeName, sequence(generalName(name)));
      return { key, certificate: certify([...head, extensions([...standing, named])], authorityKey) };
    },
  };
}

/** The fields of a certificate after the serial number and the algorithm (§4.1), signed. */
function certify(fields: readonly Der[], key: KeyObject): string {
  const version = tagged(0xa0, integer(Buffer.of(2)));
  const body = sequence(version, serialNumber(), algorithm, ...fields);
  return pem('CERTIFICATE', sequence(body, algorithm, bits(sign('sha256', body, key))));
}

/** Positive, and always as long (§4.1.2.2). */
function serialNumber(): Der {
  const bytes = randomBytes(serialBytes);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return integer(bytes);
}

function nameOf(text: string): Der {
  return sequence(set(sequence(oid.commonName, utf8(text))));
}

function validity(from: number, to: number): Der {
  return sequence(time(from), time(to));
}

function extension(id: Der, value: Der, critical?: 'critical'): Der {
  return critical ? sequence(id, yes, octets(value)) : sequence(id, octets(value));
}

function extensions(all: readonly Der[]): Der {
  return tagged(0xa3, sequence(...all));
}

/** §4.2.1.6: dNSName or iPAddress. */
function generalName(name: SubjectName): Der {
  if (typeof name !== 'string') {
    assert.ok(name.bytes.length === 4 || name.bytes.length === 16);
    return tagged(0x87, name.bytes);
  }
  assert.ok(name.length <= nameCharactersMax && name.split('.').every((each) => label.test(each)));
  assert.equal(isIP(name), 0);
  return tagged(0x82, Buffer.from(name, 'latin1'));
}

function publicKeyInfo(key: KeyObject): Der {
  return key.export({ type: 'spki', format: 'der' });
}

/** RFC 7093 §2, method 1: of the public key's point, which ends its 65 bytes of a P-256 SubjectPublicKeyInfo. */
function keyIdentifier(key: KeyObject): Uint8Array {
  return createHash('sha256').update(publicKeyInfo(key).subarray(-65)).digest().subarray(0, 20);
}

function privatePem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}
