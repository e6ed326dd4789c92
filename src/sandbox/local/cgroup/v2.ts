import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ControlGroup, ControlGroups } from './control-groups.ts';
import { type GroupMount, groupFolder } from './mounts.ts';
import { removeLeftover, removeLeftovers } from './remove.ts';
import { counter } from './v1.ts';

const controllers = ['cpu', 'memory', 'pids'] as const;
const cpuPeriodMicros = 100_000;

/**
 * Control groups v2 below this process's own group, where the controllers are delegated to it; null where they
 * are not. A group with controllers for its children may hold no process itself, so the process first moves
 * into a leaf of its own (cgroups(7), "no internal processes").
 */
export function openControlGroupsV2(mounts: readonly GroupMount[], instance: string): ControlGroups | null {
  const own = groupFolder(mounts, 'unified');
  if (own === null) return null;
  const folder = join(own, instance);
  try {
    const available = readFileSync(join(own, 'cgroup.controllers'), 'utf8').split(/\s+/);
    if (!controllers.every((controller) => available.includes(controller))) return null;
    delegate(own, `${instance}-server`);
    mkdirSync(folder, { recursive: true });
    enableControllers(folder);
  } catch {
    return null;
  }
  return {
    means: 'cgroup-v2',
    create: (name) => createGroup(join(folder, name)),
    sweep: () => removeLeftovers(folder),
    close: () => {
      removeLeftovers(folder);
      removeLeftover(folder);
    },
  };
}

function enableControllers(folder: string): void {
  writeFileSync(join(folder, 'cgroup.subtree_control'), controllers.map((name) => `+${name}`).join(' '));
}

function delegate(own: string, leaf: string): void {
  try {
    enableControllers(own);
  } catch {
    mkdirSync(join(own, leaf), { recursive: true });
    for (const pid of readFileSync(join(own, 'cgroup.procs'), 'utf8').trim().split('\n')) {
      writeFileSync(join(own, leaf, 'cgroup.procs'), pid);
    }
    enableControllers(own);
  }
}

async function createGroup(folder: string): Promise<ControlGroup> {
  await mkdir(folder);
  const write = (file: string, value: string) => writeFileSync(join(folder, file), value);
  const read = (file: string) => readFileSync(join(folder, file), 'utf8');
  const readNumber = (file: string) => (existsSync(join(folder, file)) ? Number(read(file)) : 0);
  return {
    add: (pid) => writeFile(join(folder, 'cgroup.procs'), String(pid)),
    limit: ({ cpus, memoryBytes, pids }) => {
      write('memory.max', String(memoryBytes));
      if (existsSync(join(folder, 'memory.swap.max'))) write('memory.swap.max', '0');
      write('pids.max', String(pids));
      write('cpu.max', `${Math.round(cpus * cpuPeriodMicros)} ${cpuPeriodMicros}`);
    },
    usage: () => ({
      cpuSeconds: counter(read('cpu.stat'), 'usage_usec') / 1e6,
      peakMemoryBytes: readNumber('memory.peak'),
      peakPids: readNumber('pids.peak'),
    }),
    overruns: () => ({
      memory: counter(read('memory.events'), 'oom_kill') > 0,
      pids: counter(read('pids.events'), 'max') > 0,
    }),
    remove: () => rmdirSync(folder),
  };
}
