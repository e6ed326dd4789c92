import type { Channel } from '../../base/channel.ts';
import type { Clock } from '../../base/clock.ts';
import {
  type AttachCloseReason,
  type AttachStream,
  attachLimits,
  attachStreams,
  type ClientFrame,
  type ServerFrame,
} from '../../contract/attach.ts';
import type { ExecEndInput } from '../../contract/runner-terminals.ts';
import type { Caller } from '../control.ts';
import type { Gate } from '../gate.ts';
import type { AttachClient, AttachConnection } from './attach.ts';
import { FrameRate } from './frame-rate.ts';
import type { Attached, DisconnectReason } from './records.ts';
import { exitOfFrame } from './terminal-frames.ts';
import type { Watched } from './watch.ts';

export type PipeConnectionParts = {
  /** To the runner; what was asked for has begun there. */
  readonly channel: Channel;
  readonly attached: Attached;
  readonly caller: Caller;
  readonly client: AttachClient;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly still: (caller: Caller) => Promise<void>;
  /** Decides now; false where it was cut. */
  readonly recheck: (connection: Watched) => Promise<boolean>;
  readonly onGone: (
    connection: PipeConnection,
    ended: { reason: DisconnectReason; bytesIn: number; bytesOut: number },
  ) => void;
};

/**
 * A command with pipes, or a connection to a port, for one client: it ends with the client. A slow reader holds it up, as
 * a pipe does.
 */
export class PipeConnection implements AttachConnection, Watched {
  readonly #parts: PipeConnectionParts;
  readonly #rate: FrameRate;
  readonly #waiting = new Set<() => void>();
  readonly attached: Attached;
  caller: Caller;
  #held = true;
  #gone = false;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(parts: PipeConnectionParts) {
    this.#parts = parts;
    this.#rate = new FrameRate(parts.clock);
    this.attached = parts.attached;
    this.caller = parts.caller;
  }

  /** Sends what comes, until either side ends. */
  async carry(): Promise<void> {
    const { channel, client } = this.#parts;
    if (!(await this.#released())) return;
    client.send(this.#welcome());
    try {
      for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
        if (!(await this.#released())) return;
        if (frame.kind === 'data') await this.#output(frame.bytes);
        else if (this.#concludes(exitOfFrame(frame.value))) return;
      }
    } catch {
      // The runner or the sandbox went: the same end, without a status.
    }
    this.#concludes(null, true);
  }

  async input(bytes: Buffer): Promise<void> {
    if (!(await this.#released())) return;
    // Bytes that are left out would make something else of what goes on behind them.
    if (!this.#parts.gate.health().ok) return this.close('unrecorded', unrecordedText);
    this.#bytesIn += bytes.length;
    await this.#parts.channel.sendData(bytes).catch(() => undefined);
  }

  async control(frame: ClientFrame): Promise<void> {
    if (this.#gone) return;
    if (!this.#rate.admits()) return this.close('protocol', 'Too many control frames in a second.');
    if (!(await this.#parts.recheck(this)) || !(await this.#released())) return;
    if (frame.type === 'end-input') return await this.#endInput();
    if (frame.type === 'keep-alive') return;
    const detail = 'There is no terminal here.';
    this.#send({ type: 'refused', of: frame.type, code: 'state.conflict', detail });
  }

  gone(reason: AttachCloseReason | 'left' | 'lost'): void {
    this.#leave(reason);
  }

  close(reason: AttachCloseReason, detail: string): void {
    if (this.#gone) return;
    this.#parts.client.close(reason, detail);
    this.#leave(reason);
  }

  cut(reason: AttachCloseReason, detail: string): void {
    this.close(reason, detail);
  }

  still(caller: Caller): Promise<void> {
    return this.#parts.still(caller);
  }

  hold(): void {
    this.#held = true;
  }

  confirm(caller: Caller): void {
    this.caller = caller;
    this.#held = false;
    this.#wake();
  }

  async #output(bytes: Buffer): Promise<void> {
    const { client } = this.#parts;
    const [stream, rest] = this.attached.kind === 'port' ? [attachStreams.output, bytes] : streamOf(bytes);
    for (let at = 0; at < rest.length && !this.#gone; at += attachLimits.outputBytesMax) {
      const part = rest.subarray(at, at + attachLimits.outputBytesMax);
      this.#bytesOut += part.length;
      client.data(stream, part);
      await client.drained();
      if (!(await this.#released())) return;
    }
  }

  /** Whether it is over: with the status of a command, or because nothing comes any more. */
  #concludes(code: number | null, isOver = code !== null): boolean {
    if (!isOver) return false;
    if (this.attached.kind === 'exec') this.#send({ type: 'ended', code, signal: null });
    this.close(
      'ended',
      this.attached.kind === 'exec' ? 'The command has ended.' : 'The connection has ended.',
    );
    return true;
  }

  async #endInput(): Promise<void> {
    const { channel } = this.#parts;
    const end: ExecEndInput = { endInput: true };
    await channel.sendJson(end).catch(() => undefined);
  }

  #welcome(): ServerFrame {
    const { connection, run, role } = this.attached;
    return {
      type: 'welcome',
      connection,
      run,
      terminal: null,
      role,
      mode: 'exclusive',
      moderated: false,
      size: null,
      offset: 0,
      snapshotBytes: 0,
      resumed: false,
      leaseMs: attachLimits.leaseMs,
      pingMs: attachLimits.pingMs,
    };
  }

  #send(frame: ServerFrame): void {
    if (!this.#gone) this.#parts.client.send(frame);
  }

  async #released(): Promise<boolean> {
    while (this.#held && !this.#gone) await new Promise<void>((resolve) => this.#waiting.add(resolve));
    return !this.#gone;
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const go of waiting) go();
  }

  #leave(reason: DisconnectReason): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#wake();
    this.#parts.channel.close();
    this.#parts.onGone(this, { reason, bytesIn: this.#bytesIn, bytesOut: this.#bytesOut });
  }
}

/** Frames of a command's pipes begin with the stream that they are of. */
function streamOf(bytes: Buffer): readonly [AttachStream, Buffer] {
  const stream = bytes[0] === attachStreams.error ? attachStreams.error : attachStreams.output;
  return [stream, bytes.subarray(1)];
}

const unrecordedText = 'What goes in cannot be put on record now. Try again later.';
