import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { openAuditLog, type SignedAuditLog } from '../../src/audit/log.ts';
import { type Verdict, verifyStreams } from '../../src/audit/verify.ts';
import { type RecordingsVerdict, verifyRecordings } from '../../src/audit/verify-recordings.ts';
import { newId } from '../../src/model/ids.ts';
import { plainRedactor } from '../../src/redaction/redactor.ts';
import { runnerFolders } from '../../src/runner/folders.ts';
import { Recordings } from '../../src/runner/terminals/recording/recordings.ts';
import { eventId, manualClock, temporaryFolder, testSigningKeys } from './audit.ts';
import { openTestRecording, type TestIds } from './recordings.ts';

const silent = { info: () => undefined, warn: () => undefined };

/** A run with one terminal. */
export function newTestIds(): TestIds {
  return {
    run: { run: newId('run', 0), session: newId('session', 0), owner: 'user:ann' },
    terminal: { id: newId('terminal', 0), size: { columns: 80, rows: 24 } },
  };
}

/** A runner's recordings, and the signed log of what it recorded of them, in one folder as on a server. */
export class RecordedRuns {
  readonly #folder = temporaryFolder();
  readonly folders = runnerFolders(join(this.#folder.path, 'runner'));
  readonly clock = manualClock();
  readonly #bounds: { readonly bytesMax?: number; readonly segmentBytesMax?: number };
  log!: SignedAuditLog;
  recordings!: Recordings;

  private constructor(bounds: { readonly bytesMax?: number; readonly segmentBytesMax?: number }) {
    this.#bounds = bounds;
  }

  static async open(bounds: { bytesMax?: number; segmentBytesMax?: number } = {}): Promise<RecordedRuns> {
    const world = new RecordedRuns(bounds);
    mkdirSync(world.folders.runs, { recursive: true });
    world.log = await openAuditLog({
      folder: world.audit,
      stream: 'runner-aaaaaa',
      clock: world.clock,
      newId: eventId,
      signingKeys: testSigningKeys,
    });
    world.begin();
    return world;
  }

  /** The data folder. */
  get path(): string {
    return this.#folder.path;
  }

  get audit(): string {
    return join(this.path, 'audit');
  }

  /** Another runner in the place of the one before, which may be dead. */
  begin(): void {
    const { folders, clock, log } = this;
    const parts = { folders, clock, redactor: plainRedactor, record: log, log: silent };
    this.recordings = new Recordings({ ...parts, ...this.#bounds });
  }

  folderOf({ run, terminal }: TestIds): string {
    return this.folders.terminal(run.run, terminal.id);
  }

  /** So many lines in a terminal that ended. */
  async record(lines: number, text = 'of many'): Promise<TestIds> {
    const ids = newTestIds();
    const { recorder, end } = openTestRecording(this.recordings, ['bash'], ids);
    for (let line = 0; line < lines; line += 1) recorder.output(Buffer.from(`line ${line} ${text}\r\n`));
    await end(0);
    return ids;
  }

  async verify(): Promise<{ readonly log: Verdict; readonly held: RecordingsVerdict }> {
    await this.log.sign();
    const log = await verifyStreams([this.audit]);
    return { log, held: await verifyRecordings(this.folders.root, log.streams) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.log.close();
    this.#folder[Symbol.dispose]();
  }
}
