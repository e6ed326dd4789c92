import type { Command } from 'commander';
import type { SigningKeyView } from '../contract/oauth-schemas.ts';
import { asOwner } from './as-owner.ts';
import { type Context, print } from './context.ts';
import { type Column, listFormat, renderList } from './table.ts';

type ListFlags = { output?: string; json?: boolean; local?: boolean };
type RotateFlags = { compromised?: boolean; local?: boolean };

const localHelp = "use this machine's own socket, as the owner of the data folder";

export function defineKeys(program: Command, context: Context): void {
  const keys = program
    .command('keys')
    .summary('list and rotate the keys that sign access tokens')
    .description('The keys that sign access tokens.');
  keys
    .command('ls', { isDefault: true })
    .description('Lists the keys that verify now, the newest first.')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .option('--local', localHelp)
    .action(async (flags: ListFlags) => {
      const format = listFormat(flags);
      const { items } = await asOwner(context, flags, (api) => api.keys.list());
      const columns: readonly Column<SigningKeyView>[] = [
        { title: 'KEY', of: (key) => key.id },
        { title: 'ALGORITHM', of: (key) => key.algorithm },
        { title: 'MADE', of: (key) => key.createdAt },
        { title: 'SIGNS', of: (key) => (key.retiredAt === null ? 'yes' : `until ${key.retiredAt}`) },
        { title: 'VERIFIES', of: (key) => (key.expiresAt === null ? 'yes' : `until ${key.expiresAt}`) },
      ];
      await print(context.environment, renderList([...items], columns, format));
    });
  keys
    .command('rotate')
    .description('Signs with another key from now on. What was signed before works on until it is over.')
    .option('--compromised', 'others may know the key: end it, and all that it signed, at once')
    .option('--local', localHelp)
    .action(async (flags: RotateFlags) => {
      const compromised = flags.compromised === true;
      const key = await asOwner(context, flags, (api) => api.keys.rotate({ compromised }));
      await print(context.environment, `${key.id}\n`);
    });
}
