import type { Command } from 'commander';
import type { CreateToken, TokenView } from '../contract/schemas.ts';
import { type Reach, reaches } from '../model/actor.ts';
import { type GrantableScope, type Role, roles, scopes } from '../model/scopes.ts';
import { asOwner } from './as-owner.ts';
import { type Context, note, print } from './context.ts';
import { UsageFailure } from './failure.ts';
import { askedLimit, collect } from './listing.ts';
import { parseDuration } from './quantities.ts';
import { resolveToken } from './resolve.ts';
import { age } from './runs.ts';
import { type Column, listFormat, renderList } from './table.ts';
import { tokenCalls } from './token-calls.ts';

type CreateFlags = {
  name?: string;
  scope?: string[];
  role?: string;
  actor?: string;
  reach?: string;
  expires?: string;
  json?: boolean;
  local?: boolean;
};
type RotateFlags = { overlap?: string; json?: boolean; local?: boolean };
type ListFlags = { output?: string; json?: boolean; limit?: string; all?: boolean; local?: boolean };

const localHelp = "use this machine's own socket, as the owner of the data folder";

export function defineTokens(program: Command, context: Context): void {
  const tokens = program
    .command('tokens')
    .summary('create, list, rotate and revoke API tokens')
    .description('API tokens.');
  defineCreate(tokens, context);
  defineRotate(tokens, context);
  tokens
    .command('ls', { isDefault: true })
    .description('Lists tokens; their secrets are kept nowhere.')
    .option('--limit <number>', 'how many at most (default: 50)')
    .option('--all', 'all there are')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .option('--local', localHelp)
    .action(async (flags: ListFlags) => await list(context, flags));
  tokens
    .command('rm')
    .description('Revokes tokens at once.')
    .argument('<token...>', 'id, beginning of an id, or name')
    .option('--local', localHelp)
    .action(async (words: string[], flags: { local?: boolean }) => {
      for (const word of words) {
        const id = await asOwner(context, flags, async (api) => {
          const calls = tokenCalls(api);
          const found = await resolveToken({ tokens: calls }, word);
          await calls.revoke(found);
          return found;
        });
        await print(context.environment, `${id}\n`);
      }
    });
}

function defineCreate(tokens: Command, context: Context): void {
  tokens
    .command('create')
    .description(
      'Creates a token and prints its secret, once, on standard output. Who may not make tokens for others makes one\n' +
        'of their own, which needs --expires. On the machine of the server the owner of the data folder needs no other\n' +
        'token: where none works, the machine’s own socket is used.',
    )
    .requiredOption('--name <name>', 'what it is for')
    .option('--scope <scope>', 'a scope it holds (repeatable)', (value, before: string[] = []) => [
      ...before,
      value,
    ])
    .option('--role <role>', `the scopes of a role: ${Object.keys(roles).join(', ')}`)
    .option(
      '--actor <actor>',
      'whom it stands for, such as user:ada or service:ci (default: you; by --local user:admin)',
    )
    .option('--reach <reach>', 'own, team or all: whose sessions and runs it reaches')
    .option('--expires <duration>', 'how long it works, such as 12h or 30d')
    .option('--json', 'print the whole answer as JSON')
    .option('--local', localHelp)
    .action(async (flags: CreateFlags) => {
      const request = tokenRequest(flags);
      const created = await asOwner(context, flags, (api) => tokenCalls(api).create(request));
      const { environment } = context;
      await print(
        environment,
        flags.json === true ? `${JSON.stringify(created, null, 2)}\n` : `${created.token}\n`,
      );
      await note(environment, `created ${created.id} for ${created.actor}; its secret is not shown again`);
    });
}

export function tokenRequest(flags: CreateFlags): CreateToken {
  const asked = new Set<string>(flags.scope ?? []);
  if (flags.role !== undefined) {
    if (!Object.hasOwn(roles, flags.role)) {
      throw new UsageFailure(`--role takes one of ${Object.keys(roles).join(', ')}, not "${flags.role}"`);
    }
    for (const scope of roles[flags.role as Role]) asked.add(scope);
  }
  if (asked.size === 0)
    throw new UsageFailure('A token needs --scope or --role', `The scopes are: ${scopes.join(', ')}`);
  const unknown = [...asked].find((scope) => !(scopes as readonly string[]).includes(scope));
  if (unknown !== undefined)
    throw new UsageFailure(`There is no scope "${unknown}"`, `The scopes are: ${scopes.join(', ')}`);
  const { reach } = flags;
  if (reach !== undefined && !isReach(reach)) throw new UsageFailure('--reach takes own, team or all');
  return {
    name: flags.name ?? '',
    scopes: [...asked] as GrantableScope[],
    ...(flags.actor === undefined ? {} : { actor: flags.actor }),
    ...(reach === undefined ? {} : { reach }),
    ...(flags.expires === undefined ? {} : { expiresInSeconds: parseDuration(flags.expires, '--expires') }),
  };
}

function isReach(text: string): text is Reach {
  return (reaches as readonly string[]).includes(text);
}

function defineRotate(tokens: Command, context: Context): void {
  tokens
    .command('rotate')
    .description(
      'Puts another secret in the place of a token’s and prints it, once, on standard output. The old secret ends\n' +
        'at once, or after --overlap. The new token lives as long as the old one was made for.',
    )
    .argument('<token>', 'id, beginning of an id, or name')
    .option('--overlap <duration>', 'how long the old secret still works, at most 24h')
    .option('--json', 'print the whole answer as JSON')
    .option('--local', localHelp)
    .action(async (word: string, flags: RotateFlags) => {
      const overlap = flags.overlap;
      const request = overlap === undefined ? {} : { overlapSeconds: parseDuration(overlap, '--overlap') };
      const made = await asOwner(context, flags, async (api) => {
        const calls = tokenCalls(api);
        return await calls.rotate(await resolveToken({ tokens: calls }, word), request);
      });
      const { environment } = context;
      const whole = `${JSON.stringify(made, null, 2)}\n`;
      await print(environment, flags.json === true ? whole : `${made.token}\n`);
      await note(environment, `${made.id} takes its place; its secret is not shown again`);
    });
}

async function list(context: Context, flags: ListFlags): Promise<void> {
  const format = listFormat(flags);
  const limit = askedLimit(flags);
  const items = await asOwner(context, flags, (api) => collect(tokenCalls(api).list, {}, limit));
  const { clock } = context.environment;
  const columns: readonly Column<TokenView>[] = [
    { title: 'TOKEN', of: (token) => token.id },
    { title: 'NAME', of: (token) => token.name },
    { title: 'ACTOR', of: (token) => token.actor },
    { title: 'REACH', of: (token) => token.reach },
    { title: 'EXPIRES', of: (token) => token.expiresAt ?? 'never' },
    {
      title: 'USED',
      of: (token) => (token.lastUsedAt === null ? 'never' : `${age(token.lastUsedAt, clock)} ago`),
    },
    { title: 'SCOPES', of: (token) => token.scopes.join(' ') },
  ];
  await print(context.environment, renderList(items, columns, format));
}
