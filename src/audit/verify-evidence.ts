import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { parseCheckpoint, type UnverifiedCheckpoint } from './checkpoint.ts';
import type { AuditEvent } from './event.ts';
import {
  artifactsDigest,
  type EvidenceArtifact,
  type EvidencePurpose,
  type EvidenceRecord,
  evidenceHeader,
  parseEvidenceLine,
} from './evidence.ts';
import { type KeyChain, keyChainOf, keyInForce } from './key-chain.ts';
import { keyActions } from './key-notes.ts';
import { evidenceLimits } from './limits.ts';
import { type LineFacts, readLine } from './line.ts';
import { linkTo } from './line-hash.ts';
import type { KeyNote } from './log-notes.ts';
import { leafHash } from './merkle.ts';
import { verifyInclusion } from './merkle-verify.ts';
import { parseEvent } from './parse-event.ts';
import { signedBy, type VerifierKey } from './signed-note.ts';
import { parseTombstone } from './tombstone.ts';
import type { VerdictStatus } from './verify.ts';

export type EvidenceVerdict = {
  readonly path: string;
  readonly status: VerdictStatus;
  /** What was asked, as the log recorded it; null where nothing proves it. */
  readonly request: EvidenceRequest | null;
  readonly streams: readonly EvidenceStream[];
  readonly artifacts: readonly EvidenceArtifact[];
  readonly events: number;
  readonly problem?: EvidenceProblem;
};
export type EvidenceProblem = { readonly stream?: string; readonly seq?: number; readonly what: string };

export type EvidenceRequest = {
  readonly by: string;
  readonly at: string;
  readonly asked: Readonly<Record<string, unknown>>;
};

export type EvidenceStream = {
  readonly stream: string;
  readonly origin: string;
  readonly keys: readonly string[];
  readonly checkpoint: { readonly size: number; readonly root: string; readonly note: string };
  /** Of the answer. */
  readonly events: number;
  readonly first: number | null;
  readonly last: number | null;
  /** Whether none is missing between the first and the last. */
  readonly isWhole: boolean;
  readonly dropped?: number;
};

/** An event of a bundle, for whoever shows it; its strings may be hostile. */
export type EvidenceEvent = AuditEvent;

export type EvidenceOptions = {
  /** Keys that are trusted, from elsewhere than the bundle: every stream must be signed by one, or by one that they lead to. */
  readonly keys?: readonly VerifierKey[];
  /** Checkpoints that were kept: each must be one of those in the bundle. */
  readonly kept?: readonly UnverifiedCheckpoint[];
  /** Told of each event of the answer, before it is known whether the bundle as a whole verifies. */
  readonly onEvent?: (event: AuditEvent, line: string) => void;
};

/** Whether a file begins like an evidence bundle. */
export async function isEvidence(path: string): Promise<boolean> {
  const beginning = Buffer.from(`${evidenceHeader}\n`);
  const file = await open(path, 'r').catch(() => null);
  try {
    if (file === null || !(await file.stat()).isFile()) return false;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(beginning.length), 0, beginning.length, 0);
    return bytesRead === beginning.length && buffer.equals(beginning);
  } finally {
    await file?.close();
  }
}

/**
 * Verifies a bundle by itself, in memory that does not grow with its events. `intact` is: every event is in the log that
 * the checkpoints were signed for, and the artifacts are those that the log says were exported. That no other event should be
 * there is proved only within a stream that `isWhole`. Without `keys` nothing says whose log it is.
 */
export async function verifyEvidence(path: string, options: EvidenceOptions = {}): Promise<EvidenceVerdict> {
  const check = new EvidenceCheck(options);
  try {
    for await (const line of linesOf(path)) if (!check.take(line)) break;
    check.finish();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (typeof code !== 'string') throw error;
    check.fail({ what: `the file cannot be read: ${code}` });
    return { ...check.verdict(path), status: 'unreadable' };
  }
  return check.verdict(path);
}

/** Lines without their newline; null for the rest of a file that is too long for a line, or is not ended by one. */
async function* linesOf(path: string): AsyncGenerator<string | null> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    rest = Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = rest.indexOf(newline); end >= 0; end = rest.indexOf(newline, start)) {
      yield textOf(rest.subarray(start, end));
      start = end + 1;
    }
    rest = rest.subarray(start);
    if (rest.length > evidenceLimits.lineBytesMax) return yield null;
  }
  if (rest.length > 0) yield null;
}

const newline = 0x0a;

/** Null where the bytes are no UTF-8. */
function textOf(bytes: Buffer): string | null {
  const text = bytes.toString('utf8');
  return Buffer.from(text).equals(bytes) ? text : null;
}

type Section = {
  readonly stream: string;
  readonly signed: UnverifiedCheckpoint;
  readonly tombstone: ReturnType<typeof parseTombstone>;
  readonly keyNotes: KeyNote[];
  last: { readonly seq: number; readonly line: Buffer; readonly isProved: boolean } | null;
  answer: { first: number; last: number; events: number; isWhole: boolean } | null;
};

class EvidenceCheck {
  readonly #options: EvidenceOptions;
  readonly #artifacts: EvidenceArtifact[] = [];
  readonly #streams: EvidenceStream[] = [];
  #isBegun = false;
  #isEnded = false;
  #section: Section | null = null;
  #request: (EvidenceRequest & { readonly artifacts: unknown }) | null = null;
  #events = 0;
  #problem: EvidenceProblem | null = null;
  #isUnjudged = false;

  constructor(options: EvidenceOptions) {
    this.#options = options;
  }

  /** False once nothing more is of interest. */
  take(line: string | null): boolean {
    if (!this.#isBegun) {
      this.#isBegun = true;
      if (line !== evidenceHeader) this.fail({ what: 'this is no evidence bundle' });
    } else {
      const record = line === null || this.#isEnded ? null : parseEvidenceLine(line);
      if (record === null) this.fail({ what: 'a line of the bundle is damaged' });
      else this.#record(record);
    }
    return this.#problem === null;
  }

  finish(): void {
    if (this.#problem !== null) return;
    if (!this.#isEnded) this.fail({ what: 'the bundle was cut: its end is missing' });
    else if (this.#request === null) this.fail({ what: 'no event says that this was asked for' });
    else if (this.#request.artifacts !== digestOf(this.#artifacts))
      this.fail({ what: 'the artifacts are not those that the log says were exported' });
    else this.#holdKept();
  }

  fail(problem: EvidenceProblem): void {
    this.#problem ??= problem;
  }

  verdict(path: string): EvidenceVerdict {
    const { by, at, asked } = this.#request ?? {};
    return {
      path,
      status: this.#problem === null ? 'intact' : this.#isUnjudged ? 'unreadable' : 'tampered',
      request: by === undefined || at === undefined || asked === undefined ? null : { by, at, asked },
      streams: this.#streams,
      artifacts: this.#artifacts,
      events: this.#streams.reduce((sum, { events }) => sum + events, 0),
      ...(this.#problem === null ? {} : { problem: this.#problem }),
    };
  }

  #record(record: EvidenceRecord): void {
    if (record.kind === 'event') {
      this.#event(record);
      return;
    }
    this.#endSection();
    if (record.kind === 'stream') this.#begin(record);
    else if (record.kind === 'artifact') this.#artifact(record.artifact);
    else {
      this.#isEnded = true;
      if (record.events !== this.#events)
        this.fail({ what: `the bundle holds ${this.#events} events, and says ${record.events}` });
    }
  }

  #artifact(artifact: EvidenceArtifact): void {
    if (this.#streams.length > 0) this.fail({ what: 'an artifact stands behind the events' });
    if (this.#artifacts.length >= evidenceLimits.artifactsMax)
      this.fail({ what: 'there are too many artifacts' });
    this.#artifacts.push(artifact);
  }

  #begin({ stream, checkpoint, tombstone: text }: EvidenceRecord & { kind: 'stream' }): void {
    const signed = parseCheckpoint(checkpoint);
    const tombstone = text === null ? null : parseTombstone(text);
    if (this.#streams.some((other) => other.stream === stream))
      this.fail({ stream, what: 'the stream is there twice' });
    else if (signed === null) this.fail({ stream, what: 'its checkpoint is damaged' });
    else if (text !== null && tombstone === null)
      this.fail({ stream, what: 'the tombstone of its dropped events is damaged' });
    else this.#section = { stream, signed, tombstone, keyNotes: [], last: null, answer: null };
  }

  #event({ line, purpose, proof }: EvidenceRecord & { kind: 'event' }): void {
    const section = this.#section;
    const bytes = Buffer.from(line);
    const facts = readLine(bytes);
    if (section === null) {
      this.fail({ what: 'an event stands before its stream' });
      return;
    }
    const { stream, last } = section;
    if ('flaw' in facts) {
      this.fail({ stream, what: facts.flaw });
      return;
    }
    const { seq } = facts;
    const what = misplaced(section, facts, last) ?? unproved(section, seq, bytes, proof);
    if (what !== null) {
      this.fail({ stream, seq, what });
      return;
    }
    section.last = { seq, line: bytes, isProved: proof !== null };
    this.#events += 1;
    this.#understand(section, { seq, line, bytes, purpose });
  }

  #understand(
    section: Section,
    { seq, line, bytes, purpose }: { seq: number; line: string; bytes: Buffer; purpose: EvidencePurpose },
  ): void {
    const event = parseEvent(bytes);
    if (event === null) {
      this.fail({ stream: section.stream, seq, what: 'the event is not whole' });
      return;
    }
    const note = keyNoteOf(event);
    if (note !== null) section.keyNotes.push(note);
    if (purpose === 'key' && note === null) {
      this.fail({ stream: section.stream, seq, what: 'the event names no key' });
      return;
    }
    if (purpose === 'request') this.#takeRequest(section, event);
    if (purpose !== 'answer') return;
    const { answer } = section;
    section.answer = {
      first: answer?.first ?? seq,
      last: seq,
      events: (answer?.events ?? 0) + 1,
      isWhole: (answer?.isWhole ?? true) && (answer === null || answer.last === seq - 1),
    };
    this.#options.onEvent?.(event, line);
  }

  #takeRequest({ stream }: Section, { action, actor, at, seq, data }: AuditEvent): void {
    const { evidence, artifacts, ...asked } = data ?? {};
    if (this.#request !== null || action !== 'audit.export' || evidence !== true) {
      this.fail({ stream, seq, what: 'this event does not ask for the bundle' });
      return;
    }
    this.#request = { by: actor.id, at, asked, artifacts };
  }

  #endSection(): void {
    const section = this.#section;
    this.#section = null;
    if (section === null || this.#problem !== null) return;
    const { stream, signed, tombstone, last, answer, keyNotes } = section;
    if (last !== null && !last.isProved) {
      this.fail({ stream, seq: last.seq, what: 'nothing proves that the event is in the log' });
      return;
    }
    const keys = keyChainOf(keyNotes, tombstone?.tombstone.key ?? null);
    if (keys === null) {
      this.fail({ stream, what: 'no event says which key signs the stream' });
      return;
    }
    if ('flaw' in keys) {
      this.fail({ stream, seq: keys.seq, what: keys.flaw });
      return;
    }
    const what = unsigned(section, keys) ?? this.#distrust(keys);
    if (what !== null) {
      this.fail({ stream, what });
      return;
    }
    this.#streams.push({
      stream,
      origin: keys.origin,
      keys: keys.keys.map(({ key }) => key.text),
      checkpoint: {
        size: signed.size,
        root: signed.root.toString('base64'),
        note: noteText(section),
      },
      events: answer?.events ?? 0,
      first: answer?.first ?? null,
      last: answer?.last ?? null,
      isWhole: answer?.isWhole ?? false,
      ...(tombstone === null ? {} : { dropped: tombstone.tombstone.size }),
    });
  }

  #distrust({ keys }: KeyChain): string | null {
    const trusted = this.#options.keys;
    if (trusted === undefined) return null;
    const texts = new Set(trusted.map(({ text }) => text));
    if (keys.some(({ key }) => texts.has(key.text))) return null;
    return `it is signed by ${keys[0]!.key.text}, which is not among the keys that were given`;
  }

  /** Another root is tampering, whatever else cannot be judged. */
  #holdKept(): void {
    const kept = this.#options.kept ?? [];
    for (const checkpoint of kept) this.#holdAgainst(checkpoint);
    const other = kept.find(({ origin, size }) => this.#ownOf(origin)?.size !== size);
    if (other === undefined || this.#problem !== null) return;
    const own = this.#ownOf(other.origin)?.size;
    this.fail({
      what: `a checkpoint of ${other.size} events was kept, and the bundle proves nothing but of ${own}: verify the log`,
    });
    this.#isUnjudged = true;
  }

  #holdAgainst({ origin, size, root }: UnverifiedCheckpoint): void {
    const own = this.#ownOf(origin);
    if (own === undefined)
      this.fail({ what: `the bundle holds nothing of ${origin}, of which a checkpoint was kept` });
    else if (own.size === size && own.root !== root.toString('base64'))
      this.fail({
        what: `the first ${size} events of ${origin} are not those of the checkpoint that was kept`,
      });
  }

  #ownOf(origin: string): EvidenceStream['checkpoint'] | undefined {
    return this.#streams.find((stream) => stream.origin === origin)?.checkpoint;
  }
}

function digestOf(artifacts: readonly EvidenceArtifact[]): string | undefined {
  return artifacts.length === 0 ? undefined : artifactsDigest(artifacts);
}

function noteText({ signed }: Section): string {
  const lines = signed.note.signatures.map(
    ({ name, id, bytes }) =>
      `— ${name} ${Buffer.concat([Buffer.from(id, 'hex'), bytes]).toString('base64')}\n`,
  );
  return `${signed.note.text}\n${lines.join('')}`;
}

function misplaced({ stream, signed }: Section, facts: LineFacts, last: Section['last']): string | null {
  const { seq, prev, v } = facts;
  if (facts.stream !== stream) return `the event belongs to stream ${JSON.stringify(facts.stream)}`;
  if (last !== null && seq <= last.seq) return 'the event stands here again, or out of order';
  if (seq > signed.size) return `the checkpoint covers ${signed.size} events alone`;
  if (last === null || last.isProved) return null;
  if (seq !== last.seq + 1) return `nothing proves that the event before, ${last.seq}, is in the log`;
  return prev === linkTo(last.line, v) ? null : `the event does not follow the one before, ${last.seq}`;
}

function unproved(
  { signed }: Section,
  seq: number,
  bytes: Buffer,
  proof: readonly Buffer[] | null,
): string | null {
  if (proof === null || verifyInclusion(leafHash(bytes), seq - 1, signed.size, proof, signed.root))
    return null;
  return 'the event is not in the log that the checkpoint was signed for';
}

function unsigned({ signed, tombstone }: Section, keys: KeyChain): string | null {
  if (signed.origin !== keys.origin) return `its checkpoint is of another log, ${signed.origin}`;
  const key = keyInForce(keys, signed.size);
  if (key === null || signedBy(signed.note, [key]) === null)
    return 'its checkpoint is not signed by the key of the log';
  if (tombstone === null) return null;
  const all = keys.keys.map((one) => one.key);
  const isOwn = tombstone.tombstone.origin === keys.origin && signedBy(tombstone.note, all) !== null;
  return isOwn ? null : 'the tombstone of its dropped events is not signed by the key of the log';
}

/** Of an event that names a key of its own stream. */
function keyNoteOf({ action, seq, data }: AuditEvent): KeyNote | null {
  const { origin, key, signature } = data ?? {};
  if (!Object.values<string>(keyActions).includes(action)) return null;
  if (typeof origin !== 'string' || typeof key !== 'string') return null;
  return { seq, action, origin, key, signature: typeof signature === 'string' ? signature : null };
}
