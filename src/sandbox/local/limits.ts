import assert from 'node:assert/strict';

export const localLimits = {
  /** Starts kept ready: each is a shell of 150 KiB of its own, a network namespace and twelve file descriptors. */
  preparedStarts: 32,
  /** How long after a start was taken the next ones are prepared. */
  refillDelayMs: 30,
  /** Processes of bubblewrap's own in a control group, beside the workload's. */
  ownProcesses: 2,
  /** By how many processes the rlimit lies above a control group's limit. */
  rlimitSlack: 16,
  /** From the start of bubblewrap to the confirmed walls. */
  startTimeoutMs: 15_000,
  /** How long a failed start may take to say why. */
  complaintMs: 200,
  /** The watcher that takes the place of control groups looks this often. */
  watchIntervalMs: 50,
  /** The disk watcher looks at the file system's free space this often, and measures the folders when it shrank. */
  diskIntervalMs: 50,
  /** The folders are measured at least this often, whatever the free space says. */
  diskMeasureIntervalMs: 5_000,
  /** What an inode counts against the disk limit, so that empty files are not free. */
  inodeBytes: 256,
  /** A still folder with more entries is measured by du(1). */
  walkEntriesMax: 2_000,
  tmpBytesMax: 1024 ** 3,
  openFiles: 4_096,
  /** How often it is looked at most whether the last process of a sandbox has died. */
  emptyPollMs: 20,
  /** How often and how soon the removal of a control group is tried again; the wait doubles. */
  removeAttempts: 12,
  removeRetryMs: 1,
} as const;

assert(localLimits.diskIntervalMs <= localLimits.diskMeasureIntervalMs);
