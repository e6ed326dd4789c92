import assert from 'node:assert/strict';

/** What a run may use. Bytes and counts are whole numbers; `cpus` may be a fraction. */
export type RunLimits = {
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly pids: number;
  /** The session's workspace and home together. */
  readonly diskBytes: number;
  /** Output kept; past it the oldest middle is dropped with a marker. */
  readonly outputBytes: number;
  readonly timeoutSeconds: number;
};

const mib = 1024 * 1024;
const gib = 1024 * mib;

export const runLimitBounds = {
  cpus: { min: 0.05, max: 1024, fallback: 2 },
  memoryBytes: { min: 16 * mib, max: 1024 * gib, fallback: 2 * gib },
  pids: { min: 8, max: 100_000, fallback: 512 },
  diskBytes: { min: mib, max: 16 * 1024 * gib, fallback: 8 * gib },
  outputBytes: { min: 64 * 1024, max: 16 * gib, fallback: 64 * mib },
  timeoutSeconds: { min: 1, max: 30 * 24 * 3600, fallback: 3600 },
} as const satisfies Record<keyof RunLimits, { min: number; max: number; fallback: number }>;

for (const [name, { min, max, fallback }] of Object.entries(runLimitBounds)) {
  assert(min <= fallback && fallback <= max, `the default of ${name} lies within its bounds`);
}

export const defaultRunLimits: RunLimits = {
  cpus: runLimitBounds.cpus.fallback,
  memoryBytes: runLimitBounds.memoryBytes.fallback,
  pids: runLimitBounds.pids.fallback,
  diskBytes: runLimitBounds.diskBytes.fallback,
  outputBytes: runLimitBounds.outputBytes.fallback,
  timeoutSeconds: runLimitBounds.timeoutSeconds.fallback,
};

/** What holds each limit of a run, from strongest to weakest; `strict` runs take only control groups for memory, processes and CPU. */
export type LimitMeans = 'cgroup-v2' | 'cgroup-v1' | 'quota' | 'affinity' | 'rlimit' | 'watcher' | 'timer';
export type HeldBy = Readonly<Record<'cpus' | 'memory' | 'pids' | 'disk' | 'time', LimitMeans>>;

/** What a run used, measured by what holds its limits. */
export type Usage = {
  readonly cpuSeconds: number;
  readonly peakMemoryBytes: number;
  readonly peakPids: number;
  /** Bytes of the workspace and home when the run ended. */
  readonly diskBytes: number;
  /** Bytes the command wrote to stdout and stderr, kept or not. */
  readonly outputBytes: number;
};
