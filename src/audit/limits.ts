import assert from 'node:assert/strict';

/** Bounds of the log. Characters are UTF-16 code units; bytes and milliseconds as the names say. */
export const auditLimits = {
  /** A line with its newline. */
  lineBytesMax: 16 * 1024,
  /** An event's `data` in canonical form; past it a digest stands in its place. */
  dataBytesMax: 6 * 1024,
  dataDepthMax: 8,
  dataStringCharactersMax: 1_024,
  /** Appends that wait for the disk. */
  pendingEventsMax: 4_096,
  /** What one write and one fdatasync carry at most. */
  batchEventsMax: 1_024,
  recoveryEveryMs: 250,
  /** A successful write or probe vouches this long for the next probe. */
  probeFreshMs: 1_000,
  probeBytes: 4_096,
  /** A batch that the disk has not finished after this long makes the log unhealthy and refuses appends. */
  stallMs: 5_000,
  /** An event waits at most so long for a checkpoint that holds it. */
  checkpointEveryMs: 60_000,
  checkpointEventsMax: 1_000,
  /** Keys that a stream which is mirrored may have had; later ones sign nothing. */
  mirrorKeysMax: 1_000,
  /** A stream that is open says so at least this often. */
  heartbeatMs: 60_000,
  /** What is longer without a sign of life is told by the verifier. */
  silenceMs: 150_000,
} as const;

/** Bounds of what waits to be written again, and of what is counted instead of written. */
export const owedLimits = {
  /** Events that could not be written and are owed to the log. */
  eventsMax: 1_000,
  retryMinMs: 250,
  retryMaxMs: 30_000,
  /** A denial is written at once; the same one again within this time is counted. */
  denialWindowMs: 60_000,
  /** Different denials counted at a time; past it an actor's denials are counted together. */
  denialsTrackedMax: 4_096,
} as const;

/** Bounds of an event's strings, by member; longer ones are clipped with a marker. Characters. */
export const eventCharacters = {
  stream: 63,
  id: 64,
  action: 64,
  actorId: 128,
  actorToken: 64,
  resourceKind: 32,
  resourceId: 128,
  rule: 160,
  requestId: 64,
  address: 64,
  userAgent: 256,
} as const;

/** Bounds of who reads streams. */
export const readLimits = {
  /** What is read of a stream at once. */
  blockBytes: 256 * 1024,
  streamsMax: 64,
} as const;

/** Bounds of an evidence bundle, which may come from anybody. */
export const evidenceLimits = {
  /** An event's line escaped once more, with its proof, or a checkpoint and a tombstone. */
  lineBytesMax: 256 * 1024,
  artifactsMax: 10_000,
} as const;

/** Bounds of who holds recordings against the record. */
export const recordingCheckLimits = {
  readBytes: 256 * 1024,
  /** Of one recording; the rest is counted. */
  findingsMax: 100,
  /** Of the description beside a recording. */
  metaBytesMax: 256 * 1024,
  /** A recording that began so long before the newest sign of life of its streams, or later, may not be on the record yet. */
  youngMs: 90_000,
  /** Events of a bundle that tell of recordings. */
  bundleEventsMax: 1_000_000,
  /** Marks of dropped parts in a recording that was fetched. */
  marksMax: 1_000,
  markBytesMax: 128,
  headerBytesMax: 64 * 1024,
} as const;

export const verifyLimits = { blockBytes: 1024 * 1024 } as const;

/** A control character is one code unit and six bytes (`\u0000`): nothing takes more. */
const escapedBytesMax = 6;
const c = eventCharacters;
const stringCharacters =
  c.stream +
  2 * c.id +
  c.action +
  2 * c.actorId +
  c.actorToken +
  c.resourceKind +
  2 * c.resourceId +
  c.rule +
  c.requestId +
  c.address +
  c.userAgent;
/** Names, punctuation, hashes, numbers and the closed words of a line; a test measures the real figure. */
export const scaffoldBytes = 640;

assert(
  escapedBytesMax * stringCharacters + scaffoldBytes + auditLimits.dataBytesMax <= auditLimits.lineBytesMax,
  'an event with every member at its bound fits a line',
);
assert(
  recordingCheckLimits.youngMs > auditLimits.heartbeatMs,
  'what is older than a sign of life is on record',
);
assert(auditLimits.batchEventsMax <= auditLimits.pendingEventsMax);
assert(owedLimits.retryMinMs <= owedLimits.retryMaxMs);
assert(readLimits.blockBytes > auditLimits.lineBytesMax, 'a block of the reader holds a whole line');
assert(verifyLimits.blockBytes > auditLimits.lineBytesMax, 'a block of the verifier holds a whole line');
assert(
  evidenceLimits.lineBytesMax > 6 * auditLimits.lineBytesMax,
  'a line of a bundle holds an event of control characters alone',
);
