import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseId, type RunId, type TerminalId } from '../model/ids.ts';
import type { AuditEvent } from './event.ts';
import { recordingCheckLimits } from './limits.ts';
import { readLogNotes } from './log-notes.ts';
import { parseEvent } from './parse-event.ts';
import { linesWithPrefix } from './prefix-lines.ts';
import { RecordingCheck, type RecordingReport, type StreamGaps, statusOf } from './recording-check.ts';
import { recordedAction, toldRecording } from './recording-events.ts';
import { recordingIn } from './recording-folder.ts';
import { listSegments, segmentEvents } from './segments.ts';
import type { StreamVerdict, VerdictStatus } from './verify-stream.ts';

/** A recording on the disk. Its names are the disk's own. */
export type RecordingVerdict = Partial<RecordingReport> & {
  readonly run: RunId;
  readonly terminal: TerminalId;
  readonly status: VerdictStatus;
  readonly problem?: string;
};

export type RecordingsVerdict = {
  readonly folder: string;
  readonly status: VerdictStatus;
  readonly recordings: readonly RecordingVerdict[];
  /** Terminals that were recorded and whose runs' files are gone as a whole: they are removed with the run, or after a time. */
  readonly removed: number;
  /** Why the folder as a whole cannot be judged. */
  readonly problem?: string;
};

/** Bytes of recordings that were read so far, of those that there are. */
export type RecordingsProgress = { readonly bytes: number; readonly totalBytes: number };

/**
 * Holds every recording in a runner's part of a data folder against what streams tell that were verified just now: those that
 * are intact and signed; nothing else counts. A recording that no event tells of is `unreadable`, for nothing proves it, but
 * where it is as young as the newest sign of life of the streams.
 *
 * What it cannot show: that what is gone as a whole with its run was removed by the server.
 */
export async function verifyRecordings(
  folder: string,
  streams: readonly StreamVerdict[],
  onProgress: (progress: RecordingsProgress) => void = () => undefined,
): Promise<RecordingsVerdict> {
  const runs = join(folder, 'runs');
  try {
    const found = await recordingsIn(runs);
    const totalBytes = found.reduce((sum, { bytes }) => sum + bytes, 0);
    let bytes = 0;
    const onRead = (more: number) => {
      bytes += more;
      onProgress({ bytes: Math.min(bytes, totalBytes), totalBytes });
    };
    const checks = new Map(found.map((one) => [keyOf(one), { ...one, ...checkOf(one, onRead) }]));
    const told = await tellAll(streams.filter(isTrusted), checks);
    const recordings: RecordingVerdict[] = [];
    for (const one of checks.values()) recordings.push(await judged(one, told));
    const absent = await absentIn(runs, told.unknown);
    recordings.push(...absent);
    const there = await withoutRemoved(runs, recordings);
    const removed = told.unknown.size - absent.length;
    return { folder, status: worstOf(there), recordings: there, removed };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (typeof code !== 'string') throw error;
    const isNone = code === 'ENOENT' && !(await isThere(runs));
    const problem = isNone
      ? "it holds no folder 'runs': this is no runner's part of a data folder"
      : `the recordings cannot be read: ${code}`;
    return { folder, status: 'unreadable', recordings: [], removed: 0, problem };
  }
}

function worstOf(recordings: readonly RecordingVerdict[]): VerdictStatus {
  const statuses = new Set(recordings.map(({ status }) => status));
  return statuses.has('tampered') ? 'tampered' : statuses.has('unreadable') ? 'unreadable' : 'intact';
}

/** What nobody signed vouches for nothing. */
function isTrusted({ status, checkpoint, stream }: StreamVerdict): boolean {
  return status === 'intact' && checkpoint !== undefined && stream !== null;
}

type Names = { readonly run: RunId; readonly terminal: TerminalId };
type Found = Names & {
  readonly folder: string;
  readonly bytes: number;
  readonly content: Awaited<ReturnType<typeof recordingIn>> | { readonly unreadable: string };
};
type Checked = Found & { readonly check: RecordingCheck | null; failure: string | null };

const keyOf = ({ run, terminal }: Names) => `${run}/${terminal}`;

function checkOf({ content }: Found, onRead: (bytes: number) => void): Pick<Checked, 'check' | 'failure'> {
  if ('unreadable' in content) return { check: null, failure: content.unreadable };
  return { check: new RecordingCheck(content, onRead), failure: null };
}

async function recordingsIn(runs: string): Promise<Found[]> {
  const found: Found[] = [];
  for (const run of idsOf('run', await readdir(runs)))
    for (const terminal of idsOf('terminal', await namesIn(join(runs, run, 'terminals')))) {
      const folder = join(runs, run, 'terminals', terminal);
      const content = await recordingIn(folder).catch(unreadable);
      const pieces = 'pieces' in content ? content.pieces : [];
      const bytes = pieces.reduce((sum, { start, end }) => sum + end - start, 0);
      found.push({ run, terminal, folder, bytes, content });
    }
  return found;
}

function unreadable(error: NodeJS.ErrnoException): { unreadable: string } {
  if (typeof error.code !== 'string') throw error;
  return { unreadable: `it cannot be read: ${error.code}` };
}

function idsOf<K extends 'run' | 'terminal'>(kind: K, names: readonly string[]) {
  return names.flatMap((name) => parseId(kind, name) ?? []).sort();
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
}

type Told = {
  /** By streams. */
  readonly gaps: ReadonlyMap<string, StreamGaps>;
  /** Recordings that events tell of and that are not there, by their keys. */
  readonly unknown: ReadonlyMap<string, Names>;
  /** When the newest sign of life was. */
  readonly newestAt: number;
};

const lostAction = 'audit.lost';
const prefixes = [recordedAction, lostAction].map((action) => `{"action":"${action}"`);

async function tellAll(
  streams: readonly StreamVerdict[],
  checks: ReadonlyMap<string, Checked>,
): Promise<Told> {
  const unknown = new Map<string, Names>();
  const gaps = new Map<string, StreamGaps>();
  let newestAt = Number.NEGATIVE_INFINITY;
  for (const stream of streams) {
    let lost = false;
    for await (const event of eventsOf(stream)) {
      if (event.action === lostAction) lost = true;
      const told = toldRecording(event);
      if (told === null) continue;
      const key = keyOf(told);
      const known = checks.get(key);
      if (known === undefined) unknown.set(key, { run: told.run, terminal: told.terminal });
      else if (known.check !== null && known.failure === null)
        await known.check.take(told, stream.path).catch((error: NodeJS.ErrnoException) => {
          known.failure = unreadable(error).unreadable;
        });
    }
    gaps.set(stream.path, { lost, dropped: (stream.dropped ?? 0) > 0 });
    newestAt = Math.max(newestAt, await lastBeatOf(stream));
  }
  return { unknown, gaps, newestAt };
}

/** Those that were verified, of the few that matter here: a log that is being written has more by now. */
async function* eventsOf({ path, lastSeq, dropped = 0 }: StreamVerdict): AsyncGenerator<AuditEvent> {
  for (const segment of await listSegments(path)) {
    if (segment.first > lastSeq || segment.first + segmentEvents <= dropped) continue;
    for await (const line of linesWithPrefix(segment.path, prefixes)) {
      const event = parseEvent(Buffer.from(line));
      if (event !== null && event.seq > dropped && event.seq <= lastSeq) yield event;
    }
  }
}

async function lastBeatOf({ path }: StreamVerdict): Promise<number> {
  const last = (await listSegments(path)).slice(-2);
  return (await readLogNotes(last)).beats.at(-1)?.at ?? Number.NEGATIVE_INFINITY;
}

async function judged(
  { run, terminal, folder, bytes, check, failure }: Checked,
  told: Told,
): Promise<RecordingVerdict> {
  const names = { run, terminal };
  if (check === null || failure !== null)
    return { ...names, status: 'unreadable', problem: failure ?? 'it cannot be read' };
  const gaps = [...check.streams].flatMap((stream) => told.gaps.get(stream) ?? []);
  const report = check.finish({
    dropped: gaps.some((one) => one.dropped),
    lost: gaps.some((one) => one.lost),
  });
  if (check.streams.size === 0 && bytes > 0 && !(await isYoung(folder, told.newestAt)))
    return {
      ...names,
      ...report,
      status: 'unreadable',
      problem: 'no event of a stream that verified tells of it',
    };
  return { ...names, ...report, status: statusOf(report) };
}

/** Its own word: it makes a recording none that is proved. */
async function isYoung(folder: string, newestAt: number): Promise<boolean> {
  const text = await readStart(join(folder, 'meta.json')).catch(() => '');
  const { youngMs } = recordingCheckLimits;
  try {
    const { openedAt } = Object(JSON.parse(text)) as { openedAt?: unknown };
    return typeof openedAt === 'number' && Math.abs(openedAt - newestAt) <= youngMs;
  } catch {
    return false;
  }
}

async function readStart(path: string): Promise<string> {
  await using file = await open(path);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(recordingCheckLimits.metaBytesMax));
  return buffer.toString('utf8', 0, bytesRead);
}

/** A run's files go all together: where there are others of the run, its recording was taken away. */
async function absentIn(runs: string, unknown: Told['unknown']): Promise<RecordingVerdict[]> {
  const absent: RecordingVerdict[] = [];
  for (const { run, terminal } of unknown.values())
    if (await isThere(join(runs, run)))
      absent.push({ run, terminal, status: 'tampered', problem: 'it is not there, and its run is' });
  return absent;
}

/** What was removed while it was being read is no finding. */
async function withoutRemoved(
  runs: string,
  recordings: readonly RecordingVerdict[],
): Promise<RecordingVerdict[]> {
  const there: RecordingVerdict[] = [];
  for (const one of recordings)
    if (one.status === 'intact' || (await isThere(join(runs, one.run)))) there.push(one);
  return there;
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
