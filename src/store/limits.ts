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

/** Bounds of the index over the audit log. */
export const auditIndexLimits = {
  pageEventsMax: 1_000,
  /** Actions that one beginning may stand for. */
  actionsMatchedMax: 256,
  /** Events that one statement of a query looks through: at most `windowEventsMax`, and fewer at first. */
  windowEventsMin: 4_194_304,
  windowEventsMax: 16_777_216,
  windowGrowth: 4,
  /** After this long a page goes out as short as it is. */
  findMs: 1_000,
  wordCharactersMax: 64,
  /** Events whose times are known together, and events of a stream between two whose number is written down. */
  spanEvents: 1_024,
  cacheKibibytes: 32 * 1024,
} as const;

assert(auditIndexLimits.windowEventsMin <= auditIndexLimits.windowEventsMax);
assert(storeLimits.pageSpecBytesMax >= 1024 * 1024, 'the largest request fits a page');
assert(storeLimits.migrationWaitMs >= storeLimits.busyTimeoutMs, 'a migration is no shorter than a write');
