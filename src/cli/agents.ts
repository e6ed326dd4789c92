import type { Command } from 'commander';
import type { AgentView, CreateAgent, UpdateAgent } from '../contract/agents-schemas.ts';
import { agentRoles, type GrantableScope, scopes } from '../model/scopes.ts';
import { defineAgentAuthority } from './agent-authority.ts';
import { defineAgentCredentials } from './agent-credentials.ts';
import { type Context, note, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { UsageFailure } from './failure.ts';
import { askedLimit, collect } from './listing.ts';
import { connected, type Local, localHelp } from './local-way.ts';
import { age } from './runs.ts';
import { type Column, listFormat, renderList, renderObject } from './table.ts';

type Format = { output?: string; json?: boolean };
type CreateFlags = Local & {
  role?: string;
  owner?: string;
  displayName?: string;
  scope?: string[];
  egress?: string[];
  json?: boolean;
};
type UpdateFlags = CreateFlags & { scopes?: false };
type ListFlags = Format & Local & { limit?: string; all?: boolean; owner?: string };

export function defineAgents(program: Command, context: Context): void {
  const agents = program
    .command('agents')
    .summary('make, stop and look after agents and services')
    .description(
      'Agents and services: machines with an identity, an owner and a role of their own. An id is agent:<name> or\n' +
        'service:<name>, and for good: a name is never given again.',
    );
  defineReads(agents, context);
  defineCreate(agents, context);
  defineUpdate(agents, context);
  defineEnds(agents, context);
  defineAgentCredentials(agents, context);
  defineAgentAuthority(agents, context);
}

function defineReads(agents: Command, context: Context): void {
  agents
    .command('ls', { isDefault: true })
    .description('Lists agents and services.')
    .option('--owner <owner>', 'those of this user, such as user:ada')
    .option('--limit <number>', 'how many at most (default: 50)')
    .option('--all', 'all there are')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .option('--local', localHelp)
    .action(async (flags: ListFlags) => await list(context, flags));
  agents
    .command('get')
    .description('Prints one agent or service.')
    .argument('<agent>')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .option('--local', localHelp)
    .action(async (id: string, flags: Format & Local) => {
      const agent = await (await connected(context, flags)).agents.get(id);
      const format = listFormat(flags);
      const egress = agent.egress?.join(' ') ?? 'any';
      const shown = { ...agent, scopes: agent.scopes.join(' '), egress };
      await print(context.environment, renderObject(format === 'table' ? shown : agent, format));
    });
}

function defineCreate(agents: Command, context: Context): void {
  withRights(
    agents
      .command('create')
      .description('Makes an agent or service. Give it a credential next: sealwright agents credentials.')
      .argument('<agent>', 'agent:<name> or service:<name>')
      .requiredOption('--role <role>', `${agentRoles.join(', ')}, or a role of your own`),
  ).action(async (id: string, flags: CreateFlags) => {
    const request = agentRequest(id, flags);
    const made = await (await connected(context, flags)).agents.create(request);
    await show(context, made, flags);
  });
}

function defineUpdate(agents: Command, context: Context): void {
  withRights(
    agents
      .command('update')
      .description('Changes an agent or service. What is not named stays as it is.')
      .argument('<agent>')
      .option('--role <role>', `${agentRoles.join(', ')}, or a role of your own`)
      .option('--no-scopes', 'none beyond those of its role'),
  ).action(async (id: string, flags: UpdateFlags) => {
    if (flags.scopes === false && flags.scope !== undefined)
      throw new UsageFailure('--scope and --no-scopes do not go together', 'Leave one of them out');
    const change: UpdateAgent = {
      ...rightsOf(flags),
      ...(flags.role === undefined ? {} : { role: flags.role }),
      ...(flags.scopes === false ? { scopes: [] } : {}),
    };
    if (Object.keys(change).length === 0) throw new UsageFailure('Say what to change, such as --role worker');
    await show(context, await (await connected(context, flags)).agents.update(id, change), flags);
  });
}

function withRights(command: Command): Command {
  return command
    .option(
      '--scope <scope>',
      'a scope beyond those of its role (repeatable)',
      (value, before: string[] = []) => [...before, value],
    )
    .option(
      '--egress <name>',
      'a preset or policy that its runs may name, and no others (repeatable); any or none alone',
      (value, before: string[] = []) => [...before, value],
    )
    .option('--owner <owner>', 'whose it is, such as user:ada (default: you)')
    .option('--display-name <name>', 'what people call it')
    .option('--json', 'print the whole answer as JSON')
    .option('--local', localHelp);
}

function defineEnds(agents: Command, context: Context): void {
  const each = (name: 'disable' | 'enable' | 'rm', description: string) =>
    agents
      .command(name)
      .description(description)
      .argument('<agent...>')
      .option('--local', localHelp)
      .action(async (ids: string[], flags: Local) => {
        const { agents: calls } = await connected(context, flags);
        for (const id of ids) {
          await (name === 'rm' ? calls.remove(id) : calls[name](id));
          await print(context.environment, `${escapeLine(id)}\n`);
        }
      });
  each('disable', 'Stops agents at once: nothing that they have works any more.');
  each('enable', 'Lets disabled agents act again.');
  each('rm', 'Removes agents with their credentials, for good.');
}

/** Throws UsageFailure for an id or scope that is none. */
export function agentRequest(id: string, flags: CreateFlags): CreateAgent {
  const [, kind, name] = /^(agent|service):(.+)$/s.exec(id) ?? [];
  if (kind === undefined || name === undefined)
    throw new UsageFailure(`"${id}" is no id`, 'An id is agent:<name> or service:<name>.');
  return { kind: kind as CreateAgent['kind'], name, role: flags.role ?? '', ...rightsOf(flags) };
}

function rightsOf({ scope, owner, displayName, egress }: CreateFlags) {
  const known: readonly string[] = scopes;
  const unknown = scope?.find((each) => !known.includes(each));
  if (unknown !== undefined)
    throw new UsageFailure(`There is no scope "${unknown}"`, `The scopes are: ${scopes.join(', ')}`);
  return {
    ...(scope === undefined ? {} : { scopes: scope as GrantableScope[] }),
    ...(egress === undefined ? {} : { egress: keptEgress(egress) }),
    ...(owner === undefined ? {} : { owner: owner as `user:${string}` }),
    ...(displayName === undefined ? {} : { displayName }),
  };
}

/** Null for any. */
function keptEgress(names: string[]): string[] | null {
  const [first] = names;
  if (first !== 'any' && first !== 'none') return names;
  if (names.length > 1) throw new UsageFailure(`--egress ${first} does not go with another --egress`);
  return first === 'any' ? null : [];
}

async function show(context: Context, agent: AgentView, { json }: { json?: boolean }): Promise<void> {
  const { environment } = context;
  if (json === true) return await print(environment, `${JSON.stringify(agent, null, 2)}\n`);
  await print(environment, `${escapeLine(agent.id)}\n`);
  await note(environment, `${agent.id} is ${agent.role}, of ${agent.owner}`);
}

async function list(context: Context, flags: ListFlags): Promise<void> {
  const format = listFormat(flags);
  const limit = askedLimit(flags);
  const api = await connected(context, flags);
  const query = flags.owner === undefined ? {} : { owner: flags.owner };
  const items = await collect(api.agents.list, query, limit);
  const { clock } = context.environment;
  const columns: readonly Column<AgentView>[] = [
    { title: 'AGENT', of: ({ id }) => id },
    { title: 'NAME', of: ({ displayName }) => displayName ?? '-' },
    { title: 'OWNER', of: ({ owner }) => owner },
    { title: 'ROLE', of: ({ role }) => role },
    { title: 'PHASE', of: ({ phase }) => phase },
    { title: 'EGRESS', of: ({ egress }) => (egress === null ? 'any' : egress.join(' ') || 'none') },
    { title: 'AGE', of: ({ createdAt }) => age(createdAt, clock) },
    { title: 'SCOPES', of: (agent) => agent.scopes.join(' ') || '-' },
  ];
  await print(context.environment, renderList(items, columns, format));
}
