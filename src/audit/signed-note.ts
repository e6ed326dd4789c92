import { createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto';

/**
 * Signed notes with Ed25519 (https://c2sp.org/signed-note): a text that ends in a newline, an empty line, and a line for
 * each signature: `— NAME BASE64`, where the bytes are four of the key's id and the signature.
 */

/** Who signs: `name` holds no space and no plus. */
export type NoteSigner = {
  readonly name: string;
  readonly key: VerifierKey;
  sign(text: string): Buffer;
};

/** A public key with its name, as `NAME+ID+BASE64` (`text`), the form that such keys are handed out in. */
export type VerifierKey = {
  readonly name: string;
  /** Eight hexadecimal digits. */
  readonly id: string;
  readonly text: string;
  readonly publicKey: KeyObject;
};

/** A note as it was found: the signatures are not verified. */
export type Note = {
  /** With its last newline. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
};
export type NoteSignature = { readonly name: string; readonly id: string; readonly bytes: Buffer };

/** What a file or an answer may hold at most. */
export const noteBytesMax = 64 * 1024;
const signaturesMax = 16;
/** What a key is for, as its first byte says: notes, or cosignatures of checkpoints (`cosignature.ts`). */
export const keyTypes = { note: 0x01, cosignature: 0x04 } as const;
export type KeyType = (typeof keyTypes)[keyof typeof keyTypes];
const namePattern = /^[^\s+]{1,255}$/u;

/** Throws where `name` is no name of a key. */
export function noteSigner(name: string, privateKey: KeyObject): NoteSigner {
  const key = publicPart(name, privateKey, keyTypes.note);
  return { name, key, sign: (text) => sign(null, Buffer.from(text), privateKey) };
}

/** Throws where `name` is no name of a key. */
export function publicPart(name: string, privateKey: KeyObject, type: KeyType): VerifierKey {
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  return verifierKey(name, Buffer.from(x!, 'base64url'), type);
}

function verifierKey(name: string, raw: Buffer, type: KeyType): VerifierKey {
  if (!namePattern.test(name)) throw new Error('that is no name of a key');
  const typed = Buffer.concat([Buffer.from([type]), raw]);
  const id = hash('sha256', Buffer.concat([Buffer.from(`${name}\n`), typed]), 'hex').slice(0, 8);
  return {
    name,
    id,
    text: `${name}+${id}+${typed.toString('base64')}`,
    publicKey: createPublicKey({
      key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') },
      format: 'jwk',
    }),
  };
}

/** The key of its text; null where it is none, also where its id is not that of its name and bytes. */
export function parseVerifierKey(text: string, type: KeyType = keyTypes.note): VerifierKey | null {
  const [name = '', id = '', ...rest] = text.split('+');
  const bytes = exactBase64(rest.join('+'));
  if (bytes?.length !== 33 || bytes[0] !== type || !namePattern.test(name)) return null;
  const key = verifierKey(name, bytes.subarray(1), type);
  return key.id === id ? key : null;
}

/** `text` must end in a newline. */
export function signNote(text: string, signer: NoteSigner): string {
  const signature = Buffer.concat([Buffer.from(signer.key.id, 'hex'), signer.sign(text)]);
  return `${text}\n— ${signer.name} ${signature.toString('base64')}\n`;
}

const signatureLine = /^— (\S+) (\S+)$/u;

/** The parts of a note; null where the text is none. */
export function parseNote(note: string): Note | null {
  const end = note.lastIndexOf('\n\n');
  if (note.length > noteBytesMax || end < 0 || !note.endsWith('\n') || !note.isWellFormed()) return null;
  const lines = note.slice(end + 2, -1).split('\n');
  const signatures = lines.map(parseSignature);
  if (signatures.length > signaturesMax || signatures.some((signature) => signature === null)) return null;
  return { text: note.slice(0, end + 1), signatures: signatures as NoteSignature[] };
}

function parseSignature(line: string): NoteSignature | null {
  const [, name, base64] = signatureLine.exec(line) ?? [];
  const bytes = exactBase64(base64 ?? '');
  if (name === undefined || bytes === null || bytes.length < 5) return null;
  return { name, id: bytes.subarray(0, 4).toString('hex'), bytes: bytes.subarray(4) };
}

/**
 * The first of `keys` that a note is truly signed by; null where it is by none of them. A signature by a key that is known
 * and that does not verify makes the whole note worthless: then it is null too.
 */
export function signedBy(note: Note, keys: readonly VerifierKey[]): VerifierKey | null {
  let found: VerifierKey | null = null;
  for (const { name, id, bytes } of note.signatures) {
    const key = keys.find((candidate) => candidate.name === name && candidate.id === id);
    if (key === undefined) continue;
    if (!verify(null, Buffer.from(note.text), key.publicKey, bytes)) return null;
    found ??= key;
  }
  return found;
}

/** Bytes whose one spelling in base64 is `text`; null where there are none. */
export function exactBase64(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return text !== '' && bytes.toString('base64') === text ? bytes : null;
}
