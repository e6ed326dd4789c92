import { hash } from 'node:crypto';
import { canonicalJson, type JsonObject, type JsonValue } from '../base/canonical-json.ts';
import type { ActorKind } from '../model/actor.ts';
import type { Id } from '../model/ids.ts';
import { plainRedactor, type Redactor, type Shown } from '../redaction/redactor.ts';
import { auditLimits, eventCharacters } from './limits.ts';

export type EventId = Id<'event'>;
export type EventPhase = 'attempt' | 'outcome' | 'note';
export type EventOutcome = 'allowed' | 'denied' | 'succeeded' | 'failed';

/** Who acted. `token` names the credential, never holds it. `onBehalfOf` is the actor it acts for. */
export type EventActor = {
  readonly id: string;
  readonly kind: ActorKind;
  readonly token?: string;
  readonly onBehalfOf?: string;
};

/** What it touched: `session` is the session that `id` belongs to. */
export type EventResource = { readonly kind: string; readonly id?: string; readonly session?: string };
export type EventDecision = { readonly allow: boolean; readonly rule: string };

/** Where it came from; null is what the transport did not tell. `userAgent` is the caller's own word. */
export type EventRequest = {
  readonly id: string;
  readonly address: string | null;
  readonly userAgent: string | null;
};

type EventBody = {
  /** Dotted words, object first: `run.create`. */
  readonly action: string;
  readonly actor: EventActor;
  readonly resource: EventResource;
  readonly decision: EventDecision;
  readonly request?: EventRequest;
  readonly data?: JsonObject;
};

/**
 * What a caller records. An attempt is recorded before its effect; its outcome is a second event that names
 * the attempt in `of`; a note stands alone. A denied attempt has no outcome.
 *
 * Any string may be hostile or hold a secret. Secrets are taken out first (`src/redaction`), members of `data` whose
 * name says that their value is secret with them; then one over its bound in `eventCharacters` is clipped with a marker that says how
 * much is gone, lone surrogates become U+FFFD, and control characters are escaped by JSON. Strings in `data`
 * are held to `dataStringCharactersMax`, what is nested deeper than `dataDepthMax` is cut, and `data` that is
 * still over `dataBytesMax` is replaced by its size and SHA-256.
 */
export type NewEvent = EventBody &
  (
    | { readonly phase: 'attempt'; readonly outcome: 'allowed' | 'denied' }
    | { readonly phase: 'outcome'; readonly outcome: 'succeeded' | 'failed'; readonly of: EventId }
    | { readonly phase: 'note'; readonly outcome: EventOutcome }
  );

/** One line of a stream: canonical JSON of at most `lineBytesMax` with its newline. */
export type AuditEvent = EventBody & {
  /** 1 in streams from before segments, whose `prev` is the SHA-256 of the line before. */
  readonly v: 1 | 2;
  readonly stream: string;
  /** From 1, without gaps, per stream. */
  readonly seq: number;
  /** RFC 3339, UTC, milliseconds; the writer's clock, which may jump. */
  readonly at: string;
  /**
   * Hash of the line before, without its newline, as a leaf of the stream's Merkle tree (RFC 6962: SHA-256 of a zero byte
   * and the line), as hex; 64 zeros on the first line.
   */
  readonly prev: string;
  readonly id: EventId;
  readonly phase: EventPhase;
  readonly outcome: EventOutcome;
  readonly of?: EventId;
};

/** What stands before the first line. */
export const noHash = '0'.repeat(64);

export const streamPattern = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** A line without what only its place in the stream decides; `lineOf` joins them. */
export type EventParts = { readonly head: string; readonly middle: string; readonly tail: string };

/**
 * The bounded, canonical parts of an event: members stand in the order of RFC 8785, and every string passes
 * `text`. Throws TypeError where `data` is not JSON, which is a bug of the caller, never a property of hostile
 * input that was parsed.
 */
export function eventParts(
  event: NewEvent,
  stream: string,
  id: EventId,
  atMs: number,
  redactor: Redactor = plainRedactor,
): EventParts {
  const { decision, outcome, phase, data } = event;
  const text: TextWriter = (value, most) => canonicalJson(clipShown(redactor.start(value, most), most));
  return {
    head:
      `{"action":${text(event.action, eventCharacters.action)},"actor":${actorText(text, event.actor)}` +
      `,"at":"${new Date(atMs).toISOString()}"${data === undefined ? '' : `,"data":${dataText(redactor, data)}`}` +
      `,"decision":{"allow":${decision.allow},"rule":${text(decision.rule, eventCharacters.rule)}}` +
      `,"id":"${id}"${event.phase === 'outcome' ? `,"of":${text(event.of, eventCharacters.id)}` : ''}` +
      `,"outcome":"${outcome}","phase":"${phase}","prev":"`,
    middle: `"${event.request === undefined ? '' : requestText(text, event.request)}${resourceText(text, event.resource)},"seq":`,
    tail: `,"stream":"${stream}","v":2}`,
  };
}

/** The line, without its newline. */
export function lineOf(parts: EventParts, prev: string, seq: number): string {
  return `${parts.head}${prev}${parts.middle}${seq}${parts.tail}`;
}

/** A string of an event as JSON: without secrets, and within its bound. */
type TextWriter = (value: string, charactersMax: number) => string;

function actorText(text: TextWriter, { id, kind, onBehalfOf, token }: EventActor): string {
  const { actorId, actorToken } = eventCharacters;
  const behalf = onBehalfOf === undefined ? '' : `,"onBehalfOf":${text(onBehalfOf, actorId)}`;
  const proof = token === undefined ? '' : `,"token":${text(token, actorToken)}`;
  return `{"id":${text(id, actorId)},"kind":"${kind}"${behalf}${proof}}`;
}

function requestText(text: TextWriter, { id, address, userAgent }: EventRequest): string {
  const from = address === null ? 'null' : text(address, eventCharacters.address);
  const agent = userAgent === null ? 'null' : text(userAgent, eventCharacters.userAgent);
  return `,"request":{"address":${from},"id":${text(id, eventCharacters.requestId)},"userAgent":${agent}}`;
}

function resourceText(text: TextWriter, { id, kind, session }: EventResource): string {
  const { resourceId, resourceKind } = eventCharacters;
  const name = id === undefined ? '' : `"id":${text(id, resourceId)},`;
  const place = session === undefined ? '' : `,"session":${text(session, resourceId)}`;
  return `,"resource":{${name}"kind":${text(kind, resourceKind)}${place}}`;
}

const markerCharactersMax = 16;

/** At most `charactersMax` code units, well-formed; what is cut is counted in the marker `…[+123]`. */
export function clip(text: string, charactersMax: number): string {
  return clipShown({ text, beyond: 0 }, charactersMax);
}

function clipShown({ text, beyond }: Shown, charactersMax: number): string {
  if (text.length <= charactersMax && beyond === 0) return text.toWellFormed();
  const kept = Math.min(text.length, charactersMax - markerCharactersMax);
  return `${text.slice(0, kept).toWellFormed()}…[+${text.length - kept + beyond}]`;
}

function dataText(redactor: Redactor, data: JsonObject): string {
  const bounded = canonicalJson(boundValue(redactor, data, 0));
  const bytes = Buffer.byteLength(bounded);
  if (bytes <= auditLimits.dataBytesMax) return bounded;
  return canonicalJson({ clipped: true, bytes, sha256: hash('sha256', bounded, 'hex') });
}

const tooDeep = '…[nested]';
const stringMax = auditLimits.dataStringCharactersMax;

/** Secrets out, and strings, names and depth bounded; what is no JSON stays as it is for `canonicalJson` to refuse. */
function boundValue(redactor: Redactor, value: JsonValue, depth: number): JsonValue {
  if (typeof value === 'string') return clipShown(redactor.start(value, stringMax), stringMax);
  if (typeof value !== 'object' || value === null) return value;
  if (depth === auditLimits.dataDepthMax) return tooDeep;
  if (Array.isArray(value)) return boundList(redactor, value, depth);
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      clipShown(redactor.start(name, stringMax), stringMax),
      redactor.named(name, member) ?? boundValue(redactor, member, depth + 1),
    ]),
  );
}

function boundList(redactor: Redactor, list: readonly JsonValue[], depth: number): JsonValue {
  if (list.length > 1 && list.every((item) => typeof item === 'string'))
    return redactor.starts(list, stringMax).map((shown) => clipShown(shown, stringMax));
  return list.map((item) => boundValue(redactor, item, depth + 1));
}
