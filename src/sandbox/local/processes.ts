import { closeSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { openProcess, signalProcess } from '../../base/libc.ts';

/** What the processes below one use now. */
export type TreeUsage = {
  readonly pids: number;
  readonly residentBytes: number;
  readonly cpuSeconds: number;
};

const pageBytes = 4096;
const ticksPerSecond = 100;

/**
 * Sums processes and everything below them (proc_pid_stat(5)). Pages that several processes share count for each,
 * so `residentBytes` is at least what they hold together of it, and `heldMemory` tells how much that is.
 */
export function treeUsage(...roots: readonly number[]): TreeUsage {
  let [pids, residentBytes, cpuSeconds] = [0, 0, 0];
  for (const member of new Set([...roots, ...descendantsOf(...roots)])) {
    const stat = readStat(member);
    if (stat === null) continue;
    pids += stat.threads;
    residentBytes += stat.residentBytes;
    cpuSeconds += stat.cpuSeconds;
  }
  return { pids, residentBytes, cpuSeconds };
}

/**
 * Everything below processes, as the host numbers it. A process that leaves its parent falls to the sandbox's
 * first process, so what is below that one, and below each command that was started beside, is the whole PID namespace.
 */
export function descendantsOf(...roots: readonly number[]): number[] {
  const seen = new Set(roots);
  for (const next of seen) for (const child of childrenOf(next)) seen.add(child);
  for (const root of roots) seen.delete(root);
  return [...seen];
}

/**
 * A signal to a process of a PID namespace, which is known by its inode. The number is looked at after the process was
 * opened: should it mean another one by then, the signal reaches nobody.
 */
export function signalMember(pid: number, namespace: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  let processFd: number;
  try {
    processFd = openProcess(pid);
  } catch {
    return; // It has ended.
  }
  try {
    if (statSync(`/proc/${pid}/ns/pid`).ino === namespace) signalProcess(processFd, signal);
  } catch {
    // It has ended.
  } finally {
    closeSync(processFd);
  }
}

/** Memory of processes, in bytes, without pages of files, which the kernel drops when it needs room. */
export type HeldMemory = { readonly anonymous: number; readonly shared: number };

/** What processes hold together: pages that several share count once (proc_pid_smaps(5), smaps_rollup). */
export function heldMemory(pids: readonly number[]): HeldMemory {
  let [anonymous, shared] = [0, 0];
  for (const pid of pids) {
    const held = heldBy(pid);
    anonymous += held.anonymous;
    shared += held.shared;
  }
  return { anonymous, shared };
}

function heldBy(pid: number): HeldMemory {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const bytes = (name: string) => {
      const kibibytes = new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1];
      return kibibytes === undefined ? null : Number(kibibytes) * 1024;
    };
    return { anonymous: bytes('Pss_Anon') ?? bytes('Pss') ?? 0, shared: bytes('Pss_Shmem') ?? 0 };
  } catch {
    // It has ended, or this kernel does not tell; then what is resident is the bound.
    return { anonymous: readStat(pid)?.residentBytes ?? 0, shared: 0 };
  }
}

/** None where it has ended. */
export function childrenOf(pid: number): number[] {
  try {
    const children: number[] = [];
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const text = readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8');
      for (const child of text.split(' ')) if (child !== '') children.push(Number(child));
    }
    return children;
  } catch {
    return [];
  }
}

function readStat(pid: number): { threads: number; residentBytes: number; cpuSeconds: number } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The program's name may hold spaces and parentheses; the fields after it start behind the last one.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
    return {
      threads: Number(fields[17]),
      residentBytes: Number(fields[21]) * pageBytes,
      cpuSeconds: ticks / ticksPerSecond,
    };
  } catch {
    return null;
  }
}
