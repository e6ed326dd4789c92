import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { blockMarginBytes, ChainCheck, type Follows, type Problem } from './chain-check.ts';
import { auditLimits, verifyLimits } from './limits.ts';
import { scanMarginBytes } from './scan.ts';

/** What is asked about a segment; plain data, for it may be answered by another thread. */
export type SegmentJob = {
  readonly path: string;
  /** The sequence number that its first line must have. */
  readonly first: number;
  /** Null where the file is not in a folder that is named for its stream. */
  readonly stream: string | null;
  /** Where, counted in lines of this segment, the tree is asked for; ascending. */
  readonly positions: readonly number[];
};

/** The roots of the complete subtrees of some leaves, from left to right, as hex. */
export type EdgePart = readonly { readonly height: number; readonly hash: string }[];

/** What a segment's lines are by themselves, up to the first problem. */
export type SegmentReport = {
  readonly stream: string | null;
  /** Events of the unbroken chain. */
  readonly events: number;
  /** Lines seen. */
  readonly lines: number;
  readonly follows: Follows | null;
  /** What the next segment must say it follows, by its version. */
  readonly leaf: string;
  readonly plain: string;
  readonly edge: EdgePart;
  /** For each position that was reached. */
  readonly edgesAt: readonly EdgePart[];
  readonly tornBytes: number;
  readonly problem: Problem | null;
  /** Why the file could not be read to its end. */
  readonly unreadable: string | null;
};

export type ReportProgress = (bytes: number, totalBytes: number) => void;

/** Verifies a segment by itself, in constant memory. Links are followed. */
export async function verifySegment(job: SegmentJob, progress?: ReportProgress): Promise<SegmentReport> {
  const chain = new ChainCheck(job.first, job.stream);
  const edgesAt: EdgePart[] = [];
  const unreadable = await readThrough(job, chain, edgesAt, progress);
  return {
    stream: chain.stream,
    events: chain.seq - job.first + 1,
    lines: chain.line,
    follows: chain.follows,
    leaf: chain.leaf,
    plain: chain.plain,
    edge: edgeOf(chain),
    edgesAt,
    tornBytes: chain.tornBytes,
    problem: chain.problem,
    unreadable,
  };
}

async function readThrough(
  job: SegmentJob,
  chain: ChainCheck,
  edgesAt: EdgePart[],
  progress: ReportProgress | undefined,
): Promise<string | null> {
  let handle: FileHandle | null = null;
  try {
    // Non-blocking, so that a named pipe does not hold the verifier up.
    handle = await open(job.path, constants.O_RDONLY | constants.O_NONBLOCK);
    const facts = await handle.stat();
    if (!facts.isFile()) return 'this is not a regular file';
    const take = takerOf(chain, job.positions, edgesAt);
    await checkLines(handle, chain, take, (bytes) => progress?.(bytes, facts.size));
    return null;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (typeof code !== 'string') throw error;
    return `the file cannot be read: ${code}`;
  } finally {
    await handle?.close();
  }
}

function edgeOf(chain: ChainCheck): EdgePart {
  return chain.leaves.peaks().map(({ height, hash }) => ({ height, hash: hash.toString('hex') }));
}

/** Takes lines of a block, and notes the tree wherever it was asked for. */
function takerOf(chain: ChainCheck, positions: readonly number[], edgesAt: EdgePart[]) {
  const note = () => {
    while (positions[edgesAt.length] === chain.leaves.size) edgesAt.push(edgeOf(chain));
  };
  note();
  return (block: Buffer, from: number, end: number) => {
    for (let at = from; at < end && chain.problem === null; note())
      at = chain.takeLines(block, at, end, positions[edgesAt.length] ?? Number.POSITIVE_INFINITY);
  };
}

const newline = 0x0a;

/** Cuts the file into lines, block by block; the start of a line that a block cuts off goes before the next. */
async function checkLines(
  handle: FileHandle,
  chain: ChainCheck,
  take: (block: Buffer, from: number, end: number) => void,
  report: (bytes: number) => void,
): Promise<void> {
  const start = blockMarginBytes;
  const block = Buffer.alloc(start + auditLimits.lineBytesMax + verifyLimits.blockBytes + scanMarginBytes);
  let carried = 0;
  let position = 0;
  while (chain.problem === null) {
    const { bytesRead } = await handle.read(block, start + carried, verifyLimits.blockBytes, position);
    if (bytesRead === 0) break;
    position += bytesRead;
    const filled = start + carried + bytesRead;
    const end = Math.max(block.subarray(start, filled).lastIndexOf(newline) + 1, 0) + start;
    take(block, start, end);
    carried = filled - end;
    if (carried >= auditLimits.lineBytesMax) chain.takeOverlong();
    else block.copyWithin(start, end, filled);
    report(position);
  }
  chain.finish(carried);
}
