import assert from 'node:assert/strict';
import { identityLimits } from '../../identity/limits.ts';

/** Bounds of the authorization server. Counts and milliseconds as the names say. */
export const oauthLimits = {
  /** Between the browser's redirect and the program's request (RFC 6749 §4.1.2 allows ten minutes). */
  authorizationCodeMs: 60_000,
  deviceCodeMs: 10 * 60_000,
  devicePollMs: 5_000,
  /** What every poll that came too early adds (RFC 8628 §3.5). */
  deviceSlowDownMs: 5_000,
  /** Wrong user codes of one person in a window; there are 20^8 codes. */
  deviceGuessesMax: 10,
  deviceGuessWindowMs: 10 * 60_000,
  stateCharactersMax: 512,
  parameterCharactersMax: 4_096,
  /** How many may act for one another in a chain. */
  delegationDepthMax: 8,
  maxAgeSecondsMax: 366 * 24 * 3600,
} as const;

assert(oauthLimits.parameterCharactersMax >= identityLimits.accessTokenCharactersMax);
assert(oauthLimits.devicePollMs < oauthLimits.deviceCodeMs);
