import assert from 'node:assert/strict';

/** Bounds of signing in at providers. Counts, bytes and milliseconds as the names say. */
export const providerLimits = {
  /** How long a person may take between leaving for a provider and coming back. */
  roundMs: 10 * 60_000,
  /** One request to a provider, from its start to the last byte of the answer. */
  exchangeMs: 10_000,
  answerBytesMax: 1024 * 1024,
  metadataFreshMs: 3600 * 1000,
  /** A provider that could not be discovered is not asked again so soon. */
  metadataRetryMs: 2_000,
  keysFreshMs: 10 * 60_000,
  /** How often keys are fetched because a token names one that is not there, in `keyWindowMs`. */
  keyRefetchesMax: 5,
  keyWindowMs: 60_000,
  tokenCharactersMax: 64 * 1024,
  /** How far a provider's clock may be off. */
  skewMs: 60_000,
  idTokenAgeMs: 10 * 60_000,
  logoutTokenAgeMs: 5 * 60_000,
  subjectCharactersMax: 255,
  claimValuesMax: 2_000,
  claimCharactersMax: 1_024,
  methodsMax: 16,
  /** Teams of one person that a provider may decide about. */
  teamsMax: 100,
  githubPagesMax: 10,
  githubPageItems: 100,
} as const;

assert(
  providerLimits.idTokenAgeMs <= providerLimits.roundMs,
  'an ID token is no older than the round it ends',
);
assert(providerLimits.exchangeMs < providerLimits.roundMs);
