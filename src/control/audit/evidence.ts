import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SignedCheckpoint } from '../../audit/checkpoint.ts';
import {
  artifactsDigest,
  type EvidenceArtifact,
  type EvidencePurpose,
  type EvidenceRecord,
  evidenceHeader,
  evidenceLine,
} from '../../audit/evidence.ts';
import { keyActions } from '../../audit/key-notes.ts';
import { evidenceLimits } from '../../audit/limits.ts';
import type { Recorded, SignedAuditLog } from '../../audit/log.ts';
import { leafHash } from '../../audit/merkle.ts';
import { verifyInclusion } from '../../audit/merkle-verify.ts';
import { parseEvent } from '../../audit/parse-event.ts';
import { StreamReader } from '../../audit/stream-reader.ts';
import { tombstoneFile } from '../../audit/tombstone.ts';
import type { JsonObject } from '../../base/canonical-json.ts';
import type { EvidenceQuery } from '../../contract/audit-schemas.ts';
import { Fault } from '../../contract/faults.ts';
import { apiLimits } from '../../contract/limits.ts';
import type { RunId, SessionId } from '../../model/ids.ts';
import type { After, Listed, RunRecord, Store } from '../../store/store.ts';
import type { Caller } from '../control.ts';
import type { Gate } from '../gate.ts';
import { searchLimits } from './limits.ts';
import type { KnownStream } from './proofs.ts';
import type { AuditSearch, EventFilter, EventPage } from './search-types.ts';

export type AuditEvidenceUseCases = {
  /**
   * The lines of an evidence bundle (`src/audit/evidence.ts`), made as they are taken. That it was asked for is an event of
   * the log, and of the bundle. An actor that reaches only what is its own gets only what it did itself.
   */
  export(caller: Caller, query: EvidenceQuery): Promise<AsyncIterable<Buffer>>;
};

export type EvidenceParts = {
  readonly gate: Gate;
  readonly audit: SignedAuditLog;
  readonly search: AuditSearch;
  readonly store: Pick<Store, 'runs' | 'sessions'>;
  /** Control's own first. */
  readonly knownStreams: () => readonly KnownStream[];
};

const resource = { kind: 'audit' } as const;

export function auditEvidenceUseCases(parts: EvidenceParts): AuditEvidenceUseCases {
  return { export: (caller, query) => exportEvidence(parts, caller, query) };
}

/** What is asked for: all of a time, or what matches a filter. */
type Asked = {
  readonly filter: EventFilter;
  /** Whether everything of a time is asked for, so that a stream's part of it is one piece. */
  readonly isRange: boolean;
};

async function exportEvidence(
  parts: EvidenceParts,
  caller: Caller,
  query: EvidenceQuery,
): Promise<AsyncIterable<Buffer>> {
  if (Object.values(query).every((value) => value === undefined) || (query.run && query.session))
    throw new Fault('request.invalid', {
      detail: 'Ask for a run, a session, or what was from some time on.',
    });
  const { id, reach } = caller.actor;
  const artifacts = await artifactsOf(parts, caller, query);
  const data: JsonObject = {
    ...(JSON.parse(JSON.stringify(query)) as JsonObject),
    evidence: true,
    ...(reach === 'all' ? {} : { actor: id }),
    ...(artifacts.length === 0 ? {} : { artifacts: artifactsDigest(artifacts) }),
  };
  const request = await parts.gate.privileged(caller, { action: 'audit.export', resource, data });
  const asked: Asked = {
    filter: filterOf(query, reach === 'all' ? undefined : id),
    isRange: reach === 'all' && query.run === undefined && query.session === undefined,
  };
  await refuseDropped(parts, query);
  await parts.audit.sign();
  return told(parts, caller, bundle(parts, asked, request, artifacts));
}

function filterOf({ run, session, since, until }: EvidenceQuery, actor: string | undefined): EventFilter {
  return {
    ...(actor === undefined ? {} : { actor }),
    ...(run === undefined ? {} : { run }),
    ...(session === undefined ? {} : { session }),
    ...(since === undefined ? {} : { since: Date.parse(since) }),
    ...(until === undefined ? {} : { until: Date.parse(until) }),
  };
}

/** What the store knows of the files of the runs that are asked for, in a fixed order; of others' runs none. */
async function artifactsOf(
  { store }: EvidenceParts,
  { actor }: Caller,
  { run, session }: EvidenceQuery,
): Promise<EvidenceArtifact[]> {
  const runs = run === undefined ? runsOf(store, session) : only(await store.runs.get(run as RunId));
  const found: EvidenceArtifact[] = [];
  for await (const { id, owner, artifacts } of runs) {
    if (actor.reach !== 'all' && owner !== actor.id) continue;
    for (const { name, mediaType, bytes, sha256 } of artifacts)
      found.push({ run: id, name, mediaType, bytes, sha256 });
    if (found.length > evidenceLimits.artifactsMax)
      throw new Fault('request.invalid', {
        detail: 'The session has too many artifacts: export run by run.',
      });
  }
  return found;
}

function only(run: RunRecord | null): readonly RunRecord[] {
  return run === null ? [] : [run];
}

async function* runsOf(
  store: EvidenceParts['store'],
  session: string | undefined,
): AsyncGenerator<RunRecord, void, undefined> {
  if (session === undefined) return;
  let after: After | null = null;
  for (let more = true; more; ) {
    const page: Listed<RunRecord> = await store.runs.list(
      { session: session as SessionId },
      { after, limit: apiLimits.pageMax },
    );
    yield* page.records;
    const last = page.records.at(-1);
    after = last === undefined ? null : { createdAt: last.state.queuedAt, id: last.id };
    more = page.more && after !== null;
  }
}

/** What was asked for must still be there: a bundle cannot tell what it does not hold. */
async function refuseDropped({ store, knownStreams }: EvidenceParts, query: EvidenceQuery): Promise<void> {
  const since = query.since === undefined ? await beginningOf(store, query) : Date.parse(query.since);
  for (const { stream, folder } of knownStreams()) {
    if ((await tombstoneOf(folder)) === null) continue;
    const left = await firstLeft(folder);
    if (left !== null && (since === null || since < Date.parse(left)))
      throw new Fault('state.conflict', {
        detail: `Events of ${stream} from before ${left} were dropped from the log: ask for what was since then.`,
      });
  }
}

async function beginningOf(
  store: EvidenceParts['store'],
  { run, session }: EvidenceQuery,
): Promise<number | null> {
  if (run !== undefined) return (await store.runs.get(run as RunId))?.state.queuedAt ?? null;
  if (session !== undefined) return (await store.sessions.get(session as SessionId))?.createdAt ?? null;
  return null;
}

async function tombstoneOf(folder: string): Promise<string | null> {
  return await readFile(join(folder, tombstoneFile), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
}

async function firstLeft(folder: string): Promise<string | null> {
  const reader = new StreamReader(folder, 0);
  try {
    const [line] = await reader.read(1);
    return line === undefined ? null : (parseEvent(line.bytes)?.at ?? null);
  } finally {
    await reader.close();
  }
}

/** The lines, and once all were taken a note of what they were. */
async function* told(
  { gate }: EvidenceParts,
  { actor, request }: Caller,
  records: AsyncIterable<EvidenceRecord>,
): AsyncGenerator<Buffer, void, undefined> {
  const digest = createHash('sha256').update(`${evidenceHeader}\n`);
  yield Buffer.from(evidenceHeader);
  let events = 0;
  for await (const record of records) {
    const line = evidenceLine(record);
    digest.update(`${line}\n`);
    if (record.kind === 'end') events = record.events;
    yield Buffer.from(line);
  }
  gate.note({
    action: 'audit.export',
    actor,
    resource,
    request,
    outcome: 'succeeded',
    rule: 'audit:evidence',
    data: { evidence: true, events, sha256: digest.digest('hex') },
  });
}

async function* bundle(
  parts: EvidenceParts,
  asked: Asked,
  request: Recorded,
  artifacts: readonly EvidenceArtifact[],
): AsyncGenerator<EvidenceRecord, void, undefined> {
  for (const artifact of artifacts) yield { kind: 'artifact', artifact };
  let events = 0;
  for (const known of parts.knownStreams()) {
    for await (const record of sectionOf(parts, asked, known, request)) {
      if (record.kind === 'event') events += 1;
      yield record;
    }
  }
  yield { kind: 'end', events };
}

/** An event that goes into a bundle. */
type Chosen = { readonly seq: number; readonly line: Buffer; readonly purpose: EvidencePurpose };

/** What a bundle holds of one stream: nothing where nothing of it was asked for. */
async function* sectionOf(
  { audit, search }: EvidenceParts,
  asked: Asked,
  known: KnownStream,
  request: Recorded,
): AsyncGenerator<EvidenceRecord, void, undefined> {
  const checkpoint = known.checkpoint();
  if (checkpoint === null) return;
  const { stream, folder } = known;
  const isOwn = stream === audit.stream;
  const end = isOwn ? request.seq - 1 : checkpoint.size;
  const answer = asked.isRange
    ? rangeOf(search, asked.filter, known, end)
    : matchesOf(search, asked.filter, stream, end);
  const first = await answer.next();
  if (first.done === true && !isOwn) return;
  const extras = await keyEvents(search, stream, checkpoint.size);
  if (isOwn) extras.push({ seq: request.seq, line: await lineAt(folder, request.seq), purpose: 'request' });
  yield { kind: 'stream', stream, checkpoint: checkpoint.note, tombstone: await tombstoneOf(folder) };
  const all = merged(extras, first.done === true ? [] : andThen(first.value, answer));
  yield* proved(all, known, checkpoint);
}

/** Everything from the first event that matches to the last. */
async function* rangeOf(
  search: AuditSearch,
  filter: EventFilter,
  { stream, folder }: KnownStream,
  end: number,
): AsyncGenerator<Chosen, void, undefined> {
  const edge = async (order: 'oldest' | 'newest') => {
    const { events } = await search.find({ filter: { ...filter, stream }, order, after: null, limit: 1 });
    return events[0] === undefined ? null : seqOf(events[0].line);
  };
  const [first, last] = [await edge('oldest'), await edge('newest')];
  if (first === null || last === null) return;
  const reader = new StreamReader(folder, first - 1);
  try {
    for (let left = Math.min(last, end) - first + 1; left > 0; ) {
      const lines = await reader.read(Math.min(left, searchLimits.pageEvents));
      if (lines.length === 0) throw new Error(`events of ${stream} went away while they were exported`);
      for (const { seq, bytes: line } of lines) yield { seq, line, purpose: 'answer' };
      left -= lines.length;
    }
  } finally {
    await reader.close();
  }
}

async function* matchesOf(
  search: AuditSearch,
  filter: EventFilter,
  stream: string,
  end: number,
): AsyncGenerator<Chosen, void, undefined> {
  let page: EventPage | null = null;
  do {
    const after: string | null = page?.next ?? null;
    page = await search.find({
      filter: { ...filter, stream },
      order: 'oldest',
      after,
      limit: searchLimits.pageEvents,
    });
    for (const { line } of page.events) {
      const seq = seqOf(line);
      if (seq <= end) yield { seq, line, purpose: 'answer' };
    }
  } while (page.more);
}

function seqOf(line: Buffer): number {
  return parseEvent(line)?.seq ?? 0;
}

/** The events that name the keys of a stream. */
async function keyEvents(search: AuditSearch, stream: string, size: number): Promise<Chosen[]> {
  const found: Chosen[] = [];
  for (const action of Object.values(keyActions)) {
    for await (const event of matchesOf(search, { action }, stream, size)) {
      const { action: own, data } = parseEvent(event.line)!;
      if (own === action && typeof data?.key === 'string') found.push({ ...event, purpose: 'key' });
    }
  }
  return found.sort((a, b) => a.seq - b.seq);
}

async function lineAt(folder: string, seq: number): Promise<Buffer> {
  const reader = new StreamReader(folder, seq - 1);
  try {
    const [line] = await reader.read(1);
    if (line?.seq !== seq) throw new Error('the log does not hold an event that was just recorded');
    return line.bytes;
  } finally {
    await reader.close();
  }
}

async function* andThen<T>(first: T, rest: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  yield first;
  yield* rest;
}

/** Both in one order; an event of the answer that is also wanted for something else is there once. */
async function* merged(
  extras: readonly Chosen[],
  answer: AsyncIterable<Chosen> | readonly Chosen[],
): AsyncGenerator<Chosen, void, undefined> {
  let at = 0;
  for await (const event of answer) {
    for (; at < extras.length && extras[at]!.seq <= event.seq; at += 1)
      if (extras[at]!.seq < event.seq) yield extras[at]!;
    yield event;
  }
  yield* extras.slice(at);
}

/** With a proof for each that the next one does not follow in the log. */
async function* proved(
  events: AsyncIterable<Chosen>,
  known: KnownStream,
  checkpoint: SignedCheckpoint,
): AsyncGenerator<EvidenceRecord, void, undefined> {
  let before: Chosen | null = null;
  for await (const event of events) {
    if (before !== null) yield await recordOf(before, event.seq === before.seq + 1, known, checkpoint);
    before = event;
  }
  if (before !== null) yield await recordOf(before, false, known, checkpoint);
}

/** The hashes that proofs are made of may be damaged on the disk: what does not verify is not handed out. */
async function recordOf(
  { seq, line, purpose }: Chosen,
  isFollowed: boolean,
  { tree }: KnownStream,
  { size, root }: SignedCheckpoint,
): Promise<EvidenceRecord> {
  const record = { kind: 'event', line: line.toString('utf8'), purpose } as const;
  if (isFollowed) return { ...record, proof: null };
  const proof = await tree.inclusion(seq - 1, size);
  if (!verifyInclusion(leafHash(line), seq - 1, size, proof, root))
    throw new Error('an event is not in the tree that was signed: verify the log');
  return { ...record, proof };
}
