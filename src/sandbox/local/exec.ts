import { closeSync, fchownSync, fstatSync, openSync, statSync } from 'node:fs';
import { Socket } from 'node:net';
import { hasEnded, openOwner, openProcess, pipe, signalProcess } from '../../base/libc.ts';
import { posixSpawn } from '../../base/posix-spawn.ts';
import { socketPair } from '../../base/sockets.ts';
import type { ExecRequest, PseudoTerminal, SandboxExec } from '../terminal.ts';
import { encodeArguments, execArguments } from './bubblewrap.ts';
import { type ChildEnd, watchEnd } from './child-end.ts';
import { execLauncherScript, execStartFileText } from './launcher.ts';
import { localLimits } from './limits.ts';
import { childrenOf, descendantsOf, signalMember } from './processes.ts';
import { openSandboxTerminal } from './pseudo-terminal.ts';
import { explain, unavailable, untilConfirmed } from './starting.ts';
import type { StartLimits } from './workload.ts';

/** The sandbox that a command is started in. */
export type ExecHome = {
  readonly bubblewrap: string;
  readonly seccompFile: string;
  readonly uid: number | null;
  readonly limits: StartLimits;
  readonly initPid: number;
  readonly initFd: number;
  readonly pidNamespaceFd: number;
  readonly networkFd: number;
  /** Puts a process under the sandbox's limits. */
  include(pid: number): Promise<void>;
};

/** What a start has at which number; the namespaces are closed before anything of the sandbox's is started. */
const execFds = { user: 3, mount: 4, pid: 5, ipc: 6, launcher: 7, seccomp: 8, start: 9, args: 10 } as const;

/** Waits for its limits. Ends when the runner is gone. */
const waitScript = `read -r go <&${execFds.launcher} && exec "$@"`;

/** In the sandbox, as the owner of its namespaces. The user namespace that is made next counts by the limit of now. */
const joinScript = `ulimit -p "$1" && shift && exec 3<&- 4<&- 5<&- 6<&- "$@"`;

/**
 * A command that is on its way into a sandbox. As root it becomes the session's uid outside, so that nothing of it is ever
 * more than that; as that uid, which owns the sandbox's namespaces, it enters them, by descriptors and never by
 * a number; and there bubblewrap takes everything from it that it took from the sandbox's own command. The first process
 * stays outside and waits.
 */
export class ExecStart {
  readonly pid: number;
  readonly #home: ExecHome;
  readonly #request: ExecRequest;
  readonly #end: ChildEnd;
  readonly #streams: ReturnType<typeof spawn>['streams'];

  /** Throws where the process cannot be started, and where the sandbox has ended. */
  constructor(home: ExecHome, request: ExecRequest) {
    this.#home = home;
    this.#request = request;
    const { pid, streams } = spawn(home, request);
    this.pid = pid;
    this.#streams = streams;
    this.#end = watchEnd(pid, streams.launcher);
  }

  get exited(): Promise<number | null> {
    return this.#end.exited;
  }

  /** Resolves when the walls are confirmed and the command starts. When it rejects, nothing is left. */
  async run(): Promise<SandboxExec> {
    const timer = setTimeout(() => this.kill(), localLimits.startTimeoutMs);
    try {
      return await this.#run();
    } catch (error) {
      this.kill();
      const fault = await explain({ ...this.#end, stderr: this.#streams.stderr }, error);
      for (const stream of Object.values(this.#streams)) stream?.destroy();
      throw fault;
    } finally {
      clearTimeout(timer);
    }
  }

  /** SIGKILL to all of it that is not left to itself; nothing when it has ended. */
  kill(): void {
    const namespace = fstatSync(this.#home.pidNamespaceFd).ino;
    for (const pid of descendantsOf(this.pid)) signalMember(pid, namespace, 'SIGKILL');
    this.#end.kill();
  }

  async #run(): Promise<SandboxExec> {
    const { launcher, start, args } = this.#streams;
    const { command, env, cwd, terminal: size } = this.#request;
    await this.#home.include(this.pid);
    start.end(execStartFileText({ ...this.#home.limits, waits: true, cwd, env, command }));
    const { seccomp: seccompFd, start: startFd } = execFds;
    args.end(encodeArguments(execArguments({ seccompFd, startFd, hasTerminal: size !== null })));
    launcher.write('go\n');
    await untilConfirmed(launcher, cwd);
    const commandFd = confirmPlace(this.pid, this.#home);
    let terminal: PseudoTerminal | null = null;
    try {
      if (size !== null) {
        const opened = openSandboxTerminal(this.#home, this.#home.uid, size);
        terminal = opened.terminal;
        launcher.end(`${opened.device}\n`);
      } else {
        launcher.end('\n');
      }
    } catch (error) {
      closeSync(commandFd);
      throw error;
    }
    launcher.resume();
    return this.#started(commandFd, terminal);
  }

  #started(commandFd: number, terminal: PseudoTerminal | null): SandboxExec {
    const { stdin, stdout, stderr } = this.#streams;
    const { exited, alive, kill } = this.#end;
    return {
      terminal,
      stdin,
      stdout,
      stderr,
      ended: exited.then((code) => {
        closeSync(commandFd);
        return { status: code ?? 137 };
      }),
      kill: () => {
        if (!alive()) return;
        signalProcess(commandFd, 'SIGKILL');
        // The workload may have stopped what waits for it.
        kill();
      },
    };
  }
}

type Ends = { readonly outer: number; readonly inner: number };

/** The descriptors of a start: those that the process gets are closed here once it has them, the others where it fails. */
class StartDescriptors {
  readonly #inner = new DisposableStack();
  readonly #outer = new DisposableStack();

  pipe(direction: 'in' | 'out'): Ends {
    const { read, write } = pipe();
    return direction === 'in' ? this.#ends(write, read) : this.#ends(read, write);
  }

  socket(): Ends {
    return this.#ends(...socketPair('stream'));
  }

  inner(fd: number): number {
    return this.#inner.adopt(fd, closeSync);
  }

  keepOuter(): void {
    this.#outer.move();
  }

  [Symbol.dispose](): void {
    this.#inner.dispose();
    this.#outer.dispose();
  }

  #ends(outer: number, inner: number): Ends {
    this.#outer.adopt(outer, closeSync);
    return { outer, inner: this.inner(inner) };
  }
}

function spawn(home: ExecHome, { terminal }: ExecRequest) {
  using descriptors = new StartDescriptors();
  const namespaces = openNamespaces(home, descriptors);
  const stdin = terminal === null ? descriptors.pipe('in') : null;
  const [stdout, stderr] = [descriptors.pipe('out'), descriptors.pipe('out')];
  const [start, args, launcher] = [descriptors.pipe('in'), descriptors.pipe('in'), descriptors.socket()];
  const { uid } = home;
  // Programs that open /dev/stdout open the pipe itself, so it must be theirs.
  if (uid !== null)
    for (const ends of [stdin, stdout, stderr]) if (ends !== null) fchownSync(ends.outer, uid, uid);
  const pid = posixSpawn({
    program: '/usr/bin/dash',
    words: ['dash', '-c', waitScript, 'sealwright', ...enteringWords(home)],
    descriptors: new Map([
      ...(stdin === null ? [] : [[0, stdin.inner] as const]),
      [1, stdout.inner],
      [2, stderr.inner],
      ...namespaces,
      [execFds.launcher, launcher.inner],
      [execFds.seccomp, descriptors.inner(openSync(home.seccompFile, 'r'))],
      [execFds.start, start.inner],
      [execFds.args, args.inner],
    ]),
  });
  descriptors.keepOuter();
  const reading = (fd: number) => new Socket({ fd, writable: false });
  const writing = (fd: number) => new Socket({ fd, readable: false }).on('error', () => undefined);
  const streams = {
    stdin: stdin === null ? null : writing(stdin.outer),
    stdout: reading(stdout.outer),
    stderr: reading(stderr.outer),
    start: writing(start.outer),
    args: writing(args.outer),
    launcher: new Socket({ fd: launcher.outer }).on('error', () => undefined),
  };
  return { pid, streams };
}

function openNamespaces({ initPid, initFd }: ExecHome, descriptors: StartDescriptors) {
  const open = (name: string) => descriptors.inner(openSync(`/proc/${initPid}/ns/${name}`, 'r'));
  const [mount, pid, ipc] = [open('mnt'), open('pid'), open('ipc')];
  const user = descriptors.inner(openOwner(mount));
  // While the process lives its number means it, so it did when its namespaces were opened.
  if (hasEnded(initFd)) throw new Error('the sandbox has ended');
  return [
    [execFds.user, user],
    [execFds.mount, mount],
    [execFds.pid, pid],
    [execFds.ipc, ipc],
  ] as const;
}

/** The command line that takes the waiting shell to bubblewrap in the sandbox. */
function enteringWords({ bubblewrap, uid, networkFd, limits }: ExecHome): string[] {
  const become = uid === null ? [] : ['--setuid', String(uid), '--setgid', String(uid)];
  const own = (fd: number) => `/proc/self/fd/${fd}`;
  return [
    ...['/usr/bin/nsenter', `--net=/proc/${process.pid}/fd/${networkFd}`, ...become, '--'],
    ...['/usr/bin/nsenter', `--user=${own(execFds.user)}`, `--mount=${own(execFds.mount)}`],
    ...[`--pid=${own(execFds.pid)}`, `--ipc=${own(execFds.ipc)}`, '--preserve-credentials', '--'],
    ...['/usr/bin/dash', '-c', joinScript, 'sealwright', String(limits.pids)],
    ...[bubblewrap, '--args', String(execFds.args), '--'],
    ...['/usr/bin/dash', '-c', execLauncherScript, 'sealwright'],
  ];
}

/**
 * The launcher, which waits, as a descriptor of the caller's. That it is where it belongs is seen from out here; what
 * binds it there it has confirmed itself.
 */
function confirmPlace(outerPid: number, home: ExecHome): number {
  const [bubblewrap] = childrenOf(outerPid);
  const [command] = bubblewrap === undefined ? [] : childrenOf(bubblewrap);
  if (command === undefined) throw new Error('the launcher was ended');
  const commandFd = openProcess(command);
  try {
    for (const [name, fd] of [
      ['pid', home.pidNamespaceFd],
      ['net', home.networkFd],
    ] as const)
      if (statSync(`/proc/${command}/ns/${name}`).ino !== fstatSync(fd).ino)
        throw unavailable(`The wall '${name} namespace' does not stand`);
    if (hasEnded(commandFd)) throw new Error('the launcher was ended');
    return commandFd;
  } catch (error) {
    closeSync(commandFd);
    throw error;
  }
}
