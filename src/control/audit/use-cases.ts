import type { JsonObject } from '../../base/canonical-json.ts';
import type {
  AuditExportQuery,
  AuditFilterQuery,
  AuditIndexView,
  AuditPageView,
  AuditQuery,
  AuditTailQuery,
} from '../../contract/audit-schemas.ts';
import { apiLimits } from '../../contract/limits.ts';
import type { Caller } from '../control.ts';
import type { Gate } from '../gate.ts';
import { searchLimits } from './limits.ts';
import type { AuditSearch, EventFilter, EventPage } from './search-types.ts';
import { type EventReader, openTail } from './tail.ts';

/** Who reads the record is on the record. An actor that reaches only what is its own sees only what it did itself. */
export type AuditUseCases = {
  /** Newest first, unless asked otherwise. A page may be short, even empty, and still not be the last. */
  list(caller: Caller, query: AuditQuery): Promise<AuditPageView>;
  /** Every event that there is now, oldest first unless asked otherwise, as its line in the log, read as it is taken. */
  export(caller: Caller, query: AuditExportQuery): Promise<AsyncIterable<Buffer>>;
  /** Events from now on, or behind `after`, as they are recorded. */
  tail(caller: Caller, query: AuditTailQuery): Promise<EventReader>;
  /** Rejects where the caller may no longer read what `export` and `tail` give. */
  mayStill(caller: Caller, action: 'audit.read' | 'audit.export'): Promise<void>;
  /** Makes the search index anew from the log, which may take minutes; the old one answers meanwhile. */
  reindex(caller: Caller): Promise<AuditIndexView>;
};

type Parts = { readonly gate: Gate; readonly search: AuditSearch };

const resource = { kind: 'audit' } as const;

export function auditUseCases(parts: Parts): AuditUseCases {
  const { gate, search } = parts;
  return {
    list: (caller, query) => list(parts, caller, query),
    export: async (caller, query) => {
      const data = JSON.parse(JSON.stringify(query)) as JsonObject;
      await gate.privileged(caller, { action: 'audit.export', resource, data });
      const filter = visible(caller, query);
      return filter === null ? nothing() : lines(search, filter, query.order ?? 'oldest');
    },
    tail: async (caller, query) => {
      await gate.privileged(caller, { action: 'audit.read', resource, data: { tail: true } });
      const filter = visible(caller, query);
      return filter === null ? nobody() : await openTail(search, filter, query.after ?? null);
    },
    mayStill: (caller, action) => gate.read(caller, { action, resource }),
    reindex: (caller) => reindex(parts, caller),
  };
}

async function list({ gate, search }: Parts, caller: Caller, query: AuditQuery): Promise<AuditPageView> {
  await gate.privileged(caller, { action: 'audit.read', resource });
  const { cursor, limit, order, ...asked } = query;
  const filter = visible(caller, asked);
  if (filter === null) return { items: [], nextCursor: null, unreadable: 0 };
  const page = await search.find({
    filter,
    order: order ?? 'newest',
    after: cursor ?? null,
    limit: Math.min(limit ?? apiLimits.pageDefault, apiLimits.pageMax),
  });
  return {
    items: page.events.map(({ line }) => JSON.parse(line.toString()) as Record<string, unknown>),
    nextCursor: page.more ? page.next : null,
    unreadable: (await search.counts()).unreadable,
  };
}

/** What is asked for, narrowed to what the caller may see; null where that is nothing. */
function visible({ actor: { id, reach } }: Caller, query: AuditFilterQuery): EventFilter | null {
  const { since, until, ...asked } = query;
  if (reach !== 'all' && asked.actor !== undefined && asked.actor !== id) return null;
  const given = {
    ...asked,
    actor: reach === 'all' ? asked.actor : id,
    since: since === undefined ? undefined : Date.parse(since),
    until: until === undefined ? undefined : Date.parse(until),
  };
  const filter: EventFilter = {};
  for (const name of filterNames)
    if (given[name] !== undefined) Object.assign(filter, { [name]: given[name] });
  return filter;
}

const filterNames = [
  'action',
  'actor',
  'onBehalfOf',
  'resource',
  'resourceKind',
  'session',
  'run',
  'outcome',
  'phase',
  'rule',
  'address',
  'stream',
  'since',
  'until',
  'text',
] as const satisfies readonly (keyof EventFilter)[];

async function* lines(
  search: AuditSearch,
  filter: EventFilter,
  order: 'newest' | 'oldest',
): AsyncGenerator<Buffer, void, undefined> {
  let page: EventPage | null = null;
  do {
    const after: string | null = page?.next ?? null;
    page = await search.find({ filter, order, after, limit: searchLimits.pageEvents });
    for (const { line } of page.events) yield line;
  } while (page.more);
}

async function* nothing(): AsyncGenerator<never, void, undefined> {}

/** Of whoever asked for what it may not see: silent until it is cancelled, like a tail in which nothing happens. */
function nobody(): EventReader {
  const cancelled = Promise.withResolvers<void>();
  return {
    start: null,
    cancel: cancelled.resolve,
    // biome-ignore lint/correctness/useYield: it never has anything to give
    [Symbol.asyncIterator]: async function* () {
      await cancelled.promise;
    },
  };
}

async function reindex({ gate, search }: Parts, caller: Caller): Promise<AuditIndexView> {
  const act = { action: 'audit.reindex', resource } as const;
  if (caller.actor.reach !== 'all')
    throw await gate.refuse(caller, act, {
      rule: 'reach:all:missing',
      detail: 'The index holds what everybody did: only who reaches all of it may make it anew.',
    });
  return await gate.act(caller, act, () => search.rebuild());
}
