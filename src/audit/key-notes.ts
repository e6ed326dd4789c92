import type { JsonObject } from '../base/canonical-json.ts';
import type { NoteSigner } from './signed-note.ts';

/**
 * How a stream says by which key its checkpoints are signed: in a note of its own, `audit.opened` in a new stream and
 * `audit.key.introduced` in one from before there were checkpoints; then, for each key that takes the place of another, in
 * `audit.key.rotated`, which the earlier key signs. So whoever holds one key can follow to the newest.
 */
export const keyActions = {
  opened: 'audit.opened',
  introduced: 'audit.key.introduced',
  rotated: 'audit.key.rotated',
} as const;

/** What a log is called in its checkpoints: a name under a domain for private use, that no other log has. */
export function originOf(stream: string, unique: string): string {
  return `audit.sealwright.internal/${unique}/${stream}`;
}

/** The data of the note that names the first key. */
export function introductionData(signer: NoteSigner): JsonObject {
  return { origin: signer.name, key: signer.key.text };
}

/** The data of the note that names another key, with the signature of the one before. */
export function rotationData(from: NoteSigner, to: Pick<NoteSigner, 'name' | 'key'>): JsonObject {
  const signature = from.sign(rotationText(to.name, to.key.text)).toString('base64');
  return { origin: to.name, key: to.key.text, signature };
}

/** What the key before signs. */
export function rotationText(origin: string, key: string): string {
  return `sealwright audit key rotation\n${origin}\n${key}\n`;
}
