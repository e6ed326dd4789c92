import type { Readable, Writable } from 'node:stream';
import type { PseudoTtyInfo, ServerChannel, Session, WindowChangeInfo } from 'ssh2';
import { defaultTerminalSize, type TerminalSize, terminalBounds } from '../../model/terminal.ts';
import { exitStatus } from '../failure.ts';
import { channelWriter } from './channel-writer.ts';
import { wordsOf } from './refusal-text.ts';
import { commandLine, loginShell, SshEnvironment, sftpServer } from './remote-command.ts';
import type { SandboxAccess, SandboxCommand } from './sandbox-access.ts';

type Terminal = { readonly name: string; size: TerminalSize };

/**
 * One session channel: at most one command in the sandbox. Forwarding of agents and X11 has no listener here, and ssh2
 * refuses what nobody listens for. `gone` aborts when the connection or the channel has ended; the command ends with it.
 */
export function serveSession(session: Session, access: SandboxAccess, connectionGone: AbortSignal): void {
  const closed = new AbortController();
  const gone = AbortSignal.any([connectionGone, closed.signal]);
  const environment = new SshEnvironment();
  let terminal: Terminal | null = null;
  let command: SandboxCommand | null = null;
  session.on('close', () => closed.abort());
  session.on('env', (accept, reject, { key, val }) => (environment.add(key, val) ? accept : reject)?.());
  session.on('pty', (accept, _reject, info) => {
    terminal = terminalOf(info);
    accept?.();
  });
  session.on('window-change', (accept, _reject, info) => {
    if (terminal !== null) {
      terminal.size = sizeOf(info);
      command?.resize(terminal.size);
    }
    accept?.();
  });
  session.on('signal', (accept, _reject, { name }) => {
    const key = controlKeys[name.replace(/^SIG/, '')];
    if (command !== null && terminal !== null && key !== undefined) command.stdin.write(key);
    else if (terminal === null && endingSignals.has(name.replace(/^SIG/, ''))) command?.close();
    accept?.();
  });
  const start = (channel: ServerChannel, words: readonly string[]) => {
    const env = { ...environment.variables, ...(terminal === null ? {} : { TERM: terminal.name }) };
    const began = terminal?.size ?? null;
    const request = { command: [...words], env, ...(began === null ? {} : { terminal: began }) };
    const started = (made: SandboxCommand) => {
      command = made;
      if (terminal !== null && terminal.size !== began) made.resize(terminal.size);
    };
    void runCommand(channel, async () => access.exec(request), {
      gone,
      started,
      hasTerminal: began !== null,
    });
  };
  session.on('shell', (accept) => start(accept(), loginShell));
  session.on('exec', (accept, reject, info) => {
    const words = commandLine(info.command);
    if (words === null) reject?.();
    else start(accept(), words);
  });
  session.on('subsystem', (accept, reject, { name }) => {
    if (name === 'sftp') start(accept(), sftpServer);
    else reject?.();
  });
}

/** What a terminal turns into signals. Without one, a signal can only end the command: pipes carry none. */
const controlKeys: Readonly<Record<string, string>> = { INT: '\x03', QUIT: '\x1c', TSTP: '\x1a' };
const endingSignals: ReadonlySet<string> = new Set(['HUP', 'INT', 'KILL', 'QUIT', 'TERM', 'PIPE']);

type Running = {
  readonly gone: AbortSignal;
  readonly hasTerminal: boolean;
  started(command: SandboxCommand): void;
};

/**
 * Carries a command until it or the channel ends. The channel is there before the command: its client sends at once, and
 * ssh2 drops what comes for a session without a channel.
 */
async function runCommand(
  channel: ServerChannel,
  exec: () => Promise<SandboxCommand>,
  running: Running,
): Promise<void> {
  const { gone, hasTerminal } = running;
  const write = channelWriter(channel, gone);
  channel.on('error', () => {});
  try {
    const { code, signal } = await carry(channel, await exec(), running, write);
    if (gone.aborted) return;
    if (code === null && signal !== null) channel.exit(signal.replace(/^SIG/, ''), false, '');
    else channel.exit(code ?? exitStatus.ownFailure);
  } catch (error) {
    await write(channel.stderr, Buffer.from(`sealwright: ${wordsOf(error)}${hasTerminal ? '\r\n' : '\n'}`));
    if (gone.aborted) return;
    channel.exit(exitStatus.ownFailure);
  }
  channel.end();
}

async function carry(
  channel: ServerChannel,
  command: SandboxCommand,
  { gone, hasTerminal, started }: Running,
  write: ReturnType<typeof channelWriter>,
): Promise<Awaited<SandboxCommand['exit']>> {
  const hangUp = () => command.close();
  if (gone.aborted) hangUp();
  gone.addEventListener('abort', hangUp);
  started(command);
  feed(channel, command.stdin, { ends: !hasTerminal });
  try {
    const [end] = await Promise.all([
      command.exit,
      pump(command.stdout, channel, write),
      pump(command.stderr, channel.stderr, write),
    ]);
    return end;
  } finally {
    gone.removeEventListener('abort', hangUp);
  }
}

async function pump(from: Readable, to: Writable, write: ReturnType<typeof channelWriter>): Promise<void> {
  for await (const bytes of from as AsyncIterable<Buffer>) await write(to, bytes);
}

/** What the client types, as fast as the command reads. A command that reads no more must not hold the channel up. */
function feed(channel: ServerChannel, stdin: Writable, { ends }: { readonly ends: boolean }): void {
  stdin.on('error', () => {});
  stdin.once('close', () => {
    channel.unpipe(stdin);
    channel.resume();
  });
  channel.pipe(stdin, { end: ends });
}

function terminalOf(info: PseudoTtyInfo): Terminal {
  return { name: /^[\w.+-]{1,64}$/.test(info.term) ? info.term : 'dumb', size: sizeOf(info) };
}

/** Clients that do not know their size say 0. */
function sizeOf({ cols, rows }: WindowChangeInfo): TerminalSize {
  const { columnsMax, rowsMax } = terminalBounds;
  return {
    columns: cols === 0 ? defaultTerminalSize.columns : Math.min(cols, columnsMax),
    rows: rows === 0 ? defaultTerminalSize.rows : Math.min(rows, rowsMax),
  };
}
