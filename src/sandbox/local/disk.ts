import { isUtf8 } from 'node:buffer';
import { execFile } from 'node:child_process';
import { lstatSync, readdirSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../base/clock.ts';
import { localLimits } from './limits.ts';

/**
 * Bytes that folders take on disk, each inode counted too. Measured by du(1), which follows no link, stays on
 * the file system and copes with any depth and name; what vanishes meanwhile is passed over.
 */
export async function folderBytes(folders: readonly string[]): Promise<number> {
  if (folders.length === 0) return 0;
  const [blocks, inodes] = await Promise.all([du(['--block-size=1'], folders), du(['--inodes'], folders)]);
  return blocks + inodes * localLimits.inodeBytes;
}

/**
 * The same for folders that nobody changes any more: small ones are walked here, which costs less than starting
 * du(1). Only for a sandbox whose processes are gone, because a walk can be led astray by a living one.
 */
export async function stillFolderBytes(folders: readonly string[]): Promise<number> {
  let bytes = 0;
  let left: number = localLimits.walkEntriesMax;
  const pending = [...folders];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    bytes += inodeBytes(folder);
    for (const entry of readdirSync(folder, { withFileTypes: true, encoding: 'buffer' })) {
      if (left-- === 0 || !isUtf8(entry.name)) return await folderBytes(folders);
      const path = join(folder, entry.name.toString('utf8'));
      if (entry.isDirectory()) pending.push(path);
      else bytes += inodeBytes(path);
    }
  }
  return bytes;
}

function inodeBytes(path: string): number {
  return lstatSync(path).blocks * 512 + localLimits.inodeBytes;
}

function du(options: readonly string[], folders: readonly string[]): Promise<number> {
  const words = ['--summarize', '--one-file-system', ...options, '--', ...folders];
  return new Promise((resolve, reject) => {
    execFile('/usr/bin/du', words, { env: { LC_ALL: 'C' }, maxBuffer: 1 << 20 }, (error, stdout) => {
      const sums = stdout
        .trim()
        .split('\n')
        .map((line) => Number.parseInt(line, 10));
      if (sums.length === folders.length && sums.every(Number.isSafeInteger))
        resolve(sums.reduce((a, b) => a + b));
      else reject(error ?? new Error('du printed no sum'));
    });
  });
}

/**
 * Calls `onOverrun` once when folders grow past `limitBytes`. The file system's free space, one system call,
 * tells when they could have: they cannot have grown by more than what went missing since they were last
 * measured, unless others freed space, which the measurement at longer intervals catches.
 */
export class DiskWatcher {
  readonly #folders: readonly string[];
  readonly #limitBytes: number;
  readonly #onOverrun: () => void;
  #timer: NodeJS.Timeout | null = null;
  #usedBytes = Number.POSITIVE_INFINITY;
  #freeBytes = 0;
  #freeInodes = 0;
  #measuredAt = Number.NEGATIVE_INFINITY;

  constructor(folders: readonly string[], limitBytes: number, onOverrun: () => void) {
    this.#folders = folders;
    this.#limitBytes = limitBytes;
    this.#onOverrun = onOverrun;
  }

  start(): void {
    if (this.#folders.length > 0) this.#schedule();
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      this.#look().then(
        (over) => {
          if (this.#timer === null) return;
          if (!over) return this.#schedule();
          this.#timer = null;
          this.#onOverrun();
        },
        // What cannot be measured cannot be held: the limit counts as overrun.
        () => {
          if (this.#timer !== null) this.#onOverrun();
        },
      );
    }, localLimits.diskIntervalMs);
  }

  async #look(): Promise<boolean> {
    const now = systemClock.monotonic();
    const space = await statfs(this.#folders[0]!);
    const grown = Math.max(0, this.#freeBytes - space.bavail * space.bsize);
    const inodes = Math.max(0, this.#freeInodes - space.ffree);
    const bound = this.#usedBytes + grown + inodes * localLimits.inodeBytes;
    const due = now - this.#measuredAt > localLimits.diskMeasureIntervalMs;
    if (bound <= this.#limitBytes && !due) return false;
    this.#freeBytes = space.bavail * space.bsize;
    this.#freeInodes = space.ffree;
    this.#usedBytes = await folderBytes(this.#folders);
    this.#measuredAt = now;
    return this.#usedBytes > this.#limitBytes;
  }
}
