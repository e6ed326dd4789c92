import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { parseId } from '../model/ids.ts';
import { recordingCheckLimits } from './limits.ts';
import {
  type RecordingBytes,
  RecordingCheck,
  type RecordingPiece,
  type RecordingReport,
  statusOf,
} from './recording-check.ts';
import { type ToldRecording, toldRecording } from './recording-events.ts';
import type { EvidenceEvent } from './verify-evidence.ts';
import type { VerdictStatus } from './verify-stream.ts';

export type DownloadVerdict = Partial<RecordingReport> & {
  readonly path: string;
  readonly status: VerdictStatus;
  /** Which recording it was held against; null where the bundle tells of none that it could be. */
  readonly run: string | null;
  readonly terminal: string | null;
  readonly problem?: string;
};

/** What the events of a bundle tell of recordings. */
export class BundleRecordings {
  readonly #told = new Map<string, { readonly stream: string; readonly told: ToldRecording }[]>();
  #count = 0;

  take(event: EvidenceEvent): void {
    const told = toldRecording(event);
    if (told === null || this.isTooMany) return;
    this.#count += 1;
    const key = `${told.run} ${told.terminal}`;
    const known = this.#told.get(key) ?? [];
    known.push({ stream: event.stream, told });
    this.#told.set(key, known);
  }

  get isTooMany(): boolean {
    return this.#count >= recordingCheckLimits.bundleEventsMax;
  }

  /** Of the recording of that title; of the only one where there is none of it. */
  of(title: string | null) {
    return this.#told.get(title ?? '') ?? (this.#told.size === 1 ? [...this.#told.values()][0]! : null);
  }
}

/**
 * Holds a recording that was fetched (`GET …/recording`: segments one after the other, with a mark where some were dropped)
 * against the events of a bundle that was verified. Which one it is, it says itself, in bytes that are verified with the others.
 */
export async function verifyDownload(path: string, bundle: BundleRecordings): Promise<DownloadVerdict> {
  const none = { path, run: null, terminal: null, status: 'unreadable' } as const;
  if (bundle.isTooMany) return { ...none, problem: 'the bundle tells more of recordings than can be held' };
  try {
    const { title, pieces } = await readDownload(path);
    const events = bundle.of(title);
    if (events === null)
      return { ...none, problem: `no event of the bundle tells of ${title ?? 'this recording'}` };
    const { run, terminal } = events[0]!.told;
    const check = new RecordingCheck(bytesOf(pieces));
    for (const { stream, told } of events) await check.take(told, stream);
    const report = check.finish({ dropped: false, lost: false });
    return { path, run, terminal, status: statusOf(report), ...report };
  } catch (error) {
    if (error instanceof DownloadFlaw) return { ...none, problem: error.message };
    const { code } = error as NodeJS.ErrnoException;
    if (typeof code !== 'string') throw error;
    return { ...none, problem: `the file cannot be read: ${code}` };
  }
}

function bytesOf(pieces: readonly RecordingPiece[]): RecordingBytes {
  const end = pieces.at(-1)?.end ?? 0;
  return {
    pieces,
    pieceOf: ({ from }) =>
      pieces.find((piece) => piece.start <= from && from < piece.end) ?? (from >= end ? 'cut' : 'missing'),
  };
}

class DownloadFlaw extends Error {}

type Download = { readonly title: string | null; readonly pieces: readonly RecordingPiece[] };

async function readDownload(path: string): Promise<Download> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const facts = await file.stat();
  if (!facts.isFile()) throw new DownloadFlaw('this is not a regular file');
  const pieces: RecordingPiece[] = [];
  let [offset, start] = [0, 0];
  const add = (end: number) => {
    if (end > offset) pieces.push({ path, offset, start, end: start + end - offset, segment: null });
    start += end - offset;
  };
  for await (const mark of marksOf(file)) {
    if (pieces.length >= recordingCheckLimits.marksMax)
      throw new DownloadFlaw('it says in too many places that something was dropped');
    add(mark.from);
    offset = mark.to;
    start += mark.bytes;
    if (!Number.isSafeInteger(start)) throw new DownloadFlaw('a mark of what was dropped makes no sense');
  }
  add(facts.size);
  return { title: await titleOf(file), pieces };
}

/** The line that a server puts where bytes were dropped; nothing that a terminal shows can make one. */
const markPattern = /\n\[\d+(?:\.\d+)?, "m", "sealwright: (\d{1,15}) bytes were dropped here"\]\n$/;
const markEnd = Buffer.from(' bytes were dropped here"]\n');

type Mark = { readonly from: number; readonly to: number; readonly bytes: number };

/** In the order of the file. A mark may lie over the end of what is read at once: a part is read again with the next. */
async function* marksOf(file: FileHandle): AsyncGenerator<Mark> {
  const { readBytes, markBytesMax } = recordingCheckLimits;
  const buffer = Buffer.alloc(readBytes + 2 * markBytesMax);
  let kept = 0;
  let seen = 0;
  for (let position = 0; ; ) {
    const { bytesRead } = await file.read(buffer, kept, readBytes, position);
    if (bytesRead === 0) return;
    const base = position - kept;
    position += bytesRead;
    const filled = buffer.subarray(0, kept + bytesRead);
    for (let at = filled.indexOf(markEnd); at >= 0; at = filled.indexOf(markEnd, at + 1)) {
      const to = base + at + markEnd.length;
      if (to <= seen) continue;
      seen = to;
      const start = Math.max(0, at - markBytesMax);
      const text = filled.toString('latin1', start, at + markEnd.length);
      const [line, bytes] = markPattern.exec(base + start === 0 ? `\n${text}` : text) ?? [];
      if (line !== undefined) yield { from: to - line.trimStart().length, to, bytes: Number(bytes) };
    }
    kept = Math.min(filled.length, 2 * markBytesMax);
    buffer.copyWithin(0, filled.length - kept, filled.length);
  }
}

/** Of the first line: the ids of the run and the terminal, or null. */
async function titleOf(file: FileHandle): Promise<string | null> {
  const { headerBytesMax } = recordingCheckLimits;
  const { buffer, bytesRead } = await file.read(Buffer.alloc(headerBytesMax), 0, headerBytesMax, 0);
  try {
    const [line = ''] = buffer.toString('utf8', 0, bytesRead).split('\n', 1);
    const { title } = Object(JSON.parse(line)) as { title?: unknown };
    const [run = '', terminal = '', ...rest] = typeof title === 'string' ? title.split(' ') : [];
    const isOne = parseId('run', run) !== null && parseId('terminal', terminal) !== null && rest.length === 0;
    return isOne ? `${run} ${terminal}` : null;
  } catch {
    return null;
  }
}
