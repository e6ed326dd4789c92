import type { KeyObject } from 'node:crypto';
import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCheckpoint, type UnverifiedCheckpoint } from '../../src/audit/checkpoint.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { leafHash } from '../../src/audit/merkle.ts';
import { segmentEvents, segmentHeight } from '../../src/audit/segments.ts';
import { noteSigner, type VerifierKey } from '../../src/audit/signed-note.ts';
import { signTombstone, type Tombstone, tombstoneFile } from '../../src/audit/tombstone.ts';
import { attempt, eventId, manualClock, segmentOf, type TemporaryFolder, temporaryFolder } from './audit.ts';
import { newKey } from './signed-streams.ts';

const stream = 'control';
const lastEvents = 1_200;
const atOnce = 1_000;

/** A stream of two whole segments and a third, and what its retention would write. */
export type LongLog = Disposable & {
  readonly size: number;
  readonly key: VerifierKey;
  readonly privateKey: KeyObject;
  /** From before the first segment was whole, within the second, and the newest. */
  readonly kept: readonly UnverifiedCheckpoint[];
  /** Of the first `segments` segments, with what is changed. */
  tombstone(segments: number, change?: Partial<Tombstone>): Tombstone;
  /** A copy that may be changed; bytes of files that are there must be replaced, not written into. */
  copy(): LongCopy;
};

export type LongCopy = Disposable & {
  /** The folder of all logs, and that of the stream. */
  readonly folder: string;
  readonly stream: string;
  /** The path of a segment, by its number from 1 on. */
  segment(number: number): string;
  lines(number: number): string[];
  write(number: number, lines: readonly string[]): void;
  put(name: string, content: string | Buffer): void;
  /** As retention drops the first segments. */
  drop(segments: number, tombstone?: string): void;
};

export async function makeLongLog(): Promise<LongLog> {
  const folder = temporaryFolder();
  const privateKey = newKey();
  const options = { folder: folder.path, stream, clock: manualClock(), newId: eventId };
  const log = await openAuditLog({ ...options, signingKeys: [privateKey] });
  const kept: UnverifiedCheckpoint[] = [];
  const upTo = async (size: number) => {
    for (let at = log.head().seq; at < size; at = log.head().seq) {
      const count = Math.min(atOnce, size - at);
      await Promise.all(
        Array.from({ length: count }, (_, index) => log.append(attempt(`run.${at + index}`))),
      );
    }
    kept.push(parseCheckpoint((await log.sign()).note)!);
  };
  await upTo(5_000);
  await upTo(segmentEvents + 5_000);
  await upTo(2 * segmentEvents + lastEvents);
  const roots = [await log.tree.node(segmentHeight, 0), await log.tree.node(segmentHeight, 1)];
  const both = await log.tree.node(segmentHeight + 1, 0);
  await log.close();
  const { key, name: origin } = noteSigner(kept[0]!.origin, privateKey);
  const tombstone = (segments: number, change: Partial<Tombstone> = {}): Tombstone => ({
    origin,
    size: segments * segmentEvents,
    before: leafHash(lastLine(segmentOf(folder.path, stream, (segments - 1) * segmentEvents + 1))).toString(
      'hex',
    ),
    peaks: segments === 1 ? [roots[0]!] : [both],
    key,
    at: Date.UTC(2026, 1, 1),
    ...change,
  });
  const sign = (segments: number) => signTombstone(tombstone(segments), noteSigner(origin, privateKey));
  return {
    size: kept.at(-1)!.size,
    key,
    privateKey,
    kept,
    tombstone,
    copy: () => copyOf(folder.path, sign),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

function lastLine(path: string): Buffer {
  const content = readFileSync(path);
  return content.subarray(content.lastIndexOf(0x0a, content.length - 2) + 1, -1);
}

function copyOf(from: string, sign: (segments: number) => string): LongCopy {
  const folder: TemporaryFolder = temporaryFolder();
  const own = join(folder.path, stream);
  mkdirSync(own);
  for (const name of readdirSync(join(from, stream)))
    if (name !== 'lock') linkSync(join(from, stream, name), join(own, name));
  const segment = (number: number) => segmentOf(folder.path, stream, (number - 1) * segmentEvents + 1);
  const put = (name: string, content: string | Buffer) => {
    rmSync(join(own, name), { force: true });
    writeFileSync(join(own, name), content);
  };
  return {
    folder: folder.path,
    stream: own,
    segment,
    lines: (number) => readFileSync(segment(number), 'utf8').split('\n').slice(0, -1),
    write: (number, lines) =>
      put(segment(number).slice(own.length + 1), lines.map((line) => `${line}\n`).join('')),
    put,
    drop: (segments, tombstone = sign(segments)) => {
      for (let number = 1; number <= segments; number += 1) {
        rmSync(segment(number));
        rmSync(segment(number).replace(/jsonl$/, 'hashes'));
      }
      put(tombstoneFile, tombstone);
    },
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}
