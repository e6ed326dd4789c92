import { copyFile, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { nodeDisk } from './disk.ts';
import { dropSegments, makeTombstone, readTombstone, signAgain } from './drop.ts';
import { makeFolder, replaceFile, syncFolder } from './folders.ts';
import { listSegments, type Segment, segmentEvents, segmentHeight, segmentPath } from './segments.ts';
import type { NoteSigner } from './signed-note.ts';
import { StreamReader } from './stream-reader.ts';
import type { StreamTree } from './stream-tree.ts';
import { archiveFile, tombstoneFile } from './tombstone.ts';
import { verifySegment } from './verify-segment.ts';

/** A stream that old events may be dropped of. */
export type KeptStream = {
  readonly stream: string;
  readonly folder: string;
  readonly tree: StreamTree;
};

export type RetentionParts = {
  readonly clock: Clock;
  /** Where whole segments are copied to before they go: a disk of its own, best one that nobody can take away from. */
  readonly archive: string;
  /** Events younger than this stay. */
  readonly keptMs: number;
  readonly streams: () => readonly KeptStream[];
  /** By whose key tombstones and archives are signed: control's. */
  readonly signer: () => NoteSigner;
  /** Up to which event every receiver has a stream; null where there are no receivers. */
  readonly sentThrough: (stream: string) => Promise<number | null>;
  /** Records that events up to `through` go, before they do. Throws where it cannot be recorded. */
  readonly record: (dropped: { stream: string; from: number; through: number }) => Promise<void>;
};

/**
 * Drops the oldest segments of the log: whole ones, the last event of which is older than `keptMs`, once a verified copy is
 * in the archive and every sink has them. In the archive lies beside them the note that stands for them in the log.
 */
export async function dropOldEvents(parts: RetentionParts): Promise<void> {
  for (const stream of parts.streams()) {
    const signer = parts.signer();
    await signAgain(join(stream.folder, tombstoneFile), signer);
    await signAgain(join(parts.archive, stream.stream, archiveFile), signer);
  }
  for (const stream of parts.streams()) await dropOf(parts, stream);
}

async function dropOf(parts: RetentionParts, kept: KeptStream): Promise<void> {
  const segments = await listSegments(kept.folder);
  const going = await goingOf(parts, kept, segments);
  const last = going.at(-1);
  if (last === undefined) return;
  const through = last.first + segmentEvents - 1;
  const archive = join(parts.archive, kept.stream);
  await makeFolder(nodeDisk, archive);
  for (const segment of going) await archiveSegment(segment, kept, archive);
  await syncFolder(nodeDisk, archive);
  const { folder, tree } = kept;
  const note = await makeTombstone({ folder, tree, through, signer: parts.signer(), at: parts.clock.now() });
  await replaceFile(nodeDisk, join(archive, archiveFile), Buffer.from(note));
  await parts.record({ stream: kept.stream, from: going[0]!.first, through });
  await dropSegments(folder, tree, note);
}

/** The oldest segments that may go. The newest one never does. */
async function goingOf(
  { clock, keptMs, sentThrough }: RetentionParts,
  { stream, folder }: KeptStream,
  segments: readonly Segment[],
): Promise<Segment[]> {
  const dropped = (await readTombstone(folder))?.size ?? 0;
  const sent = (await sentThrough(stream)) ?? Number.POSITIVE_INFINITY;
  const going: Segment[] = [];
  for (const segment of segments.slice(0, -1)) {
    const last = segment.first + segmentEvents - 1;
    if (last <= dropped) continue;
    const at = await timeOf(folder, last);
    if (last > sent || at === null || clock.now() - at < keptMs) break;
    going.push(segment);
  }
  return going;
}

/** When an event was recorded, by its writer's clock; null where it is not there. */
export async function timeOf(folder: string, seq: number): Promise<number | null> {
  const reader = new StreamReader(folder, seq - 1);
  try {
    const [line] = await reader.read(1);
    if (line === undefined || line.seq !== seq) return null;
    const { at } = JSON.parse(line.bytes.toString('utf8')) as { at?: unknown };
    return typeof at === 'string' ? Date.parse(at) : null;
  } finally {
    await reader.close();
  }
}

/** A copy that was read again and holds what is in the stream's tree: what was changed here is not dropped, it is evidence. */
async function archiveSegment(
  { first, path }: Segment,
  { stream, tree }: KeptStream,
  archive: string,
): Promise<void> {
  const copy = segmentPath(archive, first);
  await copyFile(path, `${copy}.new`);
  const handle = await open(`${copy}.new`, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  const found = await verifySegment({ path: `${copy}.new`, first, stream, positions: [] });
  const root = await tree.node(segmentHeight, (first - 1) / segmentEvents);
  if (found.events !== segmentEvents || found.edge[0]?.hash !== root.toString('hex'))
    throw new Error(`the segment of ${stream} from event ${first} on is not what was recorded, and stays`);
  await rename(`${copy}.new`, copy);
}
