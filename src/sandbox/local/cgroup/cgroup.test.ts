import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { type GroupMount, groupFolder, readGroupMounts } from './mounts.ts';
import { openControlGroupsV2 } from './v2.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-cgroup-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** As proc_pid_mountinfo(5) and proc_pid_cgroup(5) write them. */
function proc(mountInfo: string, groups: string): string {
  writeFileSync(join(folder, 'mountinfo'), mountInfo);
  writeFileSync(join(folder, 'cgroup'), groups);
  return folder;
}

test("a version 2 host: this process's own group below the one mount", () => {
  const mounts = readGroupMounts(
    proc(
      '30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n',
      '0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n',
    ),
  );
  const own = '/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope';
  assert.equal(groupFolder(mounts, 'unified'), own);
  assert.equal(groupFolder(mounts, 'memory'), null);
});

test('a version 1 host: a folder for each controller, joint mounts too', () => {
  const mounts = readGroupMounts(
    proc(
      '31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n',
      '5:cpu,cpuacct:/a\n4:memory:/b/c\n1:name=systemd:/\n0::/\n',
    ),
  );
  assert.equal(groupFolder(mounts, 'cpuacct'), '/sys/fs/cgroup/cpu,cpuacct/a');
  assert.equal(groupFolder(mounts, 'memory'), '/sys/fs/cgroup/memory/b/c');
});

test('inside a container the mount shows a part of the tree, and the path is taken from there', () => {
  const mounts = readGroupMounts(
    proc(
      '32 30 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n',
      '4:memory:/docker/abc/x\n',
    ),
  );
  assert.equal(groupFolder(mounts, 'memory'), '/sys/fs/cgroup/memory/x');
});

const unified = (): GroupMount[] => [{ controller: 'unified', mountPoint: folder, root: '/', own: '/' }];

/** A folder of plain files that stands for the kernel's: what is written can be read back. */
function fakeHierarchy(controllers: string): void {
  writeFileSync(join(folder, 'cgroup.controllers'), controllers);
  writeFileSync(join(folder, 'cgroup.subtree_control'), '');
}

test('version 2 is passed over where a controller is not delegated', () => {
  fakeHierarchy('cpu memory\n');
  assert.equal(openControlGroupsV2(unified(), 'test'), null);
  assert.equal(existsSync(join(folder, 'test')), false);
});

test('version 2 writes the limits as the kernel reads them and tells what was overrun', async () => {
  fakeHierarchy('cpuset cpu io memory pids\n');
  mkdirSync(join(folder, 'test'));
  writeFileSync(join(folder, 'test', 'cgroup.subtree_control'), '');
  const groups = openControlGroupsV2(unified(), 'test');
  assert.ok(groups !== null);
  const group = await groups.create('one');
  const at = (file: string) => join(folder, 'test', 'one', file);
  writeFileSync(at('memory.swap.max'), 'max');
  group.limit({ cpus: 1.5, memoryBytes: 64 * 1024 ** 2, pids: 20 });
  await group.add(4711);
  const written = Object.fromEntries(
    ['cpu.max', 'memory.max', 'memory.swap.max', 'pids.max', 'cgroup.procs'].map((file) => [
      file,
      readFileSync(at(file), 'utf8'),
    ]),
  );
  assert.deepEqual(written, {
    'cpu.max': '150000 100000',
    'memory.max': '67108864',
    'memory.swap.max': '0',
    'pids.max': '20',
    'cgroup.procs': '4711',
  });
  writeFileSync(at('cpu.stat'), 'usage_usec 2500000\nuser_usec 1\n');
  writeFileSync(at('memory.events'), 'low 0\noom 3\noom_kill 1\n');
  writeFileSync(at('pids.events'), 'max 0\n');
  assert.deepEqual(group.usage(), { cpuSeconds: 2.5, peakMemoryBytes: 0, peakPids: 0 });
  assert.deepEqual(group.overruns(), { memory: true, pids: false });
});
