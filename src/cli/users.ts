import type { Command } from 'commander';
import type { InvitationView, UpdateUser, UserView } from '../contract/user-schemas.ts';
import type { Api } from './api.ts';
import { asOwner } from './as-owner.ts';
import { type Context, note, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { UsageFailure } from './failure.ts';
import { askedLimit, collect } from './listing.ts';
import { parseDuration } from './quantities.ts';
import { age } from './runs.ts';
import { type Column, listFormat, renderList, renderObject } from './table.ts';
import { defineUserIdentities } from './user-identities.ts';

type Local = { local?: boolean };
type Format = Local & { output?: string; json?: boolean };
type ListFlags = Format & { limit?: string; all?: boolean; role?: string; disabled?: boolean };
type UpdateFlags = Local & { role?: string; eligible?: string[]; name?: string; email?: string };
type InviteFlags = Format & { role: string; team?: string[]; email?: string; expires?: string };

const localHelp = "use this machine's own socket, as the owner of the data folder";

export function defineUsers(program: Command, context: Context): void {
  const users = program
    .command('users')
    .summary('invite, list, change and stop people')
    .description('People who sign in.');
  defineReads(users, context);
  defineInvite(users, context);
  defineUpdate(users, context);
  defineActs(users, context);
  defineResetPassword(users, context);
  defineUserIdentities(users, context);
}

function withFormat(command: Command): Command {
  return command
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .option('--local', localHelp);
}

function defineReads(users: Command, context: Context): void {
  withFormat(
    users
      .command('ls', { isDefault: true })
      .description('Lists users.')
      .option('--role <role>', 'only those of this role')
      .option('--disabled', 'only disabled ones')
      .option('--limit <number>', 'how many at most (default: 50)')
      .option('--all', 'all there are'),
  ).action(async (flags: ListFlags) => await list(context, flags));
  withFormat(users.command('get').description('Prints one user.').argument('<name>')).action(
    async (name: string, flags: Format) => {
      const user = await asOwner(context, flags, (api) => api.users.get(name));
      await print(context.environment, renderObject(user, listFormat(flags)));
    },
  );
  withFormat(
    users.command('invitations').description('Lists invitations that can still be accepted.'),
  ).action(async (flags: Format) => {
    const items = await asOwner(context, flags, (api) => collect(api.invitations.list, {}, askedLimit({})));
    const columns: readonly Column<InvitationView>[] = [
      { title: 'INVITATION', of: ({ id }) => id },
      { title: 'NAME', of: ({ name }) => name ?? '-' },
      { title: 'ROLE', of: ({ role }) => role },
      { title: 'BY', of: ({ createdBy }) => createdBy },
      { title: 'EXPIRES', of: ({ expiresAt }) => expiresAt },
    ];
    await print(context.environment, renderList(items, columns, listFormat(flags)));
  });
}

async function list(context: Context, flags: ListFlags): Promise<void> {
  const { role, disabled } = flags;
  const query = { role, ...(disabled === true ? { phase: 'disabled' } : {}) };
  const items = await asOwner(context, flags, (api) => collect(api.users.list, query, askedLimit(flags)));
  const { clock } = context.environment;
  const columns: readonly Column<UserView>[] = [
    { title: 'NAME', of: ({ name }) => name },
    { title: 'ROLE', of: (user) => user.role },
    { title: 'PHASE', of: ({ phase }) => phase },
    { title: 'MFA', of: ({ mfa }) => (mfa ? 'yes' : 'no') },
    { title: 'TEAMS', of: ({ teams }) => teams.join(',') || '-' },
    {
      title: 'SIGNED IN',
      of: ({ lastSignInAt }) => (lastSignInAt === null ? 'never' : `${age(lastSignInAt, clock)} ago`),
    },
    { title: 'DISPLAY NAME', of: ({ displayName }) => displayName ?? '' },
  ];
  await print(context.environment, renderList(items, columns, listFormat(flags)));
}

const several = (value: string, before: string[] = []) => [...before, value];

function defineInvite(users: Command, context: Context): void {
  withFormat(
    users
      .command('invite')
      .description(
        'Invites somebody and prints the link, once, on standard output. It works once. On the machine of the server\n' +
          'the owner of the data folder needs no token: this is how the first administrator comes in.',
      )
      .argument('[name]', 'the name that it is for; where absent the invited chooses')
      .requiredOption('--role <role>', 'what the user will be, such as admin or developer')
      .option('--team <name>', 'a team it joins (repeatable)', several)
      .option('--email <address>', 'whom it is for')
      .option('--expires <duration>', 'how long the link works: at most 14d (default: 3d)'),
  ).action(async (name: string | undefined, flags: InviteFlags) => {
    const { role, team, email, expires } = flags;
    const request = {
      role,
      ...(name === undefined ? {} : { name }),
      ...(team === undefined ? {} : { teams: team }),
      ...(email === undefined ? {} : { email }),
      ...(expires === undefined ? {} : { expiresInSeconds: parseDuration(expires, '--expires') }),
    };
    const made = await asOwner(context, flags, (api) => api.invitations.create(request));
    const format = listFormat(flags);
    const { environment } = context;
    await print(environment, format === 'table' ? `${escapeLine(made.link)}\n` : renderObject(made, format));
    await note(environment, `the link works once, until ${made.expiresAt}; it is not shown again`);
  });
  users
    .command('uninvite')
    .description('Revokes invitations.')
    .argument('<invitation...>', 'ids')
    .option('--local', localHelp)
    .action(async (ids: string[], flags: Local) => {
      for (const id of ids) {
        await asOwner(context, flags, (api) => api.invitations.revoke(id));
        await print(context.environment, `${escapeLine(id)}\n`);
      }
    });
}

function defineUpdate(users: Command, context: Context): void {
  users
    .command('update')
    .description('Changes a user.')
    .argument('<name>')
    .option('--role <role>', 'what the user is from now on')
    .option('--eligible <role>', 'a role to be elevated to for a time (repeatable; none for none)', several)
    .option('--name <text>', 'how the user is called; empty for no name')
    .option('--email <address>', 'empty for no address')
    .option('--local', localHelp)
    .action(async (name: string, flags: UpdateFlags) => {
      const change = changeOf(flags);
      await asOwner(context, flags, (api) => api.users.update(name, change));
      await print(context.environment, `${escapeLine(name)}\n`);
    });
}

function changeOf({ role, eligible, name, email }: UpdateFlags): UpdateUser {
  const change = {
    ...(role === undefined ? {} : { role }),
    ...(eligible === undefined ? {} : { eligibleRoles: eligible.filter((one) => one !== 'none') }),
    ...(name === undefined ? {} : { displayName: name === '' ? null : name }),
    ...(email === undefined ? {} : { email: email === '' ? null : email }),
  };
  if (Object.keys(change).length === 0)
    throw new UsageFailure('Say what to change: --role, --eligible, --name or --email');
  return change;
}

type Act = {
  readonly word: string;
  readonly about: string;
  readonly run: (api: Api, name: string) => unknown;
};

const acts: readonly Act[] = [
  {
    word: 'disable',
    about: 'Stops users, everywhere and at once.',
    run: (api, name) => api.users.disable(name),
  },
  { word: 'enable', about: 'Lets disabled users sign in again.', run: (api, name) => api.users.enable(name) },
  {
    word: 'reset-mfa',
    about: 'Removes all second factors of users, and ends their sign-ins.',
    run: (api, name) => api.users.resetMfa(name),
  },
  { word: 'sign-out', about: 'Ends all sign-ins of users.', run: (api, name) => api.users.signOut(name) },
  {
    word: 'rm',
    about: 'Removes users for ever: nobody has their names again.',
    run: (api, name) => api.users.remove(name),
  },
];

function defineActs(users: Command, context: Context): void {
  for (const { word, about, run } of acts)
    users
      .command(word)
      .description(about)
      .argument('<name...>')
      .option('--local', localHelp)
      .action(async (names: string[], flags: Local) => {
        for (const name of names) {
          await asOwner(context, flags, async (api) => await run(api, name));
          await print(context.environment, `${escapeLine(name)}\n`);
        }
      });
  users
    .command('ticket')
    .description('Prints a ticket that signs the user in, once, within two minutes.')
    .argument('<name>')
    .option('--local', localHelp)
    .action(async (name: string, flags: Local) => {
      const { ticket } = await asOwner(context, flags, (api) => api.users.ticket(name));
      await print(context.environment, `${ticket}\n`);
    });
}

function defineResetPassword(users: Command, context: Context): void {
  withFormat(
    users
      .command('reset-password')
      .description(
        'Prints a link by which a user chooses another password, once, on standard output. It ends the one before;\n' +
          'second factors stay, and are asked for.',
      )
      .argument('<name>')
      .option('--expires <duration>', 'how long the link works: at most 24h (default: 1h)'),
  ).action(async (name: string, flags: Format & { expires?: string }) => {
    const { expires } = flags;
    const request = expires === undefined ? {} : { expiresInSeconds: parseDuration(expires, '--expires') };
    const made = await asOwner(context, flags, (api) => api.users.resetPassword(name, request));
    const format = listFormat(flags);
    const { environment } = context;
    await print(environment, format === 'table' ? `${escapeLine(made.link)}\n` : renderObject(made, format));
    await note(environment, `the link works once, until ${made.expiresAt}; it is not shown again`);
  });
}
