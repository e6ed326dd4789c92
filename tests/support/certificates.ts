import { createAuthority, openIssuer } from '../../src/base/certificates.ts';
import type { TlsPair } from '../../src/server/tls.ts';

const loopback = { bytes: Uint8Array.of(127, 0, 0, 1) };

/** An authority of its own and what it issues to 127.0.0.1, valid around `now`. */
export function loopbackPair(now = Date.now()): TlsPair & { readonly authority: string } {
  const authority = createAuthority(now);
  return { ...openIssuer(authority).leaf(loopback), authority: authority.certificate };
}
