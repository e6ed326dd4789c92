import koffi from 'koffi';

/**
 * The C library calls that Node does not offer. Each throws a SystemError with the call's name and errno.
 * Calls act on the calling thread where Linux says so (`unshare`), so it matters which thread makes them.
 */

const libc = koffi.load('libc.so.6');
const errnoNames = new Map(
  Object.entries(koffi.os.errno)
    .filter(([name]) => name !== 'EWOULDBLOCK') // EAGAIN by another name
    .map(([name, number]) => [number, name]),
);

const native = {
  pipe2: libc.func('int pipe2(_Out_ int *fds, int flags)'),
  flock: libc.func('int flock(int fd, int operation)'),
  unshare: libc.func('int unshare(int flags)'),
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  send: libc.func('int64_t send(int fd, const void *data, size_t length, int flags)'),
  recv: libc.func('int64_t recv(int fd, _Out_ uint8_t *data, size_t length, int flags)'),
  close: libc.func('int close(int fd)'),
  syscall: libc.func('long syscall(long number, ...)'),
  closeRange: libc.func('int close_range(unsigned int first, unsigned int last, int flags)'),
  poll: libc.func('int poll(_Inout_ uint8_t *entries, unsigned long count, int timeoutMs)'),
  ioctl: libc.func('int ioctl(int fd, unsigned long request)'),
  affinity: libc.func('int sched_setaffinity(int pid, size_t bytes, const uint64_t *mask)'),
};

export class SystemError extends Error {
  readonly code: string;

  constructor(call: string) {
    const errno = koffi.errno();
    const code = errnoNames.get(errno) ?? `errno ${errno}`;
    super(`${call}: ${code}`);
    this.name = 'SystemError';
    this.code = code;
  }
}

/** A result that is no failure. Throws SystemError. */
export function checked(call: string, result: number | bigint): number {
  if (result < 0) throw new SystemError(call);
  return Number(result);
}

const cloexec = 0o2000000;

/** A pipe, close-on-exec. Both ends belong to the caller. */
export function pipe(): { readonly read: number; readonly write: number } {
  const fds: [number, number] = [-1, -1];
  checked('pipe2', native.pipe2(fds, cloexec));
  return { read: fds[0], write: fds[1] };
}

/** Takes the exclusive lock of an open file without waiting; false when another open file holds it (flock(2)). */
export function tryLock(fd: number): boolean {
  const lockExclusive = 2;
  const lockNonBlocking = 4;
  if (native.flock(fd, lockExclusive | lockNonBlocking) === 0) return true;
  const error = new SystemError('flock');
  if (error.code === 'EAGAIN') return false;
  throw error;
}

export const namespaceFlags = { net: 0x40000000, mount: 0x00020000 } as const;

/** Moves the calling thread, and the children it starts from now on, into new namespaces (unshare(2)). */
export function unshare(flags: number): void {
  checked('unshare', native.unshare(flags));
}

/** The user namespace that owns a namespace, as a file descriptor of the caller's (ioctl_ns(2)). */
export function openOwner(namespaceFd: number): number {
  const getUserNamespace = 0xb701; // NS_GET_USERNS
  return checked('ioctl', native.ioctl(namespaceFd, getUserNamespace));
}

/** A file descriptor that means this very process, whatever becomes of its number (pidfd_open(2)). */
export function openProcess(pid: number): number {
  const pidfdOpen = 434; // the same on every architecture
  return checked('pidfd_open', native.syscall(pidfdOpen, 'int', pid, 'unsigned int', 0));
}

const signalNumbers = { SIGKILL: 9, SIGTERM: 15 } as const;

/** A signal to the process that a descriptor of `openProcess` means; nothing when it is gone already. */
export function signalProcess(processFd: number, signal: keyof typeof signalNumbers): void {
  const pidfdSendSignal = 424;
  const result = native.syscall(
    pidfdSendSignal,
    'int',
    processFd,
    'int',
    signalNumbers[signal],
    'void *',
    null,
    'unsigned int',
    0,
  );
  if (result < 0) {
    const error = new SystemError('pidfd_send_signal');
    if (error.code !== 'ESRCH') throw error;
  }
}

/** Whether the process that a descriptor of `openProcess` means has ended, waited for or not (pidfd_open(2), "poll"). */
export function hasEnded(processFd: number): boolean {
  const pollIn = 1;
  const entry = new Uint8Array(8); // struct pollfd
  const view = new DataView(entry.buffer);
  view.setInt32(0, processFd, true);
  view.setInt16(4, pollIn, true);
  for (;;) {
    const ready = native.poll(entry, 1, 0);
    if (ready >= 0) return ready > 0;
    const error = new SystemError('poll');
    // A signal that waits to be handled ends it, though it never waits itself.
    if (error.code !== 'EINTR') throw error;
  }
}

/** Keeps every file descriptor but 0, 1 and 2, whoever opened it, from the programs this process starts (close_range(2)). */
export function keepDescriptorsFromChildren(): void {
  const closeRangeCloexec = 4;
  checked('close_range', native.closeRange(3, 0xffffffff, closeRangeCloexec));
}

/** Lets another process, and what it starts later, run on these processors only (sched_setaffinity(2)). */
export function setAffinity(pid: number, processors: readonly number[]): void {
  const mask = new BigUint64Array(16);
  for (const processor of processors) mask[processor >> 6]! |= 1n << BigInt(processor & 63);
  checked('sched_setaffinity', native.affinity(pid, mask.byteLength, mask));
}

/** Sends route netlink messages and waits for the kernel to acknowledge each (rtnetlink(7)), in the calling thread's network namespace. */
export function routeNetlink(messages: readonly Buffer[]): void {
  const [afNetlink, sockRaw, netlinkRoute] = [16, 3, 0];
  const fd = checked('socket', native.socket(afNetlink, sockRaw | cloexec, netlinkRoute));
  try {
    const reply = Buffer.alloc(8192);
    for (const message of messages) {
      checked('send', native.send(fd, message, message.length, 0));
      checked('recv', native.recv(fd, reply, reply.length, 0));
      const errno = -reply.readInt32LE(16);
      if (errno !== 0) throw new Error(`netlink: ${errnoNames.get(errno) ?? errno}`);
    }
  } finally {
    native.close(fd);
  }
}
