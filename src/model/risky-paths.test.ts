import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { namesGitFolder, riskOfPath, riskyKinds } from './risky-paths.ts';

const asked = {
  'git hook or configuration': [
    '.gitmodules',
    'sub/.gitattributes',
    '.githooks/pre-commit',
    '.husky/_/x',
    'lefthook.yml',
    '.pre-commit-config.yaml',
  ],
  'editor settings': [
    '.vscode/tasks.json',
    'a/.idea/x.xml',
    '.zed/settings.json',
    'x.code-workspace',
    '.vimrc',
    '.exrc',
    '.nvimrc',
  ],
  'agent or MCP settings': [
    '.mcp.json',
    '.claude/settings.json',
    '.cursor/mcp.json',
    'CLAUDE.md',
    'AGENTS.md',
  ],
  'package manager settings': ['.npmrc', 'packages/a/.npmrc', '.yarnrc.yml', '.pnpmfile.cjs', 'package.json'],
  'CI workflow': [
    '.github/workflows/ci.yml',
    '.gitlab-ci.yml',
    '.circleci/config.yml',
    'Jenkinsfile',
    '.buildkite/p.yml',
    'azure-pipelines.yml',
  ],
  'build file': [
    'Makefile',
    'src/GNUmakefile',
    'CMakeLists.txt',
    'configure',
    'app/build.gradle',
    'pom.xml',
    'build.rs',
    'setup.py',
    'pyproject.toml',
    'tests/conftest.py',
    'Dockerfile',
    'Rakefile',
    'Justfile',
    'meson.build',
    'BUILD.bazel',
    'WORKSPACE',
    'tox.ini',
    'noxfile.py',
  ],
  'shell environment': ['.envrc'],
};

describe('paths that run code', () => {
  for (const [kind, paths] of Object.entries(asked)) {
    it(`asks for each ${kind}`, () => {
      for (const path of paths) assert.equal(riskOfPath(path)?.kind, kind, path);
    });
  }

  it('does not ask for ordinary files', () => {
    for (const path of [
      'src/main.c',
      'README.md',
      '.editorconfig',
      '.gitignore',
      'docs/makefile-guide.md',
      'github/workflows/x',
      'lib/package.jsonx',
      'a~1b',
      'vscode/x',
      'makefiles/x',
    ]) {
      assert.equal(riskOfPath(path), null, path);
    }
  });

  it('sees through case, trailing dots and blanks, streams, invisible characters and backslashes', () => {
    for (const path of [
      'MAKEFILE',
      '.NpmRc',
      'package.json.',
      'package.json . ',
      'package.json::$DATA',
      '.vs\u200ccode/x',
      '.GITHUB\\Workflows\\a.yml',
      '.v\u017fcode/tasks.json',
      'ma\u212aefile',
    ]) {
      assert.notEqual(riskOfPath(path), null, path);
    }
  });

  it('takes a settings folder that is a file or a link for itself', () => {
    assert.equal(riskOfPath('.vscode')?.kind, 'editor settings');
    assert.equal(riskOfPath('.github/workflows')?.kind, 'CI workflow');
    assert.equal(riskOfPath('.github'), null);
  });

  it('asks for short names, which Windows takes for others', () => {
    assert.match(riskOfPath('PACKAG~1.JSO')?.kind ?? '', /8\.3/);
  });

  it('has patterns in lower case alone', () => {
    for (const { patterns } of riskyKinds)
      for (const pattern of patterns) assert.equal(pattern, pattern.toLowerCase());
  });
});

describe('names that a file system takes for .git', () => {
  it('are found in every spelling', () => {
    for (const path of [
      '.git',
      '.git/config',
      'a/.GIT/hooks/x',
      '.Git ',
      '.git.',
      '.git . .',
      '.git::$INDEX_ALLOCATION/x',
      'git~1/x',
      'GIT~2',
      '.g\u200cit/x',
      '.\u202agit',
      'a\\.git\\x',
      '.git\ufeff',
    ]) {
      assert.equal(namesGitFolder(path), true, JSON.stringify(path));
    }
  });

  it('are not every name with git in it', () => {
    for (const path of ['.gitignore', '.github/x', 'git', 'x.git', '.gitx/y', 'git~', '..git']) {
      assert.equal(namesGitFolder(path), false, path);
    }
  });
});
