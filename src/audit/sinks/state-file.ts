import { constants } from 'node:fs';
import { open, rename } from 'node:fs/promises';

/** The text of a small file of ours; null where there is none. Throws where it is longer than `bytesMax` or cannot be read. */
export async function readState(path: string, bytesMax: number): Promise<string | null> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    },
  );
  if (handle === null) return null;
  try {
    const { size } = await handle.stat();
    if (size > bytesMax) throw new Error('it is longer than it can be');
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

/** Replaces a file as a whole: whoever reads it, also after a crash, finds this text or the one before. Mode 0600. */
export async function writeState(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`;
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
  const handle = await open(fresh, flags, 0o600);
  try {
    await handle.writeFile(text);
    await handle.datasync();
  } finally {
    await handle.close();
  }
  await rename(fresh, path);
}
