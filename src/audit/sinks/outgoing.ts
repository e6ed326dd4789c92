import type { SinkSettings } from '../../contract/sinks.ts';
import type { AuditEvent } from '../event.ts';
import { eventCharacters } from '../limits.ts';
import type { StreamLine } from '../stream-reader.ts';
import { ocsfOf } from './ocsf.ts';
import type { Outgoing } from './sink.ts';

/** A line of the log for a sink: what goes out, nothing because of the filter, or a line that is no event. */
export type Prepared =
  | { readonly kind: 'event'; readonly seq: number; readonly one: Outgoing }
  | { readonly kind: 'filtered'; readonly seq: number; readonly id: string }
  | { readonly kind: 'broken'; readonly seq: number };

/** What a line of a stream is to a sink; an event of another stream is none of this one. */
export type Prepare = (line: StreamLine, stream: string) => Prepared;

/** Makes of lines what a sink of these settings gets. */
export function preparer(
  { filter, format }: Pick<SinkSettings, 'filter' | 'format'>,
  version: string,
): Prepare {
  return ({ seq, bytes }, stream) => {
    const text = bytes.toString('utf8');
    const event = parseEvent(text);
    if (event?.stream !== stream) return { kind: 'broken', seq };
    if (!passes(event, filter)) return { kind: 'filtered', seq, id: event.id };
    const shown = format === 'ocsf' ? JSON.stringify(ocsfOf(event, version)) : text;
    return { kind: 'event', seq, one: { event, text: shown } };
  };
}

function passes({ action, outcome }: AuditEvent, filter: SinkSettings['filter']): boolean {
  const { actions, outcomes } = filter ?? {};
  const isAsked = actions?.some((prefix) => action.startsWith(prefix)) ?? true;
  return isAsked && (outcomes?.includes(outcome) ?? true);
}

/** Nothing here vouches for the line; the members that are looked at have their types and their bounds. */
function parseEvent(text: string): AuditEvent | null {
  try {
    const event = JSON.parse(text) as Partial<AuditEvent> | null;
    const { action, actor, at, decision, id, outcome, resource, seq } = event ?? {};
    const fits =
      isWord(id, eventCharacters.id) &&
      isWord(action, eventCharacters.action) &&
      isWord(actor?.id, eventCharacters.actorId) &&
      isWord(resource?.kind, eventCharacters.resourceKind) &&
      isWord(decision?.rule, eventCharacters.rule) &&
      isWord(at, timeCharactersMax) &&
      !Number.isNaN(Date.parse(at!)) &&
      Number.isSafeInteger(seq) &&
      outcomes.has(String(outcome));
    return fits ? (event as AuditEvent) : null;
  } catch {
    return null;
  }
}

const timeCharactersMax = 32;
const outcomes: ReadonlySet<string> = new Set(['allowed', 'denied', 'succeeded', 'failed']);

function isWord(value: unknown, charactersMax: number): boolean {
  return typeof value === 'string' && value.length <= charactersMax;
}
