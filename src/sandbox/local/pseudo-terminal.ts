import { chownSync, closeSync, writeSync } from 'node:fs';
import { Readable } from 'node:stream';
import { ReadStream } from 'node:tty';
import { hasEnded } from '../../base/libc.ts';
import { hidesInput, openTerminal, setTerminalSize, terminalNumber } from '../../base/pty.ts';
import type { TerminalSize } from '../../model/terminal.ts';
import type { PseudoTerminal } from '../terminal.ts';
import { localLimits } from './limits.ts';
import { unavailable } from './starting.ts';

/**
 * A new terminal of the sandbox's own /dev/pts, for the uid of its session, and how its programs call it. Nothing on
 * the way there is the workload's to replace: the sandbox's root and /dev are read-only, and in a devpts nobody makes
 * or renames anything. Throws Fault `sandbox.unavailable`, so where the sandbox has ended and where the host's terminals
 * are used up.
 */
export function openSandboxTerminal(
  { initPid, initFd }: { readonly initPid: number; readonly initFd: number },
  uid: number | null,
  size: TerminalSize,
): { readonly terminal: PseudoTerminal; readonly device: string } {
  const folder = `/proc/${initPid}/root/dev/pts`;
  let fd: number | null = null;
  try {
    fd = openTerminal(`${folder}/ptmx`);
    const name = String(terminalNumber(fd));
    if (uid !== null) chownSync(`${folder}/${name}`, uid, uid);
    setTerminalSize(fd, size);
    // While the process lives its number means it, so it did when the terminal was opened.
    if (hasEnded(initFd)) throw new Error('the sandbox has ended');
    return { terminal: new MasterSide(fd), device: `/dev/pts/${name}` };
  } catch (error) {
    if (fd !== null) closeSync(fd);
    const why = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    throw unavailable(`A terminal of the sandbox could not be opened (${why})`, error);
  }
}

/** The side of a terminal that is not its programs'. */
class MasterSide implements PseudoTerminal {
  readonly output: Readable;
  readonly #fd: number;
  readonly #tty: ReadStream;
  #isOpen = true;
  #typing: Promise<void> = Promise.resolve();
  /** Wakes who waits for room. */
  #wake: () => void = () => undefined;

  constructor(fd: number) {
    this.#fd = fd;
    const tty = new ReadStream(fd);
    this.#tty = tty;
    const output = new Readable({
      read: () => {
        tty.resume();
      },
      destroy: (error, done) => {
        this.close();
        done(error);
      },
    });
    tty.on('data', (bytes) => {
      if (!output.push(bytes)) tty.pause();
    });
    // That its programs are gone is an error of the read (pty(7), EIO) and not its end.
    tty.on('error', () => this.close());
    tty.on('close', () => {
      this.#shut();
      output.push(null);
    });
    this.output = output;
  }

  write(bytes: Buffer, signal?: AbortSignal): Promise<void> {
    this.#typing = this.#typing.then(() => this.#type(bytes, signal));
    return this.#typing;
  }

  resize(size: TerminalSize): void {
    if (this.#isOpen) setTerminalSize(this.#fd, size);
  }

  echoes(): boolean {
    return !this.#isOpen || !hidesInput(this.#fd);
  }

  close(): void {
    this.#shut();
    this.#tty.destroy();
  }

  /** From here on the number may come to mean another file. */
  #shut(): void {
    this.#isOpen = false;
    this.#wake();
  }

  /** There is no event for room in a terminal that is only read here, so it is tried again, less and less often. */
  async #type(bytes: Buffer, signal?: AbortSignal): Promise<void> {
    let waitMs: number = localLimits.typeFirstMs;
    for (let at = 0; this.#isOpen && signal?.aborted !== true && at < bytes.length; ) {
      const taken = takenOf(this.#fd, bytes.subarray(at, at + localLimits.typeBytes));
      if (taken === null) return this.close();
      at += taken;
      waitMs = taken > 0 ? localLimits.typeFirstMs : Math.min(waitMs * 2, localLimits.typeMostMs);
      if (at < bytes.length) await this.#room(taken > 0 ? 0 : waitMs);
    }
  }

  #room(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, waitMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** How much the kernel took; null where the terminal is gone. */
function takenOf(fd: number, bytes: Buffer): number | null {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN') return 0;
    if (code === 'EIO') return null;
    throw error;
  }
}
