import type { Command } from 'commander';
import { defineAuditSinks } from './audit-sinks.ts';
import { defineAuditVerify } from './audit-verify.ts';
import { type Context, print } from './context.ts';
import { UsageFailure } from './failure.ts';
import { askedLimit, collect } from './listing.ts';
import { parseDuration } from './quantities.ts';
import { type Column, listFormat, renderList } from './table.ts';

type ListFlags = {
  action?: string;
  actor?: string;
  resource?: string;
  outcome?: string;
  since?: string;
  until?: string;
  limit?: string;
  all?: boolean;
  output?: string;
  json?: boolean;
};

export function defineAudit(program: Command, context: Context): void {
  const audit = program
    .command('audit')
    .summary('read and verify the audit log')
    .description('The audit log: who did what, and proof that nothing was removed.');
  audit
    .command('ls', { isDefault: true })
    .description('Lists recorded events, newest first.')
    .option('--action <action>', 'only this action, such as run.create')
    .option('--actor <actor>', 'only by this actor, such as user:ada')
    .option('--resource <id>', 'only on this resource')
    .option('--outcome <outcome>', 'allowed, denied, succeeded or failed')
    .option('--since <time>', 'from this time on: 2026-01-31T12:00:00Z, or 2h for two hours ago')
    .option('--until <time>', 'up to this time')
    .option('--limit <number>', 'how many at most (default: 50)')
    .option('--all', 'all there are')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .action(async (flags: ListFlags) => await list(context, flags));
  defineAuditVerify(audit, context);
  defineAuditSinks(audit, context);
}

async function list(context: Context, flags: ListFlags): Promise<void> {
  const format = listFormat(flags);
  const limit = askedLimit(flags);
  const now = context.environment.clock.now();
  const query = {
    action: flags.action,
    actor: flags.actor,
    resource: flags.resource,
    outcome: flags.outcome,
    since: flags.since === undefined ? undefined : parseTime(flags.since, '--since', now),
    until: flags.until === undefined ? undefined : parseTime(flags.until, '--until', now),
  };
  const api = await context.connect();
  const events = await collect(api.audit.list, query, limit);
  await print(context.environment, renderList(events, eventColumns, format));
}

/** A time as RFC 3339, or a duration before `now`; gives what the API takes. */
export function parseTime(text: string, option: string, now: number): string {
  if (/^[0-9.smhdw]+$/i.test(text)) return new Date(now - parseDuration(text, option) * 1000).toISOString();
  const time = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time))
    throw new UsageFailure(`${option} takes a time such as 2026-01-31T12:00:00Z, or 2h, not "${text}"`);
  return new Date(time).toISOString();
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
