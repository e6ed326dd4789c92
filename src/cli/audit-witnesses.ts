import type { Command } from 'commander';
import type { WitnessStatusView } from '../contract/witnesses.ts';
import { asOwner } from './as-owner.ts';
import { type Context, print } from './context.ts';
import { type Column, listFormat, renderList } from './table.ts';

/** `sealwright audit witnesses`, below `audit`. */
export function defineAuditWitnesses(audit: Command, context: Context): void {
  audit
    .command('witnesses')
    .summary('where signed checkpoints are kept, and how old the newest is there')
    .description(
      'Lists the witnesses of witnesses.yaml with the streams that each has checkpoints of. Ends with 1 where one of them\n' +
        'holds another history than the server does.',
    )
    .option('-o, --output <format>', 'table, json or yaml')
    .option('--json', 'the same as -o json')
    .option('--local', "use this machine's own socket, as the owner of the data folder")
    .action(async (flags: { output?: string; json?: boolean; local?: boolean }) => {
      const format = listFormat(flags);
      const { items } = await asOwner(context, flags, (api) => api.auditWitnesses.list());
      const shown = format === 'table' ? items.flatMap(rowsOf) : items;
      await print(context.environment, renderList<WitnessStatusView | Row>(shown, columns, format));
      const isConflict = items.some(({ streams }) => streams.some(({ state }) => state === 'conflict'));
      if (isConflict) context.status = 1;
    });
}

/** A line of the table: a witness with one of the streams. */
type Row = WitnessStatusView & { readonly row: WitnessStatusView['streams'][number] | null };

function rowsOf(witness: WitnessStatusView): Row[] {
  return witness.streams.length === 0
    ? [{ ...witness, row: null }]
    : witness.streams.map((stream) => ({ ...witness, row: stream }));
}

const streamOf = (line: WitnessStatusView | Row) => ('row' in line ? line.row : null);

const columns: readonly Column<WitnessStatusView | Row>[] = [
  { title: 'WITNESS', of: ({ name }) => name },
  { title: 'REQUIRED', of: ({ required }) => (required ? 'yes' : 'no') },
  { title: 'STREAM', of: (line) => streamOf(line)?.stream ?? '' },
  { title: 'STATE', of: (line) => streamOf(line)?.state ?? '' },
  { title: 'EVENTS', of: (line) => String(streamOf(line)?.size ?? '') },
  { title: 'AGE SECONDS', of: (line) => String(Math.round(streamOf(line)?.ageSeconds ?? 0)) },
  {
    title: 'LAST ERROR',
    of: (line) => {
      const error = streamOf(line)?.lastError ?? null;
      return error === null ? '' : `${error.at} ${error.reason}`;
    },
  },
];
