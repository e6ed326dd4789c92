import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { recordingSegmentName, recordingSegmentStart } from '../contract/recording-files.ts';
import type { RecordingBytes } from './recording-check.ts';

/**
 * The segments in a folder. What stands behind where the next one begins is a line that was torn by a fault, and is read by
 * nobody. Throws the file system's error where the folder cannot be read.
 */
export async function recordingIn(folder: string): Promise<RecordingBytes> {
  const starts = (await readdir(folder))
    .flatMap((name) => recordingSegmentStart(name) ?? [])
    .sort((a, b) => a - b);
  const pieces = await Promise.all(
    starts.map(async (segment, index) => {
      const path = join(folder, recordingSegmentName(segment));
      // One that the recorder dropped meanwhile has no bytes.
      const facts = await stat(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
        return null;
      });
      const size = facts?.isFile() === true ? facts.size : 0;
      const end = Math.min(segment + size, starts[index + 1] ?? segment + size);
      return { path, offset: 0, start: segment, end, segment };
    }),
  );
  const bySegment = new Map(pieces.map((piece) => [piece.segment, piece]));
  return { pieces, pieceOf: ({ segment }) => bySegment.get(segment) ?? 'missing' };
}
