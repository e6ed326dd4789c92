import type { Command } from 'commander';
import { type Context, print } from './context.ts';
import { listFormat, renderObject } from './table.ts';

type Flags = { output?: string; json?: boolean; local?: boolean };

export function defineWhoami(program: Command, context: Context): void {
  program
    .command('whoami')
    .description('Says who you are at the server, and what you may do there now.')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .option('--local', "use this machine's own socket, as the owner of the data folder")
    .action(async (flags: Flags) => {
      const format = listFormat(flags);
      const api = await context.connect({ local: flags.local === true });
      const who = await api.whoami();
      const { signIn, scopes, teams, ...rest } = who;
      const shown =
        format === 'table'
          ? {
              ...rest,
              scopes: scopes.join(' '),
              teams: teams.join(' '),
              signIn: signIn === null ? null : `${signIn.at}${signIn.mfa ? ', with a second factor' : ''}`,
            }
          : who;
      await print(context.environment, renderObject(shown, format));
    });
}
