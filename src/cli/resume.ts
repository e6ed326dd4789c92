import type { Command } from 'commander';
import { type Context, print } from './context.ts';
import { createProgress } from './progress.ts';
import { resolveRun } from './resolve.ts';
import { watchRun } from './watch-run.ts';

type Flags = { name?: string; detach?: boolean; json?: boolean; verbose?: boolean };

export function defineResume(program: Command, context: Context): void {
  program
    .command('resume')
    .summary('make a new run that goes on where another ended')
    .description(
      'Makes a new run in the same session with the settings of another, whose child it is. The exit status is\n' +
        "the new command's own, as with run.",
    )
    .usage('[options] RUN [--] [COMMAND [ARG…]]')
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .argument('[command...]', 'another command, after --; the same one where it is left out')
    .option('--name <name>', 'a name to find the run by')
    .option('-d, --detach', 'print the id of the run and leave it running')
    .option('--json', 'write one JSON object a line')
    .option('-v, --verbose', 'say each step on standard error')
    .action(async (word: string, command: string[], flags: Flags) => {
      context.verbose ||= flags.verbose === true;
      context.status = await resume(context, word, command, flags);
    });
}

async function resume(context: Context, word: string, words: string[], flags: Flags): Promise<number> {
  const { environment } = context;
  const api = await context.connect();
  const made = await api.runs.resume(await resolveRun(api, word), {
    ...(words.length === 0 ? {} : { command: words }),
    ...(flags.name === undefined ? {} : { name: flags.name }),
  });
  if (flags.detach === true) {
    await print(
      environment,
      `${flags.json === true ? JSON.stringify({ event: 'run', run: made }) : made.id}\n`,
    );
    return 0;
  }
  const progress = createProgress(environment, context.verbose);
  const { signal: interrupted } = new AbortController();
  return await watchRun(context, api, made, { json: flags.json === true, progress, interrupted });
}
