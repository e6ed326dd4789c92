import assert from 'node:assert/strict';

/** Bounds of identity. Counts and milliseconds as the names say. */
export const identityLimits = {
  /** `sw_`, 30 random characters and the checksum. */
  secretRandomCharacters: 30,
  secretChecksumCharacters: 6,
  /** A bearer longer than this is refused unread. */
  bearerCharactersMax: 512,
  verifiedTokensMax: 10_000,
  /** How exact `lastUsedAt` is. */
  lastUseEveryMs: 60_000,
  /** How often a process looks for what others changed, and how long after a look it believes its memory. */
  changesEveryMs: 100,
  changesFreshMs: 200,
  principalsMax: 10_000,
  signInsMax: 10_000,
} as const;

assert(identityLimits.changesEveryMs < identityLimits.changesFreshMs, 'a look is in time for the next');
assert(identityLimits.secretRandomCharacters * Math.log2(62) >= 160, 'a secret cannot be guessed');
