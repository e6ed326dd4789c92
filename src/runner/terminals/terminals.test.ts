import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { after, test } from 'node:test';
import { FakeTerminal } from '../../../tests/support/fake-terminal.ts';
import { FailingDisk, recordingWorld, testRun } from '../../../tests/support/recordings.ts';
import type { NewEvent } from '../../audit/event.ts';
import { Fault } from '../../contract/faults.ts';
import { newId } from '../../model/ids.ts';
import { openRedactor } from '../../redaction/redactor.ts';
import type { SandboxExec } from '../../sandbox/terminal.ts';
import type { ExecPlace } from './execs.ts';
import { terminalLimits } from './limits.ts';
import { Terminals, type TerminalsParts } from './terminals.ts';

const size = { columns: 80, rows: 24 };
const opened: Terminals[] = [];
after(() => Promise.all(opened.map((terminals) => terminals.shutDown())));

/** Commands whose program is the test. */
class FakePlace implements ExecPlace {
  readonly run = testRun;
  readonly started: { terminal: FakeTerminal; end: (status: number) => void; killed: Promise<void> }[] = [];
  refusal: Error | null = null;

  async start(): Promise<SandboxExec> {
    if (this.refusal !== null) throw this.refusal;
    const terminal = new FakeTerminal();
    const { promise: ended, resolve } = Promise.withResolvers<{ status: number }>();
    const killed = Promise.withResolvers<void>();
    this.started.push({ terminal, end: (status) => resolve({ status }), killed: killed.promise });
    const kill = () => {
      killed.resolve();
      terminal.close();
      resolve({ status: 137 });
    };
    const none = () => new PassThrough().end();
    return { terminal, stdin: null, stdout: none(), stderr: none(), ended, kill };
  }
}

const connection = newId('connection', 0);

function begin(parts: Partial<TerminalsParts> = {}) {
  const world = recordingWorld();
  const { clock, folders, events } = world;
  const log = { info: () => undefined, warn: () => undefined };
  const state = { isWritable: true };
  const record = {
    append: async (event: NewEvent) => {
      if (!state.isWritable) throw new Fault('audit.unavailable', { detail: 'not now' });
      events.push(event);
      return { id: newId('event', 0), seq: events.length, hash: '' };
    },
  };
  const terminals = new Terminals({ clock, folders, log, record, redactor: openRedactor(), ...parts });
  opened.push(terminals);
  const place = new FakePlace();
  const exec = {
    run: testRun.run,
    by: 'user:bob',
    connection,
    command: ['top', '-b'],
    env: { A: 'b' },
    cwd: null,
  } as const;
  const open = async (id = newId('terminal', 0)) => {
    await terminals.openExec(place, { id, size }, exec);
    return id;
  };
  const acts = () => events.filter(({ action }) => action.startsWith('exec.'));
  return { world, terminals, place, open, acts, state };
}

test('a command is on the record before it starts, and its end with what went in and out', async () => {
  const { terminals, place, open, acts, world } = begin();
  using _ = world;
  place.start = async function (this: FakePlace) {
    assert.deepEqual(
      acts().map(({ action, phase }) => [action, phase]),
      [['exec.start', 'attempt']],
    );
    return await FakePlace.prototype.start.call(this);
  };
  const id = await open();
  const hub = terminals.hub(testRun.run, id)!;
  await hub.subscribe(0);
  await hub.type(Buffer.from('q'), null);
  await place.started[0]!.terminal.shows('bye');
  place.started[0]!.terminal.close();
  place.started[0]!.end(3);
  await terminals.settled(testRun.run);
  const [start, end] = acts();
  assert.deepEqual(
    [start?.actor.id, start?.data],
    ['user:bob', { connection, command: ['top', '-b'], cwd: null, environment: ['A'], terminal: id }],
  );
  assert.deepEqual(
    [end?.action, end?.outcome, end?.data],
    ['exec.end', 'succeeded', { connection, code: 3, bytesIn: 1, bytesOut: 3 }],
  );
  assert.equal(terminals.hub(testRun.run, id), null);
  const [info] = terminals.list(testRun.run);
  assert.deepEqual([info?.kind, info?.by, info?.exitCode], ['exec', 'user:bob', 3]);
});

test('what cannot be recorded does not start, and what does not start is said to have failed', async () => {
  const { place, open, acts, state, world } = begin();
  using _ = world;
  state.isWritable = false;
  await assert.rejects(open(), { code: 'audit.unavailable' });
  assert.equal(place.started.length, 0);
  state.isWritable = true;
  place.refusal = new Fault('state.conflict', { detail: 'The sandbox has ended.' });
  await assert.rejects(open(), { code: 'state.conflict' });
  assert.deepEqual(
    acts().map(({ action, outcome }) => [action, outcome]),
    [
      ['exec.start', 'allowed'],
      ['exec.end', 'failed'],
    ],
  );
  place.refusal = null;
  await open();
  assert.equal(place.started.length, 1);
});

test('a command whose terminal cannot be recorded does not start, and does once it can', async () => {
  const disk = new FailingDisk();
  const { terminals, place, open, acts, world } = begin({ disk });
  using _ = world;
  disk.failing.set('write', 'ENOSPC');
  await assert.rejects(open(), { code: 'audit.unavailable' });
  assert.equal(place.started.length, 0);
  assert.deepEqual(acts(), []);
  disk.failing.delete('write');
  const id = await open();
  assert.equal(place.started.length, 1);
  await terminals.hub(testRun.run, id)!.subscribe(0);
  place.started[0]!.terminal.close();
  place.started[0]!.end(0);
  await terminals.settled(testRun.run);
  const before = terminals.list(testRun.run);
  // Whoever took control over writes over no recording with another of its name.
  await assert.rejects(open(id), { code: 'state.conflict' });
  assert.deepEqual([place.started.length, terminals.list(testRun.run)], [1, before]);
});

test('a run has a bounded number of commands at a time, and a repeated order is the same one', async () => {
  const { terminals, place, open, world } = begin();
  using _ = world;
  const id = newId('terminal', 0);
  await Promise.all([open(id), open(id)]);
  await open(id);
  assert.equal(place.started.length, 1);
  for (let count = 1; count < terminalLimits.execsPerRunMax; count += 1) await open();
  await assert.rejects(open(), { code: 'quota.exceeded' });
  await terminals.hub(testRun.run, id)!.subscribe(0);
  terminals.close(testRun.run, id);
  await place.started[0]!.killed;
  while (terminals.hub(testRun.run, id) !== null) await new Promise((resolve) => setImmediate(resolve));
  await open();
});

test('the terminal of a command that nobody is attached to is hung up, and that of a run is not', async (context) => {
  const { terminals, place, open, world } = begin({ abandonedMs: 30_000 });
  using _ = world;
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const id = await open();
  const hub = terminals.hub(testRun.run, id)!;
  context.mock.timers.tick(29_000);
  const subscription = await hub.subscribe(0);
  context.mock.timers.tick(100_000);
  assert.equal(place.started[0]!.terminal.isClosed, false);
  subscription.close();
  context.mock.timers.tick(29_999);
  assert.equal(place.started[0]!.terminal.isClosed, false);
  context.mock.timers.tick(1);
  await place.started[0]!.killed;
  const pty = new FakeTerminal();
  const terminal = { id: newId('terminal', 0), size };
  const own = terminals.openRun(testRun, { terminal, command: ['bash'], pty, onOutput: () => undefined });
  context.mock.timers.tick(1_000_000);
  assert.equal(pty.isClosed, false);
  terminals.close(testRun.run, terminal.id);
  assert.equal(pty.isClosed, false, 'only its run ends it');
  pty.close();
  await own.end(0);
});

test('what ended before anybody could look is still shown for a moment', async (context) => {
  const { terminals, place, open, world } = begin();
  using _ = world;
  const id = await open();
  const pty = new FakeTerminal();
  const terminal = { id: newId('terminal', 0), size };
  const own = terminals.openRun(testRun, { terminal, command: ['ls'], pty, onOutput: () => undefined });
  await pty.shows('README');
  pty.close();
  context.mock.timers.enable({ apis: ['setTimeout'] });
  await own.end(0);
  place.started[0]!.terminal.close();
  place.started[0]!.end(0);
  await terminals.settled(testRun.run);
  const late = await terminals.hub(testRun.run, terminal.id)!.subscribe(0);
  assert.deepEqual(
    [await late.next(), await late.next()],
    [{ bytes: Buffer.from('README') }, { told: { told: 'ended', code: 0 } }],
  );
  assert.notEqual(terminals.hub(testRun.run, id), null);
  context.mock.timers.tick(terminalLimits.lastLookMs);
  assert.deepEqual([terminals.hub(testRun.run, id), terminals.hub(testRun.run, terminal.id)], [null, null]);
});
