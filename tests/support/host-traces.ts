import { closeSync, existsSync, globSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { homeAt } from '../../src/main/home.ts';

/** `started` in clock ticks since boot: with it a number means one process for good. */
export type HostProcess = {
  readonly pid: number;
  readonly parent: number;
  readonly started: string;
  readonly command: string;
};

/**
 * The processes of an instance: those that see its data folder through a mount of their own, write their log
 * there or were started with its name. Sandboxes are among them, whatever their programs did to themselves.
 */
export function processesOf(home: string): HostProcess[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => belongs(pid, home))
    .flatMap(describe);
}

function belongs(pid: string, home: string): boolean {
  const named = ['mountinfo', 'environ'].some((file) => read(`/proc/${pid}/${file}`).includes(home));
  return named || [1, 2].some((fd) => link(`/proc/${pid}/fd/${fd}`).startsWith(home));
}

/** The process, in an array; an empty one where it has ended. */
function describe(pid: string): HostProcess[] {
  const stat = read(`/proc/${pid}/stat`);
  // The program's name may hold anything; the fields behind it start after the last parenthesis.
  const [state, parent, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (state === undefined || state === 'Z' || state === 'X' || parent === undefined) return [];
  const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').slice(0, 500);
  return [{ pid: Number(pid), parent: Number(parent), started: rest[17]!, command }];
}

/** Everything below a process, itself left out. */
export function descendantsOf(pid: number): HostProcess[] {
  const children = list(`/proc/${pid}/task`).flatMap((thread) =>
    read(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean),
  );
  return children.flatMap((child) => [...describe(child), ...descendantsOf(Number(child))]);
}

/** Whether the very process is still there; one that has ended and was not looked at by its parent is not. */
export function isAlive({ pid, started }: { readonly pid: number; readonly started?: string }): boolean {
  const found = describe(String(pid))?.[0];
  return found !== undefined && (started === undefined || found.started === started);
}

/** Those that do not descend from `ancestor`: nobody would end them. */
export function straysFrom(ancestor: number, processes: readonly HostProcess[]): HostProcess[] {
  const descends = (pid: number): boolean => {
    for (let at = pid; at > 1; at = Number(/^PPid:\s*(\d+)$/m.exec(read(`/proc/${at}/status`))?.[1] ?? 0))
      if (at === ancestor) return true;
    return false;
  };
  return processes.filter(({ pid }) => !descends(pid));
}

/**
 * The network namespaces that a process holds ready or its sandboxes are in. They are held open here, because
 * the number of one that is gone soon means another.
 */
export class HeldNamespaces {
  readonly #held = new Map<string, number>();

  constructor(pid: number) {
    const own = link('/proc/self/ns/net');
    const paths = list(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`);
    for (const below of descendantsOf(pid)) paths.push(`/proc/${below.pid}/ns/net`);
    for (const path of paths) {
      const name = link(path);
      if (name.startsWith('net:') && name !== own && !this.#held.has(name)) this.#hold(name, path);
    }
  }

  get size(): number {
    return this.#held.size;
  }

  /** Those that another process is in or holds. */
  inUse(): string[] {
    const used = new Set<string>();
    for (const pid of list('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
      used.add(link(`/proc/${pid}/ns/net`));
      for (const fd of list(`/proc/${pid}/fd`)) used.add(link(`/proc/${pid}/fd/${fd}`));
    }
    return [...this.#held.keys()].filter((name) => used.has(name));
  }

  close(): void {
    for (const fd of this.#held.values()) closeSync(fd);
    this.#held.clear();
  }

  #hold(name: string, path: string): void {
    try {
      this.#held.set(name, openSync(path, 'r'));
    } catch {
      // It is gone already.
    }
  }
}

/** The control groups of an instance's sandboxes, prepared ones included. */
export function sandboxGroups(home: string): string[] {
  return instanceGroups(home)
    .flatMap((folder) => list(folder).map((name) => join(folder, name)))
    .filter((folder) => existsSync(join(folder, 'cgroup.procs')));
}

/** The control groups that hold those of an instance's sandboxes. */
export function instanceGroups(home: string): string[] {
  return globSync(`/sys/fs/cgroup/**/${homeAt(home).instance}`);
}

/** What of an instance is left on this machine outside its data folder once it should have ended. */
export function remains(home: string): string[] {
  const { instance } = homeAt(home);
  const named = (text: string) =>
    text.split('\n').filter((line) => [home, instance].some((n) => line.includes(n)));
  return [
    ...processesOf(home).map(({ pid, command }) => `process ${pid} ${command}`),
    ...named(read('/proc/mounts')).map((line) => `mount ${line}`),
    ...named(read('/proc/net/unix')).map((line) => `socket ${line}`),
    ...list(join('/run/sealwright', instance)).map((name) => `view ${name}`),
  ];
}

/** Looks again until nothing is found or `deadlineMs` is over, and answers with what was found last. */
export async function untilNone<T>(find: () => readonly T[], deadlineMs: number): Promise<readonly T[]> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const found = find();
    if (found.length === 0 || performance.now() > end) return found;
    await pause(20);
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return ''; // it has ended, or it is another user's
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
