import { readdir } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { type ToldFlows, toldFlows } from '../audit/egress-events.ts';
import type { AuditEvent } from '../audit/event.ts';
import { type Continuation, Mirror, MirrorGap } from '../audit/mirror.ts';
import type { Place } from '../audit/tail.ts';
import type { Channel } from '../base/channel.ts';
import type { AuditReceipt, AuditWish, CheckpointClaim, StreamPlace } from '../contract/runner.ts';
import type { FlowTable } from './flow-table.ts';
import type { Gate } from './gate.ts';
import { controlLimits } from './limits.ts';
import type { Logger } from './logger.ts';
import { MirrorWrites } from './mirror-writes.ts';
import { parseNote, parseOffer } from './runner-frames.ts';
import type { RunnerLink } from './runner-link.ts';

export type RecordIntakeParts = {
  /** Where the streams lie; the runner's are mirrored there. */
  readonly folder: string;
  readonly link: RunnerLink;
  readonly flows: FlowTable;
  readonly gate: Pick<Gate, 'note'>;
  readonly logger: Logger;
};

type Check = { readonly ok: true } | { readonly ok: false; readonly detail: string };

/** What a runner may say: a line about anything else would be somebody else's word in its mouth. */
const actionPattern = /^(egress|audit|runner|exec|terminal)\./;
const streamPattern = /^runner-[a-z2-7]{6}$/;

/**
 * Follows the runner's own stream: its flows go into the store, its lines into the mirror, and only then is the runner
 * told that it may drop them. Of what a crash interrupts the mirror does not know yet, so it is handed over again; in the
 * store nothing is twice. What does not continue the mirror is refused and recorded, and everything else goes on.
 */
export class RecordIntake {
  readonly #parts: RecordIntakeParts;
  readonly #stopped = new AbortController();
  readonly #mirrors = new Map<string, Mirror>();
  readonly #followed = new Set<string>();
  /** Mirrors that are there and cannot be gone on with. */
  readonly #unopened = new Set<string>();
  readonly #waiting = new Set<() => void>();
  /** What is in the store of the stream that is followed. */
  #stored: StreamPlace = { stream: '', seq: 0 };
  #gap: MirrorGap | null = null;
  /** Whether the runner kept back what it offered. */
  #isWithheld = false;
  #trouble: string | null = null;
  #loop: Promise<void> = Promise.resolve();

  constructor(parts: RecordIntakeParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#loop = this.#openKnown().then(() => this.#followForever());
  }

  health(): Check {
    if (this.#gap !== null) return { ok: false, detail: this.#gap.message };
    if (this.#isWithheld) return { ok: false, detail: 'the runner does not hand over its record' };
    const [unopened] = this.#unopened;
    const trouble =
      unopened === undefined ? this.#trouble : `the mirror of the stream ${unopened} cannot be opened`;
    return trouble === null ? { ok: true } : { ok: false, detail: trouble };
  }

  /** What the newest checkpoints of runners say that were followed since the start; of others it is on record already. */
  claims(): CheckpointClaim[] {
    return [...this.#followed].flatMap((stream) => this.#mirrors.get(stream)?.claim ?? []);
  }

  /** All streams that were taken over, also from runners that are gone. */
  mirrors(): readonly Mirror[] {
    return [...this.#mirrors.values()];
  }

  /** Resolves once the store has what the runner had recorded by then, and at the latest after a moment. */
  async settled({ stream, seq }: StreamPlace): Promise<void> {
    const isThere = () => this.#gap !== null || (this.#stored.stream === stream && this.#stored.seq >= seq);
    if (isThere() || this.#stopped.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const settle = () => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve();
      };
      const look = () => {
        if (isThere() || this.#stopped.signal.aborted) settle();
      };
      const timer = setTimeout(settle, controlLimits.egressSettleMs);
      this.#waiting.add(look);
    });
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    this.#changed();
    await this.#loop;
    for (const mirror of this.#mirrors.values()) await mirror.close();
  }

  /** The mirrors that are there. One that cannot be opened is told by `health`, and the others go on. */
  async #openKnown(): Promise<void> {
    const names = await readdir(this.#parts.folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') this.#unopened.add(`in a folder that cannot be read (${error.code})`);
      return [];
    });
    for (const name of names.filter((one) => streamPattern.test(one)).sort())
      await this.#mirrorOf(name).catch((error: unknown) => {
        this.#unopened.add(name);
        this.#parts.logger.error(
          { error: String(error) },
          `the mirror of the stream ${name} cannot be opened`,
        );
      });
  }

  async #followForever(): Promise<void> {
    const { link, logger } = this.#parts;
    const { signal } = this.#stopped;
    for (let pauseMs: number = controlLimits.reconnectMinMs; !signal.aborted; ) {
      try {
        await link.whenConnected(signal);
        await this.#follow();
        pauseMs = controlLimits.reconnectMinMs;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof MirrorGap) this.#refuse(error);
        if (error instanceof NotHandedOver) this.#isWithheld = true;
        logger.warn({ error: String(error) }, 'the record of the runner could not be followed');
      }
      await pause(pauseMs, undefined, { signal }).catch(() => undefined);
      pauseMs = Math.min(pauseMs * 2, controlLimits.reconnectMaxMs);
    }
  }

  /** One connection from its making to its end. */
  async #follow(): Promise<void> {
    const channel = await this.#parts.link.stream({ purpose: 'audit' });
    const hangUp = () => channel.close();
    this.#stopped.signal.addEventListener('abort', hangUp);
    try {
      this.#stopped.signal.throwIfAborted();
      await this.#take(channel);
    } finally {
      this.#stopped.signal.removeEventListener('abort', hangUp);
      channel.close();
    }
  }

  async #take(channel: Channel): Promise<void> {
    const first = await channel.read();
    if (first?.kind !== 'json') return;
    const { stream, seq } = said(parseOffer, first.value);
    const mirror = await this.#mirrorOf(stream);
    this.#followed.add(stream);
    const { head } = mirror;
    if (seq < head.seq) throw new MirrorGap(stream, `event ${head.seq} or a later one`, `event ${seq}`);
    await channel.sendJson({ after: head.seq } satisfies AuditWish);
    if (this.#gap === null) this.#reached({ stream, seq: head.seq });
    if (seq === head.seq) this.#isWithheld = false;
    const writes = new MirrorWrites(async (continuation) => {
      await this.#append(mirror, continuation);
      await channel.sendJson({ acknowledged: mirror.head.seq } satisfies AuditReceipt).catch(() => undefined);
    });
    let place: Place = head;
    try {
      for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
        if (frame.kind === 'data') place = await this.#takeLines(mirror, writes, frame.bytes, place);
        else await writes.written().then(() => mirror.keep(said(parseNote, frame.value).checkpoint));
        this.#gap = null;
        this.#isWithheld = false;
      }
    } finally {
      // The next connection goes on from where the mirror ends.
      await writes.written().catch(() => undefined);
    }
    if (place.seq < seq) throw new NotHandedOver('the runner did not hand over what it offered');
  }

  /** Into the store, and then on the way into the mirror. Gives where the stream stands by then. */
  async #takeLines(mirror: Mirror, writes: MirrorWrites, bytes: Buffer, after: Place): Promise<Place> {
    const { stream } = mirror;
    const continuation = mirror.check(bytes, after);
    await this.#parts.flows.keep(toldBy(stream, continuation.events), this.#stopped.signal);
    const { place } = continuation.lines.at(-1) ?? { place: after };
    this.#reached({ stream, seq: place.seq });
    await writes.add(continuation);
    return place;
  }

  async #append(mirror: Mirror, continuation: Continuation): Promise<void> {
    for (;;) {
      try {
        await mirror.append(continuation);
        this.#trouble = null;
        return;
      } catch (error) {
        this.#trouble = `the mirror of the stream ${mirror.stream} cannot be written`;
        this.#parts.logger.error({ error: String(error) }, this.#trouble);
        await pause(controlLimits.writeRetryMs, undefined, { signal: this.#stopped.signal });
      }
    }
  }

  /** A runner that begins stream after stream is not followed for ever. */
  async #mirrorOf(stream: string): Promise<Mirror> {
    const known = this.#mirrors.get(stream);
    if (known !== undefined) return known;
    const { folder } = this.#parts;
    const names = (await readdir(folder)).filter((name) => streamPattern.test(name));
    const { mirroredStreamsMax } = controlLimits;
    if (!names.includes(stream) && names.length >= mirroredStreamsMax)
      throw new MirrorGap(stream, `one of ${mirroredStreamsMax} streams of runners`, 'another one');
    try {
      const mirror = await Mirror.open({ folder, stream });
      this.#trouble = null;
      this.#unopened.delete(stream);
      this.#mirrors.set(stream, mirror);
      return mirror;
    } catch (error) {
      this.#trouble = `the mirror of the stream ${stream} cannot be opened`;
      throw error;
    }
  }

  /** What the stream told up to there is in the store. */
  #reached(place: StreamPlace): void {
    this.#stored = place;
    this.#changed();
  }

  #changed(): void {
    for (const look of [...this.#waiting]) look();
  }

  #refuse(gap: MirrorGap): void {
    const isNew = this.#gap?.message !== gap.message;
    this.#gap = gap;
    this.#changed();
    if (!isNew) return;
    this.#parts.gate.note({
      action: 'audit.gap-found',
      actor: { id: 'system:control' },
      resource: { kind: 'audit', id: gap.stream },
      outcome: 'failed',
      rule: 'audit:mirror',
      countAs: `audit.gap-found ${gap.stream}`,
      data: { stream: gap.stream, expected: gap.expected, found: gap.found },
    });
  }
}

/** The runner says what no runner says, or nothing. */
class NotHandedOver extends Error {}

function said<T>(parse: (value: unknown) => T, value: unknown): T {
  try {
    return parse(value);
  } catch (error) {
    throw new NotHandedOver('a word of the runner is none', { cause: error });
  }
}

/** Throws MirrorGap where a line says what a runner has no business to say. */
function toldBy(stream: string, events: readonly AuditEvent[]): ToldFlows {
  const told = events.map((event) => {
    if (!actionPattern.test(event.action))
      throw new MirrorGap(stream, `event ${event.seq} of a runner`, event.action.slice(0, 64));
    try {
      return toldFlows(event);
    } catch {
      throw new MirrorGap(stream, `event ${event.seq}`, 'a flow that no gateway tells of');
    }
  });
  return { flows: told.flatMap(({ flows }) => flows), ends: told.flatMap(({ ends }) => ends) };
}
