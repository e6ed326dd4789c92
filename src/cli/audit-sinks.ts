import type { Command } from 'commander';
import type { SinkStatusView } from '../contract/sinks.ts';
import { asOwner } from './as-owner.ts';
import { type Context, print } from './context.ts';
import { escapeLine } from './escape.ts';
import { type Column, listFormat, renderList } from './table.ts';

type ListFlags = { output?: string; json?: boolean; local?: boolean };

const localHelp = "use this machine's own socket, as the owner of the data folder";

/** `sealwright audit sinks`, below `audit`. */
export function defineAuditSinks(audit: Command, context: Context): void {
  const sinks = audit
    .command('sinks')
    .summary('where events are sent besides, and how far behind that is')
    .description('The sinks of sinks.yaml: where events are sent besides the log itself.');
  sinks
    .command('ls', { isDefault: true })
    .description('Lists sinks with the streams that each sends.')
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .option('--local', localHelp)
    .action(async (flags: ListFlags) => {
      const format = listFormat(flags);
      const { items } = await asOwner(context, flags, (api) => api.auditSinks.list());
      const shown = format === 'table' ? items.flatMap(rowsOf) : items;
      await print(context.environment, renderList<SinkStatusView | Row>(shown, columns, format));
    });
  sinks
    .command('redeliver')
    .description('Sends again what the receiver of a sink has refused for good.')
    .argument('<name>', 'the name of the sink')
    .option('--local', localHelp)
    .action(async (name: string, flags: { local?: boolean }) => {
      const result = await asOwner(context, flags, (api) => api.auditSinks.redeliver(name));
      const { delivered, remaining, stoppedBy } = result;
      const why = stoppedBy === null ? '' : `; it ended early: ${stoppedBy}`;
      await print(
        context.environment,
        `${escapeLine(`${delivered} delivered, ${remaining} remain${why}`)}\n`,
      );
      if (remaining > 0) context.status = 1;
    });
}

/** A line of the table: a sink with one of its streams. */
type Row = SinkStatusView & { readonly row: SinkStatusView['streams'][number] | null };

function rowsOf(sink: SinkStatusView): Row[] {
  return sink.streams.length === 0
    ? [{ ...sink, row: null }]
    : sink.streams.map((stream) => ({ ...sink, row: stream }));
}

const streamOf = (line: SinkStatusView | Row) => ('row' in line ? line.row : null);

const columns: readonly Column<SinkStatusView | Row>[] = [
  { title: 'SINK', of: ({ name }) => name },
  { title: 'STATE', of: ({ state }) => state },
  { title: 'STREAM', of: (line) => streamOf(line)?.stream ?? '' },
  { title: 'SENT', of: (line) => String(streamOf(line)?.sentSeq ?? '') },
  { title: 'LAG', of: (line) => String(streamOf(line)?.lagEvents ?? '') },
  { title: 'LAG SECONDS', of: (line) => String(Math.round(streamOf(line)?.lagSeconds ?? 0)) },
  { title: 'DEAD', of: ({ deadLetters }) => String(deadLetters) },
  {
    title: 'LAST ERROR',
    of: ({ lastError }) => (lastError === null ? '' : `${lastError.at} ${lastError.reason}`),
  },
];
