import { hash } from 'node:crypto';
import { canonicalJson, type JsonObject, type JsonValue } from '../base/canonical-json.ts';
import type { ActorKind } from '../model/actor.ts';
import type { Id } from '../model/ids.ts';
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
 * Any string may be hostile: one over its bound in `eventCharacters` is clipped with a marker that says how
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
  readonly v: 1;
  readonly stream: string;
  /** From 1, without gaps, per stream. */
  readonly seq: number;
  /** RFC 3339, UTC, milliseconds; the writer's clock, which may jump. */
  readonly at: string;
  /** SHA-256 of the line before, without its newline, as hex; 64 zeros on the first line. */
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
 * The bounded, canonical parts of an event. Throws TypeError where `data` is not JSON, which is a bug of the
 * caller, never a property of hostile input that was parsed.
 */
export function eventParts(event: NewEvent, stream: string, id: EventId, atMs: number): EventParts {
  const before: JsonObject = {
    action: clip(event.action, eventCharacters.action),
    actor: boundActor(event.actor),
    at: new Date(atMs).toISOString(),
    ...(event.data === undefined ? {} : { data: boundData(event.data) }),
    decision: { allow: event.decision.allow, rule: clip(event.decision.rule, eventCharacters.rule) },
    id,
    ...(event.phase === 'outcome' ? { of: clip(event.of, eventCharacters.id) } : {}),
    outcome: event.outcome,
    phase: event.phase,
  };
  const between: JsonObject = {
    ...(event.request === undefined ? {} : { request: boundRequest(event.request) }),
    resource: boundResource(event.resource),
  };
  return {
    head: `${canonicalJson(before).slice(0, -1)},"prev":"`,
    middle: `",${canonicalJson(between).slice(1, -1)},"seq":`,
    tail: `,"stream":"${stream}","v":1}`,
  };
}

/** The line, without its newline: canonical, because the members of each part sort into its place. */
export function lineOf(parts: EventParts, prev: string, seq: number): string {
  return `${parts.head}${prev}${parts.middle}${seq}${parts.tail}`;
}

function boundActor(actor: EventActor): JsonObject {
  return {
    id: clip(actor.id, eventCharacters.actorId),
    kind: actor.kind,
    ...(actor.onBehalfOf === undefined
      ? {}
      : { onBehalfOf: clip(actor.onBehalfOf, eventCharacters.actorId) }),
    ...(actor.token === undefined ? {} : { token: clip(actor.token, eventCharacters.actorToken) }),
  };
}

function boundResource(resource: EventResource): JsonObject {
  return {
    ...(resource.id === undefined ? {} : { id: clip(resource.id, eventCharacters.resourceId) }),
    kind: clip(resource.kind, eventCharacters.resourceKind),
    ...(resource.session === undefined
      ? {}
      : { session: clip(resource.session, eventCharacters.resourceId) }),
  };
}

function boundRequest(request: EventRequest): JsonObject {
  const { address, userAgent } = request;
  return {
    address: address === null ? null : clip(address, eventCharacters.address),
    id: clip(request.id, eventCharacters.requestId),
    userAgent: userAgent === null ? null : clip(userAgent, eventCharacters.userAgent),
  };
}

const markerCharactersMax = 16;

/** At most `charactersMax` code units, well-formed; what is cut is counted in the marker `…[+123]`. */
export function clip(text: string, charactersMax: number): string {
  if (text.length <= charactersMax) return text.toWellFormed();
  const kept = charactersMax - markerCharactersMax;
  return `${text.slice(0, kept).toWellFormed()}…[+${text.length - kept}]`;
}

function boundData(data: JsonObject): JsonObject {
  const bounded = boundValue(data, 0) as JsonObject;
  const text = canonicalJson(bounded);
  const bytes = Buffer.byteLength(text);
  if (bytes <= auditLimits.dataBytesMax) return bounded;
  return { clipped: true, bytes, sha256: hash('sha256', text, 'hex') };
}

const tooDeep = '…[nested]';

/** Strings, names and depth bounded; what is no JSON stays as it is for `canonicalJson` to refuse. */
function boundValue(value: JsonValue, depth: number): JsonValue {
  if (typeof value === 'string') return clip(value, auditLimits.dataStringCharactersMax);
  if (typeof value !== 'object' || value === null) return value;
  if (depth === auditLimits.dataDepthMax) return tooDeep;
  if (Array.isArray(value)) return value.map((item) => boundValue(item, depth + 1));
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      clip(key, auditLimits.dataStringCharactersMax),
      boundValue(member, depth + 1),
    ]),
  );
}
