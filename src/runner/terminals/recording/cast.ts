import type { TerminalSize } from '../../../model/terminal.ts';

/** asciicast v2: a line of JSON about the terminal, then one for each thing that happened. */

/** Output, input, a new size, a marker. */
export type CastCode = 'o' | 'i' | 'r' | 'm';

export type CastHeader = {
  readonly size: TerminalSize;
  readonly openedAt: number;
  readonly command: string;
  readonly title: string;
};

/** The first line. */
export function castHeader({ size, openedAt, command, title }: CastHeader): string {
  const header = {
    version: 2,
    width: size.columns,
    height: size.rows,
    timestamp: Math.floor(openedAt / 1000),
    command,
    title,
    env: { TERM: 'xterm-256color' },
  };
  return `${JSON.stringify(header)}\n`;
}

/** What happened so many seconds after the beginning. */
export function castLine(seconds: number, code: CastCode, data: string): string {
  return `[${seconds.toFixed(6)}, "${code}", ${JSON.stringify(data)}]\n`;
}

/** The seconds of an event's line; null for what is none. */
export function castSeconds(line: string): number | null {
  const seconds = /^\[(\d+\.?\d*), "[oirm]", "/.exec(line)?.[1];
  return seconds === undefined ? null : Number(seconds);
}
