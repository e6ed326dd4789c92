import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { type Channel, connectChannel, listenChannel } from '../base/channel.ts';
import { systemClock } from '../base/clock.ts';
import type { AnswerFrame, RunSpec } from '../contract/runner.ts';
import { unlimitedEgress } from '../model/egress.ts';
import { newId } from '../model/ids.ts';
import { defaultRunLimits, type HeldBy } from '../model/limits.ts';
import { openRedactor } from '../redaction/redactor.ts';
import { SecretValues } from '../redaction/secret-values.ts';
import type { Backend, Sandbox, SandboxEnd, SandboxRequest } from '../sandbox/backend.ts';
import { EgressRelay } from './egress-relay.ts';
import { RunnerRecord } from './record.ts';
import { Runner } from './runner.ts';
import { serveControl } from './serve.ts';

const heldBy: HeldBy = {
  cpus: 'cgroup-v2',
  memory: 'cgroup-v2',
  pids: 'cgroup-v2',
  disk: 'watcher',
  time: 'timer',
};
const usage = { cpuSeconds: 0, peakMemoryBytes: 0, peakPids: 0, diskBytes: 0 };

/** Sandboxes that run nothing: each goes on until the test lets it end. */
class IdleBackend implements Backend {
  readonly name = 'idle';
  readonly mode = 'user';
  readonly heldBy = heldBy;
  readonly live: { kills: number; readonly end: (status?: number) => void; egress: boolean }[] = [];

  async create({ egress }: SandboxRequest): Promise<Sandbox> {
    let end: (end: SandboxEnd) => void = () => undefined;
    const ended = new Promise<SandboxEnd>((resolve) => {
      end = resolve;
    });
    const control = {
      kills: 0,
      end: (status = 137) => end({ status, overrun: null, usage }),
      egress: egress !== null,
    };
    this.live.push(control);
    const kill = () => {
      control.kills += 1;
    };
    return {
      heldBy,
      terminal: null,
      stdout: Readable.from([]),
      stderr: Readable.from([]),
      ended,
      stop: kill,
      kill,
      changeEgress: async () => undefined,
      exec: () => Promise.reject(new Error('it runs nothing')),
      connect: () => Promise.reject(new Error('nobody listens')),
    };
  }

  async close(): Promise<void> {
    for (const sandbox of this.live) sandbox.end();
  }
}

const signingKey = generateKeyPairSync('ed25519').privateKey;
const noEgress = { mode: 'restricted', generation: 1, rules: [], limits: unlimitedEgress } as const;

let root: string;
let folder: string;
let backend: IdleBackend;
let record: RunnerRecord;
let runner: Runner;
let secretValues: SecretValues;
let server: Server;
let channel: Channel;
let orders = 0;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'sealwright-serve-'));
  folder = join(root, 'runner');
  mkdirSync(folder);
  backend = new IdleBackend();
  const log = { info: () => undefined, warn: () => undefined };
  secretValues = new SecretValues();
  const clock = systemClock;
  const recordOptions = { folder: join(root, 'audit'), clock, newId: () => newId('event', 0), signingKey };
  record = await RunnerRecord.open(recordOptions, {});
  runner = new Runner({
    folder,
    backend,
    clock,
    log,
    record,
    egress: new EgressRelay({ record, clock, log }),
    secretValues,
  });
  const [path, key] = [join(root, 'socket'), randomBytes(32)];
  const serve = (connection: Channel) => serveControl(runner, connection);
  server = await listenChannel({ path, key, serve, onError: () => undefined });
  channel = await connectChannel(path, key);
  await channel.sendJson({ purpose: 'orders' });
});

afterEach(async () => {
  channel.close();
  server.close();
  for (const sandbox of backend.live) sandbox.end();
  await runner.close();
  await record.close();
  rmSync(root, { recursive: true, force: true });
});

function spec(): RunSpec {
  const [run, session] = [newId('run', 1), newId('session', 1)];
  const given = {
    repo: null,
    command: ['true'],
    env: {},
    cwd: null,
    strict: false,
    diff: true,
    terminal: null,
    identity: 'e30.e30.AA',
    egress: noEgress,
    owner: 'user:ann',
  } as const;
  return { run, session, ...given, limits: defaultRunLimits };
}

/** The answer to an order, whatever events come before it; null when the runner hangs up. */
async function order(value: Record<string, unknown>): Promise<AnswerFrame | null> {
  const id = ++orders;
  await channel.sendJson({ id, ...value });
  for (;;) {
    const frame = await channel.read();
    if (frame === null) return null;
    const answer = frame.kind === 'json' ? (frame.value as AnswerFrame) : null;
    if (answer?.id === id) return answer;
  }
}

const isRefusal = (answer: AnswerFrame | null) => answer !== null && 'fault' in answer;

test('a start is accepted, and a repeated one is the same one', async () => {
  const wanted = spec();
  for (let turn = 0; turn < 2; turn += 1)
    assert.deepEqual(await order({ order: 'start', spec: wanted }), { id: orders, ok: null });
  assert.deepEqual(readdirSync(join(folder, 'runs')), [wanted.run]);
  assert.equal(backend.live.length, 1);
});

test('what a run was given is not in what the runner writes while it lives, and is forgotten with it', async () => {
  const wanted = { ...spec(), env: { DB_PASSWORD: 'correct-horse', PLAIN: 'plain-as-day' } };
  await order({ order: 'start', spec: wanted });
  await order({ order: 'identity', run: wanted.run, token: 'e30.e30.a-later-token' });
  const text = 'correct-horse, e30.e30.a-later-token, plain-as-day';
  const shown = '[redacted:run-environment], [redacted:run-identity], plain-as-day';
  assert.equal(openRedactor(secretValues).text(text), shown);
  while (backend.live.length === 0) await setImmediate();
  backend.live[0]!.end();
  while (secretValues.size > 0) await setImmediate();
});

const remote = { url: 'https://git.example/a', ref: null, hostKeys: [] };

const outside = '../../outside';
const hostile: Record<string, () => Record<string, unknown>> = {
  'a session to remove whose id is a path': () => ({ order: 'remove-session', session: outside }),
  'an upload to remove whose id is a path': () => ({ order: 'remove-upload', upload: `${outside}/kept` }),
  'runs to forget whose ids are paths': () => ({ order: 'forget', runs: [outside] }),
  'a run to acknowledge whose id is a path': () => ({ order: 'acknowledge', run: outside }),
  'a start whose run is a path': () => ({ order: 'start', spec: { ...spec(), run: outside } }),
  'a start whose session is a path': () => ({ order: 'start', spec: { ...spec(), session: outside } }),
  'a start whose upload is a path': () => ({
    order: 'start',
    spec: { ...spec(), repo: { upload: `${outside}/kept`, shallow: [] } },
  }),
  'a shallow commit that is more than one line': () => ({
    order: 'start',
    spec: {
      ...spec(),
      repo: { upload: newId('upload', 1), shallow: [`${'a'.repeat(40)}\n${'b'.repeat(40)}`] },
    },
  }),
  'a URL of another transport': () => ({
    order: 'start',
    spec: { ...spec(), repo: { ...remote, url: 'ext::sh -c id' } },
  }),
  'a ref that is an option': () => ({
    order: 'start',
    spec: { ...spec(), repo: { ...remote, ref: '--upload-pack=id' } },
  }),
  'a host key that is more than one line': () => ({
    order: 'start',
    spec: { ...spec(), repo: { ...remote, hostKeys: [`ssh-rsa AAAA${'B'.repeat(40)}\n* ssh-rsa AAAA`] } },
  }),
  'a variable whose name is shell code': () => ({
    order: 'start',
    spec: { ...spec(), env: { 'A=;id;B': '' } },
  }),
  'a command with NUL': () => ({ order: 'start', spec: { ...spec(), command: ['a\0b'] } }),
  'no command': () => ({ order: 'start', spec: { ...spec(), command: [] } }),
  'limits past their bounds': () => ({
    order: 'start',
    spec: { ...spec(), limits: { ...defaultRunLimits, pids: -1 } },
  }),
  'an owner that is more than one word': () => ({ order: 'start', spec: { ...spec(), owner: 'user:a b' } }),
  'an owner that is nobody': () => ({ order: 'start', spec: { ...spec(), owner: 'root' } }),
  'a checkpoint whose stream is a path': () => ({
    order: 'checkpoint',
    checkpoint: { stream: outside, origin: 'a', size: 1, root: `${'A'.repeat(43)}=` },
  }),
  'a checkpoint whose root is none': () => ({
    order: 'checkpoint',
    checkpoint: { stream: 'control', origin: 'a', size: 1, root: 'A' },
  }),
  'an order there is not': () => ({ order: 'exec', command: ['id'] }),
  'a member there is not': () => ({ order: 'status', also: 1 }),
};

for (const [name, made] of Object.entries(hostile))
  test(`control is not trusted: ${name} is refused and touches nothing`, async () => {
    mkdirSync(join(root, 'outside'));
    writeFileSync(join(root, 'outside', 'kept'), '');
    assert(isRefusal(await order(made())));
    assert.deepEqual(readdirSync(join(root, 'outside')), ['kept']);
    assert.deepEqual([readdirSync(join(folder, 'runs')), readdirSync(join(folder, 'sessions'))], [[], []]);
    assert.equal(backend.live.length, 0);
    const status = await order({ order: 'status' });
    assert(status !== null && 'ok' in status, 'the connection goes on');
  });

test('a runner that closes takes no start any more, so that control gives it to the next one', async () => {
  const [first, late] = [spec(), spec()];
  assert.deepEqual(await order({ order: 'start', spec: first }), { id: orders, ok: null });
  const closed = runner.close();
  assert.equal(await order({ order: 'start', spec: late }).catch(() => null), null, 'it hangs up');
  assert.deepEqual(
    backend.live.map(({ kills }) => kills),
    [1],
  );
  backend.live[0]!.end();
  await closed;
  assert(existsSync(join(folder, 'runs', first.run, 'result.json')));
  assert(!existsSync(join(folder, 'runs', late.run)), 'nothing says that it was ever accepted');
});

async function eventually(holds: () => boolean): Promise<void> {
  while (!holds()) await setImmediate();
}

test('runs of one session import one after the other, and one that waits for that can be stopped', async () => {
  const first = { ...spec(), repo: remote };
  const others = [1, 2].map(() => ({ ...first, run: newId('run', 1) }));
  for (const wanted of [first, ...others]) await order({ order: 'start', spec: wanted });
  await eventually(() => backend.live.length === 1);
  await order({ order: 'stop', run: others[0]!.run, as: 'cancelled' });
  await eventually(() => existsSync(join(folder, 'runs', others[0]!.run, 'result.json')));
  assert.equal(backend.live.length, 1, 'nobody else begins meanwhile');
  backend.live[0]!.end(1);
  await eventually(() => existsSync(join(folder, 'runs', first.run, 'result.json')));
  await eventually(() => backend.live.length === 2);
  backend.live[1]!.end(0);
  await eventually(() => backend.live.length === 3);
  assert(existsSync(join(folder, 'sessions', first.session, 'imported')));
});

test('a clone reaches what its run may reach, and the unpacking of an upload nothing', async () => {
  await order({ order: 'start', spec: { ...spec(), repo: remote } });
  await eventually(() => backend.live.length === 1);
  const upload = newId('upload', 1);
  writeFileSync(join(folder, 'uploads', upload), '');
  await order({ order: 'start', spec: { ...spec(), repo: { upload, shallow: [] } } });
  await eventually(() => backend.live.length === 2);
  assert.deepEqual(
    backend.live.map(({ egress }) => egress),
    [true, false],
  );
});
