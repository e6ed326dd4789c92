import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '../../src/client/client.ts';
import type { CreateRun, EgressFlowView, RunView } from '../../src/contract/schemas.ts';
import type { SessionId } from '../../src/model/ids.ts';
import { type Architecture, syscallNumbers } from '../../src/sandbox/local/seccomp/syscalls.ts';
import { type HostProcess, processesOf } from './host-traces.ts';
import { type Instance, launcher, startInstance } from './instance.ts';

/** Who started the server: what holds a sandbox differs, what it may do does not. */
export type Mode = 'root' | 'user';

const asRoot = process.getuid?.() === 0;
const ordinaryUid = 65_534;
const becomeOrdinary = [
  'setpriv',
  `--reuid=${ordinaryUid}`,
  `--regid=${ordinaryUid}`,
  '--clear-groups',
  '--',
] as const;

/** Both modes, each with the reason why it cannot be tried here. */
export const modes: readonly { readonly mode: Mode; readonly skip: string | false }[] = [
  { mode: 'root', skip: asRoot ? false : 'needs root' },
  {
    mode: 'user',
    skip:
      asRoot && !ordinaryUserCan()
        ? 'an ordinary user cannot read this clone or make namespaces here'
        : false,
  },
];

function ordinaryUserCan(): boolean {
  const [program, ...words] = becomeOrdinary;
  const succeeds = (...command: string[]) =>
    spawnSync(program, [...words, ...command], { stdio: 'ignore', shell: false }).status === 0;
  return succeeds(launcher, '--help') && succeeds('unshare', '--user', '--map-root-user', 'true');
}

/** A server of its own in a mode, which touches nothing of the user who runs the tests. */
export async function startIn(
  mode: Mode,
  environment: Readonly<Record<string, string>> = {},
): Promise<Instance> {
  const folder = mkdtempSync(join(tmpdir(), `sealwright-${mode}-`));
  const drop = mode === 'user' && asRoot;
  if (drop) chownSync(folder, ordinaryUid, ordinaryUid);
  return await startInstance({
    home: join(folder, 'home'),
    environment: { HOME: folder, SEALWRIGHT_MAX_RUNS_PER_SESSION: '4', ...environment },
    prefix: drop ? becomeOrdinary : [],
  });
}

const arch: Architecture = process.arch === 'arm64' ? 'arm64' : 'x64';

/** `%nr` holds the number of every system call; `say` prints one answer, which `answersOf` reads. */
const perlPrelude = [
  'use strict; use warnings; use POSIX (); use Fcntl; use Socket; $| = 1; no warnings "once";',
  `our %nr = (${[...syscallNumbers[arch]].map(([name, number]) => `${name}=>${number}`).join(',')});`,
  'sub say { my ($name, $value) = @_; $value =~ s/[\\n\\t]/ /g; print "$name\\t$value\\n" }',
  // A pause of parts of a second.
  'sub pause { select undef, undef, undef, $_[0] }',
].join('\n');

/** A command that runs a perl script; `perl-base` is all that it needs. */
export function perl(script: string, ...words: readonly string[]): string[] {
  return ['perl', '-e', `${perlPrelude}\n${script}`, ...words];
}

export function sh(script: string): string[] {
  return ['sh', '-c', script];
}

/** What a script said with `say`, by name. */
export function answersOf(stdout: string): Map<string, string> {
  const lines = stdout.split('\n').filter((line) => line.includes('\t'));
  return new Map(
    lines.map((line) => [line.slice(0, line.indexOf('\t')), line.slice(line.indexOf('\t') + 1)]),
  );
}

/** Every flow of a run, in the order of the verdicts. */
export async function flowsOf(client: Client, run: string): Promise<readonly EgressFlowView[]> {
  const flows: EgressFlowView[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await client.runs.egress(run, { limit: 200, cursor });
    flows.push(...page.items);
    if (page.nextCursor === null) return flows;
    cursor = page.nextCursor;
  }
}

export type Ran = {
  readonly run: RunView;
  readonly stdout: string;
  readonly stderr: string;
  readonly droppedBytes: number;
};

type Options = Partial<Omit<CreateRun, 'command'>>;

/** A run that is not over yet. */
export type LiveRun = {
  readonly id: string;
  readonly session: SessionId;
  /** Resolves with the match once the output shows it; rejects when the run ends before. */
  shows(pattern: RegExp): Promise<RegExpExecArray>;
  /** Once there is more output than now. */
  goesOn(): Promise<void>;
  readonly ended: Promise<Ran>;
};

/** What of a run's output a test keeps. */
const keptCharacters = 4 * 1024 * 1024;

/** Starts a run, in a session of its own where none is given, and follows its output. */
export async function startRun(
  client: Client,
  command: readonly string[],
  options: Options = {},
): Promise<LiveRun> {
  const session = options.session ?? (await client.sessions.create({})).id;
  const run = await client.runs.create({ diff: false, ...options, session, command: [...command] });
  const output = { stdout: '', stderr: '', droppedBytes: 0, over: false };
  const waiting = new Set<() => void>();
  const follow = async (): Promise<Ran> => {
    for await (const event of client.runs.logs(run.id)) {
      if (event.event === 'dropped') output.droppedBytes += event.droppedBytes;
      if (event.event !== 'stdout' && event.event !== 'stderr') continue;
      output[event.event] = (output[event.event] + event.bytes.toString('latin1')).slice(-keptCharacters);
      for (const look of waiting) look();
    }
    output.over = true;
    for (const look of waiting) look();
    return { run: await client.runs.get(run.id), ...output };
  };
  const ended = follow();
  ended.catch(() => undefined);
  const until = <T>(find: () => T | null): Promise<T> =>
    new Promise((resolve, reject) => {
      const look = () => {
        const found = find();
        if (found === null && !output.over) return;
        waiting.delete(look);
        if (found !== null) resolve(found);
        else
          reject(new Error(`the run ended first: ${output.stdout.slice(-500)} ${output.stderr.slice(-500)}`));
      };
      waiting.add(look);
      look();
    });
  return {
    id: run.id,
    session,
    shows: (pattern) => until(() => pattern.exec(output.stdout)),
    goesOn: async () => {
      const before = output.stdout.length;
      await until(() => (output.stdout.length > before ? true : null));
    },
    ended,
  };
}

/** Runs a command to its end. */
export async function runOnce(
  client: Client,
  command: readonly string[],
  options: Options = {},
): Promise<Ran> {
  return await (await startRun(client, command, options)).ended;
}

/** A run that has to succeed, and what it said. */
export async function probe(
  client: Client,
  command: readonly string[],
  options: Options = {},
): Promise<Map<string, string>> {
  const { run, stdout, stderr } = await runOnce(client, command, options);
  assert.equal(run.phase, 'succeeded', `${run.phase} ${run.cause} ${run.reason} ${run.exitCode}: ${stderr}`);
  return answersOf(stdout);
}

/** A session whose workspace is a repository with these files. */
export async function repositorySession(
  client: Client,
  files: Readonly<Record<string, string>>,
): Promise<SessionId> {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-repository-'));
  const git = (...words: string[]) =>
    execFileSync('git', ['-C', folder, '-c', 'user.name=t', '-c', 'user.email=t@t.invalid', ...words], {
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: folder, GIT_CONFIG_NOSYSTEM: '1' },
    });
  try {
    git('init', '--quiet', '--initial-branch=main');
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    git('add', '--all');
    git('commit', '--quiet', '--message', 'first');
    git('bundle', 'create', '--quiet', 'all.bundle', 'HEAD', 'main');
    const bundle = readFileSync(join(folder, 'all.bundle'));
    const upload = await client.uploads.store(
      (async function* () {
        yield bundle;
      })(),
    );
    return (await client.sessions.create({ repo: { upload: upload.id } })).id;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** An artifact as text. */
export async function artifactText(client: Client, run: RunView, name: string): Promise<string> {
  let text = '';
  for await (const bytes of (await client.runs.artifact(run.id, name)).body)
    text += Buffer.from(bytes).toString('utf8');
  return text;
}

/** A shell script that names its PID namespace as the host does, for `processesIn`. */
export const printNamespace = 'readlink /proc/self/ns/pid';

/** An instance's processes in the PID namespace that a run printed: the number alone may come to mean another one later. */
export function processesIn(home: string, stdout: string): HostProcess[] {
  const namespace = /^pid:\[\d+\]$/m.exec(stdout)?.[0];
  assert.ok(namespace !== undefined, stdout);
  return processesOf(home).filter(({ pid }) => linkOf(`/proc/${pid}/ns/pid`) === namespace);
}

export function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
