import { closeSync, constants, openSync } from 'node:fs';
import koffi from 'koffi';
import { checked } from './libc.ts';

/** Pseudo-terminals by number (pty(7), ioctl_tty(2)). The numbers of the calls are the same on x64 and arm64. */

const libc = koffi.load('libc.so.6');
const ioctl = libc.func('int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)');

const requests = {
  getModes: 0x5401, // TCGETS
  setSize: 0x5414, // TIOCSWINSZ
  number: 0x80045430, // TIOCGPTN
  lock: 0x40045431, // TIOCSPTLCK
} as const;

function control(fd: number, request: keyof typeof requests, argument: Buffer): Buffer {
  checked(`ioctl (${request})`, ioctl(fd, requests[request], argument));
  return argument;
}

/**
 * A new pseudo-terminal of the file system whose `ptmx` this is, unlocked: its controlling side, which belongs to the
 * caller, is close-on-exec, never waits, and does not become anybody's controlling terminal.
 */
export function openTerminal(ptmx: string): number {
  const { O_RDWR, O_NOCTTY, O_NONBLOCK } = constants;
  const fd = openSync(ptmx, O_RDWR | O_NOCTTY | O_NONBLOCK);
  try {
    control(fd, 'lock', Buffer.alloc(4));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** How the other side is called in its file system. */
export function terminalNumber(fd: number): number {
  return control(fd, 'number', Buffer.alloc(4)).readUInt32LE(0);
}

/** Its programs get SIGWINCH where that is a change. */
export function setTerminalSize(fd: number, { columns, rows }: { columns: number; rows: number }): void {
  const size = Buffer.alloc(8); // struct winsize
  size.writeUInt16LE(rows, 0);
  size.writeUInt16LE(columns, 2);
  control(fd, 'setSize', size);
}

/**
 * Whether what is typed is not shown although it is read by the line, which is how passwords are asked for. A program
 * that reads by the key draws by itself what is to be seen.
 */
export function hidesInput(fd: number): boolean {
  const [lines, echo] = [0o2, 0o10]; // ICANON, ECHO
  const modes = control(fd, 'getModes', Buffer.alloc(64)).readUInt32LE(12); // struct termios, c_lflag
  return (modes & lines) !== 0 && (modes & echo) === 0;
}
