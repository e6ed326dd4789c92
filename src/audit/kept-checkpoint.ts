import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { parseNewest } from './checkpoint.ts';
import type { StreamState } from './open-stream.ts';
import { noteSigner, signedBy } from './signed-note.ts';

/**
 * Holds a stream that is about to be gone on with against the checkpoint that was kept apart from it. Its own checkpoint can be
 * put back to an older one together with its lines, or go away with them; this one cannot by whoever reaches the log's folder
 * alone. Throws Error where the stream is not, or no longer, what was signed. Without a kept one there is nothing to hold it against.
 */
export async function holdAgainstKept(
  path: string,
  { tree, newest }: StreamState,
  keys: readonly KeyObject[],
): Promise<void> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return;
  const kept = parseNewest(text);
  const signers = kept === null ? [] : keys.map((key) => noteSigner(kept.origin, key).key);
  if (kept === null || signedBy(kept.note, signers) === null)
    throw new Error(`the copy of the newest checkpoint (${path}) is not one of this server`);
  if (newest === null || newest.origin !== kept.origin)
    throw new Error(`this is not the log that this server signed last, which is ${kept.origin}`);
  if (kept.size > tree.size)
    throw new Error(
      `the log holds ${tree.size} events, but ${kept.size} were signed: it was cut or rolled back`,
    );
  if (!(await tree.rootAt(kept.size)).equals(kept.root))
    throw new Error(
      'the log does not hold what this server signed last: it was rolled back and gone on with',
    );
}
