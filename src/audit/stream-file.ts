import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { dirname, join } from 'node:path';
import { type AuditDisk, type DiskFile, writeFully } from './disk.ts';
import { type Head, readTail } from './tail.ts';

const folderMode = 0o700;
const fileMode = 0o600;
const appendFlags = constants.O_APPEND | constants.O_WRONLY | constants.O_NOFOLLOW;

type OpenFile = { readonly handle: DiskFile; readonly ino: number; readonly dev: number };

/**
 * The file of one stream, for its one writer. `head` is the last line known to be on the disk. An append that
 * fails leaves the file broken: nothing more goes in before `recover` has brought it back to `head`.
 */
export class StreamFile {
  readonly #disk: AuditDisk;
  readonly #path: string;
  readonly #stream: string;
  #head: Head;
  #open: OpenFile | null;

  private constructor(disk: AuditDisk, path: string, stream: string, head: Head, open: OpenFile) {
    this.#disk = disk;
    this.#path = path;
    this.#stream = stream;
    this.#head = head;
    this.#open = open;
  }

  /** Opens or creates `<folder>/<stream>.jsonl`; `tornBytes` is what it cut off behind the last whole line. */
  static async open(
    disk: AuditDisk,
    folder: string,
    stream: string,
  ): Promise<{ file: StreamFile; tornBytes: number }> {
    const path = join(folder, `${stream}.jsonl`);
    const handle = await disk.open(path, appendFlags | constants.O_CREAT, fileMode);
    try {
      const { mode, ino, dev } = await handle.stat();
      if ((mode & 0o777) !== fileMode) await handle.chmod(fileMode);
      const { tornBytes, ...head } = await readTail(disk, path, stream);
      if (tornBytes > 0) {
        await handle.truncate(head.bytes);
        await handle.sync();
      }
      if (head.bytes === 0) await syncFolder(disk, folder);
      return { file: new StreamFile(disk, path, stream, head, { handle, ino, dev }), tornBytes };
    } catch (error) {
      await quietly(handle.close());
      throw error;
    }
  }

  get head(): Head {
    return this.#head;
  }

  get broken(): boolean {
    return this.#open === null;
  }

  /**
   * Puts whole lines on the disk, the last of which is `last`. When this throws none of them counts: they may
   * be in the file, even on the disk, so they are cut off before the caller hears of it; where the device does
   * not let that happen, `recover` must do it first.
   */
  async append(bytes: Buffer, last: Pick<Head, 'seq' | 'hash'>): Promise<void> {
    assert(this.#open !== null, 'a broken file is recovered before it is written');
    const { handle } = this.#open;
    try {
      await this.#write(this.#open, bytes);
    } catch (error) {
      this.#open = null;
      await quietly(this.#cut(handle));
      await quietly(handle.close());
      throw error;
    }
    this.#head = { bytes: this.#head.bytes + bytes.length, seq: last.seq, hash: last.hash };
  }

  /**
   * Durable bytes in a file that somebody removed, replaced or cut protect nothing, so the path must still lead
   * to this file and the file must be as long as this writer made it. That question rides along with fdatasync.
   */
  async #write({ handle, ino, dev }: OpenFile, bytes: Buffer): Promise<void> {
    await writeFully(handle, bytes);
    const [synced, named] = await Promise.allSettled([handle.datasync(), this.#disk.stat(this.#path)]);
    if (synced.status === 'rejected') throw synced.reason;
    if (named.status === 'rejected') throw named.reason;
    if (named.value.ino !== ino || named.value.dev !== dev) {
      throw new Error('the file of the log was replaced');
    }
    if (named.value.size !== this.#head.bytes + bytes.length) {
      throw new Error('the file of the log was changed by another program');
    }
  }

  /**
   * Brings a broken file back to `head`, or throws and leaves it broken. After a failed fdatasync the kernel may
   * call pages clean that never reached the disk (fsync(2), errors), so neither the old descriptor nor what it
   * wrote is trusted: the file is opened anew and cut to the last line that a good fdatasync covered, and it
   * must end in exactly that line.
   */
  async recover(): Promise<void> {
    assert(this.#open === null);
    const handle = await this.#disk.open(this.#path, appendFlags);
    try {
      const { ino, dev } = await handle.stat();
      await this.#cut(handle);
      await handle.sync();
      const tail = await readTail(this.#disk, this.#path, this.#stream);
      const same = tail.bytes === this.#head.bytes && tail.hash === this.#head.hash && tail.tornBytes === 0;
      if (!same) throw new Error('the file of the log does not end in its last line');
      this.#open = { handle, ino, dev };
    } catch (error) {
      await quietly(handle.close());
      throw error;
    }
  }

  /** Removes what follows `head`. A file that is shorter was cut by somebody else and stays as it was found. */
  async #cut(handle: DiskFile): Promise<void> {
    const { size } = await handle.stat();
    if (size < this.#head.bytes) throw new Error('the file of the log became shorter');
    await handle.truncate(this.#head.bytes);
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    if (open !== null) await quietly(open.handle.close());
  }
}

/** Creates the folder of the streams where it is missing, durably. */
export async function makeFolder(disk: AuditDisk, folder: string): Promise<void> {
  const created = await disk.mkdir(folder, { recursive: true, mode: folderMode });
  if (created !== undefined) await syncFolder(disk, dirname(folder));
}

/** A block written beside the log, since a line cannot be taken back; throws where the disk does not take it. */
export async function tryDisk(disk: AuditDisk, path: string, bytes: number): Promise<void> {
  const flags = constants.O_CREAT | constants.O_TRUNC | constants.O_WRONLY | constants.O_NOFOLLOW;
  const handle = await disk.open(path, flags, fileMode);
  try {
    await writeFully(handle, Buffer.alloc(bytes));
    await handle.datasync();
  } finally {
    await quietly(handle.close());
  }
  await disk.unlink(path);
}

async function syncFolder(disk: AuditDisk, folder: string): Promise<void> {
  const handle = await disk.open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await quietly(handle.close());
  }
}

/** For steps whose failure changes nothing: what follows does not rely on them. */
async function quietly(step: Promise<unknown>): Promise<void> {
  await step.catch(() => undefined);
}
