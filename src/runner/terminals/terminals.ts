import type { OwnedRun } from '../../audit/egress-events.ts';
import { OwedEvents } from '../../audit/owed-events.ts';
import { attachLimits } from '../../contract/attach.ts';
import { Fault } from '../../contract/faults.ts';
import type { ExecSpec, RunTerminal, TerminalInfo } from '../../contract/runner-terminals.ts';
import type { RunId, TerminalId } from '../../model/ids.ts';
import type { PseudoTerminal } from '../../sandbox/terminal.ts';
import { type ExecPlace, Execs, type StartedExec } from './execs.ts';
import { terminalLimits } from './limits.ts';
import { recordingLimits } from './recording/limits.ts';
import {
  type LiveRecording,
  Recordings,
  type RecordingsParts,
  recordedBytes,
} from './recording/recordings.ts';
import { ScreenThread } from './screen-thread.ts';
import { TerminalHub } from './terminal-hub.ts';

type Live = {
  readonly run: RunId;
  readonly hub: TerminalHub;
  readonly done: Promise<void>;
  /** Only where it may be hung up. */
  readonly kill?: () => void;
};

type Ending = {
  readonly hub: TerminalHub;
  readonly recording: LiveRecording;
  readonly started: StartedExec;
  readonly wasSeen: () => boolean;
};

export type TerminalsParts = RecordingsParts & {
  /** After which a command's terminal without anybody is hung up. */
  readonly abandonedMs?: number;
};

/** The terminals of all runs: live ones with their hubs, and what is recorded of each. */
export class Terminals {
  readonly recordings: Recordings;
  readonly execs: Execs;
  readonly #screens = new ScreenThread();
  readonly #live = new Map<TerminalId, Live>();
  readonly #opening = new Map<TerminalId, Promise<void>>();
  readonly #owed: OwedEvents;
  readonly #abandonedMs: number;

  constructor(parts: TerminalsParts) {
    const { record, clock, log } = parts;
    this.#owed = new OwedEvents({ audit: record, clock, logger: log, writer: 'system:runner' });
    this.#abandonedMs = parts.abandonedMs ?? attachLimits.abandonedMs;
    this.recordings = new Recordings(parts);
    this.execs = new Execs(record, this.#owed);
  }

  /** Events that could not be written yet. */
  get owed(): number {
    return this.#owed.size + this.recordings.owed;
  }

  /** The live terminal, or null. */
  hub(run: RunId, terminal: TerminalId): TerminalHub | null {
    const live = this.#live.get(terminal);
    return live?.run === run ? live.hub : null;
  }

  /**
   * The terminal of a run's own command: it lives until `end`, whoever is attached. What cannot be described on the disk
   * is not opened.
   */
  openRun(
    run: OwnedRun,
    opened: {
      readonly terminal: RunTerminal;
      readonly command: readonly string[];
      readonly pty: PseudoTerminal;
      readonly onOutput: (bytes: Buffer) => void;
    },
  ): { readonly hub: TerminalHub; end(code: number | null): Promise<void> } {
    const { terminal, command, pty, onOutput } = opened;
    const recording = this.recordings.open({ kind: 'run', by: run.owner, run, terminal, command });
    const hub = this.#hub(terminal, pty, recording, onOutput);
    const { promise: done, resolve } = Promise.withResolvers<void>();
    this.#live.set(terminal.id, { run: run.run, hub, done });
    let wasSeen = false;
    hub.onSubscribers = () => {
      wasSeen = true;
    };
    const end = async (code: number | null) => {
      await hub.end(code);
      await recording.end(code);
      this.#forget(terminal.id, wasSeen);
      resolve();
    };
    return { hub, end };
  }

  /** Starts a command in a terminal of its own; a repeated order is the same one. */
  async openExec(place: ExecPlace, terminal: RunTerminal, spec: ExecSpec): Promise<void> {
    if (this.#live.has(terminal.id)) return;
    const opening = this.#opening.get(terminal.id) ?? this.#openExec(place, terminal, spec);
    this.#opening.set(terminal.id, opening);
    await opening.finally(() => this.#opening.delete(terminal.id));
  }

  /** Hangs a command's terminal up; a run's own stays. */
  close(run: RunId, terminal: TerminalId): void {
    const live = this.#live.get(terminal);
    if (live?.run === run) live.kill?.();
  }

  list(run: RunId): readonly TerminalInfo[] {
    return this.recordings.list(run);
  }

  /** Resolves once no terminal of a run is live any more; its sandbox has ended. */
  async settled(run: RunId): Promise<void> {
    await Promise.all([...this.#live.values()].filter((live) => live.run === run).map(({ done }) => done));
  }

  async shutDown(): Promise<void> {
    await this.#screens.close();
    await this.recordings.close();
    await this.#owed.close();
  }

  async #openExec(place: ExecPlace, terminal: RunTerminal, spec: ExecSpec): Promise<void> {
    this.#refuseTooMany(spec.run);
    this.execs.requireRoom(spec.run);
    const recording = await this.#record(place, terminal, spec);
    let started: StartedExec;
    try {
      started = await this.execs.start(place, spec, terminal);
    } catch (error) {
      await recording.end(null);
      throw error;
    }
    const hub = this.#hub(terminal, started.exec.terminal!, recording);
    const kill = () => {
      hub.hangUp();
      started.exec.kill();
    };
    const wasSeen = this.#hangUpWhenAbandoned(hub, kill);
    const done = this.#finish(terminal.id, { hub, recording, started, wasSeen });
    this.#live.set(terminal.id, { run: spec.run, hub, done, kill });
  }

  /** Throws Fault `audit.unavailable`: a command that nobody could look at afterwards is not started. */
  async #record(place: ExecPlace, terminal: RunTerminal, { by, command }: ExecSpec): Promise<LiveRecording> {
    const recording = this.recordings.open({ kind: 'exec', by, run: place.run, terminal, command });
    if (recording.recorder.isRecorded) return recording;
    await recording.end(null);
    throw new Fault('audit.unavailable', {
      detail: 'The terminal cannot be recorded now, so the command was not started. Try again later.',
    });
  }

  async #finish(id: TerminalId, { hub, recording, started, wasSeen }: Ending): Promise<void> {
    const { status: code } = await started.exec.ended;
    await hub.end(code);
    started.ended({ code, bytesIn: hub.typedBytes, bytesOut: hub.outputBytes });
    await recording.end(code);
    this.#forget(id, wasSeen());
  }

  /** Whoever asked for what it showed may only be on the way here. */
  #forget(id: TerminalId, wasSeen: boolean): void {
    if (wasSeen) this.#live.delete(id);
    else setTimeout(() => this.#live.delete(id), terminalLimits.lastLookMs).unref();
  }

  #hub(
    { size }: RunTerminal,
    terminal: PseudoTerminal,
    { recorder }: LiveRecording,
    onOutput?: (bytes: Buffer) => void,
  ): TerminalHub {
    const parts = { terminal, size, screens: this.#screens, recorder };
    return new TerminalHub(onOutput === undefined ? parts : { ...parts, onOutput });
  }

  /** Gives what tells whether anybody ever was there. */
  #hangUpWhenAbandoned(hub: TerminalHub, kill: () => void): () => boolean {
    let wasSeen = false;
    const later = () => setTimeout(kill, this.#abandonedMs).unref();
    let timer: NodeJS.Timeout | null = later();
    hub.onSubscribers = (count) => {
      wasSeen = true;
      if (timer !== null) clearTimeout(timer);
      timer = count === 0 ? later() : null;
    };
    return () => wasSeen;
  }

  #refuseTooMany(run: RunId): void {
    const recorded = this.recordings.list(run);
    if (recorded.length >= terminalLimits.terminalsPerRunMax)
      throw new Fault('quota.exceeded', {
        detail: `A run has at most ${terminalLimits.terminalsPerRunMax} terminals, ended ones too.`,
      });
    if (recordedBytes(recorded) >= recordingLimits.runBytesMax)
      throw new Fault('quota.exceeded', {
        detail: `The recordings of this run have reached their limit of ${recordingLimits.runBytesMax} bytes.`,
      });
  }
}
