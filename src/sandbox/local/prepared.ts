import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fchownSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import { pipe } from '../../base/libc.ts';
import type { ControlGroup, ControlGroups } from './cgroup/control-groups.ts';
import { removeWhenEmpty } from './cgroup/remove.ts';
import { launcherScript } from './launcher.ts';
import type { NamespaceMaker } from './namespaces.ts';

/** The file descriptors of a start, as bubblewrap sees them. */
export const startFds = { args: 3, seccomp: 4, status: 5, block: 6, launcher: 7, start: 8 } as const;

/**
 * A sandbox's start, prepared before anybody asks for it: a shell that waits for one line, in its control group,
 * beside a network namespace of its own. The line tells it whom to become; it then enters the namespace and
 * turns into bubblewrap. What is slow and the same for everybody (starting a process, moving it into its groups,
 * making the namespace) is done by then.
 */
export type Prepared = {
  readonly process: ChildProcess;
  readonly exited: Promise<unknown[]>;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly group: ControlGroup | null;
  /** Lends the output pipes to a host uid and lets the shell go on as it; null keeps the runner's own user. */
  begin(uid: number | null): void;
  /** Frees what only the start needed; the process goes on. */
  settle(): void;
  /** Ends the process and frees everything. */
  discard(): Promise<void>;
};

/** What every start of this host is made with. */
export type Preparation = {
  readonly bubblewrap: string;
  /** A file with the compiled seccomp filter. */
  readonly seccompFile: string;
  readonly groups: ControlGroups | null;
  readonly namespaces: NamespaceMaker;
};

/** Waits for the uid, or nothing, then becomes bubblewrap in the namespace. Ends when the runner is gone. */
const waitScript = `
read -r uid <&${startFds.block} || exit 0
net=$1
shift
exec /usr/bin/nsenter --net="$net" \${uid:+--setuid "$uid" --setgid "$uid"} -- "$@"
`;

/** The runner's end of a file descriptor that was opened as a pipe. */
export function streamOf(child: ChildProcess, fd: number): Duplex {
  return (child.stdio as readonly unknown[])[fd] as Duplex;
}

let made = 0;

export async function prepareStart(preparation: Preparation): Promise<Prepared> {
  const namespaceFd = await preparation.namespaces.make();
  const [stdout, stderr] = [pipe(), pipe()];
  const seccompFd = openSync(preparation.seccompFile, 'r');
  const sandboxWords = [
    preparation.bubblewrap,
    '--args',
    String(startFds.args),
    '--',
    '/usr/bin/dash',
    '-c',
    launcherScript,
    'sealwright',
  ];
  const child: ChildProcess = spawn(
    '/usr/bin/dash',
    ['-c', waitScript, 'sealwright', `/proc/${process.pid}/fd/${namespaceFd}`, ...sandboxWords],
    {
      env: {},
      cwd: '/',
      shell: false,
      stdio: ['ignore', stdout.write, stderr.write, 'pipe', seccompFd, 'pipe', 'pipe', 'pipe', 'pipe'],
    },
  );
  for (const fd of [stdout.write, stderr.write, seccompFd]) closeSync(fd);
  const exited = once(child, 'exit');
  exited.catch(() => undefined);
  for (const fd of [startFds.args, startFds.status, startFds.block, startFds.launcher, startFds.start])
    streamOf(child, fd).on('error', () => undefined);
  const streams = {
    stdout: new Socket({ fd: stdout.read, writable: false }),
    stderr: new Socket({ fd: stderr.read, writable: false }),
  };
  const settle = onlyOnce(() => closeSync(namespaceFd));
  const end = async () => {
    settle();
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
      child.kill('SIGKILL');
    await exited.catch(() => undefined);
    for (const stream of Object.values(streams)) stream.destroy();
  };
  let group: ControlGroup | null = null;
  try {
    if (child.pid === undefined) await exited;
    group = (await preparation.groups?.create(`start-${++made}`)) ?? null;
    await group?.add(child.pid!);
  } catch (error) {
    await end();
    group?.remove();
    throw error;
  }
  return {
    process: child,
    exited,
    ...streams,
    group,
    settle,
    begin: (uid) => {
      // Programs that open /dev/stdout open the pipe itself, so it must be theirs.
      if (uid !== null) for (const fd of [stdout.read, stderr.read]) fchownSync(fd, uid, uid);
      streamOf(child, startFds.block).write(`${uid ?? ''}\n`);
    },
    discard: async () => {
      await end();
      if (group !== null) await removeWhenEmpty(group);
    },
  };
}

function onlyOnce(act: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    act();
  };
}
