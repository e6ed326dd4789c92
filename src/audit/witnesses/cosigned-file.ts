import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseCheckpoint } from '../checkpoint.ts';
import { mergedNote } from '../cosignature.ts';
import { nodeDisk } from '../disk.ts';
import { replaceFile } from '../folders.ts';

/** Beside a stream's checkpoint: the newest that a witness cosigned, with every cosignature that came for it. */
export const cosignedFile = 'cosigned';

/**
 * Keeps a note that its witness truly signed in the stream's folder: with what is there where that is the same checkpoint,
 * in its place where that is an older one, and not at all where that is newer. One at a time for a folder.
 */
export async function keepCosigned(folder: string, note: string): Promise<void> {
  const path = join(folder, cosignedFile);
  const text = await readFile(path, 'utf8').catch(() => null);
  const there = text === null ? null : parseCheckpoint(text);
  const fresh = parseCheckpoint(note);
  if (fresh === null) throw new Error('that is no checkpoint');
  if (there !== null && there.origin === fresh.origin && there.size > fresh.size) return;
  const isSame = there !== null && there.note.text === fresh.note.text;
  const merged = isSame ? mergedNote(text!, linesOf(note)) : note;
  await replaceFile(nodeDisk, path, Buffer.from(parseCheckpoint(merged) === null ? note : merged));
}

/** The lines of a note's signatures. */
function linesOf(note: string): string[] {
  return note.slice(note.lastIndexOf('\n\n') + 2, -1).split('\n');
}
