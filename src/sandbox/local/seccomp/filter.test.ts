import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judge, policies, type Verdict, verdicts, withHeldAffinity } from './filter.ts';
import { type Architecture, syscallNumbers } from './syscalls.ts';

const architectures: readonly Architecture[] = ['x64', 'arm64'];
const { allow, refuse, absent, noFamily, killProcess } = verdicts;
const noise = 0xdead_beef_0000_0000n;

function verdictOf(arch: Architecture, name: string, ...args: number[]): Verdict | undefined {
  const number = syscallNumbers[arch].get(name);
  if (number === undefined) return undefined;
  const { auditArch } = policies[arch];
  const exact = judge(policies[arch], { auditArch, number, args: args.map(BigInt) });
  const noisy = judge(policies[arch], { auditArch, number, args: args.map((arg) => noise | BigInt(arg)) });
  assert.equal(noisy, exact, `${name} looks at a high word`);
  return exact;
}

function everywhere(name: string, args: number[], expected: Verdict) {
  for (const arch of architectures) {
    const verdict = verdictOf(arch, name, ...args);
    if (verdict !== undefined) assert.equal(verdict, expected, `${arch} ${name}(${args.join(', ')})`);
  }
}

test('calls that reach past the sandbox are refused', () => {
  const names =
    `io_uring_setup io_uring_enter io_uring_register bpf keyctl add_key request_key perf_event_open
    userfaultfd mount umount2 pivot_root fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr
    statmount listmount unshare setns chroot kexec_load kexec_file_load init_module finit_module delete_module
    create_module query_module reboot swapon swapoff quotactl quotactl_fd acct settimeofday clock_settime
    clock_adjtime adjtimex iopl ioperm syslog name_to_handle_at open_by_handle_at fanotify_init fanotify_mark
    lookup_dcookie vhangup nfsservctl move_pages migrate_pages mbind set_mempolicy set_mempolicy_home_node
    kcmp pidfd_getfd process_madvise modify_ldt sethostname setdomainname uselib _sysctl`.split(/\s+/);
  for (const name of names) {
    assert(syscallNumbers.x64.has(name), `${name} is unknown`);
    everywhere(name, [0, 0, 0, 0, 0, 0], refuse);
  }
});

test('what ordinary programs live on is allowed', () => {
  const names = `read write openat close mmap mprotect brk execve exit_group wait4 futex rt_sigreturn
    restart_syscall kill pidfd_open clock_nanosleep epoll_pwait2 inotify_init1 sendmsg io_submit shmget seccomp
    landlock_restrict_self getrandom rseq set_robust_list memfd_create copy_file_range statx faccessat2`;
  for (const name of names.split(/\s+/)) everywhere(name, [0, 0, 0, 0, 0, 0], allow);
  assert.equal(verdictOf('x64', 'arch_prctl', 0x1002), allow);
  assert.equal(verdictOf('x64', 'vfork'), allow);
});

test('clone makes processes and threads, never a namespace', () => {
  const thread = 0x3d0f00;
  const forkLike = 0x1200011;
  for (const flags of [thread, forkLike, 17, 0x80]) everywhere('clone', [flags], allow);
  for (const bit of [0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000]) {
    everywhere('clone', [bit], refuse);
    everywhere('clone', [forkLike | bit], refuse);
  }
  everywhere('clone3', [0, 88], absent);
});

test('sockets are unix, internet or route netlink, and never raw', () => {
  const cloexec = 0x80000;
  for (const name of ['socket', 'socketpair']) {
    for (const family of [1, 2, 10]) {
      for (const type of [1, 2, 5, 1 | cloexec, 2 | 0x800]) everywhere(name, [family, type, 6], allow);
      for (const type of [3, 10, 3 | cloexec, 10 | 0x800]) everywhere(name, [family, type, 1], refuse);
    }
    everywhere(name, [16, 3 | cloexec, 0], allow);
    for (const protocol of [2, 9, 12, 15, 16]) everywhere(name, [16, 3, protocol], noFamily);
    for (const family of [0, 3, 17, 21, 29, 38, 40, 44, 45]) everywhere(name, [family, 1, 0], noFamily);
  }
});

test('typing into a terminal is refused whatever the high word of the command', () => {
  for (const command of [0x5412, 0x541c, 0x5423]) everywhere('ioctl', [0, command], refuse);
  for (const command of [0x5401, 0x5413, 0x541b, 0x5421]) everywhere('ioctl', [0, command], allow);
});

test('only the personalities that weaken nothing are allowed', () => {
  for (const persona of [0, 8, 0x20000, 0x20008, 0xffffffff]) everywhere('personality', [persona], allow);
  for (const persona of [0x0040000, 0x0100000, 0x0400000, 9]) everywhere('personality', [persona], refuse);
});

test('a process may shape itself by prctl, but not its memory map', () => {
  for (const option of [1, 4, 15, 22, 38]) everywhere('prctl', [option], allow);
  everywhere('prctl', [35], refuse);
});

test('debuggers work on everything but process 1', () => {
  for (const pid of [0, 2, 4711]) everywhere('ptrace', [0x4206, pid], allow);
  for (const request of [1, 4, 16, 0x4206]) everywhere('ptrace', [request, 1], refuse);
  for (const name of ['process_vm_readv', 'process_vm_writev']) {
    everywhere(name, [2, 0, 1], allow);
    everywhere(name, [1, 0, 1], refuse);
  }
});

test('a call newer than the tables is absent', () => {
  for (const number of [467, 600, 100000, 0x80000000, 0xffffffff]) {
    for (const policy of Object.values(policies)) {
      assert.equal(judge(policy, { auditArch: policy.auditArch, number, args: [] }), absent);
    }
  }
});

test('another ABI kills, also the one that shares the architecture', () => {
  const i386 = 0x40000003;
  const arm = 0x40000028;
  const getpid = syscallNumbers.x64.get('getpid')!;
  for (const auditArch of [i386, arm, 0]) {
    for (const policy of Object.values(policies)) {
      assert.equal(judge(policy, { auditArch, number: getpid, args: [] }), killProcess);
    }
  }
  const { auditArch } = policies.x64;
  for (const number of [0x40000000, 0x40000000 + getpid, 0x40000220, 0xfffffffe]) {
    assert.equal(judge(policies.x64, { auditArch, number, args: [] }), killProcess);
  }
});

test('an affinity that holds a sandbox cannot be widened, and nothing else changes', () => {
  for (const arch of architectures) {
    const [free, held] = [policies[arch], withHeldAffinity(arch)];
    for (const [name, number] of syscallNumbers[arch]) {
      const call = { auditArch: free.auditArch, number, args: [] };
      const expected = name === 'sched_setaffinity' ? refuse : judge(free, call);
      assert.equal(judge(held, call), expected, name);
    }
  }
});
