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
  /** In characters after NFC. The longest bounds the work of looking at one, not its strength. */
  passwordCharactersMin: 8,
  passwordCharactersMax: 128,
  passwordDistinctMin: 3,
  passwordOwnWordCharactersMin: 4,
  /** Argon2id (RFC 9106); a hash made with less is made again when its owner signs in. */
  argon2MemoryKib: 64 * 1024,
  argon2Passes: 3,
  argon2Lanes: 1,
  argon2SaltBytes: 16,
  argon2HashBytes: 32,
  /** Hashes that wait for their turn, all together and of one address. One is computed at a time. */
  hashesWaitingMax: 256,
  hashesWaitingPerAddressMax: 16,
  hashWaitMs: 20_000,
  hashRetryAfterSeconds: 5,
  /** RFC 6238: what every authenticator app takes. Codes of this many steps before and after now are taken too. */
  totpSecretBytes: 20,
  totpDigits: 6,
  totpStepSeconds: 30,
  totpWindowSteps: 1,
  recoveryCodes: 10,
  recoveryCodeGroups: 8,
  recoveryCodeGroupCharacters: 4,
  /** How long a browser may take to answer a challenge, and a person to confirm a new authenticator. */
  challengeMs: 5 * 60_000,
  enrollmentMs: 15 * 60_000,
  passkeysPerUserMax: 20,
  /** Failures of a name at an address, and of second factors of a name wherever they come from, before a pause. */
  failuresMax: 5,
  failuresWindowMs: 300_000,
  codeFailuresMax: 30,
  codeFailuresWindowMs: 3600_000,
} as const;

assert(identityLimits.changesEveryMs < identityLimits.changesFreshMs, 'a look is in time for the next');
assert(identityLimits.secretRandomCharacters * Math.log2(62) >= 160, 'a secret cannot be guessed');
assert(
  identityLimits.recoveryCodeGroups * identityLimits.recoveryCodeGroupCharacters * 5 >= 160,
  'a recovery code cannot be guessed, nor found from its hash',
);
