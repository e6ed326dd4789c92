import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { Readiness } from './child.ts';
import { controlUid } from './home.ts';

/** One of the two processes, as `up` starts it. */
export type Part = {
  readonly name: 'control' | 'runner';
  readonly words: readonly string[];
  readonly configuration: unknown;
  /** Its own log; standard output and error go there. */
  readonly logFd: number;
  readonly lockFd: number;
};

export type RunningPart = {
  readonly child: ChildProcess;
  readonly ready: Promise<Record<string, unknown>>;
  readonly exited: Promise<number | null>;
  /** Changes what was configured, in the words of the part. */
  tell(update: unknown): void;
};

/** Starts a part. `ready` rejects with what the part itself says is wrong. */
export function launch(part: Part): RunningPart {
  const [program, ...words] = part.words as [string, ...string[]];
  const child = spawn(program, words, {
    cwd: '/',
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' },
    stdio: ['pipe', part.logFd, part.logFd, 'pipe', part.lockFd],
    shell: false,
    // A session of its own, so that Ctrl-C in the terminal reaches `up` alone and not the sandboxes below.
    detached: true,
  });
  const failed = once(child, 'error').then(([error]) => {
    throw error as Error;
  });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const stdin = child.stdin as Writable;
  stdin.on('error', () => undefined);
  stdin.write(`${JSON.stringify(part.configuration)}\n`);
  const ready = Promise.race([firstReadiness(child.stdio[3] as Readable, part.name), failed]);
  ready.catch(() => undefined);
  const tell = (update: unknown) => void stdin.write(`${JSON.stringify(update)}\n`);
  return { child, ready, exited, tell };
}

async function firstReadiness(stream: Readable, name: string): Promise<Record<string, unknown>> {
  for await (const line of createInterface({ input: stream })) {
    const readiness = JSON.parse(line) as Readiness;
    if ('ready' in readiness) return readiness.ready;
    throw new Error(readiness.fatal);
  }
  throw new Error(`The ${name} ended before it was ready; its log says why.`);
}

/** What the runner keeps of root's capabilities, with what for; everything else is gone for it and what it starts. */
const runnerCapabilities = {
  sys_admin: 'network namespaces, entering them',
  net_admin: 'routes in the namespaces it makes',
  net_bind_service: 'ports below 1024 in the namespaces it makes',
  setuid: 'becoming a session',
  setgid: 'becoming a session',
  chown: 'giving a session its files',
  fowner: 'removing what a session made',
  dac_override: 'entering what a session made unreadable',
  kill: 'ending a session',
  sys_ptrace: "opening a sandbox's PID namespace",
} as const;

/**
 * Root's command lines. Both processes see the data folder through a mount of their own, below a folder that
 * everybody may enter, because the data folder may lie where only root can go; sandboxes bind from there.
 */
export function rootWords(
  view: { home: string; path: string },
  node: string,
  script: string,
  name: Part['name'],
): string[] {
  const mount = [
    '/bin/sh',
    '-c',
    'mount --bind -- "$1" "$2" && shift 2 && exec "$@"',
    'sh',
    view.home,
    view.path,
  ];
  const kept = Object.keys(runnerCapabilities).map((capability) => `+${capability}`);
  const confined = {
    runner: [`--bounding-set=-all,${kept.join(',')}`, '--inh-caps=-all', '--no-new-privs'],
    control: [
      `--reuid=${controlUid}`,
      `--regid=${controlUid}`,
      '--clear-groups',
      '--bounding-set=-all',
      '--inh-caps=-all',
      '--no-new-privs',
    ],
  }[name];
  return [
    '/usr/bin/unshare',
    '--mount',
    '--propagation',
    'private',
    '--',
    ...mount,
    '/usr/bin/setpriv',
    ...confined,
    '--',
    ...nodeWords(node, script),
  ];
}

/** An ordinary user's: the runner is root of a user namespace of its own, where it may make the other ones. */
export function userWords(node: string, script: string, name: Part['name']): string[] {
  const enter = name === 'runner' ? ['/usr/bin/unshare', '--user', '--map-root-user', '--mount', '--'] : [];
  return [...enter, '/usr/bin/setpriv', '--no-new-privs', '--', ...nodeWords(node, script)];
}

function nodeWords(node: string, script: string): string[] {
  return [node, '--disable-warning=ExperimentalWarning', script];
}
