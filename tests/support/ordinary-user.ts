import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { systemClock } from '../../src/base/clock.ts';
import type { Bench } from '../../src/sandbox/backend.conformance.ts';
import { openControlGroups } from '../../src/sandbox/local/cgroup/open.ts';
import { openLocalBackend } from '../../src/sandbox/local/open.ts';
import { modes } from './workload.ts';

const word = 'as-ordinary-user';
const workerUrl = new URL('../../src/sandbox/local/namespace-worker.ts', import.meta.url);
const sessionUid = 2_000_000_060;

/** Whether this is a test file that `passesAsOrdinaryUser` has started. */
export const isOrdinaryUser = process.argv.includes(word);

/** Why nothing can be tried as root, or as an ordinary user, here. */
export const skipAs = Object.fromEntries(modes.map(({ mode, skip }) => [mode, skip])) as Record<
  'root' | 'user',
  string | false
>;

/** Runs a test file anew as an ordinary user's runner runs: root of a user namespace of its own, and nobody outside. */
export async function passesAsOrdinaryUser(file: string): Promise<void> {
  const drop =
    process.getuid!() === 0
      ? ['/usr/bin/setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--']
      : [];
  const [program, ...words] = [
    ...drop,
    '/usr/bin/unshare',
    '--user',
    '--map-root-user',
    '--mount',
    '--',
    process.execPath,
    file,
    word,
  ];
  const child = spawn(program!, words, { stdio: ['ignore', 'pipe', 'pipe'], shell: false });
  const [said, complained] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise((resolve) => child.once('close', resolve)),
  ]);
  assert.equal(child.exitCode, 0, `${said.slice(-6_000)}\n${complained.slice(-2_000)}`);
  assert.match(said, /pass [1-9]/, 'something ran');
}

const instanceOf = (pid: number) => `sealwright-bench-${pid}`;

/** Removes what a process that was killed had of `openBench`; its sandboxes have ended. */
export function removeBenchOf(pid: number, workspace: string): void {
  if (!isOrdinaryUser) openControlGroups(instanceOf(pid))?.close();
  rmSync(dirname(workspace), { recursive: true, force: true });
}

/** A backend on its own, of the mode that this process can have. */
export async function openBench(): Promise<Bench & { remove(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-bench-'));
  chmodSync(folder, 0o755);
  const [workspace, own] = [join(folder, 'workspace'), join(folder, 'backend')];
  for (const path of [workspace, own]) mkdirSync(path);
  const uid = isOrdinaryUser ? null : sessionUid;
  if (uid !== null) chownSync(workspace, uid, uid);
  const backend = await openLocalBackend({
    folder: own,
    instance: instanceOf(process.pid),
    mode: isOrdinaryUser ? 'user' : 'root',
    probeUid: uid,
    gateway: null,
    clock: systemClock,
    workerUrl,
  });
  const remove = async () => {
    await backend.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { backend, uid, workspace, remove };
}
