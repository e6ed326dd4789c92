import { sshLimits } from './limits.ts';

/** What SSH's requests mean as programs of the sandbox. `$SHELL` there is the sandbox's own. */

// biome-ignore lint/suspicious/noTemplateCurlyInString: the shell that reads it puts its variable there
const shell = '"${SHELL:-/bin/sh}"';

/** A login shell, as `sshd` starts one. */
export const loginShell: readonly string[] = ['/bin/sh', '-c', `exec ${shell} -l`];

/** Where the systems of the field keep it. Nobody can answer SFTP's questions where it is missing, so that is told. */
export const sftpServerPaths: readonly string[] = [
  '/usr/lib/openssh/sftp-server',
  '/usr/libexec/openssh/sftp-server',
  '/usr/lib/ssh/sftp-server',
  '/usr/libexec/sftp-server',
];

const noSftpServer =
  'sealwright: this sandbox has no sftp-server, which sftp and scp ask for; use scp -O or rsync, or install ' +
  'openssh-sftp-server where the sandbox gets its programs from';

export const sftpServer: readonly string[] = [
  '/bin/sh',
  '-c',
  `for program in "$@"; do [ -x "$program" ] && exec "$program"; done; echo '${noSftpServer}' >&2; exit 127`,
  'sftp',
  ...sftpServerPaths,
];

/**
 * A command line of SSH, which a shell reads; null where it cannot be passed on. ssh2 takes packets of 35,000 bytes at most;
 * it has decoded the line as UTF-8 and put U+FFFD for what is none: such a line names other files than its author's, so it
 * is not run.
 */
export function commandLine(text: string): readonly string[] | null {
  if (text.includes('\0') || text.includes('\ufffd')) return null;
  return ['/bin/sh', '-c', `exec ${shell} -c "$1"`, 'ssh', text];
}

/** The variables that a client asks for, as far as they are some and few; of one name the last counts. */
export class SshEnvironment {
  readonly #variables = new Map<string, string>();
  #bytes = 0;

  /** Whether it is taken. */
  add(name: string, value: string): boolean {
    const bytes = Buffer.byteLength(name) + Buffer.byteLength(value);
    const hasRoom =
      this.#variables.size < sshLimits.environmentMax && this.#bytes + bytes <= sshLimits.environmentBytesMax;
    if (!hasRoom || !/^[A-Za-z_]\w{0,254}$/.test(name) || /[\0\ufffd]/.test(value)) return false;
    this.#bytes += bytes;
    this.#variables.set(name, value);
    return true;
  }

  get variables(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#variables);
  }
}
