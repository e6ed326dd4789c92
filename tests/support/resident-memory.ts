import { readFileSync } from 'node:fs';

/** Resident bytes of a process now; 0 when it is gone. */
export function residentBytes(pid: number): number {
  try {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return Number(kib ?? 0) * 1024;
  } catch {
    return 0;
  }
}

export type MemoryWatch = {
  /** Ends the watch: by how many bytes each process grew at most, in the order of the pids. */
  growth(): number[];
};

/** Samples the resident memory of processes until it is asked. */
export function watchMemory(pids: readonly number[]): MemoryWatch {
  const first = pids.map(residentBytes);
  const peak = [...first];
  const timer = setInterval(() => {
    for (const [index, pid] of pids.entries()) peak[index] = Math.max(peak[index]!, residentBytes(pid));
  }, 20);
  return {
    growth: () => {
      clearInterval(timer);
      return peak.map((bytes, index) => bytes - first[index]!);
    },
  };
}
