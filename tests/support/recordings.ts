import { mkdirSync } from 'node:fs';
import type { OwnedRun } from '../../src/audit/egress-events.ts';
import type { AuditEvent, NewEvent } from '../../src/audit/event.ts';
import { RecordingCheck, type RecordingReport } from '../../src/audit/recording-check.ts';
import { type ToldRecording, toldRecording } from '../../src/audit/recording-events.ts';
import { recordingIn } from '../../src/audit/recording-folder.ts';
import type { RunTerminal } from '../../src/contract/runner-terminals.ts';
import { newId, parseId, type RunId, type TerminalId } from '../../src/model/ids.ts';
import { openRedactor } from '../../src/redaction/redactor.ts';
import { SecretValues } from '../../src/redaction/secret-values.ts';
import { runnerFolders } from '../../src/runner/folders.ts';
import {
  nodeRecordingDisk,
  type RecordingDisk,
} from '../../src/runner/terminals/recording/recording-disk.ts';
import { type LiveRecording, Recordings } from '../../src/runner/terminals/recording/recordings.ts';
import { manualClock, temporaryFolder } from './audit.ts';

/** A disk whose calls of a kind fail for as long as they are named here. */
export class FailingDisk implements RecordingDisk {
  readonly failing = new Map<keyof RecordingDisk, string>();
  /** Bytes that are taken until it is full; then writes take a part, and nothing after it. */
  room = Number.POSITIVE_INFINITY;

  open(path: string): number {
    this.#check('open');
    return nodeRecordingDisk.open(path);
  }

  write(fd: number, bytes: Buffer): number {
    this.#check('write');
    if (this.room === 0) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
    const count = nodeRecordingDisk.write(fd, bytes.subarray(0, this.room));
    this.room -= count;
    return count;
  }

  truncate(fd: number, length: number): void {
    this.#check('truncate');
    nodeRecordingDisk.truncate(fd, length);
  }

  async datasync(fd: number): Promise<void> {
    this.#check('datasync');
    await nodeRecordingDisk.datasync(fd);
  }

  close(fd: number): void {
    nodeRecordingDisk.close(fd);
  }

  unlink(path: string): void {
    nodeRecordingDisk.unlink(path);
  }

  #check(call: keyof RecordingDisk): void {
    const code = this.failing.get(call);
    if (code !== undefined) throw Object.assign(new Error(`${code}: ${call}`), { code });
  }
}

export const testTerminal = { id: newId('terminal', 0), size: { columns: 80, rows: 24 } };
export const testRun = { run: newId('run', 0), session: newId('session', 0), owner: 'user:ann' } as const;

/** Recordings in a folder of their own, with what they put on the record. */
export function recordingWorld(
  options: { bytesMax?: number; segmentBytesMax?: number; secrets?: string[] } = {},
) {
  const folder = temporaryFolder();
  const { secrets = [], ...bounds } = options;
  const folders = runnerFolders(folder.path);
  mkdirSync(folders.run(testRun.run), { recursive: true });
  const clock = manualClock();
  const disk = new FailingDisk();
  const values = new SecretValues();
  for (const [index, secret] of secrets.entries()) values.hold(`holder ${index}`, 'run-environment', secret);
  const events: NewEvent[] = [];
  const record = {
    append: async (event: NewEvent) => {
      events.push(event);
      return { id: newId('event', 0), seq: events.length, hash: '' };
    },
  };
  const log = { info: () => undefined, warn: () => undefined };
  const begin = () =>
    new Recordings({ folders, clock, redactor: openRedactor(values), record, log, disk, ...bounds });
  return {
    ...{ clock, disk, events, begin, folders },
    recordings: begin(),
    path: folders.terminal(testRun.run, testTerminal.id),
    told: (): ToldRecording[] =>
      events.flatMap((event) => toldRecording(event as unknown as AuditEvent) ?? []),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

/** Whose recording it is. */
export type TestIds = { readonly run: OwnedRun; readonly terminal: RunTerminal };

/** Begins to record the terminal of the test run, or of another. */
export function openTestRecording(
  recordings: Recordings,
  command: readonly string[] = ['bash'],
  ids: TestIds = { run: testRun, terminal: testTerminal },
): LiveRecording {
  return recordings.open({ kind: 'run', by: 'user:ann', ...ids, command });
}

/** As a command line tells them. */
export function testIds(run: string, session: string, terminal: string): TestIds {
  const ids = [parseId('run', run), parseId('session', session), parseId('terminal', terminal)] as const;
  return {
    run: { run: ids[0]!, session: ids[1]!, owner: 'user:ann' },
    terminal: { id: ids[2]!, size: testTerminal.size },
  };
}

/** All of a recording as text. */
export function recordedText(
  recordings: Recordings,
  run: RunId = testRun.run,
  terminal: TerminalId = testTerminal.id,
) {
  const recording = recordings.read(run, terminal);
  return recording === null ? null : Buffer.concat([...recording]).toString();
}

/** Holds the files of one terminal's recording against all that was told of it. */
export async function verifyRecording(
  folder: string,
  told: readonly ToldRecording[],
): Promise<RecordingReport> {
  const check = new RecordingCheck(await recordingIn(folder));
  for (const one of told) await check.take(one, 'runner');
  return check.finish({ dropped: false, lost: false });
}

export type CastEvent = readonly [seconds: number, code: string, data: string];

/**
 * A recording as another player reads it, by the format's description: throws unless each line is what it says there.
 */
export function playCast(text: string): { header: Record<string, unknown>; events: CastEvent[] } {
  const [first, ...lines] = text.split('\n');
  if (lines.pop() !== '') throw new Error('does not end with a line');
  const header = JSON.parse(first!) as Record<string, unknown>;
  const isSize = (value: unknown) => Number.isInteger(value) && (value as number) > 0;
  if (header.version !== 2 || !isSize(header.width) || !isSize(header.height)) throw new Error('no header');
  let last = 0;
  const events = lines.map((line) => {
    const event = JSON.parse(line) as CastEvent;
    const [seconds, code, data] = event;
    if (event.length !== 3 || typeof seconds !== 'number' || typeof data !== 'string') throw new Error(line);
    if (!'oirm'.includes(code) || code.length !== 1 || seconds < last) throw new Error(line);
    if (code === 'r' && !/^\d+x\d+$/.test(data)) throw new Error(line);
    last = seconds;
    return event;
  });
  return { header, events };
}

/** Everything of one kind in a row. */
export function playedData(events: readonly CastEvent[], code: string): string {
  return events.flatMap((event) => (event[1] === code ? event[2] : [])).join('');
}
