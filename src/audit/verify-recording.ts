import { createHash } from 'node:crypto';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { recordingSegmentName, recordingSegmentStart } from '../contract/recording-files.ts';
import type { RecordedRange, ToldRecording } from './recording-events.ts';

/** What of a recording is not as the record says; bytes `from` to before `to` of it. */
export type RecordingFinding = {
  readonly kind: /** The segment is gone, and nobody said that it was dropped. */
    | 'missing'
    | 'changed'
    /** The segment ends before what was recorded of it. */
    | 'cut'
    /** Is there, and was not when the recording ended. */
    | 'added';
  readonly segment: number;
  readonly from: number;
  readonly to: number;
};

export type RecordingReport = {
  readonly findings: readonly RecordingFinding[];
  /** Bytes that are as they were recorded. */
  readonly verifiedBytes: number;
  /** Bytes at the end of a recording that goes on, or whose writer was killed: the record does not know them yet. */
  readonly unverifiedBytes: number;
  readonly isEnded: boolean;
};

type Segment = { readonly start: number; readonly end: number };
type Part = { readonly from: number; readonly to: number };

const readBytes = 256 * 1024;

/**
 * Holds the files of one terminal's recording against what streams that were verified told of it. Throws the file system's
 * error where the folder cannot be read. That a run was removed with its recordings is told by other events.
 */
export async function verifyRecording(
  folder: string,
  told: readonly ToldRecording[],
): Promise<RecordingReport> {
  const segments = await segmentsIn(folder);
  const dropped = new Set(told.flatMap((one) => ('dropped' in one ? one.dropped.segment : [])));
  const ranges = told.flatMap((one) => ('range' in one && !dropped.has(one.range.segment) ? one.range : []));
  const isEnded = told.some((one) => 'end' in one);
  const findings: RecordingFinding[] = [];
  const good = new Map<number, Part[]>();
  for (const range of ranges) {
    const kind = await judge(folder, segments.get(range.segment), range);
    const { segment, from, to } = range;
    if (kind !== null) findings.push({ kind, segment, from, to });
    good.set(segment, [...(good.get(segment) ?? []), range]);
  }
  let unverifiedBytes = 0;
  let presentBytes = 0;
  for (const [segment, { start, end }] of segments) {
    presentBytes += end - start;
    for (const { from, to } of gapsIn({ from: start, to: end }, good.get(segment) ?? [])) {
      unverifiedBytes += to - from;
      if (isEnded) findings.push({ kind: 'added', segment, from, to });
    }
  }
  const changed = findings.filter(({ kind }) => kind === 'changed' || kind === 'cut');
  const badBytes = changed.reduce((sum, { from, to }) => sum + to - from, 0);
  const verifiedBytes = Math.max(0, presentBytes - unverifiedBytes - badBytes);
  return { findings, verifiedBytes, unverifiedBytes: isEnded ? 0 : unverifiedBytes, isEnded };
}

/** What stands behind where the next segment begins is a line that was torn by a fault, and is read by nobody. */
async function segmentsIn(folder: string): Promise<Map<number, Segment>> {
  const starts = (await readdir(folder))
    .flatMap((name) => recordingSegmentStart(name) ?? [])
    .sort((a, b) => a - b);
  const segments = new Map<number, Segment>();
  for (const [index, start] of starts.entries()) {
    await using file = await open(join(folder, recordingSegmentName(start)));
    const { size } = await file.stat();
    segments.set(start, { start, end: Math.min(start + size, starts[index + 1] ?? start + size) });
  }
  return segments;
}

async function judge(
  folder: string,
  segment: Segment | undefined,
  { from, to, sha256 }: RecordedRange,
): Promise<RecordingFinding['kind'] | null> {
  if (segment === undefined) return 'missing';
  if (from < segment.start || to < from) return 'changed';
  if (to > segment.end) return 'cut';
  await using file = await open(join(folder, recordingSegmentName(segment.start)));
  const found = await hashOf(file, from - segment.start, to - segment.start);
  return found === sha256 ? null : 'changed';
}

async function hashOf(file: FileHandle, from: number, to: number): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(readBytes);
  for (let at = from; at < to; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, to - at), at);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest('hex');
}

/** What of the whole no part covers. */
function gapsIn(whole: Part, parts: readonly Part[]): Part[] {
  const gaps: Part[] = [];
  let place = whole.from;
  for (const { from, to } of parts.toSorted((a, b) => a.from - b.from)) {
    if (from > place) gaps.push({ from: place, to: Math.min(from, whole.to) });
    place = Math.max(place, to);
  }
  if (place < whole.to) gaps.push({ from: place, to: whole.to });
  return gaps;
}
