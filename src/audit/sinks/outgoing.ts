import type { SinkSettings } from '../../contract/sinks.ts';
import type { AuditEvent } from '../event.ts';
import type { StreamLine } from '../stream-reader.ts';
import { ocsfOf } from './ocsf.ts';
import type { Outgoing } from './sink.ts';

/** A line of the log for a sink: what goes out, nothing because of the filter, or a line that is no event. */
export type Prepared =
  | { readonly kind: 'event'; readonly seq: number; readonly one: Outgoing }
  | { readonly kind: 'filtered'; readonly seq: number; readonly id: string }
  | { readonly kind: 'broken'; readonly seq: number };

/** Makes of lines what a sink of these settings gets. */
export function preparer(
  { filter, format }: Pick<SinkSettings, 'filter' | 'format'>,
  version: string,
): (line: StreamLine) => Prepared {
  return ({ seq, bytes }) => {
    const text = bytes.toString('utf8');
    const event = parseEvent(text);
    if (event === null) return { kind: 'broken', seq };
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

/** Nothing here vouches for the line; it only has the members that are looked at. */
function parseEvent(text: string): AuditEvent | null {
  try {
    const event = JSON.parse(text) as Partial<AuditEvent> | null;
    const words = [event?.id, event?.action, event?.at, event?.stream, event?.outcome, event?.actor?.id];
    const fits =
      words.every((word) => typeof word === 'string') &&
      typeof event?.resource?.kind === 'string' &&
      typeof event.decision?.rule === 'string' &&
      !Number.isNaN(Date.parse(event.at!));
    return fits ? (event as AuditEvent) : null;
  } catch {
    return null;
  }
}
