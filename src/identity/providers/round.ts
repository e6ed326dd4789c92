import { createHmac, randomBytes } from 'node:crypto';

/**
 * The secrets of one way to a provider come from one: the browser's cookie. What the store keeps of the way is enough
 * to recognize that cookie and no more, so nobody without it can redeem a code or replay an ID token (RFC 7636, OpenID
 * Connect Core §15.5.2). 256 random bits each.
 */
export function newRoundSecret(): string {
  return randomBytes(32).toString('base64url');
}

export function isRoundSecret(text: string): boolean {
  return /^[A-Za-z0-9_-]{43}$/.test(text);
}

/** The PKCE verifier and the nonce of the round with this state. */
export function roundProofs(secret: string, state: string): { verifier: string; nonce: string } {
  const derived = (use: string) => createHmac('sha256', secret).update(`${use} ${state}`).digest('base64url');
  return { verifier: derived('verifier'), nonce: derived('nonce') };
}
