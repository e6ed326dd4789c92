import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { OwnedRun } from '../../../audit/egress-events.ts';
import { OwedEvents } from '../../../audit/owed-events.ts';
import { recordedEvent } from '../../../audit/recording-events.ts';
import type { Clock } from '../../../base/clock.ts';
import { Fault } from '../../../contract/faults.ts';
import type { RunTerminal, TerminalInfo } from '../../../contract/runner-terminals.ts';
import { parseId, type RunId, type TerminalId } from '../../../model/ids.ts';
import type { Redactor } from '../../../redaction/redactor.ts';
import type { Folders } from '../../folders.ts';
import type { RunnerRecord } from '../../record.ts';
import type { RunnerLog } from '../../runner.ts';
import { recordingLimits } from './limits.ts';
import { mendRecording } from './mend-recording.ts';
import { readRecording } from './read-recording.ts';
import { Recorder } from './recorder.ts';
import { nodeRecordingDisk, type RecordingDisk } from './recording-disk.ts';

export type RecordingsParts = {
  readonly folders: Folders;
  readonly clock: Clock;
  readonly redactor: Redactor;
  readonly record: Pick<RunnerRecord, 'append'>;
  readonly log: RunnerLog;
  readonly disk?: RecordingDisk;
  readonly bytesMax?: number;
  readonly segmentBytesMax?: number;
};

export type NewRecording = Pick<TerminalInfo, 'kind' | 'by' | 'command'> & {
  readonly run: OwnedRun;
  readonly terminal: RunTerminal;
};

/** What is kept beside a recording. */
type Meta = TerminalInfo & Pick<OwnedRun, 'session' | 'owner'>;

export type LiveRecording = {
  readonly recorder: Recorder;
  /** Resolves once all of it is on the disk and on the record, or owed to it. */
  end(exitCode: number | null): Promise<void>;
};

/** The recordings of all runs: what is being recorded, what is there, and its hashes on the record. */
export class Recordings {
  readonly #parts: RecordingsParts;
  readonly #owed: OwedEvents;
  readonly #live = new Map<TerminalId, () => Meta>();

  constructor(parts: RecordingsParts) {
    this.#parts = parts;
    const { record, clock, log } = parts;
    this.#owed = new OwedEvents({ audit: record, clock, logger: log, writer: 'system:runner' });
  }

  /** Events that could not be written yet. */
  get owed(): number {
    return this.#owed.size;
  }

  /**
   * Throws the file system's error where not even the description can be written, and Fault `state.conflict` where
   * there is a recording of that terminal already: what was recorded stays as it is.
   */
  open(opening: NewRecording): LiveRecording {
    const { run, terminal, kind, by, command } = opening;
    const { clock, redactor, disk = nodeRecordingDisk } = this.#parts;
    const openedAt = clock.now();
    const folder = this.#parts.folders.terminal(run.run, terminal.id);
    if (existsSync(join(folder, metaName)))
      throw new Fault('state.conflict', { detail: 'There was a terminal of this id before.' });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { id, size } = terminal;
    const shown = redactor.starts([...command], recordingLimits.commandCharactersMax).map(({ text }) => text);
    const facts = { id, kind, by, command: shown, openedAt, session: run.session, owner: run.owner };
    const live = { ...facts, endedAt: null, exitCode: null };
    writeMeta(folder, { ...live, size, recordingBytes: 0, recordingSeconds: 0, complete: true });
    const tell = (told: Parameters<typeof recordedEvent>[0]) =>
      this.#owed.append(recordedEvent(told, terminal.id, run));
    const recorder = new Recorder({
      ...{ folder, disk, clock, redactor, size, openedAt, command },
      title: `${run.run} ${id}`,
      bytesMax: this.#parts.bytesMax ?? recordingLimits.bytesMax,
      segmentBytesMax: this.#parts.segmentBytesMax ?? recordingLimits.segmentBytesMax,
      onRange: (range) => void tell({ range }),
      onDropped: (dropped) => void tell({ dropped }),
    });
    const info = () => ({ ...live, size: recorder.size, ...figures(recorder) });
    this.#live.set(id, info);
    return {
      recorder,
      end: async (exitCode) => {
        await recorder.end();
        await tell({ end: recorder.place });
        this.#writeEnd(folder, { ...info(), endedAt: clock.now(), exitCode });
        this.#live.delete(id);
      },
    };
  }

  /** Oldest first. */
  list(run: RunId): TerminalInfo[] {
    const folder = this.#parts.folders.terminals(run);
    return terminalsIn(folder)
      .flatMap((id) => infoOf(this.#live.get(id)?.() ?? readMeta(join(folder, id))) ?? [])
      .sort((a, b) => a.openedAt - b.openedAt);
  }

  /** As asciicast v2, what there is by now; null where there is no such recording. */
  read(run: RunId, terminal: TerminalId): Generator<Buffer> | null {
    const folder = this.#parts.folders.terminal(run, terminal);
    return existsSync(join(folder, metaName)) ? readRecording(folder) : null;
  }

  /** Completes what a runner that was killed left: cuts a torn line, and puts the hashes of the end on the record. */
  async mend(): Promise<void> {
    const { folders, clock, log } = this.#parts;
    for (const run of idsIn(folders.runs, 'run'))
      for (const terminal of terminalsIn(folders.terminals(run))) {
        const folder = folders.terminal(run, terminal);
        const meta = readMeta(folder);
        if (meta === null || meta.endedAt !== null || this.#live.has(terminal)) continue;
        try {
          const mended = await mendRecording(folder);
          const { session, owner } = meta;
          const { place: end, bytes: recordingBytes, seconds: recordingSeconds } = mended;
          const told = [
            ...mended.ranges.map((range) => ({ range })),
            ...(this.#mayHaveDropped(recordingBytes) ? mended.gaps : []).map((dropped) => ({ dropped })),
            { end },
          ];
          for (const one of told)
            await this.#owed.append(recordedEvent(one, terminal, { run, session, owner }));
          const complete = mended.isComplete;
          writeMeta(folder, { ...meta, recordingBytes, recordingSeconds, complete, endedAt: clock.now() });
        } catch (error) {
          log.warn({ run, terminal, error: String(error) }, 'a recording could not be completed');
        }
      }
  }

  /** A recording that is far from its limit has dropped nothing: what is gone of it was taken away. */
  #mayHaveDropped(bytes: number): boolean {
    const { bytesMax = recordingLimits.bytesMax, segmentBytesMax = recordingLimits.segmentBytesMax } =
      this.#parts;
    return bytes + 3 * segmentBytesMax >= bytesMax;
  }

  async close(): Promise<void> {
    await this.#owed.close();
  }

  /** What cannot be written now is completed by the next runner. */
  #writeEnd(folder: string, meta: Meta): void {
    try {
      writeMeta(folder, meta);
    } catch (error) {
      this.#parts.log.warn(
        { terminal: meta.id, error: String(error) },
        'the end of a recording is not written',
      );
    }
  }
}

const metaName = 'meta.json';

function figures(recorder: Recorder) {
  return {
    recordingBytes: recorder.bytes,
    recordingSeconds: recorder.seconds,
    complete: recorder.isComplete,
  };
}

/** Written beside and renamed: it is there whole or not at all. */
function writeMeta(folder: string, meta: Meta): void {
  const path = join(folder, metaName);
  writeFileSync(`${path}.new`, JSON.stringify(meta), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function readMeta(folder: string): Meta | null {
  try {
    return JSON.parse(readFileSync(join(folder, metaName), 'utf8')) as Meta;
  } catch {
    return null;
  }
}

function infoOf(meta: Meta | null): TerminalInfo | null {
  if (meta === null) return null;
  const { session: _, owner: __, ...info } = meta;
  return info;
}

function terminalsIn(folder: string): TerminalId[] {
  return idsIn(folder, 'terminal');
}

function idsIn<K extends 'run' | 'terminal'>(folder: string, kind: K) {
  return existsSync(folder) ? readdirSync(folder).flatMap((name) => parseId(kind, name) ?? []) : [];
}

/** Bytes of the recordings of a run. */
export function recordedBytes(infos: readonly TerminalInfo[]): number {
  return infos.reduce((sum, { recordingBytes }) => sum + recordingBytes, 0);
}
