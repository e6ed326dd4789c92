import { hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type AuditDisk, readFully } from './disk.ts';
import { noHash } from './event.ts';
import { auditLimits } from './limits.ts';
import { readLine } from './line.ts';

/** Where a chain stands: bytes of whole lines, and the sequence and hash of the last of them. */
export type Head = { readonly bytes: number; readonly seq: number; readonly hash: string };
/** `tornBytes` follow the last whole line: the start of one that a crash cut off. */
export type Tail = Head & { readonly tornBytes: number };

export const emptyHead: Head = { bytes: 0, seq: 0, hash: noHash };

const newline = 0x0a;
/** A torn line, the last line, the one before it, and the newline before that. */
const windowBytes = 3 * auditLimits.lineBytesMax + 1;

/**
 * The end of a stream's file, judged by its last two lines alone: the last one is an event of this stream and
 * continues the one before. What lies further back is for `verifyStreams`. Throws Error, saying what is wrong,
 * where the file does not end like a log: nothing may then be appended to it, or a break would be buried.
 */
export async function readTail(disk: AuditDisk, path: string, stream: string): Promise<Tail> {
  const file = await disk.open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    const from = Math.max(0, size - windowBytes);
    return judgeTail(await readFully(file, from, size - from), from, stream);
  } finally {
    await file.close();
  }
}

function judgeTail(window: Buffer, from: number, stream: string): Tail {
  const last = spanBefore(window, window.length, from);
  const tornBytes = window.length - last.after;
  if (tornBytes >= auditLimits.lineBytesMax) throw new Error('the log ends in bytes that are no event');
  if (last.after === 0) return { ...emptyHead, tornBytes };
  const facts = readLine(window.subarray(last.start, last.end));
  if ('flaw' in facts) throw new Error(`the last line of the log is damaged: ${facts.flaw}`);
  if (facts.stream !== stream) throw new Error('the log belongs to another stream');
  if (facts.prev !== hashBefore(window, last.start, from)) {
    throw new Error('the last line of the log does not continue the one before');
  }
  if (from + last.start === 0 && facts.seq !== 1)
    throw new Error('the log does not start at its first event');
  return { bytes: from + last.after, seq: facts.seq, hash: hashOf(window, last), tornBytes };
}

type Span = { readonly start: number; readonly end: number; readonly after: number };

/** The last whole line that ends before `limit`; `after` is 0 where there is none. */
function spanBefore(window: Buffer, limit: number, from: number): Span {
  const end = limit === 0 ? -1 : window.lastIndexOf(newline, limit - 1);
  if (end < 0) {
    if (from > 0) throw new Error('the log ends in a line longer than any event');
    return { start: 0, end: 0, after: 0 };
  }
  const start = end === 0 ? 0 : window.lastIndexOf(newline, end - 1) + 1;
  return { start, end, after: end + 1 };
}

function hashBefore(window: Buffer, start: number, from: number): string {
  if (from + start === 0) return noHash;
  return hashOf(window, spanBefore(window, start, from));
}

function hashOf(window: Buffer, span: Span): string {
  return hash('sha256', window.subarray(span.start, span.end), 'hex');
}
