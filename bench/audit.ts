import { generateKeyPairSync, hash } from 'node:crypto';
import { mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AuditDisk, nodeDisk } from '../src/audit/disk.ts';
import { type EventId, eventParts, lineOf, type NewEvent, noHash } from '../src/audit/event.ts';
import { type AuditLog, openAuditLog } from '../src/audit/log.ts';
import { verifyStreams } from '../src/audit/verify.ts';
import { systemClock } from '../src/base/clock.ts';
import { newId } from '../src/model/ids.ts';
import type { Row } from './row.ts';

/** Disk and log take turns, because a disk's speed changes from one second to the next. */
const turns = 12;
const turnMs = 250;
const verifyEvents = 400_000;
const verifyRounds = 3;
const recordBytes = 400;

const signingKeys = [generateKeyPairSync('ed25519').privateKey];
const eventId = (): EventId => newId('event', systemClock.now());

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
    return [...appends, await benchVerify(folder)];
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

async function benchVerify(folder: string): Promise<Row> {
  const path = join(folder, 'verified.jsonl');
  writeStream(path);
  let verified = 0;
  let hashed = 0;
  for (let round = 0; round < verifyRounds; round += 1) {
    hashed = Math.max(hashed, hashChainPerSecond());
    const start = systemClock.monotonic();
    const verdict = await verifyStreams([path]);
    const seconds = (systemClock.monotonic() - start) / 1000;
    if (verdict.status !== 'intact') throw new Error('the bench wrote a log that does not verify');
    verified = Math.max(verified, verifyEvents / seconds);
  }
  const lineBytes = Math.round(statSync(path).size / verifyEvents);
  return {
    what: 'audit: verify, one core',
    figure: `${Math.round(verified)} events/s of ${lineBytes} bytes`,
    peer: `${Math.round(hashed)}/s one-shot crypto.hash chain of ${recordBytes}-byte records`,
    ratio: verified / hashed,
    note: `best of ${verifyRounds}`,
  };
}

function writeStream(path: string): void {
  const fd = openSync(path, 'w');
  let prev = noHash;
  let text = '';
  for (let seq = 1; seq <= verifyEvents; seq += 1) {
    const line = lineOf(eventParts(sampleEvent(), 'verified', eventId(), systemClock.now()), prev, seq);
    prev = hash('sha256', line, 'hex');
    text += `${line}\n`;
    if (seq % 1000 === 0) {
      writeSync(fd, text);
      text = '';
    }
  }
}

/** What any verifier must do at least: each record holds the hash of the one before and is hashed. */
function hashChainPerSecond(): number {
  const record = Buffer.alloc(recordBytes, 0x61);
  let previous = noHash;
  const start = systemClock.monotonic();
  for (let index = 0; index < verifyEvents; index += 1) {
    record.write(previous, 100, 'latin1');
    previous = hash('sha256', record, 'hex');
  }
  return verifyEvents / ((systemClock.monotonic() - start) / 1000);
}

if (import.meta.main) console.table(await benchAudit());
