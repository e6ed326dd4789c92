import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { parse } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { Environment } from './environment.ts';
import { CliFailure } from './failure.ts';
import { cliLimits } from './limits.ts';

/** What git may see of the caller's environment: where programs, the user's settings and folders are. */
const passedOn =
  /^(?:PATH|HOME|USER|LOGNAME|XDG_CONFIG_HOME|TMPDIR|TMP|TEMP|USERPROFILE|HOMEDRIVE|HOMEPATH|APPDATA|LOCALAPPDATA|SYSTEMROOT|PATHEXT|GIT_EXEC_PATH|GIT_CONFIG_GLOBAL|GIT_CONFIG_SYSTEM|GIT_CONFIG_NOSYSTEM|GIT_CONFIG_COUNT|GIT_CONFIG_(?:KEY|VALUE)_\d+)$/i;

/**
 * Settings of a repository must not start programs: it may be one that nobody has looked at. Hooks run from
 * nowhere, and the monitor and the pager are off.
 */
const harmless = [
  '--no-pager',
  '--literal-pathspecs',
  ...['core.fsmonitor=false', 'core.hooksPath=/dev/null', 'core.untrackedCache=false', 'gc.auto=0'].flatMap(
    (setting) => ['-c', setting],
  ),
];

export type GitOptions = {
  /** Variables beside the passed-on ones: GIT_DIR and the like. */
  readonly variables?: Readonly<Record<string, string>>;
  /** Bytes for standard input. */
  readonly input?: Uint8Array;
  readonly signal?: AbortSignal;
  /** Where git starts, when it is not for `-C` to say. */
  readonly cwd?: string;
};

export type GitResult = { readonly status: number; readonly stdout: Buffer; readonly stderr: string };

export type Git = {
  /** Runs to the end. Throws only when git cannot be started, is aborted or answers without end. */
  run(args: readonly string[], options?: GitOptions): Promise<GitResult>;
  /** As `run`; throws CliFailure with git's own words when the status is not 0. */
  must(args: readonly string[], options?: GitOptions): Promise<Buffer>;
  /** Standard output as it comes, ending in a throw when git fails, so that half of it never looks whole. */
  stream(args: readonly string[], options?: GitOptions): AsyncGenerator<Buffer>;
};

/**
 * Git as a list of arguments, never through a shell, in an environment built from nothing. It starts in the
 * file system's root, because Windows looks for programs in the starting folder first.
 */
export function createGit(environment: Environment): Git {
  const run: Git['run'] = (args, options = {}) => runToEnd(start(environment, args, options), args, options);
  return {
    run,
    async must(args, options) {
      const { status, stdout, stderr } = await run(args, options);
      if (status !== 0) throw gitFailure(stderr, status);
      return stdout;
    },
    stream: (args, options = {}) => streamed(() => start(environment, args, options), options),
  };
}

type Started = { readonly child: Child; readonly ended: Promise<number>; readonly stderr: Promise<string> };
type Child = ChildProcessByStdio<Writable, Readable, Readable>;

function start(environment: Environment, args: readonly string[], options: GitOptions): Started {
  const child = startGit(environment, args, options) as Child;
  const ended = endOf(child);
  ended.catch(() => {});
  child.stdin.on('error', () => {});
  child.stdin.end(options.input);
  return { child, ended, stderr: collectError(child.stderr) };
}

async function runToEnd(
  { child, ended, stderr }: Started,
  args: readonly string[],
  options: GitOptions,
): Promise<GitResult> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of child.stdout) {
    size += chunk.length;
    if (size > cliLimits.gitOutputBytesMax) {
      child.kill('SIGKILL');
      throw new CliFailure(`git ${args[0]} answered with too much.`);
    }
    chunks.push(chunk);
  }
  const status = await ended;
  options.signal?.throwIfAborted();
  return { status, stdout: Buffer.concat(chunks), stderr: await stderr };
}

/** Git is started when the first bytes are asked for, and killed when nobody wants the rest. */
async function* streamed(begin: () => Started, options: GitOptions): AsyncGenerator<Buffer> {
  const { child, ended, stderr } = begin();
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    const status = await ended;
    options.signal?.throwIfAborted();
    if (status !== 0) throw gitFailure(await stderr, status);
  } finally {
    child.kill('SIGKILL');
  }
}

function startGit(environment: Environment, args: readonly string[], options: GitOptions) {
  const variables: Record<string, string> = {
    LC_ALL: 'C',
    GIT_TERMINAL_PROMPT: '0',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_NO_LAZY_FETCH: '1',
  };
  for (const [name, value] of Object.entries(environment.variables)) {
    if (passedOn.test(name) && value !== undefined) variables[name] = value;
  }
  return spawn('git', [...harmless, ...args], {
    shell: false,
    windowsHide: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    cwd: options.cwd ?? parse(environment.cwd).root,
    env: { ...variables, ...options.variables },
    ...(options.signal === undefined ? {} : { signal: options.signal, killSignal: 'SIGKILL' }),
  });
}

async function endOf(child: ReturnType<typeof startGit>): Promise<number> {
  try {
    const [status] = (await once(child, 'close')) as [number | null];
    return status ?? 128;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new CliFailure('git is not installed, or not on the PATH.', {
      hint: 'Install it (Debian and Ubuntu: apt-get install git) and try again.',
      cause: error,
    });
  }
}

async function collectError(stream: Readable): Promise<string> {
  let text = '';
  stream.setEncoding('utf8');
  for await (const chunk of stream) if (text.length < cliLimits.gitErrorBytesMax) text += chunk;
  return text;
}

export function gitFailure(stderr: string, status: number): CliFailure {
  return new CliFailure(`git failed: ${gitComplaint(stderr) ?? `it ended with status ${status}`}`);
}

/** What git complained of, as one unescaped line without its prefix; null when it said nothing. */
export function gitComplaint(stderr: string): string | null {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('hint:'));
  const line =
    lines.find((text) => text.startsWith('fatal: ')) ??
    lines.find((text) => text.startsWith('error: ')) ??
    lines.at(-1);
  return line?.replace(/^(?:fatal|error): /, '').trim() ?? null;
}
