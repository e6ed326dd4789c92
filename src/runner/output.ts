import type { Readable } from 'node:stream';
import { recordPayloadBytesMax } from '../contract/log-record.ts';
import type { Sandbox } from '../sandbox/backend.ts';
import type { Spool } from './spool.ts';

/**
 * Moves a sandbox's output into the spool until both pipes end. Resolves with the bytes moved; rejects when the
 * spool cannot be written, with both pipes destroyed and, on a full disk, room given back.
 */
export async function spoolOutput(
  sandbox: Pick<Sandbox, 'stdout' | 'stderr'>,
  spool: Spool,
): Promise<number> {
  const streams = [sandbox.stdout, sandbox.stderr] as const;
  try {
    const moved = await Promise.all([move(streams[0], spool, 'stdout'), move(streams[1], spool, 'stderr')]);
    return moved[0] + moved[1];
  } catch (error) {
    for (const stream of streams) stream.destroy();
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') spool.giveRoom();
    throw error;
  }
}

/** Appends bytes in records; throws the file system's error. */
export function spoolBytes(spool: Spool, kind: 'stdout' | 'stderr', bytes: Buffer): void {
  for (let at = 0; at < bytes.length; at += recordPayloadBytesMax)
    spool.append(kind, bytes.subarray(at, at + recordPayloadBytesMax));
}

function move(stream: Readable, spool: Spool, kind: 'stdout' | 'stderr'): Promise<number> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      try {
        spoolBytes(spool, kind, chunk);
      } catch (error) {
        reject(error);
      }
    });
    stream.on('end', () => resolve(bytes));
    stream.on('close', () => resolve(bytes));
    stream.on('error', reject);
  });
}

/** The first `max` bytes of a stream as text; reads on to its end so that the writer never blocks. */
export async function firstBytes(stream: Readable, max: number): Promise<string> {
  let text = '';
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (text.length < max) text += chunk.toString('utf8').slice(0, max - text.length);
  }
  return text;
}

/** The last `max` bytes of a stream as text; a character that they begin in the middle of is shown as unknown. */
export async function lastBytes(stream: Readable, max: number): Promise<string> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of stream as AsyncIterable<Buffer>)
    bytes = Buffer.concat([bytes, chunk]).subarray(-max);
  return bytes.toString('utf8');
}
