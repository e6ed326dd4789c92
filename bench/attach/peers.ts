import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { Ear, end, type Line, type MaybePeer, type Peer } from './line.ts';
import { ownTerminal } from './own-terminal.ts';

/** What else brings a terminal to somebody far away, each as its users have it, on the loopback interface. */

const startMs = 20_000;

/** sshd with a configuration and keys of its own, and OpenSSH's client. Root may enter by key alone. */
export function sshd(): MaybePeer {
  const name = 'sshd';
  const programs = ['sshd', 'ssh', 'ssh-keygen'].map(whereIs);
  const [server, client, keygen] = programs;
  if (server === null || client === null || keygen === null)
    return { name, missing: 'needs the Debian packages openssh-server and openssh-client' };
  return {
    name,
    open: async (command) => {
      const folder = mkdtempSync(join(tmpdir(), 'sealwright-bench-sshd-'));
      for (const key of ['host', 'user'])
        execFileSync(keygen!, ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, key)]);
      const port = await freePort();
      writeFileSync(join(folder, 'authorized'), readFileSync(join(folder, 'user.pub')));
      writeFileSync(join(folder, 'config'), sshdConfiguration(folder, port));
      // Where sshd looks for a chroot of nothing (sshd(8)); Debian's service makes it.
      mkdirSync('/run/sshd', { recursive: true });
      const daemon = spawn(server!, ['-D', '-f', join(folder, 'config')], { stdio: 'ignore' });
      await untilListening(daemon, port);
      const words = ['-tt', '-q', '-F', 'none', '-e', 'none', '-i', join(folder, 'user'), '-p', String(port)];
      const options = ['IdentitiesOnly=yes', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null'];
      const child = spawn(
        client!,
        [
          ...words,
          ...options.flatMap((option) => ['-o', option]),
          `${userInfo().username}@127.0.0.1`,
          command.map(quoted).join(' '),
        ],
        { stdio: ['pipe', 'pipe', 'inherit'] },
      );
      return {
        ...piped(name, child),
        pids: { sshd: daemon.pid!, ssh: child.pid! },
        close: async () => {
          await end(child);
          await end(daemon);
          rmSync(folder, { recursive: true });
        },
      };
    },
  };
}

function sshdConfiguration(folder: string, port: number): string {
  return [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${join(folder, 'host')}`,
    `AuthorizedKeysFile ${join(folder, 'authorized')}`,
    'PidFile none',
    'UsePAM no',
    'StrictModes no',
    'PasswordAuthentication no',
    'PermitRootLogin prohibit-password',
    'PrintMotd no',
    '',
  ].join('\n');
}

/** ttyd with nobody asked who he is and nothing recorded, and a WebSocket of ours at its other end. */
export function ttyd(): MaybePeer {
  const name = 'ttyd';
  const program = whereIs('ttyd');
  if (program === null)
    return { name, missing: 'needs ttyd, which Debian has in unstable only (November 2026)' };
  return {
    name,
    open: async (command) => {
      const port = await freePort();
      const words = ['-W', '-i', '127.0.0.1', '-p', String(port), '-d', '3'];
      const child = spawn(program, [...words, ...command], { stdio: ['ignore', 'ignore', 'ignore'] });
      await untilListening(child, port);
      const socket = await openTtyd(port);
      const ear = new Ear();
      socket.on('message', (data: Buffer) => {
        if (data[0] === output) ear.hear(data.subarray(1));
      });
      return {
        name,
        pids: { ttyd: child.pid! },
        type: (bytes) => socket.send(Buffer.concat([input, bytes])),
        listen: ear.listen,
        close: async () => {
          socket.terminate();
          await end(child);
        },
      };
    },
  };
}

/** The first byte of a message says what it is (ttyd, src/server.h). */
const input = Buffer.from('0');
const output = '0'.charCodeAt(0);

export async function openTtyd(port: number): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`, ['tty'], { perMessageDeflate: false });
  await once(socket, 'open');
  socket.send(Buffer.from(JSON.stringify({ AuthToken: '', columns: 80, rows: 24 })));
  return socket;
}

/** No terminal at all: what the WebSocket itself takes, between two processes of Node. */
export const bareWebSocket: Peer = {
  name: 'bare WebSocket',
  open: () => overWebSocket('bare WebSocket', nodeChild('ws-echo.ts')),
};

/** A terminal behind a WebSocket in Node, and nothing else. */
export const bareTerminal = {
  name: 'bare Node terminal',
  open: (command: readonly string[]) =>
    overWebSocket('bare Node terminal', nodeChild('bare-terminal.ts', ...command)),
};

async function overWebSocket(name: string, child: ChildProcess): Promise<Line & { readonly port: number }> {
  const { port } = await firstLine(child);
  const ear = new Ear();
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
  socket.on('message', (data: Buffer) => ear.hear(data));
  await once(socket, 'open');
  return {
    name,
    port: port!,
    pids: { node: child.pid! },
    type: (bytes) => socket.send(bytes),
    listen: ear.listen,
    close: async () => {
      socket.terminate();
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** A terminal of this process: no network, no second process. */
export const rawTerminal: Peer = {
  name: 'raw PTY',
  open: async (command) => {
    const { child, output, type } = ownTerminal(command);
    const ear = new Ear();
    output.on('data', (bytes) => ear.hear(bytes));
    return {
      name: 'raw PTY',
      pids: {},
      type,
      listen: ear.listen,
      close: async () => {
        await end(child);
        output.destroy();
      },
    };
  },
};

/** A child of which standard input and output are the terminal. */
export function piped(name: string, child: ChildProcess): Omit<Line, 'pids' | 'close'> {
  const ear = new Ear();
  child.stdin!.on('error', () => undefined);
  child.stdout!.on('data', (bytes: Buffer) => ear.hear(bytes));
  return { name, type: (bytes) => void child.stdin!.write(bytes), listen: ear.listen };
}

export function nodeChild(script: string, ...words: readonly string[]): ChildProcess {
  return spawn(process.execPath, [join(import.meta.dirname, script), ...words], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
}

/** What a program of ours says when it is ready. */
export async function firstLine(child: ChildProcess): Promise<Record<string, number>> {
  for await (const line of createInterface({ input: child.stdout! })) return JSON.parse(line);
  throw new Error('a peer ended before it was ready');
}

function whereIs(program: string): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/bin'];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path)) ?? null;
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function untilListening(child: ChildProcess, port: number): Promise<void> {
  for (const end = performance.now() + startMs; performance.now() < end && child.exitCode === null; ) {
    const answered = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (answered) return;
    await pause(20);
  }
  throw new Error(`a peer does not listen at ${port}`);
}
