import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { JsonObject } from '../base/canonical-json.ts';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import type { Redactor } from '../redaction/redactor.ts';
import { type AuditDisk, nodeDisk } from './disk.ts';
import { type EventId, type EventParts, eventParts, lineOf, type NewEvent, streamPattern } from './event.ts';
import { auditLimits } from './limits.ts';
import { type FileLock, lockFile } from './lock.ts';
import { makeFolder, StreamFile, tryDisk } from './stream-file.ts';

export type AuditLogOptions = {
  /** Created with mode 0700. */
  readonly folder: string;
  /** The writer's name (`streamPattern`); the file is `<folder>/<stream>.jsonl`, mode 0600. */
  readonly stream: string;
  readonly clock: Clock;
  readonly newId: () => EventId;
  /** The data of a new stream's first line, such as the public key that will sign its checkpoints. */
  readonly genesis?: JsonObject;
  readonly disk?: AuditDisk;
  /** What takes secrets out of every event; by name and shape alone where absent. */
  readonly redactor?: Redactor;
};

/** Where an event stands in its stream; `hash` is its line's SHA-256 as hex. */
export type Recorded = { readonly id: EventId; readonly seq: number; readonly hash: string };

/** `since` in ms of the epoch. `reason` names no path and no secret. */
export type AuditHealth =
  | { readonly ok: true }
  | { readonly ok: false; readonly since: number; readonly reason: string };

export type AuditLog = {
  /**
   * Resolves once the line is on the disk. Throws Fault `audit.unavailable` where it could not be put there:
   * the event is then not in the log, and what it announces must not happen. Should the process die between a
   * failed fdatasync and the truncation that follows it, a refused line may survive; an attempt without an
   * outcome claims nothing. Events keep the order of their calls.
   */
  append(event: NewEvent): Promise<Recorded>;
  /** What the last write found; asks nothing of the disk. */
  health(): AuditHealth;
  /** Whether a write would be durable now: asks the disk, at most once in `probeFreshMs`, and starts recovery. */
  probe(): Promise<AuditHealth>;
  /** Writes what is pending, then frees the stream for another writer. Appends are refused from here on. */
  close(): Promise<void>;
};

/**
 * Opens a stream for its one writer. A second writer, here or in another process, gets Fault
 * `audit.unavailable`, as does a file that does not end like a log of this stream. A line that a crash cut off
 * is truncated, which the note `audit.recovered` says; a new stream begins with the note `audit.opened`. Lines
 * further back are not judged here: that is `verifyStreams`.
 *
 * After a failed write every append is refused until the file was recovered, which the next append or probe
 * tries, at most every `recoveryEveryMs`; the first line after that is the note `audit.gap` {since, refused,
 * reason}.
 */
export async function openAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const { folder, stream, disk = nodeDisk } = options;
  assert(streamPattern.test(stream), 'a stream has a well-formed name');
  try {
    await makeFolder(disk, folder);
    const lock = await lockFile(join(folder, `${stream}.lock`));
    if (lock === null) throw new Error('another process writes this stream');
    return await openLocked(options, disk, lock).catch((error: unknown) => {
      lock.release();
      throw error;
    });
  } catch (error) {
    throw unavailable(stream, String(error), error);
  }
}

async function openLocked(options: AuditLogOptions, disk: AuditDisk, lock: FileLock): Promise<AuditLog> {
  const { file, tornBytes } = await StreamFile.open(disk, options.folder, options.stream);
  const writer = new Writer(options, disk, lock, file);
  try {
    await writer.begin(tornBytes);
  } catch (error) {
    await file.close();
    throw error;
  }
  return writer;
}

function unavailable(stream: string, reason: string, cause?: unknown): Fault {
  return new Fault('audit.unavailable', {
    detail: 'The audit log cannot be written, so nothing was done. Try again later.',
    message: `audit stream ${stream}: ${reason}`,
    cause,
  });
}

/** An error's code (`ENOSPC`) where it has one: short, and without a path. */
function reasonOf(error: unknown): string {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return typeof code === 'string' ? code : String(message);
}

/** An event that waits for the disk; a note of the log itself has nobody waiting. */
type Entry = {
  readonly id: EventId;
  readonly parts: EventParts;
  readonly settle: { resolve(recorded: Recorded): void; reject(fault: Fault): void } | null;
};

/** Appends that were refused since the last line; the next line is the note that says so. */
type Gap = { readonly sinceMs: number; readonly reason: string; refused: number };

class Writer implements AuditLog {
  readonly #options: AuditLogOptions;
  readonly #disk: AuditDisk;
  readonly #lock: FileLock;
  readonly #file: StreamFile;
  #pending: Entry[] = [];
  #gap: Gap | null = null;
  #running = false;
  #idle: Promise<void> = Promise.resolve();
  #batchSinceMs: number | null = null;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #durableAtMs = Number.NEGATIVE_INFINITY;
  #probing: Promise<AuditHealth> | null = null;
  #closing: Promise<void> | null = null;

  constructor(options: AuditLogOptions, disk: AuditDisk, lock: FileLock, file: StreamFile) {
    this.#options = options;
    this.#disk = disk;
    this.#lock = lock;
    this.#file = file;
  }

  /** Writes the notes that a newly opened stream owes. */
  async begin(tornBytes: number): Promise<void> {
    const notes: Entry[] = [];
    if (this.#file.head.seq === 0) notes.push(this.#note('audit.opened', this.#options.genesis));
    if (tornBytes > 0) notes.push(this.#note('audit.recovered', { bytes: tornBytes }));
    if (notes.length > 0) await this.#commit(notes);
  }

  async append(event: NewEvent): Promise<Recorded> {
    const obstacle = this.#obstacle();
    if (obstacle !== null) throw this.#refusal(obstacle);
    const { stream, clock, newId, redactor } = this.#options;
    const id = newId();
    const parts = eventParts(event, stream, id, clock.now(), redactor);
    const { promise, resolve, reject } = Promise.withResolvers<Recorded>();
    this.#pending.push({ id, parts, settle: { resolve, reject } });
    this.#start();
    return promise;
  }

  health(): AuditHealth {
    const trouble = this.#trouble();
    if (trouble === null) return { ok: true };
    return { ok: false, since: this.#gap?.sinceMs ?? this.#options.clock.now(), reason: trouble };
  }

  async probe(): Promise<AuditHealth> {
    if (this.#file.broken && this.#closing === null && !this.#isStalled()) {
      if (this.#mayRecover()) this.#start();
      await this.#idle;
    }
    const health = this.health();
    const isFresh = this.#options.clock.monotonic() - this.#durableAtMs < auditLimits.probeFreshMs;
    if (!health.ok || isFresh) return health;
    this.#probing ??= this.#tryDisk().finally(() => {
      this.#probing = null;
    });
    return this.#probing;
  }

  close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    while (this.#running) await this.#idle;
    await this.#probing;
    await this.#file.close();
    this.#lock.release();
  }

  /** Why an append cannot be taken now, or null. A broken file is no obstacle to the append that may recover it. */
  #obstacle(): string | null {
    if (this.#pending.length >= auditLimits.pendingEventsMax) return 'too many events wait for the disk';
    const recovers = this.#closing === null && !this.#isStalled() && (this.#running || this.#mayRecover());
    return this.#file.broken && recovers ? null : this.#trouble();
  }

  #trouble(): string | null {
    if (this.#closing !== null) return 'the log is closed';
    if (this.#isStalled()) return 'the disk does not answer';
    return this.#file.broken ? (this.#gap?.reason ?? 'the log is being recovered') : null;
  }

  #isStalled(): boolean {
    const since = this.#batchSinceMs;
    return since !== null && this.#options.clock.monotonic() - since > auditLimits.stallMs;
  }

  #mayRecover(): boolean {
    return this.#options.clock.monotonic() - this.#triedAtMs >= auditLimits.recoveryEveryMs;
  }

  /** Counts a refused append and makes its Fault. */
  #refusal(reason: string, cause?: unknown): Fault {
    if (this.#closing === null) {
      this.#gap ??= { sinceMs: this.#options.clock.now(), reason, refused: 0 };
      this.#gap.refused += 1;
    }
    return unavailable(this.#options.stream, reason, cause);
  }

  #note(action: string, data?: JsonObject): Entry {
    const { stream, clock, newId, redactor } = this.#options;
    const id = newId();
    const note: NewEvent = {
      action,
      phase: 'note',
      actor: { id: 'system:audit', kind: 'system' },
      resource: { kind: 'audit', id: stream },
      decision: { allow: true, rule: 'audit:self' },
      outcome: 'succeeded',
      ...(data === undefined ? {} : { data }),
    };
    return { id, parts: eventParts(note, stream, id, clock.now(), redactor), settle: null };
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#idle = this.#drain();
  }

  /**
   * Commits batch after batch until nothing waits; never rejects. A turn of the event loop before each batch
   * lets everyone whom the last one answered, and everyone who came with them, into the next.
   */
  async #drain(): Promise<void> {
    do {
      await nextTurn();
      const batch = this.#pending.splice(0, auditLimits.batchEventsMax);
      this.#batchSinceMs = this.#options.clock.monotonic();
      try {
        if (this.#file.broken) await this.#file.recover();
        await this.#commit(batch);
      } catch (error) {
        this.#fail(error, batch);
      }
      this.#batchSinceMs = null;
    } while (this.#pending.length > 0);
    this.#running = false;
  }

  /** One write, one fdatasync: the whole batch is durable and acknowledged, or this throws and none of it is. */
  async #commit(batch: readonly Entry[]): Promise<void> {
    const gap = this.#gap;
    this.#gap = null;
    const entries = gap === null ? batch : [this.#note('audit.gap', gapData(gap)), ...batch];
    const { bytes, recorded } = render(entries, this.#file.head);
    try {
      await this.#file.append(bytes, recorded.at(-1) ?? this.#file.head);
    } catch (error) {
      this.#gap = joinGaps(gap, this.#gap);
      throw error;
    }
    this.#durableAtMs = this.#options.clock.monotonic();
    for (const [index, { settle }] of entries.entries()) settle?.resolve(recorded[index]!);
  }

  /** Refuses a batch and everything behind it. */
  #fail(error: unknown, batch: readonly Entry[]): void {
    this.#triedAtMs = this.#options.clock.monotonic();
    const reason = reasonOf(error);
    this.#gap ??= { sinceMs: this.#options.clock.now(), reason, refused: 0 };
    for (const { settle } of [...batch, ...this.#pending.splice(0)])
      settle?.reject(this.#refusal(reason, error));
  }

  async #tryDisk(): Promise<AuditHealth> {
    const { folder, stream, clock } = this.#options;
    try {
      await tryDisk(this.#disk, join(folder, `${stream}.probe`), auditLimits.probeBytes);
    } catch (error) {
      return { ok: false, since: clock.now(), reason: reasonOf(error) };
    }
    this.#durableAtMs = clock.monotonic();
    return this.health();
  }
}

/** The lines of a batch that follows `head`, as one piece of bytes. */
function render(entries: readonly Entry[], head: { seq: number; hash: string }) {
  let { seq, hash: prev } = head;
  let text = '';
  const recorded: Recorded[] = [];
  for (const { id, parts } of entries) {
    seq += 1;
    const line = lineOf(parts, prev, seq);
    prev = hash('sha256', line, 'hex');
    text += `${line}\n`;
    recorded.push({ id, seq, hash: prev });
  }
  return { bytes: Buffer.from(text), recorded };
}

function gapData(gap: Gap): JsonObject {
  return { since: new Date(gap.sinceMs).toISOString(), refused: gap.refused, reason: gap.reason };
}

/** One gap of two that follow each other: a note that could not be written, and what was refused meanwhile. */
function joinGaps(first: Gap | null, second: Gap | null): Gap | null {
  if (first === null || second === null) return first ?? second;
  return { ...first, refused: first.refused + second.refused };
}
