import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { auditLimits } from './limits.ts';

const blockBytes = 1024 * 1024;

/**
 * The lines of a segment that begin in one of some ways, without their newlines: far faster than reading every line. Of what is
 * no regular file there are none. Throws the file system's error where it cannot be read.
 */
export async function* linesWithPrefix(path: string, prefixes: readonly string[]): AsyncGenerator<string> {
  // As the verifier opens it, so that neither a pipe nor a device is waited for.
  await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if ((await handle.stat()).isFile()) yield* linesOf(handle, prefixes);
}

/** The start of a line that a block cuts off goes before the next; lines are bounded. */
async function* linesOf(handle: FileHandle, prefixes: readonly string[]): AsyncGenerator<string> {
  const block = Buffer.alloc(auditLimits.lineBytesMax + blockBytes);
  let carried = 0;
  for (let position = 0; ; ) {
    const { bytesRead } = await handle.read(block, carried, blockBytes, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    const filled = carried + bytesRead;
    const end = block.subarray(0, filled).lastIndexOf(0x0a) + 1;
    for (const prefix of prefixes) yield* matching(block.subarray(0, end), prefix);
    carried = Math.min(filled - end, auditLimits.lineBytesMax);
    block.copyWithin(0, filled - carried, filled);
  }
}

function* matching(lines: Buffer, prefix: string): Generator<string> {
  let at = lines.indexOf(prefix);
  while (at >= 0) {
    const end = lines.indexOf(0x0a, at);
    if (end < 0) return;
    if (at === 0 || lines[at - 1] === 0x0a) yield lines.toString('utf8', at, end);
    at = lines.indexOf(prefix, end);
  }
}
