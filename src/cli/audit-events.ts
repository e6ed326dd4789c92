import { constants } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Query } from '../client/client.ts';
import { type Context, note, print, printUntrusted } from './context.ts';
import { escapeLine } from './escape.ts';
import { UsageFailure } from './failure.ts';
import { askedLimit, collect } from './listing.ts';
import { type Column, listFormat, renderList } from './table.ts';
import { parseTime } from './time.ts';

/** What chooses events, by the names of the flags. */
type FilterFlags = {
  action?: string;
  actor?: string;
  onBehalfOf?: string;
  resource?: string;
  resourceKind?: string;
  session?: string;
  run?: string;
  outcome?: string;
  phase?: string;
  rule?: string;
  address?: string;
  stream?: string;
  text?: string;
  since?: string;
  until?: string;
};
type ListFlags = FilterFlags & {
  oldestFirst?: boolean;
  limit?: string;
  all?: boolean;
  output?: string;
  json?: boolean;
};
type ExportFlags = FilterFlags & { format: string; file?: string };

/** The commands that ask a server for events of its audit log. */
export function defineAuditEvents(audit: Command, context: Context): void {
  withFilters(audit.command('ls', { isDefault: true }))
    .description('Lists recorded events, newest first.')
    .option('--oldest-first', 'oldest first')
    .option('--limit <number>', 'how many at most (default: 50)')
    .option('--all', 'all there are')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .action(async (flags: ListFlags) => await list(context, flags));
  withFilters(audit.command('tail'))
    .description('Prints events as they are recorded, until it is interrupted.')
    .option('--json', 'write each line of the log as it is')
    .action(async (flags: FilterFlags & { json?: boolean }) => await tail(context, flags));
  withFilters(audit.command('events'))
    .description(
      'Writes all events that match, oldest first: as the lines of the log byte for byte, or as CSV that is safe to\n' +
        'open in a spreadsheet.',
    )
    .option('--format <format>', 'jsonl or csv', 'jsonl')
    .option('--file <file>', 'write to this file, which is there only once it is whole')
    .action(async (flags: ExportFlags) => await exportEvents(context, flags));
  audit
    .command('reindex')
    .description('Makes the server’s search index anew from the log; searching goes on meanwhile.')
    .option('--json', 'print the answer as JSON')
    .action(async (flags: { json?: boolean }) => await reindex(context, flags.json === true));
}

function withFilters(command: Command): Command {
  return command
    .option('--action <action>', 'only actions that begin so, such as run.')
    .option('--actor <actor>', 'only by this actor, such as user:ada')
    .option('--on-behalf-of <actor>', 'only by whoever acts for this actor')
    .option('--resource <id>', 'only on this resource')
    .option('--resource-kind <kind>', 'only on resources of this kind, such as token')
    .option('--session <id>', 'only on this session and its runs')
    .option('--run <id>', 'only on this run')
    .option('--outcome <outcome>', 'allowed, denied, succeeded or failed')
    .option('--phase <phase>', 'attempt, outcome or note')
    .option('--rule <rule>', 'only what was decided by this rule')
    .option('--address <address>', 'only from this address')
    .option('--stream <stream>', 'only of this stream')
    .option('--text <words>', 'only with all of these words')
    .option('--since <time>', 'from this time on: 2026-01-31T12:00:00Z, or 2h for two hours ago')
    .option('--until <time>', 'up to this time');
}

function queryOf({ environment }: Context, flags: FilterFlags): Query {
  const now = environment.clock.now();
  return {
    action: flags.action,
    actor: flags.actor,
    onBehalfOf: flags.onBehalfOf,
    resource: flags.resource,
    resourceKind: flags.resourceKind,
    session: flags.session,
    run: flags.run,
    outcome: flags.outcome,
    phase: flags.phase,
    rule: flags.rule,
    address: flags.address,
    stream: flags.stream,
    text: flags.text,
    since: flags.since === undefined ? undefined : parseTime(flags.since, '--since', now),
    until: flags.until === undefined ? undefined : parseTime(flags.until, '--until', now),
  };
}

async function list(context: Context, flags: ListFlags): Promise<void> {
  const format = listFormat(flags);
  const limit = askedLimit(flags);
  const query = { ...queryOf(context, flags), order: flags.oldestFirst === true ? 'oldest' : undefined };
  const api = await context.connect();
  let unreadable = 0;
  const counted = async (page: Query) => {
    const answer = await api.audit.list(page);
    unreadable = answer.unreadable;
    return answer;
  };
  const events = await collect(counted, query, limit);
  await print(context.environment, renderList(events, eventColumns, format));
  if (unreadable > 0)
    await note(
      context.environment,
      `${unreadable} lines of the log are no events; sealwright audit verify tells which`,
    );
}

async function tail(context: Context, { json, ...flags }: FilterFlags & { json?: boolean }): Promise<void> {
  const query = queryOf(context, flags);
  const api = await context.connect();
  for await (const line of api.audit.tail(query)) {
    if (json === true) await printUntrusted(context.environment, `${line}\n`);
    else await print(context.environment, `${escapeLine(lineText(JSON.parse(line) as Event))}\n`);
  }
}

/** One line of the table, without its widths. */
function lineText(event: Event): string {
  return eventColumns.map(({ of }) => of(event) || '-').join('  ');
}

async function exportEvents(context: Context, { format, file, ...flags }: ExportFlags): Promise<void> {
  if (format !== 'csv' && format !== 'jsonl') throw new UsageFailure('--format takes jsonl or csv');
  const query = { ...queryOf(context, flags), format } as const;
  const api = await context.connect();
  const { body } = await api.audit.export(query);
  if (file === undefined) {
    const { stdout } = context.environment;
    const decoder = new TextDecoder();
    for await (const chunk of body)
      if (stdout.isTerminal)
        await printUntrusted(context.environment, decoder.decode(chunk, { stream: true }));
      else await stdout.write(chunk);
    return;
  }
  await writeWhole(resolve(context.environment.cwd, file), body);
}

/** The file is there under its name only once all of it is. */
export async function writeWhole(path: string, body: AsyncIterable<Uint8Array>): Promise<void> {
  const partial = `${path}.partial`;
  const flags = constants.O_CREAT | constants.O_TRUNC | constants.O_WRONLY | constants.O_NOFOLLOW;
  const handle = await open(partial, flags, 0o600);
  try {
    for await (const chunk of body) await handle.writeFile(chunk);
    await handle.sync();
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
}

async function reindex(context: Context, json: boolean): Promise<void> {
  const api = await context.connect();
  const made = await api.audit.reindex();
  const flaws = made.unreadable === 0 ? '' : `; ${made.unreadable} lines are no events`;
  const text = json ? JSON.stringify(made, null, 2) : `${made.events} events are indexed${flaws}`;
  await print(context.environment, `${text}\n`);
}

type Event = Readonly<Record<string, unknown>>;

const eventColumns: readonly Column<Event>[] = [
  { title: 'TIME', of: (event) => word(event, 'at') },
  { title: 'STREAM', of: (event) => `${word(event, 'stream')}:${word(event, 'seq')}` },
  { title: 'ACTOR', of: (event) => word(event, 'actor', 'id') },
  { title: 'ACTION', of: (event) => word(event, 'action') },
  { title: 'PHASE', of: (event) => word(event, 'phase') },
  { title: 'OUTCOME', of: (event) => word(event, 'outcome') },
  { title: 'RESOURCE', of: (event) => word(event, 'resource', 'id') || word(event, 'resource', 'kind') },
  { title: 'RULE', of: (event) => word(event, 'decision', 'rule') },
];

function word(value: unknown, ...path: readonly string[]): string {
  let at = value;
  for (const key of path) {
    at = typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[key] : undefined;
  }
  return typeof at === 'string' || typeof at === 'number' ? String(at) : '';
}
