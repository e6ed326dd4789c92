import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { localRepository, openCheckout } from './checkout.ts';
import { CliFailure } from './failure.ts';
import { createGit } from './git.ts';
import { bundleRepository } from './repo-bundle.ts';
import { type TestEnvironment, testEnvironment } from './test-environment.ts';
import { gitIn, TestRepository } from './test-repository.ts';

let environment: TestEnvironment;
let count = 0;
before(() => {
  environment = testEnvironment();
});
after(() => environment.dispose());

function fresh(name: string): string {
  count += 1;
  return join(environment.folder, `${count}-${name}`);
}

const never = new AbortController().signal;

async function upload(path: string, dirty = false) {
  const git = createGit(environment);
  const temporary = fresh('temporary');
  mkdirSync(temporary);
  const checkout = await openCheckout(git, path);
  const bundle = await bundleRepository(git, checkout, { dirty, temporary, signal: never });
  const chunks: Buffer[] = [];
  for await (const chunk of bundle.bytes()) chunks.push(chunk);
  await bundle.dispose();
  assert.deepEqual(readdirSync(temporary), [], 'nothing is left in the temporary folder');
  return { bytes: Buffer.concat(chunks), notes: bundle.notes, shallow: bundle.shallow };
}

/** What the sandbox side does with a bundle; returns the restored repository's folder and its refs. */
function restore(uploaded: { bytes: Buffer; shallow: readonly string[] }, format = 'sha1') {
  const folder = fresh('restored');
  const repository = new TestRepository(folder, ['-b', 'unused', `--object-format=${format}`]);
  const file = fresh('bundle');
  writeFileSync(file, uploaded.bytes);
  if (uploaded.shallow.length > 0) {
    writeFileSync(join(folder, '.git/shallow'), `${uploaded.shallow.join('\n')}\n`);
  }
  const refs = new Map<string, string>();
  for (const line of gitIn(folder, ['bundle', 'unbundle', file]).toString('latin1').trimEnd().split('\n')) {
    refs.set(line.slice(line.indexOf(' ') + 1), line.slice(0, line.indexOf(' ')));
  }
  repository.git('fsck', '--strict');
  return { repository, refs };
}

function tree(folder: string, commit: string): string {
  return gitIn(folder, ['rev-parse', `${commit}^{tree}`])
    .toString('utf8')
    .trim();
}

/** Everything of a repository that an upload must leave as it is. */
function imprint(folder: string) {
  const entries: string[] = [];
  const walk = (at: string) => {
    for (const entry of readdirSync(at, { withFileTypes: true })) {
      const path = join(at, entry.name);
      if (entry.isDirectory()) walk(path);
      // git renews the time of an object that it would have written again.
      else entries.push(path.includes('/objects/') ? path : `${path} ${statSync(path).mtimeMs}`);
    }
  };
  walk(join(folder, '.git'));
  return { entries: entries.sort(), index: readFileSync(join(folder, '.git/index')).toString('hex') };
}

async function refusal(promise: Promise<unknown>): Promise<CliFailure> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert(error instanceof CliFailure, `refused: ${error}`);
  return error;
}

describe('what a bundle holds', () => {
  it('is HEAD with its whole history and the current branch, and nothing else', async () => {
    const source = new TestRepository(fresh('plain'));
    source.write('a', 'one\n');
    source.commit();
    source.write('a', 'two\n');
    const head = source.commit();
    source.git('branch', 'other');
    source.git('tag', 'v1');
    const { repository, refs } = restore(await upload(source.path));
    assert.deepEqual(Object.fromEntries(refs), { HEAD: head, 'refs/heads/main': head });
    assert.equal(repository.git('rev-list', '--count', head), '2');
    assert.equal(tree(repository.path, head), tree(source.path, head));
  });

  it('names HEAD alone when it is detached', async () => {
    const source = new TestRepository(fresh('detached'));
    const head = source.commit();
    source.git('checkout', '-q', '--detach');
    const { refs } = restore(await upload(source.path));
    assert.deepEqual(Object.fromEntries(refs), { HEAD: head });
  });

  it('works for repositories of SHA-256 objects', async () => {
    const source = new TestRepository(fresh('sha256'), ['-b', 'main', '--object-format=sha256']);
    source.write('a', 'x');
    const head = source.commit();
    const { refs } = restore(await upload(source.path), 'sha256');
    assert.equal(refs.get('HEAD'), head);
  });

  it('keeps names with line feeds, quotes and bytes that are not UTF-8, and branches named so', async () => {
    const source = new TestRepository(fresh('na"me\nof\\repo'));
    source.write('a\nb', 'feed');
    source.write('tab\t"quote"\\', 'odd');
    source.write(Buffer.from([0xff, 0xfe, 0x41]), 'bytes');
    source.write('-rf', 'dash');
    const head = source.commit();
    writeFileSync(join(source.path, '.git/HEAD'), Buffer.from('ref: refs/heads/b\xff\n', 'latin1'));
    writeFileSync(
      Buffer.concat([Buffer.from(`${source.path}/.git/refs/heads/b`), Buffer.from([0xff])]),
      `${head}\n`,
    );
    source.write(Buffer.from([0xff, 0xfe, 0x42]), 'untracked bytes');
    const { repository, refs } = restore(await upload(source.path, true));
    assert.equal(refs.get('refs/heads/b\xff'), head);
    assert.equal(tree(repository.path, head), tree(source.path, head));
    const names = gitIn(repository.path, [
      'ls-tree',
      '-z',
      '--name-only',
      refs.get('refs/sealwright/dirty')!,
    ]);
    assert(names.includes(Buffer.from([0xff, 0xfe, 0x42])));
  });

  it('keeps symbolic links as links, those out of the repository too, and never what they point at', async () => {
    const source = new TestRepository(fresh('links'));
    const secret = fresh('secret');
    mkdirSync(secret);
    writeFileSync(join(secret, 'key'), 'TOP-SECRET');
    symlinkSync(join(secret, 'key'), join(source.path, 'out'));
    const head = source.commit();
    symlinkSync(secret, join(source.path, 'folder'));
    const uploaded = await upload(source.path, true);
    const { repository, refs } = restore(uploaded);
    const dirty = refs.get('refs/sealwright/dirty')!;
    assert.equal(repository.git('cat-file', '-p', `${head}:out`), join(secret, 'key'));
    assert.equal(repository.git('ls-tree', dirty, 'folder').split(' ')[0], '120000');
    assert.throws(() => repository.git('grep', '-q', 'TOP-SECRET', dirty));
    assert.throws(() => repository.git('cat-file', '-e', `${dirty}:folder/key`));
  });

  it('comes from the top when a folder of the repository is named, and from worktrees', async () => {
    const source = new TestRepository(fresh('main'));
    source.write('sub/deep/a', 'x');
    const head = source.commit();
    assert.equal(restore(await upload(join(source.path, 'sub/deep'))).refs.get('HEAD'), head);
    const worktree = fresh('worktree');
    source.git('worktree', 'add', '-q', '-b', 'side', worktree);
    writeFileSync(join(worktree, 'new'), 'y');
    const { repository, refs } = restore(await upload(worktree, true));
    assert.equal(refs.get('refs/heads/side'), head);
    assert.equal(repository.git('cat-file', '-p', `${refs.get('refs/sealwright/dirty')}:new`), 'y');
  });

  it('restores a shallow clone with its boundary', async () => {
    const source = new TestRepository(fresh('deep'));
    for (const text of ['1', '2', '3', '4']) {
      source.write('a', text);
      source.commit(text);
    }
    const clone = fresh('shallow');
    gitIn(environment.folder, ['clone', '-q', '--depth=2', `file://${source.path}`, clone]);
    const uploaded = await upload(clone);
    assert.equal(uploaded.shallow.length, 1);
    const { repository, refs } = restore(uploaded);
    assert.equal(repository.git('rev-list', '--count', refs.get('HEAD')!), '2');
    assert.equal(tree(repository.path, refs.get('HEAD')!), tree(source.path, 'HEAD'));
  });

  it('borrows objects from repositories that borrow themselves', async () => {
    const source = new TestRepository(fresh('lender'));
    source.write('a', 'x');
    const head = source.commit();
    const clone = fresh('borrower');
    gitIn(environment.folder, ['clone', '-q', '--shared', source.path, clone]);
    assert.equal(restore(await upload(clone)).refs.get('HEAD'), head);
  });

  it('is refused half-way for a partial clone, with the fix', async () => {
    const source = new TestRepository(fresh('whole'));
    source.git('config', 'uploadpack.allowFilter', 'true');
    source.write('a', 'x');
    source.commit();
    const clone = fresh('partial');
    gitIn(environment.folder, [
      'clone',
      '-q',
      '--no-checkout',
      '--filter=blob:none',
      `file://${source.path}`,
      clone,
    ]);
    const error = await refusal(upload(clone));
    assert.match(error.message, /partial clone/);
    assert.match(error.hint ?? '', /--refetch/);
  });
});

describe('uncommitted changes', () => {
  function changed(): TestRepository {
    const source = new TestRepository(fresh('dirty'));
    source.write('.gitignore', 'ignored\n*.log\n');
    source.write('kept', 'same\n');
    source.write('edited', 'before\n');
    source.write('deleted', 'gone\n');
    source.write('script', '#!/bin/sh\n');
    source.write('binary', Buffer.from([0, 1, 2, 3]));
    source.commit();
    source.write('edited', 'afterw\n');
    rmSync(join(source.path, 'deleted'));
    chmodSync(join(source.path, 'script'), 0o755);
    source.write('binary', Buffer.from([0, 255, 254, 0]));
    source.write('untracked/new file', 'new\n');
    source.write('staged', 'staged\n');
    source.git('add', 'staged');
    source.write('ignored', 'SECRET');
    source.write('x.log', 'SECRET');
    return source;
  }

  it('are sent as they stand in the checkout, ignored files excepted', async () => {
    const source = changed();
    const { repository, refs } = restore(await upload(source.path, true));
    const dirty = refs.get('refs/sealwright/dirty')!;
    assert.equal(repository.git('rev-parse', `${dirty}^`), refs.get('HEAD'));
    source.git('add', '-A');
    assert.equal(tree(repository.path, dirty), source.git('write-tree'));
    const names = repository.git('ls-tree', '-r', '--name-only', dirty);
    assert.doesNotMatch(names, /ignored$|x\.log|deleted/m);
  });

  it('are found although size and time are those of the index', async () => {
    const source = new TestRepository(fresh('racy'));
    source.write('a', 'aaaa');
    source.commit();
    const { mtime, atime } = statSync(join(source.path, '.git/index'));
    source.write('a', 'bbbb');
    utimesSync(join(source.path, 'a'), atime, mtime);
    source.git('update-index', '--index-version', '4');
    const { repository, refs } = restore(await upload(source.path, true));
    assert.equal(repository.git('cat-file', '-p', `${refs.get('refs/sealwright/dirty')}:a`), 'bbbb');
  });

  it('leave the repository exactly as it was: refs, index, objects, configuration', async () => {
    const source = changed();
    source.git('status');
    const before = imprint(source.path);
    await upload(source.path, true);
    await upload(source.path, false);
    assert.deepEqual(imprint(source.path), before);
  });

  it('are no commit of their own when there are none', async () => {
    const source = new TestRepository(fresh('clean'));
    source.write('a', 'x');
    source.commit();
    const { refs } = restore(await upload(source.path, true));
    assert.deepEqual([...refs.keys()].sort(), ['HEAD', 'refs/heads/main']);
  });

  it('are spoken of when they stay behind', async () => {
    assert.match((await upload(changed().path)).notes.join(), /Uncommitted changes are not uploaded/);
    const source = new TestRepository(fresh('clean'));
    source.write('a', 'x');
    source.commit();
    const later = new Date(Date.now() + 5_000);
    utimesSync(join(source.path, 'a'), later, later);
    assert.deepEqual((await upload(source.path)).notes, []);
  });

  it('can be sent from a split index and one without cache', async () => {
    const source = changed();
    source.git('update-index', '--split-index');
    source.write('one more', 'x');
    source.git('add', 'one more');
    const { repository, refs } = restore(await upload(source.path, true));
    const dirty = refs.get('refs/sealwright/dirty')!;
    source.git('add', '-A');
    assert.equal(tree(repository.path, dirty), source.git('write-tree'));
    rmSync(join(source.path, '.git/index'));
    assert.equal(restore(await upload(source.path, true)).refs.has('refs/sealwright/dirty'), true);
  });

  it('run no program that the repository names', async () => {
    const source = changed();
    const trap = fresh('trap');
    const command = `touch ${trap}; cat`;
    source.git('config', 'filter.evil.clean', command);
    source.git('config', 'filter.evil.process', command);
    source.git('config', 'core.fsmonitor', command);
    source.git('config', 'core.sshCommand', command);
    source.git('config', 'diff.external', command);
    for (const hook of ['pre-commit', 'post-index-change', 'post-commit', 'reference-transaction']) {
      writeFileSync(join(source.path, '.git/hooks', hook), `#!/bin/sh\ntouch ${trap}\n`, { mode: 0o755 });
    }
    source.write('.gitattributes', '* filter=evil diff=evil\n');
    await upload(source.path, true);
    await upload(source.path, false);
    assert.equal(existsSync(trap), false);
  });

  it('that cannot be read are named', {
    skip: process.getuid?.() === 0 ? 'root reads everything' : false,
  }, async () => {
    const source = changed();
    source.write('closed', 'x', 0o000);
    assert.match((await refusal(upload(source.path, true))).message, /closed/);
  });
});

describe('what a bundle lacks is said', () => {
  it('for submodules, by name', async () => {
    const inner = new TestRepository(fresh('inner'));
    inner.commit();
    const source = new TestRepository(fresh('outer'));
    source.git('-c', 'protocol.file.allow=always', 'submodule', 'add', '-q', inner.path, 'libs/in\x1bner');
    source.commit();
    const uploaded = await upload(source.path, true);
    assert.match(uploaded.notes.join(), /submodules is not uploaded: libs\/in\\ener/);
    restore(uploaded);
  });

  it('for Git LFS pointers', async () => {
    const source = new TestRepository(fresh('lfs'));
    source.write('assets/.gitattributes', '*.bin filter=lfs diff=lfs merge=lfs -text\n');
    source.write(
      'assets/a.bin',
      `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 9\n`,
    );
    source.commit();
    assert.match((await upload(source.path)).notes.join(), /LFS/);
  });
});

describe('what is no repository is refused, with what to do', () => {
  it('for a missing path and a file', async () => {
    assert.match((await refusal(upload(fresh('nowhere')))).message, /There is no folder/);
    const file = fresh('file');
    writeFileSync(file, '');
    assert.match((await refusal(upload(file))).message, /is not a folder/);
  });

  it('for a folder without git', async () => {
    const folder = fresh('plain');
    mkdirSync(folder);
    const error = await refusal(upload(folder));
    assert.match(error.message, /is not a git repository/);
    assert.match(error.hint ?? '', /git init/);
  });

  it('for a repository without a commit', async () => {
    const source = new TestRepository(fresh('empty'));
    source.write('a', 'x');
    const error = await refusal(upload(source.path, true));
    assert.match(error.message, /has no commit yet/);
  });

  it('for a bare repository and the inside of .git', async () => {
    const bare = fresh('bare');
    gitIn(environment.folder, ['init', '-q', '--bare', bare]);
    assert.match((await refusal(upload(bare))).message, /bare repository/);
    const source = new TestRepository(fresh('inside'));
    source.commit();
    assert.match((await refusal(upload(join(source.path, '.git/objects')))).message, /inside a \.git folder/);
  });

  it('for a worktree whose repository moved away', async () => {
    const source = new TestRepository(fresh('moved'));
    source.commit();
    const worktree = fresh('left-behind');
    source.git('worktree', 'add', '-q', worktree);
    rmSync(source.path, { recursive: true });
    assert.match((await refusal(upload(worktree))).message, /worktree whose repository/);
  });

  it('for a damaged repository, without a whole-looking upload', async () => {
    const source = new TestRepository(fresh('damaged'));
    source.write('a', 'content');
    source.commit();
    const blob = source.git('rev-parse', 'HEAD:a');
    rmSync(join(source.path, '.git/objects', blob.slice(0, 2), blob.slice(2)), { force: true });
    assert.match((await refusal(upload(source.path))).message, /git failed/);
  });

  it('for a machine without git', async () => {
    const bareEnvironment = { ...environment, variables: { PATH: fresh('empty-path') } };
    const error = await refusal(openCheckout(createGit(bareEnvironment), environment.folder));
    assert.match(error.message, /git is not installed/);
  });

  it('for addresses of other machines', () => {
    for (const url of [
      'https://example.com/x.git',
      'ssh://git@example.com/x',
      'git@example.com:x/y.git',
      'git://x/y',
    ]) {
      assert.throws(() => localRepository(url, '/'), /on another machine/);
    }
    assert.throws(() => localRepository('file://elsewhere/x', '/'), CliFailure);
    assert.equal(localRepository('file:///a%20b', '/'), '/a b');
    assert.equal(localRepository('file:../x', '/a/b'), '/a/x');
    assert.equal(localRepository('x', '/a'), '/a/x');
  });
});
