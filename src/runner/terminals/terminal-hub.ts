import type { TerminalOpening, TerminalTold } from '../../contract/runner-terminals.ts';
import type { ActorId } from '../../model/actor.ts';
import type { TerminalSize } from '../../model/terminal.ts';
import type { PseudoTerminal } from '../../sandbox/terminal.ts';
import { terminalLimits } from './limits.ts';
import { OutputWindow } from './output-window.ts';
import { redrawStart } from './screen.ts';
import type { ModelledScreen, ScreenThread } from './screen-thread.ts';
import { Subscription } from './subscription.ts';

/** What a terminal shows, is told to and does, for whoever writes it down. Nothing here waits or throws. */
export type TerminalRecorder = {
  /** Whether what comes now is being recorded. */
  readonly isRecorded: boolean;
  onRecorded(listener: (isRecorded: boolean) => void): void;
  output(bytes: Buffer): void;
  /** `isHidden` where the terminal does not show what is typed. */
  input(bytes: Buffer, author: { readonly by: ActorId; readonly isHidden: boolean }): void;
  resized(size: TerminalSize): void;
};

export type HubParts = {
  readonly terminal: PseudoTerminal;
  readonly size: TerminalSize;
  readonly screens: ScreenThread;
  readonly recorder: TerminalRecorder;
  /** Gets all output too, in order. */
  readonly onOutput?: (bytes: Buffer) => void;
};

/** Who types, and whether that is recorded. */
export type Author = { readonly by: ActorId; readonly recordInput: boolean };

/**
 * One live terminal: reads it no faster than it is recorded and drawn, keeps the newest output and what the screen shows,
 * and hands both to any number of subscribers, none of whom it ever waits for.
 */
export class TerminalHub {
  readonly #parts: HubParts;
  readonly #window = new OutputWindow();
  readonly #screen: ModelledScreen;
  readonly #subscriptions = new Set<Subscription>();
  readonly #outputEnded = Promise.withResolvers<void>();
  #size: TerminalSize;
  #wantedSize: TerminalSize | null = null;
  #resizeTimer: NodeJS.Timeout | null = null;
  #gathered: Buffer[] = [];
  #gatheredBytes = 0;
  #isGathering = false;
  #typing: Promise<void> = Promise.resolve();
  #typedBytes = 0;
  #ending: { readonly code: number | null } | null = null;
  /** Called whenever a subscriber comes or goes. */
  onSubscribers: (count: number) => void = () => undefined;

  constructor(parts: HubParts) {
    this.#parts = parts;
    this.#size = parts.size;
    this.#screen = parts.screens.open({
      size: () => this.#size,
      replay: () => this.#window.tail(terminalLimits.replayBytes),
      onRoom: () => this.#goOn(),
    });
    parts.recorder.onRecorded((recorded) => this.#tell({ told: 'recorded', recorded }));
    const { output } = parts.terminal;
    output.on('data', (chunk: Buffer) => this.#gather(chunk));
    output.on('error', () => this.#outputEnded.resolve());
    output.on('close', () => this.#outputEnded.resolve());
    output.on('end', () => this.#outputEnded.resolve());
  }

  get size(): TerminalSize {
    return this.#size;
  }

  get outputBytes(): number {
    return this.#window.end;
  }

  get typedBytes(): number {
    return this.#typedBytes;
  }

  /** Resolves once everything that the terminal's programs wrote is here. */
  get outputEnded(): Promise<void> {
    return this.#outputEnded.promise.then(() => this.#process());
  }

  /** From `from` on, where that is still here; else what redraws the screen, and what follows that. */
  async subscribe(from: number | null): Promise<Subscription> {
    if (from !== null && from >= this.#window.start && from <= this.#window.end)
      return this.#admit(from, null);
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const offset = this.#window.end;
      const snapshot = await this.#screen.snapshot();
      if (snapshot !== null && offset >= this.#window.start) return this.#admit(offset, snapshot);
    }
    return this.#admit(this.#window.end, this.#rawSnapshot());
  }

  /**
   * Types, after everything that was typed before; resolves once the terminal took it, or once the signal has aborted:
   * what the terminal has not taken by then it never gets.
   */
  type(bytes: Buffer, author: Author | null, signal?: AbortSignal): Promise<void> {
    this.#typing = this.#typing.then(() => this.#typeNow(bytes, author, signal));
    return this.#typing;
  }

  /** At once, or where the size changed a moment ago, a moment later: the last size counts. */
  resize(size: TerminalSize): void {
    this.#wantedSize = size;
    if (this.#resizeTimer === null) this.#resizeNow();
  }

  /** Hangs up, as when somebody closes a terminal's window. */
  hangUp(): void {
    this.#parts.terminal.close();
  }

  /** The command has ended: subscribers are told behind the last byte. Waits a moment for output whose writers live on. */
  async end(code: number | null): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, terminalLimits.drainMs);
    await Promise.race([this.#outputEnded.promise, late]);
    clearTimeout(timer);
    this.#process();
    this.hangUp();
    if (this.#resizeTimer !== null) clearTimeout(this.#resizeTimer);
    this.#ending = { code };
    this.#tell({ told: 'ended', code });
    this.#screen.close();
  }

  #admit(offset: number, snapshot: Buffer | null): Subscription {
    const opening: TerminalOpening = {
      size: this.#size,
      offset,
      snapshotBytes: snapshot?.length ?? 0,
      resumed: snapshot === null,
      recorded: this.#parts.recorder.isRecorded,
    };
    const subscription = new Subscription({
      opening,
      snapshot,
      window: this.#window,
      onClose: () => {
        this.#subscriptions.delete(subscription);
        this.onSubscribers(this.#subscriptions.size);
      },
    });
    this.#subscriptions.add(subscription);
    this.onSubscribers(this.#subscriptions.size);
    if (this.#ending !== null) subscription.tell({ told: 'ended', code: this.#ending.code });
    return subscription;
  }

  /**
   * What a terminal gives in one turn of the event loop is one piece, so that many small reads cost as one. The kernel
   * gives 4 KiB at most, so where it gave that there is more, and that is worth a moment: what people type never waits.
   */
  #gather(chunk: Buffer): void {
    this.#gathered.push(chunk);
    this.#gatheredBytes += chunk.length;
    if (this.#gatheredBytes >= terminalLimits.readBytesMax) {
      this.#process();
      return;
    }
    if (this.#isGathering) return;
    this.#isGathering = true;
    setImmediate(() => {
      if (this.#gatheredBytes < terminalLimits.flowBytes) this.#gatheringEnds();
      else setTimeout(() => this.#gatheringEnds(), terminalLimits.flowMs);
    });
  }

  #gatheringEnds(): void {
    this.#isGathering = false;
    this.#process();
  }

  #process(): void {
    if (this.#gathered.length === 0) return;
    const bytes = this.#gathered.length === 1 ? this.#gathered[0]! : Buffer.concat(this.#gathered);
    this.#gathered = [];
    this.#gatheredBytes = 0;
    const { readBytesMax, modelWaitingBytesMax } = terminalLimits;
    for (let at = 0; at < bytes.length; at += readBytesMax) this.#show(bytes.subarray(at, at + readBytesMax));
    if (this.#screen.waitingBytes > modelWaitingBytesMax) this.#parts.terminal.output.pause();
    for (const subscription of this.#subscriptions) subscription.wake();
  }

  #show(bytes: Buffer): void {
    this.#parts.recorder.output(bytes);
    this.#window.append(bytes);
    if (this.#ending === null) this.#screen.write(bytes);
    this.#parts.onOutput?.(bytes);
  }

  #goOn(): void {
    if (this.#screen.waitingBytes <= terminalLimits.modelWaitingBytesMax)
      this.#parts.terminal.output.resume();
  }

  async #typeNow(bytes: Buffer, author: Author | null, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return;
    const { terminal, recorder } = this.#parts;
    if (author?.recordInput === true) recorder.input(bytes, { by: author.by, isHidden: !terminal.echoes() });
    this.#typedBytes += bytes.length;
    await terminal.write(bytes, signal);
  }

  #resizeNow(): void {
    const size = this.#wantedSize;
    this.#wantedSize = null;
    this.#resizeTimer = null;
    if (size === null || (size.columns === this.#size.columns && size.rows === this.#size.rows)) return;
    this.#process();
    this.#size = size;
    this.#parts.recorder.resized(size);
    this.#parts.terminal.resize(size);
    this.#screen.resize(size);
    this.#tell({ told: 'size', size });
    this.#resizeTimer = setTimeout(() => this.#resizeNow(), terminalLimits.resizeEveryMs);
  }

  #tell(told: TerminalTold): void {
    for (const subscription of this.#subscriptions) subscription.tell(told);
  }

  /** Where there is no model: the end of the output, from the beginning of a line or character on. */
  #rawSnapshot(): Buffer {
    const tail = this.#window.tail(terminalLimits.rawSnapshotBytes);
    const line = this.#window.start === this.#window.end - tail.length ? -1 : tail.indexOf(0x0a);
    return Buffer.concat([Buffer.from(redrawStart), tail.subarray(line + 1)]);
  }
}
