import type { Command } from 'commander';
import type { RoleView } from '../contract/access-schemas.ts';
import { type Reach, reaches } from '../model/actor.ts';
import { type GrantableScope, scopes } from '../model/scopes.ts';
import { asOwner } from './as-owner.ts';
import { type Context, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { UsageFailure } from './failure.ts';
import { localHelp, type Shown, withFormat } from './shown.ts';
import { type Column, listFormat, renderList, renderObject } from './table.ts';

type PutFlags = Shown & { scope?: string[]; reach?: string; description?: string };

export function defineRoles(program: Command, context: Context): void {
  const roles = program
    .command('roles')
    .summary('say what roles may do')
    .description('Roles: named sets of scopes and how far they reach. Those that ship stay as they are.');
  withFormat(roles.command('ls', { isDefault: true }).description('Lists roles.')).action(
    async (flags: Shown) => {
      const { items } = await asOwner(context, flags, (api) => api.roles.list());
      await print(context.environment, renderList(items, columns, listFormat(flags)));
    },
  );
  withFormat(roles.command('get').description('Prints one role.').argument('<name>')).action(
    async (name: string, flags: Shown) => {
      const role = await asOwner(context, flags, (api) => api.roles.get(name));
      await print(context.environment, renderObject(role, listFormat(flags)));
    },
  );
  withFormat(
    roles
      .command('put')
      .description('Makes a role, or changes it for everybody who has it. It holds no more than you do.')
      .argument('<name>')
      .option('--scope <scope>', 'a scope it holds (repeatable)', (value, before: string[] = []) => [
        ...before,
        value,
      ])
      .requiredOption('--reach <reach>', `how far it reaches: ${reaches.join(', ')}`)
      .option('--description <text>', 'what it is for'),
  ).action(async (name: string, flags: PutFlags) => {
    const request = roleRequest(flags);
    const role = await asOwner(context, flags, (api) => api.roles.put(name, request));
    await print(context.environment, renderObject(role, listFormat(flags)));
  });
  roles
    .command('rm')
    .description('Removes roles that nobody has.')
    .argument('<name...>')
    .option('--local', localHelp)
    .action(async (names: string[], flags: { local?: boolean }) => {
      for (const name of names) {
        await asOwner(context, flags, (api) => api.roles.remove(name));
        await print(context.environment, `${escapeLine(name)}\n`);
      }
    });
}

function roleRequest({ scope = [], reach, description }: PutFlags) {
  const unknown = scope.find((name) => !(scopes as readonly string[]).includes(name));
  if (unknown !== undefined)
    throw new UsageFailure(`There is no scope "${unknown}"`, `The scopes are: ${scopes.join(', ')}`);
  if (!(reaches as readonly (string | undefined)[]).includes(reach))
    throw new UsageFailure(`--reach takes ${reaches.join(', ')}`);
  return {
    scopes: [...new Set(scope)] as GrantableScope[],
    reach: reach as Reach,
    ...(description === undefined ? {} : { description }),
  };
}

const columns: readonly Column<RoleView>[] = [
  { title: 'ROLE', of: ({ name }) => name },
  { title: 'REACH', of: ({ reach }) => reach },
  { title: 'SHIPPED', of: ({ shipped }) => (shipped ? 'yes' : 'no') },
  { title: 'SCOPES', of: (role) => role.scopes.join(' ') },
];
