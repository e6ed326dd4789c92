import type { Command } from 'commander';

/** How a command shows what it got, and whom it asks. */
export type Shown = { output?: string; json?: boolean; local?: boolean };

export const localHelp = "use this machine's own socket, as the owner of the data folder";

/** The options of `Shown`. */
export function withFormat(command: Command): Command {
  return command
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .option('--local', localHelp);
}
