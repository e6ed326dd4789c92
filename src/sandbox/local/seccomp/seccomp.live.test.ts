import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { compileSeccomp } from './compile.ts';
import { judge, policies, verdicts } from './filter.ts';
import { type Architecture, syscallNumbers } from './syscalls.ts';

const arch: Architecture = process.arch === 'arm64' ? 'arm64' : 'x64';
const numbers = syscallNumbers[arch];
const folder = mkdtempSync(join(tmpdir(), 'seccomp-live-'));
after(() => rmSync(folder, { recursive: true }));

const onPath = (program: string) =>
  ['/usr/bin', '/bin'].map((dir) => join(dir, program)).find((path) => existsSync(path));
const needs = (...programs: string[]) => {
  const missing = programs.filter((program) => onPath(program) === undefined);
  return missing.length === 0 ? false : `needs ${missing.join(', ')}`;
};

type Inside = { filter?: Buffer; capabilities: 'all' | 'none'; command: readonly string[] };

/** Runs a command in a sandbox of fresh namespaces, with and without the filter alike. */
function runInside({ filter, capabilities, command }: Inside) {
  const path = join(folder, 'filter');
  if (filter !== undefined) writeFileSync(path, filter);
  const fd = filter === undefined ? undefined : openSync(path, 'r');
  const identity =
    capabilities === 'all'
      ? ['--uid', '0', '--gid', '0', '--cap-add', 'ALL']
      : ['--uid', '10001', '--gid', '10001', '--cap-drop', 'ALL'];
  const argv = [
    ...['--unshare-user', '--unshare-all', ...identity, '--die-with-parent', '--new-session'],
    ...['--ro-bind', '/', '/', '--proc', '/proc', '--dev', '/dev', '--tmpfs', '/tmp'],
    // The clone may lie below /tmp, which is covered here.
    ...[
      '--ro-bind',
      process.execPath,
      '/tmp/node',
      '--ro-bind',
      folder,
      '/tmp/probe',
      '--chdir',
      '/tmp',
      '--setenv',
      'HOME',
      '/tmp',
    ],
    ...(fd === undefined ? [] : ['--seccomp', '3']),
    ...['--', ...command],
  ];
  try {
    return spawnSync('bwrap', argv, {
      shell: false,
      encoding: 'utf8',
      timeout: 30_000,
      env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
      // As root, the sandbox's user is root to the files it is handed: no descriptor of a host file goes in.
      stdio: ['pipe', 'pipe', 'pipe', ...(fd === undefined ? [] : [fd])],
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Makes each call in a child of its own and prints what came of it. Arguments: the number of getpid, then
 * `label number arg…` each; an argument `s:text` is passed as a string, everything else as an integer. A call
 * that returns a second time (clone) ends there.
 */
const probe = String.raw`
use POSIX ();
$| = 1;
my $getpid = 0 + shift;
for my $spec (@ARGV) {
  my ($label, @words) = split / /, $spec;
  pipe(my $out, my $in);
  my $child = fork;
  if ($child == 0) {
    alarm 5;
    my $self = syscall($getpid);
    my ($number, @args) = map { /^s:(.*)/ ? "$1" : 0 + $_ } @words;
    my $result = syscall($number, @args);
    my $errno = $result == -1 ? 0 + $! : 0;
    POSIX::_exit(0) if syscall($getpid) != $self;
    syswrite $in, "$result $errno";
    POSIX::_exit(0);
  }
  close $in;
  my $answer = <$out>;
  waitpid $child, 0;
  my $signal = $? & 127;
  print "$label ", ($signal ? "signal $signal" : $answer // "ended"), "\n";
}`;

type Answer = { result: number; errno: number } | { signal: number } | { ended: true };
type Word = number | bigint | string;

function parseAnswer(text: string): Answer {
  const [first, second] = text.split(' ');
  if (first === 'signal') return { signal: Number(second) };
  if (first === 'ended') return { ended: true };
  return { result: Number(first), errno: Number(second) };
}

/** What each call answers inside; by label. */
function probeInside(
  calls: ReadonlyMap<string, readonly Word[]>,
  inside: Omit<Inside, 'command'>,
): ReadonlyMap<string, Answer> {
  const specs = [...calls].map(([label, words]) => [label, ...words].join(' '));
  const command = ['perl', '-e', probe, String(numbers.get('getpid')), ...specs];
  const { stdout, stderr, status } = runInside({ ...inside, command });
  assert.equal(status, 0, `${status} ${stderr}`);
  const lines = stdout.trim().split('\n');
  const answers = new Map(lines.map((line) => [line.split(' ')[0]!, parseAnswer(line.replace(/^\S+ /, ''))]));
  assert.equal(answers.size, calls.size);
  return answers;
}

const filter = compileSeccomp(arch);
const errnoOf = (answer: Answer | undefined) =>
  answer !== undefined && 'errno' in answer ? answer.errno : undefined;
const canProbe = process.platform === 'linux' ? needs('bwrap', 'perl') : 'needs Linux';

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;
const SIGSYS = 31;
const newUser = 0x1000_0000 | 17;

/**
 * Made with every capability of the sandbox's user namespace, so that only the filter can refuse. The arguments
 * are ones that the kernel alone answers otherwise, which is the control: where it does not, it refuses by itself.
 */
const hostile: readonly (readonly [label: string, expected: number, call: string, ...args: Word[]])[] = [
  ['clone-newuser', EPERM, 'clone', newUser, 0, 0, 0, 0],
  ['clone-newuser-high-word', EPERM, 'clone', 0x5_0000_0000n | BigInt(newUser), 0, 0, 0, 0],
  ['clone-newns', EPERM, 'clone', 0x2_0000 | 17, 0, 0, 0, 0],
  ['clone3', ENOSYS, 'clone3', 0, 0],
  ['unshare', EPERM, 'unshare', 0x1000_0000],
  ['setns', EPERM, 'setns', -1, 0],
  ['chroot', EPERM, 'chroot', 's:/'],
  ['mount', EPERM, 'mount', 's:none', 's:/tmp', 's:tmpfs', 0, 0],
  ['umount2', EPERM, 'umount2', 's:/tmp', 2],
  ['pivot_root', EPERM, 'pivot_root', 0, 0],
  ['fsopen', EPERM, 'fsopen', 's:tmpfs', 0],
  ['open_tree', EPERM, 'open_tree', -100, 's:/', 1],
  ['mount_setattr', EPERM, 'mount_setattr', -1, 0, 0, 0, 0],
  ['keyctl', EPERM, 'keyctl', 0, -2, 1],
  ['add_key', EPERM, 'add_key', 's:user', 's:probe', 's:x', 1, -2],
  ['bpf', EPERM, 'bpf', 0, 0, 1 << 20],
  ['io_uring_setup', EPERM, 'io_uring_setup', 0, 0],
  ['perf_event_open', EPERM, 'perf_event_open', 0, 0, -1, -1, -1],
  ['userfaultfd', EPERM, 'userfaultfd', -1],
  ['open_by_handle_at', EPERM, 'open_by_handle_at', -1, 0, 0],
  ['name_to_handle_at', EPERM, 'name_to_handle_at', -1, 0, 0, 0, 0],
  ['fanotify_init', EPERM, 'fanotify_init', 0x200, 0],
  ['pidfd_getfd', EPERM, 'pidfd_getfd', -1, 0, 0],
  ['personality-no-aslr', EPERM, 'personality', 0x4_0000],
  ['prctl-set-mm', EPERM, 'prctl', 35, 0, 0, 0, 1],
  ['ptrace-init', EPERM, 'ptrace', 0x4206, 1, 0, 0],
  ['read-init', EPERM, 'process_vm_readv', 1, 0, 0, 0, 0, 0],
  ['tiocsti', EPERM, 'ioctl', -1, 0x5412, 0],
  ['tiocsti-high-word', EPERM, 'ioctl', -1, 0x1_0000_5412n, 0],
  ['tioclinux', EPERM, 'ioctl', -1, 0x541c, 0],
  ['tiocsetd', EPERM, 'ioctl', -1, 0x5423, 0],
  ['af-packet', EAFNOSUPPORT, 'socket', 17, 3, 0],
  ['af-inet-packet', EPERM, 'socket', 2, 10, 0],
  ['af-inet-raw', EPERM, 'socket', 2, 3, 255],
  ['af-inet6-raw-cloexec', EPERM, 'socket', 10, 3 | 0x80000, 58],
  ['af-vsock', EAFNOSUPPORT, 'socket', 40, 1, 0],
  ['af-alg', EAFNOSUPPORT, 'socket', 38, 5, 0],
  ['netlink-kobject-uevent', EAFNOSUPPORT, 'socket', 16, 3, 15],
];

test('the filter alone refuses what hostile code tries', { skip: canProbe }, async (t) => {
  const calls = new Map(hostile.map(([label, , call, ...args]) => [label, [numbers.get(call)!, ...args]]));
  const filtered = probeInside(calls, { filter, capabilities: 'all' });
  const bare = probeInside(calls, { capabilities: 'all' });
  for (const [label, expected] of hostile) {
    await t.test(label, (s) => {
      assert.deepEqual(filtered.get(label), { result: -1, errno: expected });
      if (errnoOf(bare.get(label)) === expected)
        s.skip('refused, but this kernel does so without the filter too');
    });
  }
});

test('the same mechanism makes ordinary calls', { skip: canProbe }, () => {
  const ordinary = {
    getpid: ['getpid'],
    'clone-like-fork': ['clone', 17, 0, 0, 0, 0],
    'socket-unix': ['socket', 1, 1, 0],
    'socket-inet-cloexec': ['socket', 2, 1 | 0x80000, 6],
    'socket-inet6-udp': ['socket', 10, 2, 17],
    'socket-netlink-route': ['socket', 16, 3, 0],
    'personality-query': ['personality', 0xffff_ffff],
    'prctl-get-dumpable': ['prctl', 3],
    'seccomp-action-available': ['prctl', 21],
    'ptrace-traceme': ['ptrace', 0, 0, 0, 0],
    'memfd-create': ['memfd_create', 's:x', 0],
    'io-destroy-ebadf': ['io_destroy', 0],
    'ioctl-ebadf': ['ioctl', -1, 0x5401, 0],
  } as const;
  const calls = new Map<string, Word[]>(
    Object.entries(ordinary).map(([label, [call, ...args]]) => [label, [numbers.get(call)!, ...args]]),
  );
  const answers = probeInside(calls, { filter, capabilities: 'none' });
  for (const [label, answer] of answers) {
    if (label === 'ioctl-ebadf') assert.equal(errnoOf(answer), 9);
    else if (label === 'io-destroy-ebadf') assert.equal(errnoOf(answer), 22);
    else assert.equal(errnoOf(answer), 0, `${label} ${JSON.stringify(answer)}`);
  }
});

/** Calls that end, pause or duplicate the prober itself, whatever their arguments. */
const unprobed = new Set(['exit', 'exit_group', 'fork', 'vfork', 'clone', 'clone3', 'rt_sigreturn', 'pause']);

test('every call the policy refuses is refused, and far more than by namespaces alone', {
  skip: canProbe,
}, (t) => {
  const probed = [...numbers].filter(([name]) => !unprobed.has(name));
  const calls = new Map(probed.map(([name, number]) => [name, [number, -1, -1, -1, -1, -1, -1]]));
  const filtered = probeInside(calls, { filter, capabilities: 'none' });
  const bare = probeInside(calls, { capabilities: 'none' });
  const args = Array<bigint>(6).fill(2n ** 64n - 1n);
  for (const [name, number] of probed) {
    const verdict = judge(policies[arch], { auditArch: policies[arch].auditArch, number, args });
    if (verdict === verdicts.refuse) assert.equal(errnoOf(filtered.get(name)), EPERM, name);
  }
  const refusals = (answers: ReadonlyMap<string, Answer>) =>
    [...answers.values()].filter((answer) => [EPERM, EAFNOSUPPORT].includes(errnoOf(answer) ?? 0)).length;
  t.diagnostic(`refused of ${probed.length}: ${refusals(bare)} bare, ${refusals(filtered)} filtered`);
  assert(refusals(filtered) > refusals(bare) + 40);
});

test('numbers no table knows are absent', { skip: canProbe }, () => {
  const calls = new Map(['470', '600', '100000', '-1'].map((number) => [number, [number]]));
  for (const answer of probeInside(calls, { filter, capabilities: 'none' }).values()) {
    assert.equal(errnoOf(answer), ENOSYS);
  }
});

test('an x32 call kills', { skip: canProbe || (arch === 'x64' ? false : 'x32 is of x64') }, () => {
  const calls = new Map([['getpid', [0x4000_0000 + numbers.get('getpid')!]]]);
  const answers = probeInside(calls, { filter, capabilities: 'none' });
  assert.deepEqual(answers.get('getpid'), { signal: SIGSYS });
});

/** A static x64 program: `mov eax, 20; int 0x80` (getpid by the i386 table), then `exit(0)` by the x64 one. */
function interrupt80Program(): Buffer {
  const code = Buffer.from('b814000000cd80b83c00000031ff0f05', 'hex');
  const [base, headers] = [0x40_0000, 64 + 56];
  const elf = Buffer.alloc(headers);
  elf.write('\x7fELF\x02\x01\x01', 'latin1');
  elf.writeUInt32LE(0x003e_0002, 16); // x86-64, executable
  elf.writeUInt32LE(1, 20);
  elf.writeBigUInt64LE(BigInt(base + headers), 24);
  elf.writeBigUInt64LE(64n, 32);
  elf.writeUInt16LE(64, 52);
  elf.writeUInt16LE(56, 54);
  elf.writeUInt16LE(1, 56);
  elf.writeUInt32LE(1, 64); // one loaded segment
  elf.writeUInt32LE(5, 68); // readable, executable
  elf.writeBigUInt64LE(BigInt(base), 80);
  elf.writeBigUInt64LE(BigInt(base), 88);
  elf.writeBigUInt64LE(BigInt(headers + code.length), 96);
  elf.writeBigUInt64LE(BigInt(headers + code.length), 104);
  elf.writeBigUInt64LE(0x1000n, 112);
  return Buffer.concat([elf, code]);
}

test('a 32-bit call by int 0x80 kills', {
  skip: canProbe || (arch === 'x64' ? false : 'int 0x80 is of x64'),
}, (t) => {
  const path = join(folder, 'int80');
  writeFileSync(path, interrupt80Program());
  chmodSync(path, 0o755);
  const command = ['perl', '-e', 'print system("/tmp/probe/int80") & 127'];
  const filtered = runInside({ filter, capabilities: 'none', command });
  const bare = runInside({ capabilities: 'none', command });
  if (bare.stdout !== '0') t.skip('this kernel has no 32-bit calls');
  else assert.equal(filtered.stdout, String(SIGSYS), filtered.stderr);
});

test('a filter for the other architecture lets nothing start', { skip: canProbe }, () => {
  const other = compileSeccomp(arch === 'x64' ? 'arm64' : 'x64');
  const { stdout, status } = runInside({ filter: other, capabilities: 'none', command: ['echo', 'started'] });
  assert.notEqual(status, 0);
  assert.equal(stdout, '');
});

const perlTerminal = String.raw`
use Fcntl;
sysopen(my $master, "/dev/ptmx", O_RDWR | O_NOCTTY) or die "ptmx $!";
my $unlocked = pack "i", 0;
ioctl($master, 0x40045431, $unlocked) or die "unlock $!";
ioctl($master, 0x80045430, my $n = pack "i", 0) or die "number $!";
sysopen(my $slave, "/dev/pts/" . unpack("i", $n), O_RDWR | O_NOCTTY) or die "slave $!";
ioctl($slave, 0x5401, my $modes = "\0" x 60) or die "TCGETS $!";
syswrite $master, "hi\n";
my $readable = "";
vec($readable, fileno $slave, 1) = 1;
select($readable, undef, undef, 10) == 1 or die "select $!";
ioctl($slave, 0x541b, my $waiting = pack "i", 0) or die "FIONREAD $!";
my $c = "x";
my $typed = ioctl($slave, 0x5412, $c) ? "typed" : 0 + $!;
print unpack("i", $waiting), " $typed";`;

const perlLoopback = `
use Socket;
alarm 10;
socket(my $server, PF_INET, SOCK_STREAM, 6) or die "socket $!";
bind($server, sockaddr_in(0, INADDR_LOOPBACK)) && listen($server, 1) or die "listen $!";
if (fork == 0) {
  socket(my $client, PF_INET, SOCK_STREAM, 6) or die "socket $!";
  connect($client, getsockname($server)) or die "connect $!";
  syswrite $client, "over tcp";
  exit;
}
accept(my $peer, $server) or die "accept $!";
print scalar <$peer>;
wait;`;

const nodeWorkers = `
const { Worker } = require('node:worker_threads');
const code = 'require("node:worker_threads").parentPort.postMessage(require("node:os").hostname().length)';
let left = 4;
for (let i = 0; i < 4; i += 1) {
  new Worker(code, { eval: true }).on('message', () => (left -= 1) === 0 && console.log('four workers'));
}`;

const pythonThreads = `
import subprocess, threading, multiprocessing
done = []
threads = [threading.Thread(target=lambda: done.append(1)) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
with multiprocessing.Pool(2) as pool: squares = pool.map(abs, [-1, -2, -3])
print(len(done), squares, subprocess.run(['echo', 'child'], capture_output=True, text=True).stdout.strip())`;

const gitRepository = `git init -q r && cd r && echo a > f && git add f && git -c user.name=n -c user.email=e@e \
  commit -qm one && git clone -q . ../copy && git gc -q && git log --format=%s`;
const compileC = `printf '#include <stdio.h>\\n#include <pthread.h>\\nvoid *f(void *x){return x;}
int main(void){pthread_t t;pthread_create(&t,0,f,"hi");void*r;pthread_join(t,&r);puts(r);}' > a.c &&
  gcc -O2 -pthread a.c -o a && ./a`;

const programs: readonly { name: string; needs: string[]; command: string[]; stdout: string | RegExp }[] = [
  {
    name: 'bash pipelines and jobs',
    needs: ['bash'],
    command: ['bash', '-c', 'seq 100 | grep 7 | sort -rn | wc -l; (exit 3) & wait $!; echo $? <(echo)'],
    stdout: /^19\n3 \/dev\/fd\//,
  },
  {
    name: 'a terminal, but no typing into it',
    needs: [],
    command: ['perl', '-e', perlTerminal],
    stdout: '3 1',
  },
  { name: 'TCP over loopback', needs: [], command: ['perl', '-e', perlLoopback], stdout: 'over tcp' },
  { name: 'git', needs: ['git', 'sh'], command: ['sh', '-c', gitRepository], stdout: 'one\n' },
  {
    name: 'node with worker threads',
    needs: [],
    command: ['/tmp/node', '-e', nodeWorkers],
    stdout: 'four workers\n',
  },
  {
    name: 'python with threads and processes',
    needs: ['python3'],
    command: ['/usr/bin/python3', '-c', pythonThreads],
    stdout: '8 [1, 2, 3] child\n',
  },
  { name: 'a C compiler and threads', needs: ['gcc'], command: ['sh', '-c', compileC], stdout: 'hi\n' },
  {
    name: 'strace',
    needs: ['strace'],
    command: ['strace', '-f', '-o', '/dev/null', 'sh', '-c', 'echo traced | cat'],
    stdout: 'traced\n',
  },
  {
    name: 'a tracer that cancels calls',
    needs: ['strace'],
    command: ['strace', '-o', '/dev/null', '-e', 'inject=getppid:retval=4711', 'perl', '-e', 'print getppid'],
    stdout: '4711',
  },
  {
    name: 'gdb',
    needs: ['gdb'],
    command: ['gdb', '-batch', '-ex', 'run', '-ex', 'quit', '--args', '/bin/echo', 'debugged'],
    stdout: /debugged\n.*exited normally/s,
  },
];

for (const program of programs) {
  test(`works under the filter: ${program.name}`, { skip: canProbe || needs(...program.needs) }, () => {
    const { stdout, stderr } = runInside({ filter, capabilities: 'none', command: program.command });
    if (program.stdout instanceof RegExp) assert.match(stdout, program.stdout, stderr);
    else assert.equal(stdout, program.stdout, stderr);
  });
}
