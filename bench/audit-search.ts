import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventParts, lineOf, type NewEvent, noHash } from '../src/audit/event.ts';
import { segmentEvents, segmentPath } from '../src/audit/segments.ts';
import { systemClock } from '../src/base/clock.ts';
import { openAuditSearch } from '../src/control/audit/search.ts';
import type { AuditSearch, EventFilter } from '../src/control/audit/search-types.ts';
import { newId } from '../src/model/ids.ts';
import { openSqliteAuditIndex } from '../src/store/sqlite/audit-index.ts';
import { printRows, type Row } from './row.ts';

/** `node bench/audit-search.ts 10000000` is the figure of the issue: 12 minutes and 9 GB. */
const eventsDefault = 500_000;
const rounds = 300;
const pageEvents = 50;
const firstAt = Date.UTC(2026, 0, 1);
const stepMs = 700;

const actions = [
  ...[
    'run.create',
    'run.stop',
    'run.logs',
    'run.artifact',
    'session.create',
    'session.close',
    'egress.connect',
  ],
  ...['egress.request', 'token.create', 'token.verify', 'policy.put', 'user.update', 'audit.read'],
];

/** The same numbers for every run of the bench. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const random = randomFrom(7);
const below = (most: number) => Math.floor(random() * most);

/** What a search may be for: of what was written. */
type Known = { readonly runs: string[]; readonly sessions: string[] };

/** 1,000 people of whom few do much, runs of some twenty events each, 5,000 hosts, one event in thirty denied. */
function someEvent(known: Known, number: number, at: number): NewEvent {
  if (number % 20 === 0) {
    known.runs.push(newId('run', at));
    if (number % 60 === 0) known.sessions.push(newId('session', at));
  }
  const run = known.runs[Math.max(0, known.runs.length - 1 - below(10))]!;
  const session = known.sessions[Math.max(0, known.sessions.length - 1 - below(4))]!;
  const isDenied = below(30) === 0;
  return {
    action: actions[below(actions.length)]!,
    phase: 'note',
    outcome: isDenied ? 'denied' : 'succeeded',
    actor: {
      id: actorOf(random() ** 2),
      kind: 'user',
      ...(number % 3 === 0 ? { onBehalfOf: actorOf(random()) } : {}),
    },
    resource: { kind: 'run', id: run, session },
    decision: { allow: !isDenied, rule: `rule:${below(20)}` },
    request: {
      id: newId('request', at),
      address: `10.0.${below(4)}.${below(250)}`,
      userAgent: 'sealwright/0.1.0 node/24',
    },
    data: { host: `host${below(5_000)}.example.com`, port: 443, protocol: 'https' },
  };
}

const actorOf = (part: number) => `user:person${Math.floor(part * 1_000)}`;

function writeLog(folder: string, events: number): { known: Known; seconds: number } {
  const known: Known = { runs: [], sessions: [] };
  const started = systemClock.monotonic();
  mkdirSync(folder, { recursive: true });
  for (let first = 1; first <= events; first += segmentEvents) {
    const fd = openSync(segmentPath(folder, first), 'w');
    let lines: string[] = [];
    const last = Math.min(events, first + segmentEvents - 1);
    for (let seq = first; seq <= last; seq += 1) {
      const at = firstAt + (seq - 1) * stepMs;
      const parts = eventParts(someEvent(known, seq - 1, at), 'control', newId('event', at), at);
      lines.push(lineOf(parts, noHash, seq), '\n');
      if (seq % 4_096 !== 0 && seq !== last) continue;
      writeSync(fd, lines.join(''));
      lines = [];
    }
    closeSync(fd);
  }
  return { known, seconds: (systemClock.monotonic() - started) / 1000 };
}

/** Each kind of search, for another value every time. */
function searches(known: Known, events: number): Readonly<Record<string, () => EventFilter>> {
  const endAt = firstAt + events * stepMs;
  const span = (part: number) => {
    const since = firstAt + random() * (1 - part) * (endAt - firstAt);
    return { since: Math.floor(since), until: Math.floor(since + part * (endAt - firstAt)) };
  };
  return {
    nothing: () => ({}),
    actor: () => ({ actor: actorOf(random()) }),
    'on-behalf-of': () => ({ onBehalfOf: actorOf(random()) }),
    action: () => ({ action: actions[below(actions.length)]! }),
    'action, a beginning': () => ({ action: ['run.', 'egress.', 'r', 'token.'][below(4)]! }),
    resource: () => ({ resource: known.runs[below(known.runs.length)]! }),
    session: () => ({ session: known.sessions[below(known.sessions.length)]! }),
    run: () => ({ run: known.runs[below(known.runs.length)]! }),
    outcome: () => ({ outcome: ['denied', 'succeeded'][below(2)]! }),
    rule: () => ({ rule: `rule:${below(20)}` }),
    address: () => ({ address: `10.0.${below(4)}.${below(250)}` }),
    'a tenth of the time': () => span(0.1),
    'actor, action and a tenth of the time': () => ({
      actor: actorOf(random()),
      action: 'run.create',
      ...span(0.1),
    }),
    'text, one word': () => ({ text: `host${below(5_000)}` }),
    'text, three words and an outcome': () => ({
      text: `host${below(5_000)} example https`,
      outcome: 'denied',
    }),
    'what never meets': () => ({ phase: 'note', outcome: 'denied', text: 'host1 host2' }),
    'what is not there': () => ({ actor: `user:nobody${below(1_000)}` }),
  };
}

async function measure(search: AuditSearch, filterOf: () => EventFilter) {
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const filter = filterOf();
    const started = systemClock.monotonic();
    await search.find({ filter, order: 'newest', after: null, limit: pageEvents });
    times.push(systemClock.monotonic() - started);
  }
  times.sort((a, b) => a - b);
  const at = (part: number) => times[Math.min(rounds - 1, Math.floor(part * rounds))]!;
  return { p50: at(0.5), p99: at(0.99) };
}

/** One pass over all lines for a word, which is what a search without an index is. */
function scanMs(folder: string): number {
  const files = readdirSync(folder).map((name) => join(folder, name));
  const started = systemClock.monotonic();
  // Into a pipe: a grep that nobody listens to stops at the first line.
  spawnSync('grep', ['-cF', 'host77.example.com', ...files], { stdio: 'pipe' });
  return systemClock.monotonic() - started;
}

/** Searching the audit log: pages of 50 by each filter, with the lines read from the log, and what the index takes. */
export async function benchAuditSearch(events = eventsDefault): Promise<Row[]> {
  const root = mkdtempSync(join(tmpdir(), 'sealwright-bench-'));
  const folder = join(root, 'audit');
  const stream = join(folder, 'control');
  const file = join(root, 'audit-index.sqlite');
  try {
    const { known, seconds } = writeLog(stream, events);
    const logger = { debug: ignore, info: ignore, warn: console.warn, error: console.error };
    // Nothing is durable yet, so nothing is indexed before the making is measured.
    const heads = new Map([['control', 0]]);
    const open = (path: string) => openSqliteAuditIndex({ file: path });
    const search = await openAuditSearch({ folder, file, heads, logger, open });
    const started = systemClock.monotonic();
    search.advanced('control', events);
    while ((await search.counts()).events < events) await new Promise((resolve) => setTimeout(resolve, 100));
    const rate = (events * 1000) / (systemClock.monotonic() - started);
    const scan = scanMs(stream);
    const rows: Row[] = [];
    for (const [what, filterOf] of Object.entries(searches(known, events)))
      rows.push(rowOf(what, await measure(search, filterOf), scan));
    await search.close();
    const bytes = { log: sizeOf(stream) / events, index: statSync(file).size / events };
    return [indexRow(events, rate, bytes, seconds), ...rows];
  } finally {
    rmSync(root, { recursive: true });
  }
}

const ignore = () => undefined;

function sizeOf(folder: string): number {
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

function rowOf(what: string, { p50, p99 }: { p50: number; p99: number }, scan: number): Row {
  return {
    what: `audit search: ${what}`,
    figure: `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
    peer: `grep of the log: ${Math.round(scan)} ms`,
    ratio: p50 / scan,
    note: `${rounds} pages of ${pageEvents}; aim: p99 below 100 ms`,
  };
}

function indexRow(events: number, rate: number, bytes: { log: number; index: number }, seconds: number): Row {
  return {
    what: `audit search: index of ${events} events`,
    figure: `${bytes.index.toFixed(0)} bytes an event, ${Math.round(rate)} events/s`,
    peer: `the log: ${bytes.log.toFixed(0)} bytes an event, written by the bench in ${Math.round(seconds)} s`,
    ratio: bytes.index / bytes.log,
  };
}

if (import.meta.main) {
  const asked = Number(process.argv[2] ?? eventsDefault);
  printRows(await benchAuditSearch(asked), process.argv.includes('--json'));
}
