import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { access, open, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { nodeDisk, writeFully } from './disk.ts';
import { fileMode, makeFolder, syncFolder } from './folders.ts';
import { listSegments, segmentEvents, segmentPath } from './segments.ts';

const newline = 0x0a;

/**
 * A stream from before there were segments was one file, `<folder>.jsonl`. Its lines become segments, byte for byte. A crash
 * in the middle loses nothing: the file goes once the folder is whole. Throws Error where the folder does not begin with what
 * is in the file: then it is another log's, or a server of before wrote it since, and nobody else has those lines.
 */
export async function takeOverFlatFile(folder: string): Promise<void> {
  const flat = `${folder}.jsonl`;
  if (!(await exists(flat))) return;
  if (!(await exists(folder))) {
    const making = `${folder}.new`;
    await rm(making, { recursive: true, force: true });
    await makeFolder(nodeDisk, making);
    await split(flat, making);
    await syncFolder(nodeDisk, making);
    await rename(making, folder);
    await syncFolder(nodeDisk, dirname(folder));
  }
  if (!(await beginsWith(folder, flat)))
    throw new Error('the file of the log beside its folder holds other events: move it away');
  await unlink(flat);
}

async function exists(path: string): Promise<boolean> {
  return await access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}

async function beginsWith(folder: string, flat: string): Promise<boolean> {
  const { size } = await stat(flat);
  const inFolder = createHash('sha256');
  let left = size;
  for (const { path } of await listSegments(folder)) {
    if (left === 0) break;
    for await (const block of createReadStream(path, { end: left - 1 }) as AsyncIterable<Buffer>) {
      inFolder.update(block);
      left -= block.length;
    }
  }
  const inFile = createHash('sha256');
  for await (const block of createReadStream(flat) as AsyncIterable<Buffer>) inFile.update(block);
  return left === 0 && inFolder.digest('hex') === inFile.digest('hex');
}

async function split(flat: string, folder: string): Promise<void> {
  const segment = async (first: number) => await open(segmentPath(folder, first), 'wx', fileMode);
  let lines = 0;
  let file = await segment(1);
  for await (const block of createReadStream(flat) as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = block.indexOf(newline); end >= 0; end = block.indexOf(newline, end + 1)) {
      lines += 1;
      if (lines % segmentEvents !== 0) continue;
      await writeFully(file, block.subarray(start, end + 1));
      await file.sync();
      await file.close();
      file = await segment(lines + 1);
      start = end + 1;
    }
    await writeFully(file, block.subarray(start));
  }
  await file.sync();
  await file.close();
}
