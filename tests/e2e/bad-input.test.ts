import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { gitIn, TestRepository } from '../../src/cli/test-repository.ts';
import { createClient } from '../../src/client/client.ts';
import type { Problem, RunView } from '../../src/contract/schemas.ts';
import { newId } from '../../src/model/ids.ts';
import { type CliEnd, startCli } from '../support/cli-process.ts';
import { fileTree } from '../support/file-tree.ts';
import { processesOf, untilNone } from '../support/host-traces.ts';
import { file, hostileBundle, link, program, type TreeEntry, treeOf } from '../support/hostile-bundle.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { storedFiles } from '../support/stored-files.ts';

/** What callers get wrong: each has its own clear error, and leaves nothing behind. */

const folder = mkdtempSync(join(tmpdir(), 'sealwright-bad-'));
const home = join(folder, 'home');
const temporary = join(folder, 'tmp');
let instance: Instance;
let stored: readonly string[];
let good: TestRepository;

before(async () => {
  mkdirSync(temporary);
  good = new TestRepository(join(folder, 'good'));
  good.write('README', 'hello\n');
  good.commit();
  instance = await startInstance({ home });
});

after(async () => {
  await instance.remove();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => {
  stored = storedFiles(home);
});

/** Whatever happened: no temporary file and no process of the command line is left. */
afterEach(async () => {
  assert.deepEqual(readdirSync(temporary), []);
  assert.deepEqual(await untilNone(() => processesOf(temporary), 1_000), []);
});

type Said = CliEnd & { out: string; said: string };

async function sealwright(cwd: string, ...words: string[]): Promise<Said> {
  const end = await startCli(home, words, { cwd, environment: { TMPDIR: temporary } }).ended;
  return { ...end, out: end.stdout.toString('utf8'), said: end.stderr.toString('utf8') };
}

/** The command fails with 125 and says why; no upload, session or run was made. */
async function refused(words: readonly string[], why: RegExp, cwd = folder): Promise<void> {
  const { status, out, said } = await sealwright(cwd, ...words);
  assert.match(said, why);
  assert.deepEqual([status, out], [125, '']);
  assert.doesNotMatch(said, /bug in Sealwright| at .*\.js:/);
  await nothingNew();
}

/** The server clears away behind a caller that has left, so it is given a moment. */
async function nothingNew(): Promise<void> {
  const more = () => storedFiles(home).filter((name) => !stored.includes(name));
  assert.deepEqual(await untilNone(more, 5_000), []);
}

const run = (repo: string) => ['run', '--repo', repo, '--', 'true'];

test('a folder that is not a repository', async () => {
  mkdirSync(join(folder, 'plain'));
  await refused(run('plain'), /plain is not a git repository\.\n {2}Make it one \(git init/);
});

test('a folder that is not there, and a file', async () => {
  await refused(run('nowhere'), /There is no folder .*nowhere/);
  await refused(run('good/README'), /README is not a folder/);
});

test('a repository without a commit', async () => {
  new TestRepository(join(folder, 'empty'));
  await refused(run('empty'), /empty has no commit yet\.\n {2}Make one/);
});

test('a bare repository, and the inside of a git folder', async () => {
  new TestRepository(join(folder, 'bare'), ['--bare']);
  await refused(run('bare'), /bare is a bare repository: it has no checkout\.\n {2}Clone it/);
  await refused(run('good/.git'), /is inside a \.git folder/);
});

test('a repository on another machine that cannot be cloned', async () => {
  await refused(run('http://example.org/x.git'), /plain http, .* use https/);
  await refused(run('https://me:secret@example.org/x.git'), /holds a user or password/);
  await refused(run('git@nobody.invalid:x.git'), /No host key of nobody\.invalid is known here/);
});

test('a repository whose objects are broken', async () => {
  const broken = new TestRepository(join(folder, 'broken'));
  broken.write('a', 'a\n');
  const first = broken.commit();
  broken.write('a', 'b\n');
  broken.commit();
  rmSync(join(broken.path, '.git/objects', first.slice(0, 2), first.slice(2)));
  const before = fileTree(broken.path);
  await refused(run('broken'), /git failed: /);
  assert.deepEqual(fileTree(broken.path), before);
});

test('file names with line feeds and bytes that are not UTF-8 go in and out as they are', async () => {
  const odd = new TestRepository(join(folder, 'odd'));
  const names = ['line\nfeed', '\ttab', '-dash', ' blank ', '"quote"', '\\', '$(id)', 'é'].map((name) =>
    Buffer.from(name),
  );
  names.push(Buffer.from([0xff, 0xfe, 0x0a, 0x80]), Buffer.from([0x2d, 0xe9]));
  for (const name of names) odd.write(name, name);
  odd.commit();
  const script =
    'git ls-files -z; for f in *; do [ "$(cat -- "./$f"; echo .)" = "$f." ] || exit 9; echo n >> "./$f"; done';
  const words = ['run', '--name', 'odd', '--repo', '.', '--', 'sh', '-c', script];
  const end = await startCli(home, words, { cwd: odd.path, environment: { TMPDIR: temporary } }).ended;
  assert.equal(end.status, 0, end.stderr.toString());
  assert(end.stdout.equals(gitIn(odd.path, ['ls-files', '-z'])));
  assert.equal((await sealwright(odd.path, 'apply', 'odd', '--yes')).status, 0);
  for (const name of names) {
    const path = Buffer.concat([Buffer.from(`${odd.path}/`), name]);
    assert(readFileSync(path).equals(Buffer.concat([name, Buffer.from('n\n')])));
  }
});

test('symlinks out of the repository stay links, and lead nowhere of the host', async () => {
  const linked = new TestRepository(join(folder, 'linked'));
  writeFileSync(join(folder, 'secret'), 'of the host\n');
  symlinkSync('../secret', join(linked.path, 'near'));
  symlinkSync(join(folder, 'secret'), join(linked.path, 'far'));
  symlinkSync('/root', join(linked.path, 'home'));
  linked.commit();
  const script =
    'for l in near far home; do readlink $l; cat $l; ls $l/; done; echo mine > /tmp/x; ln -sf /tmp/x near';
  const { out, status } = await sealwright(linked.path, 'run', '--repo', '.', '--', 'sh', '-c', script);
  assert.equal(out, `../secret\n${join(folder, 'secret')}\n/root\n`);
  assert.equal(status, 0);
  assert.equal(readFileSync(join(folder, 'secret'), 'utf8'), 'of the host\n');
});

test('submodules and LFS pointers come with a note each', async () => {
  const inner = new TestRepository(join(folder, 'inner'));
  inner.write('x', 'x\n');
  const commit = inner.commit();
  const outer = new TestRepository(join(folder, 'outer'));
  outer.git('update-index', '--add', '--cacheinfo', `160000,${commit},mod\u001b[2J/ule`);
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'a'.repeat(64)}\nsize 12345\n`;
  outer.write('assets/.gitattributes', '*.bin filter=lfs diff=lfs merge=lfs -text\n');
  outer.write('assets/big.bin', pointer);
  outer.git('add', 'assets');
  outer.git('commit', '-q', '-m', 'both');
  const script = 'cat assets/big.bin; ls mod*';
  const { out, said, status } = await sealwright(outer.path, 'run', '--repo', '.', '--', 'sh', '-c', script);
  assert.match(said, /The content of submodules is not uploaded: mod\\e\[2J\/ule\./);
  assert.match(said, /Git LFS files are uploaded as their pointers, not their content\./);
  assert(out.startsWith(pointer));
  assert.equal(status, 0, said);
});

test('a command that does not exist is said to be not found, and 127', async () => {
  const { status, said } = await sealwright(folder, 'run', '--', 'no-such-program', 'x');
  assert.equal(status, 127);
  assert.match(said, /no-such-program: not found/);
});

test('a command that cannot be executed is 126', async () => {
  const { status, said } = await sealwright(good.path, 'run', '--repo', '.', '--', './README');
  assert.equal(status, 126);
  assert.match(said, /README: Permission denied/);
});

test('an empty command', async () => {
  await refused(['run', '--repo', 'good'], /There is no command\.\n {2}Name it after --/);
  await refused(['run', '--repo', 'good', '--', ''], /names no program: its first word is empty/);
  await refused(['run', '--', '', 'x'], /names no program: its first word is empty/);
});

test('100,000 arguments arrive, all of them', async () => {
  const words = Array.from({ length: 100_000 }, (_, index) => `${index % 10}`);
  const { out, status, said } = await sealwright(
    folder,
    'run',
    '--',
    'sh',
    '-c',
    'echo $# $0; shift 99998; echo $1',
    ...words,
  );
  assert.equal(status, 0, said);
  assert.equal(out, '99999 0\n9\n');
});

test('variables with names that none can have', async () => {
  await refused(['run', '--env', 'A B=c', '--', 'true'], /is not a name an environment variable can have/);
  await refused(['run', '--env', '=c', '--', 'true'], /--env takes NAME=VALUE or NAME/);
});

const limits: readonly (readonly [string, string, RegExp])[] = [
  ['--memory', '0', /limits\/memoryBytes: .*16777216/],
  ['--memory', '1p', /limits\/memoryBytes: .*1099511627776/],
  ['--disk', '0', /limits\/diskBytes: .*1048576/],
  ['--disk', '1p', /limits\/diskBytes: .*17592186044416/],
  ['--pids', '0', /limits\/pids: .*8/],
  ['--pids', '1000000000', /limits\/pids: .*100000/],
  ['--cpus', '0', /limits\/cpus: .*0\.05/],
  ['--cpus', '99999', /limits\/cpus: .*1024/],
  ['--timeout', '0', /timeoutSeconds: .*>=1\b/],
  ['--timeout', '9999d', /timeoutSeconds: .*2592000/],
  ['--memory', 'lots', /--memory takes a size such as 512m/],
  ['--memory', '99999999p', /--memory takes a size/],
  ['--cpus', '-1', /--cpus takes a number/],
  ['--timeout', 'soon', /--timeout takes a duration/],
  ['--name', 'x'.repeat(64), /name: is longer than 63 characters/],
  ['--name', 'a\u0007b', /name: has control characters/],
  ['--session', ' ', /name: has control characters or outer white space/],
];

for (const [flag, value, why] of limits) {
  test(`${flag} ${JSON.stringify(value.slice(0, 20))}`, async () => {
    await refused(['run', `${flag}=${value}`, '--repo', 'good', '--', 'true'], why);
  });
}

type Answer = { readonly status: number; readonly problem: Problem & { errors?: { path: string }[] } };

async function post(path: string, body: string, type: string | null = 'application/json'): Promise<Answer> {
  const response = await fetch(instance.url + path, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${instance.bootstrapToken}`,
      ...(type === null ? {} : { 'content-type': type }),
    },
    body: Buffer.from(body),
  });
  return { status: response.status, problem: (await response.json()) as Answer['problem'] };
}

test('a body that is not what the contract says: unknown fields, broken JSON, another type, values out of it', async () => {
  const session = newId('session', 1);
  const request = { session, command: ['true'] };
  const cases: readonly (readonly [string, string | null, number, string, RegExp])[] = [
    ['{"name":"x","colour":"red"}', 'application/json', 400, 'request.invalid', /colour/],
    ['{"session":', 'application/json', 400, 'request.malformed', /not valid JSON/],
    ['', 'application/json', 400, 'request.invalid', /./],
    ['[]', 'application/json', 400, 'request.invalid', /./],
    [JSON.stringify(request), 'text/plain', 415, 'request.media-type', /./],
    [JSON.stringify(request), 'application/x-www-form-urlencoded', 415, 'request.media-type', /./],
    [JSON.stringify(request), null, 415, 'request.media-type', /./],
    [JSON.stringify({ ...request, env: { A: 'x\0y' } }), 'application/json', 400, 'request.invalid', /NUL/],
    [
      JSON.stringify({ ...request, env: { 'A\0B': 'x' } }),
      'application/json',
      400,
      'request.invalid',
      /name/,
    ],
    [JSON.stringify({ ...request, command: ['a\0'] }), 'application/json', 400, 'request.invalid', /NUL/],
    [JSON.stringify({ ...request, command: [] }), 'application/json', 400, 'request.invalid', /is empty/],
    [
      JSON.stringify({ ...request, command: Array(200_001).fill('x') }),
      'application/json',
      400,
      'request.invalid',
      /200000/,
    ],
    [
      JSON.stringify({ ...request, command: ['x'.repeat(131_072)] }),
      'application/json',
      400,
      'request.invalid',
      /131071/,
    ],
    [
      JSON.stringify({ ...request, limits: { outputBytes: 0 } }),
      'application/json',
      400,
      'request.invalid',
      /65536/,
    ],
    [
      JSON.stringify({ ...request, limits: { memoryBytes: 1e15 } }),
      'application/json',
      400,
      'request.invalid',
      /1099511627776/,
    ],
    [JSON.stringify({ ...request, cwd: 'a\0b' }), 'application/json', 400, 'request.invalid', /NUL/],
    [
      JSON.stringify({ ...request, session: 'mine' }),
      'application/json',
      400,
      'request.invalid',
      /id of a session/,
    ],
    [`{"name":"${'x'.repeat(1024 * 1024)}"}`, 'application/json', 413, 'request.too-large', /1048576/],
  ];
  for (const [body, type, status, code, detail] of cases) {
    const answer = await post('/api/v1/runs', body, type);
    assert.deepEqual([answer.status, answer.problem.code], [status, code], body.slice(0, 80));
    assert.match(JSON.stringify(answer.problem), detail, body.slice(0, 80));
  }
  assert.deepEqual(storedFiles(home), stored);
});

test('a foreign id answers as one that does not exist, and nothing happens', async () => {
  const mine = await instance.client.sessions.create({ name: 'private' });
  const made = await instance.client.runs.create({ session: mine.id, command: ['sleep', '30'] });
  const granted = {
    name: 'other',
    scopes: ['session:read', 'session:write', 'run:read', 'run:write'] as const,
  };
  const { token } = await instance.client.tokens.create({
    ...granted,
    scopes: [...granted.scopes],
    actor: 'user:stranger',
    reach: 'own',
  });
  const stranger = createClient({ url: instance.url, token });
  const attempts = [
    (session: string) => stranger.runs.create({ session, command: ['true'] } as never),
    (session: string) => stranger.sessions.get(session),
    (session: string) => stranger.sessions.close(session),
    (_: string, id: string) => stranger.runs.get(id),
    (_: string, id: string) => stranger.runs.stop(id),
    (_: string, id: string) => stranger.runs.resume(id),
    (_: string, id: string) => stranger.runs.diff(id),
    (_: string, id: string) => stranger.runs.remove(id),
  ];
  const detailOf = (call: Promise<unknown>) =>
    call.then(
      () => 'it went through',
      ({ status, code, detail }) => `${status} ${code} ${detail}`,
    );
  for (const attempt of attempts) {
    const foreign = await detailOf(attempt(mine.id, made.id));
    assert.match(foreign, /^404 resource\.absent No such (run|session), or you may not see it/);
    assert.equal(foreign, await detailOf(attempt(newId('session', 1), newId('run', 1))));
  }
  assert.match((await instance.client.runs.get(made.id)).phase, /queued|starting|running/);
  await instance.client.sessions.close(mine.id);
});

/** A run in a session made of these bytes. The session is closed, and everything but the run's log must be gone. */
async function unpacked(bundle: Buffer, shallow: readonly string[] = []): Promise<RunView> {
  const { client } = instance;
  const bytes = async function* () {
    yield bundle;
  };
  const upload = await client.uploads.store(bytes());
  const session = await client.sessions.create({ repo: { upload: upload.id, shallow: [...shallow] } });
  const made = await client.runs.create({ session: session.id, command: ['ls', '-A'] });
  const ended = await client.runs.wait(made.id, { timeoutSeconds: 60 });
  if (ended.phase === 'failed') assert(!existsSync(join(home, 'runner/sessions', session.id)));
  await client.sessions.close(session.id);
  const left = storedFiles(home).filter((name) => !stored.includes(name));
  assert.deepEqual(left, [`runs/${made.id}`]);
  await client.runs.remove(made.id);
  assert.deepEqual(storedFiles(home), stored);
  return ended;
}

test('an upload that is no bundle, is cut off, or lacks what it builds on, fails the run and says why', async () => {
  const whole = good.gitBytes('bundle', 'create', '-q', '-', 'HEAD', 'main');
  assert.equal((await unpacked(whole)).phase, 'succeeded', 'the positive control');
  good.write('README', 'more\n');
  good.commit();
  const thin = good.gitBytes('bundle', 'create', '-q', '-', 'HEAD', '^HEAD~1');
  const nameless = good.gitBytes('bundle', 'create', '-q', '-', 'main');
  const cases: readonly (readonly [string, Buffer])[] = [
    ['random bytes', randomBytes(10_000)],
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('hello\n')],
    ['a header alone', Buffer.from('# v2 git bundle\n')],
    ['an unknown version', Buffer.from('# v9 git bundle\n\nPACK')],
    ['an odd object format', Buffer.from('# v3 git bundle\n@object-format=$(touch x)\n\nPACK')],
    ['a truncated bundle', whole.subarray(0, whole.length - 25)],
    [
      'a flipped bit',
      Buffer.from(whole.map((byte, index) => (index === whole.length - 40 ? byte ^ 1 : byte))),
    ],
    ['a thin bundle', thin],
    ['no HEAD', nameless],
  ];
  for (const [name, bundle] of cases) {
    const { phase, cause, reason, exitCode } = await unpacked(bundle);
    assert.deepEqual([phase, cause, exitCode], ['failed', 'repo-access', null], name);
    assert.match(reason ?? '', /^The repository could not be unpacked: \S/, name);
  }
});

const hook = program('post-checkout', '#!/bin/sh\necho hooked > /workspace/hooked\n');
const trees: Readonly<Record<string, readonly TreeEntry[]>> = {
  'a git folder': [treeOf('.git', file('config', '[core]\n\tfsmonitor = evil\n'), treeOf('hooks', hook))],
  'a git folder by another case': [treeOf('.GIT', file('config'))],
  'a git folder by its short name': [treeOf('git~1', file('config'))],
  'a git folder deeper down': [treeOf('a', treeOf('.git', file('config')))],
  'a folder called ..': [treeOf('..', file('escaped'))],
  'a folder called .': [treeOf('.', file('x'))],
  'a slash in a name': [file('a/../../escaped')],
  'an absolute name': [file('/tmp/escaped')],
  'a git folder that is a link': [link('.git', '/sealwright/base')],
  'settings of submodules that are a link': [link('.gitmodules', '/etc/passwd')],
};

for (const [name, entries] of Object.entries(trees)) {
  test(`a bundle whose tree holds ${name} is refused`, async (t) => {
    const path = join(folder, 'hostile');
    t.after(() => rmSync(path, { recursive: true }));
    const { phase, cause, reason } = await unpacked(hostileBundle(path, entries));
    assert.deepEqual([phase, cause], ['failed', 'repo-access'], reason ?? '');
    assert.match(reason ?? '', /could not be unpacked: \S/);
    assert(!existsSync(join(home, 'runner/sessions/escaped')) && !existsSync('/tmp/escaped'));
  });
}

test('a bundle whose links and files overlap stays inside its workspace', async (t) => {
  const path = join(folder, 'overlapping');
  t.after(() => rmSync(path, { recursive: true }));
  const entries = [link('a', '/home/agent'), treeOf('a', file('escaped'))];
  const { phase } = await unpacked(hostileBundle(path, entries));
  assert(['failed', 'succeeded'].includes(phase));
});

test('a repository whose files do not fit into the disk limit fails the run and says so', async () => {
  const large = new TestRepository(join(folder, 'large'));
  large.write('zeros', Buffer.alloc(64 * 1024 * 1024));
  large.commit();
  const { status, said } = await sealwright(large.path, 'run', '--disk', '8m', '--repo', '.', '--', 'true');
  assert.equal(status, 125);
  assert.match(said, /\(limit-disk\): The repository does not fit into the run's disk limit/);
});

test('an upload that breaks off leaves nothing', async () => {
  const endless = async function* () {
    yield randomBytes(1 << 20);
    throw new Error('the sender fell over');
  };
  await assert.rejects(instance.client.uploads.store(endless()));
  await nothingNew();
});

test('a file that --dirty cannot read is named, and nothing is uploaded', async (t) => {
  if (process.getuid?.() === 0) return t.skip('root can read every file');
  const unreadable = new TestRepository(join(folder, 'unreadable'));
  unreadable.commit();
  unreadable.write('closed', 'x\n');
  chmodSync(join(unreadable.path, 'closed'), 0);
  await refused(['run', '--dirty', '--repo', 'unreadable', '--', 'true'], /cannot be read: .*closed/);
});
