import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { hasEnded, openProcess, signalProcess } from '../../base/libc.ts';
import { descendantsOf, heldMemory, treeUsage } from './processes.ts';

async function start(script: string) {
  const child = spawn('/bin/sh', ['-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: '/usr/bin:/bin' },
  });
  await once(child.stdout, 'data');
  return { child, pid: child.pid! };
}

test('everything below a process is found, also what its children started', async () => {
  const { child, pid } = await start('sh -c "sleep 60 & echo up; wait" & wait');
  const below = descendantsOf(pid);
  assert.equal(below.length, 2);
  assert.ok(!below.includes(pid));
  assert.equal(treeUsage(pid).pids, 3);
  for (const member of below) process.kill(member, 'SIGKILL');
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.deepEqual(descendantsOf(pid), []);
});

test('pages that processes share count once, where the sum of what is resident counts each', async () => {
  const script = `perl -e '$| = 1; my $x = "x" x 50_000_000; for (1 .. 4) { if (fork == 0) { sleep 60; exit } } print "up"; sleep 60'`;
  const { child, pid } = await start(`exec ${script}`);
  const members = [pid, ...descendantsOf(pid)];
  const { anonymous, shared } = heldMemory(members);
  const held = anonymous + shared;
  assert.ok(treeUsage(pid).residentBytes > 240_000_000);
  assert.ok(held > 48_000_000 && held < 130_000_000, `${held}`);
  for (const member of members) process.kill(member, 'SIGKILL');
  await once(child, 'exit');
});

test('a process has ended once it has, whether or not anybody has waited for it', async () => {
  const { child, pid } = await start('echo up; exec sleep 60');
  const fd = openProcess(pid);
  assert.equal(hasEnded(fd), false);
  signalProcess(fd, 'SIGTERM');
  await once(child, 'exit');
  assert.equal(child.signalCode, 'SIGTERM');
  assert.equal(hasEnded(fd), true);
  signalProcess(fd, 'SIGKILL'); // nobody is there any more
  closeSync(fd);
});
