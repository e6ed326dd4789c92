import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import { openProcess, signalProcess } from '../../base/libc.ts';
import type { SandboxRequest } from '../backend.ts';
import type { PseudoTerminal } from '../terminal.ts';
import { trustFolder } from '../trust.ts';
import { bubblewrapArguments, encodeArguments, type SystemView } from './bubblewrap.ts';
import { type Start, startFileText } from './launcher.ts';
import { localLimits } from './limits.ts';
import { type Prepared, startFds } from './prepared.ts';
import { openSandboxTerminal } from './pseudo-terminal.ts';
import { explain, firstLine, unavailable, untilConfirmed } from './starting.ts';

export type StartLimits = Pick<Start, 'pids' | 'fileBytes' | 'openFiles'>;

/** bubblewrap running, its namespaces made, the command held back. */
export type Workload = {
  readonly prepared: Prepared;
  /** The first process of the sandbox's PID namespace, as the host numbers it. */
  readonly initPid: number;
  /** The same process and its PID namespace as descriptors, which cannot come to mean others; the owner of the workload closes both. */
  readonly initFd: number;
  readonly pidNamespaceFd: number;
  /** What the kernel holds each of its commands to. */
  readonly limits: StartLimits;
  /** Lets the launcher go on; resolves when it has confirmed the walls and starts the command, with the terminal that it asked for. */
  release(): Promise<PseudoTerminal | null>;
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
    const limits = startLimits(request, prepared);
    const initPid = await begin(system, request, prepared, limits);
    initFd = openProcess(initPid);
    const pidNamespaceFd = openPidNamespace(initPid);
    const sandbox = { prepared, initPid, initFd, pidNamespaceFd, limits };
    const release = () => releaseLauncher(request, sandbox).finally(() => clearTimeout(timer));
    return { ...sandbox, release };
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
async function begin(
  system: SystemView,
  request: SandboxRequest,
  prepared: Prepared,
  startLimits: StartLimits,
): Promise<number> {
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
  const waits = request.terminal !== null;
  prepared.args.end(encodeArguments(words));
  prepared.start.end(startFileText({ ...startLimits, waits, cwd, env, command }));
  prepared.begin(uid);
  const status = await firstLine(prepared.status);
  // Read on, so that its end is seen.
  prepared.status.resume();
  return (JSON.parse(status) as { 'child-pid': number })['child-pid'];
}

function startLimits({ limits }: SandboxRequest, { group }: Prepared): StartLimits {
  // The control group counts what it refuses, so where there is one it shall be the first to refuse.
  const pids = limits.pids + (group === null ? 0 : localLimits.rlimitSlack);
  return { pids, fileBytes: limits.diskBytes, openFiles: localLimits.openFiles };
}

async function releaseLauncher(
  request: SandboxRequest,
  sandbox: Omit<Workload, 'release'>,
): Promise<PseudoTerminal | null> {
  const { prepared } = sandbox;
  try {
    prepared.block.end('\n');
    await untilConfirmed(prepared.launcher, request.cwd);
    if (request.terminal === null) return null;
    const opened = openSandboxTerminal(sandbox, request.uid, request.terminal);
    prepared.launcher.write(`${opened.device}\n`);
    return opened.terminal;
  } catch (error) {
    throw await explain(prepared, error);
  } finally {
    prepared.launcher.end();
    prepared.launcher.resume();
  }
}

/** The namespace, held open so that its number cannot come to mean another; refused when it is the host's. */
function openPidNamespace(initPid: number): number {
  const fd = openSync(`/proc/${initPid}/ns/pid`, 'r');
  if (fstatSync(fd).ino !== statSync('/proc/self/ns/pid').ino) return fd;
  closeSync(fd);
  throw unavailable("The wall 'PID namespace' does not stand");
}
