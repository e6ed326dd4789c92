import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { after, before, test } from 'node:test';
import { FakeTerminal } from '../../../tests/support/fake-terminal.ts';
import { type Channel, connectChannel, listenChannel } from '../../base/channel.ts';
import { newId } from '../../model/ids.ts';
import type { SandboxExec } from '../../sandbox/terminal.ts';
import { Execs } from './execs.ts';
import { ScreenThread } from './screen-thread.ts';
import { serveExec } from './serve-exec.ts';
import { serveTerminal } from './serve-terminal.ts';
import { TerminalHub } from './terminal-hub.ts';

/** More than the runner and the sockets between take of what nobody reads. */
const muchBytes = 4 * 1024 * 1024;
const [run, session, terminal] = [newId('run', 1), newId('session', 1), newId('terminal', 1)];
const by = 'user:ann';
const connection = newId('connection', 1);
const screens = new ScreenThread();

let folder: string;
let server: Server;
let serve: (channel: Channel) => Promise<void>;
let connect: () => Promise<Channel>;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-hung-up-'));
  const [path, key] = [join(folder, 'socket'), randomBytes(32)];
  server = await listenChannel({ path, key, serve: (channel) => serve(channel), onError: () => undefined });
  connect = () => connectChannel(path, key);
});
after(async () => {
  server.close();
  await screens.close();
  rmSync(folder, { recursive: true, force: true });
});

function hubOf(pty: FakeTerminal): TerminalHub {
  const recorder = {
    ...{ isRecorded: true, onRecorded: () => undefined, output: () => undefined },
    ...{ input: () => undefined, resized: () => undefined },
  };
  return new TerminalHub({ terminal: pty, size: { columns: 80, rows: 24 }, screens, recorder });
}

test('control that hangs up is known to be gone while its input waits for a program, and that is not typed any more', {
  timeout: 20_000,
}, async () => {
  const pty = new FakeTerminal();
  const { promise, resolve: read } = Promise.withResolvers<void>();
  const hub = hubOf(pty);
  await hub.type(Buffer.from('before'), null);
  pty.reading = promise;
  const counts: number[] = [];
  const { promise: left, resolve: leave } = Promise.withResolvers<void>();
  hub.onSubscribers = (count) => {
    counts.push(count);
    if (count === 0) leave();
  };
  serve = (channel) =>
    serveTerminal({ hub: () => hub } as never, channel, { purpose: 'terminal', run, terminal, from: 0 });
  const channel = await connect();
  assert.equal((await channel.read())?.kind, 'json');
  channel.sendData(Buffer.from('first')).catch(() => undefined);
  for (let at = 0; at < muchBytes; at += 65_536)
    channel.sendData(Buffer.alloc(65_536, 'x')).catch(() => undefined);
  // An empty frame says that the runner lives, and is no output.
  const probe = await channel.read();
  assert(probe?.kind === 'data' && probe.bytes.length === 0);
  channel.close();
  await left;
  assert.deepEqual(counts, [1, 0]);
  read();
  await hub.type(Buffer.from('after'), null);
  // What the terminal was being given when its author went it has; nothing else.
  assert.deepEqual(
    pty.typed.map((bytes) => bytes.toString()),
    ['before', 'first', 'after'],
  );
});

test('a command that does not read what it is sent ends with its connection all the same', {
  timeout: 20_000,
}, async () => {
  const stuck = new Writable({ write: () => undefined });
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const { promise: ended, resolve: end } = Promise.withResolvers<{ status: number }>();
  const kill = () => {
    for (const stream of [stdout, stderr]) stream.end();
    stuck.destroy();
    end({ status: 137 });
  };
  const exec: SandboxExec = { terminal: null, stdin: stuck, stdout, stderr, ended, kill };
  const execs = new Execs({ append: async () => ({ id: newId('event', 1) }) as never }, {
    append: async () => undefined,
  } as never);
  const place = { run: { run, session, owner: by }, start: async () => exec } as const;
  serve = (channel) =>
    serveExec(execs, channel, place, { run, by, connection, command: ['stuck'], env: {}, cwd: null });
  const channel = await connect();
  assert.equal((await channel.read())?.kind, 'json');
  stdout.write('on');
  assert.equal((await channel.read())?.kind, 'data');
  for (let at = 0; at < muchBytes; at += 65_536)
    channel.sendData(Buffer.alloc(65_536, 'x')).catch(() => undefined);
  const probe = await channel.read();
  assert(probe?.kind === 'data' && probe.bytes.length === 0);
  channel.close();
  assert.deepEqual(await ended, { status: 137 });
  if (!stuck.closed) await once(stuck, 'close');
});
