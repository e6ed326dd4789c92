import type { Clock } from '../base/clock.ts';
import type { TerminalSize } from '../model/terminal.ts';

/**
 * Where bytes for people or pipes go. `write` resolves once the kernel has taken every byte, so a reader that
 * stalls holds back the writer and nothing piles up; it rejects with `OutputClosed` when the reader is gone.
 */
export type Output = {
  write(bytes: Uint8Array | string): Promise<void>;
  readonly isTerminal: boolean;
  /** Columns of the terminal; 80 where unknown. */
  readonly columns: number;
  /** Whether colour is welcome: a terminal, and no `NO_COLOR`. */
  readonly colour: boolean;
};

/** The reader of an output has gone away (EPIPE); the program ends without a word. */
export class OutputClosed extends Error {
  constructor() {
    super('the reader of the output is gone');
    this.name = 'OutputClosed';
  }
}

/** Where bytes come from. */
export type Input = {
  readonly isTerminal: boolean;
  /** As they come; nothing is read before the first is asked for. Leaving it ends reading for good. */
  read(): AsyncIterable<Uint8Array>;
};

/** The terminal that the program was started in. */
export type UserTerminal = {
  size(): TerminalSize;
  /** Calls `handler` at each change of size until the returned function is called. */
  onResize(handler: () => void): () => void;
  /**
   * Takes every key as it is, Ctrl-C too, until the returned function is called. Whatever ends the program ends that, but
   * for KILL, and writes what `back` says. `gone` is called where the terminal goes away.
   */
  raw(handlers: { keys(bytes: Uint8Array): void; gone(): void; back(): string }): () => void;
};

/** Everything a command may know of the process it runs in. Only `main/cli.ts` makes one from the real process. */
export type Environment = {
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** The user's home folder. */
  readonly home: string;
  readonly temporary: string;
  /** Numeric user id; null where the system has none (Windows). */
  readonly uid: number | null;
  readonly platform: NodeJS.Platform;
  /** The words that start this program again, for what starts it by itself: its path, absolute. */
  readonly program: readonly string[];
  readonly stdout: Output;
  readonly stderr: Output;
  readonly stdin: Input;
  /** Null where standard input or output is none. */
  readonly terminal: UserTerminal | null;
  /** Asks on the terminal; null when nobody can answer because stdin or stderr is not a terminal. */
  ask(question: string): Promise<string | null>;
  /** All of standard input as text. Rejects with RangeError where it is longer than that. */
  readInput(charactersMax: number): Promise<string>;
  /**
   * Calls `handler` at each Ctrl-C, TERM or HUP until the returned function is called. After the first one the
   * default takes over again, so that a second one ends the process at once.
   */
  onInterrupt(handler: (signal: NodeJS.Signals) => void): () => void;
  readonly clock: Clock;
};
