import { errors, type JWTPayload, jwtVerify } from 'jose';
import type { Clock } from '../base/clock.ts';
import type { ActorId } from '../model/actor.ts';
import { newId, parseId, type RunId, type SessionId } from '../model/ids.ts';
import { isTerminal } from '../model/run.ts';
import type { Store } from '../store/store.ts';
import { identityLimits } from './limits.ts';
import type { SigningKeys } from './signing-keys.ts';
import { hasExactly, readStrictJws } from './strict-jws.ts';

export type RunSubject = { readonly run: RunId; readonly session: SessionId; readonly owner: ActorId };

/** What a run's token says, of a run that is live. `expiresAt` is in milliseconds. */
export type VerifiedRun = RunSubject & {
  readonly id: string;
  /** Its SPIFFE id. */
  readonly subject: string;
  readonly audiences: readonly string[];
  readonly issuedAt: number;
  readonly expiresAt: number;
};

/**
 * The token by which a run proves to others who it is: a JWT-SVID (SPIFFE) that lives minutes and dies with its run.
 * It is for the services that its audience names and opens nothing here: our own API takes only `at+jwt`.
 */
export type RunIdentity = {
  /** For a run that is about to start or live; that is for the caller to know. */
  mint(subject: RunSubject): Promise<string>;
  /** Null for what this server did not sign, for what is over, and from the moment that the run's end is stored. */
  verify(token: string): Promise<VerifiedRun | null>;
};

export type RunIdentityOptions = {
  readonly keys: Pick<SigningKeys, 'sign' | 'verifier'>;
  readonly runs: Pick<Store['runs'], 'get'>;
  /** The origin of this server from outside, where relying parties find its keys. */
  readonly issuer: string;
  readonly trustDomain: string;
  readonly audiences: readonly string[];
  readonly clock: Clock;
};

const type = 'JWT';
const headerMembers = ['alg', 'typ', 'kid'] as const;
const claimNames = ['iss', 'sub', 'aud', 'jti', 'iat', 'exp', 'run', 'session', 'owner'] as const;

export function openRunIdentity(options: RunIdentityOptions): RunIdentity {
  return {
    mint: (subject) => mint(options, subject),
    verify: (token) => verify(options, token),
  };
}

/** The name of a run in its trust domain (SPIFFE-ID §2). */
export function spiffeIdOf(trustDomain: string, { run, session }: Omit<RunSubject, 'owner'>): string {
  return `spiffe://${trustDomain}/session/${session}/run/${run}`;
}

async function mint(options: RunIdentityOptions, subject: RunSubject): Promise<string> {
  const { keys, issuer, trustDomain, audiences, clock } = options;
  const iat = Math.floor(clock.now() / 1000);
  return await keys.sign(type, {
    iss: issuer,
    sub: spiffeIdOf(trustDomain, subject),
    aud: [...audiences],
    jti: newId('token', clock.now()),
    iat,
    exp: iat + identityLimits.runTokenLifeMs / 1000,
    run: subject.run,
    session: subject.session,
    owner: subject.owner,
  });
}

/** Form first, then signature, then claims, then whether the run is still what the token says. */
async function verify(options: RunIdentityOptions, token: string): Promise<VerifiedRun | null> {
  const untrusted = readStrictJws(token, identityLimits.runTokenCharactersMax);
  if (untrusted === null || !hasExactly(untrusted.header, headerMembers)) return null;
  const { alg, typ, kid } = untrusted.header;
  if (alg !== 'EdDSA' || typ !== type || typeof kid !== 'string') return null;
  const key = await options.keys.verifier(kid);
  if (key === null) return null;
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: ['EdDSA'],
      typ: type,
      issuer: options.issuer,
      requiredClaims: [...claimNames],
      clockTolerance: identityLimits.clockSkewMs / 1000,
      currentDate: new Date(options.clock.now()),
    });
    const claimed = claimsOf(options.trustDomain, payload);
    return claimed !== null && (await isLive(options, claimed)) ? claimed : null;
  } catch (error) {
    if (error instanceof errors.JOSEError) return null;
    throw error;
  }
}

function claimsOf(trustDomain: string, payload: JWTPayload): VerifiedRun | null {
  if (!hasExactly(payload, claimNames)) return null;
  const { sub, aud, jti, iat, exp, run: runText, session: sessionText, owner } = payload;
  const run = typeof runText === 'string' ? parseId('run', runText) : null;
  const session = typeof sessionText === 'string' ? parseId('session', sessionText) : null;
  if (run === null || session === null || typeof owner !== 'string') return null;
  if (sub !== spiffeIdOf(trustDomain, { run, session })) return null;
  if (!Array.isArray(aud) || typeof jti !== 'string') return null;
  if (!Number.isSafeInteger(iat) || !Number.isSafeInteger(exp)) return null;
  const times = { issuedAt: iat! * 1000, expiresAt: exp! * 1000 };
  if (times.expiresAt - times.issuedAt > identityLimits.runTokenLifeMs) return null;
  return { id: jti, subject: sub, run, session, owner: owner as ActorId, audiences: aud, ...times };
}

async function isLive({ runs }: RunIdentityOptions, claimed: RunSubject): Promise<boolean> {
  const record = await runs.get(claimed.run);
  if (record === null || record.session !== claimed.session || record.owner !== claimed.owner) return false;
  const { phase } = record.state;
  return phase !== 'queued' && !isTerminal(phase);
}
