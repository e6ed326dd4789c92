import { readFileSync } from 'node:fs';

/** Resident bytes of processes together. */
export function memoryOf(pids: readonly number[]): number {
  const of = (pid: number) =>
    Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  return pids.reduce((sum, pid) => sum + of(pid) * 1024, 0);
}
