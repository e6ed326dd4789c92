import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isCommitId, isGitRef } from './git-ref.ts';

describe('a ref', () => {
  for (const text of ['main', 'v1.2', 'feature/x', 'a@b', 'größe', 'HEAD', 'a.b.c', `${'0'.repeat(40)}`])
    it(`may be ${text}`, () => assert.equal(isGitRef(text), true));

  for (const text of [
    ...[
      '',
      '-b',
      '--upload-pack=x',
      '@',
      'a..b',
      'a@{1}',
      'a b',
      'a~1',
      'a^',
      'a:b',
      'a?',
      'a*',
      'a[',
      'a\\b',
    ],
    ...['/a', 'a/', 'a//b', '.a', 'a/.b', 'a.lock', 'a.lock/b', 'a.', 'a\n', 'a\u0000', 'a\u007f', '\ud800'],
    'a'.repeat(256),
  ])
    it(`is not ${JSON.stringify(text.slice(0, 20))}`, () => assert.equal(isGitRef(text), false));

  it('is one that git takes for the name of a branch', () => {
    const text = fc.string({
      unit: fc.constantFrom('a', 'b', '.', '/', '@', '{', '-', '~', '*', 'lock', 'ä', ' '),
    });
    fc.assert(
      fc.property(text, (name) => {
        if (!isGitRef(name)) return;
        const { status } = spawnSync('git', ['check-ref-format', `refs/heads/${name}`]);
        assert.equal(status, 0, JSON.stringify(name));
      }),
      { numRuns: 60 },
    );
  });

  it('is a commit id only where it is a whole one', () => {
    assert.equal(isCommitId('a'.repeat(40)), true);
    assert.equal(isCommitId('a'.repeat(64)), true);
    for (const text of ['a'.repeat(39), 'A'.repeat(40), `${'a'.repeat(40)}\n`, 'g'.repeat(40)])
      assert.equal(isCommitId(text), false);
  });
});
