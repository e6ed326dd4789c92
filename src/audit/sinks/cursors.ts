import { streamPattern } from '../event.ts';
import { sinkLimits } from './limits.ts';
import { readState, writeState } from './state-file.ts';

/** Up to where a receiver has a stream. `id` is that event's, by which a stream that was replaced is told. */
export type Cursor = { readonly seq: number; readonly id: string };

/**
 * How far a sink is in each stream, in a file of its own. A file that is lost, or is no such file, begins from the first
 * event on: what was sent is sent again, and nothing is skipped.
 */
export class Cursors {
  readonly #path: string;
  #cursors: ReadonlyMap<string, Cursor>;

  private constructor(path: string, cursors: Map<string, Cursor>) {
    this.#path = path;
    this.#cursors = cursors;
  }

  /** `onLost` hears why a file that is there was of no use. */
  static async open(path: string, onLost: (reason: string) => void): Promise<Cursors> {
    try {
      const text = await readState(path, sinkLimits.cursorBytesMax);
      return new Cursors(path, text === null ? new Map() : parse(text));
    } catch (error) {
      onLost((error as Error).message);
      return new Cursors(path, new Map());
    }
  }

  of(stream: string): Cursor | null {
    return this.#cursors.get(stream) ?? null;
  }

  /** Resolves once the place would survive a crash; null forgets it. */
  async move(stream: string, cursor: Cursor | null): Promise<void> {
    const moved = new Map(this.#cursors);
    if (cursor === null) moved.delete(stream);
    else moved.set(stream, cursor);
    await writeState(this.#path, `${JSON.stringify({ v: 1, streams: Object.fromEntries(moved) })}\n`);
    this.#cursors = moved;
  }
}

/** Throws where it is anything else than what `move` writes. */
function parse(text: string): Map<string, Cursor> {
  const value = JSON.parse(text) as { v?: unknown; streams?: unknown } | null;
  const { streams } = value ?? {};
  if (value?.v !== 1 || typeof streams !== 'object' || streams === null) throw new Error('it is no cursor');
  return new Map(
    Object.entries(streams as Record<string, Partial<Cursor> | null>).map(([stream, cursor]) => {
      const { seq, id } = cursor ?? {};
      const fits =
        streamPattern.test(stream) && Number.isSafeInteger(seq) && seq! > 0 && typeof id === 'string';
      if (!fits) throw new Error('it is no cursor');
      return [stream, { seq: seq!, id: id! }];
    }),
  );
}
