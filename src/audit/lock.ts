import { closeSync, constants, openSync } from 'node:fs';

const lockFileMode = 0o600;

export type FileLock = { release(): void };

/**
 * An exclusive lock on `path`, which is created (0600) and never removed; null where another holder has it,
 * in this process or another. The kernel frees it with its holder, however that dies (flock(2)), and programs
 * started meanwhile do not inherit it: Node opens files close-on-exec.
 */
export async function lockFile(path: string): Promise<FileLock | null> {
  // On first use: only processes that write a log pay for the foreign-function library.
  const { tryLock } = await import('../base/libc.ts');
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, lockFileMode);
  try {
    if (tryLock(fd)) return { release: () => closeSync(fd) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  return null;
}
