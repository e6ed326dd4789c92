import type { Command } from 'commander';
import { ApiError } from '../client/api-error.ts';
import type { TeamView } from '../contract/access-schemas.ts';
import { type ActorId, parseActorId } from '../model/actor.ts';
import type { Api } from './api.ts';
import { asOwner } from './as-owner.ts';
import { type Context, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { UsageFailure } from './failure.ts';
import { askedLimit, collect } from './listing.ts';
import { localHelp, type Shown, withFormat } from './shown.ts';
import { type Column, listFormat, renderList, renderObject } from './table.ts';

type ListFlags = Shown & { limit?: string; all?: boolean };
type PutFlags = Shown & { member?: string[]; description?: string };

export function defineTeams(program: Command, context: Context): void {
  const teams = program
    .command('teams')
    .summary('say who shares what')
    .description('Teams: their members reach what is shared with them, where their role reaches its teams.');
  defineReads(teams, context);
  defineChanges(teams, context);
}

function defineReads(teams: Command, context: Context): void {
  withFormat(
    teams
      .command('ls', { isDefault: true })
      .description('Lists teams.')
      .option('--limit <number>', 'how many at most (default: 50)')
      .option('--all', 'all there are'),
  ).action(async (flags: ListFlags) => {
    const limit = askedLimit(flags);
    const items = await asOwner(context, flags, (api) => collect(api.teams.list, {}, limit));
    await print(context.environment, renderList(items, columns, listFormat(flags)));
  });
  withFormat(teams.command('get').description('Prints one team.').argument('<name>')).action(
    async (name: string, flags: Shown) => await show(context, flags, (api) => api.teams.get(name)),
  );
}

function defineChanges(teams: Command, context: Context): void {
  withFormat(
    teams
      .command('put')
      .description('Makes a team, or replaces its members.')
      .argument('<name>')
      .option('--member <actor>', 'such as user:ada (repeatable)', (value, before: string[] = []) => [
        ...before,
        value,
      ])
      .option('--description <text>', 'what it is for'),
  ).action(async (name: string, flags: PutFlags) => {
    const { member = [], description } = flags;
    const members = [...new Set(member.map(actorOf))];
    const request = { members, ...(description === undefined ? {} : { description }) };
    await show(context, flags, (api) => api.teams.put(name, request));
  });
  withFormat(
    teams
      .command('add')
      .description('Makes actors members; makes the team where there is none.')
      .argument('<name>')
      .argument('<actor...>'),
  ).action(async (name: string, actors: string[], flags: Shown) => {
    const members = actors.map(actorOf);
    await show(context, flags, async (api) => {
      let team = await ensured(api, name);
      for (const member of members) team = await api.teams.addMember(name, member);
      return team;
    });
  });
  withFormat(
    teams
      .command('remove')
      .description('Takes actors out of a team.')
      .argument('<name>')
      .argument('<actor...>'),
  ).action(async (name: string, actors: string[], flags: Shown) => {
    const members = actors.map(actorOf);
    await show(context, flags, async (api) => {
      let team = await api.teams.get(name);
      for (const member of members) team = await api.teams.removeMember(name, member);
      return team;
    });
  });
  teams
    .command('rm')
    .description('Removes teams; what they shared stays its owners’.')
    .argument('<name...>')
    .option('--local', localHelp)
    .action(async (names: string[], flags: { local?: boolean }) => {
      for (const name of names) {
        await asOwner(context, flags, (api) => api.teams.remove(name));
        await print(context.environment, `${escapeLine(name)}\n`);
      }
    });
}

async function show(context: Context, flags: Shown, call: (api: Api) => Promise<TeamView>): Promise<void> {
  const team = await asOwner(context, flags, call);
  await print(context.environment, renderObject(team, listFormat(flags)));
}

async function ensured(api: Api, name: string): Promise<TeamView> {
  try {
    return await api.teams.get(name);
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 'resource.absent') throw error;
    return await api.teams.put(name, { members: [] });
  }
}

function actorOf(text: string): ActorId {
  const actor = parseActorId(text);
  if (actor === null)
    throw new UsageFailure(`"${text}" is nobody`, 'Name user:<name>, agent:<name> or service:<name>.');
  return actor;
}

const columns: readonly Column<TeamView>[] = [
  { title: 'TEAM', of: ({ name }) => name },
  { title: 'DESCRIPTION', of: ({ description }) => description ?? '-' },
  { title: 'MEMBERS', of: ({ members }) => members.join(' ') },
];
