import { constants } from 'node:fs';
import { type AuditDisk, readFully } from './disk.ts';
import { noHash } from './event.ts';
import { auditLimits } from './limits.ts';
import { readLine } from './line.ts';
import { linkTo } from './line-hash.ts';

/** Where a chain stands: the sequence of its last line, and that line's leaf hash as hex. */
export type Place = { readonly seq: number; readonly hash: string };
/** `bytes` of whole lines are in the segment. */
export type Head = Place & { readonly bytes: number };
/** `tornBytes` follow the last whole line: the start of one that a crash cut off. */
export type Tail = Head & { readonly tornBytes: number };

export const beginning: Place = { seq: 0, hash: noHash };

const newline = 0x0a;
/** A torn line, the last line, the one before it, and the newline before that. */
const windowBytes = 3 * auditLimits.lineBytesMax + 1;

type Expected = {
  readonly stream: string;
  /** What stands before the segment. */
  readonly before: Place;
};

/**
 * The end of a segment, judged by its last two lines alone: the last one is an event of this stream and continues the one
 * before. What lies further back is for `verifyStreams`. Throws Error, saying what is wrong, where the file does not end
 * like a log: nothing may then be appended to it, or a break would be buried.
 */
export async function readTail(disk: AuditDisk, path: string, expected: Expected): Promise<Tail> {
  const file = await disk.open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    const from = Math.max(0, size - windowBytes);
    return judgeTail(await readFully(file, from, size - from), from, expected);
  } finally {
    await file.close();
  }
}

function judgeTail(window: Buffer, from: number, { stream, before }: Expected): Tail {
  const last = spanBefore(window, window.length, from);
  const tornBytes = window.length - last.after;
  if (tornBytes >= auditLimits.lineBytesMax) throw new Error('the log ends in bytes that are no event');
  if (last.after === 0) return { ...before, bytes: 0, tornBytes };
  const line = lineOf(window, last);
  const facts = readLine(line);
  if ('flaw' in facts) throw new Error(`the last line of the log is damaged: ${facts.flaw}`);
  if (facts.stream !== stream) throw new Error('the log belongs to another stream');
  const isFirst = from + last.start === 0;
  const link = isFirst ? before.hash : linkTo(lineOf(window, spanBefore(window, last.start, from)), facts.v);
  // Of a first line that is of version 1 the segment before was split off, when it became segments.
  const isSplit = isFirst && facts.v === 1 && before.seq > 0;
  if (facts.prev !== link && !isSplit)
    throw new Error('the last line of the log does not continue the one before');
  if (isFirst && facts.seq !== before.seq + 1) throw new Error('the log does not start at its first event');
  return { bytes: from + last.after, seq: facts.seq, hash: linkTo(line, 2), tornBytes };
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

function lineOf(window: Buffer, { start, end }: Span): Buffer {
  return window.subarray(start, end);
}
