import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fchownSync, openSync, statSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Duplex, Readable, Writable } from 'node:stream';
import { openProcess, pipe } from '../../base/libc.ts';
import { Fault } from '../../contract/faults.ts';
import type { SandboxRequest } from '../backend.ts';
import { bubblewrapArguments, encodeArguments, type SystemView } from './bubblewrap.ts';
import { commandFileText, launcherScript, parseLauncherWord } from './launcher.ts';
import { localLimits } from './limits.ts';

/** What every sandbox of this host is made with. */
export type Workshop = {
  readonly mode: 'root' | 'user';
  readonly system: SystemView;
  /** A file with the compiled seccomp filter. */
  readonly seccompFile: string;
  readonly bubblewrap: string;
};

/** bubblewrap running, its namespaces made, the command held back. */
export type Workload = {
  readonly process: ChildProcess;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** The first process of the sandbox's PID namespace, as the host numbers it. */
  readonly initPid: number;
  /** The same process and its PID namespace as descriptors, which cannot come to mean others; the owner of the workload closes both. */
  readonly initFd: number;
  readonly pidNamespaceFd: number;
  /** Lets the launcher go on; resolves when it has confirmed the walls and started the command. */
  release(): Promise<void>;
};

const fds = { args: 3, seccomp: 4, status: 5, block: 6, launcher: 7, command: 8 } as const;

/**
 * Starts bubblewrap in a network namespace and waits until the sandbox's other namespaces stand. As root it
 * first becomes the session's own uid, so that even a way out of the sandbox leads to nobody's account.
 */
export async function startWorkload(
  workshop: Workshop,
  request: SandboxRequest,
  namespaceFd: number,
): Promise<Workload> {
  const [stdout, stderr] = [pipe(), pipe()];
  const seccompFd = openSync(workshop.seccompFile, 'r');
  let child: ChildProcess;
  try {
    // Programs that open /dev/stdout open the pipe itself, so it must be theirs.
    if (request.uid !== null)
      for (const end of [stdout.write, stderr.write]) fchownSync(end, request.uid, request.uid);
    child = spawn(...commandLine(workshop, request, namespaceFd), {
      env: {},
      cwd: '/',
      shell: false,
      stdio: ['ignore', stdout.write, stderr.write, 'pipe', seccompFd, 'pipe', 'pipe', 'pipe', 'pipe'].slice(
        0,
        isLong(request) ? 9 : 8,
      ) as StdioOptions,
    });
  } catch (error) {
    closeSync(stdout.read);
    closeSync(stderr.read);
    throw unavailable('bubblewrap could not be started', error);
  } finally {
    for (const fd of [stdout.write, stderr.write, seccompFd]) closeSync(fd);
  }
  const streams = {
    stdout: new Socket({ fd: stdout.read, writable: false }),
    stderr: new Socket({ fd: stderr.read, writable: false }),
  };
  const timer = setTimeout(() => child.kill('SIGKILL'), localLimits.startTimeoutMs);
  try {
    return await prepare(workshop, request, child, streams, timer);
  } catch (error) {
    clearTimeout(timer);
    child.kill('SIGKILL');
    throw await explain(child, streams.stderr, error);
  }
}

async function prepare(
  workshop: Workshop,
  request: SandboxRequest,
  child: ChildProcess,
  streams: { stdout: Readable; stderr: Readable },
  timer: NodeJS.Timeout,
): Promise<Workload> {
  const at = (fd: number) => child.stdio[fd] as Duplex;
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  failed.catch(() => undefined);
  const words = bubblewrapArguments({
    system: workshop.system,
    mounts: request.mounts,
    env: request.env,
    tmpBytes: Math.min(localLimits.tmpBytesMax, Math.floor(request.limits.memoryBytes / 2)),
    hostname: 'sandbox',
    seccompFd: fds.seccomp,
    statusFd: fds.status,
    blockFd: fds.block,
    commandFd: isLong(request) ? fds.command : null,
  });
  for (const fd of [fds.args, fds.block, fds.launcher, fds.status]) at(fd).on('error', () => undefined);
  at(fds.args).end(encodeArguments(words));
  if (isLong(request))
    at(fds.command)
      .on('error', () => undefined)
      .end(commandFileText(request.command));
  const status = await Promise.race([firstLine(at(fds.status)), failed]);
  const initPid = (JSON.parse(status) as { 'child-pid': number })['child-pid'];
  const initFd = openProcess(initPid);
  const pidNamespaceFd = openPidNamespace(initPid);
  return {
    process: child,
    ...streams,
    initPid,
    initFd,
    pidNamespaceFd,
    release: async () => {
      try {
        (at(fds.block) as Writable).end('\n');
        const word = parseLauncherWord(await Promise.race([firstLine(at(fds.launcher)), failed]));
        if (word?.word === 'cwd')
          throw new Fault('state.conflict', {
            detail: `The folder ${request.cwd} does not exist in the sandbox.`,
          });
        if (word?.word !== 'ok') throw unavailable(`The wall '${word?.wall ?? 'unknown'}' does not stand`);
      } catch (error) {
        throw await explain(child, streams.stderr, error);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

function commandLine(workshop: Workshop, request: SandboxRequest, namespaceFd: number): [string, string[]] {
  const drop = request.uid === null ? [] : ['--setuid', String(request.uid), '--setgid', String(request.uid)];
  const { pids, diskBytes } = request.limits;
  const rlimits = [pids, Math.ceil(diskBytes / 512), localLimits.openFiles].map(String);
  const launch = [
    '--',
    '/usr/bin/dash',
    '-c',
    launcherScript,
    'sealwright',
    ...rlimits,
    request.cwd,
    ...(isLong(request) ? [] : request.command),
  ];
  const enter = [`--net=/proc/${process.pid}/fd/${namespaceFd}`, ...drop, '--'];
  return ['/usr/bin/nsenter', [...enter, workshop.bubblewrap, '--args', String(fds.args), ...launch]];
}

function isLong(request: SandboxRequest): boolean {
  return request.command.length > localLimits.commandLineWordsMax;
}

/** The namespace, held open so that its number cannot come to mean another; refused when it is the host's. */
function openPidNamespace(initPid: number): number {
  const path = `/proc/${initPid}/ns/pid`;
  const fd = openSync(path, 'r');
  if (statSync(path).ino !== statSync('/proc/self/ns/pid').ino) return fd;
  closeSync(fd);
  throw unavailable("The wall 'PID namespace' does not stand");
}

async function firstLine(stream: Readable): Promise<string> {
  let text = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    const end = text.indexOf('\n');
    if (end >= 0) return text.slice(0, end);
  }
  throw new Error('bubblewrap ended before the sandbox stood');
}

function unavailable(what: string, cause?: unknown): Fault {
  return new Fault('sandbox.unavailable', {
    detail: `${what}. Run \`sealwright doctor\` on the server's machine.`,
    cause,
  });
}

/** What bubblewrap said of its failure, for the log and, bounded, for the caller. */
async function explain(child: ChildProcess, stderr: Readable, error: unknown): Promise<Fault> {
  if (error instanceof Fault && error.code === 'state.conflict') return error;
  let said = '';
  stderr.on('data', (chunk: Buffer) => {
    if (said.length < 2000) said += chunk.toString('utf8');
  });
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
    await once(child, 'exit');
  await new Promise((resolve) => setImmediate(resolve));
  const words = /bwrap: .*|nsenter: .*/.exec(said)?.[0].slice(0, 300);
  if (error instanceof Fault && words === undefined) return error;
  return unavailable(words ?? (error instanceof Error ? error.message : String(error)), error);
}
