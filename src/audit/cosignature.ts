import { verify } from 'node:crypto';
import { type Note, parseNote, type VerifierKey } from './signed-note.ts';

/**
 * What a witness says of a checkpoint, with Ed25519 (https://c2sp.org/tlog-cosignature): that at a moment this was the
 * largest tree of that origin that it knew, and that every one before was a beginning of it. A line of a note, the bytes of
 * which are eight of the time and the signature.
 */
export type Cosignature = {
  /** The line of the note, without its newline. */
  readonly line: string;
  /** Seconds since the epoch, by the witness's clock. */
  readonly at: number;
};

const timeBytes = 8;
const signatureBytes = 64;

/** What is signed of a note's text. */
export function cosignedText(text: string, at: number): string {
  return `cosignature/v1\ntime ${at}\n${text}`;
}

/**
 * The cosignature by `key`, of type `cosignature`, among the signatures of a note; null where there is none that verifies.
 * Those by other keys are passed over.
 */
export function cosignatureBy(note: Note, key: VerifierKey): Cosignature | null {
  for (const { name, id, bytes } of note.signatures) {
    if (name !== key.name || id !== key.id || bytes.length !== timeBytes + signatureBytes) continue;
    const at = Number(bytes.readBigUInt64BE());
    if (!Number.isSafeInteger(at)) continue;
    const signed = Buffer.from(cosignedText(note.text, at));
    if (!verify(null, signed, key.publicKey, bytes.subarray(timeBytes))) continue;
    return { at, line: signatureLine(name, id, bytes) };
  }
  return null;
}

/** A note with more signatures; null where `lines` are none. The signatures are not verified. */
export function withSignatures(note: string, lines: string): Note | null {
  return parseNote(note + lines);
}

/** The same note with the lines that it does not have yet. */
export function mergedNote(note: string, lines: readonly string[]): string {
  const fresh = lines.filter((line) => !note.includes(`\n${line}\n`));
  return note + fresh.map((line) => `${line}\n`).join('');
}

function signatureLine(name: string, id: string, bytes: Buffer): string {
  return `— ${name} ${Buffer.concat([Buffer.from(id, 'hex'), bytes]).toString('base64')}`;
}
