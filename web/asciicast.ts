import { isTerminalSize, type TerminalSize } from '../src/model/terminal.ts';

/** Recordings of terminals (asciicast v2): a header's line, then a line for each event, oldest first. */

export type CastEvent =
  | { readonly at: number; readonly kind: 'output'; readonly text: string }
  | { readonly at: number; readonly kind: 'resize'; readonly size: TerminalSize };

export type Cast = {
  readonly size: TerminalSize;
  readonly events: readonly CastEvent[];
  readonly seconds: number;
  /** Whether there was more than `castLimits` lets a page hold. */
  readonly isCut: boolean;
};

export const castLimits = {
  /** Of text that is kept; a browser's tab holds it several times over. */
  bytesMax: 64 * 1024 * 1024,
  eventsMax: 2_000_000,
  lineBytesMax: 1024 * 1024,
} as const;

/** Says what is wrong with a recording that cannot be played. */
export class CastError extends Error {}

/**
 * Reads a recording while it arrives. What was typed is left out: it is not part of what was shown. Lines that are no
 * events are passed over, as the format asks; without a header there is nothing to play, and that is thrown.
 */
export class CastReader {
  readonly #events: CastEvent[] = [];
  #size: TerminalSize | null = null;
  #rest = '';
  #bytes = 0;
  #last = 0;
  #isCut = false;

  /** False once nothing more is taken: the reader may stop fetching. */
  push(text: string): boolean {
    this.#bytes += text.length;
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#line(line);
    const { bytesMax, eventsMax, lineBytesMax } = castLimits;
    if (this.#rest.length > lineBytesMax) throw new CastError('The recording has a line that is too long.');
    this.#isCut ||= this.#bytes > bytesMax || this.#events.length >= eventsMax;
    return !this.#isCut;
  }

  /** The last line may be half a line: a recording goes on while it is read. */
  end(): Cast {
    this.#line(this.#rest);
    if (this.#size === null) throw new CastError('This is not a recording that can be played.');
    return { size: this.#size, events: this.#events, seconds: this.#last, isCut: this.#isCut };
  }

  #line(line: string): void {
    const value = parsed(line);
    if (this.#size === null) {
      if (value !== undefined) this.#size = headerSize(value);
      return;
    }
    const event = eventOf(value);
    if (event === null) return;
    // Time does not go backwards, whatever a line says.
    this.#last = Math.max(this.#last, event.at);
    this.#events.push({ ...event, at: this.#last });
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function headerSize(value: unknown): TerminalSize {
  const { version, width, height } = (value ?? {}) as Record<string, unknown>;
  const size = { columns: Number(width), rows: Number(height) };
  if (version !== 2 || !isTerminalSize(size))
    throw new CastError('This is not a recording that can be played.');
  return size;
}

/** The largest time that a line may say: a year. */
const secondsMax = 366 * 24 * 3600;

function eventOf(value: unknown): CastEvent | null {
  if (!Array.isArray(value)) return null;
  const [at, code, data] = value as unknown[];
  if (typeof at !== 'number' || !(at >= 0 && at <= secondsMax) || typeof data !== 'string') return null;
  if (code === 'o') return { at, kind: 'output', text: data };
  if (code !== 'r') return null;
  const [columns, rows] = data.split('x').map(Number);
  const size = { columns: columns ?? 0, rows: rows ?? 0 };
  return isTerminalSize(size) ? { at, kind: 'resize', size } : null;
}
