import { type Actor, provedAtOf } from '../model/actor.ts';
import { parseId } from '../model/ids.ts';
import type { ChangeFeed } from './change-feed.ts';
import { common } from './principals.ts';
import type { SignIns } from './sign-ins.ts';
import { bootstrapActor, type Tokens } from './tokens.ts';

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
  /**
   * The same caller as it is now: its scopes, role and teams may be others, and never more than they were. Null where
   * its credential has ended.
   */
  renew(actor: Actor): Promise<Actor | null>;
  /** Called after every change that may take a right away. */
  onChange(listener: () => void): () => void;
};

export type IdentityParts = {
  readonly tokens: Tokens;
  readonly signIns: SignIns;
  readonly changes: ChangeFeed;
  /** Access tokens, which are signed; null where none are issued. */
  readonly accessTokens: { verify(bearer: string): Promise<Actor | null> } | null;
  /** Certificates of agents; null where there is no authority. */
  readonly certificates: {
    ofFingerprint(fingerprint: string): Promise<Actor | null>;
    /** The actor of a certificate's credential, as it is now. */
    actorOf(credential: string): Promise<Actor | null>;
  } | null;
};

export function openIdentity(parts: IdentityParts): Identity {
  const { tokens, signIns, changes, accessTokens, certificates } = parts;
  return {
    ofBearer: async (bearer) => {
      const actor = await tokens.verify(bearer);
      if (actor !== null || accessTokens === null) return actor;
      return await accessTokens.verify(bearer);
    },
    ofCookie: (cookie) => signIns.ofCookie(cookie),
    ofCertificate: async (fingerprint) => (await certificates?.ofFingerprint(fingerprint)) ?? null,
    renew: async (actor) => {
      const now = await current(parts, actor);
      if (now === null) return null;
      const { signIn, ...rest } = now;
      // A token may be narrower than the sign-in that it came from.
      const person = signIn === undefined || actor.signIn === undefined ? provedAtOf(now) : { signIn };
      const narrowed = actor.narrowed === true || now.narrowed === true;
      return { ...rest, ...person, narrowed, scopes: common(actor.scopes, now.scopes) };
    },
    onChange: (listener) => changes.on(() => listener()),
  };
}

async function current(
  { tokens, signIns, certificates }: IdentityParts,
  actor: Actor,
): Promise<Actor | null> {
  const { credential } = actor;
  if (credential === undefined) return actor.id === bootstrapActor.id ? await tokens.bootstrapActor() : actor;
  const token = parseId('token', credential);
  if (token !== null) return await tokens.actorOf(token);
  const signIn = parseId('signIn', credential);
  if (signIn !== null) return await signIns.actorOf(signIn);
  return (await certificates?.actorOf(credential)) ?? null;
}
