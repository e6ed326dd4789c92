import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { escapeBytes } from '../escape.ts';
import { CliFailure } from '../failure.ts';
import { cliLimits } from '../limits.ts';
import { readTar, type TarEntry } from './tar-reader.ts';

export type Unpacked = { files: number; bytes: number /** Links, devices and the like. */; leftOut: number };

export type UnpackOptions = {
  /** Called as bytes come. */
  progress(unpacked: Unpacked): Promise<void>;
  readonly platform: NodeJS.Platform;
};

/**
 * Puts what a hostile archive holds below a folder that is there, and nothing anywhere else: names that are absolute or
 * climb are refused, links and devices are left out, and nothing is ever followed, a link of the user's own that stands in
 * the way neither. What is there is replaced as a whole once its successor is complete. Throws CliFailure.
 */
export async function unpack(
  source: AsyncIterable<Uint8Array>,
  folder: string,
  { progress, platform }: UnpackOptions,
): Promise<Unpacked> {
  const unpacked: Unpacked = { files: 0, bytes: 0, leftOut: 0 };
  let entries = 0;
  for await (const { entry, bytes } of readTar(source)) {
    entries += 1;
    if (entries > cliLimits.copyEntriesMax) throw refused('it holds too many files');
    const parts = partsOf(entry.name, platform);
    if (entry.kind === 'folder') await makeFolders(folder, parts);
    else if (entry.kind === 'file' && parts.length > 0) {
      await makeFolders(folder, parts.slice(0, -1));
      await writeFile(join(folder, ...parts), entry, bytes, async (count) => {
        unpacked.bytes += count;
        await progress(unpacked);
      });
      unpacked.files += 1;
    } else unpacked.leftOut += 1;
  }
  return unpacked;
}

/** What Windows takes for something else than a name. */
const windowsTraps = /[<>:"\\|?*]|[. ]$|^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i;

/** The parts of a name, none of which leads anywhere; empty for the folder itself. */
function partsOf(name: Buffer, platform: NodeJS.Platform): string[] {
  const text = name.toString('utf8');
  const wrong = () => refused(`it names ${escapeBytes(name)}`);
  if (!Buffer.from(text, 'utf8').equals(name) || text.includes('\0') || text.startsWith('/')) throw wrong();
  if (name.length > cliLimits.copyNameBytesMax) throw refused('a name is too long');
  const parts = text.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..') || parts.length > cliLimits.copyDepthMax) throw wrong();
  if (platform === 'win32' && parts.some((part) => windowsTraps.test(part))) throw wrong();
  return parts;
}

async function makeFolders(folder: string, parts: readonly string[]): Promise<void> {
  let path = folder;
  for (const part of parts) {
    path = join(path, part);
    await mkdir(path).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw failed(path, error);
      if (!(await lstat(path)).isDirectory())
        throw new CliFailure(
          `${path} is in the way: it is no folder, or a link to one, which is not followed.`,
        );
    });
  }
}

async function writeFile(
  path: string,
  entry: TarEntry,
  bytes: AsyncIterable<Buffer>,
  counted: (count: number) => Promise<void>,
): Promise<void> {
  const there = await lstat(path).catch(() => null);
  if (there?.isDirectory() === true) throw new CliFailure(`${path} is in the way: it is a folder.`);
  await replaceFile(path, entry.mode, async (file) => {
    for await (const chunk of bytes) {
      await file.writeFile(chunk);
      await counted(chunk.length);
    }
  });
}

/** Writes a file beside its place and moves it there once it is whole. What was there is not followed. Throws CliFailure. */
export async function replaceFile(
  path: string,
  mode: number,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = constants;
  const part = `${path}.${process.pid}.part`;
  const flags = O_CREAT | O_EXCL | O_WRONLY | (O_NOFOLLOW ?? 0);
  const file = await open(part, flags, mode & 0o777).catch((error: NodeJS.ErrnoException) => {
    throw failed(path, error);
  });
  try {
    await write(file);
    await file.close();
    await rename(part, path);
  } catch (error) {
    await file.close().catch(() => {});
    await unlink(part).catch(() => {});
    throw error instanceof Error && 'syscall' in error ? failed(path, error as NodeJS.ErrnoException) : error;
  }
}

function failed(path: string, error: NodeJS.ErrnoException): CliFailure {
  return new CliFailure(`${path} cannot be written (${error.code}).`, { cause: error });
}

function refused(what: string): CliFailure {
  return new CliFailure(`The sandbox sent an archive that is not unpacked: ${what}.`, {
    hint: 'What came before is there; look at it before you use it.',
  });
}
