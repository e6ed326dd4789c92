import assert from 'node:assert/strict';

/** Bounds of the store. Bytes, counts and milliseconds as the names say. */
export const storeLimits = {
  pageRecordsMax: 200,
  /** Specs in one page of runs; a page of runs with huge commands is short, never empty. */
  pageSpecBytesMax: 4 * 1024 * 1024,
  /** How long a statement waits for another process that holds the file. */
  busyTimeoutMs: 5_000,
  busyRetryMs: 2,
  /** How long an opening process waits for another one that is bringing the file to the present schema. */
  migrationWaitMs: 60_000,
  preparedStatementsMax: 500,
  /** Writes that one commit carries at most. */
  batchWritesMax: 256,
  /** Ids of flows that one statement looks up. */
  flowLookupMax: 32,
  /** Flows that wait to share a commit, and how long. */
  flowsHeldMax: 2_000,
  flowsHeldMs: 50,
} as const;

assert(storeLimits.pageSpecBytesMax >= 1024 * 1024, 'the largest request fits a page');
assert(storeLimits.migrationWaitMs >= storeLimits.busyTimeoutMs, 'a migration is no shorter than a write');
