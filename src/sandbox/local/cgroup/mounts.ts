import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where one hierarchy is mounted and where this process is in it. `controller` is `unified` for version 2. */
export type GroupMount = {
  readonly controller: string;
  readonly mountPoint: string;
  readonly root: string;
  readonly own: string;
};

/** Reads the hierarchies of this process (proc_pid_mountinfo(5), proc_pid_cgroup(5)). */
export function readGroupMounts(procFolder = '/proc/self'): GroupMount[] {
  const mountInfo = readFileSync(join(procFolder, 'mountinfo'), 'utf8');
  const groups = readFileSync(join(procFolder, 'cgroup'), 'utf8');
  const own = new Map<string, string>();
  for (const line of groups.trim().split('\n')) {
    const [, names = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    for (const name of names === '' ? ['unified'] : names.split(',')) own.set(name, path);
  }
  const mounts: GroupMount[] = [];
  for (const line of mountInfo.trim().split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root = '', mountPoint = ''] = before.split(' ');
    const [type, , options = ''] = after.split(' ');
    const names = type === 'cgroup2' ? ['unified'] : type === 'cgroup' ? options.split(',') : [];
    for (const controller of names) {
      const path = own.get(controller);
      if (path !== undefined) mounts.push({ controller, mountPoint, root, own: path });
    }
  }
  return mounts;
}

/** This process's own folder in the hierarchy of a controller, or null when it is not mounted. */
export function groupFolder(mounts: readonly GroupMount[], controller: string): string | null {
  const mount = mounts.find((candidate) => candidate.controller === controller);
  if (mount === undefined) return null;
  const inside =
    mount.root !== '/' && mount.own.startsWith(mount.root) ? mount.own.slice(mount.root.length) : mount.own;
  return join(mount.mountPoint, inside);
}

/** SIGKILL to every process of a group that an earlier runner left behind. */
export function killMembers(folder: string): void {
  for (const pid of readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n')) {
    if (!/^[1-9]\d*$/.test(pid)) continue;
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // Gone already.
    }
  }
}
