import assert from 'node:assert/strict';

export const runnerLimits = {
  /** Between SIGTERM and SIGKILL when a run is stopped or its time is up. */
  graceMs: 5_000,
  /** How long the change of a workspace may take to collect. */
  collectTimeoutMs: 10 * 60_000,
  /** The same once the run was stopped or its time is up: then somebody waits for its end. */
  collectAfterStopMs: 15_000,
  diffBytesMax: 1024 ** 3,
  /** What is kept of what git says when it fails. */
  complaintBytesMax: 4_096,
  /** Share of a run's kept output that is its beginning; the rest is its end. */
  headShare: 0.25,
  /** A run's token is some 700 characters. */
  identityCharactersMax: 8_192,
  segmentsPerLog: 16,
  /** What is still read of an upload after it was refused. */
  drainBytesMax: 64 * 1024 ** 2,
  readBytes: 256 * 1024,
  /** Newest segments of 65,536 events that stay with the runner after control has them, and how long older ones do. */
  recordSegmentsKept: 4,
  recordKeptMs: 30 * 24 * 3600 * 1000,
  recordDropRetryMs: 60_000,
  /** Lines of the record that one frame to control holds; a reader's block bounds their bytes. */
  recordLinesPerFrame: 1_024,
  /** How long the end of a run waits at most for its verdicts to be recorded. */
  recordSettleMs: 1_000,
  /** How soon, and at most how much later, a gateway that ended is started again. */
  gatewayRestartMs: 50,
  gatewayRestartMostMs: 5_000,
  /** How long the start of a run waits for a gateway that is being started. */
  gatewayWaitMs: 5_000,
  /** How long a gateway may take to end by itself. */
  gatewayEndMs: 1_000,
  /** Host uids that sessions get as root: nobody else's by convention, and none of them is in /etc/passwd. */
  firstSessionUid: 2_000_000_100,
  sessionUids: 100_000_000,
} as const;

assert(runnerLimits.firstSessionUid + runnerLimits.sessionUids < 2 ** 31);
assert(runnerLimits.headShare > 0 && runnerLimits.headShare < 1);
