import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { TestRepository } from '../../src/cli/test-repository.ts';
import { createClient } from '../../src/client/client.ts';
import type { RunView, SessionView, TokenView } from '../../src/contract/schemas.ts';
import { controlUid, homeAt } from '../../src/main/home.ts';
import { segmentOf } from '../support/audit.ts';
import { type CliEnd, type CliProcess, startCli } from '../support/cli-process.ts';
import { remains, sandboxGroups, untilNone } from '../support/host-traces.ts';
import { type Instance, startInstance } from '../support/instance.ts';

/** The story, through ./bin/sealwright alone, on one data folder from its first start to its third. */

const folder = mkdtempSync(join(tmpdir(), 'sealwright-story-'));
const home = join(folder, 'home');
const temporary = join(folder, 'tmp');
const asRoot = process.getuid?.() === 0;
let instance: Instance;
let repository: TestRepository;

before(async () => {
  mkdirSync(temporary);
  repository = new TestRepository(join(folder, 'project'));
  for (const number of [1, 2, 3, 4, 5, 6]) {
    repository.write('README', `line ${number}\n`);
    repository.commit(`change ${number}`);
  }
  repository.write('.gitignore', 'ignored\n');
  repository.write('src/main.c', 'int main(void) { return 0; }\n');
  repository.commit('start of the code');
  instance = await startInstance({ home });
});

after(async () => {
  await instance.remove();
  rmSync(folder, { recursive: true, force: true });
});

function start(words: readonly string[], cwd = repository.path): CliProcess {
  return startCli(home, words, { cwd, environment: { TMPDIR: temporary, MINE: 'of the caller' } });
}

async function sealwright(...words: string[]): Promise<CliEnd & { out: string; said: string }> {
  const end = await start(words).ended;
  return { ...end, out: end.stdout.toString('utf8'), said: end.stderr.toString('utf8') };
}

/** Succeeds and says nothing on standard error. */
async function quietly(...words: string[]): Promise<string> {
  const { status, out, said } = await sealwright(...words);
  assert.equal(said, '', words.join(' '));
  assert.equal(status, 0, words.join(' '));
  return out;
}

async function runsOf(name: string): Promise<RunView[]> {
  return JSON.parse(await quietly('runs', '--json', '--name', name)) as RunView[];
}

async function runNamed(name: string): Promise<RunView> {
  const [run] = await runsOf(name);
  assert(run !== undefined, `there is a run named ${name}`);
  return run;
}

const mode = (path: string) => (statSync(path).mode & 0o7777).toString(8);

test('the first start makes the data folder, and what is secret in it is for its owner alone', () => {
  const secret = [
    'bootstrap-token',
    'profile.json',
    'audit/control/0000000000000001.jsonl',
    'audit/control/checkpoint',
    'control/audit-ed25519.pem',
    'control/identity.key',
    'control/store.sqlite',
    'control/channel.key',
    'control/local.sock',
    'runner/channel.key',
    'runner/runner.sock',
  ];
  for (const name of secret) assert.equal(mode(join(home, name)), '600', name);
  for (const name of ['audit', 'audit/control', 'control', 'logs', 'runner/runs'])
    assert.equal(mode(join(home, name)), '700');
  const ownerOf = (name: string) => statSync(join(home, name)).uid;
  const mine = process.getuid?.() ?? -1;
  for (const name of ['bootstrap-token', 'profile.json', 'runner', 'runner/channel.key', 'logs'])
    assert.equal(ownerOf(name), mine, name);
  for (const name of ['audit', 'control', 'control/store.sqlite', 'runner/runner.sock'])
    assert.equal(ownerOf(name), asRoot ? controlUid : mine, name);
  assert.match(readFileSync(join(home, 'bootstrap-token'), 'utf8'), /^sw_[0-9A-Za-z]{36}\n$/);
});

test('the command line of this machine works at once', async () => {
  const status = JSON.parse(await quietly('status', '--json')) as Record<string, unknown>;
  assert.equal(status.ready, true);
  assert.equal(status.token, 'accepted');
  assert.equal(status.server, instance.url);
  assert.deepEqual(JSON.parse(await quietly('runs', '--json')), []);
});

test('a repository goes in with its history, and nothing of it or of the caller changes', async () => {
  const objects = readdirSync(join(repository.path, '.git/objects')).sort();
  const out = await quietly('run', '--repo', '.', '--', 'git', 'log', '--oneline', '-5');
  assert.equal(out, `${repository.git('log', '--oneline', '-5')}\n`);
  const url = await quietly(
    'run',
    '--repo',
    `file://${repository.path}`,
    '--',
    'git',
    'status',
    '--short',
    '--branch',
  );
  assert.equal(url, '## main\n');
  assert.deepEqual(readdirSync(join(repository.path, '.git/objects')).sort(), objects);
  assert.equal(repository.git('for-each-ref', '--format=%(refname)'), 'refs/heads/main');
  assert.deepEqual(readdirSync(temporary), []);
});

test('standard output and error come separately, byte for byte', async () => {
  const bytes = Buffer.from(
    Array.from({ length: 70_000 }, (_, index) => (index * index + (index >> 8)) & 0xff),
  );
  const binary = new TestRepository(join(folder, 'binary'));
  binary.write('bytes', bytes);
  binary.commit();
  const script = 'cat bytes; tac -s "" bytes >&2 || true; rev=$(wc -c < bytes); printf %s "$rev" >&2';
  const words = ['run', '--name', 'bytes', '--repo', '.', '--', 'sh', '-c', script];
  const end = await start(words, binary.path).ended;
  assert.equal(end.status, 0);
  assert(end.stdout.equals(bytes));
  assert(end.stderr.subarray(-5).equals(Buffer.from('70000')));
  const logs = await start(['logs', 'bytes']).ended;
  assert(logs.stdout.equals(bytes), 'the kept log has the same bytes');
  assert(logs.stderr.equals(end.stderr));
  const one = await start(['logs', 'bytes', '--stream', 'stderr']).ended;
  assert.equal(one.stdout.length, 0);
});

const statuses: readonly (readonly [number, ...string[]])[] = [
  [0, '--', 'true'],
  [3, '--', 'sh', '-c', 'exit 3'],
  [255, '--', 'sh', '-c', 'exit 255'],
  [126, '--repo', '.', '--', './README'],
  [126, '--', '/usr'],
  [127, '--', 'no-such-program'],
  [127, '--', '/no/such/program'],
  [137, '--', 'sh', '-c', 'kill -KILL $$'],
  [143, '--', 'sh', '-c', 'kill -TERM $$'],
  [134, '--', 'sh', '-c', 'kill -ABRT $$'],
  [124, '--timeout', '1s', '--', 'sleep', '60'],
  [125, '--no-such-option', '--', 'true'],
  [125, '--memory', '1k', '--', 'true'],
  [125, '--cwd', '/no/such/folder', '--', 'true'],
  [125, '--session', 'ses_01kamcq5r8v0x4m2e7hj9n3tzb', '--', 'true'],
];

for (const [status, ...words] of statuses) {
  test(`run ${words.join(' ')} exits with ${status}`, async () => {
    const end = await sealwright('run', ...words);
    assert.equal(end.status, status, end.said);
    assert.equal(end.out, '');
    if (status === 125 || status === 124) assert.match(end.said, /^sealwright: /);
  });
}

test('--env sets and hands over variables, --cwd says where to start, and nothing else of the caller goes in', async () => {
  const script = 'echo "$A|$MINE|$B"; pwd; env | grep -c HOME=';
  const flags = ['--env', 'A=a=b c', '--env', 'MINE', '-e', 'B=', '--cwd', 'src', '--repo', '.'];
  const out = await quietly('run', '--name', 'environment', ...flags, '--', 'sh', '-c', script);
  assert.equal(out, 'a=b c|of the caller|\n/workspace/src\n1\n');
  const run = await runNamed('environment');
  assert.deepEqual([...run.envNames].sort(), ['A', 'B', 'MINE']);
  assert(!JSON.stringify(run).includes('of the caller'), 'values are kept nowhere');
  const seen = await quietly('run', '--', 'sh', '-c', 'env; pwd');
  assert.doesNotMatch(seen, /MINE|SEALWRIGHT_HOME|sw_|TMPDIR=\/tmp\/sealwright/);
  assert.match(seen, /\n\/workspace\n$/);
});

test('limits, time and name are those of the flags', async () => {
  const flags = ['--cpus', '0.5', '--memory', '64m', '--pids', '32', '--disk', '256m', '--timeout', '90s'];
  await quietly('run', '--name', 'limited', '--priority', '7', ...flags, '--', 'true');
  const { limits, timeoutSeconds, priority, phase, usage } = await runNamed('limited');
  const { outputBytes: _, ...asked } = limits;
  const mib = 1024 * 1024;
  assert.deepEqual(asked, { cpus: 0.5, memoryBytes: 64 * mib, pids: 32, diskBytes: 256 * mib });
  assert.deepEqual([timeoutSeconds, priority, phase], [90, 7, 'succeeded']);
  assert(usage !== null && usage.peakMemoryBytes > 0);
});

test('a session keeps its files from run to run', async () => {
  await quietly(
    'run',
    '--session',
    'lasting',
    '--repo',
    '.',
    '--',
    'sh',
    '-c',
    'echo kept > made; echo x > ~/own',
  );
  const out = await quietly(
    'run',
    '--session',
    'lasting',
    '--',
    'sh',
    '-c',
    'cat made ~/own; git status --short',
  );
  assert.equal(out, 'kept\nx\n?? made\n');
  const again = await sealwright('run', '--session', 'lasting', '--repo', '.', '--', 'true');
  assert.equal(again.status, 125);
  assert.match(again.said, /already has a workspace/);
  const sessions = JSON.parse(await quietly('sessions', '--json')) as SessionView[];
  const lasting = sessions.filter(({ name }) => name === 'lasting');
  assert.deepEqual(
    lasting.map(({ phase, repo }) => [phase, repo]),
    [['active', true]],
  );
  await quietly('sessions', 'rm', 'lasting');
  const closed = await sealwright('run', '--session', 'lasting', '--', 'ls');
  assert.equal(closed.out, '', 'the name of a closed session makes a new, empty one');
});

test('a detached run goes on, is listed while it runs, and its log is followed to its end', async () => {
  const script = 'echo one; while [ ! -e go ]; do sleep 0.05; done; echo two; exit 4';
  const id = (
    await quietly('run', '--detach', '--session', 'detached', '--name', 'behind', '--', 'sh', '-c', script)
  ).trim();
  assert.match(id, /^run_[0-9a-z]{26}$/);
  const follower = start(['logs', id, '--follow']);
  await follower.said(/one/);
  const listed = await quietly('runs', '--phase', 'running');
  assert.match(listed, new RegExp(`${id} +behind +ses_\\S+ +running`));
  assert.equal(await quietly('logs', id), 'one\n', 'without --follow what is there is printed');
  const stopped = start(['stop', id]);
  assert.equal((await stopped.ended).status, 0);
  const end = await follower.ended;
  assert.equal(end.stdout.toString(), 'one\n');
  assert.equal(end.status, 0);
  assert.equal((await runNamed('behind')).phase, 'cancelled');
});

test('runs are found by id, beginning, name and "latest"', async () => {
  await quietly('run', '--name', 'findable', '--', 'echo', 'found');
  const { id } = await runNamed('findable');
  for (const word of [id, id.slice(0, -4), id.slice(4, -4), 'findable', 'latest'])
    assert.equal(await quietly('logs', word), 'found\n', word);
  const { status, said } = await sealwright('logs', 'nobody-knows-me');
  assert.equal(status, 1);
  assert.match(said, /No run answers to "nobody-knows-me"/);
});

test('Ctrl-C stops the run, the command may end in its own way, and its status is the one given', async () => {
  const trap = 'trap "echo bye; exit 9" TERM; echo up; while :; do sleep 0.05; done';
  const own = start(['run', '--name', 'interrupted', '--', 'sh', '-c', trap]);
  await own.said(/up/);
  own.child.kill('SIGINT');
  const end = await own.ended;
  assert.deepEqual([end.status, end.stdout.toString()], [9, 'up\nbye\n']);
  assert.match(end.stderr.toString(), /stopping the run; Ctrl-C again leaves at once/);
  assert.equal((await runNamed('interrupted')).phase, 'cancelled');
  const plain = start(['run', '--', 'sh', '-c', 'echo up; exec sleep 60']);
  await plain.said(/up/);
  plain.child.kill('SIGINT');
  assert.equal((await plain.ended).status, 143);
});

test('a second Ctrl-C leaves at once, and the run is stopped all the same', async () => {
  const stubborn = start(['run', '--name', 'stubborn', '--', 'sh', '-c', 'trap "" TERM; echo up; sleep 60']);
  await stubborn.said(/up/);
  stubborn.child.kill('SIGINT');
  await stubborn.said(/stopping the run/);
  stubborn.child.kill('SIGINT');
  assert.equal((await stubborn.ended).signal, 'SIGINT');
  const { id } = await runNamed('stubborn');
  const run = await instance.client.runs.wait(id, { timeoutSeconds: 30 });
  assert.deepEqual([run.phase, run.signal], ['cancelled', 'SIGKILL']);
});

test('--json writes one object a line, on standard output alone', async () => {
  // Steps are told of a run that goes on.
  const script = 'sleep 0.6; echo out; printf "\\377" >&2; exit 5';
  const { status, out, said } = await sealwright('run', '--json', '--repo', '.', '--', 'sh', '-c', script);
  assert.deepEqual([status, said], [5, '']);
  const events = out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.equal(events[0]?.event, 'run');
  const steps = events.filter(({ event }) => event === 'step').map(({ step }) => step);
  assert.deepEqual(
    steps,
    ['workspace', 'sandbox', 'command', 'collect'].filter((step) => steps.includes(step)),
  );
  assert(steps.includes('workspace'), 'progress is told');
  assert.deepEqual(
    events.find(({ event }) => event === 'stdout'),
    { event: 'stdout', text: 'out\n' },
  );
  assert.deepEqual(
    events.find(({ event }) => event === 'stderr'),
    { event: 'stderr', base64: '/w==' },
  );
  const { event, phase, cause, exitCode } = events.at(-1)!;
  assert.deepEqual([event, phase, cause, exitCode], ['end', 'failed', 'exit', 5]);
});

test('--verbose says each step on standard error', async () => {
  const slow = ['sh', '-c', 'sleep 0.6; echo out'];
  const { out, said } = await sealwright('run', '--verbose', '--repo', '.', '--', ...slow);
  assert.equal(out, 'out\n');
  for (const step of ['reading the repository', 'uploaded', 'preparing the workspace', 'making the sandbox'])
    assert.match(said, new RegExp(`sealwright: ${step}`));
});

test('--dirty brings uncommitted and untracked files, ignored ones stay, and without it there is a note', async (t) => {
  const dirty = new TestRepository(join(folder, 'dirty'));
  t.after(() => rmSync(dirty.path, { recursive: true }));
  dirty.write('.gitignore', 'ignored\n');
  dirty.write('tracked', 'before\n');
  dirty.write('gone', 'x\n');
  dirty.commit();
  for (const name of ['tracked', 'untracked', 'ignored']) dirty.write(name, 'after\n');
  rmSync(join(dirty.path, 'gone'));
  const script = 'cat tracked; ls -A; git status --short';
  const with_ = await start(['run', '--dirty', '--repo', '.', '--', 'sh', '-c', script], dirty.path).ended;
  assert.equal(
    with_.stdout.toString(),
    'after\n.git\n.gitignore\ntracked\nuntracked\n D gone\n M tracked\n?? untracked\n',
  );
  const without = await start(['run', '--repo', '.', '--', 'sh', '-c', script], dirty.path).ended;
  assert.equal(without.stdout.toString(), 'before\n.git\n.gitignore\ngone\ntracked\n');
  assert.match(without.stderr.toString(), /Uncommitted changes are not uploaded; --dirty adds them/);
  assert.equal(dirty.git('status', '--short'), ' D gone\n M tracked\n?? untracked');
});

test('--no-diff collects nothing, and diff says so', async () => {
  await quietly('run', '--no-diff', '--name', 'uncollected', '--repo', '.', '--', 'sh', '-c', 'echo x > new');
  assert.deepEqual((await runNamed('uncollected')).artifacts, []);
  const { status, out, said } = await sealwright('diff', 'uncollected');
  assert.deepEqual([status, out], [1, '']);
  assert.match(said, /^sealwright: /);
});

test('tokens are created, listed without their secret, work, and are revoked at once', async () => {
  const created = await sealwright(
    'tokens',
    'create',
    '--name',
    'ci',
    '--role',
    'developer',
    '--expires',
    '1h',
  );
  assert.equal(created.status, 0, created.said);
  const token = created.out.trim();
  assert.match(token, /^sw_[0-9A-Za-z]{36}$/);
  assert.match(created.said, /its secret is not shown again/);
  const list = await quietly('tokens', 'ls', '--json', '--local');
  assert(!list.includes(token));
  const listed = (JSON.parse(list) as TokenView[]).find(({ name }) => name === 'ci');
  assert(listed !== undefined && listed.expiresAt !== null && listed.scopes.includes('run:write'));
  const client = createClient({ url: instance.url, token });
  assert.deepEqual((await client.runs.list({ limit: 1 })).items, [], 'it sees its own runs alone');
  assert.equal((await sealwright('tokens', 'rm', 'ci', '--local')).out.trim(), listed.id);
  await assert.rejects(client.runs.list(), { status: 401 });
});

test('the audit log tells who did what, verifies, and a flipped byte is found', async () => {
  const events = JSON.parse(await quietly('audit', 'ls', '--json', '--action', 'run.create')) as {
    phase: string;
    actor: { id: string };
  }[];
  assert(events.length > 10 && events.every(({ actor }) => actor.id.startsWith('user:')));
  assert.match(await quietly('audit', 'ls', '--limit', '5'), /^TIME +STREAM +ACTOR +ACTION/);
  assert.match(await quietly('audit', 'verify'), /intact/);
  const copy = join(folder, 'audit-copy');
  cpSync(join(home, 'audit'), copy, { recursive: true });
  const stream = segmentOf(copy);
  const bytes = readFileSync(stream);
  const at = bytes.indexOf('run.create', bytes.length >> 1) + 4;
  bytes[at] = bytes[at]! ^ 1;
  writeFileSync(stream, bytes);
  const tampered = await sealwright('audit', 'verify', copy);
  assert.equal(tampered.status, 1);
  assert.match(tampered.out, /control: tampered: .* \(event \d+, line \d+ of 0000000000000001\.jsonl/);
  assert.equal((await sealwright('audit', 'verify', join(folder, 'nowhere'))).status, 2);
});

test('doctor checks this machine and exits with 0 where runs work', async () => {
  const json = await sealwright('doctor', '--json');
  assert.equal(json.status, 0, json.out);
  const report = JSON.parse(json.out) as { ok: boolean; findings: { what: string; verdict: string }[] };
  assert.equal(report.ok, true);
  const verdicts = new Map(report.findings.map(({ what, verdict }) => [what, verdict]));
  for (const what of ['bwrap', 'git', 'user namespaces', 'sandbox']) assert.equal(verdicts.get(what), 'ok');
  const text = await sealwright('doctor');
  assert.equal(text.status, 0);
  assert.match(text.out, /^ok +sandbox: made one, its walls stand/m);
});

test('completion prints a script that bash can read', async () => {
  const script = await quietly('completion', 'bash');
  execFileSync('bash', ['-n'], { input: script });
  const offered = execFileSync('bash', ['-s'], {
    input: `${script}\nCOMP_WORDS=(sealwright ru); COMP_CWORD=1; _sealwright; for w in $\{COMPREPLY[@]}; do echo $w; done\n`,
    encoding: 'utf8',
  });
  assert.deepEqual(offered.split('\n').filter(Boolean).sort(), ['run', 'runs']);
});

test('Ctrl-C ends it with 0, live runs included, and leaves no process, socket, view, mount or control group', async () => {
  const live = start(['run', '--name', 'cut', '--', 'sh', '-c', 'echo up; sleep 600']);
  await live.said(/up/);
  assert(remains(home).length > 3, 'the search finds what is there');
  if (asRoot) assert(sandboxGroups(home).length > 0, 'and the control groups');
  const { port } = new URL(instance.url);
  const exited = once(instance.process, 'exit');
  process.kill(-instance.process.pid!, 'SIGINT');
  assert.deepEqual(await exited, [0, null]);
  live.child.kill('SIGKILL');
  await live.ended;
  assert.deepEqual(await untilNone(() => [...remains(home), ...sandboxGroups(home)], 1_000), []);
  assert(!existsSync(join('/run/sealwright', homeAt(home).instance)));
  const socket = createConnection({ host: '127.0.0.1', port: Number(port) });
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNREFUSED');
});

test('a second start is quick and remembers everything', async (t) => {
  const startedAt = systemClock.monotonic();
  instance = await startInstance({ home });
  t.diagnostic(`ready again after ${Math.round(systemClock.monotonic() - startedAt)} ms`);
  const cut = await runNamed('cut');
  assert.deepEqual([cut.phase, cut.cause], ['failed', 'runner-lost']);
  assert.equal(await quietly('logs', 'bytes', '--stream', 'stdout').then((out) => out.length > 0), true);
  assert.match(await quietly('audit', 'verify'), /intact/);
});

test('in production mode the bootstrap token is refused, and the machine’s own socket is the way in', async () => {
  const bootstrap = createClient({ url: instance.url, token: instance.bootstrapToken });
  assert((await bootstrap.runs.list()).items.length > 0, 'it works before');
  await instance.stop();
  rmSync(join(home, 'profile.json'));
  instance = await startInstance({ home, environment: { CP_ENV: 'prod' } });
  assert(existsSync(join(home, 'bootstrap-token')));
  const refused = createClient({ url: instance.url, token: instance.bootstrapToken });
  await assert.rejects(refused.runs.list(), { status: 401, code: 'auth.invalid' });
  rmSync(join(home, 'profile.json'));
  const away = { cwd: folder, environment: { SEALWRIGHT_URL: instance.url } };
  const created = await startCli(home, ['tokens', 'create', '--name', 'admin', '--role', 'admin'], away)
    .ended;
  assert.equal(created.status, 0, created.stderr.toString());
  const admin = createClient({ url: instance.url, token: created.stdout.toString().trim() });
  assert((await admin.tokens.list()).items.some(({ name }) => name === 'admin'));
});
