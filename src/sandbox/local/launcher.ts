import assert from 'node:assert/strict';

/** The user every workload is inside its sandbox. */
export const sandboxUid = 10001;

/** Where the launcher finds what to start, in the sandbox. */
export const startFile = '/sealwright/start';

/**
 * The first program of a command inside a sandbox: the host's own dash, which lowers its resource limits for good,
 * confirms from inside that the walls stand, tells the runner so over file descriptor 7, a socket, and becomes the command.
 * Where the start says so it waits there for a line first: the terminal that the command gets, or nothing. It uses
 * builtins only, so it starts nothing. Nothing of the caller is in its environment while it checks: the variables
 * are set just before the command starts, so that a caller's LD_PRELOAD or IFS cannot answer in its place.
 */
const confirmedStart = `
wall() { printf 'wall %s\\n' "$1" >&7; exit 125; }
ulimit -c 0 && ulimit -l 64 && ulimit -p "$1" && ulimit -f "$2" && ulimit -n "$3" || wall 'resource limits'
answer=$4
shift 4
checks=0
while read -r key value rest; do
  case $key in
    Uid:) [ "$value" = ${sandboxUid} ] || wall 'user id'; checks=$((checks + 1)) ;;
    NoNewPrivs:) [ "$value" = 1 ] || wall no_new_privs; checks=$((checks + 1)) ;;
    Seccomp:) [ "$value" = 2 ] || wall seccomp; checks=$((checks + 1)) ;;
    CapPrm:|CapEff:|CapBnd:|CapAmb:) [ "$value" = 0000000000000000 ] || wall capabilities; checks=$((checks + 1)) ;;
  esac
done < /proc/self/status
[ "$checks" = 7 ] || wall status
read -r self rest < /proc/self/stat
[ "$self" = "$$" ] && [ ! -e /proc/1/stat ] || wall 'PID namespace'
for fd in /proc/self/fd/*; do
  case \${fd##*/} in 0|1|2|7) ;; *) [ ! -e "$fd" ] || wall "file descriptor \${fd##*/}" ;; esac
done
lo=0
while read -r name rest; do
  case $name in
    lo:*) lo=1 ;;
    Inter-*|face*|tunl0:*|gre0:*|gretap0:*|erspan0:*|ip_vti0:*|ip6_vti0:*|sit0:*|ip6tnl0:*|ip6gre0:*) ;;
    *) wall 'network namespace' ;;
  esac
done < /proc/self/net/dev
[ "$lo" = 1 ] || wall 'network namespace'
for folder in /root /sys /var/lib /var/run/docker.sock /etc/shadow; do
  [ ! -e "$folder" ] || wall "mount namespace ($folder)"
done
if command : 2>/dev/null > /usr/.sealwright; then wall 'read-only system'; fi
if command : 2>/dev/null > /.sealwright; then wall 'read-only root'; fi
cd -- "$1" 2>/dev/null || { printf 'cwd\\n' >&7; exit 125; }
shift
printf 'ok\\n' >&7
device=
[ "$answer" = no ] || read -r device <&7 || exit 125
if [ -n "$device" ]; then set -- "$device" /usr/bin/setsid -c -- "$@"; else set -- '' "$@"; fi
exec 7>&-
unset OLDPWD key value rest name folder fd checks lo self answer device
export PWD
environment
[ -z "$1" ] || exec <>"$1" >&0 2>&1
shift
exec "$@"
`;

export const launcherScript = `. ${startFile}\n${confirmedStart}`;

/**
 * The same for a command beside the sandbox's own, for a start file that holds the launcher too: what is on a command line
 * of bubblewrap's is seen in there for as long as the command lives.
 */
export const execLauncherScript = `. ${startFile}; launch "$@"`;
export const execStartFileText = (start: Start): string =>
  `${startFileText(start)}launch() {\n${confirmedStart}\n}\n`;

export type Start = {
  readonly pids: number;
  readonly fileBytes: number;
  readonly openFiles: number;
  /** Whether the launcher waits for a line of the runner's before it becomes the command. */
  readonly waits: boolean;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly command: readonly string[];
};

/**
 * What to start, as the file that the launcher sources: a file and not words on a command line, because every
 * user of the host can read those and bubblewrap takes 9,000 of them at most. Each word is between single
 * quotes, where the shell leaves every byte but the quote itself alone (POSIX shell, 2.2.2). Processes are
 * counted in the sandbox's own user namespace (since Linux 5.14).
 */
export function startFileText({ pids, fileBytes, openFiles, waits, cwd, env, command }: Start): string {
  const assignments = Object.entries(env).map(([name, value]) => {
    assert(/^[A-Za-z_][A-Za-z0-9_]*$/.test(name), 'the contract lets through names that a shell can export');
    // dash takes only a number there, and every shell sets it anew when it starts.
    if (name === 'OPTIND') return '';
    return `export ${name}=${quoted(value)}`;
  });
  const answer = waits ? 'yes' : 'no';
  const words = [pids, Math.ceil(fileBytes / 512), openFiles, answer, cwd, ...command].map((word) =>
    quoted(String(word)),
  );
  return `environment() { :\n${assignments.join('\n')}\n}\nset -- ${words.join(' ')}\n`;
}

function quoted(word: string): string {
  assert(!word.includes('\0'), 'the contract lets through words without NUL');
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** What the launcher says over its file descriptor. */
export type LauncherWord =
  | { readonly word: 'ok' }
  | { readonly word: 'cwd' }
  | { readonly word: 'wall'; readonly wall: string };

export function parseLauncherWord(text: string): LauncherWord | null {
  const line = text.split('\n', 1)[0] ?? '';
  if (line === 'ok') return { word: 'ok' };
  if (line === 'cwd') return { word: 'cwd' };
  return line.startsWith('wall ') ? { word: 'wall', wall: line.slice(5, 105) } : null;
}
