import type { Command } from 'commander';
import type { RunView } from '../contract/schemas.ts';
import { runPhases } from '../model/run.ts';
import { type Context, print } from './context.ts';
import type { Environment } from './environment.ts';
import { UsageFailure } from './failure.ts';
import { askedLimit, collect } from './listing.ts';
import { showSeconds } from './quantities.ts';
import { resolveSession } from './resolve.ts';
import { type Column, listFormat, renderList } from './table.ts';
import { defineTerminals } from './terminals.ts';

type Flags = {
  output?: string;
  json?: boolean;
  session?: string;
  phase?: string;
  name?: string;
  limit?: string;
  all?: boolean;
};

export function defineRuns(program: Command, context: Context): void {
  const command = program
    .command('runs')
    .alias('ps')
    .summary('list runs and their terminals')
    .description('Runs, newest first.');
  defineTerminals(command, context);
  command
    .command('ls', { isDefault: true })
    .description('Lists runs, newest first.')
    .option('--session <name>', 'only those of this session')
    .option('--phase <phase>', `only those in this phase: ${runPhases.join(', ')}`)
    .option('--name <name>', 'only those of this name')
    .option('--limit <number>', 'how many at most (default: 50)')
    .option('--all', 'all there are')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .action(async (flags: Flags) => {
      const format = listFormat(flags);
      if (flags.phase !== undefined && !runPhases.some((phase) => phase === flags.phase)) {
        throw new UsageFailure(`--phase takes one of ${runPhases.join(', ')}`);
      }
      const limit = askedLimit(flags);
      const api = await context.connect();
      const session = flags.session === undefined ? undefined : await resolveSession(api, flags.session);
      const runs = await collect(api.runs.list, { session, phase: flags.phase, name: flags.name }, limit);
      await print(context.environment, renderList(runs, runColumns(context.environment.clock), format));
    });
}

export function runColumns(clock: Environment['clock']): readonly Column<RunView>[] {
  return [
    { title: 'RUN', of: (run) => run.id },
    { title: 'NAME', of: (run) => run.name ?? '-' },
    { title: 'SESSION', of: (run) => run.session },
    {
      title: 'PHASE',
      of: (run) => (run.cause === null || run.cause === 'exit' ? run.phase : `${run.phase} (${run.cause})`),
    },
    { title: 'EXIT', of: (run) => run.signal ?? run.exitCode?.toString() ?? '-' },
    { title: 'AGE', of: (run) => age(run.createdAt, clock) },
    { title: 'COMMAND', of: (run) => shortCommand(run.command) },
  ];
}

export function age(time: string, clock: Environment['clock']): string {
  return showSeconds((clock.now() - Date.parse(time)) / 1000);
}

/** A command for a list: quoted where a word has blanks, cut at 60 characters. */
export function shortCommand(words: readonly string[]): string {
  let text = '';
  for (const word of words) {
    text += `${text === '' ? '' : ' '}${/^[^\s"'\\]+$/.test(word) ? word : JSON.stringify(word)}`;
    if (text.length > 60) return `${[...text].slice(0, 59).join('')}…`;
  }
  return text;
}
