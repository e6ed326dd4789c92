import { type KeyObject, randomBytes } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { SignedCheckpoint } from '../audit/checkpoint.ts';
import type { AuditDisk } from '../audit/disk.ts';
import { dropSegments, makeTombstone, readTombstone } from '../audit/drop.ts';
import type { EventId, NewEvent } from '../audit/event.ts';
import { openAuditLog, type Recorded, type SignedAuditLog } from '../audit/log.ts';
import { timeOf } from '../audit/retention.ts';
import { segmentEvents } from '../audit/segments.ts';
import type { JsonObject } from '../base/canonical-json.ts';
import type { Clock } from '../base/clock.ts';
import type { StreamPlace } from '../contract/runner.ts';
import type { Redactor } from '../redaction/redactor.ts';
import { runnerLimits } from './limits.ts';

export type RunnerRecordOptions = {
  /** Holds the stream's own folder, and nothing else. */
  readonly folder: string;
  readonly clock: Clock;
  readonly newId: () => EventId;
  /** Ed25519; what it signs is the runner's word and nobody else's. */
  readonly signingKey: KeyObject;
  /** What takes secrets out of every event; by shape and name alone where absent. */
  readonly redactor?: Redactor;
  readonly disk?: AuditDisk;
  readonly onError?: (error: unknown) => void;
};

const streamPattern = /^runner-[a-z2-7]{6}$/;

/** The runner's own stream of the record (decision 14): durable while control is away, and handed over to it. */
export class RunnerRecord {
  readonly stream: string;
  /** Where its segments lie. */
  readonly folder: string;
  readonly #log: SignedAuditLog;
  readonly #waiting = new Set<() => void>();
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  #handedOver = 0;
  #dropped = 0;
  /** Until then nothing more is dropped; ms of the epoch. */
  #dropsAtMs = 0;
  #dropping: Promise<void> | null = null;

  private constructor(options: RunnerRecordOptions, stream: string, log: SignedAuditLog) {
    this.stream = stream;
    this.folder = join(options.folder, stream);
    this.#clock = options.clock;
    this.#onError = options.onError ?? (() => undefined);
    this.#log = log;
    log.onAppended(() => this.#changed());
    log.onCheckpoint(() => this.#changed());
  }

  /**
   * Goes on with the stream that the folder holds, or begins one under a new name: a runner whose folder was lost must
   * not begin a second stream of the same name. Resolves once the stream says that the runner has started. Throws Fault
   * `audit.unavailable` where it cannot be written, and Error where the folder holds several streams.
   */
  static async open(options: RunnerRecordOptions, started: JsonObject): Promise<RunnerRecord> {
    const { folder, signingKey } = options;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const stream = (await streamIn(folder)) ?? `runner-${randomName()}`;
    const log = await openAuditLog({ ...options, stream, signingKeys: [signingKey] });
    const record = new RunnerRecord(options, stream, log);
    await record.append({
      action: 'runner.started',
      phase: 'note',
      actor: { id: 'system:runner', kind: 'system' },
      resource: { kind: 'runner', id: stream },
      decision: { allow: true, rule: 'runner:self' },
      outcome: 'succeeded',
      data: started,
    });
    return record;
  }

  /** As `AuditLog.append`. */
  append(event: NewEvent): Promise<Recorded> {
    return this.#log.append(event);
  }

  /** The last event that is durable. */
  get place(): StreamPlace {
    return { stream: this.stream, seq: this.#log.head().seq };
  }

  /**
   * Control has the events up to `seq` on its disk. Segments of them that are old need not be here any longer; young ones stay
   * whatever control says, who may have been taken over.
   */
  received(seq: number): void {
    this.#handedOver = Math.max(this.#handedOver, Math.min(seq, this.place.seq));
    const whole = Math.floor(this.#handedOver / segmentEvents) - runnerLimits.recordSegmentsKept;
    const through = whole * segmentEvents;
    if (through <= this.#dropped || this.#dropping !== null || this.#clock.now() < this.#dropsAtMs) return;
    this.#dropping = this.#drop(through)
      .catch((error: unknown) => {
        this.#dropsAtMs = this.#clock.now() + runnerLimits.recordDropRetryMs;
        this.#onError(error);
      })
      .finally(() => {
        this.#dropping = null;
      });
  }

  /** Resolves once what control has is dropped, as far as it is to be. */
  async settled(): Promise<void> {
    await this.#dropping;
  }

  /** The oldest segments up to `through` that are old enough. Looking at one again waits until it is, for that reads it. */
  async #drop(through: number): Promise<void> {
    const { folder } = this;
    const { tree } = this.#log;
    const at = this.#clock.now();
    const before = (await readTombstone(folder))?.size ?? 0;
    let old = before;
    for (let end = before + segmentEvents; end <= through; end += segmentEvents) {
      this.#dropsAtMs = ((await timeOf(folder, end)) ?? 0) + runnerLimits.recordKeptMs;
      if (at < this.#dropsAtMs) break;
      old = end;
    }
    if (old > before)
      await dropSegments(
        folder,
        tree,
        await makeTombstone({ folder, tree, through: old, signer: this.#log.signer(), at }),
      );
    this.#dropped = old;
  }

  /** Events that are here alone. */
  get waiting(): number {
    return this.place.seq - this.#handedOver;
  }

  get checkpoint(): SignedCheckpoint {
    return this.#log.checkpoint();
  }

  /** Whether events can be recorded now; starts the recovery where they could not be. */
  async isWritable(): Promise<boolean> {
    return (await this.#log.probe()).ok;
  }

  /** Resolves once more is durable or signed than was when it was called, or with the signal. */
  async changed(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const settle = () => {
        this.#waiting.delete(settle);
        signal.removeEventListener('abort', settle);
        resolve();
      };
      this.#waiting.add(settle);
      signal.addEventListener('abort', settle, { once: true });
    });
  }

  async close(): Promise<void> {
    await this.#dropping;
    await this.#log.close();
  }

  #changed(): void {
    for (const settle of [...this.#waiting]) settle();
  }
}

async function streamIn(folder: string): Promise<string | null> {
  const found = (await readdir(folder)).filter((name) => streamPattern.test(name));
  if (found.length > 1)
    throw new Error(`${folder} holds several streams (${found.join(', ')}): move all but the newest away.`);
  return found[0] ?? null;
}

/** 30 random bits in the letters of base32. */
function randomName(): string {
  return Array.from(randomBytes(6), (byte) => 'abcdefghijklmnopqrstuvwxyz234567'[byte & 31]).join('');
}
