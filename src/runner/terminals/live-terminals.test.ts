import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Channel, connectChannel, listenChannel } from '../../base/channel.ts';
import { systemClock } from '../../base/clock.ts';
import type { AnswerFrame, RunnerOrder, RunSpec } from '../../contract/runner.ts';
import type { TerminalInfo, TerminalOpening, TerminalPurpose } from '../../contract/runner-terminals.ts';
import { unlimitedEgress } from '../../model/egress.ts';
import { newId, type RunId, type TerminalId } from '../../model/ids.ts';
import { defaultRunLimits } from '../../model/limits.ts';
import { openRedactor } from '../../redaction/redactor.ts';
import { SecretValues } from '../../redaction/secret-values.ts';
import type { Backend } from '../../sandbox/backend.ts';
import { openLocalBackend } from '../../sandbox/local/open.ts';
import { EgressRelay } from '../egress-relay.ts';
import { runnerLimits } from '../limits.ts';
import { RunnerRecord } from '../record.ts';
import { Runner } from '../runner.ts';
import { serveControl } from '../serve.ts';

/** As root; an ordinary user's terminals are tried end to end in tests/escape. */
const skip = process.getuid?.() === 0 ? false : 'needs root';
const size = { columns: 80, rows: 24 };
const by = 'user:ann';

let root: string;
let backend: Backend;
let record: RunnerRecord;
let runner: Runner;
let server: Server;
let connect: () => Promise<Channel>;
let orders: Channel;
let orderCount = 0;
const finished = new Map<RunId, { code: number | null }>();
const waiting = new Map<number, (answer: AnswerFrame) => void>();
const watchers = new Set<() => void>();

before(async () => {
  if (skip !== false) return;
  root = mkdtempSync(join(tmpdir(), 'sealwright-terminals-'));
  chmodSync(root, 0o755);
  mkdirSync(join(root, 'runner'), { mode: 0o755 });
  const local = await openLocalBackend({
    folder: join(root, 'sandbox'),
    instance: `sealwright-test-${process.pid}-terminals`,
    mode: 'root',
    probeUid: runnerLimits.firstSessionUid - 1,
    gateway: null,
    clock: systemClock,
    workerUrl: new URL('../../sandbox/local/namespace-worker.ts', import.meta.url),
  });
  backend = {
    ...{ name: local.name, mode: local.mode, heldBy: local.heldBy },
    // Here runs reach nothing: there is no gateway.
    create: (request) => local.create({ ...request, egress: null }),
    close: () => local.close(),
  };
  const log = { info: () => undefined, warn: () => undefined };
  const signingKey = generateKeyPairSync('ed25519').privateKey;
  const clock = systemClock;
  const secretValues = new SecretValues();
  const newEventId = () => newId('event', clock.now());
  record = await RunnerRecord.open(
    {
      folder: join(root, 'audit'),
      clock,
      newId: newEventId,
      signingKey,
      redactor: openRedactor(secretValues),
    },
    {},
  );
  runner = new Runner({
    ...{ folder: join(root, 'runner'), backend, clock, log, record },
    egress: new EgressRelay({ record, clock, log }),
    secretValues,
  });
  const [path, key] = [join(root, 'socket'), randomBytes(32)];
  const serve = (channel: Channel) => serveControl(runner, channel);
  server = await listenChannel({ path, key, serve, onError: () => undefined });
  connect = () => connectChannel(path, key);
  orders = await connect();
  await orders.sendJson({ purpose: 'orders' });
  void listenToOrders();
});

after(async () => {
  if (skip !== false) return;
  orders.close();
  server.close();
  await runner.close();
  await record.close();
  rmSync(root, { recursive: true, force: true });
});

async function listenToOrders(): Promise<void> {
  for (let frame = await orders.read(); frame !== null; frame = await orders.read()) {
    assert(frame.kind === 'json');
    const value = frame.value as
      | AnswerFrame
      | { event: string; run: RunId; ending: { exit: { code: number } } };
    if ('id' in value) waiting.get(value.id)?.(value);
    else if (value.event === 'finished') finished.set(value.run, value.ending.exit);
    for (const look of [...watchers]) look();
  }
}

async function order(one: RunnerOrder): Promise<unknown> {
  orderCount += 1;
  const id = orderCount;
  const { promise, resolve } = Promise.withResolvers<AnswerFrame>();
  waiting.set(id, resolve);
  await orders.sendJson({ id, ...one });
  const answer = await promise;
  if ('fault' in answer) throw new Error(`${answer.fault.code}: ${answer.fault.detail}`);
  return answer.ok;
}

async function endOf(run: RunId): Promise<number | null> {
  while (!finished.has(run)) await new Promise<void>((resolve) => watchers.add(resolve));
  return finished.get(run)!.code;
}

async function startRun(command: readonly string[], terminal: TerminalId | null): Promise<RunId> {
  const run = newId('run', 1);
  const spec: RunSpec = {
    ...{ run, session: newId('session', 1), owner: by, repo: null, command, env: {}, cwd: null },
    ...{ limits: { ...defaultRunLimits, timeoutSeconds: 60 }, strict: false, diff: false },
    terminal: terminal === null ? null : { id: terminal, size },
    egress: { mode: 'restricted', generation: 1, rules: [], limits: unlimitedEgress },
    identity: 'a.b.c',
  };
  await order({ order: 'start', spec });
  const isRunning = async () => {
    const { live } = (await order({ order: 'status' })) as { live: { run: RunId; phase: string }[] };
    return live.some((one) => one.run === run && one.phase === 'running');
  };
  while (!finished.has(run) && !(await isRunning()));
  return run;
}

class Attached {
  readonly channel: Channel;
  text = '';
  readonly told: unknown[] = [];

  constructor(channel: Channel) {
    this.channel = channel;
  }

  static async to(purpose: TerminalPurpose): Promise<Attached> {
    const channel = await connect();
    await channel.sendJson(purpose);
    return new Attached(channel);
  }

  async json(): Promise<unknown> {
    const frame = await this.channel.read();
    assert(frame?.kind === 'json');
    return frame.value;
  }

  /** Reads until the text holds this, and forgets up to there. */
  async until(mark: string): Promise<string> {
    for (let at = this.text.indexOf(mark); ; at = this.text.indexOf(mark)) {
      if (at >= 0) {
        const before = this.text.slice(0, at);
        this.text = this.text.slice(at + mark.length);
        return before;
      }
      const frame = await this.channel.read();
      assert(frame !== null, `ended before ${mark}: ${this.text}`);
      if (frame.kind === 'data') this.text += frame.bytes.toString();
      else this.told.push(frame.value);
    }
  }

  async type(text: string): Promise<void> {
    await this.channel.sendData(Buffer.from(text));
  }

  async end(): Promise<unknown> {
    for (let frame = await this.channel.read(); frame !== null; frame = await this.channel.read())
      if (frame.kind === 'data') this.text += frame.bytes.toString();
      else this.told.push(frame.value);
    this.channel.close();
    return this.told.at(-1);
  }
}

const connection = newId('connection', 1);

test('a shell in a terminal is typed to, resized, shared, left and ended, and all of it recorded', {
  skip,
}, async () => {
  const terminal = newId('terminal', 1);
  const run = await startRun(['bash', '--norc'], terminal);
  const first = await Attached.to({ purpose: 'terminal', run, terminal, from: 0 });
  const opening = (await first.json()) as TerminalOpening;
  assert.deepEqual([opening.recorded, opening.resumed, opening.size], [true, true, size]);
  await first.channel.sendJson({ ask: 'author', by, recordInput: true });
  await first.type('tty; echo "$TERM"; stty size; echo "[$((1+1))]"\r');
  const shown = await first.until('[2]');
  assert.match(shown, /\/dev\/pts\/\d+\r\nxterm-256color\r\n24 80\r\n/);
  await first.channel.sendJson({ ask: 'size', size: { columns: 100, rows: 30 } });
  await first.type('stty size; echo "[$((2+2))]"\r');
  assert.match(await first.until('[4]'), /30 100\r\n/);
  const second = await Attached.to({ purpose: 'terminal', run, terminal, from: null });
  assert.equal(((await second.json()) as TerminalOpening).resumed, false);
  first.channel.close();
  await second.type('stty -echo; echo "[$((3+3))]"; read -r secret; stty echo; echo "[$((4+4))]"\r');
  await second.until('[6]');
  await second.channel.sendJson({ ask: 'author', by, recordInput: true });
  await second.type('hunter2\r');
  await second.until('[8]');
  await second.type('exit 7\r');
  assert.deepEqual(await second.end(), { told: 'ended', code: 7 });
  assert.equal(await endOf(run), 7);
  const [info] = (await order({ order: 'terminals', run })) as TerminalInfo[];
  assert(info !== undefined);
  assert.deepEqual([info.kind, info.exitCode, info.complete], ['run', 7, true]);
  const recording = await Attached.to({ purpose: 'recording', run, terminal });
  await recording.end();
  const [header, ...events] = recording.text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual([header.version, header.width, header.height], [2, 80, 24]);
  const of = (code: string) => events.filter((event) => event[1] === code).map((event) => event[2]);
  assert.match(of('o').join(''), /30 100\r\n/);
  assert.deepEqual(of('r'), ['100x30']);
  assert.match(of('i').join(''), /^tty; echo "\$TERM"/);
  assert(!recording.text.includes('hunter2'));
  const logs = await Attached.to({ purpose: 'logs', run, offset: 0, follow: false } as never);
  await logs.end();
  assert.match(logs.text, /30 100\r\n/);
});

test('a second command has a terminal of its own, is recorded, and is hung up by an order', {
  skip,
}, async () => {
  const run = await startRun(['sleep', '60'], null);
  const terminal = newId('terminal', 1);
  const exec = {
    run,
    by,
    connection,
    command: ['bash', '--norc'],
    env: { MARK: 'here' },
    cwd: '/tmp',
  } as const;
  await order({ order: 'open-terminal', terminal: { id: terminal, size }, exec });
  await order({ order: 'open-terminal', terminal: { id: terminal, size }, exec });
  const attached = await Attached.to({ purpose: 'terminal', run, terminal, from: 0 });
  await attached.json();
  await attached.type('pwd; echo "$MARK $SEALWRIGHT_RUN"; echo "[$((1+1))]"\r');
  assert.match(await attached.until('[2]'), new RegExp(`/tmp\r\nhere ${run}\r\n`));
  await order({ order: 'close-terminal', run, terminal });
  const ended = (await attached.end()) as { told: string };
  assert.equal(ended.told, 'ended');
  const [info] = (await order({ order: 'terminals', run })) as TerminalInfo[];
  assert.deepEqual([info?.kind, info?.by, info?.command], ['exec', by, ['bash', '--norc']]);
  await assert.rejects(
    order({
      order: 'open-terminal',
      terminal: { id: newId('terminal', 1), size },
      exec: { ...exec, run: newId('run', 1) },
    }),
    /state.conflict: This run is not running/,
  );
  await order({ order: 'stop', run, as: 'cancelled' });
  await endOf(run);
});

test('a command that ends before anybody is attached is shown to who comes for it', { skip }, async () => {
  const run = await startRun(['sleep', '60'], null);
  const terminal = newId('terminal', 1);
  const exec = { run, by, connection, command: ['echo', 'done'], env: {}, cwd: null } as const;
  await order({ order: 'open-terminal', terminal: { id: terminal, size }, exec });
  const hasEnded = async () =>
    ((await order({ order: 'terminals', run })) as TerminalInfo[])[0]?.endedAt !== null;
  while (!(await hasEnded()));
  const attached = await Attached.to({ purpose: 'terminal', run, terminal, from: 0 });
  assert.equal(((await attached.json()) as TerminalOpening).recorded, true);
  assert.deepEqual(await attached.end(), { told: 'ended', code: 0 });
  assert.equal(attached.text, 'done\r\n');
  await order({ order: 'stop', run, as: 'cancelled' });
  await endOf(run);
});

test('what a command is given for a secret is in no recording of it and on no record', { skip }, async () => {
  const run = await startRun(['sleep', '60'], null);
  const terminal = newId('terminal', 1);
  const command = ['sh', '-c', 'echo "got $DB_PASSWORD and $PLAIN"', 'correct-horse-battery'];
  const env = { DB_PASSWORD: 'correct-horse-battery', PLAIN: 'plain-as-day' };
  const exec = { run, by, connection, command, env, cwd: null } as const;
  await order({ order: 'open-terminal', terminal: { id: terminal, size }, exec });
  const attached = await Attached.to({ purpose: 'terminal', run, terminal, from: 0 });
  await attached.json();
  await attached.end();
  assert.match(attached.text, /got correct-horse-battery and plain-as-day/, 'who watches sees it');
  const recording = await Attached.to({ purpose: 'recording', run, terminal });
  await recording.end();
  assert.match(recording.text, /got \[redacted:run-environment\] and plain-as-day/);
  assert.doesNotMatch(recording.text, /correct-horse/);
  const lines = readFileSync(join(record.folder, readdirSync(record.folder).sort()[0]!), 'utf8');
  assert.match(lines, /"exec\.start"/);
  assert.doesNotMatch(lines, /correct-horse/);
  await order({ order: 'stop', run, as: 'cancelled' });
  await endOf(run);
});

test('a command with pipes gets all its input and gives all its output, and ends with its connection', {
  skip,
}, async () => {
  const run = await startRun(['sleep', '60'], null);
  const bytes = randomBytes(3 * 1024 * 1024);
  const exec = { run, by, connection, env: {}, cwd: null } as const;
  const copy = await Attached.to({
    purpose: 'exec',
    exec: { ...exec, command: ['sh', '-c', 'cat; echo oops >&2; exit 3'] },
  });
  assert.deepEqual(await copy.json(), { started: true });
  const sending = (async () => {
    for (let at = 0; at < bytes.length; at += 65_536)
      await copy.channel.sendData(bytes.subarray(at, at + 65_536));
    await copy.channel.sendJson({ endInput: true });
  })();
  const got: Record<number, Buffer[]> = { 1: [], 2: [] };
  let exit: unknown;
  for (let frame = await copy.channel.read(); frame !== null; frame = await copy.channel.read())
    if (frame.kind === 'data') got[frame.bytes[0]!]!.push(frame.bytes.subarray(1));
    else exit = frame.value;
  await sending;
  assert.deepEqual(exit, { exit: { code: 3 } });
  assert(Buffer.concat(got[1]!).equals(bytes));
  assert.equal(Buffer.concat(got[2]!).toString(), 'oops\n');
  const endless = await Attached.to({
    purpose: 'exec',
    exec: { ...exec, command: ['sh', '-c', 'echo on; exec sleep 77'] },
  });
  await endless.until('on\n');
  endless.channel.close();
  const look = async () => {
    const seen = await Attached.to({
      purpose: 'exec',
      exec: { ...exec, command: ['pgrep', '-f', '^sleep 77'] },
    });
    return ((await seen.end()) as { exit: { code: number } }).exit.code;
  };
  while ((await look()) === 0);
  await order({ order: 'stop', run, as: 'cancelled' });
  await endOf(run);
});

test('bytes go to a port inside and back, and a port where nobody listens is refused', { skip }, async () => {
  const python =
    'import socket;s=socket.create_server(("127.0.0.1",3000));c,_=s.accept();c.sendall(b"got "+c.recv(99));c.close()';
  const run = await startRun(['python3', '-c', python], null);
  const refused = await Attached.to({ purpose: 'port', run, port: 3001 });
  assert.match(JSON.stringify(await refused.json()), /state.conflict/);
  let answer: unknown;
  let port: Attached;
  do {
    port = await Attached.to({ purpose: 'port', run, port: 3000 });
    answer = await port.json();
  } while (JSON.stringify(answer) !== '{"connected":true}');
  await port.type('ping');
  await port.end();
  assert.equal(port.text, 'got ping');
  await endOf(run);
});
