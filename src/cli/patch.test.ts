import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type FileChange, PatchRefused, parsePatch, unquote } from './patch.ts';
import { guardPaths } from './patch-guard.ts';

const read = (text: string) => parsePatch(Buffer.from(text, 'latin1'), 1000);
const refused = (text: string) => assert.throws(() => read(text), PatchRefused, text);

function edit(path: string): string {
  return `diff --git a/${path} b/${path}\nindex 1111111..2222222 100644\n--- a/${path}\n+++ b/${path}\n@@ -1 +1 @@\n-a\n+b\n`;
}

function created(path: string, mode = '100644', line = 'x'): string {
  return `diff --git a/${path} b/${path}\nnew file mode ${mode}\nindex 0000000..2222222\n--- /dev/null\n+++ b/${path}\n@@ -0,0 +1 @@\n+${line}\n`;
}

describe('reading a patch', () => {
  it('knows edits, new, deleted, renamed, copied, binary and mode changes', () => {
    const changes = read(
      [
        edit('e'),
        created('n'),
        'diff --git a/d b/d\ndeleted file mode 100755\nindex 1111111..0000000\n--- a/d\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\\ No newline at end of file\n',
        'diff --git a/old name b/new name\nsimilarity index 100%\nrename from old name\nrename to new name\n',
        'diff --git a/c1 b/c2\nsimilarity index 90%\ncopy from c1\ncopy to c2\nindex 1111111..2222222 100644\n--- a/c1\n+++ b/c2\n@@ -1 +1 @@\n-a\n+b\n',
        'diff --git a/bin b/bin\nnew file mode 100644\nindex 0000000..2222222\nGIT binary patch\nliteral 4\nLcmZQzWMT#Y01f~L\n\nliteral 0\nHcmV?d00001\n\n',
        'diff --git a/m b/m\nold mode 100644\nnew mode 100755\n',
        'diff --git a/empty b/empty\nnew file mode 100644\nindex 0000000..e69de29\n',
      ].join(''),
    );
    const summary = changes.map(({ kind, from, path, oldMode, newMode }) => [
      kind,
      from,
      path,
      oldMode,
      newMode,
    ]);
    assert.deepEqual(summary, [
      ['modify', 'e', 'e', '100644', '100644'],
      ['create', 'n', 'n', null, '100644'],
      ['delete', 'd', 'd', '100755', null],
      ['rename', 'old name', 'new name', null, null],
      ['copy', 'c1', 'c2', '100644', '100644'],
      ['create', 'bin', 'bin', null, '100644'],
      ['modify', 'm', 'm', '100644', '100755'],
      ['create', 'empty', 'empty', null, '100644'],
    ]);
    assert.deepEqual([changes[0]!.added, changes[0]!.removed, changes[5]!.binary], [1, 1, true]);
  });

  it('reads names with blanks, quotes, line feeds, other bytes and " b/" in them', () => {
    const changes = read(
      'diff --git "a/a\\nb\\"\\\\\\377" "b/a\\nb\\"\\\\\\377"\nold mode 100644\nnew mode 100755\n' +
        'diff --git a/x b/x b/x b/x\nold mode 100644\nnew mode 100755\n' +
        'diff --git a/a b b/a b\nindex 1111111..2222222 100644\n--- a/a b\t\n+++ b/a b\t\n@@ -1 +1 @@\n-a\n+b\n',
    );
    assert.deepEqual(
      changes.map(({ path }) => path),
      ['a\nb"\\\xff', 'x b/x', 'a b'],
    );
  });

  it('does not take lines of a hunk for headers', () => {
    const body = `diff --git a/f b/f\nindex 1111111..2222222 100644\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n--- a/../x\n-diff --git a/y b/y\n+++ b/.git/config\n+@@ -1 +1 @@\n`;
    assert.deepEqual(
      read(body).map(({ path }) => path),
      ['f'],
    );
  });

  it('refuses whatever the grammar does not know', () => {
    refused(`From: somebody\n\n${edit('a')}`);
    refused(`${edit('a')}junk\n`);
    refused('--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n');
    refused(edit('a').replace('+++ b/a', '+++ b/../b'));
    refused(edit('a').replace('--- a/a', '--- /dev/null'));
    refused(edit('a').replace('diff --git a/a b/a', 'diff --git a/a b/b'));
    refused(edit('a').replace('index', 'GIT: x\nindex'));
    refused(edit('a').replace('@@ -1 +1 @@', '@@ -1,2 +1 @@'));
    refused(edit('a').replace('@@ -1 +1 @@', '@@ -1,0 +1 @@'));
    refused(edit('a').slice(0, -1));
    refused('diff --git a/b b/b\nindex 1..2\nBinary files a/b and b/b differ\n');
    refused('diff --git a/b b/b\nnew file mode 100644\ndeleted file mode 100644\n');
    refused('diff --git a/b b/b\nnew file mode 104755\n');
    refused('diff --git a/b b/b\nnew file mode 040000\n');
    refused('diff --git a/b b/c\nrename from b\n');
    refused('diff --git "a/\\400" "b/\\400"\nold mode 100644\nnew mode 100755\n');
    assert.throws(() => parsePatch(Buffer.from(edit('a') + edit('b')), 1), /more than 1/);
  });

  it('never fails in another way, whatever the bytes', () => {
    const piece = fc.constantFrom(
      'diff --git a/x b/x\n',
      '--- a/x\n',
      '+++ b/x\n',
      '@@ -1 +1 @@\n',
      '-a\n',
      '+b\n',
      ' c\n',
      'GIT binary patch\n',
      'literal 3\n',
      '\n',
      'rename from "\n',
      '\\',
      'new file mode 100644\n',
      'index 1111..2222\n',
    );
    const any = fc
      .array(fc.oneof(piece, fc.string({ unit: 'binary' })))
      .map((parts) => Buffer.from(parts.join('')));
    fc.assert(
      fc.property(any, (bytes) => {
        try {
          parsePatch(bytes, 100);
        } catch (error) {
          assert(error instanceof PatchRefused);
        }
      }),
    );
  });

  it('reads every name back as git quotes it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 20 }), (bytes) => {
        const name = Buffer.from(bytes).toString('latin1');
        const body = [...name]
          .map((character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`)
          .join('');
        assert.equal(unquote(`"${body}"`), name);
      }),
    );
  });
});

describe('what a patch may touch', () => {
  const guard =
    (changes: FileChange[], platform: NodeJS.Platform = 'linux') =>
    () =>
      guardPaths(changes, platform);

  it('is refused outside the checkout and in git folders, however they are spelled', () => {
    for (const path of [
      '../x',
      'a/../../x',
      '/etc/passwd',
      'a//b',
      'a/./b',
      '.git/hooks/x',
      '.GIT/config',
      'sub/.git/config',
      '.git./x',
      '.g\xe2\x80\x8cit/x',
      'git~1/config',
      '.git',
      'a\\..\\.git\\x',
      '.git::$DATA',
    ]) {
      const [change] = read(edit('placeholder'));
      assert.throws(guard([{ ...change!, from: path, path }]), PatchRefused, path);
      assert.throws(guard([{ ...change!, kind: 'rename', from: 'fine', path }]), PatchRefused, path);
      assert.throws(guard([{ ...change!, kind: 'rename', from: path, path: 'fine' }]), PatchRefused, path);
    }
    assert.doesNotThrow(guard(read(edit('a/b') + edit('.gitignore') + edit('a\\b'))));
    assert.throws(guard(read(edit('a\\b')), 'win32'), PatchRefused);
    assert.throws(guard(read(edit('c:x')), 'win32'), PatchRefused);
  });

  it('is refused below a link or file of the same patch, in any case', () => {
    assert.throws(guard(read(created('link', '120000', '/etc') + created('link/x'))), /below another/);
    assert.throws(guard(read(created('Link', '120000', '/etc') + created('link/x'))), /below another/);
    assert.throws(guard(read(created('a') + created('A'))), /more than once/);
    assert.throws(guard(read(created('a') + created('a'))), /more than once/);
  });

  it('is refused for submodules', () => {
    assert.throws(guard(read(created('sub', '160000', 'Subproject commit 1'))), /submodule/);
  });
});
