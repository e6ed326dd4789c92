import assert from 'node:assert/strict';

export const localLimits = {
  /** Starts kept ready: each is a shell of 150 KiB of its own, a network namespace and some twenty file descriptors. */
  preparedStarts: 32,
  /** A prepared start is used for so long: its certificates end some time. */
  preparedAgeMs: 30 * 24 * 3_600_000,
  /** By how much the clock may have been set back since: its certificates are a day old from the beginning. */
  preparedClockBackMs: 12 * 3_600_000,
  /** Connections that wait to be accepted at one port of a sandbox. */
  listenBacklog: 512,
  /** How long after a start was taken the next ones are prepared. */
  refillDelayMs: 30,
  /** How long after one could not be prepared the rest is tried again. */
  refillRetryMs: 1_000,
  /** Processes of bubblewrap's own in a control group, beside the workload's. */
  ownProcesses: 2,
  /** By how many processes the rlimit lies above a control group's limit. */
  rlimitSlack: 16,
  /** From the start of bubblewrap to the confirmed walls. */
  startTimeoutMs: 15_000,
  /** How soon, and at most how long apart, a child that is ending is asked for its status. */
  reapFirstMs: 1,
  reapMostMs: 20,
  /** How long a failed start may take to say why. */
  complaintMs: 200,
  /** The watcher that takes the place of control groups looks this often. */
  watchIntervalMs: 50,
  /** How much longer than a look the pause after it is at least. */
  watchRestShare: 9,
  /** The disk watcher looks at the file system's free space this often, and measures the folders when it shrank. */
  diskIntervalMs: 50,
  /** The folders are measured at least this often, whatever the free space says. */
  diskMeasureIntervalMs: 5_000,
  /** What an inode counts against the disk limit, so that empty files are not free. */
  inodeBytes: 256,
  /** There may be one file for so many bytes of the disk limit: file systems have far fewer inodes than `inodeBytes` would allow. */
  bytesPerInodeMin: 4_096,
  /** Processes whose open files are looked at by one find(1): their folders are on its command line. */
  processesPerLook: 1_000,
  /** A still folder with more entries is measured by du(1). */
  walkEntriesMax: 2_000,
  tmpBytesMax: 1024 ** 3,
  openFiles: 4_096,
  /** Commands beside a sandbox's own at a time: each is three processes and half a dozen file descriptors. */
  execs: 64,
  /** So much is typed into a terminal at a time, before others have their turn. */
  typeBytes: 16 * 1024,
  /** How soon, and at most how long apart, a full terminal is tried again. */
  typeFirstMs: 1,
  typeMostMs: 50,
  /** How long a port of a sandbox may take to accept a connection, and how often it is looked at. */
  connectMs: 5_000,
  connectMostMs: 20,
  /** How often it is looked at most whether the last process of a sandbox has died. */
  emptyPollMs: 20,
  /** How often and how soon the removal of a control group is tried again; the wait doubles. */
  removeAttempts: 12,
  removeRetryMs: 1,
} as const;

assert(localLimits.diskIntervalMs <= localLimits.diskMeasureIntervalMs);
