import { createHash } from 'node:crypto';
import {
  type AuthenticationResponseJSON,
  generateAuthenticationOptions,
  generateRegistrationOptions,
  type PublicKeyCredentialCreationOptionsJSON,
  type PublicKeyCredentialRequestOptionsJSON,
  type RegistrationResponseJSON,
  verifyAuthenticationResponse,
  verifyRegistrationResponse,
} from '@simplewebauthn/server';
import type { Clock } from '../base/clock.ts';
import type { OneTimeStore, PasskeyRecord, PasskeyStore } from '../store/identity-store.ts';
import { identityLimits } from './limits.ts';
import { secretHash } from './token-secret.ts';

/** What a challenge was made for; an answer counts for nothing else. `subject` is a user, or null where none is known. */
export type ChallengePurpose = {
  readonly purpose: 'sign-in' | 'step-up' | 'register';
  readonly subject: string | null;
};

export type PasskeyProof =
  | { readonly ok: true; readonly user: string; readonly id: string }
  /** `user` is whose passkey it says it is, where there is one. */
  | { readonly ok: false; readonly reason: PasskeyRefusal; readonly user: string | null };
export type PasskeyRefusal = 'challenge' | 'unknown' | 'invalid' | 'copied';

/**
 * Passkeys (WebAuthn Level 3). Each challenge works once, and only on our own pages; the authenticator must have
 * verified its owner, so a passkey alone is two factors. What a browser sends is untrusted.
 */
export type Passkeys = {
  /** The domain that passkeys belong to; null where the server has none, so that there can be no passkeys. */
  readonly domain: string | null;
  /** What a browser needs to make one; those that the user has already are excluded. */
  registration(user: PasskeyOwner): Promise<PublicKeyCredentialCreationOptionsJSON>;
  /** Null where the answer proves nothing or the passkey is somebody's already. */
  register(user: PasskeyOwner, name: string, answer: RegistrationAnswer): Promise<PasskeyRecord | null>;
  /** What a browser needs to prove one. The user is whoever the passkey says, unless the purpose names it. */
  challenge(purpose: ChallengePurpose): Promise<PublicKeyCredentialRequestOptionsJSON>;
  prove(purpose: ChallengePurpose, answer: AuthenticationAnswer): Promise<PasskeyProof>;
};

export type PasskeyOwner = { readonly name: string; readonly displayName: string | null };
export type RegistrationAnswer = RegistrationResponseJSON;
export type AuthenticationAnswer = AuthenticationResponseJSON;

export type PasskeysOptions = {
  readonly store: { readonly passkeys: PasskeyStore; readonly oneTimes: OneTimeStore };
  readonly clock: Clock;
  /** Asked at every use: the port may be known only once the server listens. Passkeys belong to the host. */
  readonly site: { readonly publicUrl: string };
};

export function openPasskeys({ store, clock, site }: PasskeysOptions): Passkeys {
  const expected = (): Expected => ({
    expectedOrigin: new URL(site.publicUrl).origin,
    expectedRPID: domainOf(site.publicUrl) ?? '',
    requireUserVerification: true,
  });
  const issue = async (challenge: string, purpose: ChallengePurpose) => {
    const until = clock.now() + identityLimits.challengeMs;
    await store.oneTimes.put('challenge', secretHash(challenge), purpose, until);
  };
  const take = async (challenge: string, { purpose, subject }: ChallengePurpose) => {
    const taken = await store.oneTimes.take('challenge', secretHash(challenge), clock.now());
    const made = taken as ChallengePurpose | null;
    return made !== null && made.purpose === purpose && made.subject === subject;
  };
  const parts: PasskeyParts = { store, clock, expected, issue, take };
  return {
    get domain() {
      return domainOf(site.publicUrl);
    },
    registration: (user) => offer(parts, user),
    register: (user, name, answer) => register(parts, user, name, answer),
    async challenge(purpose) {
      const { subject } = purpose;
      const own = subject === null ? null : await store.passkeys.of(subject);
      const options = await generateAuthenticationOptions({
        rpID: expected().expectedRPID,
        userVerification: 'required',
        timeout: identityLimits.challengeMs,
        ...(own === null ? {} : { allowCredentials: own.map(({ id }) => ({ id })) }),
      });
      await issue(options.challenge, purpose);
      return options;
    },
    prove: (purpose, answer) => prove(parts, purpose, answer),
  };
}

type Expected = { expectedOrigin: string; expectedRPID: string; requireUserVerification: boolean };

/** COSE: EdDSA, ES256 and RS256, which is what authenticators make. */
const algorithms = [-8, -7, -257] as const;

type PasskeyParts = Pick<PasskeysOptions, 'store' | 'clock'> & {
  readonly expected: () => Expected;
  readonly issue: (challenge: string, purpose: ChallengePurpose) => Promise<void>;
  /** Whether the challenge was made for this and nobody has used it: for one caller alone. */
  readonly take: (challenge: string, purpose: ChallengePurpose) => Promise<boolean>;
};

async function offer(
  { store, expected, issue }: PasskeyParts,
  user: PasskeyOwner,
): Promise<PublicKeyCredentialCreationOptionsJSON> {
  const options = await generateRegistrationOptions({
    rpName: 'Sealwright',
    rpID: expected().expectedRPID,
    userName: user.name,
    userDisplayName: user.displayName ?? user.name,
    userID: new Uint8Array(userHandle(user.name)),
    timeout: identityLimits.challengeMs,
    attestationType: 'none',
    supportedAlgorithmIDs: [...algorithms],
    excludeCredentials: (await store.passkeys.of(user.name)).map(({ id }) => ({ id })),
    authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
  });
  await issue(options.challenge, { purpose: 'register', subject: user.name });
  return options;
}

async function register(
  { store, clock, expected, take }: PasskeyParts,
  user: PasskeyOwner,
  name: string,
  answer: RegistrationAnswer,
): Promise<PasskeyRecord | null> {
  const purpose = { purpose: 'register', subject: user.name } as const;
  const expectedChallenge = (challenge: string) => take(challenge, purpose);
  const verified = await verifyRegistrationResponse({
    ...expected(),
    response: answer,
    supportedAlgorithmIDs: [...algorithms],
    expectedChallenge,
  }).catch(() => null);
  if (verified === null || !verified.verified) return null;
  const { id, publicKey, counter } = verified.registrationInfo.credential;
  const made = {
    id,
    user: user.name,
    name,
    publicKey: Buffer.from(publicKey).toString('base64url'),
    counter,
    transports: answer.response.transports ?? [],
    createdAt: clock.now(),
  };
  return (await store.passkeys.add(made)) ? { ...made, lastUsedAt: null } : null;
}

async function prove(
  { store, clock, expected, take }: PasskeyParts,
  purpose: ChallengePurpose,
  answer: AuthenticationAnswer,
): Promise<PasskeyProof> {
  const passkey = await store.passkeys.get(answer.id);
  const user = passkey?.user ?? null;
  if (passkey === null || (purpose.subject !== null && purpose.subject !== user))
    return { ok: false, reason: 'unknown', user };
  const handle = answer.response.userHandle;
  if (handle !== undefined && handle !== userHandle(passkey.user).toString('base64url'))
    return { ok: false, reason: 'invalid', user };
  let fresh = false;
  const verified = await verifyAuthenticationResponse({
    ...expected(),
    response: answer,
    expectedChallenge: async (challenge) => {
      fresh = await take(challenge, purpose);
      return fresh;
    },
    // The store compares counters, in one write with the use.
    credential: { id: passkey.id, publicKey: bytesOf(passkey.publicKey), counter: 0 },
  }).catch(() => null);
  if (verified === null || !verified.verified)
    return { ok: false, reason: fresh ? 'invalid' : 'challenge', user };
  const { newCounter } = verified.authenticationInfo;
  const counted = await store.passkeys.used(passkey.id, newCounter, clock.now());
  return counted ? { ok: true, user: passkey.user, id: passkey.id } : { ok: false, reason: 'copied', user };
}

/** An address is no domain (WebAuthn §5.1.3), so browsers refuse it. */
function domainOf(url: string): string | null {
  const { hostname } = new URL(url);
  return /^[\d.]+$|^\[/.test(hostname) ? null : hostname;
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(text, 'base64url'));
}

/** Says nothing about the user to whoever reads it from the authenticator (WebAuthn §14.6.1), and stays the same. */
function userHandle(name: string): Buffer {
  return createHash('sha256').update(`sealwright passkey ${name}`).digest();
}
