import assert from 'node:assert/strict';
import { hash, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { JsonObject } from '../base/canonical-json.ts';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import type { Redactor } from '../redaction/redactor.ts';
import type { SignedCheckpoint } from './checkpoint.ts';
import { Checkpointer } from './checkpointer.ts';
import { type AuditDisk, nodeDisk } from './disk.ts';
import { type EventId, type EventParts, eventParts, lineOf, type NewEvent, streamPattern } from './event.ts';
import { takeOverFlatFile } from './flat-file.ts';
import { makeFolder, tryDisk } from './folders.ts';
import { holdAgainstKept } from './kept-checkpoint.ts';
import { introductionData, keyActions, originOf, rotationData } from './key-notes.ts';
import { auditLimits } from './limits.ts';
import { type FileLock, lockFile } from './lock.ts';
import { beforeSegments, openStream, type StreamState } from './open-stream.ts';
import { type NoteSigner, noteSigner } from './signed-note.ts';
import { StreamFile } from './stream-file.ts';
import type { StreamTree } from './stream-tree.ts';
import type { Place } from './tail.ts';

export type AuditLogOptions = {
  /** Created with mode 0700. */
  readonly folder: string;
  /** The writer's name (`streamPattern`); its segments are in `<folder>/<stream>/`, mode 0600. */
  readonly stream: string;
  readonly clock: Clock;
  readonly newId: () => EventId;
  /**
   * Ed25519 keys that checkpoints may be signed by. A new stream takes the first; a stream that is there says which one is
   * in force.
   */
  readonly signingKeys: readonly KeyObject[];
  /**
   * Where a copy of the newest checkpoint is kept, apart from the stream's folder: what it says the stream held must be there
   * at the next start. None is kept where absent.
   */
  readonly keptCheckpoint?: string;
  readonly disk?: AuditDisk;
  /** What takes secrets out of every event; by name and shape alone where absent. */
  readonly redactor?: Redactor;
};

/** Where an event stands in its stream; `hash` is its line's hash as a leaf of the Merkle tree, as hex. */
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
  /** Writes what is pending, and frees the stream for another writer. Appends are refused from here on. */
  close(): Promise<void>;
};

/** A stream with its tree and its checkpoints. `close` signs a last one. */
export type SignedAuditLog = AuditLog & {
  readonly stream: string;
  /** The last event that is durable. */
  head(): Place;
  /** Called after events became durable; must not throw. Returns what ends it. */
  onAppended(listener: () => void): () => void;
  /** The newest signed checkpoint: at most `checkpointEveryMs` or about `checkpointEventsMax` behind. */
  checkpoint(): SignedCheckpoint;
  /** Called for each one that is signed from now on. */
  onCheckpoint(listener: (checkpoint: SignedCheckpoint) => void): () => void;
  /** Signs what is durable now. Throws Fault `audit.unavailable`. */
  sign(): Promise<SignedCheckpoint>;
  /** Roots and proofs over what is durable. */
  readonly tree: StreamTree;
  /** The key in force, as its text is handed out. */
  key(): string;
  /** The key in force, which signs what this writer says of other streams as well. */
  signer(): NoteSigner;
  /** Another key signs from now on: says so in the stream, signed by the old one, then signs a checkpoint. */
  rotateKey(next: KeyObject): Promise<void>;
};

/**
 * Opens a stream for its one writer. A second writer, here or in another process, gets Fault
 * `audit.unavailable`, as does a stream that does not end like a log, or that does not hold what its newest checkpoint says.
 * A line that a crash cut off is truncated, which the note `audit.recovered` says; a new stream begins with the note
 * `audit.opened`, which names the key. Lines further back are not judged here: that is `verifyStreams`.
 *
 * After a failed write every append is refused until the file was recovered, which the next append or probe
 * tries, at most every `recoveryEveryMs`; the first line after that is the note `audit.gap` {since, refused,
 * reason}.
 */
export async function openAuditLog(options: AuditLogOptions): Promise<SignedAuditLog> {
  const { stream, disk = nodeDisk } = options;
  assert(streamPattern.test(stream), 'a stream has a well-formed name');
  const folder = join(options.folder, stream);
  try {
    await makeFolder(disk, options.folder);
    await takeOverFlatFile(folder);
    await makeFolder(disk, folder);
    const lock = await lockFile(join(folder, 'lock'));
    if (lock === null) throw new Error('another process writes this stream');
    return await openLocked({ ...options, folder, disk, lock }).catch((error: unknown) => {
      lock.release();
      throw error;
    });
  } catch (error) {
    throw unavailable(stream, String(error), error);
  }
}

/** `folder` is the stream's own. */
type WriterOptions = Omit<AuditLogOptions, 'disk'> & { readonly disk: AuditDisk; readonly lock: FileLock };

async function openLocked(options: WriterOptions): Promise<SignedAuditLog> {
  const { folder, signingKeys } = options;
  const before = await beforeSegments(folder);
  const { file, tornBytes } = await StreamFile.open({ ...options, before });
  try {
    const state = await openStream(folder, file.head.seq, signingKeys);
    if (options.keptCheckpoint !== undefined)
      await holdAgainstKept(options.keptCheckpoint, state, signingKeys);
    const writer = new Writer(options, file, state);
    await writer.begin(tornBytes);
    return writer;
  } catch (error) {
    await file.close();
    throw error;
  }
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

class Writer implements SignedAuditLog {
  readonly stream: string;
  readonly tree: StreamTree;
  readonly #options: WriterOptions;
  readonly #file: StreamFile;
  readonly #checkpoints: Checkpointer;
  readonly #listeners = new Set<() => void>();
  /** Whether the stream has named the key that signs. */
  #introduced: boolean;
  #unsigned: string | null = null;
  /** When the last change of the key that was asked for is done: each is signed by the key before. */
  #rotated: Promise<void> = Promise.resolve();
  #pending: Entry[] = [];
  #gap: Gap | null = null;
  #running = false;
  #idle: Promise<void> = Promise.resolve();
  #batchSinceMs: number | null = null;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #durableAtMs = Number.NEGATIVE_INFINITY;
  #probing: Promise<AuditHealth> | null = null;
  #closing: Promise<void> | null = null;

  constructor(options: WriterOptions, file: StreamFile, { tree, signer, newest }: StreamState) {
    const { stream, signingKeys, newId } = options;
    this.stream = stream;
    this.tree = tree;
    this.#options = options;
    this.#file = file;
    this.#introduced = signer !== null;
    this.#checkpoints = new Checkpointer({
      ...options,
      tree,
      signer: signer ?? noteSigner(originOf(stream, newId()), signingKeys[0]!),
      newest,
      onFailed: (error) => {
        this.#triedAtMs = this.#options.clock.monotonic();
        this.#unsigned = reasonOf(error);
      },
    });
  }

  /** Writes the notes that a newly opened stream owes, and a checkpoint of what none holds. */
  async begin(tornBytes: number): Promise<void> {
    const notes: Entry[] = [];
    if (!this.#introduced) {
      const action = this.#file.head.seq === 0 ? keyActions.opened : keyActions.introduced;
      notes.push(this.#note(action, introductionData(this.#checkpoints.signer)));
    }
    if (tornBytes > 0) notes.push(this.#note('audit.recovered', { bytes: tornBytes }));
    if (notes.length > 0) await this.#commit(notes);
    this.#introduced = true;
    await this.#checkpoints.write();
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

  head(): Place {
    const { seq, hash: last } = this.#file.head;
    return { seq, hash: last };
  }

  onAppended(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  checkpoint(): SignedCheckpoint {
    const { newest } = this.#checkpoints;
    assert(newest !== null, 'a stream that is open has one');
    return newest;
  }

  onCheckpoint(listener: (checkpoint: SignedCheckpoint) => void): () => void {
    return this.#checkpoints.onCheckpoint(listener);
  }

  async sign(): Promise<SignedCheckpoint> {
    try {
      await this.#checkpoints.write();
    } catch (error) {
      throw unavailable(this.#options.stream, reasonOf(error), error);
    }
    return this.checkpoint();
  }

  key(): string {
    return this.#checkpoints.signer.key.text;
  }

  signer(): NoteSigner {
    return this.#checkpoints.signer;
  }

  async rotateKey(next: KeyObject): Promise<void> {
    const rotated = this.#rotated.then(() => this.#rotate(next));
    this.#rotated = rotated.catch(() => undefined);
    await rotated;
    await this.sign();
  }

  async #rotate(next: KeyObject): Promise<void> {
    const from = this.#checkpoints.signer;
    const to = noteSigner(from.name, next);
    const note = this.#noteEvent(keyActions.rotated, rotationData(from, to));
    await this.#checkpoints.changeSigner(to, () => this.append(note));
  }

  health(): AuditHealth {
    const trouble = this.#trouble();
    if (trouble === null) return { ok: true };
    return { ok: false, since: this.#gap?.sinceMs ?? this.#options.clock.now(), reason: trouble };
  }

  async probe(): Promise<AuditHealth> {
    if (this.#isBroken() && this.#closing === null && !this.#isStalled()) {
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
    await this.#checkpoints.stop();
    // Where it cannot be written now, the next start does it.
    await this.#settle().catch(() => undefined);
    await this.#file.close();
    await this.tree.settled();
    this.#options.lock.release();
  }

  /** Takes back what was refused, says so, and signs the end. */
  async #settle(): Promise<void> {
    if (this.#file.broken) await this.#file.recover();
    if (this.#gap !== null) await this.#commit([]);
    await this.#checkpoints.write();
  }

  /** Why an append cannot be taken now, or null. A broken file is no obstacle to the append that may recover it. */
  #obstacle(): string | null {
    if (this.#pending.length >= auditLimits.pendingEventsMax) return 'too many events wait for the disk';
    const recovers = this.#closing === null && !this.#isStalled() && (this.#running || this.#mayRecover());
    return this.#isBroken() && recovers ? null : this.#trouble();
  }

  /** What cannot be signed is as little a record as what cannot be written. */
  #isBroken(): boolean {
    return this.#file.broken || this.#unsigned !== null;
  }

  #trouble(): string | null {
    if (this.#closing !== null) return 'the log is closed';
    if (this.#isStalled()) return 'the disk does not answer';
    if (this.#file.broken) return this.#gap?.reason ?? 'the log is being recovered';
    return this.#unsigned;
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

  #note(action: string, data: JsonObject): Entry {
    const { stream, clock, newId, redactor } = this.#options;
    const id = newId();
    return {
      id,
      parts: eventParts(this.#noteEvent(action, data), stream, id, clock.now(), redactor),
      settle: null,
    };
  }

  #noteEvent(action: string, data: JsonObject): NewEvent {
    return {
      action,
      phase: 'note',
      actor: { id: 'system:audit', kind: 'system' },
      resource: { kind: 'audit', id: this.#options.stream },
      decision: { allow: true, rule: 'audit:self' },
      outcome: 'succeeded',
      data,
    };
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
      const batch = this.#pending.splice(0, this.#batchMax());
      this.#batchSinceMs = this.#options.clock.monotonic();
      try {
        if (this.#file.broken) await this.#file.recover();
        if (this.#unsigned !== null) await this.#checkpoints.writeBefore();
        this.#unsigned = null;
        await this.#commit(batch);
      } catch (error) {
        this.#fail(error, batch);
      }
      this.#batchSinceMs = null;
    } while (this.#pending.length > 0);
    this.#running = false;
  }

  /** A batch ends where its segment does; a note of a gap goes before it. */
  #batchMax(): number {
    return Math.min(auditLimits.batchEventsMax, this.#file.room - (this.#gap === null ? 0 : 1));
  }

  /** One write, one fdatasync: the whole batch is durable and acknowledged, or this throws and none of it is. */
  async #commit(batch: readonly Entry[]): Promise<void> {
    const gap = this.#gap;
    this.#gap = null;
    const entries = gap === null ? batch : [this.#note('audit.gap', gapData(gap)), ...batch];
    if (entries.length === 0) return;
    const { bytes, recorded, leaves } = render(entries, this.#file.head);
    try {
      await this.#file.append(bytes, recorded.at(-1)!);
    } catch (error) {
      this.#gap = joinGaps(gap, this.#gap);
      throw error;
    }
    this.#durableAtMs = this.#options.clock.monotonic();
    for (const leaf of leaves) this.tree.append(leaf);
    for (const [index, { settle }] of entries.entries()) settle?.resolve(recorded[index]!);
    this.#checkpoints.grown();
    for (const listener of this.#listeners) listener();
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
    const { disk, folder, clock } = this.#options;
    try {
      await tryDisk(disk, join(folder, 'probe'), auditLimits.probeBytes);
    } catch (error) {
      return { ok: false, since: clock.now(), reason: reasonOf(error) };
    }
    this.#durableAtMs = clock.monotonic();
    return this.health();
  }
}

/** The lines of a batch that follows `head`, as one piece of bytes. */
function render(entries: readonly Entry[], head: Place) {
  let { seq, hash: prev } = head;
  let text = '';
  const recorded: Recorded[] = [];
  const leaves: Buffer[] = [];
  for (const { id, parts } of entries) {
    seq += 1;
    const line = lineOf(parts, prev, seq);
    const leaf = hash('sha256', `\0${line}`, 'buffer');
    prev = leaf.toString('hex');
    text += `${line}\n`;
    recorded.push({ id, seq, hash: prev });
    leaves.push(leaf);
  }
  return { bytes: Buffer.from(text), recorded, leaves };
}

function gapData(gap: Gap): JsonObject {
  return { since: new Date(gap.sinceMs).toISOString(), refused: gap.refused, reason: gap.reason };
}

/** One gap of two that follow each other: a note that could not be written, and what was refused meanwhile. */
function joinGaps(first: Gap | null, second: Gap | null): Gap | null {
  if (first === null || second === null) return first ?? second;
  return { ...first, refused: first.refused + second.refused };
}
