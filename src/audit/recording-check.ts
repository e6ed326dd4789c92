import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { recordingCheckLimits } from './limits.ts';
import type { RecordedRange, ToldRecording } from './recording-events.ts';
import { type Span, Spans } from './spans.ts';
import type { VerdictStatus } from './verify-stream.ts';

/** Bytes `start` to before `end` of a recording, as they lie in a file from `offset` on. */
export type RecordingPiece = {
  readonly path: string;
  readonly offset: number;
  readonly start: number;
  readonly end: number;
  /** The segment that it is; null in a file that was fetched. */
  readonly segment: number | null;
};

/** What there is of a recording. */
export type RecordingBytes = {
  /** In order, and none over another. */
  readonly pieces: readonly RecordingPiece[];
  /** Where a range must begin; or that it is not there, or was cut off at the end. */
  pieceOf(range: RecordedRange): RecordingPiece | 'missing' | 'cut';
};

/** What of a recording is not as the record says; bytes `from` to before `to` of it. */
export type RecordingFinding = Span & {
  readonly kind: /** Is gone, and nobody said that it was dropped. */
    | 'missing'
    | 'changed'
    /** The file ends before what was recorded of it. */
    | 'cut'
    /** Is there, and was not when the recording ended. */
    | 'added';
  /** The one that it is in, or would be; null where that is not known. */
  readonly segment: number | null;
};

export type RecordingReport = {
  /** At most `findingsMax`; `findingsLeft` more were found. */
  readonly findings: readonly RecordingFinding[];
  readonly findingsLeft: number;
  /** Bytes that are as they were recorded. */
  readonly verifiedBytes: number;
  /** Bytes at the end of a recording that goes on, or whose writer was killed: the record does not know them yet. */
  readonly unverifiedBytes: number;
  /**
   * What can be neither proved nor disproved: the events that would tell of it were dropped or lost, or are not there yet.
   */
  readonly unproved: readonly Span[];
  /** What the recorder dropped to stay within its limit, and is not there. */
  readonly dropped: readonly Span[];
  readonly isEnded: boolean;
};

/** `unreadable` is what can be neither proved nor disproved. */
export function statusOf({ findings, unproved }: RecordingReport): VerdictStatus {
  if (findings.length > 0) return 'tampered';
  return unproved.length > 0 ? 'unreadable' : 'intact';
}

/** Why events of a stream may be missing, although it verifies. */
export type StreamGaps = { readonly dropped: boolean; readonly lost: boolean };

/**
 * Holds what there is of one recording against what streams that were verified tell of it, event by event, in memory that does not
 * grow with them.
 */
export class RecordingCheck {
  readonly #bytes: RecordingBytes;
  readonly #onRead: (bytes: number) => void;
  readonly #good = new Spans();
  readonly #bad = new Spans();
  /** By the stream that told, for what one says was dropped excuses nothing of another; and by segments. */
  readonly #missing = new Map<string, Map<number, Spans>>();
  readonly #dropped = new Map<string, Spans>();
  readonly #findings: RecordingFinding[] = [];
  #findingsLeft = 0;
  #firstTold = Number.POSITIVE_INFINITY;
  #isEnded = false;
  readonly #streams = new Set<string>();

  constructor(bytes: RecordingBytes, onRead: (bytes: number) => void = () => undefined) {
    this.#bytes = bytes;
    this.#onRead = onRead;
  }

  /** Those that told of it. */
  get streams(): ReadonlySet<string> {
    return this.#streams;
  }

  /** Throws the file system's error where what the event tells of cannot be read. */
  async take(told: ToldRecording, stream: string): Promise<void> {
    this.#streams.add(stream);
    if ('end' in told) this.#isEnded = true;
    else if ('dropped' in told)
      spansOf(this.#dropped, stream).add({ from: told.dropped.segment, to: told.dropped.to });
    else await this.#range(told.range, stream);
  }

  finish({ dropped, lost }: StreamGaps): RecordingReport {
    const unproved = new Spans();
    for (const { segment, span } of this.#unexcused())
      if (this.#isEnded && !lost) this.#find('missing', segment, span);
      else unproved.add(span);
    let unverifiedBytes = 0;
    for (const { segment, span } of this.#untold()) {
      if (lost || (dropped && span.to <= this.#firstTold)) unproved.add(span);
      else if (this.#isEnded) this.#find('added', segment, span);
      else unverifiedBytes += span.to - span.from;
    }
    return {
      findings: this.#findings,
      findingsLeft: this.#findingsLeft,
      verifiedBytes: this.#good.all.flatMap((span) => this.#bad.gapsIn(span)).reduce(sumOf, 0),
      unverifiedBytes,
      unproved: unproved.all,
      dropped: this.#gone(),
      isEnded: this.#isEnded,
    };
  }

  async #range(range: RecordedRange, stream: string): Promise<void> {
    const { from, to, sha256 } = range;
    this.#firstTold = Math.min(this.#firstTold, from);
    const piece = this.#bytes.pieceOf(range);
    const kind = typeof piece === 'string' ? piece : await this.#judge(piece, range, sha256);
    if (kind === 'missing') {
      const missing = this.#missing.get(stream) ?? new Map<number, Spans>();
      this.#missing.set(stream, missing);
      spansOf(missing, range.segment).add({ from, to });
      return;
    }
    (kind === null ? this.#good : this.#bad).add({ from, to });
    if (kind !== null) this.#find(kind, range.segment, { from, to });
  }

  async #judge(
    piece: RecordingPiece,
    { from, to }: Span,
    sha256: string,
  ): Promise<'missing' | 'changed' | 'cut' | null> {
    if (from < piece.start || to < from) return 'changed';
    if (to > piece.end) return 'cut';
    const at = piece.offset - piece.start;
    const found = await hashOf(piece.path, { from: at + from, to: at + to }).catch(nullIfAbsent);
    // Dropped by the recorder since it was listed; or taken away.
    if (found === null) return 'missing';
    this.#onRead(to - from);
    return found === sha256 ? null : 'changed';
  }

  /** What is gone and was not dropped. */
  #unexcused(): { readonly segment: number; readonly span: Span }[] {
    return [...this.#missing].flatMap(([stream, segments]) => {
      const excused = spansOf(this.#dropped, stream);
      return [...segments].flatMap(([segment, { all }]) =>
        all.flatMap((one) => excused.gapsIn(one)).map((span) => ({ segment, span })),
      );
    });
  }

  /** What is there and no event told of. */
  #untold(): { readonly segment: number | null; readonly span: Span }[] {
    return this.#bytes.pieces.flatMap(({ segment, start, end }) =>
      this.#good
        .gapsIn({ from: start, to: end })
        .flatMap((gap) => this.#bad.gapsIn(gap))
        .map((span) => ({ segment, span })),
    );
  }

  #gone(): readonly Span[] {
    const there = new Spans();
    for (const { start, end } of this.#bytes.pieces) there.add({ from: start, to: end });
    const gone = new Spans();
    for (const told of this.#dropped.values())
      for (const span of told.all.flatMap((one) => there.gapsIn(one))) gone.add(span);
    return gone.all;
  }

  /** What follows the finding before becomes one with it. */
  #find(kind: RecordingFinding['kind'], segment: number | null, { from, to }: Span): void {
    const last = this.#findings.at(-1);
    if (last?.kind === kind && last.segment === segment && last.to === from)
      this.#findings[this.#findings.length - 1] = { ...last, to };
    else if (this.#findings.length < recordingCheckLimits.findingsMax)
      this.#findings.push({ kind, segment, from, to });
    else this.#findingsLeft += 1;
  }
}

function sumOf(sum: number, { from, to }: Span): number {
  return sum + to - from;
}

function spansOf<K>(all: Map<K, Spans>, key: K): Spans {
  const found = all.get(key) ?? new Spans();
  all.set(key, found);
  return found;
}

function nullIfAbsent(error: NodeJS.ErrnoException): null {
  if (error.code !== 'ENOENT') throw error;
  return null;
}

async function hashOf(path: string, { from, to }: Span): Promise<string> {
  const hash = createHash('sha256');
  // Non-blocking, so that a named pipe does not hold the verifier up.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const buffer = Buffer.allocUnsafe(Math.min(recordingCheckLimits.readBytes, to - from));
  for (let at = from; at < to; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, to - at), at);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest('hex');
}
