import type { Command } from 'commander';
import type { ElevationView } from '../contract/access-schemas.ts';
import { type Context, note, print } from './context.ts';
import { UsageFailure } from './failure.ts';
import { askedLimit, collect } from './listing.ts';
import { parseDuration } from './quantities.ts';
import { type Column, listFormat, renderList } from './table.ts';

type ListFlags = {
  output?: string;
  json?: boolean;
  everybody?: boolean;
  state?: string;
  limit?: string;
  all?: boolean;
};

export function defineElevations(access: Command, context: Context): void {
  access
    .command('elevate')
    .description(
      'Takes a role for a time, one that you may be elevated to. It is on record, and stops by itself.',
    )
    .argument('<role>')
    .requiredOption('--reason <text>', 'why')
    .option('--for <duration>', 'how long, from 15m to 8h', '1h')
    .option('--json', 'print the whole answer as JSON')
    .action(async (role: string, flags: { reason: string; for: string; json?: boolean }) => {
      const seconds = parseDuration(flags.for, '--for');
      const api = await context.connect();
      const made = await api.elevations.request({ role, reason: flags.reason, seconds });
      await show(context, made, flags.json);
      if (made.state === 'requested') await note(context.environment, 'somebody else has to approve it');
    });
  const elevations = access
    .command('elevations')
    .summary('list, decide and end roles for a time')
    .description('Roles for a time: yours, or everybody’s.');
  elevations
    .command('ls', { isDefault: true })
    .description('Lists your elevations, newest first.')
    .option('--everybody', 'everybody’s')
    .option('--state <state>', 'with --everybody: requested, active, denied or ended')
    .option('--limit <number>', 'how many at most (default: 50)')
    .option('--all', 'all there are')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .action(async (flags: ListFlags) => await list(context, flags));
  const verbs = [
    ['approve', 'Approves what somebody else asked for.'],
    ['deny', 'Denies what somebody asked for.'],
    ['end', 'Ends an elevation at once: yours, or anybody’s.'],
  ] as const;
  for (const [verb, description] of verbs)
    elevations
      .command(verb)
      .description(description)
      .argument('<elevation>', 'its id')
      .option('--json', 'print the whole answer as JSON')
      .action(async (id: string, flags: { json?: boolean }) => {
        const api = await context.connect();
        await show(context, await api.elevations[verb](id), flags.json);
      });
}

async function show({ environment }: Context, elevation: ElevationView, json?: boolean): Promise<void> {
  const { id, role, state, expiresAt } = elevation;
  const until = state === 'active' && expiresAt !== null ? ` until ${expiresAt}` : '';
  const text = json === true ? JSON.stringify(elevation, null, 2) : `${id} ${role} ${state}${until}`;
  await print(environment, `${text}\n`);
}

async function list(context: Context, flags: ListFlags): Promise<void> {
  const format = listFormat(flags);
  const limit = askedLimit(flags);
  if (flags.state !== undefined && flags.everybody !== true)
    throw new UsageFailure('--state goes with --everybody', 'Your own are few: leave --state out');
  const api = await context.connect();
  const items =
    flags.everybody === true
      ? await collect(api.elevations.list, { state: flags.state }, limit)
      : await collect(api.elevations.listOwn, {}, limit);
  await print(context.environment, renderList(items, columns, format));
}

const columns: readonly Column<ElevationView>[] = [
  { title: 'ELEVATION', of: ({ id }) => id },
  { title: 'USER', of: ({ user }) => user },
  { title: 'ROLE', of: ({ role }) => role },
  { title: 'STATE', of: ({ state }) => state },
  { title: 'UNTIL', of: ({ expiresAt }) => expiresAt ?? '-' },
  { title: 'DECIDED BY', of: ({ decidedBy }) => decidedBy ?? '-' },
  { title: 'REASON', of: ({ reason }) => reason },
];
