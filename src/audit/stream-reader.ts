import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { readFully } from './disk.ts';
import { readLimits } from './limits.ts';
import { firstOfSegment, listSegments, segmentEvents } from './segments.ts';

/** A line of a stream, without its newline; nothing of it is verified. `offset` is where it begins in its segment. */
export type StreamLine = { readonly seq: number; readonly bytes: Buffer; readonly offset: number };

/** Where a reader stands: behind the event `seq`. */
type Place = { handle: FileHandle; first: number; offset: number; seq: number };

const newline = 0x0a;

/**
 * Reads a stream in its order, from behind the event `after` on, while it is being written. Lines are counted, so their
 * numbers are those of an intact stream; a line that the disk may not have yet is read all the same: whoever must not be
 * ahead of the writer stops at the writer's head. Events that were dropped are passed over.
 */
export class StreamReader {
  readonly #folder: string;
  #after: number;
  #place: Place | null = null;

  /** `folder` is the stream's own; it need not be there yet. */
  constructor(folder: string, after: number) {
    this.#folder = folder;
    this.#after = after;
  }

  /** The last event that was passed. */
  get after(): number {
    return this.#after;
  }

  /** At most `limit` lines, and about `readLimits.blockBytes`; none where nothing follows yet. Not for two callers at once. */
  async read(limit: number): Promise<StreamLine[]> {
    for (;;) {
      this.#place ??= await this.#find();
      const place = this.#place;
      if (place === null) return [];
      const lines = await take(place, limit);
      if (lines.length > 0) {
        this.#after = place.seq;
        return lines;
      }
      if (place.seq < place.first + segmentEvents - 1) return [];
      await this.close();
      if ((await this.#segmentHolding(place.seq + 1)) === null) return [];
    }
  }

  async close(): Promise<void> {
    const place = this.#place;
    this.#place = null;
    await place?.handle.close();
  }

  /** The segment that holds the next event, or the oldest one that is left. */
  async #segmentHolding(seq: number) {
    const segments = await listSegments(this.#folder);
    return segments.find(({ first }) => first >= firstOfSegment(seq)) ?? null;
  }

  async #find(): Promise<Place | null> {
    const segment = await this.#segmentHolding(this.#after + 1);
    if (segment === null) return null;
    const handle = await open(segment.path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const place: Place = { handle, first: segment.first, offset: 0, seq: segment.first - 1 };
    try {
      while (place.seq < this.#after) {
        const passed = await take(place, this.#after - place.seq);
        if (passed.length === 0) break;
      }
    } catch (error) {
      await handle.close();
      throw error;
    }
    return place;
  }
}

/** The whole lines that a block holds, and goes on behind them. */
async function take(place: Place, limit: number): Promise<StreamLine[]> {
  const block = await readFully(place.handle, place.offset, readLimits.blockBytes);
  const lines: StreamLine[] = [];
  let start = 0;
  while (lines.length < limit) {
    const end = block.indexOf(newline, start);
    if (end < 0) break;
    place.seq += 1;
    lines.push({ seq: place.seq, bytes: block.subarray(start, end), offset: place.offset + start });
    start = end + 1;
  }
  if (start === 0 && block.length >= readLimits.blockBytes)
    throw new Error('the segment holds a line longer than any event');
  place.offset += start;
  return lines;
}
