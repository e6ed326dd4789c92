import assert from 'node:assert/strict';

export const localLimits = {
  /** Network namespaces kept ready; each costs about 100 KiB of kernel memory and a file descriptor. */
  preparedNamespaces: 8,
  /** From the start of bubblewrap to the confirmed walls. */
  startTimeoutMs: 15_000,
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
  /** bubblewrap takes 9,000 words in all; a longer command reaches the launcher as a file. */
  commandLineWordsMax: 4_096,
  openFiles: 4_096,
  removeAttempts: 200,
  removeRetryMs: 10,
} as const;

assert(localLimits.diskIntervalMs <= localLimits.diskMeasureIntervalMs);
