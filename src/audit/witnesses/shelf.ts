import { parseCheckpoint, type SignedCheckpoint } from '../checkpoint.ts';
import { failureCode } from '../sinks/reason.ts';
import { DroppedError } from '../stream-tree.ts';
import { witnessLimits } from './limits.ts';
import type { Pushed, PushResult, Witness } from './witness.ts';

/**
 * A place that keeps notes by stream and size and understands nothing of them: a folder, a bucket. Its methods throw what the
 * place says; `ShelfTrouble` where that is said best in words.
 */
export type Shelf = {
  /** The smallest size above `after` that a note is kept for; null where there is none. */
  firstAfter(stream: string, after: number, signal: AbortSignal): Promise<number | null>;
  /** Null where there is none. */
  read(stream: string, size: number, signal: AbortSignal): Promise<string | null>;
  /** False where there is one already, which stays as it is. Durable once it resolves. */
  keep(stream: string, size: number, note: string, signal: AbortSignal): Promise<boolean>;
  close(): void;
};

/** Why a shelf did not do what it was asked for. */
export class ShelfTrouble extends Error {}

/** How a size stands in a name: so that names are ordered as sizes are. */
export function sizeName(size: number): string {
  return String(size).padStart(witnessLimits.sizeDigits, '0');
}

/**
 * A witness out of a shelf, which cannot tell one history from another: so that is looked for here. The newest
 * that it has must be of this log, at the first push of a process and whenever it is not what this process put there last.
 */
export function shelfWitness(shelf: Shelf): Witness {
  /** Of each stream the newest that was found to be kept and of this log. */
  const agreed = new Map<string, SignedCheckpoint>();

  /** Whether that is still the newest kept, and this is still that log. */
  async function isKnown({ stream, checkpoint, tree }: Pushed, signal: AbortSignal): Promise<boolean> {
    const base = agreed.get(stream);
    if (base === undefined || base.size >= checkpoint.size || base.origin !== checkpoint.origin) return false;
    if ((await shelf.firstAfter(stream, base.size, signal)) !== null) return false;
    return (await rootAt(tree, base.size))?.equals(base.root) ?? false;
  }

  async function push(pushed: Pushed, signal: AbortSignal): Promise<PushResult> {
    const { stream, checkpoint } = pushed;
    const { size, note } = checkpoint;
    const known = await isKnown(pushed, signal);
    agreed.delete(stream);
    if (!known) {
      const later = await shelf.firstAfter(stream, size, signal);
      if (later !== null) return conflict(`it has ${later} events of ${stream}, ${ours(pushed)}`);
      const found = await newest(shelf, pushed, signal);
      const against = found === null ? null : await compare(shelf, pushed, found, signal);
      if (against !== null) return against;
    }
    const against = (await shelf.keep(stream, size, note, signal))
      ? null
      : await compare(shelf, pushed, size, signal);
    if (against !== null) return against;
    agreed.set(stream, checkpoint);
    return { kind: 'kept' };
  }

  return {
    async push(pushed, signal) {
      try {
        return await push(pushed, signal);
      } catch (error) {
        return { kind: 'later', reason: reasonOf(error) };
      }
    },
    close: () => shelf.close(),
  };
}

/**
 * The largest size kept that is not above the checkpoint's; null where nothing is kept. Steps back twice as far each time
 * until something is found, then halves what is between: a place that only lists forwards is asked a few dozen times at most.
 */
async function newest(
  shelf: Shelf,
  { stream, checkpoint }: Pushed,
  signal: AbortSignal,
): Promise<number | null> {
  let [low, high]: [number | null, number] = [null, checkpoint.size];
  for (let step = 1; low === null && high > 0; step *= 2) {
    const after = Math.max(0, high - step);
    low = await shelf.firstAfter(stream, after, signal);
    if (low === null) high = after;
  }
  while (low !== null && low < high) {
    const middle = Math.ceil((low + high) / 2);
    const found = await shelf.firstAfter(stream, middle - 1, signal);
    if (found === null) high = middle - 1;
    else low = found;
  }
  if (low !== null && low > checkpoint.size) throw new ShelfTrouble('what it has changed meanwhile');
  return low;
}

/** What is kept of a size against the same size of this log; null where they agree. */
async function compare(
  shelf: Shelf,
  { stream, checkpoint, tree }: Pushed,
  size: number,
  signal: AbortSignal,
): Promise<PushResult | null> {
  const text = await shelf.read(stream, size, signal);
  const kept = text === null ? null : parseCheckpoint(text);
  if (kept === null || kept.size !== size)
    throw new ShelfTrouble(
      `what it keeps of ${stream} for ${size} events is no checkpoint of them: look at it`,
    );
  if (kept.origin !== checkpoint.origin)
    return conflict(`it has ${size} events of ${stream} from another log, ${shown(kept.origin)}`);
  const root = await rootAt(tree, size);
  if (root === null || root.equals(kept.root)) return null;
  return conflict(`its ${size} events of ${stream} are not those of this log`);
}

/** Null where it can no longer be told: the events were dropped. */
async function rootAt(tree: Pushed['tree'], size: number): Promise<Buffer | null> {
  return await tree.rootAt(size).catch((error: unknown) => {
    if (error instanceof DroppedError) return null;
    throw error;
  });
}

/** Whose checkpoint is older than what a witness has. */
export function ours({ checkpoint }: Pushed): string {
  return `and this log only ${checkpoint.size}: it was cut, rolled back or restored`;
}

/** As a witness says it; `reason` is bounded and printable. */
export function conflict(reason: string): PushResult {
  return { kind: 'conflict', reason };
}

/** Text from outside, bounded and printable. */
function shown(text: string): string {
  return text.replace(/[^\x21-\x7E]/g, '?').slice(0, 100);
}

function reasonOf(error: unknown): string {
  return error instanceof ShelfTrouble ? error.message : failureCode(error);
}
