import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Clock } from '../../base/clock.ts';
import type { RedeliveredView, SinkSettings, SinkStatusView } from '../../contract/sinks.ts';
import { StreamReader } from '../stream-reader.ts';
import { Backoff, type RetryTimes } from './backoff.ts';
import type { Cursors } from './cursors.ts';
import type { DeadLetter, DeadLetters } from './dead-letters.ts';
import { deliver } from './deliver.ts';
import { sinkLimits } from './limits.ts';
import { type Prepare, type Prepared, preparer } from './outgoing.ts';
import { failureCode } from './reason.ts';
import { redeliver } from './redeliver.ts';
import type { Sink } from './sink.ts';
import { type DurableHeads, lineAt, listStreams, tailOf } from './streams.ts';

/** When it does what; those of `sinkLimits` but in tests. */
export type PumpTimes = RetryTimes & Readonly<Record<'lingerMs' | 'pollMs' | 'sendMs', number>>;

export type PumpParts = {
  readonly settings: SinkSettings;
  readonly sink: Sink;
  readonly cursors: Cursors;
  readonly dead: DeadLetters;
  /** The folder of the streams. */
  readonly folder: string;
  readonly heads: DurableHeads;
  readonly version: string;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly times: PumpTimes;
  readonly onProblem: (facts: { sink: string; reason: string }, message: string) => void;
};

/** `sentAt` and `waitingSince` in ms of the epoch, by the events' own time; null where none is known. */
type Progress = { reader: StreamReader | null; sentAt: number | null; waitingSince: number | null };
/** `behind`: so much was there that the next batch need not wait for more. */
type Turn = { readonly moved: boolean; readonly behind: boolean; readonly retryMs: number | null };

const idle: Turn = { moved: false, behind: false, retryMs: null };

/**
 * Carries the streams to one receiver, in turn and each in its order, from its cursors on (decision 16). It reads the log from the disk
 * and nobody waits for it: a receiver that is slow or away costs the log nothing and loses nothing. The cursor moves once
 * the receiver has answered, so that a crash sends again and never skips; it does not go past a durable head.
 */
export class Pump {
  readonly #parts: PumpParts;
  readonly #prepare: Prepare;
  readonly #closing = new AbortController();
  readonly #streams = new Map<string, Progress>();
  readonly #backoff: Backoff;
  #woken = new AbortController();
  #working: Promise<void> = Promise.resolve();
  #running: Promise<void> = Promise.resolve();
  #lastError: SinkStatusView['lastError'] = null;
  #state: SinkStatusView['state'] = 'running';
  readonly totals = { sentEvents: 0, failedSends: 0, deadLettered: 0 };

  constructor(parts: PumpParts) {
    this.#parts = parts;
    this.#prepare = preparer(parts.settings, parts.version);
    this.#backoff = new Backoff(parts.times, parts.random);
  }

  get name(): string {
    return this.#parts.settings.name;
  }

  start(): void {
    const forget = this.#parts.heads.onAdvance(() => this.#woken.abort());
    this.#running = this.#run().finally(forget);
  }

  /** Ends what is on its way; that is sent again by the next process. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
    await this.#working;
    for (const { reader } of this.#streams.values()) await reader?.close();
    await this.#parts.sink.close();
  }

  /** Without its streams where this machine cannot read them. */
  async status(): Promise<SinkStatusView> {
    const { settings, dead } = this.#parts;
    const { name, url, format } = settings;
    const streams = await this.#streamStatuses().catch(() => []);
    return {
      ...{ name, url: shownUrl(url), format, state: this.#state, lastError: this.#lastError },
      ...{ sentEvents: this.totals.sentEvents, failedSends: this.totals.failedSends, deadLetters: dead.size },
      streams,
    };
  }

  /** Sends the dead letters again, each alone; those that are refused again stay. Not while a batch is on its way. */
  async redeliver(): Promise<RedeliveredView> {
    const result = await this.#exclusively(() =>
      redeliver({ ...this.#parts, prepare: this.#prepare, signal: this.#closing.signal }),
    );
    this.totals.sentEvents += result.delivered;
    if (this.#state === 'stalled' && !this.#parts.dead.isFull) this.#state = 'running';
    this.#woken.abort();
    return result;
  }

  async #run(): Promise<void> {
    const { lingerMs, pollMs } = this.#parts.times;
    while (!this.#closing.signal.aborted) {
      const woken = new AbortController();
      this.#woken = woken;
      const { moved, behind, retryMs } = await this.#exclusively(() => this.#round());
      if (retryMs !== null) await this.#pause(retryMs);
      else if (!moved) await this.#pause(pollMs, woken.signal);
      await this.#pause(behind ? Math.min(lingerMs, sinkLimits.behindMs) : lingerMs);
    }
  }

  /** One batch of each stream. */
  async #round(): Promise<Turn> {
    try {
      if (this.#parts.dead.isFull) return this.#stall();
      let [moved, behind] = [false, false];
      for (const stream of await listStreams(this.#parts.folder)) {
        const turn = await this.#turn(stream);
        if (turn.retryMs !== null) return turn;
        moved ||= turn.moved;
        behind ||= turn.behind;
      }
      return { moved, behind, retryMs: null };
    } catch (error) {
      return await this.#fail(`this machine: ${failureCode(error)}`);
    }
  }

  async #turn(stream: string): Promise<Turn> {
    const progress = await this.#progressOf(stream);
    const reader = progress.reader!;
    const head = this.#parts.heads.headOf(stream);
    const room = Math.min(
      sinkLimits.batchEventsMax,
      head === null ? Number.POSITIVE_INFINITY : head - reader.after,
    );
    if (room <= 0) return idle;
    const { after } = reader;
    const lines = await reader.read(room);
    if (lines.length === 0) return idle;
    if (after > 0 && lines[0]!.seq > after + 1) this.#sayMissing(stream, after, lines[0]!.seq);
    const prepared = lines.map((line) => this.#prepare(line, stream));
    const batch = prepared.flatMap((line) => (line.kind === 'event' ? [line.one] : []));
    progress.waitingSince = timeOf(batch[0]?.event.at) ?? progress.waitingSince;
    const delivery =
      batch.length === 0
        ? { settled: 0, refused: [], later: null }
        : await deliver(this.#parts.sink, batch, this.#closing.signal);
    const passed = passedLines(prepared, delivery.settled);
    await this.#settle(stream, prepared.slice(0, passed), delivery);
    if (delivery.later === null) {
      progress.waitingSince = null;
      this.#succeed();
      return { moved: true, behind: lines.length >= sinkLimits.behindEvents, retryMs: null };
    }
    if (this.#closing.signal.aborted) return idle;
    return await this.#fail(delivery.later.reason, delivery.later.retryAfterMs);
  }

  /** What the receiver refused is on the disk before the cursor goes past it. */
  async #settle(
    stream: string,
    passed: readonly Prepared[],
    { settled, refused }: { settled: number; refused: Awaited<ReturnType<typeof deliver>>['refused'] },
  ): Promise<void> {
    const last = passed.at(-1);
    if (last === undefined) return;
    const at = new Date(this.#parts.clock.now()).toISOString();
    // Where the line stands, which is not for the event to say.
    const places = new Map(
      passed.flatMap((line) => (line.kind === 'event' ? [[line.one.event, line.seq] as const] : [])),
    );
    const letters: DeadLetter[] = refused.map(({ one: { event }, reason }) => {
      const { id, action } = event;
      return { stream, seq: places.get(event)!, id, action, reason, at };
    });
    const broken = passed.filter(({ kind }) => kind === 'broken');
    for (const { seq } of broken)
      letters.push({ stream, seq, id: '', action: '', reason: 'the line is no event: verify the log', at });
    await this.#parts.dead.add(letters);
    this.totals.sentEvents += settled - refused.length;
    this.totals.deadLettered += letters.length;
    await this.#parts.cursors.move(stream, { seq: last.seq, id: idOf(last) });
    const progress = this.#streams.get(stream)!;
    if (last.kind === 'event') progress.sentAt = timeOf(last.one.event.at) ?? progress.sentAt;
    for (const { reason } of letters.slice(0, 1))
      this.#parts.onProblem({ sink: this.name, reason }, `${letters.length} events were refused for good`);
  }

  async #progressOf(stream: string): Promise<Progress> {
    const known = this.#streams.get(stream);
    const progress = known ?? { reader: null, sentAt: null, waitingSince: null };
    if (known === undefined) {
      await this.#checkCursor(stream);
      this.#streams.set(stream, progress);
    }
    progress.reader ??= new StreamReader(
      join(this.#parts.folder, stream),
      this.#parts.cursors.of(stream)?.seq ?? 0,
    );
    return progress;
  }

  /** A stream that is not the one that was sent, as after a restored backup, is sent from its beginning. */
  async #checkCursor(stream: string): Promise<void> {
    const cursor = this.#parts.cursors.of(stream);
    if (cursor === null || cursor.id === '') return;
    const line = await lineAt(join(this.#parts.folder, stream), cursor.seq);
    if (line !== null && (line.seq > cursor.seq || line.text.includes(JSON.stringify(cursor.id)))) return;
    this.#parts.onProblem(
      { sink: this.name, reason: `the stream ${stream} is another one than before` },
      'a sink begins again with the first event',
    );
    await this.#parts.cursors.move(stream, null);
  }

  /** Readers begin again at their cursors. */
  async #rewind(): Promise<void> {
    for (const progress of this.#streams.values()) {
      const { reader } = progress;
      progress.reader = null;
      await reader?.close().catch(() => undefined);
    }
  }

  /** Segments that were archived before they were sent: that cannot be mended here, and is not passed over in silence. */
  #sayMissing(stream: string, after: number, next: number): void {
    const reason = `events ${after + 1} to ${next - 1} of ${stream} left the log before they were sent`;
    this.#lastError = { at: new Date(this.#parts.clock.now()).toISOString(), reason };
    this.#parts.onProblem({ sink: this.name, reason }, 'a sink cannot send what is not in the log any more');
  }

  #succeed(): void {
    this.#backoff.reset();
    this.#state = 'running';
  }

  async #fail(reason: string, retryAfterMs = 0): Promise<Turn> {
    await this.#rewind();
    this.totals.failedSends += 1;
    const isNew = this.#state === 'running' || this.#lastError?.reason !== reason;
    this.#state = 'retrying';
    this.#lastError = { at: new Date(this.#parts.clock.now()).toISOString(), reason };
    if (isNew)
      this.#parts.onProblem({ sink: this.name, reason }, 'a sink does not take events; it is tried again');
    return { ...idle, retryMs: Math.max(this.#backoff.next(), retryAfterMs) };
  }

  #stall(): Turn {
    const reason = 'its dead letters are full: see what was refused, then send them again';
    if (this.#state !== 'stalled') this.#parts.onProblem({ sink: this.name, reason }, 'a sink stands still');
    this.#state = 'stalled';
    this.#lastError = { at: new Date(this.#parts.clock.now()).toISOString(), reason };
    return idle;
  }

  async #streamStatuses(): Promise<SinkStatusView['streams']> {
    const names = await listStreams(this.#parts.folder);
    return await Promise.all(names.map((stream) => this.#streamStatus(stream)));
  }

  async #streamStatus(stream: string) {
    const head = this.#parts.heads.headOf(stream) ?? (await tailOf(join(this.#parts.folder, stream)));
    const sentSeq = this.#parts.cursors.of(stream)?.seq ?? 0;
    const lagEvents = Math.max(0, head - sentSeq);
    const { waitingSince = null, sentAt = null } = this.#streams.get(stream) ?? {};
    const since = waitingSince ?? sentAt;
    const lagMs = lagEvents === 0 || since === null ? 0 : Math.max(0, this.#parts.clock.now() - since);
    return { stream, sentSeq, lagEvents, lagSeconds: lagMs / 1000 };
  }

  /** One at a time: batches and dead letters go the same way. */
  async #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#working.then(work);
    this.#working = result.then(
      () => undefined,
      () => undefined,
    );
    return await result;
  }

  async #pause(ms: number, woken?: AbortSignal): Promise<void> {
    const signals = [this.#closing.signal, ...(woken === undefined ? [] : [woken])];
    await wait(ms, undefined, { signal: AbortSignal.any(signals) }).catch(() => undefined);
  }
}

/** How many lines lie before the first event that is not settled. */
function passedLines(prepared: readonly Prepared[], settled: number): number {
  let events = 0;
  for (const [index, { kind }] of prepared.entries()) {
    if (kind !== 'event') continue;
    if (events === settled) return index;
    events += 1;
  }
  return prepared.length;
}

/** Without its path, which may be what lets somebody in, but for a file. */
function shownUrl(url: string): string {
  return url.startsWith('file:') ? url : url.split('/', 3).join('/');
}

function idOf(line: Prepared): string {
  if (line.kind === 'event') return line.one.event.id;
  return line.kind === 'filtered' ? line.id : '';
}

function timeOf(at: string | undefined): number | null {
  return at === undefined ? null : Date.parse(at);
}
