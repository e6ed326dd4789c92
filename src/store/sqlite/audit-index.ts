import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Database } from 'better-sqlite3';
import { type Clock, systemClock } from '../../base/clock.ts';
import { Fault } from '../../contract/faults.ts';
import type {
  AuditHits,
  AuditIndex,
  AuditIndexQuery,
  EventPlace,
  IndexedEvent,
  StreamMark,
} from '../audit-index.ts';
import { auditIndexLimits } from '../limits.ts';
import { guarded, type IndexFile, openIndexFile } from './audit-index-file.ts';
import { matchOf, termsOf } from './audit-index-terms.ts';

const { spanEvents, windowEventsMin, windowEventsMax, windowGrowth, findMs } = auditIndexLimits;

/**
 * The index in one SQLite file, made where absent. Its calls work in the caller's thread: one that has other things to
 * do keeps it in another. Throws DamagedIndex where the file is to be removed first.
 */
export function openSqliteAuditIndex(options: { file: string; clock?: Clock }): AuditIndex {
  const file = openIndexFile(options.file);
  const write = guarded(() => eventWriter(file.writer));
  const find = guarded(() => eventFinder(file, options.clock ?? systemClock));
  const { reader, generation } = file;
  const marks = reader.prepare('select name as stream, seq, digest, unreadable from streams order by id');
  return {
    generation,
    marks: async () => guarded(() => marks.all() as StreamMark[]),
    add: async (events, reached) => guarded(() => write(events, reached)),
    find,
    ...numbers(reader),
    close: async () => {
      file.reader.close();
      file.writer.close();
    },
  };
}

function eventWriter(db: Database): (events: readonly IndexedEvent[], marks: readonly StreamMark[]) => void {
  const streamId = db.prepare('select id from streams where name = ?').pluck();
  const newStream = db.prepare("insert into streams (name, seq, digest, unreadable) values (?, 0, '', 0)");
  const mark = db.prepare('update streams set seq = ?, digest = ?, unreadable = ? where id = ?');
  const lastNumber = db.prepare('select coalesce(max(number), 0) from events').pluck();
  const event = db.prepare('insert into events values (?, ?, ?, ?, ?)');
  const words = db.prepare('insert into words (rowid, terms) values (?, ?)');
  const action = db.prepare('insert into actions values (?) on conflict do nothing');
  const place = db.prepare('insert into places values (?, ?, ?) on conflict do nothing');
  const span = db.prepare(
    'insert into spans values (?, ?, ?) on conflict do update set low = min(low, excluded.low), high = max(high, excluded.high)',
  );
  return db.transaction((events: readonly IndexedEvent[], marks: readonly StreamMark[]) => {
    const ids = new Map<string, number>();
    const idOf = (name: string): number => {
      const known = ids.get(name) ?? (streamId.get(name) as number | undefined);
      const id = known ?? Number(newStream.run(name).lastInsertRowid);
      ids.set(name, id);
      return id;
    };
    let number = lastNumber.get() as number;
    const spans = new Map<number, { low: number; high: number }>();
    for (const one of events) {
      number += 1;
      const stream = idOf(one.stream);
      event.run(number, one.at, stream, one.seq, one.offset);
      words.run(number, termsOf(one));
      if (one.facets.action !== undefined) action.run(one.facets.action);
      if (one.seq % spanEvents === 1) place.run(stream, one.seq, number);
      widen(spans, Math.floor(number / spanEvents), one.at);
    }
    for (const [key, { low, high }] of spans) span.run(key, low, high);
    for (const { stream, seq, digest, unreadable } of marks) mark.run(seq, digest, unreadable, idOf(stream));
  });
}

function widen(spans: Map<number, { low: number; high: number }>, key: number, at: number): void {
  const known = spans.get(key);
  if (known === undefined) spans.set(key, { low: at, high: at });
  else {
    known.low = Math.min(known.low, at);
    known.high = Math.max(known.high, at);
  }
}

function numbers(db: Database): Pick<AuditIndex, 'numberOf' | 'place' | 'last'> {
  const columns = 'number, name as stream, e.seq, offset from events e join streams s on s.id = e.stream';
  const place = db.prepare(`select ${columns} where number = ?`);
  const last = db.prepare('select coalesce(max(number), 0) from events').pluck();
  const near = db
    .prepare(
      `select number from places where stream = (select id from streams where name = ?) and seq <= ?
       order by seq desc limit 1`,
    )
    .pluck();
  const from = db
    .prepare(
      `select number from events where number between ? and ?
       and stream = (select id from streams where name = ?) and seq = ? order by number limit 1`,
    )
    .pluck();
  return {
    place: async (number) => guarded(() => (place.get(number) as EventPlace | undefined) ?? null),
    last: async () => guarded(() => last.get() as number),
    numberOf: async (stream, seq) =>
      guarded(() => {
        const start = (near.get(stream, seq) as number | undefined) ?? 1;
        const number = from.get(start, start + windowEventsMax, stream, seq);
        return (number as number | undefined) ?? null;
      }),
  };
}

type Range = { readonly low: number; readonly high: number };

function eventFinder({ reader }: IndexFile, clock: Clock): AuditIndex['find'] {
  const look = windowLooker(reader);
  const range = rangeFinder(reader);
  const actions = reader
    .prepare('select name from actions where name >= ? and name < ? order by name limit ?')
    .pluck();
  const actionsFrom = (prefix: string): string[] => {
    const most = auditIndexLimits.actionsMatchedMax;
    const found = actions.all(prefix, `${prefix}\u{10ffff}`, most + 1) as string[];
    if (found.length <= most) return found;
    throw new Fault('request.invalid', {
      detail: `More than ${most} actions begin so. Write more of the action, up to a dot.`,
    });
  };
  return async (query) => {
    const asked = guarded(() => matchOf(query, actionsFrom));
    const { bounds, end } = guarded(() => range(query));
    if (asked === 'nothing' || bounds === null) return { places: [], reached: end, more: false };
    const hits = await inWindows(query, bounds, clock, (window, limit) =>
      guarded(() => look(asked.match, query, window, limit)),
    );
    return hits.more ? hits : { ...hits, reached: end };
  };
}

/** One window after the other, with a turn for others in between, until the page is full, all was seen or time is up. */
async function inWindows(
  { limit, order }: AuditIndexQuery,
  bounds: Range,
  clock: Clock,
  look: (window: Range, limit: number) => EventPlace[],
): Promise<AuditHits> {
  const places: EventPlace[] = [];
  const started = clock.monotonic();
  let { low, high } = bounds;
  let size: number = windowEventsMin;
  while (low <= high) {
    const window: Range =
      order === 'newest'
        ? { low: Math.max(low, high - size + 1), high }
        : { low, high: Math.min(high, low + size - 1) };
    places.push(...look(window, limit - places.length));
    if (places.length === limit) return { places, reached: places[limit - 1]!.number, more: true };
    if (order === 'newest') high = window.low - 1;
    else low = window.high + 1;
    size = Math.min(size * windowGrowth, windowEventsMax);
    if (low > high) break;
    if (clock.monotonic() - started > findMs)
      return { places, reached: order === 'newest' ? window.low : window.high, more: true };
    await nextTurn();
  }
  return { places, reached: 0, more: false };
}

type Bounds = { readonly bounds: Range | null; readonly end: number };

/** The numbers that a query can find anything among, null where there are none, and the last in its direction. */
function rangeFinder(db: Database): (query: AuditIndexQuery) => Bounds {
  const last = db.prepare('select coalesce(max(number), 0) from events').pluck();
  const first = db.prepare('select min(span) from spans where high >= ?').pluck();
  const final = db.prepare('select max(span) from spans where low < ?').pluck();
  return ({ since, until, after, order }) => {
    let low = 1;
    let high = last.get() as number;
    const end = order === 'newest' ? 1 : Math.max(high, after ?? 0);
    const none = { bounds: null, end };
    if (since !== undefined) {
      const span = first.get(since) as number | null;
      if (span === null) return none;
      low = Math.max(low, span * spanEvents);
    }
    if (until !== undefined) {
      const span = final.get(until) as number | null;
      if (span === null) return none;
      high = Math.min(high, (span + 1) * spanEvents - 1);
    }
    if (after !== null && order === 'newest') high = Math.min(high, after - 1);
    if (after !== null && order === 'oldest') low = Math.max(low, after + 1);
    return low <= high ? { bounds: { low, high }, end } : none;
  };
}

const first = 0;
/** Later than any date. */
const never = 8.64e15 + 1;

type Looker = (match: string | null, query: AuditIndexQuery, window: Range, limit: number) => EventPlace[];

function windowLooker(db: Database): Looker {
  const shown = 'e.number, (select name from streams where id = e.stream) as stream, e.seq, e.offset';
  const prepared = (['asc', 'desc'] as const).map((direction) => ({
    byTerms: db.prepare(
      `select ${shown} from words w cross join events e on e.number = w.rowid
       where w.words match ? and w.rowid between ? and ? and e.at >= ? and e.at < ?
       order by w.rowid ${direction} limit ?`,
    ),
    byTime: db.prepare(
      `select ${shown} from events e where e.number between ? and ? and e.at >= ? and e.at < ?
       order by e.number ${direction} limit ?`,
    ),
  }));
  return (match, { order, since = first, until = never }, { low, high }, limit) => {
    const { byTerms, byTime } = prepared[order === 'oldest' ? 0 : 1]!;
    const found =
      match === null
        ? byTime.all(low, high, since, until, limit)
        : byTerms.all(match, low, high, since, until, limit);
    return found as EventPlace[];
  };
}
