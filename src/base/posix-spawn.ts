import assert from 'node:assert/strict';
import koffi from 'koffi';

/**
 * Starts programs with posix_spawn(3), which borrows this process's memory until the program is there instead of
 * copying its page tables: a fork of a 100 MB process costs 7 ms on some machines, this under one.
 */

const libc = koffi.load('libc.so.6');
const native = {
  actionsInit: libc.func('int posix_spawn_file_actions_init(void *actions)'),
  actionsDup2: libc.func('int posix_spawn_file_actions_adddup2(void *actions, int fd, int target)'),
  actionsOpen: libc.func(
    'int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int flags, int mode)',
  ),
  actionsChdir: libc.func('int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)'),
  actionsDestroy: libc.func('int posix_spawn_file_actions_destroy(void *actions)'),
  attributesInit: libc.func('int posix_spawnattr_init(void *attributes)'),
  attributesFlags: libc.func('int posix_spawnattr_setflags(void *attributes, short flags)'),
  attributesDefaults: libc.func('int posix_spawnattr_setsigdefault(void *attributes, const void *signals)'),
  attributesMask: libc.func('int posix_spawnattr_setsigmask(void *attributes, const void *signals)'),
  attributesDestroy: libc.func('int posix_spawnattr_destroy(void *attributes)'),
  spawn: libc.func(
    'int posix_spawn(_Out_ int *pid, const char *path, const void *actions, const void *attributes, const char **argv, const char **envp)',
  ),
  waitpid: libc.func('int waitpid(int pid, _Out_ int *status, int options)'),
};

/** Room for the opaque structures of any C library that is met: glibc's have 80, 336 and 128 bytes. */
const opaqueBytes = 512;
const flags = { setSignalMask: 0x08, setSignalDefaults: 0x04 } as const;
const errnoNames = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));

export type SpawnOptions = {
  /** Absolute; no PATH is searched. */
  readonly program: string;
  /** With the program's own name first. */
  readonly words: readonly string[];
  /** What the program gets at which number. Numbers that are not named are closed for it if close-on-exec. */
  readonly descriptors: ReadonlyMap<number, number>;
};

/** Starts a program with an empty environment, in `/`, standard input from /dev/null where it is not given. Throws when it cannot be executed. */
export function posixSpawn({ program, words, descriptors }: SpawnOptions): number {
  const [actions, attributes] = [Buffer.alloc(opaqueBytes), Buffer.alloc(opaqueBytes)];
  const highest = Math.max(...descriptors.keys());
  native.actionsInit(actions);
  native.attributesInit(attributes);
  try {
    checked('addopen', native.actionsOpen(actions, 0, '/dev/null', 0, 0));
    for (const [target, fd] of descriptors) {
      assert(fd > highest, 'a descriptor that is passed on is not overwritten by another before its turn');
      checked('adddup2', native.actionsDup2(actions, fd, target));
    }
    checked('addchdir', native.actionsChdir(actions, '/'));
    checked('setflags', native.attributesFlags(attributes, flags.setSignalMask | flags.setSignalDefaults));
    checked('setsigdefault', native.attributesDefaults(attributes, everySignal()));
    checked('setsigmask', native.attributesMask(attributes, Buffer.alloc(opaqueBytes)));
    const pid: [number] = [0];
    checked(program, native.spawn(pid, program, actions, attributes, [...words, null], [null]));
    return pid[0];
  } finally {
    native.actionsDestroy(actions);
    native.attributesDestroy(attributes);
  }
}

/** How a child ended: the exit code, or null after a death by signal. Null itself while it lives. Call until it says. */
export function reap(pid: number): { readonly code: number | null } | null {
  const noHang = 1;
  const status: [number] = [0];
  const result = native.waitpid(pid, status, noHang);
  if (result === 0) return null;
  if (result < 0) return { code: null };
  return { code: (status[0] & 0x7f) === 0 ? (status[0] >> 8) & 0xff : null };
}

/** Node ignores SIGPIPE, which programs would inherit. SIGKILL and SIGSTOP cannot be set. */
function everySignal(): Buffer {
  const set = Buffer.alloc(opaqueBytes);
  for (let signal = 1; signal <= 31; signal += 1) {
    if (signal !== 9 && signal !== 19) set[(signal - 1) >> 3]! |= 1 << ((signal - 1) & 7);
  }
  return set;
}

function checked(what: string, errno: number): void {
  if (errno === 0) return;
  const code = errnoNames.get(errno) ?? `errno ${errno}`;
  throw Object.assign(new Error(`${what}: ${code}`), { code });
}
