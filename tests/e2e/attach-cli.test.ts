import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { startCli } from '../support/cli-process.ts';
import { cli, type Instance, launcher, startInstance, testEnvironment } from '../support/instance.ts';
import { UserTerminal } from '../support/user-terminal.ts';

/** The story at a real terminal, against a real server and real sandboxes. */

const folder = mkdtempSync(join(tmpdir(), 'sealwright-attach-cli-'));
let instance: Instance;
let environment: Record<string, string>;

before(async () => {
  instance = await startInstance();
  environment = testEnvironment(instance.home);
});

after(async () => {
  await instance.remove();
  rmSync(folder, { recursive: true, force: true });
});

function open(t: TestContext, ...words: string[]): UserTerminal {
  const terminal = new UserTerminal([launcher, ...words], { cwd: folder, environment });
  t.after(() => terminal.close());
  return terminal;
}

async function sealwright(words: readonly string[], input = '') {
  const { status, stdout, stderr } = await cli(instance.home, words, { cwd: folder, input });
  return { status, out: stdout.toString('utf8'), err: stderr };
}

/** A live run in a terminal that nobody is attached to. */
async function liveRun(session: string): Promise<string> {
  const words = ['run', '-d', '--tty', '--session', session, '--', 'bash', '--norc'];
  const { status, out, err } = await sealwright(words);
  assert.equal(status, 0, err);
  const run = out.trim();
  for await (const event of instance.client.runs.logs(run)) {
    if (event.event !== 'step' || event.step === 'command') break;
  }
  return run;
}

const detach = '\x10\x11';
/** How the wrapper of a terminal says that a program ended, with line editing as it was before. */
const endedWith = (status: number) => new RegExp(`STATUS ${status}\\nicanon`);

test('a run is interactive from its first byte, follows the size, is left, found again and ends with its status', async (t) => {
  const terminal = open(t, 'run', '--tty', '--name', 'story', '--', 'bash', '--norc');
  await terminal.shows(/leaves, and the run goes on\n.*\$ *$/);
  terminal.type('stty size; echo $TERM; test -t 0 && echo "is a" terminal\r');
  await terminal.shows(/\n30 100\nxterm-256color\nis a terminal\n/);
  terminal.resize(72, 20);
  terminal.type('clear; until [ "$(stty size)" = "20 72" ]; do :; done; echo it "follows"\r');
  await terminal.shows(/it follows\n/);
  terminal.type('echo sleeps; sleep 100\r');
  await terminal.shows(/\nsleeps$/);
  terminal.type('\x03');
  // What is typed with it is flushed by the kernel.
  await terminal.shows(/\^C\n.*\$ *$/);
  terminal.type('echo $((100 + 30))\r');
  await terminal.shows(/\n130\n/);
  terminal.type(detach);
  await terminal.shows(endedWith(0));
  const again = open(t, 'attach', 'story', '--driver');
  await again.shows(/it follows\n.*\n130\n/s);
  again.type('exit 7\r');
  await again.shows(endedWith(7));
  const [run] = JSON.parse((await sealwright(['runs', '--name', 'story', '--json'])).out);
  assert.deepEqual([run.phase, run.exitCode], ['failed', 7]);
  const replayed = await sealwright(['replay', 'story']);
  assert.match(replayed.out, /is a terminal\n.*it follows\n.*exit 7/s);
  assert.match(
    (await sealwright(['replay', 'story', '--search', 'is a term'])).out,
    /^00:\d\d {2}is a terminal$/m,
  );
  const player = open(t, 'replay', 'story', '--speed', '60', '--idle', '1s');
  await player.shows(endedWith(0));
});

test('a full screen is put back when attaching is switched off, and when the program is ended', async (t) => {
  const run = await liveRun('switched');
  for (const [end, said] of [
    [
      async (_: UserTerminal) => await sealwright(['sessions', 'attach-control', 'switched', 'off']),
      /Attaching was switched off.*STATUS 1\nicanon/s,
    ],
    [async (terminal: UserTerminal) => process.kill(terminal.pid, 'SIGTERM'), endedWith(143)],
  ] as const) {
    await sealwright(['sessions', 'attach-control', 'switched', 'on']);
    const terminal = open(t, 'attach', run, '--driver');
    terminal.type("printf '\\033[?1049h\\033[?1002h\\033[?2004h\\033[HFULL'; sleep 0.1; cat\r");
    await terminal.shows(/^FULL/);
    assert.equal(terminal.terminal.buffer.active.type, 'alternate');
    assert.equal(terminal.terminal.modes.mouseTrackingMode, 'drag');
    await end(terminal);
    await terminal.shows(said);
    assert.equal(terminal.terminal.buffer.active.type, 'normal');
    assert.equal(terminal.terminal.modes.mouseTrackingMode, 'none');
    assert.equal(terminal.terminal.modes.bracketedPasteMode, false);
    await sealwright(['sessions', 'attach-control', 'switched', 'on']);
    const clean = open(t, 'attach', run, '--driver');
    await clean.shows(/FULL/);
    clean.type('\x03');
    await clean.shows(/\^C\s+.*\$ /);
    clean.type("printf '\\033[?1049l\\033[?1002l\\033[?2004l'; echo re''set\r");
    await clean.shows(/reset/);
    clean.type(detach);
    await clean.shows(endedWith(0));
  }
});

test('a control that is killed and comes back is found again, and nothing is missed', async (t) => {
  const run = await liveRun('broken');
  const terminal = open(t, 'attach', run, '--driver');
  terminal.type('PS1=ready:\r');
  await terminal.shows(/^ready:/m);
  terminal.type('for i in $(seq 1 8); do echo "tick-$i"; sleep 0.5; done\r');
  await terminal.shows(/tick-2/);
  process.kill(instance.pids().control, 'SIGKILL');
  await terminal.shows(/tick-1\n.*tick-7.*tick-8\n/s);
  terminal.type('echo back "again"\r');
  await terminal.shows(/\nback again\n/);
  terminal.type('exit\r');
  await terminal.shows(endedWith(0));
});

test('commands, files and ports of a live run', async (t) => {
  const run = await liveRun('beside');
  const piped = await sealwright(
    ['exec', run, '--', 'sh', '-c', 'tr a-z A-Z; echo err >&2; exit 5'],
    'input\n',
  );
  assert.deepEqual([piped.status, piped.out, piped.err], [5, 'INPUT\n', 'err\n']);
  const terminal = open(t, 'exec', run, '--', 'sh', '-c', 'stty size; read line; exit 9');
  await terminal.shows(/30 100/);
  terminal.type('\r');
  await terminal.shows(endedWith(9));
  const bytes = randomBytes(20_000_000);
  writeFileSync(join(folder, 'there'), bytes, { mode: 0o755 });
  assert.equal((await sealwright(['cp', 'there', `${run}:`])).status, 0);
  assert.equal((await sealwright(['cp', `${run}:there`, 'back'])).status, 0);
  assert(readFileSync(join(folder, 'back')).equals(bytes));
  const server = startCli(instance.home, ['exec', run, '--', 'python3', '-m', 'http.server', '8123'], {
    cwd: folder,
  });
  const forward = startCli(instance.home, ['port-forward', run, '0:8123'], { cwd: folder });
  await forward.said(/leads to port 8123/);
  const listening = await sealwright([
    'exec',
    run,
    '--',
    'sh',
    '-c',
    'until grep -qi :1FBB /proc/net/tcp; do sleep 0.05; done',
  ]);
  assert.equal(listening.status, 0, listening.err);
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(forward.printed())?.[0];
  const answer = await fetch(`${url}/there`);
  assert(Buffer.from(await answer.arrayBuffer()).equals(bytes));
  forward.child.kill('SIGINT');
  assert.equal((await forward.ended).status, 0);
  server.child.kill('SIGINT');
  await server.ended;
  const terminals = JSON.parse((await sealwright(['runs', 'terminals', run, '--json'])).out);
  assert.deepEqual(
    terminals.map(({ kind, exitCode }: { kind: string; exitCode: number | null }) => [kind, exitCode]),
    [
      ['run', null],
      ['exec', 9],
    ],
  );
});
