import type { Command } from 'commander';
import type { EgressSimulationView, SimulateEgress } from '../contract/schemas.ts';
import type { Api } from './api.ts';
import { type Context, note, print } from './context.ts';
import { UsageFailure } from './failure.ts';
import { destinationOf } from './flow-text.ts';
import { readPolicy } from './policy.ts';
import { resolveRun, resolveSession } from './resolve.ts';
import { type Column, renderList } from './table.ts';
import { parseTime } from './time.ts';

type Flags = { policy?: string[]; since?: string; run?: string; session?: string; json?: boolean };
type Group = EgressSimulationView['groups'][number];

export function defineSimulate(egress: Command, context: Context): void {
  egress
    .command('simulate')
    .description(
      'Says what policies would newly deny or allow of the recorded flows that you may see. Changes nothing. What a\n' +
        'record does not hold is unknown; limits are left out.',
    )
    .option(
      '--policy <policy>',
      'a file (with a dot or slash), a policy or preset by name, or full (repeatable, in their order)',
      (value: string, before: string[] | undefined) => [...(before ?? []), value],
    )
    .option('--since <time>', 'from this time on: 2026-01-31T12:00:00Z, or 12h (default: 7d)')
    .option('--run <run>', 'of this run alone')
    .option('--session <session>', 'of the runs of this session alone')
    .option('--json', 'print the whole answer as JSON')
    .action(async (flags: Flags) => await simulate(context, flags));
}

async function simulate(context: Context, flags: Flags): Promise<void> {
  const { environment } = context;
  const { policy: words = [], run, session, since } = flags;
  if (words.length === 0)
    throw new UsageFailure('There is no policy.', 'Name one: sealwright egress simulate --policy web.yaml');
  if (run !== undefined && session !== undefined)
    throw new UsageFailure('--run and --session do not go together');
  const from = since === undefined ? undefined : parseTime(since, '--since', environment.clock.now());
  const policies: SimulateEgress['policies'] = [];
  for (const word of words) policies.push(await candidate(context, word));
  const api = await context.connect();
  const answer = await api.policies.simulate({
    policies,
    ...(from === undefined ? {} : { since: from }),
    ...(await range(api, { run, session })),
  });
  if (flags.json === true) return await print(environment, `${JSON.stringify(answer, null, 2)}\n`);
  await show(context, answer);
}

/** No name has a dot or a slash. */
async function candidate(context: Context, word: string): Promise<SimulateEgress['policies'][number]> {
  if (!/[./\\]/.test(word)) return { name: word };
  const { document } = await readPolicy(context, word, 'candidate');
  return { document };
}

async function range(
  api: Api,
  { run, session }: { run: string | undefined; session: string | undefined },
): Promise<Pick<SimulateEgress, 'run' | 'session'>> {
  if (run !== undefined) return { run: (await resolveRun(api, run)) as NonNullable<SimulateEgress['run']> };
  if (session === undefined) return {};
  return { session: (await resolveSession(api, session)) as NonNullable<SimulateEgress['session']> };
}

async function show({ environment }: Context, answer: EgressSimulationView): Promise<void> {
  const { totals, groups, more, runs, since, truncated } = answer;
  const { flows, unchanged, newlyDenied, newlyAllowed, unknown } = totals;
  await print(
    environment,
    `${flows} flows of ${runs} runs since ${since}: ${unchanged} unchanged, ${newlyDenied} newly denied, ` +
      `${newlyAllowed} newly allowed, ${unknown} unknown\n`,
  );
  if (groups.length > 0) await print(environment, `\n${renderList(groups, columns, 'table')}`);
  if (more.flows > 0) await note(environment, `${more.flows} more flows are not listed`);
  if (truncated)
    await note(environment, 'older flows were left out: there are too many; see --since and --run');
}

const columns: readonly Column<Group>[] = [
  { title: 'WAS', of: ({ was }) => was },
  { title: 'WOULD BE', of: ({ would }) => would },
  { title: 'FLOWS', of: ({ count }) => String(count) },
  { title: 'RUNS', of: ({ runs }) => String(runs) },
  { title: 'PROTOCOL', of: ({ protocol }) => protocol ?? '-' },
  { title: 'DESTINATION', of: destinationOf },
  { title: 'BY', of: ({ rule, denial, unknown }) => rule ?? denial ?? `${unknown} is not recorded` },
  { title: 'REQUEST', of: ({ method, path }) => (method === null ? '-' : `${method} ${path ?? ''}`) },
];
