import { verify } from 'node:crypto';
import { keyActions, rotationText } from './key-notes.ts';
import type { KeyNote } from './log-notes.ts';
import { parseVerifierKey, type VerifierKey } from './signed-note.ts';

/** The keys of a stream, in their order: each is in force from its event on, and vouched for by the one before. */
export type KeyChain = {
  readonly origin: string;
  readonly keys: readonly { key: VerifierKey; since: number }[];
};
export type KeyFlaw = { readonly seq: number; readonly flaw: string };

/** `known` is the key that was in force when earlier events were dropped. */
export function keyChainOf(notes: readonly KeyNote[], known: VerifierKey | null): KeyChain | KeyFlaw | null {
  const keys = known === null ? [] : [{ key: known, since: 0 }];
  for (const { seq, action, origin, key: text, signature } of notes) {
    const key = parseVerifierKey(text);
    if (key === null || key.name !== origin) return { seq, flaw: 'the key that is named here is none' };
    const before = keys.at(-1)?.key;
    if (action !== keyActions.rotated) {
      if (before !== undefined) return { seq, flaw: 'a key is introduced where there is one already' };
    } else if (before === undefined || !isSignedBy(before, key, signature)) {
      return { seq, flaw: 'the new key is not signed by the one before' };
    }
    keys.push({ key, since: seq });
  }
  return keys.length === 0 ? null : { origin: keys[0]!.key.name, keys };
}

function isSignedBy(before: VerifierKey, key: VerifierKey, signature: string | null): boolean {
  if (before.name !== key.name || signature === null) return false;
  const text = Buffer.from(rotationText(key.name, key.text));
  return verify(null, text, before.publicKey, Buffer.from(signature, 'base64'));
}

/** The key that signs a checkpoint of so many events. */
export function keyInForce({ keys }: KeyChain, size: number): VerifierKey | null {
  return keys.findLast(({ since }) => since <= size)?.key ?? null;
}
