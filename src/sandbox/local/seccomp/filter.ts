import assert from 'node:assert/strict';
import { type Architecture, syscallNumbers } from './syscalls.ts';

/** What the kernel does with a call: a `SECCOMP_RET_*` action in the high half, an errno in the low half. */
export type Verdict = number;

const errno = (code: number): Verdict => 0x0005_0000 | code;

export const verdicts = {
  allow: 0x7fff_0000,
  /** Ends the whole process with SIGSYS. */
  killProcess: 0x8000_0000,
  /** EPERM: known, and not allowed. */
  refuse: errno(1),
  /** ENOSYS: programs take the fallback they have for older kernels. */
  absent: errno(38),
  /** EAFNOSUPPORT: as if the kernel were built without that address family. */
  noFamily: errno(97),
} as const;

/**
 * True where the low 32 bits of the argument, after the mask, are one of the values. Only arguments that the
 * kernel itself truncates to 32 bits may be tested; the high word is then noise that an attacker chooses, and
 * comparing it would let `0x1_0000_5412` pass for something other than TIOCSTI. Filters see no memory, so an
 * argument that is a pointer cannot be tested at all.
 */
export type Test = {
  arg: 0 | 1 | 2 | 3 | 4 | 5;
  mask: number;
  anyOf: readonly number[];
};

/** The verdict of the first clause all of whose tests hold, else `otherwise`. */
export type Rule = {
  clauses: readonly { when: readonly Test[]; verdict: Verdict }[];
  otherwise: Verdict;
};

const wholeWord = 0xffff_ffff;

/**
 * Allowed whatever the arguments. A strict subset of Docker's default profile (moby/profiles, 2025) for a
 * container without capabilities; a name that an architecture lacks is skipped there.
 */
const allowed: Readonly<Record<string, string>> = {
  // The mount namespace decides what can be named; mknod makes no device without CAP_MKNOD outside.
  files: `read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek open openat openat2
    creat close close_range dup dup2 dup3 fcntl flock pipe pipe2 memfd_create stat fstat lstat newfstatat statx
    statfs fstatfs access faccessat faccessat2 truncate ftruncate fallocate fadvise64 readahead fsync fdatasync
    sync syncfs sync_file_range sendfile copy_file_range splice tee vmsplice getdents getdents64 getcwd chdir
    fchdir mkdir mkdirat rmdir mknod mknodat link linkat symlink symlinkat readlink readlinkat unlink unlinkat
    rename renameat renameat2 chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask utime utimes
    futimesat utimensat setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr
    flistxattr removexattr lremovexattr fremovexattr inotify_init inotify_init1 inotify_add_watch
    inotify_rm_watch`,
  memory: `brk mmap munmap mprotect mremap msync mincore madvise mlock mlock2 munlock mlockall munlockall mseal
    membarrier pkey_alloc pkey_free pkey_mprotect map_shadow_stack`,
  // uretprobe is made by the kernel's own trampoline when the host traces a library; elsewhere it is SIGILL.
  processes: `fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open
    pidfd_send_signal getpid gettid getppid getpgid setpgid getpgrp getsid setsid set_tid_address
    set_robust_list get_robust_list rseq futex futex_wait futex_wake futex_requeue futex_waitv arch_prctl
    getrlimit setrlimit prlimit64 getrusage times sysinfo uname getcpu getrandom uretprobe`,
  // Own priorities only, and raising them needs a capability or an rlimit the sandbox is not given.
  scheduling: `sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam
    sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min
    sched_rr_get_interval getpriority setpriority ioprio_get ioprio_set`,
  // Without capabilities these only restate ids and sets the process has; sudo, ssh and tar call them anyway.
  credentials: `getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid
    setresuid setresgid setfsuid setfsgid setgroups capget capset`,
  signals: `rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo
    rt_tgsigqueueinfo rt_sigreturn restart_syscall sigaltstack pause signalfd signalfd4`,
  time: `time gettimeofday clock_gettime clock_getres nanosleep clock_nanosleep alarm getitimer setitimer
    timer_create timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime
    timerfd_gettime`,
  waiting: `poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
    eventfd eventfd2 io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents`,
  // On sockets that `conditional` let the process make, in its own network namespace.
  sockets: `bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt sendto
    recvfrom sendmsg recvmsg sendmmsg recvmmsg`,
  // In the sandbox's own IPC namespace.
  messages: `shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open
    mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr`,
  // A process may restrict itself further; where filters disagree, the kernel takes the stricter verdict.
  selfRestriction: 'seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self',
};

/*
 * Known, not listed above, and so EPERM:
 * - new namespaces and roots (unshare setns chroot pivot_root), the whole mount API (mount umount2 fsopen
 *   fsconfig fsmount fspick move_mount open_tree mount_setattr statmount listmount): the way to capabilities
 *   over kernel code that otherwise only root reaches, and a way around the layout of the sandbox.
 * - io_uring_*: does the work of other calls where no filter sees it, and is the kernel's most exploited part.
 * - bpf perf_event_open userfaultfd kcmp lookup_dcookie syslog: kernel programs, timing, addresses, and the
 *   means to win a race in the kernel.
 * - add_key request_key keyctl: keyrings do not belong to the namespaces that divide sandboxes.
 * - name_to_handle_at open_by_handle_at fanotify_*: files by number, past the mount namespace.
 * - pidfd_getfd process_madvise process_mrelease: another process's descriptors and memory, of no use to a
 *   debugger that has ptrace.
 * - mbind set_mempolicy* get_mempolicy move_pages migrate_pages: placement is the host's; libnuma copes.
 * - memfd_secret cachestat: memory the host cannot inspect, and what other sandboxes have read lately.
 * - the host's own state: kexec, modules, reboot, swap, quotactl*, acct, clocks (adjtimex and clock_adjtime
 *   too, whose settings are behind a pointer), host names, iopl, ioperm, vhangup, lsm_*.
 * - what nothing current calls: modify_ldt remap_file_pages set_thread_area uselib ustat sysfs nfsservctl …
 */

const family = { unix: 1, inet: 2, inet6: 10, netlink: 16 } as const;
const ordinaryFamilies = [family.unix, family.inet, family.inet6];
const socketTypeMask = 0xf;
const rawSocketTypes = [3, 10]; // SOCK_RAW; SOCK_PACKET, which turns AF_INET into AF_PACKET
const netlinkRoute = 0;

/** socket(int family, int type, int protocol); netlink's route protocol is how libc lists addresses. */
const socketRule: Rule = {
  clauses: [
    {
      when: [
        { arg: 0, mask: wholeWord, anyOf: ordinaryFamilies },
        { arg: 1, mask: socketTypeMask, anyOf: rawSocketTypes },
      ],
      verdict: verdicts.refuse,
    },
    { when: [{ arg: 0, mask: wholeWord, anyOf: ordinaryFamilies }], verdict: verdicts.allow },
    {
      when: [
        { arg: 0, mask: wholeWord, anyOf: [family.netlink] },
        { arg: 2, mask: wholeWord, anyOf: [netlinkRoute] },
      ],
      verdict: verdicts.allow,
    },
  ],
  otherwise: verdicts.noFamily,
};

/** NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; 0x80, NEWTIME elsewhere, is a signal number here. */
const cloneNamespaceFlags =
  0x2_0000 | 0x200_0000 | 0x400_0000 | 0x800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

const terminalInjection = [
  0x5412, // TIOCSTI types into the terminal as if the person did
  0x541c, // TIOCLINUX pastes into a console
  0x5423, // TIOCSETD loads line disciplines into the kernel
];

/** PER_LINUX, PER_LINUX32, UNAME26, both, and the query: what Docker lets through; nothing that weakens ASLR. */
const personalities = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/**
 * Debuggers must work: the PID namespace holds nothing but the sandbox, and since Linux 4.8 the filter runs
 * after a tracer has had its say, so a tracer cannot swap a refused call in. Process 1 is the exception. It is
 * bubblewrap's own, of the same uid, and whoever controls it can clear its parent-death signal and so outlive
 * the runner. This closes only the calls: /proc/1/mem has to be covered by a mount.
 */
function sparesInit(pidArg: Test['arg']): Rule {
  return {
    clauses: [{ when: [{ arg: pidArg, mask: wholeWord, anyOf: [1] }], verdict: verdicts.refuse }],
    otherwise: verdicts.allow,
  };
}

const setMemoryMap = 35; // PR_SET_MM: checkpoint and restore only

const conditional: Readonly<Record<string, Rule>> = {
  socket: socketRule,
  socketpair: socketRule,
  // The kernel takes lower_32_bits(flags), on both architectures from the first argument.
  clone: {
    clauses: [{ when: [{ arg: 0, mask: cloneNamespaceFlags, anyOf: [0] }], verdict: verdicts.allow }],
    otherwise: verdicts.refuse,
  },
  // Its flags are behind a pointer; at ENOSYS libc falls back to clone, whose flags can be seen.
  clone3: { clauses: [], otherwise: verdicts.absent },
  // ioctl(unsigned int fd, unsigned int cmd, …)
  ioctl: {
    clauses: [{ when: [{ arg: 1, mask: wholeWord, anyOf: terminalInjection }], verdict: verdicts.refuse }],
    otherwise: verdicts.allow,
  },
  // personality(unsigned int)
  personality: {
    clauses: [{ when: [{ arg: 0, mask: wholeWord, anyOf: personalities }], verdict: verdicts.allow }],
    otherwise: verdicts.refuse,
  },
  // ptrace(long request, long pid, …), the pid cut to pid_t; process_vm_*(pid_t pid, …)
  ptrace: sparesInit(1),
  process_vm_readv: sparesInit(0),
  process_vm_writev: sparesInit(0),
  // prctl(int option, …): all else acts on the caller alone and is held by no_new_privs.
  prctl: {
    clauses: [{ when: [{ arg: 0, mask: wholeWord, anyOf: [setMemoryMap] }], verdict: verdicts.refuse }],
    otherwise: verdicts.allow,
  },
};

export type Policy = {
  /** AUDIT_ARCH_*; a call made by another ABI (such as `int 0x80`) kills, for its numbers mean other calls. */
  auditArch: number;
  /**
   * A call number with any of these bits set kills, except -1, by which tracers cancel a call. On x64 this is
   * the x32 ABI, which arrives under the same AUDIT_ARCH: another ABI is refused alike however it is entered.
   */
  foreignAbiBits: number;
  /** By call number. A number that is not here is newer than the tables and gets `verdicts.absent`. */
  rules: ReadonlyMap<number, Rule>;
};

const allowRule: Rule = { clauses: [], otherwise: verdicts.allow };
const refuseRule: Rule = { clauses: [], otherwise: verdicts.refuse };

function rulesByName(): ReadonlyMap<string, Rule> {
  const rules = new Map(Object.entries(conditional));
  for (const name of Object.values(allowed).flatMap((names) => names.split(/\s+/))) {
    assert(!rules.has(name), `${name} has two rules`);
    assert(syscallNumbers.x64.has(name) || syscallNumbers.arm64.has(name), `${name} is no system call`);
    rules.set(name, allowRule);
  }
  return rules;
}

function policyFor(arch: Architecture, auditArch: number, foreignAbiBits: number): Policy {
  const named = rulesByName();
  const rules = new Map<number, Rule>();
  for (const [name, number] of syscallNumbers[arch]) rules.set(number, named.get(name) ?? refuseRule);
  return { auditArch, foreignAbiBits, rules };
}

/** What a workload in the local sandbox may ask of the kernel. */
export const policies: Readonly<Record<Architecture, Policy>> = {
  x64: policyFor('x64', 0xc000_003e, 0x4000_0000),
  arm64: policyFor('arm64', 0xc000_00b7, 0),
};

/** The policy where an affinity holds a sandbox to its processors: what is inside could otherwise widen it again. */
export function withHeldAffinity(arch: Architecture): Policy {
  const rules = new Map(policies[arch].rules);
  rules.set(syscallNumbers[arch].get('sched_setaffinity')!, refuseRule);
  return { ...policies[arch], rules };
}

/** `struct seccomp_data` without the instruction pointer: what a filter sees of a call. */
export type Call = {
  auditArch: number;
  /** Unsigned 32 bits. */
  number: number;
  /** Up to six, unsigned 64 bits; missing ones are 0. */
  args: readonly bigint[];
};

/** The policy's verdict, read from the data: what a compiled filter must answer. */
export function judge(policy: Policy, call: Call): Verdict {
  if (call.auditArch !== policy.auditArch) return verdicts.killProcess;
  const foreign = (call.number & policy.foreignAbiBits) !== 0 && call.number !== 0xffff_ffff;
  if (foreign) return verdicts.killProcess;
  const rule = policy.rules.get(call.number);
  if (rule === undefined) return verdicts.absent;
  const match = rule.clauses.find((clause) => clause.when.every((test) => holds(test, call)));
  return match?.verdict ?? rule.otherwise;
}

function holds(test: Test, call: Call): boolean {
  const low = Number((call.args[test.arg] ?? 0n) & 0xffff_ffffn);
  return test.anyOf.includes((low & test.mask) >>> 0);
}
