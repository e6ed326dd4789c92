import type { Api } from './api.ts';
import type { Environment } from './environment.ts';
import { escapeLine, escapeText } from './escape.ts';

/** What a command gets. `status` is what the program ends with when the command returns. */
export type Context = {
  readonly environment: Environment;
  /** The server of the flags, the environment or the profile; `local` is this machine's own socket. */
  connect(options?: { local?: boolean }): Promise<Api>;
  /** Where `connect` goes. */
  describeTarget(): Promise<{
    readonly url: string;
    readonly profile: string | null;
    readonly token: boolean;
  }>;
  /** Whether that is the server behind this machine's own socket; false where either does not answer. */
  isHere(): Promise<boolean>;
  /** The data folder of a server on this machine. */
  dataFolder(): Promise<string>;
  readonly version: string;
  verbose: boolean;
  status: number;
};

/** One line for people on standard error; control characters are escaped. */
export async function note(environment: Environment, text: string): Promise<void> {
  await environment.stderr.write(`sealwright: ${escapeLine(text)}\n`);
}

export async function print(environment: Environment, text: string): Promise<void> {
  await environment.stdout.write(text);
}

/** Text of unknown origin for standard output: as it is for a pipe, escaped on a terminal. */
export async function printUntrusted(environment: Environment, text: string): Promise<void> {
  await environment.stdout.write(environment.stdout.isTerminal ? escapeText(text) : text);
}
