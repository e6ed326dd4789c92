import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
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
import { after, before, test } from 'node:test';
import { gitIn, TestRepository } from '../../src/cli/test-repository.ts';
import { type CliEnd, startCli } from '../support/cli-process.ts';
import { fileTree } from '../support/file-tree.ts';
import { type Instance, launcher, startInstance, testEnvironment } from '../support/instance.ts';

/** What a run changed comes back: as a patch, and applied to the caller's checkout. */

const folder = mkdtempSync(join(tmpdir(), 'sealwright-changes-'));
const home = join(folder, 'home');
const temporary = join(folder, 'tmp');
const pixels = Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 31) & 0xff));
const odd = Buffer.from([0x6e, 0xff, 0xfe, 0x6f]);
let instance: Instance;
let repository: TestRepository;

before(async () => {
  mkdirSync(temporary);
  repository = new TestRepository(join(folder, 'project'));
  repository.write('text', 'one\ntwo\nthree\n');
  repository.write('without-end', 'no line feed');
  repository.write('image', pixels);
  repository.write('deleted', 'x\n');
  repository.write('tool.sh', '#!/bin/sh\n', 0o755);
  repository.write('with space', 'a\n');
  repository.write('line\nfeed', 'a\n');
  repository.write('"quoted"\t\\', 'a\n');
  repository.write(odd, 'a\n');
  repository.write('deep/er/file', 'a\n');
  symlinkSync('text', join(repository.path, 'link'));
  repository.write('.gitignore', 'ignored\n');
  repository.commit();
  instance = await startInstance({ home });
});

after(async () => {
  await instance.remove();
  rmSync(folder, { recursive: true, force: true });
});

type Said = CliEnd & { out: string; said: string };

async function sealwright(cwd: string, ...words: string[]): Promise<Said> {
  const end = await startCli(home, words, { cwd, environment: { TMPDIR: temporary } }).ended;
  return { ...end, out: end.stdout.toString('utf8'), said: end.stderr.toString('utf8') };
}

/** Runs a script on the repository of `cwd`; gives the name of the run. */
async function changed(name: string, script: string, cwd = repository.path): Promise<string> {
  const words = ['run', '--name', name, '--repo', '.', '--', 'bash', '-euc', script];
  const { status, said } = await sealwright(cwd, ...words);
  assert.equal(said, '');
  assert.equal(status, 0);
  return name;
}

/** A copy of the repository, to apply to. */
function checkout(name: string): TestRepository {
  const path = join(folder, name);
  cpSync(repository.path, path, { recursive: true, verbatimSymlinks: true });
  return new TestRepository(path);
}

const filesOf = (path: string) => fileTree(path).filter((line) => !/^\.git[ /]/.test(line));

const everything = `
  printf 'one\\n2\\nthree\\n' > text
  printf more >> without-end
  head -c 100 image > image.new; mv image.new image
  rm deleted
  chmod -x tool.sh
  printf 'b\\n' > 'with space'
  printf 'b\\n' > $'line\\nfeed'
  printf 'b\\n' > $'"quoted"\\t\\\\'
  printf 'b\\n' > $'n\\xff\\xfeo'
  printf 'new\\n' > $'new\\n\\xfe file'
  ln -sfn deep/er/file link
  ln -s 'with space' newlink
  mkdir made; printf '\\0\\1\\2\\377' > made/binary; : > made/empty
  rm -r deep
  echo not-collected > ignored
`;

test('diff prints a patch of everything that changed, which git applies to the same files', async () => {
  const run = await changed('everything', everything);
  const { status, stdout: patch } = await sealwright(repository.path, 'diff', run);
  assert.equal(status, 0);
  const other = checkout('by-git');
  gitIn(other.path, ['apply', '--binary', '-'], patch);
  const host = checkout('by-hand');
  await once(spawn('bash', ['-euc', everything], { cwd: host.path, stdio: 'inherit' }), 'exit');
  rmSync(join(host.path, 'ignored'));
  assert.deepEqual(filesOf(other.path), filesOf(host.path));
  const listed = gitIn(folder, ['apply', '--numstat', '-z', '-'], patch).toString('latin1');
  assert.equal(listed.split('\0').filter(Boolean).length, 15);
  assert.doesNotMatch(patch.toString('latin1'), /ignored/, 'ignored files are no change');
  const again = await sealwright(repository.path, 'diff', 'latest');
  assert(again.stdout.equals(patch), 'latest is the same run');
});

test('a change of the same size, made in the second of the upload, is told though it is collected later', async () => {
  const script = `
    uploaded=$(stat -c %Z text)
    printf 'one\\n2wo\\nthree\\n' > text
    [ "$uploaded" = "$(stat -c %Z text)" ] || exit 9
    git diff --quiet && exit 8
    sleep 1.1
    git diff --quiet && exit 7
    exit 0`;
  let end: Said;
  do {
    const words = ['run', '--name', 'at-once', '--repo', '.', '--', 'bash', '-uc', script];
    end = await sealwright(repository.path, ...words);
  } while (end.status === 9);
  assert.equal(end.status, 0, end.said);
  const { out } = await sealwright(repository.path, 'diff', 'latest');
  assert.match(out, /^\+2wo$/m);
});

test('apply shows what a run changed, applies all of it to the checkout and touches nothing else', async () => {
  const target = checkout('applied');
  const before = fileTree(join(target.path, '.git'));
  const { status, out, said } = await sealwright(target.path, 'apply', 'everything', '--yes');
  assert.equal(status, 0, said);
  assert.deepEqual(filesOf(target.path), filesOf(join(folder, 'by-git')));
  assert.deepEqual(fileTree(join(target.path, '.git')), before, 'the git folder is as it was');
  const shown = [
    'M text (+1 -1)',
    'D deleted',
    'A made/binary (binary)',
    'M tool.sh',
    'A new\\x0a\\xfe file',
    'M link',
  ];
  for (const line of ['15 files in ', 'M line\\nfeed', 'M n\\xff\\xfeo', ...shown])
    assert(out.includes(line), `${line} is in ${out}`);
  assert.match(said, /applied to .*applied: 15 files/);
  assert.deepEqual(readdirSync(temporary), []);
});

test('without a terminal and without --yes nothing is applied', async () => {
  const target = checkout('unasked');
  const before = fileTree(target.path);
  const { status, said } = await sealwright(target.path, 'apply', 'everything');
  assert.equal(status, 1);
  assert.match(said, /There is no terminal to ask on; nothing was applied/);
  assert.deepEqual(fileTree(target.path), before);
});

test('a patch that does not fit is refused and the checkout stays as it is', async () => {
  const target = checkout('conflicting');
  target.write('text', 'one\nII\nthree\n');
  const before = fileTree(target.path);
  const { status, said } = await sealwright(target.path, 'apply', 'everything', '--yes');
  assert.equal(status, 1);
  assert.match(said, /The patch does not fit the checkout: .*text.*Nothing was changed/);
  assert.deepEqual(fileTree(target.path), before);
  assert.deepEqual(readdirSync(temporary), []);
});

const risky = `
  mkdir -p .github/workflows .vscode
  echo '{"scripts":{"postinstall":"evil"}}' > package.json
  echo 'on: push' > .github/workflows/ci.yml
  echo '{}' > .vscode/tasks.json
  echo '{}' > .mcp.json
  echo 'registry=x' > .npmrc
  echo 'all:' > Makefile
  echo '* filter=x' > .gitattributes
  printf '#!/bin/sh\\n' > helper; chmod +x helper
  ln -s /etc/passwd outside
  echo harmless > harmless
`;
const riskyNames = [
  '.gitattributes',
  '.github/workflows/ci.yml',
  '.mcp.json',
  '.npmrc',
  '.vscode/tasks.json',
  'Makefile',
  'helper',
  'outside',
  'package.json',
];

test('files that would run code on this machine are asked for, each by its name', async () => {
  const run = await changed('risky', risky);
  const target = checkout('careful');
  const before = fileTree(target.path);
  const refused = await sealwright(target.path, 'apply', run, '--yes');
  assert.equal(refused.status, 1);
  assert.match(refused.said, /have to be allowed by name/);
  for (const name of riskyNames) assert(refused.said.includes(`--allow ${name}`), name);
  assert(!refused.said.includes('--allow harmless'));
  const most = riskyNames.slice(1).flatMap((name) => ['--allow', name]);
  const still = await sealwright(target.path, 'apply', run, '--yes', ...most);
  assert.equal(still.status, 1);
  assert.match(still.said, /allowed by name: \.gitattributes \(/);
  assert.deepEqual(fileTree(target.path), before);
  const all = riskyNames.flatMap((name) => ['--allow', name]);
  assert.equal((await sealwright(target.path, 'apply', run, '--yes', ...all)).status, 0);
  assert(existsSync(join(target.path, 'harmless')));
});

/** Drives `sealwright` on a terminal of its own, answering each question as it comes. */
async function onTerminal(cwd: string, words: string, answers: readonly string[]): Promise<Said> {
  const child = spawn('script', ['-qec', `${launcher} ${words}`, '/dev/null'], {
    cwd,
    env: { ...testEnvironment(home), TMPDIR: temporary, TERM: 'xterm', SHELL: '/bin/sh' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const chunks: Buffer[] = [];
  let asked = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    const questions = Buffer.concat(chunks).toString('latin1').split('[y/N]').length - 1;
    for (; asked < questions; asked += 1) child.stdin.write(`${answers[asked] ?? 'n'}\n`);
  });
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  const stdout = Buffer.concat(chunks);
  return {
    status,
    signal,
    stdout,
    stderr: stdout,
    out: stdout.toString('utf8'),
    said: stdout.toString('utf8'),
  };
}

test('on a terminal it asks, and a no to one of the files means that none is applied', async () => {
  const target = checkout('asked');
  const before = fileTree(target.path);
  const declined = await onTerminal(target.path, 'apply risky', ['n']);
  assert.equal(declined.status, 1);
  assert.match(declined.out, /Apply this to .*asked\? \[y\/N\]/);
  const halfway = await onTerminal(target.path, 'apply risky', ['y', 'y', 'n']);
  assert.equal(halfway.status, 1);
  assert.match(halfway.out, /was declined; nothing was applied/);
  assert.deepEqual(fileTree(target.path), before);
  const agreed = await onTerminal(target.path, 'apply risky', Array<string>(10).fill('y'));
  assert.equal(agreed.status, 0, agreed.out);
  assert.match(readFileSync(join(target.path, 'package.json'), 'utf8'), /postinstall/);
});

test('a run that writes to the git folder of its workspace changes nothing of the caller’s', async () => {
  const script =
    'mkdir -p .git/hooks; echo evil > .git/hooks/post-checkout; git config core.pager evil; echo y > text';
  const run = await changed('hooks', script);
  const { stdout: patch } = await sealwright(repository.path, 'diff', run);
  assert.doesNotMatch(patch.toString('latin1'), /hooks|pager/);
  const target = checkout('hooked');
  const before = fileTree(join(target.path, '.git'));
  assert.equal((await sealwright(target.path, 'apply', run, '--yes')).status, 0);
  assert.deepEqual(fileTree(join(target.path, '.git')), before);
});

test('a change is told against what was uploaded, whatever the run commits, resets or rewrites', async () => {
  const script = `
    echo committed > text; git commit -qam one; git checkout -q --orphan other; git commit -qam two
    git update-ref -d refs/heads/main; echo untold > more; rm -rf .git`;
  const run = await changed('rewritten', script);
  const { out } = await sealwright(repository.path, 'diff', run);
  assert.match(out, /\+committed/);
  assert.match(out, /\+untold/);
  assert.equal(out.match(/^diff --git/gm)?.length, 2);
});

test('a later run of the session is told with what the earlier ones changed', async () => {
  const words = ['--session', 'growing', '--', 'sh', '-c'];
  await sealwright(repository.path, 'run', '--repo', '.', ...words, 'echo first > a');
  await sealwright(repository.path, 'run', '--name', 'second', ...words, 'echo second > b');
  const { out } = await sealwright(repository.path, 'diff', 'second');
  assert.match(out, /\+first[\s\S]*\+second/);
});

test('a run that changes nothing has an empty diff, and apply says so', async () => {
  const run = await changed('nothing', 'touch text');
  assert.equal((await sealwright(repository.path, 'diff', run)).out, '');
  const { status, said } = await sealwright(repository.path, 'apply', run);
  assert.equal(status, 0);
  assert.match(said, /changed nothing/);
});

test('apply goes to the whole checkout from a folder in it, and refuses where there is none', async () => {
  const run = await changed('small', 'echo changed > text');
  const target = checkout('inside');
  assert.equal((await sealwright(join(target.path, 'deep/er'), 'apply', run, '--yes')).status, 0);
  assert.equal(readFileSync(join(target.path, 'text'), 'utf8'), 'changed\n');
  writeFileSync(join(folder, 'elsewhere'), '');
  const { status, said } = await sealwright(temporary, 'apply', run, '--yes');
  assert.equal(status, 1);
  assert.match(said, /is not a git repository/);
});
