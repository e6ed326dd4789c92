import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AuditDisk, type DiskFile, nodeDisk } from '../../src/audit/disk.ts';
import {
  type AuditEvent,
  type EventId,
  eventParts,
  lineOf,
  type NewEvent,
  noHash,
} from '../../src/audit/event.ts';
import { linkTo } from '../../src/audit/line-hash.ts';
import { segmentPath } from '../../src/audit/segments.ts';
import type { Clock } from '../../src/base/clock.ts';
import { newId } from '../../src/model/ids.ts';

export type TemporaryFolder = { readonly path: string } & Disposable;

/** A folder that is gone at the end of its scope. */
export function temporaryFolder(): TemporaryFolder {
  const path = mkdtempSync(join(tmpdir(), 'sealwright-audit-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export type ManualClock = Clock & { advance(ms: number): void };

/** Stands still until it is advanced. */
export function manualClock(startMs = Date.UTC(2026, 0, 1)): ManualClock {
  let elapsed = 0;
  return {
    now: () => startMs + elapsed,
    monotonic: () => elapsed,
    advance: (ms) => {
      elapsed += ms;
    },
  };
}

/** What the streams of tests are signed by. */
export const testSigningKeys = [generateKeyPairSync('ed25519').privateKey];

/** The first segment of a stream. */
export function segmentOf(folder: string, stream = 'control', first = 1): string {
  return segmentPath(join(folder, stream), first);
}

export const eventId = (): EventId => newId('event', 0);

/** An attempt that was allowed, told apart by `action`. */
export function attempt(
  action: string,
  more: Partial<Pick<NewEvent, 'data' | 'request' | 'resource' | 'actor'>> = {},
): NewEvent {
  return {
    action,
    phase: 'attempt',
    actor: { id: 'user:alice', kind: 'user', token: 'tok_1' },
    resource: { kind: 'run', id: 'run_1', session: 'ses_1' },
    decision: { allow: true, rule: 'scope:run:write' },
    outcome: 'allowed',
    ...more,
  };
}

/** The lines of an unbroken stream of the given events, without a disk; of version 1 as they were before segments. */
export function chainOf(stream: string, events: readonly NewEvent[], version: 1 | 2 = 2): string[] {
  let prev = noHash;
  return events.map((event, index) => {
    const parts = eventParts(event, stream, eventId(), Date.UTC(2026, 0, 1) + index);
    const line = lineOf(parts, prev, index + 1).replace(/"v":2}$/, `"v":${version}}`);
    prev = linkTo(Buffer.from(line), version);
    return line;
  });
}

export function eventsIn(path: string): AuditEvent[] {
  const lines = readFileSync(path, 'utf8').split('\n');
  return lines.slice(0, -1).map((line) => JSON.parse(line) as AuditEvent);
}

/** `stat` asks an open file, `lookup` a path. */
export type DiskCall = 'open' | 'write' | 'datasync' | 'sync' | 'truncate' | 'stat' | 'read' | 'lookup';

/**
 * What happens to a call: it goes through, or fails with an error code before doing anything. A write may also
 * fail once half of its bytes are in the file, and a datasync once the data is where it belongs.
 */
export type DiskVerdict = 'pass' | { readonly code: string; readonly late?: boolean };

export type FaultyDisk = AuditDisk & {
  /** Asked before every call; tests replace it. */
  judge: (call: DiskCall) => DiskVerdict | Promise<DiskVerdict>;
  readonly calls: DiskCall[];
};

export function faultyDisk(): FaultyDisk {
  const disk: FaultyDisk = {
    ...nodeDisk,
    judge: () => 'pass',
    calls: [],
    stat: async (path) => {
      await pass(disk, 'lookup');
      return nodeDisk.stat(path);
    },
    open: async (path, flags, mode) => {
      await pass(disk, 'open');
      return faultyFile(disk, await nodeDisk.open(path, flags, mode));
    },
  };
  return disk;
}

function errorOf(code: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code });
}

async function pass(disk: FaultyDisk, call: DiskCall): Promise<{ code: string } | null> {
  disk.calls.push(call);
  const verdict = await disk.judge(call);
  if (verdict === 'pass') return null;
  if (verdict.late) return verdict;
  throw errorOf(verdict.code);
}

function faultyFile(disk: FaultyDisk, file: DiskFile): DiskFile {
  const write = async (buffer: Uint8Array, offset: number, length: number) => {
    const late = await pass(disk, 'write');
    if (late === null) return file.write(buffer, offset, length);
    await file.write(buffer, offset, length >> 1);
    throw errorOf(late.code);
  };
  const through =
    <T>(call: DiskCall, act: () => Promise<T>) =>
    async (): Promise<T> => {
      const late = await pass(disk, call);
      const result = await act();
      if (late !== null) throw errorOf(late.code);
      return result;
    };
  return {
    write: write as DiskFile['write'],
    read: ((...args: Parameters<DiskFile['read']>) =>
      through('read', () => file.read(...args))()) as DiskFile['read'],
    datasync: through('datasync', () => file.datasync()),
    sync: through('sync', () => file.sync()),
    truncate: (length) => through('truncate', () => file.truncate(length))(),
    stat: (() => through('stat', () => file.stat())()) as DiskFile['stat'],
    chmod: (mode) => file.chmod(mode),
    close: () => file.close(),
  };
}
