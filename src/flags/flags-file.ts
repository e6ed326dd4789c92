import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import { type FlagProblem, parseFlags } from '../contract/flags-schemas.ts';
import type { FlagName, FlagRule } from '../model/flags.ts';
import { flagsLimits } from './limits.ts';

/**
 * What the file says. `broken` is a file of which not every word is understood, or one that was asked for and cannot
 * be read: then nobody knows what it would say, so every flag is off, those that the API set too.
 */
export type FlagsFile =
  | { readonly state: 'absent' }
  | { readonly state: 'read'; readonly rules: ReadonlyMap<FlagName, FlagRule> }
  | { readonly state: 'broken'; readonly problems: readonly FlagProblem[] };

/** A file of this path, which must be there, or `flags.yaml` or `flags.json` in a folder, which need not. */
export type FlagsPlace = { readonly path: string } | { readonly folder: string };

/** Reads the file as it is now; whatever is wrong with it is an answer. */
export async function readFlagsFile(place: FlagsPlace): Promise<FlagsFile> {
  if ('path' in place) return (await readOne(place.path)) ?? broken('is not there');
  const [yaml, json] = await Promise.all([
    readOne(join(place.folder, 'flags.yaml')),
    readOne(join(place.folder, 'flags.json')),
  ]);
  if (yaml !== null && json !== null) return broken('is there twice: keep one of flags.yaml and flags.json');
  return yaml ?? json ?? { state: 'absent' };
}

function broken(message: string): FlagsFile {
  return { state: 'broken', problems: [{ path: '', message }] };
}

/** Null where there is no such file. */
async function readOne(path: string): Promise<FlagsFile | null> {
  try {
    // Without waiting: a named pipe would hold its reader until somebody writes.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile()) return broken('is not a file');
    if ((stat.mode & 0o002) !== 0)
      return broken('can be written by everybody on this machine: take that right away (chmod o-w)');
    const bytes = await readBounded(file);
    return bytes === null ? broken('is too large for a file of flags') : parseText(bytes);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    return broken(`cannot be read (${code}): let the user that the server runs as read it`);
  }
}

/** Null where it is larger than flags may be. */
async function readBounded(file: FileHandle): Promise<Buffer | null> {
  const bytes = Buffer.alloc(flagsLimits.fileBytesMax + 1);
  let size = 0;
  while (size < bytes.length) {
    const { bytesRead } = await file.read(bytes, size, bytes.length - size);
    if (bytesRead === 0) return bytes.subarray(0, size);
    size += bytesRead;
  }
  return null;
}

function parseText(bytes: Buffer): FlagsFile {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return broken('is not UTF-8 text');
  }
  const yaml = parseDocument(text, { strict: true });
  const [fault] = [...yaml.errors, ...yaml.warnings];
  if (fault !== undefined) return broken(`is not YAML: ${fault.message.split('\n')[0]}`);
  try {
    const parsed = parseFlags(yaml.toJS({ maxAliasCount: flagsLimits.aliasesMax }));
    return 'rules' in parsed ? { state: 'read', ...parsed } : { state: 'broken', ...parsed };
  } catch (error) {
    return broken(`is not YAML: ${error instanceof Error ? error.message : String(error)}`);
  }
}
