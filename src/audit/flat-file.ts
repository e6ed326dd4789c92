import { constants, createReadStream } from 'node:fs';
import { access, open, rename, rm, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { nodeDisk } from './disk.ts';
import { fileMode, makeFolder, syncFolder } from './folders.ts';
import { segmentEvents, segmentPath } from './segments.ts';

const newline = 0x0a;

/**
 * A stream from before there were segments was one file, `<folder>.jsonl`. Its lines become segments, byte for byte. A crash
 * in the middle loses nothing: the file goes once the folder is whole.
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
  await unlink(flat);
}

async function exists(path: string): Promise<boolean> {
  return await access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
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
      await file.write(block.subarray(start, end + 1));
      await file.sync();
      await file.close();
      file = await segment(lines + 1);
      start = end + 1;
    }
    await file.write(block.subarray(start));
  }
  await file.sync();
  await file.close();
}
