import type { AuditEvent } from '../../audit/event.ts';
import { parseEvent } from '../../audit/parse-event.ts';
import type { StreamLine } from '../../audit/stream-reader.ts';
import type { IndexedEvent } from '../../store/audit-index.ts';
import { wordsOfEvent } from './words.ts';

/** What the index is told of a line of a stream; null for one that is no event of it, at this place. */
export function indexedEvent(stream: string, { seq, bytes, offset }: StreamLine): IndexedEvent | null {
  const event = eventAt(stream, seq, bytes);
  if (event === null) return null;
  const at = Date.parse(event.at);
  if (!Number.isSafeInteger(at) || at < 0) return null;
  const words = wordsOfEvent(event);
  return words === null ? null : { stream, seq, offset, at, facets: facetsOf(event), words };
}

/** The event of a line, where it says itself that it stands in this place. */
export function eventAt(stream: string, seq: number, bytes: Buffer): AuditEvent | null {
  const event = parseEvent(bytes);
  return event !== null && event.stream === stream && event.seq === seq ? event : null;
}

function facetsOf({ action, actor, decision, outcome, phase, request, resource }: AuditEvent) {
  const { kind, id } = resource;
  const given = {
    actor: actor.id,
    onBehalfOf: actor.onBehalfOf,
    action,
    resource: id,
    resourceKind: kind,
    session: kind === 'session' ? id : resource.session,
    run: kind === 'run' ? id : undefined,
    outcome,
    phase,
    rule: decision.rule,
    address: request?.address ?? undefined,
  };
  // A stream that somebody else wrote may have anything in its members.
  return Object.fromEntries(Object.entries(given).filter(([, value]) => typeof value === 'string'));
}
