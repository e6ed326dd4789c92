import { SerializeAddon } from '@xterm/addon-serialize/lib/addon-serialize.mjs';
import headless, { type Terminal } from '@xterm/headless';
import type { TerminalSize } from '../../model/terminal.ts';

/** A terminal in memory, by which a recording can be shown from anywhere on. */
export class CastModel {
  readonly #terminal: Terminal;
  readonly #serialize = new SerializeAddon();

  constructor({ columns, rows }: TerminalSize) {
    this.#terminal = new headless.Terminal({ cols: columns, rows, scrollback: 0, allowProposedApi: true });
    this.#terminal.loadAddon(this.#serialize);
  }

  async write(text: string): Promise<void> {
    await new Promise<void>((resolve) => this.#terminal.write(text, resolve));
  }

  resize({ columns, rows }: TerminalSize): void {
    this.#terminal.resize(columns, rows);
  }

  /** What draws its screen on a clear one. */
  picture(): string {
    return this.#serialize.serialize();
  }
}
