import { createPublicKey, type KeyObject } from 'node:crypto';
import type { PublicKey } from '@peculiar/x509';
import { Fault } from '../../contract/faults.ts';
import { identityLimits } from '../limits.ts';
import { keyFlaw } from '../public-keys.ts';
import { loadX509 } from './x509.ts';

const block =
  /^-----BEGIN (NEW )?CERTIFICATE REQUEST-----\n([A-Za-z0-9+/=\n]+)-----END \1?CERTIFICATE REQUEST-----\n?$/;
const hashes: ReadonlySet<string> = new Set(['SHA-256', 'SHA-384', 'SHA-512']);

/**
 * The public key of a PKCS #10 request (RFC 2986) in PEM, once the request is proved to be signed with its private
 * half. All else in it, subject, names and extensions, is what somebody wishes for, and is not looked at. Throws
 * Fault `request.invalid`.
 */
export async function readCertificateRequest(pem: string): Promise<PublicKey> {
  if (pem.length > identityLimits.certificateRequestCharactersMax)
    throw refused(`is longer than ${identityLimits.certificateRequestCharactersMax} characters`);
  const body = block.exec(pem.replaceAll('\r\n', '\n'))?.[2];
  if (body === undefined) throw refused('is not one PEM block CERTIFICATE REQUEST and nothing else');
  const { Pkcs10CertificateRequest } = await loadX509();
  const bytes = Buffer.from(body, 'base64');
  const request = attempted(() => new Pkcs10CertificateRequest(bytes), 'is not a PKCS #10 request');
  const key = attempted(
    () => keyObject(Buffer.from(request.publicKey.rawData)),
    'has a key of no known kind',
  );
  const flaw = keyFlaw(key);
  if (flaw !== null) throw refused(`is for a key that ${flaw}`);
  const hash = (request.signatureAlgorithm as { hash?: { name: string } }).hash?.name;
  if (hash !== undefined && !hashes.has(hash)) throw refused(`is signed with ${hash}; use SHA-256`);
  const isProved = await request.verify().catch(() => false);
  if (!isProved) throw refused('is not signed by the private half of its key');
  return request.publicKey;
}

function keyObject(der: Buffer): KeyObject {
  return createPublicKey({ key: der, format: 'der', type: 'spki' });
}

/** Whatever a parser throws at hostile bytes is a refusal of them. */
function attempted<T>(read: () => T, problem: string): T {
  try {
    return read();
  } catch (cause) {
    throw refused(problem, cause);
  }
}

function refused(problem: string, cause?: unknown): Fault {
  return new Fault('request.invalid', {
    detail: `The certificate request ${problem}. Make one with: openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -keyout key.pem`,
    extra: { in: 'body', errors: [{ path: '/request', message: problem }] },
    cause,
  });
}
