import assert from 'node:assert/strict';
import { constants } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonValue } from '../base/canonical-json.ts';
import { Fault } from '../contract/faults.ts';
import { readFully } from './disk.ts';
import { type AuditEvent, type EventOutcome, streamPattern } from './event.ts';
import { readLimits } from './limits.ts';
import { hasEventMembers } from './line.ts';
import { listSegments } from './segments.ts';

/** Every member that is given must hold. */
export type EventFilter = {
  /** A prefix: `run.` finds `run.create`. */
  readonly action?: string;
  readonly actor?: string;
  readonly resource?: string;
  readonly outcome?: EventOutcome;
  /** Ms of the epoch, inclusive. */
  readonly since?: number;
  /** Ms of the epoch, exclusive. */
  readonly until?: number;
};

export type EventOrder = 'newest' | 'oldest';

export type ReadRequest = {
  readonly folder: string;
  /** All streams of the folder where absent, merged by `at`; within a stream the order is that of the file. */
  readonly stream?: string;
  /** Which events come first; `newest` where absent. A cursor goes on in the order it was made in. */
  readonly order?: EventOrder;
  /** `nextCursor` of the page before. Untrusted: any text may be given. */
  readonly after?: string;
  /** 1 to `pageEventsMax`. */
  readonly limit: number;
  readonly filter?: EventFilter;
};

/** `unreadable` counts lines on the way that are no events: damage, which `verifyStreams` explains. */
export type EventPage = {
  readonly items: readonly AuditEvent[];
  readonly nextCursor: string | null;
  readonly unreadable: number;
};

/**
 * One page of events, with bounded memory. At most `scanBytesMax` are read for it, so a page may be short, even
 * empty, and still have a `nextCursor`; only a null one means the end. A torn last line is passed over. Nothing
 * is verified, and the newest line of a live stream may not be durable yet. A missing stream has no events.
 * Throws Fault `request.invalid` for a cursor that is none.
 */
export async function readEvents(request: ReadRequest): Promise<EventPage> {
  const { limit, order = 'newest', filter = {} } = request;
  assert(Number.isInteger(limit) && limit >= 1 && limit <= readLimits.pageEventsMax);
  const offsets = request.after === undefined ? null : parseCursor(request.after, order);
  const budget: Budget = { bytes: readLimits.scanBytesMax, unreadable: 0 };
  const sources = await openSources(request, order, offsets);
  try {
    const items: AuditEvent[] = [];
    let ends: FillResult = 'event';
    while (ends === 'event') {
      ends = await fillAll(sources, matcherOf(filter), budget);
      if (items.length === limit || ends !== 'event') break;
      items.push(takeFirst(sources, order));
    }
    return {
      items,
      nextCursor: ends === 'end' ? null : cursorOf(sources, order),
      unreadable: budget.unreadable,
    };
  } finally {
    await Promise.all(sources.map((source) => source.handle.close()));
  }
}

type Budget = { bytes: number; unreadable: number };
/** What a source has to offer: an event, nothing before more is read than the page may, or nothing at all. */
type FillResult = 'event' | 'paused' | 'end';

/** A line, and the offset from which to go on once it was passed. */
type Line = { readonly bytes: Buffer; readonly resume: number };
/** Lines in reading order; null where there are none left. */
type Chunk = { readonly lines: Line[]; readonly bytesRead: number } | null;

type Source = {
  readonly stream: string;
  readonly handle: FileHandle;
  readonly load: (handle: FileHandle, offset: number) => Promise<Chunk>;
  /** Where a later page goes on: behind what was passed over or taken. */
  offset: number;
  lines: Line[];
  head: { readonly event: AuditEvent; readonly resume: number } | null;
};

async function openSources(
  { folder, stream }: ReadRequest,
  order: EventOrder,
  offsets: ReadonlyMap<string, number> | null,
): Promise<Source[]> {
  const streams = stream === undefined ? await streamsOf(folder) : [stream].filter(isStreamName);
  const found = await Promise.all(streams.map((name) => segmentsOf(folder, name)));
  const sources: Source[] = [];
  try {
    for (const { name, path } of found.flat()) {
      const handle = await openExisting(path);
      if (handle === null) continue;
      const load = order === 'oldest' ? loadForward : loadBackward;
      const source: Source = { stream: name, handle, load, offset: 0, lines: [], head: null };
      sources.push(source);
      const { size } = await handle.stat();
      // Of a stream that is younger than the cursor, all events are newer than those on the page before.
      const start = order === 'newest' && offsets === null ? size : 0;
      source.offset = Math.min(offsets?.get(name) ?? start, size);
    }
  } catch (error) {
    await Promise.all(sources.map(({ handle }) => handle.close()));
    throw error;
  }
  return sources;
}

function isStreamName(text: string): boolean {
  return streamPattern.test(text);
}

/** The streams of a folder by name; none where there is no folder. */
async function streamsOf(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(absentAs<string[]>([]));
  const known = names.filter(isStreamName).sort();
  assert(known.length <= readLimits.streamsMax, 'a folder holds at most streamsMax streams');
  return known;
}

/** Each segment is read as if it were a stream: its lines are as far apart in time. */
async function segmentsOf(folder: string, stream: string): Promise<{ name: string; path: string }[]> {
  const segments = await listSegments(join(folder, stream)).catch(() => []);
  return segments.map(({ first, path }) => ({ name: `${stream}.${first}`, path }));
}

function openExisting(path: string): Promise<FileHandle | null> {
  return open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(absentAs<FileHandle | null>(null));
}

function absentAs<T>(nothing: T): (error: unknown) => T {
  return (error) => {
    if ((error as { code?: unknown }).code !== 'ENOENT') throw error;
    return nothing;
  };
}

const newline = 0x0a;

async function loadForward(handle: FileHandle, offset: number): Promise<Chunk> {
  const block = await readFully(handle, offset, readLimits.blockBytes);
  const lines: Line[] = [];
  let start = 0;
  for (let end = block.indexOf(newline); end >= 0; end = block.indexOf(newline, start)) {
    lines.push({ bytes: block.subarray(start, end), resume: offset + end + 1 });
    start = end + 1;
  }
  if (lines.length > 0) return { lines, bytesRead: start };
  if (block.length < readLimits.blockBytes) return null;
  return { lines: [{ bytes: block, resume: offset + block.length }], bytesRead: block.length };
}

/** The lines that end at or before `offset`, last one first; what follows the last newline is a torn line. */
async function loadBackward(handle: FileHandle, offset: number): Promise<Chunk> {
  const from = Math.max(0, offset - readLimits.blockBytes);
  const block = await readFully(handle, from, offset - from);
  if (block.length === 0) return null;
  const lines: Line[] = [];
  let end = block.lastIndexOf(newline);
  while (end >= 0) {
    const before = end === 0 ? -1 : block.lastIndexOf(newline, end - 1);
    if (before < 0 && from > 0) break;
    lines.push({ bytes: block.subarray(before + 1, end), resume: from + before + 1 });
    end = before;
  }
  if (lines.length > 0) return { lines, bytesRead: block.length };
  return from === 0 ? null : { lines: [{ bytes: block, resume: from }], bytesRead: block.length };
}

type Matcher = (event: AuditEvent) => boolean;

async function fillAll(sources: readonly Source[], matches: Matcher, budget: Budget): Promise<FillResult> {
  const results = new Set<FillResult>();
  for (const source of sources) results.add(await fill(source, matches, budget));
  if (results.has('paused')) return 'paused';
  return results.has('event') ? 'event' : 'end';
}

/** Goes on to the source's next event that matches. */
async function fill(source: Source, matches: Matcher, budget: Budget): Promise<FillResult> {
  while (source.head === null) {
    const line = source.lines.shift();
    if (line === undefined) {
      if (budget.bytes <= 0) return 'paused';
      const chunk = await source.load(source.handle, source.offset);
      if (chunk === null) return 'end';
      budget.bytes -= chunk.bytesRead;
      source.lines = chunk.lines;
      continue;
    }
    const event = parseEvent(line.bytes);
    if (event === null) budget.unreadable += 1;
    if (event !== null && matches(event)) source.head = { event, resume: line.resume };
    else source.offset = line.resume;
  }
  return 'event';
}

function takeFirst(sources: readonly Source[], order: EventOrder): AuditEvent {
  let first: Source | null = null;
  for (const source of sources) {
    if (source.head !== null && (first === null || comesBefore(source, first, order))) first = source;
  }
  assert(first?.head);
  const { event, resume } = first.head;
  first.offset = resume;
  first.head = null;
  return event;
}

function comesBefore(one: Source, other: Source, order: EventOrder): boolean {
  const [a, b] = [one.head!.event.at, other.head!.event.at];
  return order === 'oldest' ? a < b : a > b;
}

/** The event of a line, or null where it is none. */
function parseEvent(bytes: Buffer): AuditEvent | null {
  let value: JsonValue;
  try {
    value = JSON.parse(bytes.toString('utf8')) as JsonValue;
  } catch {
    return null;
  }
  if (!hasEventMembers(value)) return null;
  const { actor, resource, decision } = value as unknown as AuditEvent;
  const isWhole =
    typeof actor.id === 'string' &&
    typeof actor.kind === 'string' &&
    typeof resource.kind === 'string' &&
    typeof decision.rule === 'string' &&
    typeof decision.allow === 'boolean';
  return isWhole ? (value as unknown as AuditEvent) : null;
}

function matcherOf(filter: EventFilter): Matcher {
  const since = filter.since === undefined ? undefined : new Date(filter.since).toISOString();
  const until = filter.until === undefined ? undefined : new Date(filter.until).toISOString();
  return (event) =>
    (filter.action === undefined || event.action.startsWith(filter.action)) &&
    (filter.actor === undefined || event.actor.id === filter.actor) &&
    (filter.resource === undefined || event.resource.id === filter.resource) &&
    (filter.outcome === undefined || event.outcome === filter.outcome) &&
    (since === undefined || event.at >= since) &&
    (until === undefined || event.at < until);
}

/** Byte offsets by stream, and the order they belong to. */
function cursorOf(sources: readonly Source[], order: EventOrder): string {
  const offsets = Object.fromEntries(sources.map(({ stream, offset }) => [stream, offset]));
  return Buffer.from(JSON.stringify({ order, offsets })).toString('base64url');
}

function parseCursor(cursor: string, order: EventOrder): ReadonlyMap<string, number> {
  const invalid = new Fault('request.invalid', {
    detail: 'The cursor is not one that a page of this list gave.',
  });
  if (cursor.length > readLimits.cursorCharactersMax) throw invalid;
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    throw invalid;
  }
  const { order: madeIn, offsets } = (value ?? {}) as { order?: unknown; offsets?: unknown };
  if (madeIn !== order || typeof offsets !== 'object' || offsets === null) throw invalid;
  const entries = Object.entries(offsets as Record<string, unknown>);
  const isOffset = (offset: unknown): offset is number =>
    Number.isSafeInteger(offset) && (offset as number) >= 0;
  if (!entries.every(([stream, offset]) => isStreamName(stream) && isOffset(offset))) throw invalid;
  return new Map(entries as [string, number][]);
}
