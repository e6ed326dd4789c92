import type { EventOutcome } from '../audit/event.ts';
import { type EventFilter, readEvents } from '../audit/read.ts';
import { apiLimits } from '../contract/limits.ts';
import type { Caller, Control } from './control.ts';
import type { Gate } from './gate.ts';

/** Where the streams lie; all of them are read, merged by time. */
export type AuditTrail = { readonly folder: string };
type Query = Parameters<Control['audit']['list']>[1];

export function auditUseCases(parts: { gate: Gate; trail: AuditTrail }): Control['audit'] {
  return { list: (caller, query) => list(parts, caller, query) };
}

/**
 * Newest first. Who reads the record is on the record. An actor that reaches only what is its own sees only
 * what it did itself. A page may be short, even empty, and still not be the last.
 */
async function list(
  { gate, trail }: { gate: Gate; trail: AuditTrail },
  caller: Caller,
  query: Query,
): ReturnType<Control['audit']['list']> {
  const { id, reach } = caller.actor;
  await gate.privileged(caller, { action: 'audit.read', resource: { kind: 'audit' } });
  if (reach !== 'all' && query.actor !== undefined && query.actor !== id)
    return { items: [], nextCursor: null };
  const actor = reach === 'all' ? query.actor : id;
  const page = await readEvents({
    folder: trail.folder,
    limit: Math.min(query.limit ?? apiLimits.pageDefault, apiLimits.pageMax),
    filter: filterOf({ ...query, actor }),
    ...(query.cursor === undefined ? {} : { after: query.cursor }),
  });
  return { items: page.items, nextCursor: page.nextCursor };
}

function filterOf({ action, actor, resource, outcome, since, until }: Query): EventFilter {
  return {
    ...(action === undefined ? {} : { action }),
    ...(actor === undefined ? {} : { actor }),
    ...(resource === undefined ? {} : { resource }),
    ...(outcome === undefined ? {} : { outcome: outcome as EventOutcome }),
    ...(since === undefined ? {} : { since: Date.parse(since) }),
    ...(until === undefined ? {} : { until: Date.parse(until) }),
  };
}
