import type { ActorId } from '../model/actor.ts';
import type { ConnectionId, RunId, TerminalId } from '../model/ids.ts';
import type { TerminalSize } from '../model/terminal.ts';

/**
 * What control and runner say to each other about terminals, beside `runner.ts`. The runner hosts them, records them
 * and keeps a model of their screens; who may see and type is control's to decide.
 */

/** The terminal that a run's own command gets. */
export type RunTerminal = { readonly id: TerminalId; readonly size: TerminalSize };

/** A command beside the run's own, in the same sandbox. `env` is added to the sandbox's own environment. */
export type ExecSpec = {
  readonly run: RunId;
  /** Who asked for it, for what is recorded of it, and by which connection of control's record. */
  readonly by: ActorId;
  readonly connection: ConnectionId;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Absolute in the sandbox, or relative to /workspace; null for /workspace. */
  readonly cwd: string | null;
};

export type TerminalOrder =
  /** Starts a command in a terminal of its own; answered once it has started. Refused where the run is not running. */
  | { readonly order: 'open-terminal'; readonly terminal: RunTerminal; readonly exec: ExecSpec }
  /** Hangs a terminal of `open-terminal` up. Unknown ones are answered all the same. */
  | { readonly order: 'close-terminal'; readonly run: RunId; readonly terminal: TerminalId }
  /** What the run's terminals are, from what is recorded of them, oldest first. */
  | { readonly order: 'terminals'; readonly run: RunId };

export type TerminalInfo = {
  readonly id: TerminalId;
  readonly kind: 'run' | 'exec';
  readonly by: ActorId;
  readonly command: readonly string[];
  readonly size: TerminalSize;
  readonly openedAt: number;
  /** Null while it lives; where the runner was killed, when the next one found it. */
  readonly endedAt: number | null;
  /** The status byte; null while it lives and where nobody knows. */
  readonly exitCode: number | null;
  readonly recordingBytes: number;
  readonly recordingSeconds: number;
  /** Whether nothing of the recording was dropped to stay within its limit. */
  readonly complete: boolean;
};

export type TerminalPurpose =
  /**
   * A live terminal, until it ends or control hangs up. The runner says `TerminalOpening` or a fault first; then
   * `snapshotBytes` of data frames redraw the screen, and data frames carry output as it comes. With `from`, and where the
   * runner still has it, output goes on at that offset instead and there is no snapshot. Control sends data frames of
   * input and JSON frames `TerminalAsk`; the runner says `TerminalTold`. A reader that falls behind is hung up on: it may
   * come again.
   */
  | {
      readonly purpose: 'terminal';
      readonly run: RunId;
      readonly terminal: TerminalId;
      readonly from: number | null;
    }
  /**
   * A command with pipes, for as long as the connection lasts: hanging up ends it. The runner says `{ started: true }` or a
   * fault; data frames to it are input, JSON `{ endInput: true }` ends that; data frames from it begin with a byte of
   * `attachStreams`; `{ exit }` is its last word.
   */
  | { readonly purpose: 'exec'; readonly exec: ExecSpec }
  /** Bytes to and from a TCP port that a program of the sandbox listens at. `{ connected: true }` or a fault first. */
  | { readonly purpose: 'port'; readonly run: RunId; readonly port: number }
  /** What is recorded of a terminal as asciicast v2, in data frames; what there is by then. */
  | { readonly purpose: 'recording'; readonly run: RunId; readonly terminal: TerminalId };

export type TerminalOpening = {
  readonly size: TerminalSize;
  /** Bytes of output before the first that follows the snapshot. */
  readonly offset: number;
  readonly snapshotBytes: number;
  readonly resumed: boolean;
  /** Whether its output is being recorded; where it cannot be, nobody may be attached. */
  readonly recorded: boolean;
};

/** `by` and `recordInput` are for the recording: whose input the following data frames are, and whether it is kept. */
export type TerminalAsk =
  | { readonly ask: 'size'; readonly size: TerminalSize }
  | { readonly ask: 'author'; readonly by: ActorId; readonly recordInput: boolean };

export type TerminalTold =
  | { readonly told: 'size'; readonly size: TerminalSize }
  /** The recording can no longer be written, or can be again. */
  | { readonly told: 'recorded'; readonly recorded: boolean }
  /** The command's status byte, or null; the connection ends then. */
  | { readonly told: 'ended'; readonly code: number | null };

export type ExecStarted = { readonly started: true };
export type ExecEndInput = { readonly endInput: true };
export type ExecExit = { readonly exit: { readonly code: number } };
export type PortConnected = { readonly connected: true };

export type TerminalOrderAnswers = {
  'open-terminal': null;
  'close-terminal': null;
  terminals: readonly TerminalInfo[];
};
