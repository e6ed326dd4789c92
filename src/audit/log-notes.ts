import { linesWithPrefix } from './prefix-lines.ts';
import type { Segment } from './segments.ts';

/** What a stream says about itself and others in notes of the log's own; nothing of it is verified. */
export type LogNotes = {
  readonly keys: readonly KeyNote[];
  /** What other streams were, when this one recorded it. */
  readonly claims: readonly Claim[];
  /** Signs of life, in their order. */
  readonly beats: readonly Beat[];
};

export type KeyNote = {
  readonly seq: number;
  readonly action: string;
  readonly origin: string;
  readonly key: string;
  readonly signature: string | null;
};
export type Claim = {
  readonly seq: number;
  readonly origin: string;
  readonly size: number;
  readonly root: string;
};
export type Beat = { readonly seq: number; readonly at: number; readonly action: string };

const prefix = '{"action":"audit.';
const actions = ['opened', 'closed', 'heartbeat', 'recovered', 'key.introduced', 'key.rotated'] as const;

/**
 * Finds the notes of the log itself among the lines of a stream, by how they begin: far faster than reading every line. A
 * file that cannot be read has none: that is found when it is verified.
 */
export async function readLogNotes(segments: readonly Segment[]): Promise<LogNotes> {
  const notes = { keys: [] as KeyNote[], claims: [] as Claim[], beats: [] as Beat[] };
  for (const { path } of segments) {
    try {
      for await (const line of linesWithPrefix(path, [prefix])) take(line, notes);
    } catch {
      // Whoever verifies the file says why.
    }
  }
  return notes;
}

type Found = { keys: KeyNote[]; claims: Claim[]; beats: Beat[] };

function take(line: string, { keys, claims, beats }: Found): void {
  const event = parse(line);
  if (event === null) return;
  const { seq, action, at, data } = event;
  const { origin, key, signature, checkpoints } = data;
  beats.push({ seq, at: Date.parse(at), action });
  if (typeof origin === 'string' && typeof key === 'string')
    keys.push({ seq, action, origin, key, signature: typeof signature === 'string' ? signature : null });
  for (const claim of Array.isArray(checkpoints) ? (checkpoints as Partial<Claim>[]) : []) {
    const { origin: of, size, root } = claim ?? {};
    if (typeof of === 'string' && Number.isSafeInteger(size) && typeof root === 'string')
      claims.push({ seq, origin: of, size: size!, root });
  }
}

type LogNote = { seq: number; action: string; at: string; data: Record<string, unknown> };

function parse(line: string): LogNote | null {
  if (!actions.some((action) => line.startsWith(`${action}"`, prefix.length))) return null;
  try {
    const { seq, action, at, data } = JSON.parse(line) as Partial<LogNote>;
    if (typeof seq !== 'number' || typeof action !== 'string' || typeof at !== 'string') return null;
    return { seq, action, at, data: typeof data === 'object' && data !== null ? data : {} };
  } catch {
    return null;
  }
}
