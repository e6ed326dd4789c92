import { basename } from 'node:path';
import type { Problem } from './chain-check.ts';
import { parseCheckpoint, parseNewest, type UnverifiedCheckpoint } from './checkpoint.ts';
import { type KeyChain, keyChainOf, keyInForce } from './key-chain.ts';
import { auditLimits } from './limits.ts';
import type { Beat, Claim, LogNotes } from './log-notes.ts';
import { TreeEdge } from './merkle.ts';
import { verifySegments } from './segment-pool.ts';
import { type Segment, segmentEvents } from './segments.ts';
import { signedBy, type VerifierKey } from './signed-note.ts';
import { beginning } from './tail.ts';
import { parseTombstone, type Tombstone } from './tombstone.ts';
import type { EdgePart, SegmentReport } from './verify-segment.ts';

export type VerdictStatus = 'intact' | 'tampered' | 'unreadable';

/** The first thing found wrong: `seq` is the event concerned and `line` where it stands in `file`, as far as they are known. */
export type StreamProblem = {
  readonly seq?: number;
  readonly line?: number;
  readonly file?: string;
  readonly what: string;
};

/** No sign of life between two events, although the stream was not closed. */
export type Silence = { readonly after: number; readonly seconds: number };

export type StreamVerdict = {
  readonly path: string;
  readonly status: VerdictStatus;
  /** Null where no line could be read. */
  readonly stream: string | null;
  /** Events that stand in an unbroken chain from the first one that is left. */
  readonly events: number;
  readonly lastSeq: number;
  /** The hash of the last of them as a leaf of the tree, as hex; 64 zeros where there is none. */
  readonly head: string;
  /** The log's name and the key that signs it now; absent in a single file and where they are not known. */
  readonly origin?: string;
  readonly key?: string;
  /** What the newest checkpoint covers: what follows it is vouched for by the chain alone. */
  readonly checkpoint?: { readonly size: number; readonly root: string };
  /** Events that were dropped before the first one that is left, as a signed tombstone says. */
  readonly dropped?: number;
  /** Bytes after the last newline: a line that was being written, or that a crash cut off. Never acknowledged. */
  readonly torn?: number;
  readonly silences?: readonly Silence[];
  readonly problem?: StreamProblem;
};

/** A stream as it was found. */
export type StreamSource = {
  readonly path: string;
  /** Null where nothing says how the stream should be called. */
  readonly stream: string | null;
  readonly segments: readonly Segment[];
  /**
   * A folder of segments with its checkpoint, a copy of its oldest segments with the note that stands for them where they
   * were dropped, a single segment, or a log from before there were segments.
   */
  readonly form: 'folder' | 'archive' | 'segment' | 'file';
  /** The texts of the files beside the segments of a folder; null where they are missing. */
  readonly checkpoint: string | null;
  readonly tombstone: string | null;
  readonly notes: LogNotes;
};

/** What a stream is held against besides itself. */
export type Asked = {
  /** Keys that are trusted; null to take the one that the stream begins with. */
  readonly keys: readonly VerifierKey[] | null;
  /** Checkpoints of any stream that somebody kept. */
  readonly kept: readonly UnverifiedCheckpoint[];
  /** What other streams recorded of this one. */
  readonly claims: readonly (Claim & { readonly by: string })[];
  /** Keys that the other streams name. */
  readonly others: readonly VerifierKey[];
  readonly threads: number;
  readonly onProgress: (path: string, bytes: number) => void;
};

/** Verifies one stream: its chain, then its keys, then that its tree is what was signed, kept and recorded of it. */
export async function verifyStream(source: StreamSource, asked: Asked): Promise<StreamVerdict> {
  const tombstone = source.tombstone === null ? null : parseTombstone(source.tombstone);
  const dropped = tombstone?.tombstone ?? null;
  const present = withoutGap(source.segments, dropped?.size ?? 0);
  const keys = keyChainOf(source.notes.keys, dropped?.key ?? null);
  const parse = source.form === 'archive' ? parseCheckpoint : parseNewest;
  const signed = source.checkpoint === null ? null : parse(source.checkpoint);
  const sizes = sizesOf(source, asked, signed);
  const read = await readSegments(source, present, sizes, dropped, asked);
  const known: Known = { source, dropped, keys: keys !== null && 'keys' in keys ? keys : null, signed, read };
  const problem =
    chainProblem(read, present, source.stream) ??
    (source.tombstone !== null && tombstone === null
      ? { what: 'the tombstone of dropped events is damaged' }
      : null) ??
    gapProblem(source, present, dropped) ??
    (keys !== null && 'flaw' in keys ? { seq: keys.seq, what: keys.flaw } : null) ??
    tombstoneProblem(known, tombstone, asked) ??
    checkpointProblem(known, asked) ??
    trustProblem(known, asked) ??
    keptProblem(known, asked) ??
    claimProblem(known, asked);
  return verdictOf(known, problem);
}

type Known = {
  readonly source: StreamSource;
  readonly dropped: Tombstone | null;
  readonly keys: KeyChain | null;
  readonly signed: UnverifiedCheckpoint | null;
  readonly read: Read;
};

/** The reports of the segments, and the root at each size that was asked for and reached. */
type Read = {
  readonly reports: readonly SegmentReport[];
  readonly events: number;
  readonly roots: ReadonlyMap<number, Buffer>;
};

/** Segments that follow each other from the first on. */
function withoutGap(segments: readonly Segment[], dropped: number): Segment[] {
  const end = segments.findIndex(({ first }, index) => first !== dropped + 1 + index * segmentEvents);
  return segments.slice(0, end < 0 ? segments.length : end);
}

function sizesOf(source: StreamSource, asked: Asked, signed: UnverifiedCheckpoint | null): number[] {
  const { origin } = source.notes.keys[0] ?? { origin: signed?.origin };
  const of = <T extends { origin: string; size: number }>(all: readonly T[]) =>
    all.filter((one) => one.origin === origin).map(({ size }) => size);
  const sizes = [signed?.size ?? 0, ...of(asked.kept), ...of(asked.claims)];
  return [...new Set(sizes)].sort((a, b) => a - b);
}

async function readSegments(
  source: StreamSource,
  segments: readonly Segment[],
  sizes: readonly number[],
  dropped: Tombstone | null,
  asked: Asked,
): Promise<Read> {
  const positionsOf = (first: number) =>
    sizes.map((size) => size - first + 1).filter((position) => position > 0 && position <= segmentEvents);
  const jobs = segments.map(({ first, path }) => ({
    first,
    path,
    stream: source.stream,
    positions: positionsOf(first),
  }));
  const reports = await verifySegments(jobs, asked.threads, (index, bytes) =>
    asked.onProgress(jobs[index]!.path, bytes),
  );
  const edge = new TreeEdge(dropped?.size, dropped?.peaks);
  const roots = new Map<number, Buffer>([[edge.size, edge.root()]]);
  for (const [index, { edgesAt, edge: all }] of reports.entries()) {
    for (const [at, position] of jobs[index]!.positions.slice(0, edgesAt.length).entries()) {
      const size = jobs[index]!.first - 1 + position;
      if (edge.size === jobs[index]!.first - 1) roots.set(size, grown(edge.copy(), edgesAt[at]!).root());
    }
    if (edge.size === jobs[index]!.first - 1) grown(edge, all);
  }
  return { reports, events: reports.reduce((sum, { events }) => sum + events, 0), roots };
}

function grown(edge: TreeEdge, parts: EdgePart): TreeEdge {
  for (const { height, hash } of parts) edge.append(Buffer.from(hash, 'hex'), height);
  return edge;
}

/** The first problem of the segments themselves, and of how each follows the one before. */
function chainProblem(
  { reports }: Read,
  segments: readonly Segment[],
  stream: string | null,
): StreamProblem | null {
  let before: SegmentReport | null = null;
  for (const [index, report] of reports.entries()) {
    const { first, path } = segments[index]!;
    const place = { seq: first, line: 1, file: basename(path) };
    if (report.events > segmentEvents)
      return {
        ...place,
        what: `the segment holds ${report.events} events, and ${segmentEvents} at most belong there`,
      };
    if (before !== null && before.tornBytes > 0)
      return { ...place, what: 'bytes that are no event stand before the first event of the segment' };
    if (before !== null && before.events < segmentEvents)
      return { seq: first - segmentEvents + before.events, what: endsEarly(before, first) };
    if (before !== null && report.follows !== null && !follows(report, before))
      return { ...place, what: 'the first event of the segment does not continue the one before' };
    if (before !== null && report.stream !== null && report.stream !== (stream ?? before.stream))
      return { ...place, what: `the segment belongs to stream ${JSON.stringify(report.stream)}` };
    if (report.problem !== null) return placed(report.problem, path);
    if (report.unreadable !== null) return null;
    before = report;
  }
  return null;
}

function endsEarly({ events }: SegmentReport, next: number): string {
  return `events ${next - segmentEvents + events} to ${next - 1} are missing at the end of their segment`;
}

function placed({ seq, line, what }: Problem, path: string): StreamProblem {
  return { ...(seq === undefined ? {} : { seq }), line, file: basename(path), what };
}

function follows({ follows: said }: SegmentReport, { leaf, plain }: SegmentReport): boolean {
  return said !== null && said.prev === (said.version === 1 ? plain : leaf);
}

function gapProblem(
  { segments }: StreamSource,
  present: readonly Segment[],
  dropped: Tombstone | null,
): StreamProblem | null {
  const next = segments[present.length];
  if (next === undefined) return null;
  const due = (dropped?.size ?? 0) + present.length * segmentEvents + 1;
  if (next.first < due) return { seq: next.first, what: 'a segment stands where none belongs' };
  return { seq: due, what: `events ${due} to ${next.first - 1} are missing: their segments are not there` };
}

type Parsed = ReturnType<typeof parseTombstone>;

function tombstoneProblem(
  { source, read, keys, signed }: Known,
  parsed: Parsed,
  { others }: Asked,
): StreamProblem | null {
  if (parsed === null) return null;
  const { tombstone, note } = parsed;
  const first = read.reports[0];
  if (keys === null) return null;
  const signers = signersOfNotes(source, keys, others, signed);
  if (tombstone.origin !== keys.origin || signedBy(note, signers) === null)
    return { what: 'the tombstone of dropped events is not signed by the log’s key' };
  if (first?.follows != null && first.follows.prev !== tombstone.before)
    return {
      seq: tombstone.size + 1,
      what: 'the first event that is left does not continue those that were dropped',
    };
  return null;
}

/** A stream in a folder of its own is never without one. */
function checkpointProblem(
  { source, keys, signed, read, dropped }: Known,
  { others }: Asked,
): StreamProblem | null {
  if (source.form === 'segment') return null;
  if (source.form === 'file') {
    const isOld = keys === null && (read.reports[0]?.follows?.version ?? 1) === 1;
    return isOld ? null : { what: 'the stream was signed, and lies here as a single file' };
  }
  if (source.checkpoint === null) {
    if (source.segments.length === 0) return null;
    const isOld = keys === null && source.notes.keys.length === 0 && read.reports.length > 0;
    return { what: isOld ? 'the stream was never signed' : 'the signed checkpoint of the stream is missing' };
  }
  if (signed === null) return { what: 'the checkpoint is damaged' };
  if (keys === null) return { what: 'the stream does not say which key signs it' };
  if (source.form === 'folder') return heldAgainst(signed, keys, read, dropped, 'the checkpoint');
  const signers = signersOfNotes(source, keys, others, signed);
  return heldAgainst(signed, keys, read, dropped, 'the note of the archive', signers);
}

/**
 * A stream is cut short by its own writer, or by the writer of a stream that it records in what it has signed: behind that
 * anybody can add a line that records a stream of their own.
 */
function signersOfNotes(
  { notes }: StreamSource,
  { keys }: KeyChain,
  others: readonly VerifierKey[],
  signed: UnverifiedCheckpoint | null,
): readonly VerifierKey[] {
  const claims = notes.claims.filter(({ seq }) => seq <= (signed?.size ?? 0));
  const recorded = new Set(claims.map(({ origin }) => origin));
  return [...keys.map(({ key }) => key), ...others.filter(({ name }) => recorded.has(name))];
}

/** Why a stream is not what a signed checkpoint says, or null. */
function heldAgainst(
  { origin, size, root, note }: UnverifiedCheckpoint,
  keys: KeyChain,
  { roots, events }: Read,
  dropped: Tombstone | null,
  what: string,
  signers?: readonly VerifierKey[],
): StreamProblem | null {
  if (origin !== keys.origin) return { what: `${what} is of another log, ${origin}` };
  const key = keyInForce(keys, size);
  if (signedBy(note, signers ?? (key === null ? [] : [key])) === null)
    return { what: `${what} is not signed by the key of the log` };
  const last = (dropped?.size ?? 0) + events;
  if (size > last)
    return {
      seq: last + 1,
      what: `events ${last + 1} to ${size} are missing: ${what} covers ${size} events`,
    };
  const found = roots.get(size);
  if (found === undefined || !found.equals(root))
    return { what: `the first ${size} events are not those that ${what} was signed for` };
  return null;
}

/**
 * A key vouches for what it signed itself, and for keys that it was followed by. That a key is named as the next one says
 * nothing: everybody knows it, and can name it in a log of their own.
 */
function trustProblem({ source, keys, signed }: Known, { keys: trusted }: Asked): StreamProblem | null {
  if (trusted === null) return null;
  if (source.form === 'archive') return archiveTrust(keys, signed, trusted);
  if (source.form !== 'folder')
    return { what: 'a single file is signed by nothing: give the folder of the stream' };
  const texts = new Set(trusted.map(({ text }) => text));
  const known = keys?.keys.find(({ key }) => texts.has(key.text));
  if (known !== undefined && signed !== null && signed.size >= known.since) return null;
  if (known !== undefined)
    return { seq: known.since, what: 'the key that was given has signed nothing here' };
  return {
    what: `the log is signed by ${keys?.keys[0]?.key.text ?? 'no key'}, which is not among the keys that were given`,
  };
}

/** An archive is vouched for by whoever signed its note: by a trusted key, or by one of the stream's own that one leads to. */
function archiveTrust(
  keys: KeyChain | null,
  signed: UnverifiedCheckpoint | null,
  trusted: readonly VerifierKey[],
): StreamProblem | null {
  const texts = new Set(trusted.map(({ text }) => text));
  const own = (keys?.keys ?? []).map(({ key }) => key);
  const from = own.findIndex(({ text }) => texts.has(text));
  const vouched = [...trusted, ...(from < 0 ? [] : own.slice(from))];
  if (signed !== null && signedBy(signed.note, vouched) !== null) return null;
  return { what: 'the note of the archive is signed by none of the keys that were given' };
}

function keptProblem({ keys, read, dropped }: Known, { kept, keys: trusted }: Asked): StreamProblem | null {
  if (keys === null) return null;
  for (const checkpoint of kept.filter(({ origin }) => origin === keys.origin)) {
    const what = `the checkpoint that was kept (${checkpoint.size})`;
    const isDropped = checkpoint.size < (dropped?.size ?? 0);
    const problem = isDropped
      ? droppedProblem(checkpoint, keys, trusted, what)
      : heldAgainst(checkpoint, keys, read, dropped, what);
    if (problem !== null) return problem;
  }
  return null;
}

/** Of a checkpoint of events that are gone only its key can tell that it was of this log, unless that is known anyway. */
function droppedProblem(
  { note }: UnverifiedCheckpoint,
  { keys }: KeyChain,
  trusted: Asked['keys'],
  what: string,
): StreamProblem | null {
  const all = keys.map(({ key }) => key);
  if (trusted !== null || signedBy(note, all) !== null) return null;
  return { what: `${what} is of events that were dropped since, and not signed by a key that is known here` };
}

function claimProblem({ keys, read, dropped }: Known, { claims }: Asked): StreamProblem | null {
  const last = (dropped?.size ?? 0) + read.events;
  for (const { origin, size, root, by, seq } of claims) {
    if (origin !== keys?.origin || size < (dropped?.size ?? 0)) continue;
    const found = size > last ? undefined : read.roots.get(size);
    if (found?.toString('base64') === root) continue;
    return {
      seq: Math.min(size, last + 1),
      what: `event ${seq} of ${by} recorded that this log had ${size} events, and other ones`,
    };
  }
  return null;
}

function silencesOf(beats: readonly Beat[]): Silence[] {
  return beats.flatMap((beat, index) => {
    const before = beats[index - 1];
    const seconds = before === undefined ? 0 : Math.round((beat.at - before.at) / 1000);
    const isSilent = seconds * 1000 > auditLimits.silenceMs && before?.action !== 'audit.closed';
    return before !== undefined && isSilent ? [{ after: before.seq, seconds }] : [];
  });
}

function verdictOf(
  { source, dropped, keys, signed, read }: Known,
  problem: StreamProblem | null,
): StreamVerdict {
  const { reports, events } = read;
  const unreadable =
    reports.find((report) => report.unreadable !== null)?.unreadable ?? nothingIn(source, events);
  const status = problem !== null ? 'tampered' : unreadable !== null ? 'unreadable' : 'intact';
  const last = reports.findLast((report) => report.events > 0);
  const torn = reports.at(-1)?.tornBytes ?? 0;
  const silences = silencesOf(source.notes.beats);
  const found = problem ?? (unreadable === null ? null : { what: unreadable });
  return {
    path: source.path,
    status,
    stream: reports.find(({ stream }) => stream !== null)?.stream ?? null,
    events,
    lastSeq: (dropped?.size ?? 0) + events,
    head: last?.leaf ?? dropped?.before ?? beginning.hash,
    ...(keys === null ? {} : { origin: keys.origin, key: keys.keys.at(-1)!.key.text }),
    ...(signed === null ? {} : { checkpoint: { size: signed.size, root: signed.root.toString('base64') } }),
    ...(dropped === null ? {} : { dropped: dropped.size }),
    ...(torn === 0 ? {} : { torn }),
    ...(silences.length === 0 ? {} : { silences }),
    ...(found === null ? {} : { problem: found }),
  };
}

function nothingIn({ segments }: StreamSource, events: number): string | null {
  if (segments.length === 0) return 'the folder holds no segment of a log';
  return events === 0 ? 'the log holds no event: never written, or emptied' : null;
}
