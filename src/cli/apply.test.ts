import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { type TestEnvironment, testEnvironment } from './test-environment.ts';
import { TestRepository } from './test-repository.ts';

let environment: TestEnvironment;
let checkout: TestRepository;
let server: TestServer;

beforeEach(() => {
  environment = testEnvironment();
  checkout = new TestRepository(join(environment.folder, 'checkout'));
  server = new TestServer();
  server.run('r');
});
afterEach(() => {
  const left = readdirSync(environment.folder).filter((name) => name.startsWith('sealwright-'));
  environment.dispose();
  assert.deepEqual(left, [], 'no temporary folder is left');
});

/** Makes the patch that a sandbox would: the difference between the checkout and what `change` does to a copy. */
function patchOf(change: (work: TestRepository) => void): Buffer {
  const work = new TestRepository(join(environment.folder, 'work'));
  work.git('pull', '-q', checkout.path, 'main');
  change(work);
  work.git('add', '-A');
  const patch = work.gitBytes('diff', '--cached', '--binary', '--full-index', '--find-renames', 'HEAD');
  rmSync(work.path, { recursive: true });
  return patch;
}

function created(path: string, mode = '100644', line = 'x'): string {
  const size = mode === '120000' ? `+${line}\n\\ No newline at end of file\n` : `+${line}\n`;
  return `diff --git a/${path} b/${path}\nnew file mode ${mode}\nindex 0000000..2222222\n--- /dev/null\n+++ b/${path}\n@@ -0,0 +1 @@\n${size}`;
}

async function apply(patch: Buffer | string, ...flags: string[]) {
  server.patch = Buffer.from(patch as string);
  environment.stderr.chunks.length = 0;
  environment.stdout.chunks.length = 0;
  environment.questions.length = 0;
  const context = testContext({ ...environment, cwd: checkout.path }, server);
  const status = await runProgram(
    buildProgram(context, () => {}),
    ['apply', 'latest', ...flags],
    context,
  );
  return { status, said: environment.stderr.text, shown: environment.stdout.text };
}

/** The checkout with its git folder, byte for byte, and what lies beside it. */
function imprint(): string {
  const lines: string[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (entry.isSymbolicLink()) lines.push(`${path} -> ${readlinkSync(path)}`);
      else lines.push(`${path} ${lstatSync(path).mode} ${readFileSync(path).toString('base64')}`);
    }
  };
  walk(environment.folder);
  return lines.sort().join('\n');
}

async function refusedUnchanged(patch: Buffer | string, why: RegExp, ...flags: string[]): Promise<void> {
  const before = imprint();
  const { status, said } = await apply(patch, '--yes', ...flags);
  assert.equal(status, 1, said);
  assert.match(said, why);
  assert.equal(imprint(), before);
}

describe('applying a patch', () => {
  it('changes, makes, moves and removes files, binary ones and odd names too', async () => {
    checkout.write('edit', 'one\ntwo\n');
    checkout.write('gone', 'x\n');
    checkout.write('move me', 'a long enough text to be found again\n'.repeat(5));
    checkout.write('bin', Buffer.from([0, 1, 2, 255]));
    checkout.commit();
    const patch = patchOf((work) => {
      work.write('edit', 'one\n2\n');
      rmSync(join(work.path, 'gone'));
      work.git('mv', 'move me', 'moved');
      work.write('bin', Buffer.from([0, 9, 9, 255, 0]));
      work.write('dir/a\nb"\t', 'odd\n');
      work.write(Buffer.from([0x66, 0xff]), 'bytes\n');
      symlinkSync('../edit', join(work.path, 'dir/link'));
    });
    const { status, said, shown } = await apply(patch, '--yes');
    assert.equal(status, 0, said);
    assert.match(shown, /R move me -> moved/);
    assert.match(shown, /A dir\/a\\nb"\\t \(\+1 -0\)/);
    assert.match(shown, /A f\\xff/);
    assert.equal(readFileSync(join(checkout.path, 'edit'), 'utf8'), 'one\n2\n');
    assert.deepEqual(readFileSync(join(checkout.path, 'bin')), Buffer.from([0, 9, 9, 255, 0]));
    assert.equal(existsSync(join(checkout.path, 'gone')), false);
    assert.equal(existsSync(join(checkout.path, 'moved')), true);
    assert.equal(readFileSync(join(checkout.path, 'dir/a\nb"\t'), 'utf8'), 'odd\n');
    assert.equal(readlinkSync(join(checkout.path, 'dir/link')), '../edit');
    assert(
      readdirSync(checkout.path, { encoding: 'buffer' }).some((name) =>
        name.equals(Buffer.from([0x66, 0xff])),
      ),
    );
  });

  it('asks first, and does nothing on any answer but yes', async () => {
    checkout.commit();
    const before = imprint();
    for (const answer of ['', 'n', 'yep']) {
      environment.answers.push(answer);
      assert.match((await apply(created('new'))).said, /nothing was applied/);
    }
    assert.match((await apply(created('new'))).said, /no terminal to ask on/);
    assert.equal(imprint(), before);
    environment.answers.push('y');
    assert.equal((await apply(created('new'))).status, 0);
    assert.equal(existsSync(join(checkout.path, 'new')), true);
  });

  it('works from a folder in the checkout, a linked worktree and with carriage returns', async () => {
    checkout.write('sub/a', 'one\n');
    checkout.git('config', 'core.autocrlf', 'true');
    checkout.commit();
    const patch = patchOf((work) => work.write('sub/a', 'two\n'));
    checkout.write('sub/a', 'one\r\n');
    assert.equal((await apply(patch, '--yes', '--repo', 'sub')).status, 0);
    assert.equal(readFileSync(join(checkout.path, 'sub/a'), 'utf8'), 'two\r\n');
    const worktree = join(environment.folder, 'worktree');
    checkout.git('-c', 'core.autocrlf=false', 'worktree', 'add', '-q', worktree, 'HEAD');
    const { status, said } = await apply(patch, '--yes', '--repo', worktree);
    assert.equal(status, 0, said);
    assert.match(readFileSync(join(worktree, 'sub/a'), 'utf8'), /two/);
  });

  it('says so when there is nothing to apply', async () => {
    checkout.commit();
    const { status, said } = await apply('');
    assert.equal(status, 0);
    assert.match(said, /changed nothing/);
  });

  it('keeps uncommitted work that it does not touch', async () => {
    checkout.write('a', 'one\n');
    checkout.write('b', 'one\n');
    checkout.commit();
    const patch = patchOf((work) => work.write('a', 'two\n'));
    checkout.write('b', 'mine\n');
    assert.equal((await apply(patch, '--yes')).status, 0);
    assert.equal(readFileSync(join(checkout.path, 'b'), 'utf8'), 'mine\n');
  });
});

describe('a patch that does not fit is refused as a whole', () => {
  it('on a conflict, a file in the way, a missing file and a cut-off patch', async () => {
    checkout.write('a', 'one\n');
    checkout.write('b', 'one\n');
    checkout.commit();
    const patch = patchOf((work) => {
      work.write('a', 'two\n');
      work.write('b', 'two\n');
      work.write('c', 'new\n');
    });
    checkout.write('b', 'mine\n');
    await refusedUnchanged(patch, /does not fit/);
    checkout.write('b', 'one\n');
    checkout.write('c', 'in the way\n');
    await refusedUnchanged(patch, /does not fit.*already exists/);
    rmSync(join(checkout.path, 'c'));
    rmSync(join(checkout.path, 'a'));
    await refusedUnchanged(patch, /a is not in the checkout/);
    checkout.write('a', 'one\n');
    await refusedUnchanged(patch.subarray(0, -3), /cannot be read|cut off/);
    await refusedUnchanged(Buffer.concat([patch, Buffer.from('junk\n')]), /cannot be read/);
  });
});

describe('a hostile patch changes nothing', () => {
  beforeEach(() => {
    checkout.write('tracked', 'one\n');
    checkout.commit();
  });

  it('outside the checkout: .., absolute paths, and renames that get there', async () => {
    for (const path of ['../escaped', 'a/../../escaped', '/tmp/sealwright-escaped']) {
      await refusedUnchanged(created(path), /leaves the checkout|absolute/);
    }
    await refusedUnchanged(
      'diff --git a/tracked b/../escaped\nsimilarity index 100%\nrename from tracked\nrename to ../escaped\n',
      /leaves the checkout/,
    );
    assert.equal(existsSync('/tmp/sealwright-escaped'), false);
  });

  it('in the git folder, in any spelling, by rename or deletion', async () => {
    for (const path of [
      '.git/hooks/post-checkout',
      '.GIT/config',
      '.git./hooks/x',
      'git~1/hooks/x',
      '.g\u200cit/config',
      '.git\\hooks\\x',
    ]) {
      await refusedUnchanged(Buffer.from(created(path, '100755')), /git folder|cannot be read/);
    }
    await refusedUnchanged(
      'diff --git a/tracked b/.git/hooks/post-checkout\nold mode 100644\nnew mode 100755\nsimilarity index 100%\nrename from tracked\nrename to .git/hooks/post-checkout\n',
      /git folder/,
    );
    await refusedUnchanged(
      'diff --git a/.git/HEAD b/.git/HEAD\ndeleted file mode 100644\nindex 1111111..0000000\n--- a/.git/HEAD\n+++ /dev/null\n@@ -1 +0,0 @@\n-ref: refs/heads/main\n',
      /git folder/,
    );
  });

  it('through a symbolic link, of the checkout or of its own making', async () => {
    const outside = join(environment.folder, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'victim'), 'one\n');
    symlinkSync(outside, join(checkout.path, 'link'));
    await refusedUnchanged(created('link/new'), /symbolic link in the checkout/);
    const edit =
      'diff --git a/link/victim b/link/victim\nindex 1111111..2222222 100644\n--- a/link/victim\n+++ b/link/victim\n@@ -1 +1 @@\n-one\n+two\n';
    await refusedUnchanged(edit, /symbolic link in the checkout/);
    await refusedUnchanged(created('fresh', '120000', outside) + created('fresh/new'), /below another/);
    await refusedUnchanged(created('fresh/new') + created('fresh', '120000', outside), /below another/);
  });

  it('as a submodule or a special mode', async () => {
    await refusedUnchanged(
      created('sub', '160000', 'Subproject commit 1111111111111111111111111111111111111111'),
      /submodule/,
    );
    await refusedUnchanged(created('setuid', '104755'), /cannot be read/);
  });

  it('without its links being asked for by name when they leave the checkout', async () => {
    for (const [path, target] of [
      ['l1', '/etc/passwd'],
      ['l2', '../outside'],
      ['d/l3', '../../outside'],
      ['l4', '.git/hooks'],
      ['l5', 'a/../.GIT/config'],
    ] as const) {
      await refusedUnchanged(created(path, '120000', target), new RegExp(`${path} \\(symbolic link\\)`));
    }
    symlinkSync('/', join(checkout.path, 'root'));
    await refusedUnchanged(created('l6', '120000', 'root/etc'), /l6 \(symbolic link\)/);
    assert.equal((await apply(created('l7', '120000', 'd/../tracked'), '--yes')).status, 0);
    assert.equal((await apply(created('l8', '120000', '/etc/passwd'), '--yes', '--allow', 'l8')).status, 0);
    assert.equal(readlinkSync(join(checkout.path, 'l8')), '/etc/passwd');
  });

  it('and its names and contents cannot drive the terminal', async () => {
    environment.stdout.isTerminal = true;
    environment.stdout.colour = true;
    const patch = Buffer.from(
      `diff --git "a/\\033[2Jx" "b/\\033[2Jx"\nnew file mode 100644\nindex 0000000..2222222\n--- /dev/null\n+++ "b/\\033[2Jx"\n@@ -0,0 +1 @@\n+\x1b]0;owned\x07\n`,
    );
    environment.answers.push('y');
    const { status, shown } = await apply(patch);
    assert.equal(status, 0);
    assert.match(shown, /\\e\]0;owned\\x07/);
    assert.match(shown, /A \\e\[2Jx/);
    assert.doesNotMatch(shown.replace(/\x1b\[\d*m/g, ''), /\x1b|\x07/);
  });
});

describe('files that would run code are asked for by name', () => {
  beforeEach(() => {
    checkout.write('tool', '#!/bin/sh\n', 0o755);
    checkout.write('script', 'echo\n');
    checkout.commit();
  });

  it('with --yes, each has to be allowed by --allow', async () => {
    const patch = created('.github/workflows/ci.yml') + created('Makefile') + created('src/a.c');
    await refusedUnchanged(patch, /\.github\/workflows\/ci\.yml \(CI workflow\), Makefile \(build file\)/);
    await refusedUnchanged(
      patch,
      /by name: Makefile \(build file\)\./,
      '--allow',
      '.github/workflows/ci.yml',
    );
    await refusedUnchanged(patch, /CI workflow/, '--allow', '.github', '--allow', 'Makefile');
    const { status } = await apply(
      patch,
      '--yes',
      '--allow',
      '.github/workflows/ci.yml',
      '--allow',
      'Makefile',
    );
    assert.equal(status, 0);
    assert.equal(existsSync(join(checkout.path, 'Makefile')), true);
  });

  it('on a terminal, one by one; a single no refuses everything', async () => {
    const patch = created('.npmrc') + created('.vscode/tasks.json') + created('plain');
    environment.answers.push('y', 'y', 'n');
    const { status, said } = await apply(patch);
    assert.equal(status, 1);
    assert.match(said, /\.vscode\/tasks\.json was declined; nothing was applied/);
    assert.equal(existsSync(join(checkout.path, 'plain')), false);
    environment.answers.push('y', 'y', 'y');
    assert.equal((await apply(patch)).status, 0);
    assert.deepEqual(environment.questions.length, 3);
    assert.match(environment.questions[1]!, /^\.npmrc \(package manager settings\): /);
  });

  it('also when they become executable, by mode, creation, rename or copy', async () => {
    await refusedUnchanged(
      'diff --git a/script b/script\nold mode 100644\nnew mode 100755\n',
      /script \(newly executable/,
    );
    await refusedUnchanged(created('new', '100755'), /new \(newly executable/);
    await refusedUnchanged(
      'diff --git a/tool b/fresh\nsimilarity index 100%\ncopy from tool\ncopy to fresh\n',
      /fresh \(newly executable/,
    );
    await refusedUnchanged(
      'diff --git a/tool b/fresh\nsimilarity index 100%\nrename from tool\nrename to fresh\n',
      /fresh \(newly executable/,
    );
    const edit = patchOf((work) => work.write('tool', '#!/bin/sh\ntrue\n', 0o755));
    assert.equal((await apply(edit, '--yes')).status, 0);
    assert.equal(statSync(join(checkout.path, 'tool')).mode & 0o111, 0o111);
  });

  it('also when a file is renamed to or from such a name, or removed', async () => {
    checkout.write('.npmrc', 'a=b\n');
    checkout.commit();
    await refusedUnchanged(
      'diff --git a/script b/Makefile\nsimilarity index 100%\nrename from script\nrename to Makefile\n',
      /Makefile \(build file/,
    );
    await refusedUnchanged(
      'diff --git a/.npmrc b/x\nsimilarity index 100%\nrename from .npmrc\nrename to x\n',
      /x \(package manager/,
    );
    await refusedUnchanged(
      patchOf((work) => rmSync(join(work.path, '.npmrc'))),
      /\.npmrc \(package manager/,
    );
  });

  it('and applying runs no program that the checkout names', async () => {
    const trap = join(environment.folder, 'trap');
    const command = `touch ${trap}; cat`;
    checkout.git('config', 'core.fsmonitor', command);
    for (const hook of ['post-checkout', 'post-index-change', 'applypatch-msg', 'pre-applypatch']) {
      const path = join(checkout.path, '.git/hooks', hook);
      writeFileSync(path, `#!/bin/sh\ntouch ${trap}\n`);
      chmodSync(path, 0o755);
    }
    assert.equal((await apply(created('plain'), '--yes')).status, 0);
    assert.equal(existsSync(trap), false);
  });
});
