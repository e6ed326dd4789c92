/** The addon's own types are those of browsers, which would become types of every file of the server. */
declare module '@xterm/addon-serialize/lib/addon-serialize.mjs' {
  import type { ITerminalAddon } from '@xterm/headless';

  export class SerializeAddon implements ITerminalAddon {
    activate(terminal: unknown): void;
    dispose(): void;
    /** What redraws the terminal: lines behind the screen, the screen, modes and the cursor. */
    serialize(): string;
  }
}
