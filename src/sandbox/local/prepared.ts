import { closeSync, fchownSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Duplex, Readable, Writable } from 'node:stream';
import { createAuthority } from '../../base/certificates.ts';
import type { Clock } from '../../base/clock.ts';
import { pipe } from '../../base/libc.ts';
import { posixSpawn } from '../../base/posix-spawn.ts';
import { socketPair } from '../../base/sockets.ts';
import type { Gateway } from '../gateway.ts';
import type { ControlGroup, ControlGroups } from './cgroup/control-groups.ts';
import { removeWhenEmpty } from './cgroup/remove.ts';
import { watchEnd } from './child-end.ts';
import { launcherScript } from './launcher.ts';
import { localLimits } from './limits.ts';
import type { NamespaceMaker } from './namespaces.ts';
import { SandboxNetwork } from './network.ts';
import type { TrustFolder, TrustFolders } from './trust-folders.ts';

/** The file descriptors of a start, as bubblewrap sees them. */
export const startFds = { args: 3, seccomp: 4, status: 5, block: 6, launcher: 7, start: 8 } as const;

/**
 * A sandbox's start, prepared before anybody asks for it: a shell that waits for one line, in its control group,
 * beside a network namespace of its own. The line tells it whom to become; it then enters the namespace and
 * turns into bubblewrap. What is slow and the same for everybody (starting a process, moving it into its groups,
 * making the namespace) is done by then.
 */
export type Prepared = {
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly group: ControlGroup | null;
  readonly network: SandboxNetwork;
  readonly trust: TrustFolder;
  /** The runner's ends; bubblewrap's numbers are `startFds`. */
  readonly args: Writable;
  readonly status: Readable;
  readonly block: Writable;
  readonly start: Writable;
  /** What the launcher says, and waits for. */
  readonly launcher: Duplex;
  /** The status byte with which the process ended; null after a death by signal. Never rejects. */
  readonly exited: Promise<number | null>;
  alive(): boolean;
  /** Alive, and valid for the longest run. */
  isUsable(): boolean;
  /** SIGKILL; nothing when it has ended. */
  kill(): void;
  /** Lends the output pipes to a host uid and lets the shell go on as it; null keeps the runner's own user. */
  begin(uid: number | null): void;
  /** Ends the process and frees everything. */
  discard(): Promise<void>;
};

/** What every start of this host is made with. */
export type Preparation = {
  readonly bubblewrap: string;
  /** A file with the compiled seccomp filter. */
  readonly seccompFile: string;
  readonly groups: ControlGroups | null;
  readonly namespaces: NamespaceMaker;
  /** Null for sandboxes without any network. */
  readonly gateway: Gateway | null;
  readonly trust: TrustFolders;
  readonly clock: Clock;
};

/** Waits for the uid, or nothing, then becomes bubblewrap in the namespace. Ends when the runner is gone. */
const waitScript = `
read -r uid <&${startFds.block} || exit 0
net=$1
shift
exec /usr/bin/nsenter --net="$net" \${uid:+--setuid "$uid" --setgid "$uid"} -- "$@"
`;

let made = 0;

export async function prepareStart(preparation: Preparation): Promise<Prepared> {
  const { namespaces, gateway, clock } = preparation;
  const madeAt = clock.now();
  const authority = createAuthority(madeAt);
  const trust = await preparation.trust.make(authority.certificate);
  let network: SandboxNetwork | null = null;
  let child: ReturnType<typeof startShell>;
  try {
    network = await SandboxNetwork.make(namespaces, gateway, authority);
    child = startShell(preparation, network.namespaceFd);
  } catch (error) {
    await Promise.all([network?.close(), trust.remove()]);
    throw error;
  }
  let group: ControlGroup | null = null;
  const discard = async () => {
    child.kill();
    await child.exited;
    for (const stream of Object.values(child.streams)) stream.destroy();
    await Promise.all([network.close(), trust.remove()]);
    if (group !== null) await removeWhenEmpty(group);
  };
  try {
    group = (await preparation.groups?.create(`start-${++made}`)) ?? null;
    await group?.add(child.pid);
  } catch (error) {
    await discard().catch(() => undefined);
    throw error;
  }
  const { streams, exited, alive, kill, outputFds } = child;
  return {
    ...streams,
    group,
    network,
    trust,
    exited,
    alive,
    isUsable: () => alive() && isCurrent(madeAt, clock.now()),
    kill,
    discard,
    begin: (uid) => {
      // Programs that open /dev/stdout open the pipe itself, so it must be theirs.
      if (uid !== null) for (const fd of outputFds) fchownSync(fd, uid, uid);
      streams.block.write(`${uid ?? ''}\n`);
    },
  };
}

function isCurrent(madeAt: number, now: number): boolean {
  const ageMs = now - madeAt;
  return ageMs <= localLimits.preparedAgeMs && ageMs >= -localLimits.preparedClockBackMs;
}

function startShell({ bubblewrap, seccompFile }: Preparation, namespaceFd: number) {
  const ends = {
    stdout: { at: 1, ...pipe() },
    stderr: { at: 2, ...pipe() },
    status: { at: startFds.status, ...pipe() },
    args: { at: startFds.args, ...pipe() },
    block: { at: startFds.block, ...pipe() },
    start: { at: startFds.start, ...pipe() },
  };
  const { stdout, stderr, status, args, block, start } = ends;
  const [outputs, inputs] = [
    [stdout, stderr, status],
    [args, block, start],
  ];
  const [launcher, itsLauncher] = socketPair('stream');
  const seccomp = openSync(seccompFile, 'r');
  const sandboxWords = [
    bubblewrap,
    '--args',
    String(startFds.args),
    '--',
    '/usr/bin/dash',
    '-c',
    launcherScript,
    'sealwright',
  ];
  let pid: number;
  try {
    pid = posixSpawn({
      program: '/usr/bin/dash',
      words: [
        'dash',
        '-c',
        waitScript,
        'sealwright',
        `/proc/${process.pid}/fd/${namespaceFd}`,
        ...sandboxWords,
      ],
      descriptors: new Map([
        ...outputs.map(({ at, write }) => [at, write] as const),
        ...inputs.map(({ at, read }) => [at, read] as const),
        [startFds.launcher, itsLauncher],
        [startFds.seccomp, seccomp],
      ]),
    });
  } catch (error) {
    for (const { read, write } of Object.values(ends)) for (const fd of [read, write]) closeSync(fd);
    closeSync(launcher);
    throw error;
  } finally {
    closeSync(itsLauncher);
    closeSync(seccomp);
  }
  for (const fd of [...outputs.map(({ write }) => write), ...inputs.map(({ read }) => read)]) closeSync(fd);
  const reading = (fd: number) => new Socket({ fd, writable: false });
  const writing = (fd: number) => new Socket({ fd, readable: false }).on('error', () => undefined);
  const streams = {
    stdout: reading(stdout.read),
    stderr: reading(stderr.read),
    status: reading(status.read),
    args: writing(args.write),
    block: writing(block.write),
    start: writing(start.write),
    launcher: new Socket({ fd: launcher }).on('error', () => undefined),
  };
  return { pid, streams, outputFds: [stdout.read, stderr.read], ...watchEnd(pid, streams.status) };
}
