import type { Readable, Writable } from 'node:stream';
import type { TerminalSize } from '../model/terminal.ts';

/**
 * A pseudo-terminal in the sandbox's own /dev/pts, from outside. The programs at its other end are hostile: nothing that
 * they write, and no state that they bring it into, may hold the caller up.
 */
export type PseudoTerminal = {
  /** What is written to it; ends when the last program that holds it is gone. While nobody reads, writers wait. */
  readonly output: Readable;
  /**
   * Types. Resolves when the kernel took all of it, the terminal is gone or the signal aborts: what is not read in there
   * waits, and what the kernel has not taken by then is dropped.
   */
  write(bytes: Buffer, signal?: AbortSignal): Promise<void>;
  resize(size: TerminalSize): void;
  /** Whether what is typed is shown; false while a program asks for a password. */
  echoes(): boolean;
  /** Hangs up: its programs get SIGHUP. Nothing where that was done. */
  close(): void;
};

export type ExecRequest = {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Absolute, in the sandbox. */
  readonly cwd: string;
  /** A terminal of this size, or null for pipes. */
  readonly terminal: TerminalSize | null;
};

/** A command beside the sandbox's own, behind the same walls and within the same limits. */
export type SandboxExec = {
  /** Null where it has pipes; then the three are its pipes. With a terminal `stdin` is null and the others are empty. */
  readonly terminal: PseudoTerminal | null;
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** The command's status byte. Settles, too, when the sandbox ends under it; never rejects. */
  readonly ended: Promise<{ readonly status: number }>;
  /** SIGKILL to the command; what it started and left to itself ends with the sandbox. */
  kill(): void;
};
