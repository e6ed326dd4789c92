import { existsSync, lstatSync, readlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Mount } from '../backend.ts';
import { sandboxUid, startFile } from './launcher.ts';

/** What the host lends to every sandbox, read-only; decided once, when the runner starts. */
export type SystemView = { readonly arguments: readonly string[] };

/** The read-only part of every sandbox's file system, as bubblewrap's arguments. `etc` is the folder that stands for /etc. */
export function systemView(etc: string): SystemView {
  const words: string[] = ['--ro-bind', '/usr', '/usr', '--ro-bind', etc, '/etc'];
  for (const folder of ['/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32']) {
    if (!existsSync(folder)) continue;
    if (lstatSync(folder).isSymbolicLink()) words.push('--symlink', readlinkSync(folder), folder);
    else words.push('--ro-bind', folder, folder);
  }
  return { arguments: words };
}

export type BubblewrapOptions = {
  readonly system: SystemView;
  readonly mounts: readonly Mount[];
  readonly tmpBytes: number;
  readonly hostname: string;
  /** File descriptors of the started process. */
  readonly seccompFd: number;
  readonly statusFd: number;
  readonly blockFd: number;
  readonly startFd: number;
};

/**
 * bubblewrap's options, for `--args`: they name folders of the data folder, so they stay off the command line,
 * which every user of the host can read. Order matters: later mounts cover earlier ones, and the root is
 * made read-only last. /proc/1 is covered: bubblewrap's own process is there, of the workload's uid, with the host's
 * paths on its command line and, through `mem`, the switch that ends the sandbox with the runner.
 */
export function bubblewrapArguments(options: BubblewrapOptions): readonly string[] {
  const words = [
    ...['--unshare-user', '--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
    ...['--uid', String(sandboxUid), '--gid', String(sandboxUid), '--cap-drop', 'ALL'],
    ...['--die-with-parent', '--new-session', '--hostname', options.hostname, '--clearenv'],
    ...options.system.arguments,
    ...['--proc', '/proc', '--tmpfs', '/proc/1', '--remount-ro', '/proc/1', '--dev', '/dev'],
    ...temporary('/dev/shm', options.tmpBytes),
    ...['--remount-ro', '/dev'],
    ...temporary('/tmp', options.tmpBytes),
    ...temporary('/var/tmp', options.tmpBytes),
    ...['--dir', '/run', '--symlink', '/run', '/var/run'],
  ];
  for (const mount of options.mounts)
    words.push(mount.writable ? '--bind' : '--ro-bind', mount.source, mount.target);
  words.push('--file', String(options.startFd), startFile);
  words.push('--remount-ro', '/');
  words.push('--seccomp', String(options.seccompFd), '--json-status-fd', String(options.statusFd));
  words.push('--block-fd', String(options.blockFd));
  return words;
}

/**
 * bubblewrap's options for a command beside the sandbox's own, started in the sandbox's mount, PID, IPC and network
 * namespaces by their owner: everything the sandbox sees, in a user namespace of the command's own. The workload is of the
 * same uid in another one, so that it can neither trace the command nor look into it while its walls are not up yet
 * (user_namespaces(7), ptrace(2)).
 */
export function execArguments(options: {
  readonly seccompFd: number;
  readonly startFd: number;
  /** A terminal makes the command the first of a session of its own; what is that already could not be. */
  readonly hasTerminal: boolean;
}): readonly string[] {
  const words = [
    ...['--unshare-user', '--unshare-uts', '--unshare-cgroup-try', '--hostname', 'sandbox'],
    ...['--uid', String(sandboxUid), '--gid', String(sandboxUid), '--cap-drop', 'ALL'],
    ...['--die-with-parent', '--clearenv', '--dev-bind', '/', '/'],
    ...['--tmpfs', dirname(startFile), '--file', String(options.startFd), startFile],
    ...['--remount-ro', dirname(startFile), '--seccomp', String(options.seccompFd)],
  ];
  if (!options.hasTerminal) words.push('--new-session');
  return words;
}

/** A folder in memory that everybody may write to, of bounded size. */
function temporary(path: string, bytes: number): string[] {
  return ['--size', String(bytes), '--perms', '1777', '--tmpfs', path];
}

/** The bytes for `--args`: each word ended by NUL. */
export function encodeArguments(words: readonly string[]): Buffer {
  return Buffer.from(words.map((word) => `${word}\0`).join(''));
}
