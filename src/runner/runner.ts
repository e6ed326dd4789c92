import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import type { Clock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import type {
  CheckpointClaim,
  OrderAnswers,
  RunFinished,
  RunnerEvent,
  RunnerOrder,
  RunnerStatus,
  RunSpec,
} from '../contract/runner.ts';
import type { ExecSpec } from '../contract/runner-terminals.ts';
import type { RunId, SessionId } from '../model/ids.ts';
import { openRedactor } from '../redaction/redactor.ts';
import { RunSecrets } from '../redaction/run-secrets.ts';
import type { SecretValues } from '../redaction/secret-values.ts';
import type { Backend, Sandbox } from '../sandbox/backend.ts';
import type { EgressRelay } from './egress-relay.ts';
import { type Folders, runnerFolders } from './folders.ts';
import { HostedRun, type RunHost } from './hosted-run.ts';
import { IdentityFiles } from './identity-files.ts';
import { runnerLimits } from './limits.ts';
import type { RunnerRecord } from './record.ts';
import { Results } from './results.ts';
import { removeTree, SessionFolders } from './sessions.ts';
import { Spool } from './spool.ts';
import type { ExecPlace } from './terminals/execs.ts';
import type { RecordingDisk } from './terminals/recording/recording-disk.ts';
import { Terminals } from './terminals/terminals.ts';

export type RunnerLog = {
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
};

export type RunnerOptions = {
  readonly folder: string;
  readonly backend: Backend;
  readonly clock: Clock;
  readonly log: RunnerLog;
  /** What the log must not say: runs add what they are given, while they live. */
  readonly secretValues: SecretValues;
  /** The runner's own stream, and who puts verdicts of the gateway there. */
  readonly record: RunnerRecord;
  readonly egress: EgressRelay;
  /** Under recordings; the machine's where absent. */
  readonly recordingDisk?: RecordingDisk;
};

/** Hosts runs: takes orders, reports events to whoever is connected, and owes each result until it is acknowledged. */
export class Runner {
  readonly folders: Folders;
  readonly record: RunnerRecord;
  readonly terminals: Terminals;
  readonly #backend: Backend;
  readonly #log: RunnerLog;
  readonly #secrets: RunSecrets;
  readonly #results: Results;
  readonly #sessions: SessionFolders;
  readonly #host: RunHost;
  readonly #live = new Map<RunId, { readonly hosted: HostedRun; readonly done: Promise<void> }>();
  readonly #listeners = new Set<(event: RunnerEvent) => void>();
  readonly #closing = new AbortController();
  readonly #egress: EgressRelay;
  readonly #mending: Promise<void>;
  #checkpoint: CheckpointClaim | null = null;

  constructor(options: RunnerOptions) {
    this.folders = prepareFolders(options.folder);
    this.record = options.record;
    this.#backend = options.backend;
    this.#log = options.log;
    this.#secrets = new RunSecrets(options.secretValues, (run) =>
      this.#log.warn({ run }, 'not every secret of a run can be looked for in the log: there are too many'),
    );
    this.#egress = options.egress;
    this.#results = new Results(this.folders);
    this.#results.loseUnfinished(options.clock);
    this.#sessions = new SessionFolders(this.folders, options.backend.mode);
    const emit = (event: RunnerEvent) => this.#emit(event);
    const { clock, log, record, recordingDisk } = options;
    const redactor = openRedactor(options.secretValues);
    const disk = recordingDisk === undefined ? {} : { disk: recordingDisk };
    this.terminals = new Terminals({ folders: this.folders, clock, log, record, redactor, ...disk });
    this.#mending = this.terminals.recordings.mend();
    this.#host = {
      backend: options.backend,
      folders: this.folders,
      sessions: this.#sessions,
      identities: new IdentityFiles(this.folders),
      verdicts: options.egress,
      terminals: this.terminals,
      clock,
      emit,
    };
  }

  /** Follows events, beginning with every result that is still owed. */
  subscribe(listener: (event: RunnerEvent) => void): () => void {
    for (const result of this.#results.owed()) listener(this.#told(result));
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async obey(order: RunnerOrder): Promise<OrderAnswers[RunnerOrder['order']]> {
    switch (order.order) {
      case 'start':
        return this.#start(order.spec);
      case 'stop':
        this.#live.get(order.run)?.hosted.interrupt(order.as);
        return null;
      case 'acknowledge':
        this.#results.acknowledge(order.run);
        return null;
      case 'checkpoint':
        this.#checkpoint = order.checkpoint;
        return null;
      case 'egress':
        await this.#live.get(order.run)?.hosted.changeEgress(order.egress);
        return null;
      case 'identity':
        return this.#changeIdentity(order);
      case 'forget':
        await removeTree(
          order.runs.filter((run) => !this.#live.has(run)).map((run) => this.folders.run(run)),
        );
        return null;
      case 'remove-session':
        return await this.#removeSession(order.session);
      case 'remove-upload':
        await rm(this.folders.upload(order.upload), { force: true });
        return null;
      case 'status':
        return await this.#status();
      case 'open-terminal':
        await this.terminals.openExec(this.placeOf(order.exec), order.terminal, order.exec);
        return null;
      case 'close-terminal':
        this.terminals.close(order.run, order.terminal);
        return null;
      case 'terminals':
        return this.terminals.list(order.run);
    }
  }

  /** Where commands beside the run's own may start. Throws Fault `state.conflict` unless that is running here. */
  execPlace(run: RunId): ExecPlace & { readonly sandbox: Sandbox } {
    const live = this.#live.get(run);
    if (live === undefined) throw new Fault('state.conflict', { detail: 'This run is not running.' });
    return live.hosted.execPlace;
  }

  /** The same for this command, whose secrets are looked for from now on. */
  placeOf({ run, env }: ExecSpec): ExecPlace {
    const place = this.execPlace(run);
    this.#secrets.moreEnvironment(run, env);
    return place;
  }

  /** The newest that control said of its own stream; null before it did. */
  get controlCheckpoint(): CheckpointClaim | null {
    return this.#checkpoint;
  }

  liveSpool(run: RunId): Spool | null {
    return this.#live.get(run)?.hosted.spool ?? null;
  }

  /** Aborted as the runner begins to close: an order that it has not taken by then is for the next runner. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Ends every run as lost; what they wrote stays. */
  async close(): Promise<void> {
    this.#closing.abort();
    const live = [...this.#live.values()];
    for (const { hosted } of live) hosted.interrupt('shutdown');
    await Promise.all(live.map(({ done }) => done));
    await this.#mending;
    await this.terminals.shutDown();
    await this.#backend.close();
  }

  #changeIdentity({ run, token }: { readonly run: RunId; readonly token: string }): null {
    const live = this.#live.get(run);
    if (live === undefined) return null;
    this.#secrets.token(run, token);
    live.hosted.changeIdentity(token);
    return null;
  }

  #start(spec: RunSpec): null {
    if (
      spec.repo !== null &&
      'upload' in spec.repo &&
      this.#sessions.needsImport(spec) &&
      !existsSync(this.folders.upload(spec.repo.upload))
    ) {
      this.#log.warn({ run: spec.run }, 'the upload of a run is gone');
    }
    if (!this.#results.accept(spec.run)) return null;
    this.#secrets.environment(spec.run, spec.env);
    this.#secrets.token(spec.run, spec.identity);
    const { run, session, owner } = spec;
    this.#egress.host({ run, session, owner });
    const spool = new Spool(this.folders.log(run), spec.limits.outputBytes);
    const hosted = new HostedRun(this.#host, spec, spool);
    this.#live.set(run, { hosted, done: this.#finish(hosted) });
    return null;
  }

  async #finish(hosted: HostedRun): Promise<void> {
    const result: RunFinished = await hosted.execute();
    const late = pause(runnerLimits.recordSettleMs, undefined, { ref: false });
    await Promise.race([this.#egress.settled(), late]);
    try {
      this.#results.finish(result);
    } catch (error) {
      this.#log.warn({ run: result.run, error: String(error) }, 'the result of a run could not be written');
    }
    this.#live.delete(result.run);
    this.#egress.forget(result.run);
    this.#secrets.ended(result.run);
    this.#emit(this.#told(result));
  }

  #told(result: RunFinished): RunnerEvent {
    return { ...result, recorded: this.record.place };
  }

  async #removeSession(session: SessionId): Promise<null> {
    const live = [...this.#live.values()].filter(({ hosted }) => hosted.spec.session === session);
    for (const { hosted } of live) hosted.interrupt('cancelled');
    await Promise.all(live.map(({ done }) => done));
    await this.#sessions.remove(session);
    return null;
  }

  async #status(): Promise<RunnerStatus> {
    const isWritable = await this.record.isWritable();
    const live = [...this.#live.values()].map(({ hosted }) => ({
      run: hosted.spec.run,
      phase: hosted.phase,
      heldBy: hosted.heldBy,
      runningAt: hosted.runningAt,
    }));
    return {
      live,
      backend: this.#backend.name,
      mode: this.#backend.mode,
      heldBy: this.#backend.heldBy,
      sandboxes: live.length,
      residentBytes: process.memoryUsage.rss(),
      record: {
        ...this.record.place,
        waiting: this.record.waiting,
        ok: isWritable && this.#egress.owed === 0 && this.terminals.owed === 0,
      },
    };
  }

  #emit(event: RunnerEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

function prepareFolders(root: string): Folders {
  const folders = runnerFolders(root);
  mkdirSync(folders.runs, { recursive: true, mode: 0o700 });
  mkdirSync(folders.uploads, { recursive: true, mode: 0o711 });
  mkdirSync(folders.sessions, { recursive: true, mode: 0o711 });
  // Uploads that broke off with an earlier runner.
  for (const name of readdirSync(folders.uploads))
    if (name.endsWith('.part')) rmSync(join(folders.uploads, name), { force: true });
  return folders;
}

/** The fault an order failed with, as control is told. */
export function describeFailure(error: unknown): { code: string; detail: string } {
  if (error instanceof Fault) return { code: error.code, detail: error.detail };
  const full = (error as NodeJS.ErrnoException).code === 'ENOSPC';
  if (full) return { code: 'storage.full', detail: "The disk of the runner's machine is full." };
  return { code: 'runner.unavailable', detail: 'The runner could not do this.' };
}
