import type { Command } from 'commander';
import type { SessionView } from '../contract/schemas.ts';
import { sessionPhases } from '../model/session.ts';
import { defineAttachControl } from './attach-control.ts';
import { type Context, print } from './context.ts';
import { UsageFailure } from './failure.ts';
import { askedLimit, collect } from './listing.ts';
import { resolveSession } from './resolve.ts';
import { gather } from './run.ts';
import { egressRequest } from './run-options.ts';
import { age } from './runs.ts';
import { type Column, listFormat, renderList } from './table.ts';

type CreateFlags = { egress?: string[]; reason?: string; team?: string; json?: boolean };
type Flags = { output?: string; json?: boolean; phase?: string; limit?: string; all?: boolean };

export function defineSessions(program: Command, context: Context): void {
  const sessions = program
    .command('sessions')
    .summary('make, list, rename and remove sessions')
    .description('Sessions: durable workspaces in which runs happen.');
  sessions
    .command('ls', { isDefault: true })
    .description('Lists sessions, newest first.')
    .option('--phase <phase>', `only those in this phase: ${sessionPhases.join(', ')}`)
    .option('--limit <number>', 'how many at most (default: 50)')
    .option('--all', 'all there are')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .action(async (flags: Flags) => await list(context, flags));
  sessions
    .command('create')
    .description('Makes an empty session; see sealwright run --session for one with a repository.')
    .argument('[name]', 'a name to find the session by')
    .option('--egress <name>', 'what its runs may reach that do not say it themselves (repeatable)', gather)
    .option('--reason <text>', 'why --egress full is needed')
    .option('--team <name>', 'a team of yours, whose members then see and use it too')
    .option('--json', 'print the whole answer as JSON')
    .action(async (name: string | undefined, flags: CreateFlags) => {
      const { team } = flags;
      const named = { ...(name === undefined ? {} : { name }), ...(team === undefined ? {} : { team }) };
      const request = { ...named, ...egressRequest(flags) };
      const made = await (await context.connect()).sessions.create(request);
      const shown = flags.json === true ? JSON.stringify(made, null, 2) : made.id;
      await print(context.environment, `${shown}\n`);
    });
  sessions
    .command('rm')
    .description('Closes sessions: their runs are stopped and their workspaces removed; records stay.')
    .argument('<session...>', 'id, beginning of an id, name, or "latest"')
    .action(async (words: string[]) => {
      const api = await context.connect();
      for (const word of words) {
        const id = await resolveSession(api, word);
        await api.sessions.close(id);
        await print(context.environment, `${id}\n`);
      }
    });
  defineAttachControl(sessions, context);
  sessions
    .command('rename')
    .description('Gives a session another name.')
    .argument('<session>', 'id, beginning of an id, name, or "latest"')
    .argument('<name>', 'the new name')
    .action(async (word: string, name: string) => {
      const api = await context.connect();
      const { id } = await api.sessions.rename(await resolveSession(api, word), name);
      await print(context.environment, `${id}\n`);
    });
}

async function list(context: Context, flags: Flags): Promise<void> {
  const format = listFormat(flags);
  if (flags.phase !== undefined && !sessionPhases.some((phase) => phase === flags.phase)) {
    throw new UsageFailure(`--phase takes one of ${sessionPhases.join(', ')}`);
  }
  const api = await context.connect();
  const items = await collect(api.sessions.list, { phase: flags.phase }, askedLimit(flags));
  const columns: readonly Column<SessionView>[] = [
    { title: 'SESSION', of: (session) => session.id },
    { title: 'NAME', of: (session) => session.name ?? '-' },
    { title: 'PHASE', of: (session) => session.phase },
    { title: 'REPO', of: (session) => session.remote?.url ?? (session.repo ? 'yes' : 'no') },
    { title: 'EGRESS', of: ({ egress }) => egress.names.join(', ') || '-' },
    { title: 'LIVE', of: (session) => session.liveRuns.toString() },
    { title: 'ATTACH', of: ({ attach }) => (attach.enabled ? attach.mode : 'off') },
    { title: 'OWNER', of: (session) => session.owner },
    { title: 'TEAM', of: (session) => session.team ?? '-' },
    { title: 'AGE', of: (session) => age(session.createdAt, context.environment.clock) },
  ];
  await print(context.environment, renderList(items, columns, format));
}
