import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, PassThrough, type Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import type ssh2 from 'ssh2';
import type { CreateExec } from '../../contract/attach-schemas.ts';
import type { TerminalSize } from '../../model/terminal.ts';
import { sshLimits } from './limits.ts';
import type { SandboxAccess, SandboxCommand } from './sandbox-access.ts';
import { localAccess } from './test-access.ts';
import {
  connectedSsh,
  forgedKey,
  pipePair,
  strangersKey,
  type TestConfig,
  testServer,
  testSsh,
} from './test-client.ts';

const folder = mkdtempSync(join(tmpdir(), 'sealwright-ssh-'));
after(() => rmSync(folder, { recursive: true, force: true }));

type End = { readonly code: number | null; readonly signal: string | null };

/** A command that the test itself plays. */
function playedCommand() {
  const exit = Promise.withResolvers<End>();
  const closed = Promise.withResolvers<void>();
  const sizes: TerminalSize[] = [];
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const command: SandboxCommand = {
    ...{ stdin, stdout, stderr },
    exit: exit.promise,
    resize: (size) => void sizes.push(size),
    close: () => closed.resolve(),
  };
  const finish = (end: End) => {
    for (const output of [stdout, stderr]) output.end();
    exit.resolve(end);
  };
  return { command, stdin, stdout, stderr, sizes, finish, cut: exit.reject, closed: closed.promise };
}

function playedAccess() {
  const played = playedCommand();
  const asked: CreateExec[] = [];
  const access: SandboxAccess = {
    exec: async (request) => {
      asked.push(request);
      return played.command;
    },
    connect: async () => assert.fail('no port was to be asked for'),
  };
  return { ...played, asked, access };
}

async function opened(client: ssh2.Client, line: string, options: ssh2.ExecOptions = {}) {
  const { promise, resolve, reject } = Promise.withResolvers<ssh2.ClientChannel>();
  client.exec(line, options, (error, channel) => (error === undefined ? resolve(channel) : reject(error)));
  return await promise;
}

async function shellOf(client: ssh2.Client, window: ssh2.PseudoTtyOptions | false) {
  const { promise, resolve, reject } = Promise.withResolvers<ssh2.ClientChannel>();
  client.shell(window, (error, channel) => (error === undefined ? resolve(channel) : reject(error)));
  return await promise;
}

async function endOf(channel: ssh2.ClientChannel) {
  const [stdout, stderr, [code, signal]] = await Promise.all([
    text(channel),
    text(channel.stderr as Readable),
    once(channel, 'exit'),
  ]);
  return { stdout, stderr, code: code as number | null, signal: (signal ?? null) as string | null };
}

test('a command gets its input, its environment and what it is asked, and answers with both outputs and its status', async () => {
  const { client, ended } = await connectedSsh(localAccess(folder));
  const channel = await opened(client, 'cat; echo "$LC_NAME" >&2; exit 7', { env: { LC_NAME: 'ü' } });
  channel.end('typed');
  assert.deepEqual(await endOf(channel), { stdout: 'typed', stderr: 'ü\n', code: 7, signal: null });
  client.end();
  assert.equal(await ended, true);
});

test('a command that a signal ended says which', async () => {
  const { client, end } = await connectedSsh(localAccess(folder));
  assert.equal((await endOf(await opened(client, 'kill -KILL $$'))).signal, 'SIGKILL');
  end.abort();
});

test('a terminal has the type and size of the client’s, follows it, and is hung up when the channel closes', async () => {
  const { access, asked, sizes, stdout, closed } = playedAccess();
  const { client, end } = await connectedSsh(access);
  const channel = await shellOf(client, { term: 'screen-256color', cols: 132, rows: 43 });
  stdout.write('$ ');
  await once(channel, 'data');
  channel.setWindow(50, 200, 0, 0);
  channel.setWindow(100_000, 100_000, 0, 0);
  channel.setWindow(0, 0, 0, 0);
  channel.close();
  await closed;
  assert.deepEqual(asked[0]?.terminal, { columns: 132, rows: 43 });
  assert.equal(asked[0]?.env?.TERM, 'screen-256color');
  assert.deepEqual(sizes, [
    { columns: 200, rows: 50 },
    { columns: 1000, rows: 500 },
    { columns: 80, rows: 24 },
  ]);
  end.abort();
});

test('a size that changes before the command is there reaches it', async () => {
  const { command, sizes, finish } = playedCommand();
  const begin = Promise.withResolvers<SandboxCommand>();
  const { client, end } = await connectedSsh({
    exec: () => begin.promise,
    connect: async () => assert.fail(),
  });
  const channel = await shellOf(client, { term: 'xterm', cols: 80, rows: 24 });
  channel.setWindow(30, 90, 0, 0);
  // Requests are handled in order: the answer to another one says that the size has come.
  client.exec('true', () => {
    begin.resolve(command);
    finish({ code: 0, signal: null });
  });
  await once(channel, 'exit');
  assert.deepEqual(sizes[0], { columns: 90, rows: 30 });
  end.abort();
});

test('signals become what a terminal makes of keys, and end a command with pipes', async () => {
  const terminal = playedAccess();
  const first = await connectedSsh(terminal.access);
  const shell = await shellOf(first.client, {});
  terminal.stdout.write('$ ');
  await once(shell, 'data');
  shell.signal('INT');
  assert.deepEqual((await once(terminal.stdin, 'data'))[0], Buffer.from('\x03'));
  first.end.abort();

  const pipes = playedAccess();
  const second = await connectedSsh(pipes.access);
  const channel = await opened(second.client, 'sleep 100');
  pipes.stdout.write('up');
  await once(channel, 'data');
  channel.signal('TERM');
  await pipes.closed;
  second.end.abort();
});

test('a refusal is told on standard error, with a status that is not the command’s, and the connection goes on', async () => {
  const { client, end } = await connectedSsh(localAccess(folder));
  const refused = await endOf(await opened(client, 'refuse-me'));
  assert.deepEqual(refused, {
    stdout: '',
    stderr: 'sealwright: The gate says no.\n',
    code: 125,
    signal: null,
  });
  assert.equal((await endOf(await opened(client, 'exit 0'))).code, 0);
  end.abort();
});

test('words of the server cannot command the terminal they are shown on', async () => {
  const access = {
    ...localAccess(folder),
    exec: async () => Promise.reject(new Error('no\x1b]52;c;aGk=\x07')),
  };
  const { client, end } = await connectedSsh(access);
  const { stderr } = await endOf(await opened(client, 'true'));
  assert.match(stderr, /^sealwright: no/);
  assert.doesNotMatch(stderr, /[\x00-\x09\x0b-\x1f]/);
  end.abort();
});

test('a command whose connection is cut says so', async () => {
  const { access, stdout, stderr, cut } = playedAccess();
  const { client, end } = await connectedSsh(access);
  const channel = await opened(client, 'anything');
  const error = new Error('You may no longer be attached.');
  for (const output of [stdout, stderr]) output.destroy(error);
  cut(error);
  assert.deepEqual(await endOf(channel), {
    ...{ stdout: '', stderr: 'sealwright: You may no longer be attached.\n', code: 125, signal: null },
  });
  end.abort();
});

test('a line that is not UTF-8 is not run as another one', async () => {
  const { access, asked } = playedAccess();
  const { client, end } = await connectedSsh(access);
  await assert.rejects(opened(client, 'rm \ufffd'));
  await assert.rejects(opened(client, 'a\0b'));
  assert.deepEqual(asked, []);
  end.abort();
});

test('variables without a name that one can have, and more than there is room for, are left out', async () => {
  const { access, asked, finish } = playedAccess();
  const { client, end } = await connectedSsh(access);
  const many = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`V${index}`, 'x']));
  const channel = await opened(client, 'env', { env: { 'A=B': 'x', LANG: 'C', BAD: 'a\0b', ...many } });
  finish({ code: 0, signal: null });
  await once(channel, 'exit');
  const env = asked[0]?.env ?? {};
  assert.equal(env.LANG, 'C');
  assert.equal(Object.keys(env).length, sshLimits.environmentMax);
  assert.ok(!('A=B' in env) && !('BAD' in env));
  end.abort();
});

test('both outputs arrive whole and once, however they take turns to wait for the client', async () => {
  const line = `for turn in 1 2 3; do head -c 3000000 /dev/zero | tr '\\0' "$turn"; head -c 3000000 /dev/zero | tr '\\0' "$turn" >&2; done`;
  const { client, end } = await connectedSsh(localAccess(folder));
  const channel = await opened(client, `${line}; (${line.replaceAll(' >&2', '')}) & (${line}) >&2; wait`);
  const { stdout, stderr, code } = await endOf(channel);
  assert.equal(code, 0);
  assert.deepEqual([stdout.length, stderr.length], [9e6 + 18e6, 9e6 + 18e6]);
  const turns = ['1', '2', '3'].map((turn) => turn.repeat(3_000_000)).join('');
  assert.ok(stdout.startsWith(turns) && stderr.startsWith(turns));
  end.abort();
});

test('a client that does not read holds the command up, in bounded memory', async () => {
  const { access, stdout } = playedAccess();
  const { client, end } = await connectedSsh(access);
  const channel = await opened(client, 'yes');
  channel.pause();
  const chunk = Buffer.alloc(64 * 1024);
  let sent = 0;
  // The client's window is 2 MiB, and what is on its way a little more.
  for (let flows = true; flows && sent < 16 * 1024 * 1024; sent += chunk.length) {
    if (stdout.write(chunk)) continue;
    const drained = once(stdout, 'drain').then(() => true);
    flows = await Promise.race([drained, settled()]);
  }
  assert.ok(sent <= 8 * 1024 * 1024, `${sent} bytes went without anybody reading`);
  end.abort();
});

/** Once everything that is on its way in this process has arrived. */
async function settled(): Promise<false> {
  for (let turn = 0; turn < 1_000; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  return false;
}

test('a command that reads no more does not hold its channel up', async () => {
  const { client, end } = await connectedSsh(localAccess(folder));
  const channel = await opened(client, 'exec 0<&-; sleep 0.1; echo done');
  channel.end(Buffer.alloc(8 * 1024 * 1024));
  assert.equal((await endOf(channel)).stdout, 'done\n');
  end.abort();
});

test('forwarding reaches ports of the sandbox’s own localhost, with an end of file in each direction', async () => {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    void text(socket).then((all) => socket.end(all.toUpperCase()));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const { client, said, end } = await connectedSsh(localAccess(folder));
  for (const name of ['localhost', '127.0.0.1', '::1']) {
    const channel = await forwarded(client, name, port);
    channel.end('hello');
    assert.equal(await text(channel), 'HELLO');
  }
  for (const name of [
    '169.254.169.254',
    'example.test',
    '10.0.0.1',
    '0.0.0.0',
    '127.0.0.1.example.test',
    '',
  ]) {
    await assert.rejects(forwarded(client, name, port), name);
    assert.match(said.at(-1) ?? '', /ports of its own localhost alone/);
  }
  await assert.rejects(forwarded(client, 'localhost', 1));
  assert.match(said.at(-1) ?? '', /^Port 1: .*ECONNREFUSED/);
  server.close();
  end.abort();
});

async function forwarded(client: ssh2.Client, host: string, port: number): Promise<ssh2.ClientChannel> {
  const { promise, resolve, reject } = Promise.withResolvers<ssh2.ClientChannel>();
  client.forwardOut('127.0.0.1', 1, host, port, (error, channel) =>
    error === undefined ? resolve(channel) : reject(error),
  );
  return await promise;
}

test('forwarding into the client’s machine, of sockets, of X11 and of agents is refused', async () => {
  const { access } = playedAccess();
  const { client, end } = await connectedSsh(access);
  const { promise, resolve } = Promise.withResolvers<Error | undefined>();
  client.forwardIn('127.0.0.1', 0, (error) => resolve(error));
  assert.ok((await promise) instanceof Error);
  await assert.rejects(
    new Promise((yes, no) =>
      client.openssh_forwardOutStreamLocal('/run/x.sock', (error, channel) =>
        error ? no(error) : yes(channel),
      ),
    ),
  );
  await assert.rejects(opened(client, 'true', { x11: true }));
  end.abort();
});

test('other subsystems than sftp are refused', async () => {
  const { client, end } = await connectedSsh(localAccess(folder));
  await assert.rejects(
    new Promise((yes, no) =>
      client.subsys('netconf', (error, channel) => (error ? no(error) : yes(channel))),
    ),
  );
  end.abort();
});

test('more channels than there may be at once are refused, and closed ones make room', async () => {
  const { access } = playedAccess();
  const { client, said, end } = await connectedSsh({ ...access, exec: async () => playedCommand().command });
  const channels = await Promise.all(
    Array.from({ length: sshLimits.channelsMax }, () => opened(client, 'sleep 1')),
  );
  await assert.rejects(opened(client, 'one more'));
  assert.match(said.join(), /More than \d+ channels/);
  channels[0]!.resume().close();
  await once(channels[0]!, 'close');
  await opened(client, 'another');
  end.abort();
});

for (const [who, config] of [
  ['nobody', { authHandler: ['none'] }],
  ['a password', { authHandler: ['password'], password: 'agent' }],
  ['an interactive answer', { authHandler: ['keyboard-interactive'], tryKeyboard: true }],
  ['a stranger’s key', { privateKey: strangersKey() }],
  ['another user', { username: 'root' }],
] as const satisfies readonly (readonly [string, object])[]) {
  test(`${who} is not let in`, async () => {
    const { access, asked } = playedAccess();
    const { client, ended } = testSsh(access, config as TestConfig);
    client.on('ready', () => assert.fail('it was let in'));
    const [error] = await once(client, 'error');
    assert.match(String(error), /authentication methods failed/);
    client.destroy();
    assert.equal(await ended, false);
    assert.deepEqual(asked, []);
  });
}

test('whoever shows the key without holding it is not let in', async () => {
  const { access } = playedAccess();
  const { client, ended } = testSsh(access, { privateKey: forgedKey() });
  client.on('ready', () => assert.fail('it was let in'));
  await once(client, 'error');
  client.destroy();
  assert.equal(await ended, false);
});

test('what is not SSH, and what stops in the middle, ends the connection without a crash', async () => {
  const { access } = playedAccess();
  const inputs = [
    'GET / HTTP/1.1\r\n\r\n',
    '\0'.repeat(70_000),
    'SSH-2.0-x\r\n\xff\xff\xff\xff',
    'SSH-2.0-x\r\n',
    '',
  ];
  for (const input of inputs) {
    const [ours, theirs] = pipePair();
    const { ended, said } = testServer(access, ours);
    theirs.resume().end(Buffer.from(input, 'latin1'));
    assert.equal(await ended, false);
    if (!input.startsWith('SSH')) assert.deepEqual(said, ['Nobody spoke SSH on standard input.']);
  }
});

test('every command and connection ends with the client', async () => {
  const { access, stdout, closed } = playedAccess();
  const inside = new Duplex({ read() {}, write: (_bytes, _encoding, done) => done() });
  const { client, ended } = await connectedSsh({ ...access, connect: async () => inside });
  const channel = await opened(client, 'sleep 1');
  channel.pause();
  stdout.write(Buffer.alloc(4 * 1024 * 1024));
  await forwarded(client, 'localhost', 80);
  client.destroy();
  await Promise.all([closed, once(inside, 'close'), ended]);
});
