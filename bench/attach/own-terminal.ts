import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { openTerminal, setTerminalSize, terminalNumber } from '../../src/base/pty.ts';

/** A command in a pseudo-terminal of this host, with nothing between: the floor under every figure. */
export type OwnTerminal = {
  readonly child: ChildProcess;
  readonly output: ReadStream;
  type(bytes: Buffer): void;
};

export function ownTerminal(command: readonly string[]): OwnTerminal {
  const fd = openTerminal('/dev/ptmx');
  setTerminalSize(fd, { columns: 80, rows: 24 });
  const inside = openSync(`/dev/pts/${terminalNumber(fd)}`, constants.O_RDWR | constants.O_NOCTTY);
  const child = spawn('setsid', ['-c', ...command], { stdio: [inside, inside, inside] });
  closeSync(inside);
  const output = new ReadStream(fd);
  // That its programs are gone is an error of the read (pty(7), EIO).
  output.on('error', () => undefined);
  return { child, output, type: (bytes) => void writeSync(fd, bytes) };
}
