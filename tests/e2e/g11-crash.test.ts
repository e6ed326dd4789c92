import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { RunView } from '../../src/contract/schemas.ts';
import type { SessionId } from '../../src/model/ids.ts';
import { isTerminal } from '../../src/model/run.ts';
import { segmentOf } from '../support/audit.ts';
import { CrashWork, contradictions, doubles, sampleBundle, wrongOutputs } from '../support/crash-work.ts';
import {
  descendantsOf,
  HeldNamespaces,
  isAlive,
  processesOf,
  remains,
  straysFrom,
  untilNone,
} from '../support/host-traces.ts';
import { cli, launcher } from '../support/instance.ts';
import { canRun, MortalServer, printedSeed, type Victim } from '../support/mortal-server.ts';

/**
 * G11: `kill -9` of any process at any moment loses no acknowledged state and leaves no stray process.
 * SEALWRIGHT_SEED repeats the moments of an earlier run.
 */

const random = printedSeed();
const asRoot = process.getuid?.() === 0;
const nobody = 65_534;
const deadlineMs = 10_000;

async function newSession(server: MortalServer): Promise<SessionId> {
  return (await server.client.sessions.create({})).id;
}

const shell = (script: string) => ['/bin/sh', '-c', script];

/** Resolves once the run has said `text`. */
async function said(server: MortalServer, run: string, text: string): Promise<void> {
  let all = '';
  for await (const event of server.client.runs.logs(run)) {
    if ('bytes' in event) all += event.bytes.toString('utf8');
    if (all.includes(text)) return;
  }
  assert.fail(`${run} ended without saying ${text}: ${all}`);
}

async function ended(server: MortalServer, run: string): Promise<RunView> {
  const end = performance.now() + 3 * deadlineMs;
  for (;;) {
    const view = await server.client.runs.wait(run, { timeoutSeconds: 5 });
    if (isTerminal(view.phase)) return view;
    assert(performance.now() < end, `${run} ends`);
  }
}

/** A kill at each of some random moments, under work that never stops, then everything that was promised. */
function rounds(victims: readonly Victim[], lanes: number, uid: number | null): void {
  let server: MortalServer;
  let work: CrashWork;

  before(async () => {
    server = await MortalServer.open(random, uid);
    work = new CrashWork({ random, client: () => server.client });
    work.start(lanes);
  });

  for (const [index, victim] of victims.entries())
    it(`round ${index + 1}: after kill -9 of ${victim} nothing acknowledged is lost, nothing strays, the log verifies`, async () => {
      await pause(random.between(100, 900));
      await server.kill(victim);
      assert.deepEqual(await contradictions(work, server.client, server.deaths), []);
      await server.verifyAudit();
      assert.deepEqual([...work.problems.splice(0), ...server.errors()], []);
    });

  it('afterwards every run ends, everything exists once, and all output is there', async () => {
    await work.stop();
    for (const run of work.runs.values()) {
      if (run.remove !== 'no') continue;
      if (run.kind === 'endless' && run.close === 'no') await work.stopRun(run);
      await work.ended(run);
    }
    assert.deepEqual(await contradictions(work, server.client, server.deaths), []);
    assert.deepEqual(await doubles(work, server.client), []);
    assert.deepEqual(await wrongOutputs(work, server.client), []);
    assert.deepEqual(work.problems, []);
    const ends = [...work.runs.values()].flatMap(({ end }) => (end === null ? [] : [JSON.parse(end).phase]));
    console.log(`${work.runs.size} runs, ${work.sessions.size} sessions, ${work.repeated} calls repeated`);
    for (const phase of ['succeeded', 'failed', 'cancelled'])
      assert(ends.includes(phase), `some runs ended as ${phase}`);
    assert(work.repeated > victims.length / 2, 'the kills were felt');
  });

  after(async () => {
    await work.stop();
    await server.remove();
  });
}

/** Every few rounds a new `up`: one that has lost parts again and again waits longer each time. */
function schedule(parts: readonly Victim[], wholes: readonly Victim[]): Victim[] {
  const [shuffled, size] = [random.shuffle(parts), Math.ceil(parts.length / wholes.length)];
  return random
    .shuffle(wholes)
    .flatMap((whole, index) => [...shuffled.slice(index * size, (index + 1) * size), whole]);
}

describe('kill -9 at random moments of a busy server', () => {
  const parts: Victim[] = ['control', 'control', 'runner', 'both'];
  rounds(
    schedule([...parts, ...parts, ...parts, 'control', 'runner'], ['up', 'up', 'up', 'all', 'all', 'all']),
    4,
    null,
  );
});

const asNobody = asRoot && (await canRun(nobody, launcher));
describe('kill -9 of a server of an ordinary user', {
  skip: asNobody ? false : 'no other user can run this clone',
}, () => {
  rounds(schedule(['control', 'runner', 'both'], ['up', 'all']), 2, nobody);
});

describe('while control is dead', () => {
  let server: MortalServer;
  before(async () => {
    server = await MortalServer.open(random);
  });
  after(() => server.remove());

  it('a run goes on, ends, and the next control finds its end and its output', async () => {
    const session = await newSession(server);
    const { id } = await server.client.runs.create({
      session,
      command: shell('sleep 0.5; echo out; echo err >&2'),
    });
    // What is meant is a run that the runner has: until then it waits for the next control.
    while ((await server.client.runs.get(id)).phase !== 'running') await pause(5);
    const { control, runner } = server.pids();
    const up = server.instance.process.pid!;
    process.kill(up, 'SIGSTOP');
    try {
      process.kill(control, 'SIGKILL');
      const result = join(server.home, 'runner', 'runs', id, 'result.json');
      assert.deepEqual(await untilNone(() => (existsSync(result) ? [] : [result]), deadlineMs), []);
      await assert.rejects(server.client.runs.get(id), 'nobody answers meanwhile');
    } finally {
      process.kill(up, 'SIGCONT');
    }
    await server.ready();
    assert.equal(server.pids().runner, runner, 'it is the same runner');
    assert.equal((await ended(server, id)).phase, 'succeeded');
    const output = { stdout: '', stderr: '' };
    for await (const event of server.client.runs.logs(id))
      if ('bytes' in event) output[event.event] += event.bytes.toString('utf8');
    assert.deepEqual(output, { stdout: 'out\n', stderr: 'err\n' });
  });

  it('a queued run keeps its place, its environment and its turn', async () => {
    const session = await newSession(server);
    const first = await server.client.runs.create({ session, command: ['sleep', '1.5'] });
    const script = shell('echo "$WORD"');
    const second = await server.client.runs.create({ session, command: script, env: { WORD: 'kept' } });
    await server.kill('control');
    assert.equal((await ended(server, first.id)).phase, 'succeeded');
    await said(server, second.id, 'kept');
  });

  it('a follower of a log that reconnects has every line exactly once, from every offset', async () => {
    const lines = 300;
    const script = `i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo "out $i"; echo "err $i" >&2; sleep 0.01; done`;
    const { id } = await server.client.runs.create({
      session: await newSession(server),
      command: shell(script),
    });
    const cut = cutReader(server, id);
    const followed = follow(server, id, 0);
    for (let kill = 0; kill < 3; kill += 1) {
      await said(server, id, `out ${1 + kill * 60}\n`);
      await server.kill('control');
    }
    const { text, offsets } = await followed;
    const expected = (word: string) =>
      Array.from({ length: lines }, (_, index) => `${word} ${index + 1}\n`).join('');
    assert.deepEqual(text, { stdout: expected('out'), stderr: expected('err') });
    assert.equal((await ended(server, id)).phase, 'succeeded');
    for (const { offset, before } of offsets.filter((_, index) => index % 60 === 7)) {
      const rest = (await follow(server, id, offset)).text;
      assert.equal(before.stdout + rest.stdout, expected('out'));
      assert.equal(before.stderr + rest.stderr, expected('err'));
    }
    assert((await cut) < 2 * lines, 'a reader that does not reconnect misses some');
  });
});

type Text = { readonly stdout: string; readonly stderr: string };

/** All output from `offset` on; `offsets` has each place to resume from and what came before it. */
async function follow(server: MortalServer, id: string, offset: number) {
  let text: Text = { stdout: '', stderr: '' };
  const offsets: { offset: number; before: Text }[] = [];
  for await (const event of server.client.runs.logs(id, { offset })) {
    if (event.event !== 'stdout' && event.event !== 'stderr') continue;
    text = { ...text, [event.event]: text[event.event] + event.bytes.toString('utf8') };
    offsets.push({ offset: event.next, before: text });
  }
  return { text, offsets };
}

/** How many lines a reader gets that takes a broken stream for the end. */
async function cutReader(server: MortalServer, id: string): Promise<number> {
  let count = 0;
  try {
    for await (const event of server.client.runs.logs(id, { reconnect: false }))
      if ('bytes' in event) count += event.bytes.toString('utf8').split('\n').length - 1;
  } catch {
    // It was cut off.
  }
  return count;
}

describe('when the runner dies', () => {
  let server: MortalServer;
  before(async () => {
    server = await MortalServer.open(random);
  });
  // So that `up` does not yet wait long before it starts a runner again.
  beforeEach(() => server.restart());
  after(() => server.remove());

  it('its runs end as failed/runner-lost with their sandboxes, control stays, and waiting runs start', async () => {
    const session = await newSession(server);
    const hosted = await server.client.runs.create({ session, command: shell('echo here; exec sleep 600') });
    const waiting = await server.client.runs.create({ session, command: ['echo', 'later'] });
    await said(server, hosted.id, 'here');
    const find = () =>
      descendantsOf(server.pids().runner).filter(({ command }) => command.startsWith('sleep 600'));
    // The shell becomes it a moment after it has said so.
    for (const late = performance.now() + 5_000; find().length === 0 && performance.now() < late; )
      await pause(10);
    const sandboxes = find();
    assert.equal(sandboxes.length, 1, 'the search finds a live sandbox');
    const [lost] = await Promise.all([ended(server, hosted.id), server.kill('runner')]);
    assert.deepEqual([lost.phase, lost.cause, lost.exitCode], ['failed', 'runner-lost', null]);
    assert.deepEqual(sandboxes.filter(isAlive), []);
    assert.equal((await ended(server, waiting.id)).phase, 'succeeded');
    await said(server, hosted.id, 'here');
  });

  it('in the middle of unpacking a repository, the session is as good as new for the next run', async () => {
    const bundle = sampleBundle(20_000_000);
    for (const delayMs of [0, 50, 150]) {
      const upload = await server.client.uploads.store([bundle] as never);
      const { id: session } = await server.client.sessions.create({ repo: { upload: upload.id } });
      const { id } = await server.client.runs.create({ session, command: ['true'] });
      for await (const event of server.client.runs.logs(id)) if (event.event === 'step') break;
      await pause(delayMs);
      await server.kill('runner');
      const first = await ended(server, id);
      assert([null, 'runner-lost'].includes(first.cause), JSON.stringify(first));
      const script =
        'cat known && git status --porcelain && git log --format=%s && touch /home/agent/x && ls';
      const next = await server.client.runs.create({ session, command: shell(script), cwd: '/workspace' });
      await said(server, next.id, 'known\nknown\n');
      const { phase, reason } = await ended(server, next.id);
      assert.deepEqual([phase, reason], ['succeeded', null], `killed after ${delayMs} ms`);
      await server.client.sessions.close(session);
    }
  });

  it('in the middle of an upload, nothing of the upload stays', async () => {
    const uploads = join(server.home, 'runner', 'uploads');
    for (const victim of ['runner', 'control'] as const) {
      const begun = Promise.withResolvers<void>();
      const killed = Promise.withResolvers<void>();
      const store = server.client.uploads.store(brokenUpload(begun, killed.promise));
      const failed = assert.rejects(store);
      await begun.promise;
      assert.deepEqual(
        await untilNone(() => (readdirSync(uploads).length > 0 ? [] : ['nothing']), deadlineMs),
        [],
      );
      await server.kill(victim);
      killed.resolve();
      await failed;
      assert.deepEqual(
        await untilNone(() => readdirSync(uploads), deadlineMs),
        [],
        `after kill -9 of ${victim}`,
      );
    }
  });

  it('in the middle of making a session, what it left is in nobody’s way', async () => {
    const session = await newSession(server);
    const sessions = join(server.home, 'runner', 'sessions');
    // What a kill between two system calls of the runner leaves.
    mkdirSync(join(sessions, `${session}.new`, 'workspace'), { recursive: true, mode: 0o700 });
    await server.kill('runner');
    const script = shell('touch x && echo made; exec sleep 600');
    const { id } = await server.client.runs.create({ session, command: script });
    await said(server, id, 'made');
    const asleep = descendantsOf(server.pids().runner).find(({ command }) =>
      command.startsWith('sleep 600'),
    )!;
    const uid = Number(/^Uid:\s*(\d+)/m.exec(readFileSync(`/proc/${asleep.pid}/status`, 'utf8'))![1]);
    if (asRoot) assert(uid > nobody, 'a sandbox is nobody on the host');
    await server.client.runs.stop(id);
    assert.equal((await ended(server, id)).phase, 'cancelled');
    await server.client.sessions.close(session);
    assert.deepEqual(
      readdirSync(sessions).filter((name) => name.startsWith(session)),
      [],
    );
  });
});

async function* brokenUpload(
  begun: PromiseWithResolvers<void>,
  killed: Promise<void>,
): AsyncGenerator<Buffer> {
  yield Buffer.alloc(256 * 1024);
  begun.resolve();
  await killed;
  for (let part = 0; part < 64; part += 1) yield Buffer.alloc(256 * 1024);
}

describe('when everything dies', () => {
  let server: MortalServer;
  before(async () => {
    server = await MortalServer.open(random);
  });
  after(() => server.remove());

  it('the next start comes at once, on the same port and sockets, and takes up what was there', async () => {
    const session = await newSession(server);
    const { id } = await server.client.runs.create({ session, command: ['sleep', '600'] });
    const sockets = ['runner/runner.sock', 'control/local.sock'].map((path) => join(server.home, path));
    const madeAt = () => sockets.map((path) => statSync(path, { bigint: true }).birthtimeNs);
    const before = madeAt();
    for (let round = 0; round < 2; round += 1) await server.kill('all');
    const now = sockets.map((path) => statSync(path).ino);
    for (const [index, ino] of now.entries())
      assert.notEqual(ino, before[index], 'a stale socket is replaced');
    const { phase, cause } = await ended(server, id);
    assert.deepEqual([phase, cause], ['failed', 'runner-lost']);
    const next = await server.client.runs.create({ session, command: ['true'] });
    assert.equal((await ended(server, next.id)).phase, 'succeeded');
    const own = await cli(server.home, ['runs', '--json'], { environment: { HOME: dirname(server.home) } });
    assert.equal(own.status, 0, `the owner's own profile still works: ${own.stderr}`);
  });
});

describe('the checks themselves', () => {
  let server: MortalServer;
  before(async () => {
    server = await MortalServer.open(random);
  });
  after(() => server.remove());

  it('find a live instance, and a process of it that nobody would end', async () => {
    assert(remains(server.home).some((line) => line.startsWith('process')));
    assert(remains(server.home).some((line) => line.startsWith('socket')));
    const namespaces = new HeldNamespaces(server.pids().runner);
    assert(namespaces.inUse().length > 0);
    namespaces.close();
    const up = server.instance.process.pid!;
    assert.deepEqual(straysFrom(up, processesOf(server.home)), []);
    const stray = spawn('/bin/sleep', ['600'], { env: { HOME: server.home }, stdio: 'ignore' });
    try {
      const found = () => straysFrom(up, processesOf(server.home)).map(({ pid }) => pid);
      assert.deepEqual(await untilNone(() => (found().length > 0 ? [] : [stray.pid]), deadlineMs), []);
      assert.deepEqual(found(), [stray.pid]);
    } finally {
      stray.kill('SIGKILL');
    }
  });

  it('find a run that is gone, a session that is open again and an end without a reason', async () => {
    const work = new CrashWork({ random, client: () => server.client });
    const session = await work.makeSession(false);
    const run = await work.makeRun(session, 'endless');
    assert.deepEqual(await contradictions(work, server.client, []), []);
    work.runs.set('run_gone', { ...run, id: 'run_gone' });
    session.close = 'told';
    await server.client.runs.stop(run.id);
    await ended(server, run.id);
    const found = (await contradictions(work, server.client, [])).join('\n');
    assert.match(found, new RegExp(`session ${session.id} was closed and is active`));
    assert.match(found, /run run_gone is gone/);
    assert.match(found, new RegExp(`run ${run.id} \\(endless.*cancelled`));
    await server.client.sessions.close(session.id);
  });

  it('find a changed, a missing and a cut line in the audit log', async () => {
    const folder = join(dirname(server.home), 'tampered');
    cpSync(join(server.home, 'audit'), folder, { recursive: true });
    const path = segmentOf(folder);
    const text = readFileSync(path, 'utf8');
    const verify = async () => (await cli(server.home, ['audit', 'verify', folder])).status;
    assert.equal(await verify(), 0);
    writeFileSync(path, text.replace('"outcome":"allowed"', '"outcome":"Allowed"'));
    assert.equal(await verify(), 1);
    writeFileSync(path, text.split('\n').toSpliced(1, 1).join('\n'));
    assert.equal(await verify(), 1);
    rmSync(folder, { recursive: true });
  });
});
