import { errors, importJWK, type JWTPayload, jwtVerify } from 'jose';
import type { Clock } from '../base/clock.ts';
import { type ActorId, parseActorId } from '../model/actor.ts';
import type { AgentCredentialRecord, IdentityStore } from '../store/identity-store.ts';
import { identityLimits } from './limits.ts';
import { keyAlgorithms, type PublicKeyJwk } from './public-keys.ts';
import { readStrictJws, type UntrustedJws } from './strict-jws.ts';
import { secretHash } from './token-secret.ts';

/**
 * Assertions by which an agent or service proves that it holds a private key (RFC 7523, `private_key_jwt`). Each
 * works once, for five minutes at most, and for this server alone.
 */
export type ClientAssertions = {
  /** The credential that it proves, or null. */
  verify(assertion: string): Promise<AgentCredentialRecord | null>;
};

export type ClientAssertionsOptions = {
  readonly store: Pick<IdentityStore, 'agents' | 'oneTimes'>;
  /** What an assertion may name as its audience: this server's issuer, or its token endpoint. */
  readonly audiences: readonly string[];
  readonly clock: Clock;
};

/** The algorithms that an assertion may be signed with. Which of them a key takes, the key says, not the assertion. */
export const assertionAlgorithms: readonly string[] = Object.values(keyAlgorithms).flat();

export function openClientAssertions(options: ClientAssertionsOptions): ClientAssertions {
  return { verify: (assertion) => verify(options, assertion) };
}

const headerMembers: ReadonlySet<string> = new Set(['alg', 'typ', 'kid']);
const types: ReadonlySet<unknown> = new Set([undefined, 'JWT', 'client-authentication+jwt']);

async function verify(
  options: ClientAssertionsOptions,
  assertion: string,
): Promise<AgentCredentialRecord | null> {
  const { store, clock } = options;
  const untrusted = readStrictJws(assertion, identityLimits.assertionCharactersMax);
  const agent = untrusted === null ? null : claimedAgent(untrusted);
  if (untrusted === null || agent === null) return null;
  const { alg, kid } = untrusted.header;
  const registered = await store.agents.credentials(agent, clock.now());
  const keys = registered.filter(({ kind, id, proof }) => {
    return kind === 'public-key' && (kid === undefined || kid === id || kid === proof);
  });
  for (const key of keys.slice(0, identityLimits.assertionKeysMax)) {
    const payload = await verifiedBy(key, assertion, alg, agent, options);
    if (payload !== null) return (await isFirstUse(payload, agent, options)) ? key : null;
  }
  return null;
}

/** Whose it says it is; unverified. */
function claimedAgent({ header, claims }: UntrustedJws): ActorId | null {
  const { iss, sub } = claims;
  if (Object.keys(header).some((name) => !headerMembers.has(name)) || !types.has(header.typ)) return null;
  return typeof iss === 'string' && iss === sub ? parseActorId(iss) : null;
}

async function verifiedBy(
  { material }: AgentCredentialRecord,
  assertion: string,
  alg: unknown,
  agent: ActorId,
  { audiences, clock }: ClientAssertionsOptions,
): Promise<JWTPayload | null> {
  if (material === null) return null;
  const jwk = JSON.parse(material) as PublicKeyJwk;
  const algorithm = keyAlgorithms[jwk.kty].find((one) => one === alg);
  if (algorithm === undefined) return null;
  try {
    const { payload } = await jwtVerify(assertion, await importJWK({ ...jwk }, algorithm), {
      algorithms: [algorithm],
      issuer: agent,
      subject: agent,
      audience: [...audiences],
      requiredClaims: ['exp', 'jti'],
      clockTolerance: identityLimits.clockSkewMs / 1000,
      currentDate: new Date(clock.now()),
    });
    return payload;
  } catch (error) {
    if (error instanceof errors.JOSEError) return null;
    throw error;
  }
}

/** One audience, a life that is short, and an id that nobody used before. */
async function isFirstUse(
  { aud, exp, jti }: JWTPayload,
  agent: ActorId,
  { store, clock }: ClientAssertionsOptions,
): Promise<boolean> {
  const { assertionLifeMsMax, assertionIdCharactersMax, clockSkewMs } = identityLimits;
  const endsAt = Math.ceil((exp ?? Number.POSITIVE_INFINITY) * 1000);
  const isShort = endsAt <= clock.now() + assertionLifeMsMax + clockSkewMs;
  const isOne = typeof aud === 'string' || aud?.length === 1;
  if (!isShort || !isOne || typeof jti !== 'string') return false;
  if (jti === '' || jti.length > assertionIdCharactersMax) return false;
  const id = secretHash(JSON.stringify([agent, jti]));
  return await store.oneTimes.put('assertion-id', id, {}, endsAt + clockSkewMs);
}
