import { constants } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { streamPattern } from '../event.ts';
import { auditLimits } from '../limits.ts';
import { listSegments } from '../segments.ts';
import { StreamReader } from '../stream-reader.ts';
import { sinkLimits } from './limits.ts';

/**
 * How far streams are on the disk for certain, by those who write them. Null of a stream that nobody here writes: what its
 * file holds was durable where it came from.
 */
export type DurableHeads = {
  headOf(stream: string): number | null;
  /** Called after a head has moved, also from inside an append: it must be quick. Gives what ends it. */
  onAdvance(listener: () => void): () => void;
};

/** The names of the streams below the folder of the log. Throws where they are too many: none is left out in silence. */
export async function listStreams(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const names = entries
    .filter((entry) => entry.isDirectory() && streamPattern.test(entry.name))
    .map(({ name }) => name);
  if (names.length > sinkLimits.streamsMax)
    throw Object.assign(new Error('streams'), { code: `more than ${sinkLimits.streamsMax} streams` });
  return names.sort();
}

/** The last whole event that a stream's files hold, 0 for none; for streams without a durable head. */
export async function tailOf(folder: string): Promise<number> {
  const last = (await listSegments(folder)).at(-1);
  if (last === undefined) return 0;
  const handle = await open(last.path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await handle.stat();
    const block = Buffer.alloc(Math.min(size, 2 * auditLimits.lineBytesMax));
    await handle.read(block, 0, block.length, size - block.length);
    const line = block.toString('utf8').split('\n').at(-2);
    const seq = line === undefined ? last.first - 1 : Number(/"seq":(\d{1,15})[,}]/.exec(line)?.[1] ?? 0);
    return seq;
  } finally {
    await handle.close();
  }
}

/** The line of the event `seq`, or the first one that is left behind it; null where nothing follows. */
export async function lineAt(folder: string, seq: number): Promise<{ seq: number; text: string } | null> {
  const reader = new StreamReader(folder, seq - 1);
  try {
    const [line] = await reader.read(1);
    return line === undefined ? null : { seq: line.seq, text: line.bytes.toString('utf8') };
  } finally {
    await reader.close();
  }
}
