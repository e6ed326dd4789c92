import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { recordingSegmentName, recordingSegmentStart } from '../../../contract/recording-files.ts';
import { castLine, castSeconds } from './cast.ts';
import { recordingLimits } from './limits.ts';

const newline = 0x0a;

/**
 * A recording's files as one asciicast, in pieces of whole lines. A line that was torn when its writer was killed is left
 * out; a marker stands where a segment was dropped.
 */
export function* readRecording(folder: string): Generator<Buffer> {
  const starts = segmentStarts(folder);
  let place = 0;
  for (const [index, start] of starts.entries()) {
    let missing = start - place;
    for (const lines of readSegment(folder, start, (starts[index + 1] ?? Number.POSITIVE_INFINITY) - start)) {
      if (missing > 0) yield droppedMarker(lines, missing);
      missing = 0;
      place = Math.max(place, start) + lines.length;
      yield lines;
    }
  }
}

/** Where the segments of a folder begin, in order; none where there is no folder. */
export function segmentStarts(folder: string): number[] {
  try {
    return readdirSync(folder)
      .flatMap((name) => recordingSegmentStart(name) ?? [])
      .sort((a, b) => a - b);
  } catch {
    return [];
  }
}

/** At the time of the first line that is there. */
function droppedMarker(lines: Buffer, bytes: number): Buffer {
  const line = lines.subarray(0, lines.indexOf(newline)).toString();
  return Buffer.from(castLine(castSeconds(line) ?? 0, 'm', `sealwright: ${bytes} bytes were dropped here`));
}

/** What is longer than a segment may be is none of its. */
function* readSegment(folder: string, start: number, bytesMax: number): Generator<Buffer> {
  let fd: number;
  try {
    fd = openSync(join(folder, recordingSegmentName(start)), 'r');
  } catch {
    return; // Dropped since it was listed.
  }
  try {
    let rest: Buffer = Buffer.alloc(0);
    for (let at = 0; at < bytesMax; ) {
      const bytes = Buffer.allocUnsafe(Math.min(recordingLimits.readBytes, bytesMax - at));
      const count = readSync(fd, bytes, 0, bytes.length, at);
      if (count === 0) return;
      at += count;
      const all = Buffer.concat([rest, bytes.subarray(0, count)]);
      const end = all.lastIndexOf(newline) + 1;
      rest = all.subarray(end);
      if (end > 0) yield all.subarray(0, end);
    }
  } finally {
    closeSync(fd);
  }
}
