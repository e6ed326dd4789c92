/** Ids of this product (`src/model/ids.ts`), which name a credential and open nothing. */
const ownId = /^[a-z]{3}_[0-9a-hjkmnp-tv-z]{26}$/;
const plainWord = /^[A-Za-z]?[a-z]*(?:[ :._/-][a-z]*)*$/;
const marker = /^\[redacted:[a-z0-9._-]{1,64}\]$/;

/** Whether a value names a credential, or a secret that was taken out before: nothing to hide. */
export function namesOnly(value: string): boolean {
  return ownId.test(value) || marker.test(value);
}

/** Whether a text is ordinary words: small letters, perhaps the first a capital, and signs between them. */
export function isPlainWord(text: string): boolean {
  return plainWord.test(text);
}
