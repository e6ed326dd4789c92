import { once } from 'node:events';
import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { openProcess, signalProcess } from '../../base/libc.ts';
import { Fault } from '../../contract/faults.ts';
import type { SandboxRequest } from '../backend.ts';
import { trustFolder } from '../trust.ts';
import { bubblewrapArguments, encodeArguments, type SystemView } from './bubblewrap.ts';
import { parseLauncherWord, startFileText } from './launcher.ts';
import { localLimits } from './limits.ts';
import { type Prepared, startFds } from './prepared.ts';

/** bubblewrap running, its namespaces made, the command held back. */
export type Workload = {
  readonly prepared: Prepared;
  /** The first process of the sandbox's PID namespace, as the host numbers it. */
  readonly initPid: number;
  /** The same process and its PID namespace as descriptors, which cannot come to mean others; the owner of the workload closes both. */
  readonly initFd: number;
  readonly pidNamespaceFd: number;
  /** Lets the launcher go on; resolves when it has confirmed the walls and started the command. */
  release(): Promise<void>;
};

/**
 * Turns a prepared start into bubblewrap and waits until the sandbox's other namespaces stand. As root it becomes
 * the session's own uid first, so that even a way out of the sandbox leads to nobody's account. When it rejects,
 * the start was discarded.
 */
export async function startWorkload(
  system: SystemView,
  request: SandboxRequest,
  prepared: Prepared,
): Promise<Workload> {
  const timer = setTimeout(prepared.kill, localLimits.startTimeoutMs);
  let initFd: number | null = null;
  try {
    const initPid = await begin(system, request, prepared);
    initFd = openProcess(initPid);
    const pidNamespaceFd = openPidNamespace(initPid);
    const release = () => releaseLauncher(request, prepared).finally(() => clearTimeout(timer));
    return { prepared, initPid, initFd, pidNamespaceFd, release };
  } catch (error) {
    clearTimeout(timer);
    if (initFd !== null) {
      signalProcess(initFd, 'SIGKILL');
      closeSync(initFd);
    }
    const fault = await explain(prepared, error);
    await prepared.discard();
    throw fault;
  }
}

/** Answers with the pid of the sandbox's first process. */
async function begin(system: SystemView, request: SandboxRequest, prepared: Prepared): Promise<number> {
  const { limits, env, cwd, command, uid } = request;
  const trust = { source: prepared.trust.path, target: trustFolder, writable: false };
  const mounts = request.egress === null ? request.mounts : [trust, ...request.mounts];
  const words = bubblewrapArguments({
    system,
    mounts,
    tmpBytes: Math.min(localLimits.tmpBytesMax, Math.floor(limits.memoryBytes / 2)),
    hostname: 'sandbox',
    seccompFd: startFds.seccomp,
    statusFd: startFds.status,
    blockFd: startFds.block,
    startFd: startFds.start,
  });
  const { diskBytes: fileBytes } = limits;
  // The control group counts what it refuses, so where there is one it shall be the first to refuse.
  const pids = limits.pids + (prepared.group === null ? 0 : localLimits.rlimitSlack);
  const { openFiles } = localLimits;
  prepared.args.end(encodeArguments(words));
  prepared.start.end(startFileText({ pids, fileBytes, openFiles, cwd, env, command }));
  prepared.begin(uid);
  const status = await firstLine(prepared.status);
  // Read on, so that its end is seen.
  prepared.status.resume();
  return (JSON.parse(status) as { 'child-pid': number })['child-pid'];
}

async function releaseLauncher(request: SandboxRequest, prepared: Prepared): Promise<void> {
  try {
    prepared.block.end('\n');
    const word = parseLauncherWord(await firstLine(prepared.launcher));
    if (word?.word === 'cwd')
      throw new Fault('state.conflict', {
        detail: `The folder ${request.cwd} does not exist in the sandbox.`,
      });
    if (word?.word !== 'ok') throw unavailable(`The wall '${word?.wall ?? 'unknown'}' does not stand`);
  } catch (error) {
    throw await explain(prepared, error);
  }
}

/** The namespace, held open so that its number cannot come to mean another; refused when it is the host's. */
function openPidNamespace(initPid: number): number {
  const fd = openSync(`/proc/${initPid}/ns/pid`, 'r');
  if (fstatSync(fd).ino !== statSync('/proc/self/ns/pid').ino) return fd;
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

/** Ends a start that failed; what bubblewrap said of it, for the log and, bounded, for the caller. */
async function explain({ kill, stderr, exited }: Prepared, error: unknown): Promise<Fault> {
  kill();
  if (error instanceof Fault && error.code === 'state.conflict') return error;
  let said = '';
  stderr.on('data', (chunk: Buffer) => {
    if (said.length < 2000) said += chunk.toString('utf8');
  });
  await exited;
  if (!stderr.destroyed)
    await Promise.race([
      once(stderr, 'close'),
      new Promise((resolve) => setTimeout(resolve, localLimits.complaintMs)),
    ]);
  const words = /(bwrap|nsenter|dash|sealwright): .*/.exec(said)?.[0].slice(0, 300);
  if (error instanceof Fault && words === undefined) return error;
  return unavailable(words ?? (error instanceof Error ? error.message : String(error)), error);
}
