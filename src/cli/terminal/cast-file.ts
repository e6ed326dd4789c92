import { createReadStream } from 'node:fs';
import { isTerminalSize, type TerminalSize } from '../../model/terminal.ts';
import { CliFailure } from '../failure.ts';
import { cliLimits } from '../limits.ts';

/** What a recording shows, oldest first. Text is the sandbox's: untrusted. */
export type CastEvent =
  | { readonly at: number; readonly kind: 'output'; readonly text: string }
  | { readonly at: number; readonly kind: 'resize'; readonly size: TerminalSize };

/** An asciicast of version 2 in a file; nothing of it is held in memory. */
export class CastFile {
  readonly #path: string;
  readonly size: TerminalSize;

  private constructor(path: string, size: TerminalSize) {
    this.#path = path;
    this.size = size;
  }

  /** Throws CliFailure where it is none. */
  static async open(path: string): Promise<CastFile> {
    for await (const line of linesOf(path)) {
      const header = parsed(line) as { version?: unknown; width?: unknown; height?: unknown } | null;
      const size = { columns: Number(header?.width), rows: Number(header?.height) };
      if (header?.version !== 2 || !isTerminalSize(size)) break;
      return new CastFile(path, size);
    }
    throw new CliFailure('This is no asciicast of version 2.', { hint: 'Is there anything recorded yet?' });
  }

  /** From the beginning. Lines that are no events are passed over, as the format asks; what was typed is, too. */
  async *events(): AsyncGenerator<CastEvent, void, undefined> {
    let last = 0;
    let isHeader = true;
    for await (const line of linesOf(this.#path)) {
      const event = isHeader ? null : eventOf(parsed(line));
      isHeader = false;
      if (event === null) continue;
      // Time does not go back, whatever a line says.
      last = Math.max(last, event.at);
      yield { ...event, at: last };
    }
  }
}

function eventOf(value: unknown): CastEvent | null {
  if (!Array.isArray(value)) return null;
  const [at, code, data] = value as unknown[];
  if (typeof at !== 'number' || !Number.isFinite(at) || at < 0 || typeof data !== 'string') return null;
  if (code === 'o') return { at, kind: 'output', text: data };
  const match = code === 'r' ? /^(\d{1,4})x(\d{1,4})$/.exec(data) : null;
  if (match === null) return null;
  const size = { columns: Number(match[1]), rows: Number(match[2]) };
  return isTerminalSize(size) ? { at, kind: 'resize', size } : null;
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

/** Lines of a file; those that are longer than anything that a recorder writes are left out. */
async function* linesOf(path: string): AsyncGenerator<string, void, undefined> {
  let rest = '';
  let isTooLong = false;
  for await (const chunk of createReadStream(path, { encoding: 'utf8' }) as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (!isTooLong) yield line;
      isTooLong = false;
    }
    if (rest.length > cliLimits.castLineCharactersMax) {
      rest = '';
      isTooLong = true;
    }
  }
  if (rest !== '' && !isTooLong) yield rest;
}
