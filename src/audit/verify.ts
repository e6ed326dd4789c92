import { constants } from 'node:fs';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ChainCheck, type Problem } from './chain-check.ts';
import { auditLimits, verifyLimits } from './limits.ts';
import { scanMarginBytes } from './scan.ts';

export type VerdictStatus = 'intact' | 'tampered' | 'unreadable';

export type StreamVerdict = {
  readonly path: string;
  readonly status: VerdictStatus;
  /** Null where no line could be read. */
  readonly stream: string | null;
  /** Events that stand in an unbroken chain from the first line on. */
  readonly events: number;
  readonly lastSeq: number;
  /** SHA-256 of the last of them as hex; 64 zeros where there is none. Compare it with what you noted earlier. */
  readonly head: string;
  /** Bytes after the last newline: a line that was being written, or that a crash cut off. Never acknowledged. */
  readonly torn?: number;
  readonly problem?: Problem;
};

export type Verdict = { readonly status: VerdictStatus; readonly streams: readonly StreamVerdict[] };

/** Bytes of `path` read so far; `totalBytes` is its size when it was opened. */
export type VerifyProgress = { readonly path: string; readonly bytes: number; readonly totalBytes: number };
export type VerifyOptions = { readonly onProgress?: (progress: VerifyProgress) => void };

/**
 * Verifies streams from their files alone: no server, no key, constant memory. A path that is a folder stands
 * for every `*.jsonl` in it, and there each file must be named for its stream; a file given by name may have
 * been copied anywhere. Links are followed.
 *
 * `tampered` is a file whose lines are not, byte for byte, the unbroken chain that its writer made: changed,
 * missing, reordered, duplicated, spliced or foreign lines, other spellings of the same JSON, other line
 * endings. `unreadable` is what cannot be judged: no such file, not a regular file, a read error, no event in
 * it. A log that is being written may be verified meanwhile.
 *
 * What a chain alone cannot show, since every line is vouched for by the next one only: that lines are missing
 * at the end (a torn last line included), that the last line was replaced by another, that a whole suffix, or
 * the whole file, was written anew by somebody who recomputed its hashes. Comparing `head` with one noted
 * earlier shows it; signed checkpoints do so for everybody.
 */
export async function verifyStreams(paths: readonly string[], options: VerifyOptions = {}): Promise<Verdict> {
  const streams: StreamVerdict[] = [];
  for (const path of paths) {
    for (const file of await filesOf(path)) streams.push(await verifyFile(file, options));
  }
  return { status: worstOf(streams), streams };
}

/** 0 intact, 1 tampered, 2 unreadable. */
export function exitCodeOf(verdict: Verdict): 0 | 1 | 2 {
  return ({ intact: 0, tampered: 1, unreadable: 2 } as const)[verdict.status];
}

/** Tampering is never hidden behind a file that could not be read; nothing to verify is not intact. */
function worstOf(streams: readonly StreamVerdict[]): VerdictStatus {
  const statuses = new Set(streams.map(({ status }) => status));
  if (statuses.has('tampered')) return 'tampered';
  return statuses.has('unreadable') || statuses.size === 0 ? 'unreadable' : 'intact';
}

type StreamFilePath = { readonly path: string; readonly expectedStream: string | null };

async function filesOf(path: string): Promise<StreamFilePath[]> {
  const alone = [{ path, expectedStream: null }];
  try {
    if (!(await stat(path)).isDirectory()) return alone;
    const names = (await readdir(path)).filter((name) => name.endsWith('.jsonl')).sort();
    if (names.length === 0) return alone;
    return names.map((name) => ({ path: join(path, name), expectedStream: basename(name, '.jsonl') }));
  } catch {
    return alone;
  }
}

async function verifyFile(file: StreamFilePath, options: VerifyOptions): Promise<StreamVerdict> {
  const chain = new ChainCheck(file.expectedStream);
  const unreadable = (what: string) => verdictOf(file.path, chain, what);
  let handle: FileHandle | null = null;
  try {
    // Non-blocking, so that a named pipe does not hold the verifier up.
    handle = await open(file.path, constants.O_RDONLY | constants.O_NONBLOCK);
    const facts = await handle.stat();
    if (!facts.isFile()) return unreadable('this is not a regular file');
    await checkLines(handle, chain, (bytes) => {
      options.onProgress?.({ path: file.path, bytes, totalBytes: facts.size });
    });
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (typeof code !== 'string') throw error;
    return unreadable(`the file cannot be read: ${code}`);
  } finally {
    await handle?.close();
  }
  return chain.seq === 0
    ? unreadable('the file holds no event: never written, or emptied')
    : verdictOf(file.path, chain);
}

const newline = 0x0a;

/** Tampering that was found stays found, whatever made the rest unreadable. */
function verdictOf(path: string, chain: ChainCheck, unreadable?: string): StreamVerdict {
  const { stream, seq, head, tornBytes, line } = chain;
  const problem = chain.problem ?? (unreadable === undefined ? null : { line, what: unreadable });
  const fine = unreadable === undefined ? 'intact' : 'unreadable';
  return {
    path,
    status: chain.problem === null ? fine : 'tampered',
    stream,
    events: seq,
    lastSeq: seq,
    head,
    ...(tornBytes === 0 ? {} : { torn: tornBytes }),
    ...(problem === null ? {} : { problem }),
  };
}

/** Cuts the file into lines, block by block; the start of a line that a block cuts off goes before the next. */
async function checkLines(
  handle: FileHandle,
  chain: ChainCheck,
  report: (bytes: number) => void,
): Promise<void> {
  const block = Buffer.alloc(auditLimits.lineBytesMax + verifyLimits.blockBytes + scanMarginBytes);
  let carried = 0;
  let position = 0;
  while (chain.problem === null) {
    const { bytesRead } = await handle.read(block, carried, verifyLimits.blockBytes, position);
    if (bytesRead === 0) break;
    position += bytesRead;
    const filled = block.subarray(0, carried + bytesRead);
    const end = filled.lastIndexOf(newline) + 1;
    chain.takeLines(block, end);
    carried = filled.length - end;
    if (carried >= auditLimits.lineBytesMax) chain.takeOverlong();
    else filled.copy(block, 0, end);
    report(position);
  }
  chain.finish(carried);
}
