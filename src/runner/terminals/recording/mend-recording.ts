import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { DroppedSegment, RecordedRange } from '../../../audit/recording-events.ts';
import { recordingSegmentName } from '../../../contract/recording-files.ts';
import { castSeconds } from './cast.ts';
import { recordingLimits } from './limits.ts';
import { segmentStarts } from './read-recording.ts';

/** What a recording came to whose writer was killed. */
export type Mended = {
  /** Of all that is there, for hashes that were owed when the writer was killed are lost: what was told is told twice. */
  readonly ranges: readonly RecordedRange[];
  /** What is not there, between segments that are. */
  readonly gaps: readonly DroppedSegment[];
  readonly place: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly isComplete: boolean;
};

/** Cuts a line that was torn at the end of a recording, and brings what is left to the disk. Nobody writes to it. */
export async function mendRecording(folder: string): Promise<Mended> {
  const starts = segmentStarts(folder);
  const ranges: RecordedRange[] = [];
  const gaps: DroppedSegment[] = [];
  let seconds = 0;
  let [bytes, place] = [0, 0];
  let isComplete = true;
  for (const [index, start] of starts.entries()) {
    await using file = await open(join(folder, recordingSegmentName(start)), 'r+');
    const isLast = index === starts.length - 1;
    if (isLast) seconds = await cutTornLine(file);
    const size = Math.min((await file.stat()).size, (starts[index + 1] ?? Number.POSITIVE_INFINITY) - start);
    if (start !== place) isComplete = false;
    if (start > place) gaps.push({ segment: place, to: start });
    bytes += size;
    place = start + size;
    if (size === 0) continue;
    await file.datasync();
    ranges.push({ segment: start, from: start, to: place, sha256: await hashOf(file, size) });
  }
  return { ranges, gaps, place, bytes, seconds, isComplete };
}

/** The seconds of the last whole line. */
async function cutTornLine(file: FileHandle): Promise<number> {
  const { size } = await file.stat();
  const from = Math.max(0, size - recordingLimits.tailBytesMax);
  const tail = Buffer.alloc(size - from);
  await file.read(tail, 0, tail.length, from);
  const end = tail.lastIndexOf('\n') + 1;
  await file.truncate(from + end);
  const lastLine = tail.subarray(0, Math.max(0, end - 1));
  return castSeconds(lastLine.subarray(lastLine.lastIndexOf('\n') + 1).toString()) ?? 0;
}

async function hashOf(file: FileHandle, size: number): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(recordingLimits.readBytes);
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - at), at);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest('hex');
}
