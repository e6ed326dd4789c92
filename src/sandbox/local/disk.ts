import { execFile } from 'node:child_process';
import { lstatSync, opendirSync, statfsSync } from 'node:fs';
import { lstat, statfs } from 'node:fs/promises';
import { systemClock } from '../../base/clock.ts';
import { localLimits } from './limits.ts';
import { unlinkedBytes } from './unlinked.ts';

type Occupied = { readonly blockBytes: number; readonly inodes: number };

const bytesOf = ({ blockBytes, inodes }: Occupied) => blockBytes + inodes * localLimits.inodeBytes;

/**
 * Bytes that folders take on disk, each inode counted too. Measured by du(1), which follows no link, stays on
 * the file system and copes with any depth and name; what vanishes meanwhile is passed over.
 */
export async function folderBytes(folders: readonly string[]): Promise<number> {
  return bytesOf(await measure(folders));
}

async function measure(folders: readonly string[]): Promise<Occupied> {
  if (folders.length === 0) return { blockBytes: 0, inodes: 0 };
  const [blockBytes, inodes] = await Promise.all([
    du(['--block-size=1'], folders),
    du(['--inodes'], folders),
  ]);
  return { blockBytes, inodes };
}

/**
 * The same for folders that nobody changes any more: small ones are walked here, which costs less than starting
 * du(1). Only for a sandbox whose processes are gone, because a walk can be led astray by a living one.
 */
export async function stillFolderBytes(folders: readonly string[]): Promise<number> {
  const walked = walk(folders);
  return walked === null ? await folderBytes(folders) : bytesOf(walked);
}

/** Null where there are more entries than are walked, or deeper ones than a path can name. Paths are bytes, as latin1. */
function walk(folders: readonly string[]): Occupied | null {
  let [blockBytes, inodes] = [0, 0];
  const pending = folders.map((folder) => Buffer.from(folder).toString('latin1'));
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    blockBytes += blockBytesOf(folder);
    inodes += 1;
    using entries = opendirSync(Buffer.from(folder, 'latin1'), { encoding: 'latin1' });
    for (let entry = entries.readSync(); entry !== null; entry = entries.readSync()) {
      const path = `${folder}/${entry.name}`;
      if (inodes + pending.length > localLimits.walkEntriesMax || path.length > pathBytesMax) return null;
      if (entry.isDirectory()) {
        pending.push(path);
      } else {
        blockBytes += blockBytesOf(path);
        inodes += 1;
      }
    }
  }
  return { blockBytes, inodes };
}

const pathBytesMax = 4_095; // PATH_MAX without the NUL

function blockBytesOf(path: string): number {
  return lstatSync(Buffer.from(path, 'latin1')).blocks * 512;
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
 * Calls `onOverrun` once when folders grow past `limitBytes`, or past as many files as `bytesPerInodeMin` leaves
 * room for. The file system's free space, one system call, tells when they could have: they cannot have grown by
 * more than what went missing since they were last measured, unless others freed space, which the measurement
 * at longer intervals catches. Files that `holders` keep open after they were removed count too.
 */
export class DiskWatcher {
  readonly #folders: readonly string[];
  readonly #limitBytes: number;
  readonly #inodesMax: number;
  readonly #onOverrun: () => void;
  readonly #holders: () => readonly number[];
  #timer: NodeJS.Timeout | null = null;
  #used: Occupied = { blockBytes: Number.POSITIVE_INFINITY, inodes: 0 };
  #freeBytes = 0;
  #freeInodes = 0;
  #measuredAt = Number.NEGATIVE_INFINITY;

  constructor(
    folders: readonly string[],
    limitBytes: number,
    onOverrun: () => void,
    holders: () => readonly number[] = () => [],
  ) {
    this.#folders = folders;
    this.#limitBytes = limitBytes;
    this.#inodesMax = Math.ceil(limitBytes / localLimits.bytesPerInodeMin);
    this.#onOverrun = onOverrun;
    this.#holders = holders;
  }

  /** Called while nobody changes the folders yet, so that small ones can be measured without starting du(1). */
  start(): void {
    const [first] = this.#folders;
    if (first === undefined) return;
    const walked = walk(this.#folders);
    if (walked !== null) {
      const space = statfsSync(first);
      [this.#freeBytes, this.#freeInodes] = [space.bavail * space.bsize, space.ffree];
      this.#used = walked;
      this.#measuredAt = systemClock.monotonic();
    }
    this.#schedule();
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
    const freeBytes = space.bavail * space.bsize;
    const couldBe = {
      blockBytes: this.#used.blockBytes + Math.max(0, this.#freeBytes - freeBytes),
      inodes: this.#used.inodes + Math.max(0, this.#freeInodes - space.ffree),
    };
    const due = now - this.#measuredAt > localLimits.diskMeasureIntervalMs;
    if (!this.#isOver(couldBe) && !due) return false;
    this.#freeBytes = freeBytes;
    this.#freeInodes = space.ffree;
    const inFolders = await measure(this.#folders);
    this.#used = { ...inFolders, blockBytes: inFolders.blockBytes + (await this.#unlinkedBytes()) };
    this.#measuredAt = now;
    return this.#isOver(this.#used);
  }

  #isOver(used: Occupied): boolean {
    return bytesOf(used) > this.#limitBytes || used.inodes > this.#inodesMax;
  }

  async #unlinkedBytes(): Promise<number> {
    const holders = this.#holders();
    if (holders.length === 0) return 0;
    const folder = await lstat(this.#folders[0]!);
    return (await unlinkedBytes(holders, folder.uid)).get(folder.dev) ?? 0;
  }
}
