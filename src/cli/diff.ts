import type { Command } from 'commander';
import type { Context } from './context.ts';
import { colourPatch } from './patch-text.ts';
import { resolveRun } from './resolve.ts';

export function defineDiff(program: Command, context: Context): void {
  program
    .command('diff')
    .summary('print what a run changed, as a patch')
    .description(
      'Prints the patch of what a run changed in its workspace against what was uploaded or cloned, for\n' +
        'git apply. To a pipe or file it is written byte for byte; on a terminal control characters are escaped.',
    )
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .action(async (word: string) => {
      const { stdout } = context.environment;
      const api = await context.connect();
      const { body } = await api.runs.diff(await resolveRun(api, word));
      if (stdout.isTerminal) {
        for await (const text of colourPatch(body, stdout.colour)) await stdout.write(text);
      } else {
        for await (const chunk of body) await stdout.write(chunk);
      }
    });
}
