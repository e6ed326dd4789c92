import koffi from 'koffi';
import { checked, SystemError } from './libc.ts';

/**
 * Sockets by number, made in the calling thread's network namespace and handed on: to another process, or to
 * Node's `listen({ fd })`. All are close-on-exec and belong to the caller.
 */

const libc = koffi.load('libc.so.6');

koffi.struct('iovec', { base: 'void *', length: 'size_t' });
koffi.struct('msghdr', {
  name: 'void *',
  nameLength: 'uint32_t',
  parts: 'iovec *',
  partCount: 'size_t',
  control: 'void *',
  controlLength: 'size_t',
  flags: 'int',
});

const native = {
  setns: libc.func('int setns(int fd, int type)'),
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  socketpair: libc.func('int socketpair(int domain, int type, int protocol, _Out_ int *fds)'),
  setsockopt: libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)'),
  bind: libc.func('int bind(int fd, const void *address, uint32_t length)'),
  listen: libc.func('int listen(int fd, int backlog)'),
  connect: libc.func('int connect(int fd, const void *address, uint32_t length)'),
  getsockopt: libc.func(
    'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint8_t *length)',
  ),
  poll: libc.func('int poll(_Inout_ uint8_t *entries, unsigned long count, int timeoutMs)'),
  close: libc.func('int close(int fd)'),
  sendmsg: libc.func('int64_t sendmsg(int fd, const msghdr *message, int flags)'),
  recvmsg: libc.func('int64_t recvmsg(int fd, _Inout_ msghdr *message, int flags)'),
};

const cloexec = 0o2000000;
const families = { unix: 1, inet: 2, inet6: 10 } as const;
const types = { stream: 1, datagram: 2, packets: 5 } as const;
const solSocket = 1;
const ipv6 = 41;
const options = { reuseAddress: 2, error: 4, reusePort: 15, onlyIpv6: 26 } as const;
const nonblock = 0o4000;
/** The address all zero, which is every address. */
const everywhere = Buffer.alloc(16);

/** Moves the calling thread into the network namespace of a file descriptor (setns(2)). */
export function enterNetwork(namespaceFd: number): void {
  const cloneNewnet = 0x40000000;
  checked('setns', native.setns(namespaceFd, cloneNewnet));
}

/**
 * A TCP socket that listens at `port` on every address of both families. One that is `shared` can be had beside
 * `listenAt` of the same port.
 */
export function listenEverywhere(port: number, backlog: number, shared = false): number {
  return boundSocket(types.stream, everywhere, port, (fd) => listening(fd, backlog), shared);
}

/**
 * A TCP socket that listens at `port` on one IPv4 address alone, and there wins over one that listens everywhere. The
 * two can be had in either order where the other one is shared and of the same user (socket(7), SO_REUSEPORT);
 * SO_REUSEADDR does not let a socket be bound beside one that listens.
 */
export function listenAt(ipv4: string, port: number, backlog: number): number {
  const mapped = Buffer.from([...everywhere.subarray(0, 10), 255, 255, ...ipv4.split('.').map(Number)]);
  return boundSocket(types.stream, mapped, port, (fd) => listening(fd, backlog), true);
}

function listening(fd: number, backlog: number): void {
  checked('listen', native.listen(fd, backlog));
}

/**
 * A UDP socket at `port` on every address of both families. Where every address is local, whoever asks one does it
 * from that same address, so an answer leaves from the address that was asked; 127.0.0.0/8 is the exception.
 */
export function bindEverywhere(port: number): number {
  return boundSocket(types.datagram, everywhere, port, () => undefined);
}

function boundSocket(
  type: number,
  at: Buffer,
  port: number,
  then: (fd: number) => void,
  shared = false,
): number {
  const fd = checked('socket', native.socket(families.inet6, type | cloexec, 0));
  try {
    setOption(fd, solSocket, options.reuseAddress, 1);
    if (shared) setOption(fd, solSocket, options.reusePort, 1);
    setOption(fd, ipv6, options.onlyIpv6, 0);
    const address = Buffer.alloc(28); // struct sockaddr_in6
    address.writeUInt16LE(families.inet6, 0);
    address.writeUInt16BE(port, 2);
    at.copy(address, 8);
    checked('bind', native.bind(fd, address, address.length));
    then(fd);
    return fd;
  } catch (error) {
    native.close(fd);
    throw error;
  }
}

function setOption(fd: number, level: number, name: number, value: number): void {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  checked('setsockopt', native.setsockopt(fd, level, name, bytes, bytes.length));
}

export type LoopbackFamily = 'inet' | 'inet6';

/**
 * A TCP socket on its way to a port of the loopback, which never waits: `connectionState` tells when it is there.
 * Throws ECONNREFUSED where it is known at once that nobody listens.
 */
export function connectLoopback(family: LoopbackFamily, port: number): number {
  const fd = checked('socket', native.socket(families[family], types.stream | cloexec | nonblock, 0));
  try {
    const address = Buffer.alloc(family === 'inet' ? 16 : 28); // struct sockaddr_in, sockaddr_in6
    address.writeUInt16LE(families[family], 0);
    address.writeUInt16BE(port, 2);
    if (family === 'inet') address.writeUInt32BE(0x7f000001, 4);
    else address.writeUInt8(1, 23);
    if (native.connect(fd, address, address.length) < 0) {
      const error = new SystemError('connect');
      if (error.code !== 'EINPROGRESS') throw error;
    }
    return fd;
  } catch (error) {
    native.close(fd);
    throw error;
  }
}

/** What has become of a socket of `connectLoopback` by now. */
export function connectionState(fd: number): 'connecting' | 'connected' | 'failed' {
  const pollOut = 4;
  const entry = Buffer.alloc(8); // struct pollfd
  entry.writeInt32LE(fd, 0);
  entry.writeInt16LE(pollOut, 4);
  if (native.poll(entry, 1, 0) <= 0) return 'connecting';
  const [value, length] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32LE(4);
  checked('getsockopt', native.getsockopt(fd, solSocket, options.error, value, length));
  return value.readInt32LE() === 0 ? 'connected' : 'failed';
}

/** Two connected sockets: of bytes, or of packets that keep their boundaries (unix(7)). */
export function socketPair(type: 'stream' | 'packets'): readonly [number, number] {
  const fds: [number, number] = [-1, -1];
  checked('socketpair', native.socketpair(families.unix, types[type] | cloexec, 0, fds));
  return fds;
}

/** Most descriptors that one message carries (unix(7), SCM_MAX_FD). */
export const descriptorsPerMessageMax = 253;
const headerBytes = 16; // struct cmsghdr
const rights = 1; // SCM_RIGHTS

/** Sends descriptors over a packet socket; the caller keeps its own. Throws EAGAIN where the other end reads too slowly. */
export function sendDescriptors(fd: number, descriptors: readonly number[]): void {
  const control = Buffer.alloc(headerBytes + descriptors.length * 4);
  control.writeBigUInt64LE(BigInt(control.length), 0);
  control.writeInt32LE(solSocket, 8);
  control.writeInt32LE(rights, 12);
  for (const [index, one] of descriptors.entries()) control.writeInt32LE(one, headerBytes + index * 4);
  const dontWait = 0x40 | 0x4000; // MSG_DONTWAIT | MSG_NOSIGNAL
  checked('sendmsg', native.sendmsg(fd, message(Buffer.alloc(1), control), dontWait));
}

/** Takes the descriptors of one message that was sent before this call. Throws EAGAIN where there is none. */
export function receiveDescriptors(fd: number): number[] {
  const control = Buffer.alloc(headerBytes + descriptorsPerMessageMax * 4);
  const header = message(Buffer.alloc(1), control);
  const dontWait = 0x40 | 0x40000000; // MSG_DONTWAIT | MSG_CMSG_CLOEXEC
  const length = checked('recvmsg', native.recvmsg(fd, header, dontWait));
  if (length === 0) return [];
  const used = Number(control.readBigUInt64LE(0));
  const isRights = control.readInt32LE(8) === solSocket && control.readInt32LE(12) === rights;
  if (!isRights || used > control.length) return [];
  return Array.from({ length: (used - headerBytes) / 4 }, (_, index) =>
    control.readInt32LE(headerBytes + index * 4),
  );
}

function message(payload: Buffer, control: Buffer) {
  return {
    name: null,
    nameLength: 0,
    parts: [{ base: payload, length: payload.length }],
    partCount: 1,
    control,
    controlLength: control.length,
    flags: 0,
  };
}
