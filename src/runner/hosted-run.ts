import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { posix } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import type {
  ArtifactInfo,
  RepoSource,
  RunFinished,
  RunnerEvent,
  RunSpec,
  RunStep,
} from '../contract/runner.ts';
import type { EgressPolicy } from '../model/egress.ts';
import { gatewayAddress, proxyPorts } from '../model/gateway-address.ts';
import type { HeldBy, Usage } from '../model/limits.ts';
import { type Ending, exitFromStatus, type FailureCause } from '../model/run.ts';
import type { TerminalSize } from '../model/terminal.ts';
import type { Backend, Overrun, Sandbox, SandboxEnd } from '../sandbox/backend.ts';
import { trustEnvironment } from '../sandbox/trust.ts';
import { CloneWatch, cloneFailure } from './clone-failure.ts';
import type { EgressRelay } from './egress-relay.ts';
import type { Folders } from './folders.ts';
import { type IdentityFiles, identityFile } from './identity-files.ts';
import { runnerLimits } from './limits.ts';
import { firstBytes, lastBytes, spoolBytes, spoolOutput } from './output.ts';
import { cloneTask, diffTask, importTask, remoteUrl, runMounts, type Task } from './repository.ts';
import type { SessionFolders } from './sessions.ts';
import type { Spool } from './spool.ts';
import type { ExecPlace } from './terminals/execs.ts';
import type { Terminals } from './terminals/terminals.ts';

export type RunHost = {
  readonly backend: Backend;
  readonly folders: Folders;
  readonly sessions: SessionFolders;
  readonly identities: IdentityFiles;
  readonly verdicts: EgressRelay;
  readonly terminals: Terminals;
  readonly clock: Clock;
  readonly emit: (event: RunnerEvent) => void;
};

const noExit = { code: null, signal: null } as const;

type Creation = {
  readonly strict?: boolean;
  /** Whether it reaches what the run may reach; nothing otherwise. */
  readonly egress?: boolean;
  /** Made once the command has ended, whatever ended it. */
  readonly afterEnd?: boolean;
  /** What counts against the disk limit beside the session's own files. */
  readonly diskFolders?: readonly string[];
  readonly terminal?: TerminalSize | null;
};

/** Why a run ends early; the first one counts. */
type Interruption = 'cancelled' | 'timed-out' | 'shutdown';

/**
 * One run from acceptance to result: workspace, sandbox, command, collection. `execute` resolves exactly once,
 * with the result, whatever happens; it never rejects.
 */
export class HostedRun {
  readonly spec: RunSpec;
  readonly spool: Spool;
  phase: 'starting' | 'running' = 'starting';
  heldBy: HeldBy | null = null;
  runningAt: number | null = null;
  readonly #host: RunHost;
  #interrupted: Interruption | null = null;
  readonly #interruption = Promise.withResolvers<void>();
  #egress: EgressPolicy;
  /** The newest token, and for whom it stands in a file; null before and after the command. */
  #identity: string;
  #identityFile: { readonly uid: number | null } | null = null;
  #current: Sandbox | null = null;
  /** The sandbox of its command, while that runs, and what the command was given. */
  #running: { readonly sandbox: Sandbox; readonly env: Readonly<Record<string, string>> } | null = null;

  constructor(host: RunHost, spec: RunSpec, spool: Spool) {
    this.#host = host;
    this.spec = spec;
    this.spool = spool;
    this.#egress = spec.egress;
    this.#identity = spec.identity;
  }

  /** What it may reach from now on; resolves when that is in force. */
  async changeEgress(policy: EgressPolicy): Promise<void> {
    if (policy.generation <= this.#egress.generation) return;
    this.#egress = policy;
    await this.#current?.changeEgress(policy);
  }

  /** What it proves with from now on who it is. */
  changeIdentity(token: string): void {
    this.#identity = token;
    if (this.#identityFile !== null)
      this.#host.identities.replace(this.spec.run, this.#identityFile.uid, token);
  }

  /** Asks the processes to end, then ends them; before the command runs it never starts. */
  interrupt(as: Interruption): void {
    if (this.#interrupted !== null) return;
    this.#interrupted = as;
    this.#interruption.resolve();
    if (as === 'shutdown') this.#current?.kill();
    else this.#current?.stop(runnerLimits.graceMs);
  }

  async execute(): Promise<RunFinished> {
    const timer = setTimeout(() => this.interrupt('timed-out'), this.spec.limits.timeoutSeconds * 1000);
    let result: Pick<RunFinished, 'ending' | 'usage' | 'artifacts'>;
    try {
      result = await this.#perform();
    } catch (error) {
      result = { ending: this.#failure(error), usage: null, artifacts: [] };
    } finally {
      clearTimeout(timer);
      this.#dropIdentity();
      this.spool.close();
    }
    const { run } = this.spec;
    return {
      event: 'finished',
      run,
      at: this.#host.clock.now(),
      runningAt: this.runningAt,
      heldBy: this.heldBy,
      ...result,
    };
  }

  async #perform(): Promise<Pick<RunFinished, 'ending' | 'usage' | 'artifacts'>> {
    const uid = await this.#workspace();
    this.#step('sandbox');
    const request = this.#commandRequest(uid);
    const sandbox = await this.#create(uid, request, {
      strict: this.spec.strict,
      egress: true,
      terminal: this.spec.terminal?.size ?? null,
    });
    const output = await this.#outputOf(sandbox);
    this.#running = { sandbox, env: request.env };
    this.phase = 'running';
    this.heldBy = sandbox.heldBy;
    this.runningAt = this.#host.clock.now();
    this.#host.emit({ event: 'running', run: this.spec.run, at: this.runningAt, heldBy: sandbox.heldBy });
    const end = await sandbox.ended;
    this.#current = null;
    this.#running = null;
    this.#dropIdentity();
    const outputBytes = await output.end(end.status);
    await this.#host.terminals.settled(this.spec.run);
    const usage: Usage = { ...end.usage, outputBytes: typeof outputBytes === 'number' ? outputBytes : 0 };
    const ending = typeof outputBytes === 'number' ? this.#ending(end) : spoolFailure(end, outputBytes);
    return { ending, usage, artifacts: await this.#collect(uid) };
  }

  /** Where commands beside its own may start; throws Fault `state.conflict` unless its own is running. */
  get execPlace(): ExecPlace & { readonly sandbox: Sandbox } {
    const running = this.#running;
    if (running === null || this.#interrupted !== null)
      throw new Fault('state.conflict', { detail: 'The command of this run is not running.' });
    const { sandbox, env } = running;
    const { run, session, owner } = this.spec;
    return {
      sandbox,
      run: { run, session, owner },
      start: (exec, size) =>
        sandbox.exec({
          command: exec.command,
          env: { ...env, ...(size === null ? {} : terminalEnvironment), ...exec.env },
          cwd: posix.resolve('/workspace', exec.cwd ?? '.'),
          terminal: size,
        }),
    };
  }

  /** Where its output cannot even begin to be kept, the command ends with that. */
  async #outputOf(sandbox: Sandbox) {
    try {
      return this.#output(sandbox);
    } catch (error) {
      sandbox.kill();
      await sandbox.ended;
      throw error;
    }
  }

  /** Spools the command's output, from its pipes or its terminal; `end` answers how much there was, or why it was not kept. */
  #output(sandbox: Sandbox): { end(status: number): Promise<number | Error> } {
    const { terminal, command, run, session, owner } = this.spec;
    const failed = (error: unknown) => {
      sandbox.kill();
      return error instanceof Error ? error : new Error(String(error));
    };
    if (terminal === null) {
      const spooled = spoolOutput(sandbox, this.spool).catch(failed);
      return { end: () => spooled };
    }
    let failure: Error | null = null;
    const { hub, end } = this.#host.terminals.openRun(
      { run, session, owner },
      {
        terminal,
        command,
        pty: sandbox.terminal!,
        onOutput: (bytes) => {
          try {
            if (failure === null) spoolBytes(this.spool, 'stdout', bytes);
          } catch (error) {
            failure = failed(error);
            if ((error as NodeJS.ErrnoException).code === 'ENOSPC') this.spool.giveRoom();
          }
        },
      },
    );
    return {
      end: async (status) => {
        await end(status);
        return failure ?? hub.outputBytes;
      },
    };
  }

  /** Answers with the uid of the session's folders, once they have what its runs work on. */
  async #workspace(): Promise<number | null> {
    const { sessions } = this.#host;
    const { session } = this.spec;
    if (!sessions.needsImport(this.spec)) return sessions.prepare(session);
    const turn = sessions.turn(session);
    try {
      await Promise.race([turn.ready, this.#interruption.promise]);
      this.#refuseWhenInterrupted();
      const fresh = sessions.needsImport(this.spec);
      // Whatever an import that was cut off left; no run has been in it.
      if (fresh) await sessions.reset(session);
      const uid = sessions.prepare(session);
      if (fresh) await this.#import(uid);
      return uid;
    } finally {
      turn.end();
    }
  }

  async #import(uid: number | null): Promise<void> {
    this.#step('workspace');
    const { sessions, verdicts } = this.#host;
    const { session, run } = this.spec;
    const repo = this.spec.repo!;
    const watch = new CloneWatch();
    const unfollow = verdicts.follow(run, (content) => watch.see(content));
    const [end, complaint] = await this.#makeWorkspace(uid, repo).finally(unfollow);
    if (end.status === 0) return await sessions.markImported(session, repo);
    await sessions.reset(session);
    const overrun = end.overrun ?? (fileLimit.test(complaint) ? 'disk' : null);
    if (overrun !== null)
      throw new RunFailure(
        `limit-${overrun}`,
        `The repository does not fit into the run's ${overrun} limit.`,
      );
    if ('upload' in repo)
      throw new RunFailure('repo-access', `The repository could not be unpacked: ${lastLine(complaint)}`);
    const { cause, reason } = cloneFailure(remoteUrl(repo), this.#egress, watch, complaint);
    throw new RunFailure(cause, reason);
  }

  /** A clone reaches what the run may reach, and nothing else does here. Its objects count against the disk limit. */
  async #makeWorkspace(uid: number | null, repo: RepoSource): Promise<[SandboxEnd, string]> {
    const paths = this.#paths();
    const sandbox =
      'url' in repo
        ? await this.#create(uid, cloneTask(paths, repo), { egress: true, diskFolders: [paths.base] })
        : await this.#create(
            uid,
            importTask({ ...paths, upload: this.#host.sessions.lendUpload(this.spec.session, repo, uid) }),
          );
    const [complaint] = await Promise.all([
      lastBytes(sandbox.stderr, runnerLimits.complaintBytesMax),
      firstBytes(sandbox.stdout, 0),
    ]);
    const end = await sandbox.ended;
    this.#current = null;
    return [end, complaint];
  }

  #paths() {
    const { folders } = this.#host;
    const { session } = this.spec;
    return {
      workspace: folders.workspace(session),
      base: folders.base(session),
      scratch: folders.scratch(session),
    };
  }

  /** The patch of what changed since the import. A failure to collect is an artifact too: it never changes how the run ended. */
  async #collect(uid: number | null): Promise<ArtifactInfo[]> {
    if (!this.spec.diff || this.spec.repo === null || this.#interrupted === 'shutdown') return [];
    this.#step('collect');
    const { folders, sessions } = this.#host;
    const { session, run } = this.spec;
    let timer: NodeJS.Timeout | undefined;
    try {
      const sandbox = await this.#create(uid, diffTask(this.#paths()), { afterEnd: true });
      timer = setTimeout(
        sandbox.kill,
        this.#interrupted === null ? runnerLimits.collectTimeoutMs : runnerLimits.collectAfterStopMs,
      );
      const complaint = firstBytes(sandbox.stderr, runnerLimits.complaintBytesMax);
      const file = folders.artifact(run, 'diff');
      const artifact = await store(sandbox.stdout, file, 'diff', 'text/x-diff', runnerLimits.diffBytesMax);
      if (artifact === null) sandbox.kill();
      const end = await sandbox.ended;
      if (artifact !== null && end.status === 0) return [artifact];
      const why =
        artifact === null
          ? `The patch is larger than ${runnerLimits.diffBytesMax} bytes.\n`
          : (await complaint) || 'The change could not be read in time.\n';
      const problem = await store(
        [Buffer.from(why)],
        folders.artifact(run, 'diff-problem'),
        'diff-problem',
        'text/plain',
        runnerLimits.complaintBytesMax * 2,
      );
      if (artifact !== null && end.status === 3) return [artifact, problem!];
      await rm(file, { force: true });
      return [problem!];
    } catch {
      return [];
    } finally {
      clearTimeout(timer);
      this.#current = null;
      await sessions.clearScratch(session).catch(() => undefined);
    }
  }

  #commandRequest(uid: number | null): Task {
    const { folders, identities } = this.#host;
    this.#identityFile = { uid };
    const identity = identities.make(this.spec.run, uid, this.#identity);
    const { session, repo, command, cwd } = this.spec;
    return {
      command,
      env: {
        ...commandEnvironment,
        SEALWRIGHT_RUN: this.spec.run,
        SEALWRIGHT_SESSION: session,
        SEALWRIGHT_IDENTITY_FILE: identityFile,
        ...(this.spec.terminal === null ? {} : terminalEnvironment),
        ...this.spec.env,
      },
      cwd: posix.resolve('/workspace', cwd ?? '.'),
      mounts: [
        ...runMounts({
          workspace: folders.workspace(session),
          home: folders.home(session),
          base: repo === null ? null : folders.base(session),
        }),
        identity,
      ],
    };
  }

  async #create(
    uid: number | null,
    task: Task,
    { strict = false, egress = false, afterEnd = false, diskFolders = [], terminal = null }: Creation = {},
  ): Promise<Sandbox> {
    const { backend, folders } = this.#host;
    const { run, session, limits } = this.spec;
    if (!afterEnd) this.#refuseWhenInterrupted();
    const policy = this.#egress;
    const sandbox = await backend.create({
      ...task,
      uid,
      limits,
      strict,
      egress: egress ? { run, policy } : null,
      terminal,
      diskFolders: [
        folders.workspace(session),
        folders.home(session),
        folders.scratch(session),
        ...diskFolders,
      ],
    });
    this.#current = sandbox;
    if (this.#egress !== policy) await sandbox.changeEgress(this.#egress);
    if (!afterEnd && this.#interrupted !== null) sandbox.stop(runnerLimits.graceMs);
    return sandbox;
  }

  #refuseWhenInterrupted(): void {
    if (this.#interrupted !== null)
      throw new RunFailure('provisioning', 'The run was ended before its command started.');
  }

  #dropIdentity(): void {
    if (this.#identityFile === null) return;
    this.#identityFile = null;
    this.#host.identities.remove(this.spec.run);
  }

  #step(step: RunStep): void {
    this.#host.emit({ event: 'step', run: this.spec.run, step, at: this.#host.clock.now() });
  }

  #ending(end: SandboxEnd): Ending {
    const exit = exitFromStatus(end.status);
    if (this.#interrupted === 'shutdown')
      return { phase: 'failed', cause: 'runner-lost', reason: 'The runner was stopped.', exit };
    if (this.#interrupted === 'timed-out')
      return {
        phase: 'timed-out',
        reason: `The time limit of ${this.spec.limits.timeoutSeconds} s was reached.`,
        exit,
      };
    if (this.#interrupted === 'cancelled')
      return { phase: 'cancelled', reason: 'The run was stopped.', exit };
    if (end.status === 0) return { phase: 'succeeded', exit };
    if (end.overrun !== null)
      return {
        phase: 'failed',
        cause: overrunCause[end.overrun],
        reason: overrunReason(end.overrun, this.spec),
        exit,
      };
    return { phase: 'failed', cause: 'exit', reason: '', exit };
  }

  #failure(error: unknown): Ending {
    if (this.#interrupted === 'shutdown')
      return { phase: 'failed', cause: 'runner-lost', reason: 'The runner was stopped.', exit: noExit };
    if (this.#interrupted === 'cancelled')
      return { phase: 'cancelled', reason: 'The run was stopped before its command started.', exit: noExit };
    if (this.#interrupted === 'timed-out')
      return {
        phase: 'timed-out',
        reason: 'The time limit was reached before the command started.',
        exit: noExit,
      };
    if (error instanceof RunFailure)
      return { phase: 'failed', cause: error.failureCause, reason: error.message, exit: noExit };
    if (error instanceof Fault)
      return { phase: 'failed', cause: 'provisioning', reason: error.detail, exit: noExit };
    const code = (error as NodeJS.ErrnoException).code;
    const reason =
      code === 'ENOSPC'
        ? "The disk of the runner's machine is full."
        : `The sandbox could not be made${code === undefined ? '' : ` (${code})`}.`;
    return { phase: 'failed', cause: 'provisioning', reason, exit: noExit };
  }
}

/** What the shell and git say of a program that the limit on a file's size ended. */
const fileLimit = /File too large|File size limit exceeded|died of signal 25\b/;

class RunFailure extends Error {
  readonly failureCause: FailureCause;

  constructor(cause: FailureCause | `limit-${Overrun}`, message: string) {
    super(message);
    this.failureCause = cause === 'limit-time' ? 'provisioning' : cause;
  }
}

const commandEnvironment: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/home/agent',
  USER: 'agent',
  LOGNAME: 'agent',
  SHELL: '/bin/bash',
  LANG: 'C.UTF-8',
  TMPDIR: '/tmp',
  ...trustEnvironment,
  SEALWRIGHT_HTTP_PROXY: `http://${gatewayAddress}:${proxyPorts.http}`,
  SEALWRIGHT_SOCKS_PROXY: `socks5h://${gatewayAddress}:${proxyPorts.socks}`,
};

/** What the model of its screen understands. */
const terminalEnvironment: Readonly<Record<string, string>> = { TERM: 'xterm-256color' };

const overrunCause = {
  memory: 'limit-memory',
  pids: 'limit-pids',
  disk: 'limit-disk',
  time: 'exit',
} as const satisfies Record<Overrun, FailureCause>;

function overrunReason(overrun: Overrun, spec: RunSpec): string {
  if (overrun === 'memory') return `The memory limit of ${spec.limits.memoryBytes} bytes was reached.`;
  if (overrun === 'pids') return `The limit of ${spec.limits.pids} processes was reached.`;
  return `The session's files grew past the disk limit of ${spec.limits.diskBytes} bytes.`;
}

function spoolFailure(end: SandboxEnd, error: Error): Ending {
  const full = (error as NodeJS.ErrnoException).code === 'ENOSPC';
  const reason = full
    ? "The disk of the runner's machine is full: the output could not be kept."
    : 'The output could not be kept.';
  return {
    phase: 'failed',
    cause: full ? 'limit-disk' : 'provisioning',
    reason,
    exit: exitFromStatus(end.status),
  };
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.slice(0, 500) ?? '';
}

/** Writes bytes to a file of mode 0600; null, with nothing kept, when they are more than `bytesMax`. */
async function store(
  bytes: Readable | Iterable<Buffer>,
  file: string,
  name: string,
  mediaType: string,
  bytesMax: number,
): Promise<ArtifactInfo | null> {
  const hash = createHash('sha256');
  let count = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      count += chunk.length;
      hash.update(chunk);
      done(count > bytesMax ? new RangeError('too large') : null, chunk);
    },
  });
  try {
    await pipeline(bytes, measure, createWriteStream(file, { mode: 0o600 }));
  } catch (error) {
    await rm(file, { force: true });
    if (error instanceof RangeError) return null;
    throw error;
  }
  return { name, mediaType, bytes: count, sha256: hash.digest('hex') };
}
