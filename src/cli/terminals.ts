import type { Command } from 'commander';
import type { TerminalView } from '../contract/attach-schemas.ts';
import type { Api } from './api.ts';
import { type Context, print } from './context.ts';
import type { Environment } from './environment.ts';
import { CliFailure } from './failure.ts';
import { showBytes, showSeconds } from './quantities.ts';
import { resolveRun } from './resolve.ts';
import { age, shortCommand } from './runs.ts';
import { type Column, listFormat, renderList } from './table.ts';

type Flags = { output?: string; json?: boolean };

export function defineTerminals(runs: Command, context: Context): void {
  runs
    .command('terminals')
    .description('Lists the terminals of a run, alive or ended, with what is recorded of them; oldest first.')
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .action(async (word: string, flags: Flags) => {
      const format = listFormat(flags);
      const api = await context.connect();
      const terminals = await api.attach.terminals(await resolveRun(api, word));
      await print(context.environment, renderList(terminals, columnsOf(context.environment.clock), format));
    });
}

function columnsOf(clock: Environment['clock']): readonly Column<TerminalView>[] {
  return [
    { title: 'TERMINAL', of: ({ id }) => id },
    { title: 'KIND', of: ({ kind }) => kind },
    { title: 'BY', of: ({ actor }) => actor },
    { title: 'SIZE', of: ({ size }) => `${size.columns}x${size.rows}` },
    { title: 'AGE', of: ({ openedAt }) => age(openedAt, clock) },
    {
      title: 'EXIT',
      of: ({ endedAt, exitCode }) => (endedAt === null ? 'live' : (exitCode?.toString() ?? '-')),
    },
    { title: 'RECORDED', of: recordedText },
    { title: 'COMMAND', of: ({ command }) => shortCommand(command) },
  ];
}

function recordedText({ recording: { seconds, bytes, complete } }: TerminalView): string {
  return `${showSeconds(seconds)}, ${showBytes(bytes)}${complete ? '' : ', parts dropped'}`;
}

/** The terminal of that id; the run's own, or its only one, where none is named. Throws CliFailure where that is none. */
export async function chooseTerminal(
  api: Api,
  run: string,
  asked: string | undefined,
): Promise<TerminalView> {
  const terminals = await api.attach.terminals(run);
  const own = terminals.filter(({ kind }) => kind === 'run');
  const [found, ...others] =
    asked === undefined
      ? own.length > 0
        ? own
        : terminals
      : terminals.filter(({ id }) => id === asked || (asked.length >= 4 && id.startsWith(asked)));
  if (found === undefined) {
    throw new CliFailure(
      asked === undefined ? `${run} has no terminal.` : `${run} has no terminal "${asked}".`,
      {
        hint:
          asked === undefined
            ? `Its output is in its log: sealwright logs ${run}. Runs have a terminal with --tty.`
            : `sealwright runs terminals ${run} lists them.`,
      },
    );
  }
  if (others.length > 0)
    throw new CliFailure(`${run} has ${others.length + 1} such terminals.`, {
      hint: `Choose one with --terminal: sealwright runs terminals ${run} lists them.`,
    });
  return found;
}
