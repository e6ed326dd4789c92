import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, hash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { type AuditDisk, nodeDisk } from '../src/audit/disk.ts';
import { type EventId, type NewEvent, noHash } from '../src/audit/event.ts';
import { type AuditLog, openAuditLog } from '../src/audit/log.ts';
import { systemClock } from '../src/base/clock.ts';
import { openGate } from '../src/control/gate.ts';
import { decideByRole } from '../src/model/decide.ts';
import { newId } from '../src/model/ids.ts';
import { writeSignedLog } from './audit/signed-log.ts';
import { printRows, type Row } from './row.ts';

/** Disk and log take turns, because a disk's speed changes from one second to the next. */
const turns = 12;
const turnMs = 250;
/** Ten million with SEALWRIGHT_BENCH_EVENTS=10000000, which takes five gigabytes and as many minutes. */
const verifyEvents = Number(process.env.SEALWRIGHT_BENCH_EVENTS ?? 655_360);
const hashedRecords = 400_000;
const tableWriters = 64;
const gateActs = 2_000;
const verifyRounds = 3;
const recordBytes = 400;

const signingKeys = [generateKeyPairSync('ed25519').privateKey];
const eventId = (): EventId => newId('event', systemClock.now());

const silentLogger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const gateAct = { action: 'run.stop', resource: { kind: 'run', id: 'run_1', owner: 'user:alice' } } as const;
const gateCaller = {
  actor: { id: 'user:alice', scopes: new Set(['run:write'] as const), reach: 'own' },
  request: { id: 'req_1', address: '127.0.0.1', userAgent: null },
} as const;

function sampleEvent(): NewEvent {
  return {
    action: 'run.create',
    phase: 'attempt',
    actor: { id: 'user:alice', kind: 'user', token: newId('token', systemClock.now()) },
    resource: { kind: 'run', id: newId('run', systemClock.now()) },
    decision: { allow: true, rule: 'scope:run:write' },
    outcome: 'allowed',
  };
}

/** The audit log's figures: durable appends against the disk's fdatasync, verifying against hashing alone. */
export async function benchAudit(): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-bench-'));
  try {
    const appends = [];
    for (const writers of [1, 16, 64, 256]) appends.push(await benchAppends(folder, writers));
    return [...appends, await benchTable(folder), await benchGate(folder), ...(await benchVerify(folder))];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** One after the other: a record of an event's size, then fdatasync. */
async function syncsPerSecond(file: FileHandle): Promise<number> {
  const record = Buffer.alloc(recordBytes, 0x61);
  const start = systemClock.monotonic();
  let syncs = 0;
  while (systemClock.monotonic() - start < turnMs) {
    await file.write(record);
    await file.datasync();
    syncs += 1;
  }
  return (syncs * 1000) / (systemClock.monotonic() - start);
}

async function appendsPerSecond(log: AuditLog, writers: number): Promise<number> {
  const event = sampleEvent();
  const start = systemClock.monotonic();
  let appends = 0;
  const write = async () => {
    while (systemClock.monotonic() - start < turnMs) {
      await log.append(event);
      appends += 1;
    }
  };
  await Promise.all(Array.from({ length: writers }, write));
  return (appends * 1000) / (systemClock.monotonic() - start);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function countingDisk(): { disk: AuditDisk; syncs: () => number } {
  let syncs = 0;
  const disk: AuditDisk = {
    ...nodeDisk,
    open: async (path, flags, mode) => {
      const file = (await nodeDisk.open(path, flags, mode)) as FileHandle;
      const datasync = file.datasync.bind(file);
      file.datasync = () => {
        syncs += 1;
        return datasync();
      };
      return file;
    },
  };
  return { disk, syncs: () => syncs };
}

async function benchAppends(folder: string, writers: number): Promise<Row> {
  const { disk, syncs } = countingDisk();
  const stream = `writers-${writers}`;
  const log = await openAuditLog({ folder, stream, clock: systemClock, newId: eventId, disk, signingKeys });
  const file = await open(join(folder, 'syncs'), 'a');
  const rates: { disk: number; log: number }[] = [];
  const syncsBefore = syncs();
  for (let turn = 0; turn < turns; turn += 1) {
    rates.push({ disk: await syncsPerSecond(file), log: await appendsPerSecond(log, writers) });
  }
  const { seq } = await log.append(sampleEvent());
  const perSync = seq / (syncs() - syncsBefore);
  await Promise.all([log.close(), file.close()]);
  return {
    what: `audit: durable appends, ${writers} writers`,
    figure: `${Math.round(median(rates.map(({ log }) => log)))} events/s, ${perSync.toFixed(1)} per fdatasync`,
    peer: `${Math.round(median(rates.map(({ disk }) => disk)))} fdatasync/s of ${recordBytes}-byte records`,
    ratio: median(rates.map(({ disk, log }) => log / disk)),
    note: `median of ${turns} turns`,
  };
}

/** One event, one transaction: what a log in a table costs at least, on the same disk. */
async function benchTable(folder: string): Promise<Row> {
  const line = 'x'.repeat(recordBytes);
  const database = new Database(join(folder, 'table.sqlite'));
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.exec('create table events (seq integer primary key, line text not null)');
  const insert = database.prepare('insert into events (line) values (?)');
  const log = await openAuditLog({
    folder,
    stream: 'beside-table',
    clock: systemClock,
    newId: eventId,
    signingKeys,
  });
  const rates: { table: number; log: number }[] = [];
  for (let turn = 0; turn < turns; turn += 1) {
    const start = systemClock.monotonic();
    let rows = 0;
    for (; systemClock.monotonic() - start < turnMs; rows += 1) insert.run(line);
    const table = (rows * 1000) / (systemClock.monotonic() - start);
    rates.push({ table, log: await appendsPerSecond(log, tableWriters) });
  }
  await log.close();
  database.close();
  return {
    what: `audit: durable appends, ${tableWriters} writers, beside a table`,
    figure: `${Math.round(median(rates.map(({ log }) => log)))} events/s`,
    peer: `${Math.round(median(rates.map(({ table }) => table)))} SQLite transactions/s, one event each`,
    ratio: median(rates.map(({ table, log }) => log / table)),
    note: `median of ${turns} turns`,
  };
}

/** A signed log as its writer makes it, verified in a process of its own, whose memory is looked at. */
async function benchVerify(folder: string): Promise<Row[]> {
  writeSignedLog(folder, {
    stream: 'verified',
    events: verifyEvents,
    eventOf: () => ({ id: eventId(), event: sampleEvent() }),
  });
  const stream = join(folder, 'verified');
  const bytes = readdirSync(stream).reduce((sum, name) => sum + statSync(join(stream, name)).size, 0);
  const rows: Row[] = [];
  const cores = availableParallelism();
  for (const threads of cores === 1 ? [1] : [1, cores]) {
    const rounds = Array.from({ length: verifyRounds }, () => {
      const hashed = hashChainPerSecond();
      const { seconds, residentBytes } = verifyInChild(stream, threads);
      return { hashed, verified: verifyEvents / seconds, residentBytes };
    });
    const verified = median(rounds.map((round) => round.verified));
    const resident = Math.max(...rounds.map((round) => round.residentBytes));
    rows.push({
      what: `audit: verify ${verifyEvents} signed events, ${threads === 1 ? 'one core' : `${threads} cores`}`,
      figure: `${Math.round(verified)} events/s of ${Math.round(bytes / verifyEvents)} bytes, ${Math.round(resident / 2 ** 20)} MiB`,
      peer: `${Math.round(median(rounds.map(({ hashed }) => hashed)))}/s one-shot crypto.hash chain of ${recordBytes}-byte records, one core`,
      ratio: median(rounds.map((round) => round.verified / round.hashed)),
      note: `median of ${verifyRounds}`,
    });
  }
  return rows;
}

/** The largest that it was, by the kernel. */
function verifyInChild(path: string, threads: number): { seconds: number; residentBytes: number } {
  const verifier = join(import.meta.dirname, 'audit', 'verifier.ts');
  const out = execFileSync(process.execPath, [verifier, path, String(threads)], { encoding: 'utf8' });
  return JSON.parse(out) as { seconds: number; residentBytes: number };
}

/** What any verifier must do at least: each record holds the hash of the one before and is hashed. */
function hashChainPerSecond(): number {
  const record = Buffer.alloc(recordBytes, 0x61);
  let previous = noHash;
  const start = systemClock.monotonic();
  for (let index = 0; index < hashedRecords; index += 1) {
    record.write(previous, 100, 'latin1');
    previous = hash('sha256', record, 'hex');
  }
  return hashedRecords / ((systemClock.monotonic() - start) / 1000);
}

/** An act through the gate, whose effect takes no time: what recording costs whoever acts. */
async function benchGate(folder: string): Promise<Row> {
  const audit = await openAuditLog({
    folder,
    stream: 'gate',
    clock: systemClock,
    newId: eventId,
    signingKeys,
  });
  const gate = openGate({
    audit,
    access: { decide: decideByRole },
    clock: systemClock,
    logger: silentLogger,
  });
  const file = await open(join(folder, 'gate-syncs'), 'a');
  const record = Buffer.alloc(recordBytes, 0x61);
  const acts: number[] = [];
  const syncs: number[] = [];
  for (let index = 0; index < gateActs; index += 1) {
    acts.push(await timed(() => gate.act(gateCaller, gateAct, async () => undefined)));
    await gate.settled();
    syncs.push(
      await timed(async () => {
        await file.write(record);
        await file.datasync();
      }),
    );
  }
  await gate.close();
  await Promise.all([audit.close(), file.close()]);
  return {
    what: 'audit: what the gate adds to an act, one at a time',
    figure: `p50 ${quantile(acts, 0.5).toFixed(2)} ms, p99 ${quantile(acts, 0.99).toFixed(2)} ms`,
    peer: `p50 ${quantile(syncs, 0.5).toFixed(2)} ms, p99 ${quantile(syncs, 0.99).toFixed(2)} ms one write and fdatasync`,
    ratio: quantile(acts, 0.5) / quantile(syncs, 0.5),
    note: `${gateActs} acts`,
  };
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const start = systemClock.monotonic();
  await act();
  return systemClock.monotonic() - start;
}

function quantile(values: readonly number[], q: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * q)]!;
}

if (import.meta.main) printRows(await benchAudit(), process.argv.includes('--json'));
