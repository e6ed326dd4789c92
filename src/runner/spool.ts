import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  statSync,
  unlinkSync,
  writevSync,
} from 'node:fs';
import { join } from 'node:path';
import { droppedRecord, type RecordKind, recordHeader, recordHeaderBytes } from '../contract/log-record.ts';
import { runnerLimits } from './limits.ts';

/**
 * A run's output on disk: log records in segment files, each named for the offset of its first record. Past
 * `bytesMax` the oldest segment behind the beginning is dropped, so that a run's first and last output stay.
 * Bytes live in the page cache and on disk, never in this process, however much is written or read.
 */
export class Spool {
  readonly #folder: string;
  readonly #bytesMax: number;
  readonly #segmentBytesMax: number;
  readonly #waiting = new Set<() => void>();
  #fd: number | null = null;
  #segmentStart = 0;
  #end = 0;
  #kept: { start: number; bytes: number }[] = [];
  #closed = false;

  constructor(folder: string, bytesMax: number) {
    this.#folder = folder;
    this.#bytesMax = bytesMax;
    this.#segmentBytesMax = Math.ceil(bytesMax / runnerLimits.segmentsPerLog);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** Record bytes written so far, dropped ones included. */
  get end(): number {
    return this.#end;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Appends one record; throws the file system's error when it cannot. */
  append(kind: Extract<RecordKind, 'stdout' | 'stderr'>, payload: Buffer): void {
    const size = recordHeaderBytes + payload.length;
    if (this.#fd === null || this.#end - this.#segmentStart + size > this.#segmentBytesMax)
      this.#nextSegment();
    this.#write([recordHeader(kind, payload.length), payload], size);
    this.#end += size;
    this.#kept.at(-1)!.bytes += size;
    this.#wake();
  }

  /** A disk that is nearly full takes a part and says so only the next time: half a record is taken back. */
  #write(parts: readonly Buffer[], size: number): void {
    if (writevSync(this.#fd!, parts) === size) return;
    ftruncateSync(this.#fd!, this.#end - this.#segmentStart);
    throw Object.assign(new Error('the disk took a part of a record'), { code: 'ENOSPC' });
  }

  /**
   * Gives up all but the beginning, and that too where there is no more: what has to be written about the end of
   * a run needs room on the disk that its output filled.
   */
  giveRoom(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
    for (const { start } of this.#kept.splice(this.#kept.length > 1 ? 1 : 0))
      unlinkSync(join(this.#folder, segmentName(start)));
  }

  /** No more output will come. */
  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
    this.#closed = true;
    this.#wake();
  }

  /** Settles when something was appended, the spool was closed or the caller gave up. */
  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const settle = () => {
        this.#waiting.delete(settle);
        signal.removeEventListener('abort', settle);
        resolve();
      };
      this.#waiting.add(settle);
      signal.addEventListener('abort', settle);
    });
  }

  #nextSegment(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = openSync(join(this.#folder, segmentName(this.#end)), 'wx', 0o600);
    this.#segmentStart = this.#end;
    this.#kept.push({ start: this.#end, bytes: 0 });
    this.#drop();
  }

  #drop(): void {
    const headBytes = this.#bytesMax * runnerLimits.headShare;
    let total = this.#kept.reduce((sum, segment) => sum + segment.bytes, this.#segmentBytesMax);
    while (total > this.#bytesMax) {
      const index = this.#kept.findIndex(
        (segment) => segment.start + segment.bytes > headBytes && segment.start > 0,
      );
      const oldest = this.#kept[index];
      if (oldest === undefined || index === this.#kept.length - 1) return;
      unlinkSync(join(this.#folder, segmentName(oldest.start)));
      this.#kept.splice(index, 1);
      total -= oldest.bytes;
    }
  }

  #wake(): void {
    for (const settle of [...this.#waiting]) settle();
  }
}

function segmentName(start: number): string {
  return `${String(start).padStart(16, '0')}.log`;
}

type Segment = { readonly start: number; readonly path: string };

function segmentsOf(folder: string): Segment[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names
    .filter((name) => /^\d{16}\.log$/.test(name))
    .sort()
    .map((name) => ({ start: Number.parseInt(name, 10), path: join(folder, name) }));
}

/**
 * The record bytes from `offset` on, in pieces, for as long as the caller pulls; a gap, or an offset inside a
 * record, becomes a `dropped` record of the bytes passed over, so offsets stay true. With a live spool it
 * waits for more until that is closed or `signal` is aborted; without one it ends where the files end.
 */
export async function* readSpool(
  folder: string,
  offset: number,
  live: Spool | null,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let position = offset;
  while (!signal.aborted) {
    const ended = live === null || live.closed;
    const changed = ended ? null : live.changed(signal);
    for (const segment of segmentsOf(folder)) {
      if (segment.start + fileBytes(segment.path) <= position) continue;
      for (const piece of readSegment(segment, position)) {
        position = piece.position;
        yield piece.bytes;
      }
    }
    if (changed === null) return;
    if (position >= live!.end) await changed;
  }
}

function fileBytes(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function* readSegment(segment: Segment, from: number): Generator<{ bytes: Buffer; position: number }> {
  let fd: number;
  try {
    fd = openSync(segment.path, 'r');
  } catch {
    return; // Dropped since it was listed; what it held is a gap before the next one.
  }
  try {
    let position = from <= segment.start ? segment.start : nextRecord(fd, segment.start, from);
    if (position > from) yield { bytes: droppedRecord(position - from), position };
    for (;;) {
      const bytes = Buffer.allocUnsafe(runnerLimits.readBytes);
      const count = readSync(fd, bytes, 0, bytes.length, position - segment.start);
      if (count === 0) return;
      position += count;
      yield { bytes: bytes.subarray(0, count), position };
    }
  } finally {
    closeSync(fd);
  }
}

/** The offset of the first record of a segment that starts at or behind `from`, found header by header. */
function nextRecord(fd: number, segmentStart: number, from: number): number {
  const header = Buffer.alloc(recordHeaderBytes);
  let position = segmentStart;
  while (position < from) {
    if (readSync(fd, header, 0, recordHeaderBytes, position - segmentStart) < recordHeaderBytes) return from;
    position += recordHeaderBytes + header.readUInt32BE(1);
  }
  return position;
}
