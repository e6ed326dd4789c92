import type { Duplex, Readable, Writable } from 'node:stream';
import type { CreateExec } from '../../contract/attach-schemas.ts';
import type { TerminalSize } from '../../model/terminal.ts';

/** A command in the sandbox while it runs. With a terminal `stdout` is all that it shows, and `stderr` is empty. */
export type SandboxCommand = {
  /** Ending it is the end of the command's input; of a terminal it is never ended. */
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  resize(size: TerminalSize): void;
  /** Rejects, with words for the person at the other end, where the connection ends before the command. */
  readonly exit: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  /** Hangs up, which ends the command. */
  close(): void;
};

/**
 * The one way that SSH has into a sandbox. Every call is decided and recorded by the server, with the credential of the
 * command line; a refusal rejects, in words for the person at the other end.
 */
export type SandboxAccess = {
  exec(request: CreateExec): Promise<SandboxCommand>;
  /** A connection to a port of the sandbox's loopback interface. */
  connect(port: number): Promise<Duplex>;
};
