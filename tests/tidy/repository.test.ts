import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { listFiles, readText, root } from './sources.ts';
import { renderWalls } from './walls.ts';

const files = listFiles();
const texts = new Map(files.filter(isText).map((path) => [path, readText(path)]));
const pages = [...texts].filter(([path]) => path.endsWith('.md'));
const { scripts } = JSON.parse(readText('package.json')) as { scripts: Record<string, string> };

function isText(path: string): boolean {
  const textBytesMax = 1_000_000;
  const stat = statSync(join(root, path));
  return stat.isFile() && stat.size <= textBytesMax && !readText(path).includes('\0');
}

/** Where packages come from is a matter of the machine. Dots are spaces, so that this file passes its own test. */
const registryHosts = [
  'registry npmjs org',
  'registry yarnpkg com',
  'registry npmmirror com',
  'npm pkg github com',
  'deb debian org',
  'security debian org',
  'archive ubuntu com',
  'pypi org',
  'proxy golang org',
].map((labels) => labels.replaceAll(' ', '.'));

const machineTraces: readonly { readonly what: string; readonly pattern: RegExp }[] = [
  { what: 'a registry setting', pattern: /^\s*(@[^:\s]+:)?registry\s*=/m },
  { what: 'a registry credential', pattern: /_auth(Token)?\s*=/ },
  { what: 'a package address', pattern: /"resolved":\s*"http/ },
  {
    what: 'an address with a mirror in its host',
    pattern: /https?:\/\/[^\s/"'`]*(artifactory|nexus|verdaccio|mirror)/,
  },
  { what: 'a path of a work machine', pattern: /(?<![.\w])\/work\/(main|shared)\b/ },
  {
    what: 'a path in a home folder',
    pattern: /(?<![.\w])\/(root\/\.\w|Users\/|home\/(?!(agent|me|you)\b)[a-z])/,
  },
  { what: 'a private key', pattern: /-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{40}/ },
];

/** The presets of policies name public hosts as data; where this machine's packages come from is not in them. */
const namesPublicHosts = 'src/model/egress-presets.ts';

function traces(path: string, text: string): string[] {
  const named = path === namesPublicHosts ? [] : registryHosts.filter((host) => text.includes(host));
  const hosts = named.map((host) => `${path}: ${host}`);
  const found = machineTraces
    .filter(({ pattern }) => pattern.test(text))
    .map(({ what }) => `${path}: ${what}`);
  return [...hosts, ...found];
}

/** Commands of a page that this repository does not have. */
function absentCommands(path: string, text: string): string[] {
  const npmScripts = [...text.matchAll(/\bnpm (?:run )?(start|test|(?<=run )[\w:-]+)/g)].map(
    (match) => match[1]!,
  );
  const programs = [...text.matchAll(/(?<![\w.])\.\/((?:bin|tools)\/[\w.-]+)/g)].map((match) => match[1]!);
  return [
    ...npmScripts.filter((name) => !(name in scripts)).map((name) => `${path}: npm run ${name}`),
    ...programs.filter((program) => !isExecutable(program)).map((program) => `${path}: ./${program}`),
  ];
}

function isExecutable(path: string): boolean {
  return existsSync(join(root, path)) && (statSync(join(root, path)).mode & 0o111) !== 0;
}

/** Relative links of a page whose target is not there. */
function brokenLinks(path: string, text: string): string[] {
  const targets = [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map((match) => match[1]!);
  return targets
    .filter((target) => !existsSync(join(root, dirname(path), target)))
    .map((target) => `${path}: ${target}`);
}

/** Actions that a moved tag could change under us. */
function looseActions(path: string, text: string): string[] {
  const uses = [...text.matchAll(/^\s*(?:- )?uses:\s*(\S+)/gm)].map((match) => match[1]!);
  return uses
    .filter((action) => !/^[\w.-]+\/[\w./-]+@[0-9a-f]{40}$/.test(action))
    .map((action) => `${path}: ${action}`);
}

test('no file names a registry, a work machine or a secret', () => {
  assert.ok(texts.has('package-lock.json'), 'the lock file is among the files that are looked at');
  assert.deepEqual(
    [...texts].flatMap(([path, text]) => traces(path, text)),
    [],
  );
});

type LockFile = { packages: Record<string, { optionalDependencies?: Record<string, string> }> };

/** Optional packages, mostly of other platforms, that a lock file leaves out; `npm ci` refuses such a file. */
function unlocked({ packages }: LockFile): string[] {
  const locked = Object.keys(packages);
  return Object.values(packages)
    .flatMap(({ optionalDependencies }) => Object.keys(optionalDependencies ?? {}))
    .filter((name) => !locked.some((path) => path.endsWith(`node_modules/${name}`)));
}

test('the lock file holds the packages of every platform', () => {
  assert.deepEqual(unlocked(JSON.parse(readText('package-lock.json')) as LockFile), []);
  const torn = { packages: { 'node_modules/a': { optionalDependencies: { '@a/arm64': '1.0.0' } } } };
  assert.deepEqual(unlocked(torn), ['@a/arm64'], 'a package that is left out is caught');
});

test('every command that a page names is there', () => {
  assert.ok(pages.some(([path]) => path === 'README.md'));
  assert.deepEqual(
    pages.flatMap(([path, text]) => absentCommands(path, text)),
    [],
  );
});

test('every relative link of a page leads somewhere', () => {
  assert.deepEqual(
    pages.flatMap(([path, text]) => brokenLinks(path, text)),
    [],
  );
});

test('every action of a workflow is pinned by hash', () => {
  const workflows = [...texts].filter(([path]) => path.startsWith('.github/workflows/'));
  assert.ok(workflows.length > 0);
  assert.deepEqual(
    workflows.flatMap(([path, text]) => looseActions(path, text)),
    [],
  );
});

test('ARCHITECTURE.md shows the import table as tests/tidy/walls.ts has it', () => {
  const shown = /<!-- walls -->\n([\s\S]*?)\n<!-- \/walls -->/.exec(readText('ARCHITECTURE.md'))?.[1];
  assert.equal(shown, renderWalls(), 'paste what `node tests/tidy/walls.ts` prints');
});

test('every decision that code or a page cites exists, numbered without a gap', () => {
  const numbers = files.flatMap((path) => /^docs\/decisions\/(\d{4})-/.exec(path)?.[1] ?? []).map(Number);
  assert.deepEqual(
    numbers,
    numbers.map((_, index) => index + 1),
  );
  const cited = [...texts].flatMap(([path, text]) =>
    [...text.matchAll(/\bdecisions? (\d{1,4})\b/g)].map((match) => ({ path, number: Number(match[1]) })),
  );
  assert.ok(cited.length > 0);
  assert.deepEqual(
    cited.filter(({ number }) => !numbers.includes(number)),
    [],
  );
});

test('every guarantee of SECURITY.md has its test file', () => {
  const rows = [...readText('SECURITY.md').matchAll(/^\| G\d+ \|.*\|$/gm)].map(([row]) =>
    [...row.matchAll(/`([^`]+\.test\.ts)`/g)].map((match) => match[1]!),
  );
  assert.ok(rows.length >= 9);
  // The first of a row says the folder of those that follow it without one.
  const missing = rows.flatMap((names) => {
    const folder = dirname(names[0] ?? '');
    const paths = names.map((name) => (name.includes('/') ? name : join(folder, name)));
    return paths.length === 0
      ? ['a row without a test']
      : paths.filter((path) => !existsSync(join(root, path)));
  });
  assert.deepEqual(missing, []);
});

test('each trace of a machine is caught, and its like is not', () => {
  const caught = [
    `see https://${registryHosts[0]}/zod`,
    `${'registry'}=https://example.test/`,
    `//example.test/:_${'auth'}Token=x`,
    `"${'resolved'}": "http://127.0.0.1/a.tgz"`,
    `http://npm.${'mirror'}.example/x`,
    `cd /${'work'}/main`,
    `/${'home'}/jsmith/x`,
    `/${'root'}/.npmrc`,
    `-----BEGIN ${'PRIVATE'} KEY-----\n${'A'.repeat(60)}\n`,
  ];
  for (const text of caught) assert.equal(traces('x', text).length, 1, text);
  for (const text of [
    'the npm registry',
    'https://example.org/',
    '/home/agent',
    '/home/me/project',
    './work/main.ts',
    'a rootless one',
  ]) {
    assert.deepEqual(traces('x', text), []);
  }
});

test('an absent command, a broken link and a loose action are caught', () => {
  const page =
    'npm run nothing, npm start, npm test -- x, ./bin/sealwright, ./bin/absent, [a](absent.md), [b](README.md)';
  assert.deepEqual(absentCommands('x.md', page), ['x.md: npm run nothing', 'x.md: ./bin/absent']);
  assert.deepEqual(brokenLinks('x.md', page), ['x.md: absent.md']);
  const workflow = `- uses: actions/checkout@v4\n- uses: a/b@${'0'.repeat(40)} # v1\n  uses: docker://x`;
  assert.deepEqual(looseActions('w', workflow), ['w: actions/checkout@v4', 'w: docker://x']);
});
