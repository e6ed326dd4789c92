import type { Command } from 'commander';
import type { Context } from './context.ts';
import { UsageFailure } from './failure.ts';
import { byteSink, followLog, jsonSink } from './follow.ts';
import { createProgress } from './progress.ts';
import { resolveRun } from './resolve.ts';

type Flags = { follow?: boolean; stream?: string; json?: boolean };

export function defineLogs(program: Command, context: Context): void {
  program
    .command('logs')
    .summary('print the output of a run')
    .description('Prints what a run wrote: its stdout on stdout, its stderr on stderr, byte for byte.')
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .option('-f, --follow', 'go on until the run has ended')
    .option('--stream <name>', 'only stdout or stderr')
    .option('--json', 'write one JSON object a line: step, stdout, stderr, dropped, end')
    .action(async (word: string, flags: Flags) => await logs(context, word, flags));
}

async function logs(context: Context, word: string, flags: Flags): Promise<void> {
  const { environment } = context;
  const { stream } = flags;
  if (stream !== undefined && stream !== 'stdout' && stream !== 'stderr') {
    throw new UsageFailure('--stream takes stdout or stderr');
  }
  const api = await context.connect();
  const run = await resolveRun(api, word);
  const progress = createProgress(environment, context.verbose);
  const sink = flags.json === true ? jsonSink(environment) : byteSink(environment, progress);
  await followLog(api, run, { follow: flags.follow === true, stream }, sink);
  await progress.clear();
}
