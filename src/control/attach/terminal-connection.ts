import type { Clock } from '../../base/clock.ts';
import {
  type AttachCloseReason,
  attachLimits,
  attachStreams,
  type ClientFrame,
  type InputBar,
  type ServerFrame,
} from '../../contract/attach.ts';
import { Fault } from '../../contract/faults.ts';
import type { Caller } from '../control.ts';
import type { AttachClient, AttachConnection } from './attach.ts';
import type { DrivingClient } from './driving.ts';
import { FrameRate } from './frame-rate.ts';
import { controlAttachLimits } from './limits.ts';
import type { LiveTerminal } from './live-terminal.ts';
import type { Attached, DisconnectReason } from './records.ts';
import type { Watched } from './watch.ts';

export type TerminalConnectionParts = {
  readonly terminal: LiveTerminal;
  readonly attached: Attached;
  readonly caller: Caller;
  readonly client: AttachClient;
  /** From where on it wants output; null for the screen as it is. */
  readonly from: number | null;
  readonly clock: Clock;
  /** Decides again what it was let in for. */
  readonly still: (caller: Caller) => Promise<void>;
  readonly mayObserve: (caller: Caller) => boolean;
  /** Decides now; false where it was cut. */
  readonly recheck: (connection: Watched) => Promise<boolean>;
  readonly onGone: (
    connection: TerminalConnection,
    ended: { reason: DisconnectReason; bytesIn: number; bytesOut: number },
  ) => void;
};

/** One client of a terminal. What it may do was settled when it was let in; what it says changes nothing of that. */
export class TerminalConnection implements AttachConnection, DrivingClient, Watched {
  readonly #parts: TerminalConnectionParts;
  readonly #rate: FrameRate;
  readonly #waiting = new Set<() => void>();
  readonly #arrival = Promise.withResolvers<void>();
  readonly attached: Attached;
  readonly from: number | null;
  caller: Caller;
  mayObserve = false;
  /** The offset of the next byte of output that it gets. */
  position = 0;
  /** Whether it has the screen, and gets what follows. */
  joined = false;
  hasGone = false;
  /** Until it has been decided about, nothing passes. */
  isHeld = true;
  /** Whether something was left unsaid while it was held. */
  #missed = false;
  #bytesIn = 0;
  #bytesOut = 0;
  #refusedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: TerminalConnectionParts) {
    this.#parts = parts;
    this.#rate = new FrameRate(parts.clock);
    this.attached = parts.attached;
    this.caller = parts.caller;
    this.from = parts.from;
  }

  get hasTyped(): boolean {
    return this.#bytesIn > 0;
  }

  /** While it is held nothing is said; `catchUp` says how things stand when it is released. */
  send(frame: ServerFrame): void {
    if (this.isHeld) this.#missed = true;
    else if (!this.hasGone) this.#parts.client.send(frame);
  }

  output(bytes: Buffer): void {
    this.position += bytes.length;
    this.screen(bytes);
  }

  /** What redraws the screen, and counts for no offset. */
  screen(bytes: Buffer): void {
    const { outputBytesMax } = attachLimits;
    for (let at = 0; at < bytes.length && !this.hasGone; at += outputBytesMax) {
      const part = bytes.subarray(at, at + outputBytesMax);
      this.#bytesOut += part.length;
      this.#parts.client.data(attachStreams.output, part);
    }
  }

  /** Whether it drives from the beginning is settled: what it typed before that waited. */
  arrived(): void {
    this.#arrival.resolve();
  }

  async input(bytes: Buffer): Promise<void> {
    await this.#arrival.promise;
    if (!(await this.released()) || bytes.length === 0) return;
    const { terminal } = this.#parts;
    const bar = terminal.driving.barOf(this);
    if (bar !== null) return this.#refuseInput(bar);
    terminal.driving.typed(this, bytes.length);
    this.#bytesIn += bytes.length;
    if (await terminal.type(this, bytes)) return;
    this.#refuse('data', 'runner.unavailable', 'The runner cannot be reached. Type it again in a moment.');
  }

  async control(frame: ClientFrame): Promise<void> {
    if (this.hasGone) return;
    if (!this.#rate.admits()) return this.close('protocol', 'Too many control frames in a second.');
    if (!(await this.#parts.recheck(this)) || !(await this.released())) return;
    try {
      const refusal = await this.#carryOut(frame);
      if (refusal !== null) this.#refuse(frame.type, 'state.conflict', refusal);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#refuse(frame.type, error.code, error.detail);
    }
  }

  gone(reason: AttachCloseReason | 'left' | 'lost'): void {
    this.#leave(reason);
  }

  /** Ends it from this side. */
  close(reason: AttachCloseReason, detail: string): void {
    if (this.hasGone) return;
    this.#parts.client.close(reason, detail);
    this.#leave(reason);
  }

  cut(reason: AttachCloseReason, detail: string): void {
    this.close(reason, detail);
  }

  hold(): void {
    this.isHeld = true;
  }

  still(caller: Caller): Promise<void> {
    return this.#parts.still(caller);
  }

  confirm(caller: Caller): void {
    if (this.hasGone) return;
    this.caller = caller;
    this.mayObserve = this.#parts.mayObserve(caller);
    if (!this.isHeld) return;
    this.isHeld = false;
    for (const go of [...this.#waiting]) go();
    const missed = this.#missed;
    this.#missed = false;
    this.#parts.terminal.catchUp(this, missed);
  }

  /** Resolves once it may go on: true, or false where it has gone. */
  async released(): Promise<boolean> {
    while (this.isHeld && !this.hasGone)
      await new Promise<void>((resolve) => {
        const go = () => {
          this.#waiting.delete(go);
          resolve();
        };
        this.#waiting.add(go);
      });
    return !this.hasGone;
  }

  /** Null where it was done; else why it was not. */
  async #carryOut(frame: ClientFrame): Promise<string | null> {
    const { terminal } = this.#parts;
    if (frame.type === 'end-input') return 'A terminal takes input for as long as it lives.';
    if (frame.type === 'resize') return await this.#resize(frame.size);
    if (this.attached.role !== 'driver') throw viewersOnly();
    if (frame.type === 'drive') return await terminal.driving.drive(this, frame);
    if (frame.type === 'hand-over') return await terminal.driving.handOver(this, frame.to);
    if (frame.type === 'release') return terminal.driving.release(this);
    terminal.driving.keepAlive(this);
    return null;
  }

  async #resize(size: (ClientFrame & { type: 'resize' })['size']): Promise<string | null> {
    const { terminal } = this.#parts;
    const { driving } = terminal;
    if (this.attached.role !== 'driver') throw viewersOnly();
    if (!driving.isDriving(this) && terminal.startedBy !== this.caller.actor.id)
      return 'Who drives says how large the terminal is.';
    await terminal.resize(this, size);
    return null;
  }

  #refuseInput(bar: InputBar): void {
    this.#parts.terminal.refusedInput(this, bar);
    const now = this.#parts.clock.monotonic();
    if (now - this.#refusedAt < controlAttachLimits.tellRefusedMs) return;
    this.#refusedAt = now;
    const code = bar === 'unrecorded' ? 'audit.unavailable' : 'access.denied';
    this.#refuse('data', code, inputTexts[bar]);
  }

  #refuse(of: (ServerFrame & { type: 'refused' })['of'], code: string, detail: string): void {
    this.send({ type: 'refused', of, code, detail });
  }

  #leave(reason: DisconnectReason): void {
    if (this.hasGone) return;
    this.hasGone = true;
    this.#arrival.resolve();
    for (const go of [...this.#waiting]) go();
    this.#parts.onGone(this, { reason, bytesIn: this.#bytesIn, bytesOut: this.#bytesOut });
  }
}

const inputTexts: Readonly<Record<InputBar, string>> = {
  viewer: 'You attached as a viewer, who reads. Attach as a driver to type.',
  'no-lease': 'You do not hold the lease. Ask for it with drive.',
  'no-observer': 'You may type only while somebody else with control:write watches.',
  unrecorded: 'What is typed cannot be put on record now, so it was not taken.',
};

function viewersOnly(): Fault {
  return new Fault('access.denied', { detail: 'You attached as a viewer. Attach as a driver to do this.' });
}
