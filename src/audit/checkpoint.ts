import { hashBytes } from './merkle.ts';
import { exactBase64, type Note, type NoteSigner, parseNote, signNote } from './signed-note.ts';

/**
 * What a stream was at one moment (https://c2sp.org/tlog-checkpoint): the first `size` events of the log called `origin`
 * have this root.
 */
export type Checkpoint = {
  readonly origin: string;
  readonly size: number;
  readonly root: Buffer;
  /** Further lines of the text; none in those that are made here, but in tombstones. */
  readonly extensions: readonly string[];
};

/** A checkpoint and the note that says so, as it is handed out. */
export type SignedCheckpoint = Checkpoint & { readonly note: string };

/** A checkpoint that was read: `note` still has to be verified. */
export type UnverifiedCheckpoint = Checkpoint & { readonly note: Note };

export const checkpointFile = 'checkpoint';

/** What is signed: a line each for origin, size and root in base64, then the extensions. */
export function checkpointText({ origin, size, root, extensions }: Checkpoint): string {
  return [origin, size, root.toString('base64'), ...extensions].map((line) => `${line}\n`).join('');
}

/** Signed under the name of its origin, as logs are known by. */
export function signCheckpoint(checkpoint: Checkpoint, signer: NoteSigner): SignedCheckpoint {
  return { ...checkpoint, note: signNote(checkpointText(checkpoint), signer) };
}

/** Null where the text is no signed note, or the note no checkpoint. */
export function parseCheckpoint(text: string): UnverifiedCheckpoint | null {
  const note = parseNote(text);
  if (note === null) return null;
  const [origin = '', size = '', root = '', ...extensions] = note.text.slice(0, -1).split('\n');
  const rootBytes = exactBase64(root);
  const isSize = /^(0|[1-9]\d{0,15})$/.test(size) && Number.isSafeInteger(Number(size));
  if (origin === '' || !isSize || rootBytes?.length !== hashBytes || extensions.includes('')) return null;
  return { origin, size: Number(size), root: rootBytes, extensions, note };
}

/**
 * As `parseCheckpoint`, of the file beside a stream's segments, which has no further lines: with them it is the tombstone of
 * earlier events, signed by the same key, which in the place of the newest checkpoint would let all that came since be cut off.
 */
export function parseNewest(text: string): UnverifiedCheckpoint | null {
  const found = parseCheckpoint(text);
  return found === null || found.extensions.length > 0 ? null : found;
}

/** The checkpoints of a text that holds one after the other, as `audit checkpoint` prints them; null where it holds none or anything else. */
export function parseCheckpoints(text: string): UnverifiedCheckpoint[] | null {
  const notes = text.match(/(?:[^\n]+\n)+\n(?:— [^\n]+\n)+\n?/gu) ?? [];
  if (notes.length === 0 || notes.join('') !== text) return null;
  const found = notes.map((note) => parseCheckpoint(note.replace(/\n\n$/, '\n')));
  return found.includes(null) ? null : (found as UnverifiedCheckpoint[]);
}
