import { escapeLine } from './escape.ts';
import { UsageFailure } from './failure.ts';
import { toYaml } from './yaml.ts';

export type Column<T> = { readonly title: string; readonly of: (item: T) => string };

export const listFormats = ['table', 'json', 'yaml'] as const;
export type ListFormat = (typeof listFormats)[number];

/** The format that `-o` and `--json` ask for together. */
export function listFormat(options: { output?: string | undefined; json?: boolean | undefined }): ListFormat {
  const asked = options.json === true ? 'json' : (options.output ?? 'table');
  const format = listFormats.find((known) => known === asked);
  if (format === undefined)
    throw new UsageFailure(`-o takes ${listFormats.join(', ')}, not "${escapeLine(asked)}"`);
  return format;
}

/** A list as text in the asked format, ending in a line feed. Cells are escaped; the last column is never cut. */
export function renderList<T>(
  items: readonly T[],
  columns: readonly Column<T>[],
  format: ListFormat,
): string {
  if (format === 'json') return `${JSON.stringify(items, null, 2)}\n`;
  if (format === 'yaml') return toYaml(items);
  const rows = [
    columns.map((column) => column.title),
    ...items.map((item) => columns.map((column) => escapeLine(column.of(item)))),
  ];
  const widths = columns.map((_, index) => Math.max(...rows.map((row) => widthOf(row[index]!))));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, index) => pad(cell, widths[index]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

function pad(cell: string, width: number): string {
  return cell + ' '.repeat(Math.max(0, width - widthOf(cell)));
}

/** Terminal columns, near enough: wide East Asian characters and emoji take two, combining marks none. */
function widthOf(text: string): number {
  let width = 0;
  for (const character of text) {
    if (/\p{M}/u.test(character)) continue;
    width +=
      /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]|\p{Emoji_Presentation}/u.test(
        character,
      )
        ? 2
        : 1;
  }
  return width;
}

/** One object for people: a line for each member; for machines the object itself. */
export function renderObject(value: Readonly<Record<string, unknown>>, format: ListFormat): string {
  if (format === 'json') return `${JSON.stringify(value, null, 2)}\n`;
  if (format === 'yaml') return toYaml(value);
  const entries = Object.entries(value).filter(([, member]) => member !== null && member !== undefined);
  const width = Math.max(0, ...entries.map(([key]) => key.length));
  return entries
    .map(([key, member]) => {
      const shown = typeof member === 'string' ? member : JSON.stringify(member);
      return `${key.padEnd(width)}  ${escapeLine(shown)}\n`;
    })
    .join('');
}
