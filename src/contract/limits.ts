import assert from 'node:assert/strict';

/** What the API takes at most (DESIGN §5). Bytes, counts and milliseconds as the names say. */
export const apiLimits = {
  bodyBytesMax: 1024 * 1024,
  uploadBytesMax: 16 * 1024 ** 3,
  headerBytesMax: 16 * 1024,
  urlCharactersMax: 4096,
  headerTimeoutMs: 5_000,
  bodyTimeoutMs: 15_000,
  idleTimeoutMs: 60_000,
  /** An upload may last as long as bytes keep coming; a stall this long ends it. */
  uploadStallMs: 30_000,
  heartbeatMs: 15_000,
  pageDefault: 50,
  pageMax: 200,
  nameCharactersMax: 63,
  /** `execve` takes 128 KiB a string; the body limit bounds the sum. */
  argumentBytesMax: 131_071,
  argumentsMax: 200_000,
  environmentMax: 1_000,
  cwdCharactersMax: 4_096,
  idempotencyKeyCharactersMax: 255,
  tokenLifeSecondsMax: 366 * 24 * 3600,
  /** How long the old secret of a rotated token may go on working. */
  tokenOverlapSecondsMax: 24 * 3600,
  connectionsMax: 4_096,
  egressNamesMax: 32,
  reasonCharactersMax: 500,
  sshHostKeysMax: 16,
  /** An RSA key of 16,384 bits, which is the longest that OpenSSH takes, has 2,776. */
  sshHostKeyCharactersMax: 3_072,
} as const;

/** Requests a minute, by class, for one actor (or one address where nobody signed in). */
export const rateClasses = { default: 600, signIn: 120, write: 240, admin: 120 } as const;
export type RateClass = keyof typeof rateClasses;

assert(apiLimits.pageDefault <= apiLimits.pageMax);
assert(apiLimits.heartbeatMs < apiLimits.idleTimeoutMs, 'a heartbeat keeps a stream from looking idle');
