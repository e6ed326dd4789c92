import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { checkpointFile } from './checkpoint.ts';
import { listSegments } from './segments.ts';
import type { StreamSource } from './verify-stream.ts';

/** Where a stream lies that is to be verified. */
export type Place = {
  readonly path: string;
  /** How it must be called; null where nothing says so. */
  readonly stream: string | null;
  readonly form: StreamSource['form'];
  /** Of a single file; those of a folder are listed when they are read. */
  readonly first?: number;
  /** Whether it was found in a folder of all streams, in which none is missing. */
  readonly amongAll?: boolean;
};

/** The streams at a path: a folder of streams, one stream, or a segment of one, as `verifyStreams` says. */
export async function placesAt(path: string): Promise<Place[]> {
  if (!(await isFolder(path))) return [{ path, stream: null, form: 'segment', first: firstOf(path) }];
  const own: Place[] = (await isStream(path)) ? [{ path, stream: basename(path), form: 'folder' }] : [];
  const all = [...own, ...(await streamsIn(path, own.length === 0))];
  return all.length === 0 ? [{ path, stream: null, form: 'folder' }] : all;
}

/** Of a folder of streams. One that is a stream itself has none in it, so that nothing can be hidden by making it one. */
async function streamsIn(folder: string, amongAll: boolean): Promise<Place[]> {
  const all: Place[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (amongAll && entry.name.endsWith('.jsonl'))
      all.push({ path, stream: basename(path, '.jsonl'), form: 'file', first: 1, amongAll });
    else if (entry.isDirectory() || entry.isSymbolicLink())
      if (amongAll || (await isStream(path)))
        all.push({ path, stream: entry.name, form: 'folder', amongAll: true });
  }
  return all.sort(byPath);
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
}

async function isStream(path: string): Promise<boolean> {
  if (!(await isFolder(path))) return false;
  return (await listSegments(path)).length > 0 || (await readdir(path)).includes(checkpointFile);
}

function byPath(a: Place, b: Place): number {
  return a.path < b.path ? -1 : 1;
}

/** A segment that was copied from its folder says by its name where it belongs. */
function firstOf(path: string): number {
  return Number(/^(\d{16})\.jsonl$/.exec(basename(path))?.[1] ?? 1);
}
