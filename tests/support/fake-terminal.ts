import { PassThrough } from 'node:stream';
import type { TerminalSize } from '../../src/model/terminal.ts';
import type { PseudoTerminal } from '../../src/sandbox/terminal.ts';

/** A pseudo-terminal without a kernel: the test is its program. */
export class FakeTerminal implements PseudoTerminal {
  readonly output = new PassThrough({ highWaterMark: 64 * 1024 });
  readonly typed: Buffer[] = [];
  readonly sizes: TerminalSize[] = [];
  isEchoing = true;
  isClosed = false;
  /** Input waits for this, as for a program that does not read. */
  reading: Promise<void> = Promise.resolve();

  async write(bytes: Buffer): Promise<void> {
    await this.reading;
    this.typed.push(bytes);
  }

  resize(size: TerminalSize): void {
    this.sizes.push(size);
  }

  echoes(): boolean {
    return this.isEchoing;
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.output.end();
  }

  /** Shows text; resolves once it is taken. */
  async shows(text: string | Buffer): Promise<void> {
    if (this.output.write(text)) return;
    await new Promise<void>((resolve) => this.output.once('drain', resolve));
  }
}
