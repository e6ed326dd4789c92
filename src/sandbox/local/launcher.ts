/** The user every workload is inside its sandbox. */
export const sandboxUid = 10001;

/** Where a long command lies in the sandbox. */
export const commandFile = '/sealwright/command';

/**
 * The first program inside a sandbox: the host's own dash, which lowers its resource limits for good, confirms
 * from inside that the walls stand, tells the runner so over file descriptor 7, and becomes the command. It uses
 * builtins only, so it starts nothing. Nothing of the caller is in its environment while it checks: variables
 * arrive with a prefix and are given their names just before the command starts, so that a caller's
 * LD_PRELOAD or IFS cannot answer in its place.
 *
 * Its positional parameters: processes, files of 512 bytes and open files at most, the folder to start in, then
 * the command. Processes are counted in the sandbox's own user namespace (since Linux 5.14).
 */
export const launcherScript = `
wall() { printf 'wall %s\\n' "$1" >&7; exit 125; }
ulimit -c 0 && ulimit -l 64 && ulimit -p "$1" && ulimit -f "$2" && ulimit -n "$3" || wall 'resource limits'
shift 3
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
[ "$$" -le 8 ] || wall 'PID namespace'
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
[ ! -e ${commandFile} ] || . ${commandFile}
for name in $SEALWRIGHT_ENV; do
  eval "export $name=\\"\\$SEALWRIGHT_ENV_$name\\"; unset SEALWRIGHT_ENV_$name"
done
unset SEALWRIGHT_ENV OLDPWD name key value rest folder fd checks lo
export PWD
printf 'ok\\n' >&7
exec 7>&- "$@"
`;

/**
 * A long command as a file that the launcher sources, because bubblewrap takes 9,000 words at most. Each word is
 * between single quotes, where the shell leaves every byte but the quote itself alone (POSIX shell, 2.2.2).
 */
export function commandFileText(command: readonly string[]): string {
  return `set -- ${command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')}\n`;
}

/** How a variable is called until the launcher gives it its name. */
export function launcherVariable(name: string): string {
  return `SEALWRIGHT_ENV_${name}`;
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
