import type { Command } from 'commander';
import { type Context, note, print } from './context.ts';
import { connected, type Local, localHelp } from './local-way.ts';
import { parseDuration } from './quantities.ts';

export function defineAgentAuthority(agents: Command, context: Context): void {
  const authority = agents
    .command('authority')
    .summary('the authority that issues certificates to agents')
    .description('The built-in authority, which issues certificates to agents and services.');
  authority
    .command('get', { isDefault: true })
    .description('Prints the certificates that those of agents and of this server are verified with, as PEM.')
    .option('--json', 'print the whole answer as JSON, with what was revoked')
    .option('--local', localHelp)
    .action(async (flags: Local & { json?: boolean }) => {
      const found = await (await connected(context, flags)).authority.get();
      const pem = found.certificates.map(({ certificate }) => certificate).join('');
      await print(context.environment, flags.json === true ? `${JSON.stringify(found, null, 2)}\n` : pem);
    });
  authority
    .command('rotate')
    .description('Makes another key, which signs from now on.')
    .option(
      '--overlap <duration>',
      'how long what the earlier ones signed is taken (default: 30d); 0s where others may know one',
    )
    .option('--local', localHelp)
    .action(async (flags: Local & { overlap?: string }) => {
      const { overlap } = flags;
      const request = overlap === undefined ? {} : { overlapSeconds: overlapOf(overlap) };
      const made = await (await connected(context, flags)).authority.rotate(request);
      await print(context.environment, `${made.id}\n`);
      await note(context.environment, `${made.id} signs now, until ${made.expiresAt} at most`);
    });
}

function overlapOf(text: string): number {
  return /^0[smhd]?$/.test(text) ? 0 : parseDuration(text, '--overlap');
}
