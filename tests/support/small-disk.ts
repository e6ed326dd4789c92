import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';

/** A file system in memory that only programs started through it see. */
export type SmallDisk = {
  /** Words that start a program which sees it. */
  readonly prefix: readonly string[];
  /** Runs a shell command that sees it; `$0` is where it is mounted. Throws when it fails. */
  run(command: string): string;
  close(): Promise<void>;
};

/** Mounts one at a folder, in a mount namespace that nobody else is in. Root only. */
export async function openSmallDisk(folder: string, size: string): Promise<SmallDisk> {
  const mount = 'mount -t tmpfs -o size="$1",mode=0711 none "$0" && echo mounted && exec sleep infinity';
  const words = ['--mount', '--propagation', 'private', '--', '/bin/sh', '-c', mount, folder, size];
  const holder = spawn('/usr/bin/unshare', words, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  const prefix = ['/usr/bin/nsenter', `--mount=/proc/${holder.pid}/ns/mnt`, '--'];
  const [program, ...rest] = prefix as [string, ...string[]];
  return {
    prefix,
    run: (command) =>
      execFileSync(program, [...rest, '/bin/sh', '-euc', command, folder], { encoding: 'utf8' }),
    close: async () => {
      const exited = once(holder, 'exit');
      holder.kill('SIGKILL');
      await exited;
    },
  };
}
