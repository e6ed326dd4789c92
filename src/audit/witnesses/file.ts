import { constants } from 'node:fs';
import { link, open, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type AuditDisk, nodeDisk, writeFully } from '../disk.ts';
import { fileMode, makeFolder, quietly, syncFolder } from '../folders.ts';
import { noteBytesMax } from '../signed-note.ts';
import { witnessLimits } from './limits.ts';
import { type Shelf, ShelfTrouble, shelfWitness, sizeName } from './shelf.ts';
import type { Witness, WitnessParts } from './witness.ts';

const createFlags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
const ending = '.checkpoint';

/**
 * A folder, on a disk that this server does not own or can only add to: `<stream>/<first size>/<size>.checkpoint`, 65,536
 * sizes to a folder. Files are made and never opened for writing again.
 */
export function openFileWitness({ settings, now }: WitnessParts, disk: AuditDisk = nodeDisk): Witness {
  return shelfWitness(fileShelf(fileURLToPath(settings.url), disk, now));
}

function fileShelf(root: string, disk: AuditDisk, now: () => number): Shelf {
  const pathOf = (stream: string, size: number) =>
    join(root, stream, sizeName(firstOf(size)), `${sizeName(size)}${ending}`);
  return {
    async firstAfter(stream, after) {
      for (const first of await numbersIn(join(root, stream), '')) {
        if (first + witnessLimits.folderSizes <= after + 1) continue;
        const sizes = await numbersIn(join(root, stream, sizeName(first)), ending);
        const found = sizes.find((size) => size > after);
        if (found !== undefined) return found;
      }
      return null;
    },
    read: (stream, size) => readNote(pathOf(stream, size)),
    async keep(stream, size, note) {
      await makeFolders(disk, root, [stream, sizeName(firstOf(size))]);
      return await create(disk, pathOf(stream, size), Buffer.from(note), now());
    },
    close: () => undefined,
  };
}

function firstOf(size: number): number {
  return size - (size % witnessLimits.folderSizes);
}

/** The root has to be there: a disk that is not mounted is not to be filled from below. */
async function makeFolders(disk: AuditDisk, root: string, names: readonly string[]): Promise<void> {
  await syncFolder(disk, root);
  let path = root;
  for (const name of names) {
    path = join(path, name);
    await makeFolder(disk, path);
  }
}

/**
 * False where a file has that name, which stays. What is written is named once it is whole and on the disk, so that a crash
 * leaves a file without a right name at most; the name is given by a hard link, which takes no other's place.
 */
async function create(disk: AuditDisk, path: string, content: Buffer, nowMs: number): Promise<boolean> {
  if ((await readNote(path)) !== null) return false;
  const fresh = `${path}.${nowMs}.new`;
  const handle = await disk.open(fresh, createFlags, fileMode);
  try {
    await writeFully(handle, content);
    await handle.sync();
  } catch (error) {
    await quietly(disk.unlink(fresh));
    throw error;
  } finally {
    await quietly(handle.close());
  }
  const isNamed = await link(fresh, path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false;
      throw error;
    },
  );
  // Where nothing can be removed, it stays under both names.
  await quietly(disk.unlink(fresh));
  await syncFolder(disk, dirname(path));
  return isNamed;
}

async function readNote(path: string): Promise<string | null> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(orNull);
  if (handle === null) return null;
  try {
    const { size } = await handle.stat();
    if (size > noteBytesMax) throw new ShelfTrouble('a file of it is longer than a checkpoint: look at it');
    return await handle.readFile('utf8');
  } finally {
    await quietly(handle.close());
  }
}

/** The numbers that names with an ending stand for, in their order; other names are passed over. */
async function numbersIn(folder: string, end: string): Promise<number[]> {
  const names = (await readdir(folder).catch(orNull)) ?? [];
  const digits = witnessLimits.sizeDigits;
  return names
    .filter((name) => name.endsWith(end) && /^\d+$/.test(name.slice(0, digits)))
    .filter((name) => name.length === digits + end.length)
    .map((name) => Number(name.slice(0, digits)))
    .sort((a, b) => a - b);
}

function orNull(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}
