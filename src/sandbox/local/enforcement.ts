import { cpus as processors } from 'node:os';
import { setAffinity } from '../../base/libc.ts';
import type { HeldBy } from '../../model/limits.ts';
import type { Overrun, SandboxRequest } from '../backend.ts';
import type { ControlGroup, ControlGroups, GroupUsage } from './cgroup/control-groups.ts';
import { DiskWatcher, stillFolderBytes } from './disk.ts';
import { localLimits } from './limits.ts';
import { descendantsOf } from './processes.ts';
import { TreeWatcher } from './tree-watcher.ts';

/** The commands that run beside a sandbox's own. */
export type Beside = {
  /** The process of the host's below which each of them is. */
  roots(): readonly number[];
  kill(): void;
};

/** What holds a sandbox's limits while it lives. */
export type Enforcement = {
  /** Puts another process under the same limits; what it starts from now on is under them too. */
  include(pid: number): Promise<void>;
  /** Which limit the kernel or a watcher saw overrun, if any. */
  overrun(): Overrun | null;
  usage(): Promise<GroupUsage & { readonly diskBytes: number }>;
  /** Stops watching. */
  stop(): void;
};

export function meansOf(groups: ControlGroups | null): HeldBy {
  const means = groups?.means;
  return {
    cpus: means ?? 'affinity',
    memory: means ?? 'watcher',
    pids: means ?? 'rlimit',
    disk: 'watcher',
    time: 'timer',
  };
}

/**
 * Puts the held-back first process of a sandbox under its limits, so that everything it starts is under them.
 * With a control group it is in that already and only the numbers are set. `onOverrun` is called at most once,
 * when a watcher sees a limit overrun.
 */
export function enforce(
  group: ControlGroup | null,
  request: SandboxRequest,
  initPid: number,
  beside: Beside,
  onOverrun: (overrun: Overrun) => void,
): Enforcement {
  const { limits, diskFolders } = request;
  let seen: Overrun | null = null;
  const overrun = (what: Overrun) => {
    if (seen !== null) return;
    seen = what;
    onOverrun(what);
  };
  group?.limit({ ...limits, pids: limits.pids + localLimits.ownProcesses });
  const affinity = nextProcessors(limits.cpus);
  if (group === null) setAffinity(initPid, affinity);
  const watcher = group === null ? new TreeWatcher(initPid, beside, limits, overrun) : null;
  const disk = new DiskWatcher(
    diskFolders,
    limits.diskBytes,
    () => overrun('disk'),
    () => descendantsOf(initPid, ...beside.roots()),
  );
  disk.start();
  return {
    include: async (pid) => {
      if (group === null) setAffinity(pid, affinity);
      else await group.add(pid);
    },
    overrun: () => seen ?? (group === null ? watcher!.reached() : groupOverrun(group)),
    usage: async () => ({
      ...(group === null ? watcher!.usage() : workloadUsage(group)),
      diskBytes: await stillFolderBytes(diskFolders),
    }),
    stop: () => {
      watcher?.stop();
      disk.stop();
    },
  };
}

/** Without bubblewrap's own processes, which are in the group too. */
function workloadUsage(group: ControlGroup): GroupUsage {
  const usage = group.usage();
  return { ...usage, peakPids: Math.max(0, usage.peakPids - localLimits.ownProcesses) };
}

function groupOverrun(group: ControlGroup): Overrun | null {
  const seen = group.overruns();
  if (seen.memory) return 'memory';
  return seen.pids ? 'pids' : null;
}

let firstProcessor = 0;

/** As many processors as the limit, rounded up, taken in turn so that sandboxes spread over the machine. */
function nextProcessors(cpus: number): number[] {
  const count = processors().length;
  const first = firstProcessor++;
  return Array.from({ length: Math.min(count, Math.ceil(cpus)) }, (_, index) => (first + index) % count);
}
