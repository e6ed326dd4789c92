import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { SandboxAccess, SandboxCommand } from './sandbox-access.ts';

/**
 * For tests: commands of this machine in a folder, in place of those of a sandbox. With a terminal they run under script(1).
 * `tell` gets a line for everything that was asked for.
 */
export function localAccess(folder: string, tell: (line: string) => void = () => {}): SandboxAccess {
  return {
    async exec({ command, env, terminal }) {
      tell(`exec ${JSON.stringify({ command, env, terminal })}`);
      if (command.some((word) => word.includes('refuse-me'))) throw new Error('The gate says no.');
      const words = terminal === undefined ? command : underScript(command);
      const child = spawn(words[0]!, words.slice(1), {
        cwd: folder,
        env: { PATH: process.env.PATH, HOME: folder, SHELL: '/bin/bash', ...env },
        detached: true,
      });
      const exit = once(child, 'close').then(([code, signal]) => ({ code, signal }));
      await Promise.race([once(child, 'spawn'), exit]);
      const { stdin, stdout, stderr } = child;
      const close = () => {
        tell('close');
        if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, 'SIGKILL');
      };
      const resize = (size: object) => tell(`resize ${JSON.stringify(size)}`);
      return { stdin, stdout, stderr, exit, resize, close } as SandboxCommand;
    },
    async connect(port) {
      tell(`connect ${port}`);
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      await once(socket, 'connect');
      return socket;
    },
  };
}

function underScript(command: readonly string[]): string[] {
  const quoted = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  return ['script', '--quiet', '--return', '--echo', 'never', '--command', quoted, '/dev/null'];
}
