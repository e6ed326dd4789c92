import { setTimeout as pause } from 'node:timers/promises';
import type { Channel } from '../../base/channel.ts';
import type { Clock } from '../../base/clock.ts';
import { type AttachCloseReason, attachLimits, type InputBar } from '../../contract/attach.ts';
import { Fault } from '../../contract/faults.ts';
import type { TerminalAsk, TerminalTold } from '../../contract/runner-terminals.ts';
import type { ActorId } from '../../model/actor.ts';
import type { RunId, SessionId, TerminalId } from '../../model/ids.ts';
import type { AttachSettings, TerminalSize } from '../../model/terminal.ts';
import type { Gate } from '../gate.ts';
import type { LiveRuns } from '../live-runs.ts';
import type { Logger } from '../logger.ts';
import { LinkLost, type RunnerLink } from '../runner-link.ts';
import { Driving } from './driving.ts';
import { controlAttachLimits } from './limits.ts';
import { OutputRing } from './output-ring.ts';
import type { AttachRecords } from './records.ts';
import type { TerminalConnection } from './terminal-connection.ts';
import { parseTold, showTerminal } from './terminal-frames.ts';

export type LiveTerminalParts = {
  readonly link: RunnerLink;
  readonly live: LiveRuns;
  readonly gate: Gate;
  readonly records: AttachRecords;
  readonly clock: Clock;
  readonly logger: Logger;
};

export type LiveTerminalOptions = {
  readonly id: TerminalId;
  readonly run: RunId;
  readonly session: SessionId;
  readonly startedBy: ActorId;
  readonly settings: AttachSettings;
  /** Nobody is attached, nobody comes, and nobody may come back for a lease. */
  readonly onIdle: () => void;
};

/** A screen as the runner drew it: everything up to the offset is on it. */
type Screen = { readonly bytes: Buffer; readonly offset: number; readonly size: TerminalSize };

/**
 * A terminal that people are attached to: one connection to the runner for all of them. Nobody's slowness holds up
 * anybody else. The newest output is kept, so that who was held or comes in between misses nothing; a connection to the
 * runner that breaks is made anew and goes on where it was, or everybody is to come again for the screen.
 */
export class LiveTerminal {
  readonly #parts: LiveTerminalParts;
  readonly #options: LiveTerminalOptions;
  readonly #clients = new Set<TerminalConnection>();
  readonly #ring = new OutputRing(attachLimits.resumeBytesMax);
  readonly #disposed = new AbortController();
  readonly driving: Driving;
  #size: TerminalSize | null = null;
  #screen: Screen | null = null;
  #drawing: Promise<void> | null = null;
  #channel: Channel | null = null;
  #opening: Promise<void> | null = null;
  /** Set once the command has ended. */
  #ended: { readonly code: number | null } | null = null;
  /** Who were let in and have not come yet. */
  #expected = 0;
  #author: ActorId | null = null;
  readonly #arrivals = new Set<() => void>();
  #tellTimer: NodeJS.Timeout | null = null;

  constructor(parts: LiveTerminalParts, options: LiveTerminalOptions) {
    this.#parts = parts;
    this.#options = options;
    this.driving = new Driving(parts, options.settings, this.#clients, () => this.#tellClients());
  }

  get session(): SessionId {
    return this.#options.session;
  }

  get run(): RunId {
    return this.#options.run;
  }

  get startedBy(): ActorId {
    return this.#options.startedBy;
  }

  get clients(): readonly TerminalConnection[] {
    return [...this.#clients];
  }

  /**
   * Connected to the runner, for one more client that `join` or `unexpect` follows for. Throws the runner's Fault, LinkLost,
   * and `audit.unavailable` where what it shows is not recorded.
   */
  async expect(from: number | null): Promise<void> {
    if (this.#disposed.signal.aborted) throw new LinkLost('the terminal was let go of a moment ago');
    this.#expected += 1;
    try {
      if (this.#ended !== null) return;
      await this.#open(from);
    } catch (error) {
      this.unexpect();
      throw error;
    }
  }

  unexpect(): void {
    this.#expected -= 1;
    this.#settle();
  }

  /** A client that was expected is here. It gets the screen, or what it missed, once it has been decided about. */
  join(connection: TerminalConnection): void {
    this.#expected -= 1;
    this.#clients.add(connection);
    this.#tellClients();
    void this.#admit(connection).catch((error: unknown) => {
      this.#parts.logger.warn(
        { terminal: this.#options.id, error: String(error) },
        'a screen could not be shown',
      );
      if (error instanceof Fault && error.code === 'audit.unavailable')
        connection.close('unrecorded', error.detail);
      else connection.close('goingAway', 'The screen could not be shown. Attach again.');
    });
  }

  /** `mayReturn` where its lease is kept for it; of one that may not, nothing that waits is typed any more. */
  leave(connection: TerminalConnection, mayReturn: boolean): void {
    if (!this.#clients.delete(connection)) return;
    if (!mayReturn && connection.hasTyped) this.#dropInput();
    this.driving.left(connection, mayReturn);
    this.#tellClients();
    this.#settle();
  }

  /** What a client did not get while it was held; `missed` where it was to be told something. */
  catchUp(connection: TerminalConnection, missed: boolean): void {
    if (connection.hasGone || !connection.joined) return;
    if (!this.#ring.covers(connection.position)) {
      connection.close('slow', slowText);
      return;
    }
    connection.output(this.#ring.slice(connection.position, Number.POSITIVE_INFINITY));
    if (missed) {
      if (this.#size !== null) connection.send({ type: 'resized', size: this.#size });
      connection.send({ type: 'clients', clients: this.driving.clients() });
      this.driving.greet(connection);
    }
    this.driving.changed();
    this.#conclude(connection);
  }

  /** Resolves once the bytes are on their way; false where the runner could not be reached. */
  async type(connection: TerminalConnection, bytes: Buffer): Promise<boolean> {
    const channel = await this.#openFor(connection);
    if (channel === null) return connection.hasGone;
    // It may have had to wait, and others may drive by now.
    if (this.driving.barOf(connection) !== null) return false;
    this.#sayAuthor(channel, connection.caller.actor.id);
    return await channel.sendData(bytes).then(
      () => true,
      () => false,
    );
  }

  async resize(connection: TerminalConnection, size: TerminalSize): Promise<void> {
    const channel = await this.#openFor(connection);
    const ask: TerminalAsk = { ask: 'size', size };
    await channel?.sendJson(ask).catch(() => undefined);
  }

  refusedInput(connection: TerminalConnection, bar: InputBar): void {
    this.#parts.records.inputRefused(connection.caller, connection.attached, bar);
  }

  configure(settings: AttachSettings): void {
    this.#author = null;
    this.driving.configure(settings);
    const { mode, moderated } = settings;
    for (const connection of this.#clients)
      if (connection.joined) connection.send({ type: 'settings', mode, moderated });
    this.#tellClients();
  }

  /** What comes with time: leases that lapse, counts that go on record. */
  look(): void {
    this.driving.look();
    this.#settle();
  }

  closeAll(reason: AttachCloseReason, detail: string): void {
    for (const connection of [...this.#clients]) connection.close(reason, detail);
  }

  /** Its command has ended, or its run. */
  end(code: number | null): void {
    if (this.#ended !== null) return;
    this.#ended = { code };
    for (const go of [...this.#arrivals]) go();
    this.driving.end();
    for (const connection of [...this.#clients]) this.#conclude(connection);
    this.#settle();
  }

  dispose(): void {
    this.#disposed.abort();
    if (this.#tellTimer !== null) clearTimeout(this.#tellTimer);
    this.driving.end();
    this.#channel?.close();
  }

  async #open(from: number | null): Promise<void> {
    if (this.#channel !== null) return;
    const isShown = this.clients.some(({ joined }) => joined);
    this.#opening ??= this.#connect(isShown ? this.#ring.end : from).finally(() => {
      this.#opening = null;
    });
    await this.#opening;
  }

  async #connect(from: number | null): Promise<void> {
    const { id, run } = this.#options;
    const shown = await showTerminal(this.#parts.link, { purpose: 'terminal', run, terminal: id, from });
    const { channel, opening, snapshot } = shown;
    if (this.#disposed.signal.aborted) return channel.close();
    if (!opening.recorded) {
      channel.close();
      throw unrecorded();
    }
    if (!opening.resumed || opening.offset !== this.#ring.end) {
      // They come again, and get the screen as it is then.
      for (const connection of [...this.#clients])
        if (connection.joined) connection.close('goingAway', lostText);
      this.#ring.reset(opening.offset);
      this.#screen = opening.resumed ? null : { bytes: snapshot, offset: opening.offset, size: opening.size };
    }
    this.#channel = channel;
    this.#author = null;
    this.#resized(opening.size);
    for (const told of shown.told) this.#told(told);
    void this.#follow(channel);
  }

  async #follow(channel: Channel): Promise<void> {
    const began = this.#parts.clock.monotonic();
    try {
      for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
        // What it still says is said again, from where the newest output ends.
        if (this.#channel !== channel) break;
        if (frame.kind === 'data') this.#output(frame.bytes);
        else this.#told(parseTold(frame.value));
      }
    } catch (error) {
      this.#parts.logger.debug(
        { terminal: this.#options.id, error: String(error) },
        'a terminal was cut off',
      );
    } finally {
      channel.close();
      if (this.#channel === channel) this.#channel = null;
    }
    if (this.#ended === null && this.#isWanted) await this.#comeBack(began);
  }

  /** Until the terminal is shown again, has ended, or nobody is left who wants it. */
  async #comeBack(began: number): Promise<void> {
    const { link, live, clock, logger } = this.#parts;
    const { signal } = this.#disposed;
    const { reopenMinMs, reopenMaxMs } = controlAttachLimits;
    let waitMs = clock.monotonic() - began < reopenMaxMs ? reopenMinMs : 0;
    while (this.#isWanted && !signal.aborted) {
      if (live.get(this.run) === null) return this.end(null);
      try {
        await pause(waitMs, undefined, { signal, ref: false });
        await link.whenConnected(signal);
        return await this.#open(this.#ring.end);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Fault && goneCodes.has(error.code)) return this.end(null);
        if (error instanceof Fault && error.code === 'audit.unavailable')
          return this.closeAll('unrecorded', error.detail);
        logger.debug({ terminal: this.#options.id, error: String(error) }, 'a terminal is to be shown again');
        waitMs = Math.min(Math.max(waitMs * 2, reopenMinMs), reopenMaxMs);
      }
    }
  }

  /** The runner drops what waits of a connection that is hung up on; the others go on over a new one. */
  #dropInput(): void {
    this.#channel?.close();
    this.#channel = null;
  }

  #output(bytes: Buffer): void {
    this.#ring.push(bytes);
    for (const go of [...this.#arrivals]) go();
    for (const connection of this.#clients)
      if (connection.joined && !connection.isHeld) connection.output(bytes);
  }

  #told(told: TerminalTold): void {
    if (told.told === 'ended') this.end(told.code);
    else if (told.told === 'size') this.#resized(told.size);
    else if (!told.recorded) this.closeAll('unrecorded', unrecorded().detail);
  }

  #resized(size: TerminalSize): void {
    const before = this.#size;
    if (before !== null && before.columns === size.columns && before.rows === size.rows) return;
    this.#size = size;
    if (before === null) return;
    this.#screen = null;
    for (const connection of this.#clients) if (connection.joined) connection.send({ type: 'resized', size });
  }

  /** The screen and what follows it, or what follows the offset that was asked for. */
  async #admit(connection: TerminalConnection): Promise<void> {
    for (let tries = 0; tries < controlAttachLimits.admitTriesMax; tries += 1) {
      if (!(await connection.released())) return;
      if (this.#welcome(connection)) {
        await this.#arrived(connection);
        return;
      }
      if (this.#ended !== null) return this.#conclude(connection);
      await this.#draw();
    }
    connection.close('slow', slowText);
  }

  async #arrived(connection: TerminalConnection): Promise<void> {
    connection.send({ type: 'clients', clients: this.driving.clients() });
    if (this.#ended !== null) return this.#conclude(connection);
    try {
      await this.driving.arrive(connection);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
    }
    connection.arrived();
    this.driving.greet(connection);
  }

  /** False where neither the screen nor what was asked for is at hand. */
  #welcome(connection: TerminalConnection): boolean {
    const { from } = connection;
    const resumed = from !== null && this.#ring.covers(from);
    const screen = this.#freshScreen();
    if (!resumed && screen === null) return false;
    const start = resumed ? from : screen!.offset;
    this.#show(connection, start, resumed ? null : screen!.bytes);
    return true;
  }

  #show(connection: TerminalConnection, offset: number, snapshot: Buffer | null): void {
    const { mode, moderated } = this.driving.settings;
    connection.send({
      type: 'welcome',
      connection: connection.attached.connection,
      run: this.run,
      terminal: this.#options.id,
      role: connection.attached.role,
      mode,
      moderated,
      size: this.#size,
      offset,
      snapshotBytes: snapshot?.length ?? 0,
      resumed: snapshot === null,
      leaseMs: attachLimits.leaseMs,
      pingMs: attachLimits.pingMs,
    });
    if (snapshot !== null) connection.screen(snapshot);
    connection.joined = true;
    connection.position = offset;
    connection.output(this.#ring.slice(offset, Number.POSITIVE_INFINITY));
  }

  #freshScreen(): Screen | null {
    const screen = this.#screen;
    if (screen === null || !this.#ring.covers(screen.offset)) return null;
    return this.#ring.end - screen.offset <= controlAttachLimits.snapshotReuseBytes ? screen : null;
  }

  /** Has the runner draw the screen as it is now; once for all who wait for it. */
  async #draw(): Promise<void> {
    this.#drawing ??= this.#drawOnce().finally(() => {
      this.#drawing = null;
    });
    await this.#drawing;
  }

  async #drawOnce(): Promise<void> {
    const { id, run } = this.#options;
    const purpose = { purpose: 'terminal', run, terminal: id, from: null } as const;
    const { channel, opening, snapshot } = await showTerminal(this.#parts.link, purpose);
    channel.close();
    if (!opening.recorded) throw unrecorded();
    const { offset, size } = opening;
    await this.#arrival(offset);
    this.#screen = { bytes: snapshot, offset, size };
  }

  /** Resolves once output is here up to an offset: what is on a screen may still be on its way. Gives up in time. */
  async #arrival(offset: number): Promise<void> {
    const waited = AbortSignal.any([
      this.#disposed.signal,
      AbortSignal.timeout(controlAttachLimits.openTimeoutMs),
    ]);
    while (this.#ring.end < offset && this.#ended === null && !waited.aborted)
      await new Promise<void>((resolve) => {
        const go = () => {
          this.#arrivals.delete(go);
          waited.removeEventListener('abort', go);
          resolve();
        };
        this.#arrivals.add(go);
        waited.addEventListener('abort', go);
      });
  }

  /** The last word to a client of a terminal that has ended, once it has everything. */
  #conclude(connection: TerminalConnection): void {
    if (this.#ended === null || connection.hasGone || connection.isHeld) return;
    if (!connection.joined && !this.#welcome(connection) && this.#size !== null)
      this.#show(connection, this.#ring.end, Buffer.alloc(0));
    connection.send({ type: 'ended', code: this.#ended.code, signal: null });
    connection.close('ended', 'The command has ended.');
  }

  /** The channel to the runner, once there is one; null where the client has gone or may not go on by then. */
  async #openFor(connection: TerminalConnection): Promise<Channel | null> {
    if (this.#channel !== null) return this.#channel;
    try {
      await this.#open(this.#ring.end);
    } catch {
      return null;
    }
    return (await connection.released()) ? this.#channel : null;
  }

  #sayAuthor(channel: Channel, by: ActorId): void {
    if (this.#author === by) return;
    this.#author = by;
    const ask: TerminalAsk = { ask: 'author', by, recordInput: this.driving.settings.recordInput };
    channel.sendJson(ask).catch(() => undefined);
  }

  get #isWanted(): boolean {
    return this.#clients.size > 0 || this.#expected > 0;
  }

  #settle(): void {
    if (this.#isWanted) return;
    this.#channel?.close();
    if (this.#ended !== null || !this.driving.isLeased) this.#options.onIdle();
  }

  #tellClients(): void {
    this.#tellTimer ??= setTimeout(() => {
      this.#tellTimer = null;
      const clients = this.driving.clients();
      for (const connection of this.#clients)
        if (connection.joined) connection.send({ type: 'clients', clients });
      // Each of them is told of all of them: what that costs grows with the square of their number.
    }, controlAttachLimits.tellClientsMs + this.#clients.size);
    this.#tellTimer.unref();
  }
}

/** Codes by which the runner says that there is no such terminal any more. */
const goneCodes: ReadonlySet<string> = new Set(['resource.absent', 'state.conflict']);

const lostText = 'Output was lost on its way here. Attach again.';

const slowText = 'Output came faster than it was read. Attach again.';

function unrecorded(): Fault {
  return new Fault('audit.unavailable', {
    detail: 'What the terminal shows cannot be recorded now, so nobody may be attached. Try again later.',
  });
}
