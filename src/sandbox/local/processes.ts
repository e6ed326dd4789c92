import { readdirSync, readFileSync } from 'node:fs';

/** What the processes below one use now. */
export type TreeUsage = {
  readonly pids: number;
  readonly residentBytes: number;
  readonly cpuSeconds: number;
};

const pageBytes = 4096;
const ticksPerSecond = 100;

/**
 * Sums a process and everything below it (proc_pid_stat(5)). A process that leaves its parent falls to the
 * sandbox's first process, so the tree below that one is the whole PID namespace.
 */
export function treeUsage(pid: number): TreeUsage {
  let [pids, residentBytes, cpuSeconds] = [0, 0, 0];
  const pending = [pid];
  const seen = new Set<number>();
  while (pending.length > 0) {
    const next = pending.pop()!;
    if (seen.has(next)) continue;
    seen.add(next);
    const stat = readStat(next);
    if (stat === null) continue;
    pids += stat.threads;
    residentBytes += stat.residentBytes;
    cpuSeconds += stat.cpuSeconds;
    pending.push(...childrenOf(next));
  }
  return { pids, residentBytes, cpuSeconds };
}

function childrenOf(pid: number): number[] {
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
