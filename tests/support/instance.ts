import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Client, createClient } from '../../src/client/client.ts';

const root = join(import.meta.dirname, '..', '..');
export const launcher = join(root, 'bin', 'sealwright');
const startTimeoutMs = 30_000;

/** A real server, started as the README starts it, on a port and a data folder of its own. */
export type Instance = {
  readonly home: string;
  readonly url: string;
  /** Speaks with the bootstrap token. */
  readonly client: Client;
  readonly bootstrapToken: string;
  /** The process of `sealwright up`. */
  readonly process: ChildProcess;
  /** The pids of its control and runner. */
  pids(): { control: number; runner: number };
  /** Ends it as Ctrl-C does; the data folder stays. */
  stop(): Promise<number | null>;
  /** Ends it and removes the data folder. */
  remove(): Promise<void>;
};

export type InstanceOptions = {
  /** An earlier instance's data folder; a new one where absent. */
  readonly home?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Certificates in PEM that the client trusts besides. */
  readonly authorities?: string;
  /** Words before the launcher, such as `setpriv --reuid=…`. */
  readonly prefix?: readonly string[];
};

export async function startInstance(options: InstanceOptions = {}): Promise<Instance> {
  const home = options.home ?? join(mkdtempSync(join(tmpdir(), 'sealwright-test-')), 'home');
  const [program = launcher, ...words] = [...(options.prefix ?? []), launcher, 'up'];
  const child = spawn(program, words, {
    env: { ...testEnvironment(home), ...options.environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const url = await readyUrl(child);
  const bootstrapToken =
    options.environment?.SEALWRIGHT_ENV === 'prod'
      ? ''
      : readFileSync(join(home, 'bootstrap-token'), 'utf8').trim();
  const stop = () => stopProcess(child);
  return {
    home,
    url,
    client: createClient({ url, token: bootstrapToken, authorities: options.authorities }),
    bootstrapToken,
    process: child,
    pids: () => ({ control: childNamed(child.pid!, 'control'), runner: childNamed(child.pid!, 'runner') }),
    stop,
    remove: async () => {
      await stop();
      rmSync(join(home, '..'), { recursive: true, force: true });
    },
  };
}

/** What the CLI and the server get: nothing of the caller's but where programs are. */
export function testEnvironment(home: string): Record<string, string> {
  return {
    PATH: process.env.PATH ?? '/usr/bin:/bin',
    HOME: process.env.HOME ?? '/root',
    SEALWRIGHT_HOME: home,
    SEALWRIGHT_LISTEN: '127.0.0.1:0',
    SEALWRIGHT_REQUESTS_PER_MINUTE: '1000000',
    SEALWRIGHT_WRITES_PER_MINUTE: '1000000',
    SEALWRIGHT_ADMIN_PER_MINUTE: '1000000',
  };
}

export type CliResult = { readonly status: number | null; readonly stdout: Buffer; readonly stderr: string };

/** Runs `sealwright` against an instance, with its profile. */
export async function cli(
  home: string,
  words: readonly string[],
  options: { cwd?: string; input?: string; environment?: Record<string, string> } = {},
): Promise<CliResult> {
  const child = spawn(launcher, words, {
    env: { ...testEnvironment(home), ...options.environment },
    cwd: options.cwd ?? root,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const collect = async (stream: AsyncIterable<Buffer>) => {
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  const [stdout, stderr, [status]] = await Promise.all([
    collect(child.stdout),
    collect(child.stderr),
    once(child, 'exit'),
  ]);
  return { status: status as number | null, stdout, stderr: stderr.toString('utf8') };
}

async function readyUrl(child: ChildProcess): Promise<string> {
  const said: string[] = [];
  child.stderr!.on('data', (chunk: Buffer) => said.push(chunk.toString('utf8')));
  const timer = setTimeout(() => child.kill('SIGKILL'), startTimeoutMs);
  try {
    for await (const line of createInterface({ input: child.stdout! })) {
      const url = /ready at (https?:\S+)/.exec(line)?.[1];
      if (url === undefined) continue;
      child.stdout!.resume();
      return url;
    }
  } finally {
    clearTimeout(timer);
  }
  throw new Error(`the instance did not start: ${said.join('')}`);
}

async function stopProcess(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const exited = once(child, 'exit');
  child.kill('SIGINT');
  return (await exited)[0] as number | null;
}

/** The process that runs `dist/<name>.js` below one, looked up as ps does. */
function childNamed(parent: number, name: string): number {
  const pending = [parent];
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    if (words.some((word) => word.endsWith(`dist/${name}.js`)) && words[0]?.endsWith('node')) return pid;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    pending.push(
      ...children
        .split(' ')
        .filter((word) => word !== '')
        .map(Number),
    );
  }
  throw new Error(`no process runs ${name}.js`);
}
