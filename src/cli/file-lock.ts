import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { CliFailure } from './failure.ts';
import { cliLimits } from './limits.ts';

/**
 * Runs `work` while no other program of this user holds the lock file at `path`. The file names its holder: a lock
 * whose holder is gone, or that is older than any work takes, is taken over. Throws CliFailure where it stays held.
 */
export async function withLock<T>(path: string, clock: Clock, work: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const mine = `${JSON.stringify({ pid: process.pid, host: hostname(), nonce: randomBytes(8).toString('hex') })}\n`;
  const own = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  await writeFile(own, mine, { mode: 0o600, flag: 'wx' });
  try {
    await acquire(path, own, clock);
    try {
      return await work();
    } finally {
      if ((await contentOf(path)) === mine) await rm(path, { force: true });
    }
  } finally {
    await rm(own, { force: true });
  }
}

async function acquire(path: string, own: string, clock: Clock): Promise<void> {
  const until = clock.monotonic() + cliLimits.lockWaitMs;
  while (!(await linked(own, path))) {
    const holder = await contentOf(path);
    if (holder !== null && (await isAbandoned(path, holder, clock))) {
      await takeAway(path, own, holder);
      continue;
    }
    if (clock.monotonic() > until)
      throw new CliFailure(`Another program holds ${path}.`, { hint: 'Remove the file if there is none.' });
    await new Promise((resolve) => setTimeout(resolve, cliLimits.lockPollMs));
  }
}

/** A link either is made whole or is refused, on every file system that knows links. */
async function linked(own: string, path: string): Promise<boolean> {
  try {
    await link(own, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function contentOf(path: string): Promise<string | null> {
  return await readFile(path, 'utf8').catch(() => null);
}

async function isAbandoned(path: string, holder: string, clock: Clock): Promise<boolean> {
  const made = await stat(path).catch(() => null);
  if (made === null) return false;
  if (clock.now() - made.mtimeMs > cliLimits.lockStaleMs) return true;
  const { pid, host } = parsed(holder);
  return host === hostname() && pid !== null && !isAlive(pid);
}

/** Moves it aside first: where another took it over meanwhile, it is put back. */
async function takeAway(path: string, own: string, holder: string): Promise<void> {
  const aside = `${own}.old`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  if ((await contentOf(aside)) !== holder) await linked(aside, path);
  await rm(aside, { force: true });
}

function parsed(holder: string): { pid: number | null; host: string | null } {
  try {
    const { pid, host } = JSON.parse(holder) as { pid?: unknown; host?: unknown };
    return { pid: typeof pid === 'number' ? pid : null, host: typeof host === 'string' ? host : null };
  } catch {
    return { pid: null, host: null };
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
