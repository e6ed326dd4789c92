import type { Command } from 'commander';
import type { LinkedIdentityView } from '../contract/identity-schemas.ts';
import { asOwner } from './as-owner.ts';
import { type Context, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { type Column, listFormat, renderList } from './table.ts';

type Flags = { readonly local?: boolean; readonly output?: string; readonly json?: boolean };

const localHelp = "use this machine's own socket, as the owner of the data folder";
const subjectHelp = 'what the provider calls the person for ever: sub, or the number of a GitHub account';

/** `users identities`, `link` and `unlink`: which persons of other providers a user is. */
export function defineUserIdentities(users: Command, context: Context): void {
  users
    .command('identities')
    .description('Lists the persons of other providers that a user is.')
    .argument('<name>')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .option('--local', localHelp)
    .action(async (name: string, flags: Flags) => {
      const { items } = await asOwner(context, flags, (api) => api.users.identities(name));
      const columns: readonly Column<LinkedIdentityView>[] = [
        { title: 'PROVIDER', of: ({ provider }) => provider ?? '-' },
        { title: 'SUBJECT', of: ({ subject }) => subject },
        { title: 'ISSUER', of: ({ issuer }) => issuer },
      ];
      await print(context.environment, renderList(items, columns, listFormat(flags)));
    });
  defineChange(users, context, {
    word: 'link',
    about: 'Says that a person of another provider is this user, who then signs in there.',
  });
  defineChange(users, context, {
    word: 'unlink',
    about: 'Takes that back, and ends what the user signed in to there.',
  });
}

function defineChange(
  users: Command,
  context: Context,
  { word, about }: { word: 'link' | 'unlink'; about: string },
): void {
  users
    .command(word)
    .description(about)
    .argument('<name>')
    .argument('<provider>', 'its id in providers.yaml')
    .argument('<subject>', subjectHelp)
    .option('--local', localHelp)
    .action(async (name: string, provider: string, subject: string, flags: Flags) => {
      await asOwner(context, flags, async (api) => await api.users[word](name, { provider, subject }));
      await print(context.environment, `${escapeLine(name)}\n`);
    });
}
