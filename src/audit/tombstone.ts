import { type Checkpoint, parseCheckpoint, signCheckpoint, type UnverifiedCheckpoint } from './checkpoint.ts';
import { hashBytes, TreeEdge } from './merkle.ts';
import { segmentEvents } from './segments.ts';
import { exactBase64, type NoteSigner, parseVerifierKey, type VerifierKey } from './signed-note.ts';

/**
 * What stands in the place of events that were dropped: a signed checkpoint of them, whose further lines hold what the rest
 * still needs to be verified. It lies beside the segments that are left.
 */
export type Tombstone = {
  readonly origin: string;
  /** Events from 1 to here were dropped. */
  readonly size: number;
  /** The hash of the last of them, which the next event carries. */
  readonly before: string;
  /** The edge of the tree over them. */
  readonly peaks: readonly Buffer[];
  /** The key in force then. */
  readonly key: VerifierKey;
  /** Ms of the epoch. */
  readonly at: number;
};

export const tombstoneFile = 'dropped';
/** The same note beside a copy of the events that it stands for. */
export const archiveFile = 'archived';

/** The text of the file. */
export function signTombstone(tombstone: Tombstone, signer: NoteSigner): string {
  const { origin, size, before, peaks, key, at } = tombstone;
  const extensions = [
    `dropped ${new Date(at).toISOString()}`,
    `before ${before}`,
    `key ${key.text}`,
    ...peaks.map((peak) => `peak ${peak.toString('base64')}`),
  ];
  const checkpoint: Checkpoint = { origin, size, root: new TreeEdge(size, peaks).root(), extensions };
  return signCheckpoint(checkpoint, signer).note;
}

/** What a text says, and the note whose signature is still to be verified; null where it is no tombstone. */
export function parseTombstone(
  text: string,
): { tombstone: Tombstone; note: UnverifiedCheckpoint['note'] } | null {
  const checkpoint = parseCheckpoint(text);
  if (checkpoint === null) return null;
  const { origin, size, root, note } = checkpoint;
  const [dropped, before, key, ...peakLines] = checkpoint.extensions;
  const at = Date.parse(/^dropped (\S+)$/.exec(dropped ?? '')?.[1] ?? '');
  const hash = /^before ([0-9a-f]{64})$/.exec(before ?? '')?.[1];
  const known = parseVerifierKey(/^key (\S+)$/.exec(key ?? '')?.[1] ?? '');
  const peaks = peakLines.map((line) => exactBase64(/^peak (\S+)$/.exec(line)?.[1] ?? ''));
  if (Number.isNaN(at) || hash === undefined || known === null || peaks.includes(null)) return null;
  const edge = edgeOf(size, peaks as Buffer[]);
  if (edge === null || !edge.root().equals(root)) return null;
  return { tombstone: { origin, size, before: hash, peaks: peaks as Buffer[], key: known, at }, note };
}

/** Whole segments are dropped, and nothing else. */
function edgeOf(size: number, peaks: readonly Buffer[]): TreeEdge | null {
  const isWhole = size > 0 && size % segmentEvents === 0;
  if (!isWhole || peaks.some(({ length }) => length !== hashBytes)) return null;
  try {
    return new TreeEdge(size, peaks);
  } catch {
    return null;
  }
}
