import type { Command } from 'commander';
import { type Context, print } from './context.ts';
import { resolveRun } from './resolve.ts';

export function defineStop(program: Command, context: Context): void {
  program
    .command('stop')
    .summary('stop runs, keeping their logs and changes')
    .description(
      'Stops runs: TERM, then KILL. History, logs and changes are kept. A finished run stays as it is.',
    )
    .argument('<run...>', 'id, beginning of an id, name, or "latest"')
    .action(async (words: string[]) => {
      const api = await context.connect();
      for (const word of words) {
        const { id } = await api.runs.stop(await resolveRun(api, word));
        await print(context.environment, `${id}\n`);
      }
    });
}
