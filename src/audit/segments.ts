import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * A stream is a folder `<audit>/<stream>/` of segments, each the lines of at most `segmentEvents` events, one after the
 * other. A segment is named for its first event and begins at a multiple of `segmentEvents`, so that the
 * leaves of a whole one are one subtree of the stream's Merkle tree.
 */
export const segmentEvents = 65_536;
/** The height of that subtree. */
export const segmentHeight = 16;

export type Segment = {
  /** The sequence number that its first line has: 1, 65,537, … */
  readonly first: number;
  readonly path: string;
};

const segmentPattern = /^(\d{16})\.jsonl$/;

/** The first event of the segment that holds `seq`. */
export function firstOfSegment(seq: number): number {
  return seq - ((seq - 1) % segmentEvents);
}

/** Where the segment lies whose first event is `first`; says nothing about existence. */
export function segmentPath(folder: string, first: number): string {
  return join(folder, `${String(first).padStart(16, '0')}.jsonl`);
}

/** The segments of a stream's folder in their order, by their names alone; none where there is no folder. */
export async function listSegments(folder: string): Promise<Segment[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names
    .flatMap((name) => {
      const match = segmentPattern.exec(name);
      return match === null ? [] : [{ first: Number(match[1]), path: join(folder, name) }];
    })
    .sort((a, b) => a.first - b.first);
}
