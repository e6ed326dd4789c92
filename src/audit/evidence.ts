import { hash } from 'node:crypto';
import { canonicalJson, type JsonObject, type JsonValue } from '../base/canonical-json.ts';

/**
 * An evidence bundle: events that were chosen from a log, each provably in it, in one file of canonical JSON lines, so that
 * neither its maker nor its reader holds all of it at a time. In their order:
 *
 * - `evidenceHeader`;
 * - an `artifact` each, of the runs that were asked for;
 * - for each stream `checkpoint`, a signed note, and `tombstone` where events were dropped; then its `event`s in their order:
 *   the line byte for byte, what it is here `for`, and a `proof` that it is in the tree of the checkpoint (RFC 6962, 2.1.1).
 *   An event that the next one of the bundle follows in the log needs none: that one carries its hash;
 * - `end`, with the number of events.
 *
 * Nothing of it is to be believed but what the checkpoints vouch for. What was asked, when and by whom is the event `request`,
 * which also holds the hash of the lines of the artifacts.
 */
export const evidenceHeader = '{"sealwright-evidence":1}';

/** `answer`: it was asked for. `key`: it names the key that signs. `request`: it records that somebody asked for the bundle. */
export type EvidencePurpose = 'answer' | 'key' | 'request';

export type EvidenceArtifact = {
  readonly run: string;
  readonly name: string;
  readonly mediaType: string;
  readonly bytes: number;
  readonly sha256: string;
};

/** One line of a bundle; nothing of it is verified. */
export type EvidenceRecord =
  | { readonly kind: 'artifact'; readonly artifact: EvidenceArtifact }
  | {
      readonly kind: 'stream';
      readonly stream: string;
      readonly checkpoint: string;
      readonly tombstone: string | null;
    }
  | {
      readonly kind: 'event';
      readonly line: string;
      readonly purpose: EvidencePurpose;
      readonly proof: readonly Buffer[] | null;
    }
  | { readonly kind: 'end'; readonly events: number };

/** The line of a record, without its newline. */
export function evidenceLine(record: EvidenceRecord): string {
  return canonicalJson(objectOf(record));
}

function objectOf(record: EvidenceRecord): JsonObject {
  if (record.kind === 'artifact') return { artifact: { ...record.artifact } };
  if (record.kind === 'end') return { end: { events: record.events } };
  if (record.kind === 'stream') {
    const { stream, checkpoint, tombstone } = record;
    return { stream, checkpoint, ...(tombstone === null ? {} : { tombstone }) };
  }
  const proof = record.proof?.map((node) => node.toString('base64'));
  return { event: record.line, for: record.purpose, ...(proof === undefined ? {} : { proof }) };
}

/** The record of a line; null where it is none, also where it is spelled otherwise than `evidenceLine` spells it. */
export function parseEvidenceLine(line: string): EvidenceRecord | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const record = recordOf(value as Members);
  return record !== null && isSpelled(record, line) ? record : null;
}

function isSpelled(record: EvidenceRecord, line: string): boolean {
  try {
    return evidenceLine(record) === line;
  } catch {
    return false;
  }
}

type Members = Readonly<Record<string, JsonValue | undefined>>;

/** Members that are too many or missing show when the record is spelled again. */
function recordOf({
  artifact,
  end,
  stream,
  checkpoint,
  tombstone = null,
  event,
  for: purpose,
  proof,
}: Members): EvidenceRecord | null {
  if (typeof event === 'string') return eventOf(event, purpose, proof);
  if (typeof stream === 'string' && typeof checkpoint === 'string')
    return typeof tombstone === 'string' || tombstone === null
      ? { kind: 'stream', stream, checkpoint, tombstone }
      : null;
  if (typeof artifact === 'object') return artifactOf((artifact ?? {}) as Members);
  const { events } = (end ?? {}) as Members;
  return typeof events === 'number' ? { kind: 'end', events } : null;
}

function eventOf(line: string, purpose: unknown, proof: unknown): EvidenceRecord | null {
  if (purpose !== 'answer' && purpose !== 'key' && purpose !== 'request') return null;
  if (proof === undefined) return { kind: 'event', line, purpose, proof: null };
  if (!Array.isArray(proof) || !proof.every((node) => typeof node === 'string')) return null;
  return { kind: 'event', line, purpose, proof: proof.map((node) => Buffer.from(node, 'base64')) };
}

function artifactOf({ run, name, mediaType, bytes, sha256 }: Members): EvidenceRecord | null {
  const isWhole =
    typeof run === 'string' &&
    typeof name === 'string' &&
    typeof mediaType === 'string' &&
    typeof bytes === 'number' &&
    typeof sha256 === 'string';
  return isWhole ? { kind: 'artifact', artifact: { run, name, mediaType, bytes, sha256 } } : null;
}

/** What stands in the request for all artifacts together. */
export function artifactsDigest(artifacts: readonly EvidenceArtifact[]): string {
  const lines = artifacts.map((artifact) => `${evidenceLine({ kind: 'artifact', artifact })}\n`);
  return hash('sha256', lines.join(''), 'hex');
}
