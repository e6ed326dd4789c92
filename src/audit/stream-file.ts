import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { type AuditDisk, type DiskFile, writeFully } from './disk.ts';
import { fileMode, quietly, syncFolder } from './folders.ts';
import { firstOfSegment, listSegments, segmentEvents, segmentPath } from './segments.ts';
import { beginning, type Head, type Place, readTail } from './tail.ts';

const appendFlags = constants.O_APPEND | constants.O_WRONLY | constants.O_NOFOLLOW;

type OpenFile = { readonly handle: DiskFile; readonly ino: number; readonly dev: number };
type Segment = { readonly path: string; readonly before: Place };

export type StreamFileOptions = {
  readonly disk: AuditDisk;
  /** The stream's own folder, which is there. */
  readonly folder: string;
  readonly stream: string;
  /** What events were dropped before the first segment; the beginning where none were. */
  readonly before?: Place;
};

/**
 * The segments of one stream, for its one writer. `head` is the last line known to be on the disk. An append that
 * fails leaves the file broken: nothing more goes in before `recover` has brought it back to `head`.
 */
export class StreamFile {
  readonly #options: StreamFileOptions;
  #segment: Segment;
  #head: Head;
  #open: OpenFile | null;

  private constructor(options: StreamFileOptions, segment: Segment, head: Head, open: OpenFile) {
    this.#options = options;
    this.#segment = segment;
    this.#head = head;
    this.#open = open;
  }

  /** Opens or creates the newest segment; `tornBytes` is what it cut off behind the last whole line. */
  static async open(options: StreamFileOptions): Promise<{ file: StreamFile; tornBytes: number }> {
    const { disk, folder, stream, before = beginning } = options;
    const segments = (await listSegments(folder)).filter(({ first }) => first > before.seq);
    for (const [index, { first }] of segments.entries())
      if (first !== before.seq + 1 + index * segmentEvents)
        throw new Error(`a segment of the log is missing before event ${first}`);
    const newest = segments.at(-1);
    const previous = segments.at(-2);
    // What the newest segment follows is the end of the one before it, which must be whole.
    const end = previous === undefined ? before : await wholeEnd(disk, previous, stream);
    const segment = { path: newest?.path ?? segmentPath(folder, before.seq + 1), before: end };
    const opened = await openFile(disk, segment.path);
    try {
      const { tornBytes, ...head } = await readTail(disk, segment.path, { stream, before: end });
      if (head.seq - end.seq > segmentEvents) throw new Error('the newest segment of the log is too long');
      if (tornBytes > 0) {
        await opened.handle.truncate(head.bytes);
        await opened.handle.sync();
      }
      if (head.bytes === 0) await syncFolder(disk, folder);
      return { file: new StreamFile(options, segment, head, opened), tornBytes };
    } catch (error) {
      await quietly(opened.handle.close());
      throw error;
    }
  }

  get head(): Head {
    return this.#head;
  }

  get broken(): boolean {
    return this.#open === null;
  }

  /** How many events the next append may hold: what is left of a segment, or a whole one. */
  get room(): number {
    const used = this.#head.seq - this.#segment.before.seq;
    return used === segmentEvents ? segmentEvents : segmentEvents - used;
  }

  /**
   * Puts whole lines on the disk, at most `room`, the last of which is `last`. When this throws none of them counts: they
   * may be in the file, even on the disk, so they are cut off before the caller hears of it; where the device does not let
   * that happen, `recover` must do it first.
   */
  async append(bytes: Buffer, last: Place): Promise<void> {
    assert(this.#open !== null, 'a broken file is recovered before it is written');
    assert(last.seq - this.#head.seq <= this.room);
    if (this.#head.seq - this.#segment.before.seq === segmentEvents) await this.#begin();
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

  /** The next segment. Where it cannot be had the last one stays as it is. */
  async #begin(): Promise<void> {
    const { disk, folder } = this.#options;
    const { seq, hash } = this.#head;
    const path = segmentPath(folder, firstOfSegment(seq + 1));
    const opened = await openFile(disk, path);
    try {
      // An earlier try may have left it, but never with a line that anybody was told of.
      await opened.handle.truncate(0);
      await syncFolder(disk, folder);
    } catch (error) {
      await quietly(opened.handle.close());
      throw error;
    }
    const before = this.#open;
    this.#segment = { path, before: { seq, hash } };
    this.#head = { bytes: 0, seq, hash };
    this.#open = opened;
    if (before !== null) await quietly(before.handle.close());
  }

  /**
   * Durable bytes in a file that somebody removed, replaced or cut protect nothing, so the path must still lead
   * to this file and the file must be as long as this writer made it. That question rides along with fdatasync.
   */
  async #write({ handle, ino, dev }: OpenFile, bytes: Buffer): Promise<void> {
    await writeFully(handle, bytes);
    const { disk } = this.#options;
    const [synced, named] = await Promise.allSettled([handle.datasync(), disk.stat(this.#segment.path)]);
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
    const { disk, stream } = this.#options;
    const { path, before } = this.#segment;
    const handle = await disk.open(path, appendFlags);
    try {
      const { ino, dev } = await handle.stat();
      await this.#cut(handle);
      await handle.sync();
      const tail = await readTail(disk, path, { stream, before });
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

async function openFile(disk: AuditDisk, path: string): Promise<OpenFile> {
  const handle = await disk.open(path, appendFlags | constants.O_CREAT, fileMode);
  try {
    const { mode, ino, dev } = await handle.stat();
    if ((mode & 0o777) !== fileMode) await handle.chmod(fileMode);
    return { handle, ino, dev };
  } catch (error) {
    await quietly(handle.close());
    throw error;
  }
}

async function wholeEnd(
  disk: AuditDisk,
  { path, first }: { path: string; first: number },
  stream: string,
): Promise<Place> {
  const { seq, hash, tornBytes } = await readTail(disk, path, { stream, before: beginning });
  if (seq !== first + segmentEvents - 1 || tornBytes > 0)
    throw new Error(`the segment of the log from event ${first} on is not whole`);
  return { seq, hash };
}
