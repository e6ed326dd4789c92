import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ControlGroup, ControlGroups } from './control-groups.ts';
import { type GroupMount, groupFolder } from './mounts.ts';
import { removeLeftover, removeLeftovers } from './remove.ts';

const controllers = ['memory', 'pids', 'cpu', 'cpuacct'] as const;
type Controller = (typeof controllers)[number];
const cpuPeriodMicros = 100_000;

/** Control groups v1, one hierarchy a controller; null when one of the controllers cannot be had. */
export function openControlGroupsV1(mounts: readonly GroupMount[], instance: string): ControlGroups | null {
  const folders = new Map<Controller, string>();
  for (const controller of controllers) {
    const base = groupFolder(mounts, controller);
    if (base === null) return null;
    folders.set(controller, join(base, instance));
  }
  try {
    for (const folder of folders.values()) mkdirSync(folder, { recursive: true });
  } catch {
    return null;
  }
  return {
    means: 'cgroup-v1',
    create: (name) => createGroup(folders, name),
    sweep: () => {
      for (const folder of folders.values()) removeLeftovers(folder);
    },
    close: () => {
      for (const folder of new Set(folders.values())) {
        removeLeftovers(folder);
        removeLeftover(folder);
      }
    },
  };
}

async function createGroup(folders: ReadonlyMap<Controller, string>, name: string): Promise<ControlGroup> {
  const at = (controller: Controller) => join(folders.get(controller)!, name);
  const unique = [...new Set(controllers.map(at))];
  await Promise.all(unique.map((folder) => mkdir(folder)));
  const write = (controller: Controller, file: string, value: number) =>
    writeFileSync(join(at(controller), file), String(value));
  const read = (controller: Controller, file: string) => readFileSync(join(at(controller), file), 'utf8');
  const has = (controller: Controller, file: string) => existsSync(join(at(controller), file));
  return {
    add: async (pid) => {
      await Promise.all(unique.map((folder) => writeFile(join(folder, 'cgroup.procs'), String(pid))));
    },
    limit: ({ cpus, memoryBytes, pids }) => {
      write('memory', 'memory.limit_in_bytes', memoryBytes);
      if (has('memory', 'memory.memsw.limit_in_bytes'))
        write('memory', 'memory.memsw.limit_in_bytes', memoryBytes);
      write('pids', 'pids.max', pids);
      write('cpu', 'cpu.cfs_period_us', cpuPeriodMicros);
      write('cpu', 'cpu.cfs_quota_us', Math.round(cpus * cpuPeriodMicros));
    },
    usage: () => ({
      cpuSeconds: Number(read('cpuacct', 'cpuacct.usage')) / 1e9,
      peakMemoryBytes: Number(read('memory', 'memory.max_usage_in_bytes')),
      peakPids: has('pids', 'pids.peak') ? Number(read('pids', 'pids.peak')) : 0,
    }),
    overruns: () => ({
      memory: counter(read('memory', 'memory.oom_control'), 'oom_kill') > 0,
      pids: counter(read('pids', 'pids.events'), 'max') > 0,
    }),
    remove: () => {
      for (const folder of unique) rmdirSync(folder);
    },
  };
}

/** The number behind `key` in a file of `key number` lines; 0 where the kernel does not count it. */
export function counter(text: string, key: string): number {
  return Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
}
