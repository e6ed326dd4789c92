import type { Clock } from '../../base/clock.ts';
import type { WitnessedStreamView, WitnessSettings } from '../../contract/witnesses.ts';
import type { SignedCheckpoint } from '../checkpoint.ts';
import { Backoff, type RetryTimes } from '../sinks/backoff.ts';
import { failureCode } from '../sinks/reason.ts';
import type { StreamTree } from '../stream-tree.ts';
import type { PushResult, Witness } from './witness.ts';

/** A stream whose checkpoints are witnessed. */
export type WitnessedStream = {
  readonly stream: string;
  /** Of its segments. */
  readonly folder: string;
  readonly tree: Pick<StreamTree, 'rootAt' | 'consistency'>;
  /** The newest; null before there is one. */
  checkpoint(): SignedCheckpoint | null;
};

export type LaneFacts = { readonly witness: string; readonly stream: string; readonly reason: string };

export type LaneParts = {
  readonly settings: Pick<WitnessSettings, 'name' | 'everySeconds'>;
  readonly witness: Witness;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly times: RetryTimes & { readonly pushMs: number; readonly staleMs: number };
  readonly onProblem: (facts: LaneFacts, message: string) => void;
  /** Called once for each time that a witness begins to contradict the log. */
  readonly onConflict: (facts: LaneFacts & { readonly size: number }) => void;
  readonly onCosigned: (folder: string, note: string) => Promise<void>;
};

/** A witness that is asked seldom may miss so many pushes before that is told. */
const missedPushes = 3;

/**
 * One stream's way to one witness: the newest checkpoint every `everySeconds`, also where it is the same, so that the age
 * says when the witness last had everything; after a failure sooner, for ever. At most one push is on its way.
 */
export class Lane {
  readonly #parts: LaneParts;
  readonly #backoff: Backoff;
  #stream: WitnessedStream;
  #pushing: Promise<void> | null = null;
  #dueMs = Number.NEGATIVE_INFINITY;
  /** When there was first something to push. */
  #sinceMs: number | null = null;
  #kept: { readonly monotonicMs: number; readonly atMs: number; readonly size: number } | null = null;
  #cosigned: string | null = null;
  #state: WitnessedStreamView['state'] = 'waiting';
  #lastError: WitnessedStreamView['lastError'] = null;
  #isStale = false;

  constructor(parts: LaneParts, stream: WitnessedStream) {
    this.#parts = parts;
    this.#stream = stream;
    this.#backoff = new Backoff(parts.times, parts.random);
  }

  /** Begins a push where one is due; `stream` is the same one, as it is now. */
  tick(stream: WitnessedStream, closing: AbortSignal): void {
    const { clock } = this.#parts;
    this.#stream = stream;
    const checkpoint = stream.checkpoint();
    if (checkpoint === null) return;
    this.#sinceMs ??= clock.monotonic();
    this.#tellStale();
    if (this.#pushing !== null || clock.monotonic() < this.#dueMs) return;
    this.#pushing = this.#push(checkpoint, closing).finally(() => {
      this.#pushing = null;
    });
  }

  async settled(): Promise<void> {
    await this.#pushing;
  }

  get isConflict(): boolean {
    return this.#state === 'conflict';
  }

  get isStale(): boolean {
    const { settings, times } = this.#parts;
    return this.#ageMs() > Math.max(times.staleMs, missedPushes * settings.everySeconds * 1000);
  }

  status(): WitnessedStreamView {
    return {
      stream: this.#stream.stream,
      state: this.#state,
      size: this.#kept?.size ?? 0,
      lastKeptAt: this.#kept === null ? null : new Date(this.#kept.atMs).toISOString(),
      ageSeconds: this.#ageMs() / 1000,
      lastError: this.#lastError,
      cosigned: this.#cosigned,
    };
  }

  #ageMs(): number {
    const from = this.#kept?.monotonicMs ?? this.#sinceMs;
    return from === null ? 0 : this.#parts.clock.monotonic() - from;
  }

  async #push(checkpoint: SignedCheckpoint, closing: AbortSignal): Promise<void> {
    const { clock, witness, settings, times } = this.#parts;
    const { stream, tree } = this.#stream;
    const startMs = clock.monotonic();
    const signal = AbortSignal.any([closing, AbortSignal.timeout(times.pushMs)]);
    const result = await witness.push({ stream, checkpoint, tree }, signal);
    if (closing.aborted) return;
    this.#dueMs = startMs + settings.everySeconds * 1000;
    if (result.kind === 'kept') return await this.#keep(checkpoint, startMs, result);
    this.#lastError = { at: new Date(clock.now()).toISOString(), reason: result.reason };
    if (result.kind === 'conflict') return this.#contradict(checkpoint, result.reason);
    this.#fail(result);
  }

  async #keep(
    { size }: SignedCheckpoint,
    startMs: number,
    { cosigned }: PushResult & { kind: 'kept' },
  ): Promise<void> {
    const { clock, onCosigned, onProblem } = this.#parts;
    this.#backoff.reset();
    this.#state = 'kept';
    // What the witness has is as old as the push, however long that took.
    this.#kept = { monotonicMs: startMs, atMs: clock.now() - (clock.monotonic() - startMs), size };
    this.#isStale = false;
    if (cosigned === undefined) return;
    this.#cosigned = cosigned;
    await onCosigned(this.#stream.folder, cosigned).catch((error: unknown) => {
      onProblem(this.#facts(failureCode(error)), 'a cosigned checkpoint could not be kept beside the log');
    });
  }

  #contradict({ size }: SignedCheckpoint, reason: string): void {
    const isNew = this.#state !== 'conflict';
    this.#state = 'conflict';
    this.#cosigned = null;
    if (!isNew) return;
    this.#parts.onProblem(this.#facts(reason), 'a witness contradicts the audit log');
    this.#parts.onConflict({ ...this.#facts(reason), size });
  }

  /** A contradiction stays one while the witness cannot be asked. */
  #fail({ reason, retryAfterMs = 0 }: PushResult & { kind: 'later' }): void {
    const { clock, onProblem } = this.#parts;
    this.#dueMs = clock.monotonic() + Math.max(this.#backoff.next(), retryAfterMs);
    if (this.#state === 'kept' || this.#state === 'waiting')
      onProblem(this.#facts(reason), 'a witness was not reached; it is tried again');
    if (this.#state !== 'conflict') this.#state = 'retrying';
  }

  #tellStale(): void {
    if (!this.isStale || this.#isStale) return;
    this.#isStale = true;
    const minutes = Math.floor(this.#ageMs() / 60_000);
    const reason = this.#lastError?.reason ?? 'it has not answered yet';
    this.#parts.onProblem(this.#facts(reason), `a witness has had no checkpoint for ${minutes} minutes`);
  }

  #facts(reason: string): LaneFacts {
    return { witness: this.#parts.settings.name, stream: this.#stream.stream, reason };
  }
}
