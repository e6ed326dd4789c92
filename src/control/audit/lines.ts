import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { readFully } from '../../audit/disk.ts';
import { auditLimits } from '../../audit/limits.ts';
import { firstOfSegment, segmentPath } from '../../audit/segments.ts';
import type { EventPlace } from '../../store/audit-index.ts';
import { eventAt } from './indexed-event.ts';
import { searchLimits } from './limits.ts';

const newline = 0x0a;

/**
 * The lines of these events, byte for byte as the log has them, in the order of the places. One that is no longer there,
 * or no longer says that it is this event, is null: the log is what counts, and verifying it tells what became of it.
 */
export async function readLines(
  folder: string,
  places: readonly EventPlace[],
): Promise<readonly (Buffer | null)[]> {
  const bySegment = Map.groupBy(places, ({ stream, seq }) =>
    segmentPath(join(folder, stream), firstOfSegment(seq)),
  );
  const lines = new Map<number, Buffer>();
  for (const [path, inSegment] of bySegment) {
    const handle = await openSegment(path);
    if (handle === null) continue;
    try {
      await readSegment(handle, inSegment, lines);
    } finally {
      await handle.close();
    }
  }
  return places.map(({ number }) => lines.get(number) ?? null);
}

async function openSegment(path: string): Promise<FileHandle | null> {
  return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
}

/** Lines that lie near each other come with one read. */
async function readSegment(
  handle: FileHandle,
  places: readonly EventPlace[],
  lines: Map<number, Buffer>,
): Promise<void> {
  const { lineBlockBytes } = searchLimits;
  const { lineBytesMax } = auditLimits;
  const sorted = places.toSorted((a, b) => a.offset - b.offset);
  let block: { from: number; to: number; bytes: Buffer } = { from: 0, to: 0, bytes: Buffer.alloc(0) };
  for (const [at, { number, stream, seq, offset }] of sorted.entries()) {
    if (offset + lineBytesMax > block.to) {
      const near = sorted.findLast((other, index) => index >= at && other.offset - offset < lineBlockBytes)!;
      const size = near.offset - offset + lineBytesMax;
      block = { from: offset, to: offset + size, bytes: await readFully(handle, offset, size) };
    }
    const start = offset - block.from;
    const end = block.bytes.indexOf(newline, start);
    if (end < 0) continue;
    const line = block.bytes.subarray(start, end);
    if (eventAt(stream, seq, line) !== null) lines.set(number, line);
  }
}
