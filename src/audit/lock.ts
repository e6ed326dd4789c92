import { closeSync, constants, openSync } from 'node:fs';
import { constants as osConstants } from 'node:os';

const lockExclusive = 2;
const lockNonBlocking = 4;
const lockFileMode = 0o600;

type Flock = (fd: number, operation: number) => number;
let flock: Flock | null = null;

/** Loaded on first use: only processes that write a log pay for the foreign-function library. */
async function loadFlock(): Promise<{ flock: Flock; errno: () => number }> {
  const { default: koffi } = await import('koffi');
  flock ??= koffi.load(null).func('int flock(int fd, int operation)') as unknown as Flock;
  return { flock, errno: () => koffi.errno() };
}

export type FileLock = { release(): void };

/**
 * An exclusive lock on `path`, which is created (0600) and never removed; null where another holder has it,
 * in this process or another. The kernel frees it with its holder, however that dies (flock(2)), and programs
 * started meanwhile do not inherit it: Node opens files close-on-exec.
 */
export async function lockFile(path: string): Promise<FileLock | null> {
  const { flock, errno } = await loadFlock();
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, lockFileMode);
  if (flock(fd, lockExclusive | lockNonBlocking) === 0) return { release: () => closeSync(fd) };
  const failure = errno();
  closeSync(fd);
  if (failure === osConstants.errno.EWOULDBLOCK) return null;
  throw new Error(`flock failed with errno ${failure}`);
}
