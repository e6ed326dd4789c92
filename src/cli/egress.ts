import type { Command } from 'commander';
import type { EgressFlowView } from '../contract/schemas.ts';
import { suggestRules } from '../model/egress-suggest.ts';
import type { Api } from './api.ts';
import { type Context, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { CliFailure } from './failure.ts';
import { flowText, placeOf } from './flow-text.ts';
import { writeJson } from './follow.ts';
import { cliLimits } from './limits.ts';
import { resolveRun } from './resolve.ts';
import { defineSimulate } from './simulate.ts';
import { toYaml } from './yaml.ts';

type LogFlags = { denied?: boolean; json?: boolean; follow?: boolean };

export function defineEgress(program: Command, context: Context): void {
  const egress = program
    .command('egress')
    .summary('see what runs reached for')
    .description('What runs reached for outside their sandboxes, and what became of it.');
  egress
    .command('log')
    .description(
      'Prints what a run reached for, oldest first: connections, checked requests and denied names.',
    )
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .option('--denied', 'only what was denied')
    .option('-f, --follow', 'go on until the run has ended')
    .option('--json', 'write one JSON object a line')
    .action(async (word: string, flags: LogFlags) => await log(context, word, flags));
  egress
    .command('watch')
    .description(
      'Prints what a run reaches for as it happens, from its start until it has ended, each flow once. How flows end\n' +
        'is in sealwright egress log.',
    )
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .option('--denied', 'only what is denied')
    .option('--json', 'write one JSON object a line')
    .action(async (word: string, flags: LogFlags) => await watch(context, word, flags));
  egress
    .command('suggest')
    .description(
      'Writes the least policy that lets through everything the run reached for, as YAML. The hosts are the run’s own\n' +
        'words: read them before you allow them.',
    )
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .option('--json', 'write it as JSON')
    .action(async (word: string, flags: { json?: boolean }) => await suggest(context, word, flags));
  defineSimulate(egress, context);
}

async function log(context: Context, word: string, flags: LogFlags): Promise<void> {
  if (flags.follow === true) return await watch(context, word, flags);
  const api = await context.connect();
  const run = await resolveRun(api, word);
  for await (const flow of flowsOf(api, run, { verdict: verdictOf(flags) })) await show(context, flow, flags);
}

/** Every flow once, as it is recorded, until the run has ended. */
async function watch(context: Context, word: string, flags: LogFlags): Promise<void> {
  const api = await context.connect();
  const run = await resolveRun(api, word);
  for await (const event of api.runs.flows(run, { verdict: verdictOf(flags) }))
    if (event.event === 'flow') await show(context, event.flow, flags);
}

async function show({ environment }: Context, flow: EgressFlowView, { json }: LogFlags): Promise<void> {
  if (json === true) await writeJson(environment, flow);
  else await print(environment, `${escapeLine(flowText(flow))}\n`);
}

function verdictOf({ denied }: LogFlags): 'denied' | undefined {
  return denied === true ? 'denied' : undefined;
}

/** Every flow in the order of the verdicts. */
async function* flowsOf(
  api: Api,
  run: string,
  filter: { verdict?: 'denied' | undefined },
): AsyncGenerator<EgressFlowView> {
  let cursor: string | undefined;
  do {
    const page = await api.runs.egress(run, { ...filter, cursor, limit: 200 });
    yield* page.items;
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
}

async function suggest(context: Context, word: string, { json }: { json?: boolean }): Promise<void> {
  const api = await context.connect();
  const run = await resolveRun(api, word);
  const { id } = await api.runs.get(run);
  const flows: Parameters<typeof suggestRules>[0][number][] = [];
  for await (const { end: _end, ...flow } of flowsOf(api, run, {})) {
    flows.push({ ...flow, at: Date.parse(flow.at), run: id });
    if (flows.length > cliLimits.suggestFlowsMax)
      throw new CliFailure(`The run has more than ${cliLimits.suggestFlowsMax} flows to suggest rules from.`);
  }
  const document = { rules: suggestRules(flows) };
  const head = `# What ${id} reached for, from ${flows.length} recorded flows. Read it before you allow it.\n`;
  const text = json === true ? `${JSON.stringify(document, null, 2)}\n` : `${head}${toYaml(document)}`;
  await print(context.environment, text);
}

/**
 * One line that names the hosts that a run was denied, or null where there were none. They are the run's own words:
 * whoever prints it escapes it.
 */
export async function denialLine(api: Api, run: string): Promise<string | null> {
  const hosts = new Set<string>();
  let pages = 0;
  let cursor: string | undefined;
  do {
    const page = await api.runs.egress(run, { verdict: 'denied', cursor, limit: 200 });
    for (const flow of page.items) hosts.add(placeOf(flow));
    cursor = page.nextCursor ?? undefined;
    pages += 1;
  } while (cursor !== undefined && pages < cliLimits.denialPagesMax);
  if (hosts.size === 0) return null;
  const shown = [...hosts].slice(0, cliLimits.denialHostsShown).join(', ');
  const more = hosts.size > cliLimits.denialHostsShown ? ', …' : '';
  const number = `${cursor === undefined ? '' : 'more than '}${hosts.size}`;
  const were = hosts.size === 1 ? 'host was' : 'hosts were';
  return `${number} ${were} denied: ${shown}${more}; see sealwright egress suggest ${run}`;
}
