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
  accessTokenLifeMs: 5 * 60_000,
  /** The longest life of anything that a signing key signs: so long a key verifies after it was rotated. */
  signedLifeMsMax: 60 * 60_000,
  accessTokenCharactersMax: 4_096,
  accessTokensMax: 10_000,
  /** How far the clocks of two machines may be apart. */
  clockSkewMs: 5_000,
  jwtDepthMax: 16,
  /** `private_key_jwt` (RFC 7523): how long an assertion may live, and how long it may be. */
  assertionLifeMsMax: 5 * 60_000,
  assertionCharactersMax: 4_096,
  assertionIdCharactersMax: 256,
  assertionKeysMax: 16,
  /** Of a run: how long its token lives, and how long it can be. */
  runTokenLifeMs: 5 * 60_000,
  runTokenCharactersMax: 8_192,
  /** A client secret of an agent lives at most this long, so that it is replaced. */
  clientSecretLifeMsMax: 366 * 24 * 3600 * 1000,
  rsaBitsMin: 2_048,
  rsaBitsMax: 4_096,
  /** Of an agent: as PEM, some 1,500 characters with the longest key. */
  certificateRequestCharactersMax: 8_192,
  certificateLifeMs: 3600 * 1000,
  certificateLifeMsMax: 24 * 3600 * 1000,
  serverCertificateLifeMs: 30 * 24 * 3600 * 1000,
  /** A certificate is valid from this long before it is made: clocks differ. */
  certificateSkewMs: 60_000,
  /** How long an authority's certificate says that it is valid, and after what time another takes its place. */
  authorityLifeMs: 730 * 24 * 3600 * 1000,
  authorityRotateMs: 365 * 24 * 3600 * 1000,
  /** How long what an earlier one signed is taken; then everybody has heard of the next. */
  authorityOverlapMs: 30 * 24 * 3600 * 1000,
  /** Fingerprints of certificates whose agents are kept in memory. */
  certificatesMax: 10_000,
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

assert(identityLimits.certificateLifeMs <= identityLimits.certificateLifeMsMax);
assert(identityLimits.certificateLifeMsMax < identityLimits.authorityOverlapMs, 'an agent is not cut off');
assert(
  identityLimits.authorityRotateMs +
    identityLimits.authorityOverlapMs +
    identityLimits.serverCertificateLifeMs <
    identityLimits.authorityLifeMs,
  'an authority is replaced long before it is over',
);

assert(identityLimits.accessTokenLifeMs <= identityLimits.signedLifeMsMax);
assert(identityLimits.changesEveryMs < identityLimits.changesFreshMs, 'a look is in time for the next');
assert(identityLimits.secretRandomCharacters * Math.log2(62) >= 160, 'a secret cannot be guessed');
assert(
  identityLimits.recoveryCodeGroups * identityLimits.recoveryCodeGroupCharacters * 5 >= 160,
  'a recovery code cannot be guessed, nor found from its hash',
);
