import type { LimitMeans, RunLimits } from '../../../model/limits.ts';

export type GroupUsage = {
  readonly cpuSeconds: number;
  readonly peakMemoryBytes: number;
  readonly peakPids: number;
};

/** What the kernel counted against the limits of a group. */
export type GroupOverruns = { readonly memory: boolean; readonly pids: boolean };

export type GroupLimits = Pick<RunLimits, 'cpus' | 'memoryBytes' | 'pids'>;

/** One sandbox's control group. */
export type ControlGroup = {
  /** Moves a process into the group; what it starts from now on is in it too. May wait for the kernel, so it is not synchronous. */
  add(pid: number): Promise<void>;
  limit(limits: GroupLimits): void;
  usage(): GroupUsage;
  overruns(): GroupOverruns;
  /** Removes the group; throws while a process is in it. */
  remove(): void;
};

/** A host's control groups, version 1 or 2, below a folder of this instance's own. */
export type ControlGroups = {
  readonly means: Extract<LimitMeans, 'cgroup-v1' | 'cgroup-v2'>;
  create(name: string): Promise<ControlGroup>;
  /** Kills and removes what an earlier process of this instance left behind. */
  sweep(): void;
  /** Removes the folder of this instance; its groups are removed before. */
  close(): void;
};
