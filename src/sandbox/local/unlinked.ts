import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { localLimits } from './limits.ts';

/**
 * Bytes of files without a name that processes hold open or mapped, by device: du(1) finds them in no folder,
 * and memory made with memfd_create(2) is such a file too. Only files of `uid` count. Asked of find(1), so that
 * a workload that holds millions does not hold up this process.
 *
 * A descriptor that is on its way through a socket is in no process and is not seen, nor is a file that is only
 * mapped where this process has no privilege on the host.
 */
export async function unlinkedBytes(
  pids: readonly number[],
  uid: number,
): Promise<ReadonlyMap<number, number>> {
  const files = new Map<string, { device: number; bytes: number }>();
  for (let at = 0; at < pids.length; at += localLimits.processesPerLook) {
    const some = pids.slice(at, at + localLimits.processesPerLook);
    for await (const line of findUnlinked(some, uid)) {
      const [device, inode, blocks] = line.split(' ').map(Number);
      files.set(`${device} ${inode}`, { device: device!, bytes: blocks! * 512 });
    }
  }
  const bytesOn = new Map<number, number>();
  for (const { device, bytes } of files.values()) bytesOn.set(device, (bytesOn.get(device) ?? 0) + bytes);
  return bytesOn;
}

async function* findUnlinked(pids: readonly number[], uid: number): AsyncGenerator<string> {
  const folders = pids.flatMap((pid) => [`/proc/${pid}/fd`, `/proc/${pid}/map_files`]);
  const tests = ['-mindepth', '1', '-maxdepth', '1', '-type', 'f', '-links', '0', '-uid', String(uid)];
  const child = spawn('/usr/bin/find', ['-L', ...folders, ...tests, '-printf', '%D %i %b\\n'], {
    env: { LC_ALL: 'C' },
    cwd: '/',
    stdio: ['ignore', 'pipe', 'ignore'],
    shell: false,
  });
  const started = once(child, 'spawn');
  started.catch(() => undefined);
  yield* createInterface({ input: child.stdout });
  await started;
}
