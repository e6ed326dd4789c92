import { createHash, type Hash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { DroppedSegment, RecordedRange } from '../../../audit/recording-events.ts';
import { recordingSegmentName } from '../../../contract/recording-files.ts';
import { recordingLimits } from './limits.ts';
import type { RecordingDisk } from './recording-disk.ts';

export type RecordingFilesParts = {
  readonly folder: string;
  readonly disk: RecordingDisk;
  readonly bytesMax: number;
  readonly segmentBytesMax: number;
  /** Is on the disk, or could not be brought there, which `onFault` told before; or is gone from it. */
  readonly onRange: (range: RecordedRange) => void;
  readonly onDropped: (segment: DroppedSegment) => void;
  /** What was written could not be brought to the disk. */
  readonly onFault: () => void;
};

type Range = { readonly hash: Hash; readonly from: number };

/**
 * A recording on disk: lines in segment files, each named for the place of its first byte. Past `bytesMax` the oldest
 * segment behind the beginning is dropped. Bytes are with the kernel when `append` returns, and their hashes told once
 * they are on the disk.
 */
export class RecordingFiles {
  readonly #parts: RecordingFilesParts;
  #fd: number | null = null;
  #segmentStart = 0;
  #end = 0;
  #droppedBytes = 0;
  #kept: { readonly start: number; bytes: number }[] = [];
  #range: Range | null = null;
  #syncing: Promise<void> = Promise.resolve();
  #isSyncing = false;

  constructor(parts: RecordingFilesParts) {
    this.#parts = parts;
    mkdirSync(parts.folder, { recursive: true, mode: 0o700 });
  }

  /** Bytes that are there. */
  get bytes(): number {
    return this.#end - this.#droppedBytes;
  }

  /** The place behind everything that was written. */
  get place(): number {
    return this.#end;
  }

  get droppedBytes(): number {
    return this.#droppedBytes;
  }

  /** Whole lines, or nothing of them: throws the file system's error where they cannot be written. */
  append(lines: Buffer): void {
    const { segmentBytesMax } = this.#parts;
    if (this.#fd === null || this.#end - this.#segmentStart + lines.length > segmentBytesMax)
      this.#nextSegment();
    this.#write(lines);
    this.#range ??= { hash: createHash('sha256'), from: this.#end };
    this.#range.hash.update(lines);
    this.#end += lines.length;
    this.#kept.at(-1)!.bytes += lines.length;
    if (!this.#isSyncing && this.#end - this.#range.from >= recordingLimits.rangeBytes) this.attest();
  }

  /** Brings what was written to the disk, and then tells its hash. Resolves when all of that has happened, or failed. */
  attest(): Promise<void> {
    const range = this.#range;
    const fd = this.#fd;
    if (range === null || fd === null) return this.#syncing;
    this.#range = null;
    const { disk, onRange, onFault } = this.#parts;
    const told = {
      segment: this.#segmentStart,
      from: range.from,
      to: this.#end,
      sha256: range.hash.digest('hex'),
    };
    this.#isSyncing = true;
    const syncing = this.#syncing
      .then(() => disk.datasync(fd))
      .catch(onFault)
      // Also what may not survive: a hash that no file has is a finding, and bytes that no hash covers would be one for sure.
      .then(() => onRange(told))
      .finally(() => {
        if (this.#syncing === syncing) this.#isSyncing = false;
      });
    this.#syncing = syncing;
    return syncing;
  }

  async close(): Promise<void> {
    await this.attest();
    if (this.#fd !== null) this.#parts.disk.close(this.#fd);
    this.#fd = null;
  }

  /** A disk that is nearly full takes a part: half a line is taken back, now or before the next one. */
  #write(lines: Buffer): void {
    const { disk } = this.#parts;
    const length = this.#end - this.#segmentStart;
    let written = 0;
    try {
      while (written < lines.length) {
        const count = disk.write(this.#fd!, lines.subarray(written));
        if (count === 0) throw Object.assign(new Error('the disk takes nothing'), { code: 'ENOSPC' });
        written += count;
      }
    } catch (error) {
      this.#takeBack(length);
      throw error;
    }
  }

  /** Where that fails too, the segment is left as it is and a new one begun: a torn line ends it. */
  #takeBack(length: number): void {
    try {
      this.#parts.disk.truncate(this.#fd!, length);
    } catch {
      this.#leave();
    }
  }

  #leave(): void {
    const fd = this.#fd!;
    void this.attest().then(() => this.#parts.disk.close(fd));
    this.#fd = null;
  }

  #nextSegment(): void {
    if (this.#fd !== null) this.#leave();
    const { disk, folder } = this.#parts;
    // A segment that was left empty, or torn at its very beginning, has the name that this one would get.
    const start = this.#kept.at(-1)?.start === this.#end ? this.#end + 1 : this.#end;
    this.#fd = disk.open(join(folder, recordingSegmentName(start)));
    this.#droppedBytes += start - this.#end;
    this.#end = start;
    this.#segmentStart = start;
    this.#kept.push({ start, bytes: 0 });
    this.#drop();
  }

  #drop(): void {
    const { bytesMax, segmentBytesMax, disk, folder, onDropped } = this.#parts;
    const headBytes = bytesMax * recordingLimits.headShare;
    let total = this.#kept.reduce((sum, { bytes }) => sum + bytes, segmentBytesMax);
    while (total > bytesMax) {
      const index = this.#kept.findIndex(({ start, bytes }) => start + bytes > headBytes && start > 0);
      const oldest = this.#kept[index];
      if (oldest === undefined || index === this.#kept.length - 1) return;
      disk.unlink(join(folder, recordingSegmentName(oldest.start)));
      this.#kept.splice(index, 1);
      this.#droppedBytes += oldest.bytes;
      total -= oldest.bytes;
      onDropped({ segment: oldest.start, to: oldest.start + oldest.bytes });
    }
  }
}
