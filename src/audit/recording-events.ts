import { actorKind } from '../model/actor.ts';
import { parseId, type RunId, type TerminalId } from '../model/ids.ts';
import type { OwnedRun } from './egress-events.ts';
import type { AuditEvent, NewEvent } from './event.ts';

/** What is on the disk of a recording: the bytes `from` to before `to` of it, which are in the segment of that name. */
export type RecordedRange = {
  readonly segment: number;
  readonly from: number;
  readonly to: number;
  readonly sha256: string;
};

/** A segment that was removed to stay within the limit, and where it ended. */
export type DroppedSegment = { readonly segment: number; readonly to: number };

/** What one line tells of a recording. */
export type ToldRecording = { readonly run: RunId; readonly terminal: TerminalId } & (
  | { readonly range: RecordedRange }
  | { readonly dropped: DroppedSegment }
  /** Nothing was written behind this place. */
  | { readonly end: number }
);

/** What the event is called that tells of recordings. */
export const recordedAction = 'terminal.recorded';

/** What is recorded of a recording, by whoever writes it. */
export function recordedEvent(
  told: { readonly range: RecordedRange } | { readonly dropped: DroppedSegment } | { readonly end: number },
  terminal: TerminalId,
  { run, session, owner }: OwnedRun,
): NewEvent {
  return {
    action: recordedAction,
    phase: 'note',
    actor: { id: owner, kind: actorKind(owner) },
    resource: { kind: 'run', id: run, session },
    decision: { allow: true, rule: 'runner:recording' },
    outcome: 'succeeded',
    data: { terminal, ...told },
  };
}

/** What a line tells of recordings; null where it tells of something else. Says nothing about who wrote the line. */
export function toldRecording({ action: name, resource, data = {} }: AuditEvent): ToldRecording | null {
  const { terminal, range, dropped, end } = data;
  if (name !== recordedAction || typeof resource.id !== 'string' || typeof terminal !== 'string') return null;
  const ids = { run: parseId('run', resource.id), terminal: parseId('terminal', terminal) };
  if (ids.run === null || ids.terminal === null) return null;
  const whose = { run: ids.run, terminal: ids.terminal };
  if (isRange(range)) return { ...whose, range };
  if (isDropped(dropped)) return { ...whose, dropped };
  return isPlace(end) ? { ...whose, end } : null;
}

function isPlace(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isRange(value: unknown): value is RecordedRange {
  const { segment, from, to, sha256 } = Object(value) as Record<string, unknown>;
  return [segment, from, to].every(isPlace) && typeof sha256 === 'string';
}

function isDropped(value: unknown): value is DroppedSegment {
  const { segment, to } = Object(value) as Record<string, unknown>;
  return [segment, to].every(isPlace);
}
