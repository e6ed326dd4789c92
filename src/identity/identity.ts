import type { Actor } from '../model/actor.ts';

/**
 * Who callers are. Whatever is given here is untrusted text; null is the answer to everything that does not prove
 * somebody who may act now. A use of a credential that has ended is refused from the moment its end is durable in
 * this process, and within the change feed's interval in every other.
 */
export type Identity = {
  /** An API token, an access token or the bootstrap token, as `Authorization: Bearer` carries it. */
  ofBearer(bearer: string): Promise<Actor | null>;
  /** The value of the session cookie. */
  ofCookie(cookie: string): Promise<Actor | null>;
  /** The SHA-256 fingerprint, hex, of a client certificate that the TLS layer verified against our authority. */
  ofCertificate(fingerprint: string): Promise<Actor | null>;
  /** The same caller as it is now: its scopes, role and teams may be others. Null where its credential has ended. */
  renew(actor: Actor): Promise<Actor | null>;
  /** Called after every change that may take a right away. */
  onChange(listener: () => void): () => void;
};
