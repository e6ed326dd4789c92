import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { checkpointFile, type UnverifiedCheckpoint } from './checkpoint.ts';
import { type Claim, readLogNotes } from './log-notes.ts';
import { firstOfSegment, listSegments, type Segment } from './segments.ts';
import { noteBytesMax, parseVerifierKey, type VerifierKey } from './signed-note.ts';
import { type Place, placesAt } from './stream-places.ts';
import { archiveFile, parseTombstone, tombstoneFile } from './tombstone.ts';
import { type StreamSource, type StreamVerdict, type VerdictStatus, verifyStream } from './verify-stream.ts';

export type { StreamVerdict, VerdictStatus } from './verify-stream.ts';
export type Verdict = { readonly status: VerdictStatus; readonly streams: readonly StreamVerdict[] };

/** Bytes of all files read so far, of those that there are. */
export type VerifyProgress = { readonly bytes: number; readonly totalBytes: number };

export type VerifyOptions = {
  /**
   * Keys that are trusted, from elsewhere than the log: every stream must be signed by one of them, or by one that they lead
   * to. Without, a log is held against the key that it begins with, which proves that it belongs together and no more.
   */
  readonly keys?: readonly VerifierKey[];
  /** Checkpoints that were kept: each must be of a stream here that still holds what was signed. */
  readonly kept?: readonly UnverifiedCheckpoint[];
  /** How many segments are read at a time; one where absent. */
  readonly threads?: number;
  readonly onProgress?: (progress: VerifyProgress) => void;
};

/**
 * Verifies streams from their files alone, without a server, in memory that does not grow with them. A path is the folder
 * of a log, which stands for every stream in it and must hold every stream that they recorded, the folder of one stream, or
 * a single segment, of which only the chain can be judged. Links are followed.
 *
 * `tampered` is a stream whose lines are not, byte for byte, the unbroken chain that its writer made, or not what its signed
 * checkpoint, a kept one, or a record in another stream says it held. `unreadable` is what cannot be judged: no such file,
 * not a regular file, a read error, no event in it. A log that is being written may be verified meanwhile.
 *
 * What nothing here can show: that events behind the newest checkpoint are missing at the end (at most a minute's, or a
 * thousand), or that whoever holds the signing key and every copy of the log and of its checkpoints wrote it anew.
 */
export async function verifyStreams(paths: readonly string[], options: VerifyOptions = {}): Promise<Verdict> {
  const { keys = null, kept = [], threads = 1, onProgress } = options;
  const sources: Source[] = [];
  for (const path of paths) sources.push(...(await sourcesAt(path)));
  const claims = sources.flatMap(claimsOf);
  const others = sources.flatMap(keysOf);
  const progress = await progressOf(sources, onProgress);
  const streams: StreamVerdict[] = [];
  for (const source of sources)
    streams.push(
      await verifyStream(await withNewSegments(source), {
        keys,
        kept,
        threads,
        onProgress: progress,
        claims: claims.filter(({ from }) => from !== source.path),
        others,
      }),
    );
  streams.push(...missing(kept, streams), ...unfound(claims, streams), ...doubled(sources, streams));
  return { status: worstOf(streams), streams };
}

/** 0 intact, 1 tampered, 2 unreadable. */
export function exitCodeOf(verdict: Verdict): 0 | 1 | 2 {
  return ({ intact: 0, tampered: 1, unreadable: 2 } as const)[verdict.status];
}

/** Tampering is never hidden behind a file that could not be read; nothing to verify is not intact. */
function worstOf(streams: readonly StreamVerdict[]): VerdictStatus {
  const statuses = new Set(streams.map(({ status }) => status));
  if (statuses.has('tampered')) return 'tampered';
  return statuses.has('unreadable') || statuses.size === 0 ? 'unreadable' : 'intact';
}

/** Twice: a stream that began meanwhile may be recorded in those that were read. */
async function sourcesAt(path: string): Promise<Source[]> {
  const sources = new Map<string, Source>();
  for (let round = 0; round < 2; round += 1)
    for (const place of await placesAt(path))
      if (!sources.has(place.path)) sources.set(place.path, await sourceOf(place));
  return asFolders([...sources.values()]);
}

/** Beside streams with their checkpoints an archive is one whose checkpoint was taken away: its note is in every archive. */
function asFolders(sources: readonly Source[]): Source[] {
  const isLive = sources.some(
    ({ form, amongAll, checkpoint }) => form === 'folder' && amongAll && checkpoint !== null,
  );
  if (!isLive) return [...sources];
  return sources.map((source) =>
    source.form === 'archive' ? { ...source, form: 'folder', checkpoint: null } : source,
  );
}

/** What is signed is read before what it is about, which only grows meanwhile. */
async function sourceOf({ path, stream, form, first = 1, amongAll = false }: Place): Promise<Source> {
  const isFolder = form === 'folder';
  const checkpoint = isFolder ? await textOf(join(path, checkpointFile)) : null;
  const archived = isFolder && checkpoint === null ? await textOf(join(path, archiveFile)) : null;
  const tombstone = isFolder ? await textOf(join(path, tombstoneFile)) : null;
  const segments = isFolder ? await segmentsOf(path, tombstone, archived) : [{ first, path }];
  const notes = await readLogNotes(segments);
  const found = { path, stream, amongAll, tombstone, segments, notes };
  if (archived !== null) return { ...found, form: 'archive', checkpoint: archived };
  return { ...found, form, checkpoint };
}

/**
 * Without those that a tombstone stands for, which a crash may have left, and those that an archive had begun to take and its
 * note does not hold.
 */
async function segmentsOf(
  path: string,
  tombstone: string | null,
  archived: string | null,
): Promise<Segment[]> {
  const dropped = sizeOf(tombstone) ?? 0;
  const end = sizeOf(archived) ?? Number.POSITIVE_INFINITY;
  const isOurs = (first: number) => first > 0 && firstOfSegment(first) === first;
  return (await listSegments(path)).filter(
    ({ first }) => !isOurs(first) || (first > dropped && first <= end),
  );
}

function sizeOf(note: string | null): number | null {
  return (note === null ? null : parseTombstone(note)?.tombstone.size) ?? null;
}

type Source = StreamSource & Pick<Required<Place>, 'amongAll'>;

/** A log that is being written may have begun a segment since its checkpoint, or another stream's record of it, was read. */
async function withNewSegments(source: StreamSource): Promise<StreamSource> {
  if (source.form !== 'folder') return source;
  return { ...source, segments: await segmentsOf(source.path, source.tombstone, null) };
}

/** Null where there is no such file; a text that is none where it is too large or not readable. */
async function textOf(path: string): Promise<string | null> {
  try {
    const { size } = await stat(path);
    return size > noteBytesMax ? '' : await readFile(path, 'utf8');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? null : '';
  }
}

type FoundClaim = Claim & { readonly by: string; readonly from: string; readonly amongAll: boolean };

function claimsOf({ path, notes, amongAll }: Source): FoundClaim[] {
  return notes.claims.map((claim) => ({ ...claim, by: basename(path), from: path, amongAll }));
}

/** Those that a stream names, and the one that was in force when earlier events were dropped, its name among them. */
function keysOf({ notes, tombstone }: Source): VerifierKey[] {
  const named = notes.keys.flatMap(({ key }) => parseVerifierKey(key) ?? []);
  const before = tombstone === null ? null : parseTombstone(tombstone);
  return before === null ? named : [before.tombstone.key, ...named];
}

async function progressOf(
  sources: readonly StreamSource[],
  report: VerifyOptions['onProgress'],
): Promise<(path: string, bytes: number) => void> {
  if (report === undefined) return () => undefined;
  const files = sources.flatMap(({ segments }) => segments.map(({ path }) => path));
  const sizes = await Promise.all(
    files.map((file) =>
      stat(file).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
  const read = new Map<string, number>();
  let all = 0;
  return (path, bytes) => {
    all += bytes - (read.get(path) ?? 0);
    read.set(path, bytes);
    report({ bytes: all, totalBytes });
  };
}

/** Kept checkpoints of logs that are not here: they were taken away, or what was given is not the log that was meant. */
function missing(kept: readonly UnverifiedCheckpoint[], streams: readonly StreamVerdict[]): StreamVerdict[] {
  const origins = new Set(streams.map(({ origin }) => origin));
  const absent = new Set(kept.map(({ origin }) => origin).filter((origin) => !origins.has(origin)));
  return [...absent].map((origin) => ({
    ...absentLog(origin),
    problem: { what: 'a checkpoint was kept of this log, and it is not here' },
  }));
}

/** Logs that others in a folder of all of them recorded, and that are not there. */
function unfound(claims: readonly FoundClaim[], streams: readonly StreamVerdict[]): StreamVerdict[] {
  const origins = new Set(streams.map(({ origin }) => origin));
  const absent = claims.filter(({ origin, amongAll }) => amongAll && !origins.has(origin));
  const last = new Map(absent.map((claim) => [claim.origin, claim]));
  return [...last.values()].map(({ origin, by, seq, size }) => ({
    ...absentLog(origin),
    problem: { what: `event ${seq} of ${by} recorded ${size} events of this log, and it is not here` },
  }));
}

/** One log is in one folder: a second one of its name could vouch for whatever the first is asked about. */
function doubled(sources: readonly Source[], streams: readonly StreamVerdict[]): StreamVerdict[] {
  const folders = new Set(sources.filter(({ form }) => form === 'folder').map(({ path }) => path));
  const first = new Map<string, string>();
  return streams.flatMap((verdict) => {
    const { path, origin } = verdict;
    if (origin === undefined || !folders.has(path)) return [];
    const other = first.get(origin) ?? path;
    first.set(origin, other);
    if (other === path) return [];
    return [
      { ...verdict, status: 'tampered' as const, problem: { what: `the log in ${other} has the same name` } },
    ];
  });
}

function absentLog(origin: string): StreamVerdict {
  return { path: origin, status: 'tampered', stream: null, events: 0, lastSeq: 0, head: '', origin };
}
