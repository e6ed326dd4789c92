import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Environment } from './environment.ts';

/** What the program that opens a browser may see of the caller's environment. */
const passedOn =
  /^(?:PATH|HOME|USER|LOGNAME|LANG|DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|DBUS_SESSION_BUS_ADDRESS|BROWSER|XDG_\w+|TMPDIR|TEMP|TMP|USERPROFILE|APPDATA|LOCALAPPDATA|SYSTEMROOT|PATHEXT)$/i;

/** Whether a browser of this machine would be in front of the person; over SSH it would not. */
export function hasDisplay({ variables, platform }: Pick<Environment, 'variables' | 'platform'>): boolean {
  const present = (name: string) => (variables[name] ?? '') !== '';
  if (present('SSH_CONNECTION') || present('SSH_TTY')) return false;
  if (platform === 'darwin' || platform === 'win32') return true;
  return present('DISPLAY') || present('WAYLAND_DISPLAY');
}

/** Shows a page in the person's browser; false where no program for that could be started. */
export async function openBrowser(
  { variables, platform }: Pick<Environment, 'variables' | 'platform'>,
  url: string,
): Promise<boolean> {
  const [program, ...words] =
    platform === 'darwin'
      ? ['open', url]
      : platform === 'win32'
        ? ['rundll32', 'url.dll,FileProtocolHandler', url]
        : ['xdg-open', url];
  const env = Object.fromEntries(Object.entries(variables).filter(([name]) => passedOn.test(name)));
  const child = spawn(program!, words, { env, stdio: 'ignore', shell: false, detached: true });
  child.unref();
  try {
    await once(child, 'spawn');
    return true;
  } catch {
    return false;
  }
}
