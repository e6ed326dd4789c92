import assert from 'node:assert/strict';
import { test } from 'node:test';
import { homes, neverImported } from './dependencies.ts';
import { importsOf, isIn, isTest, parseSources, readSources, readText, type Source } from './sources.ts';

type Manifest = Record<'dependencies' | 'devDependencies' | 'optionalDependencies', Record<string, string>>;

const sources = readSources();
const manifest = JSON.parse(readText('package.json')) as Manifest;
const declared = [manifest.dependencies, manifest.devDependencies, manifest.optionalDependencies]
  .flatMap((group) => Object.keys(group))
  .sort();

function judge(path: string, dependency: string): string | null {
  const home = homes.find((candidate) => candidate.dependency === dependency);
  if (!home) return `${path} imports ${dependency}, which has no line in tests/tidy/dependencies.ts`;
  if (isTest(path) || home.folders.some((folder) => isIn(path, folder))) return null;
  return `${path} imports ${dependency}, whose home is ${home.folders.join(', ') || 'tests and tools'}: ${home.why}`;
}

function strays(checked: readonly Source[]): string[] {
  return checked
    .flatMap((source) =>
      importsOf(source).map((target) => (target.kind === 'package' ? judge(source.path, target.name) : null)),
    )
    .filter((stray) => stray !== null);
}

test('each npm package is imported only in its home', () => {
  assert.deepEqual(strays(sources), []);
});

test('every declared package has a home or is a program, and nothing else is listed', () => {
  const listed = [...homes.map(({ dependency }) => dependency), ...neverImported].sort();
  assert.deepEqual(listed, declared);
});

test('every declared package has its line in decision 2, and no other has', () => {
  const decision = readText('docs/decisions/0002-dependencies.md');
  const lines = [...decision.matchAll(/^- `([^`]+)`/gm)].map((match) => match[1]!);
  assert.deepEqual(lines.sort(), declared);
});

test('every version is exact', () => {
  const groups = [manifest.dependencies, manifest.devDependencies, manifest.optionalDependencies];
  const loose = groups
    .flatMap((group) => Object.entries(group))
    .filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version));
  assert.deepEqual(loose, []);
});

test('an import away from home, of a type, of a part or of an unknown package is caught', () => {
  const fixtures = parseSources({
    'src/model/a.ts': "import { z } from 'zod';",
    'src/cli/b.ts': "import type { Database } from 'better-sqlite3';",
    'src/control/c.ts': "import { Migrator } from 'kysely/migration';",
    'src/runner/d.ts': "export const load = () => import('koffi');",
    'src/server/e.ts': "import { thing } from '@unknown/package/part';",
    'src/base/f.ts': "import fc from 'fast-check';",
  });
  const caught = strays(fixtures).map((stray) => stray.split(' ')[0]);
  assert.deepEqual(
    caught,
    fixtures.map(({ path }) => path),
  );
});

test('an import at home is not caught', () => {
  const fixtures = parseSources({
    'src/base/libc.ts': "import koffi from 'koffi';",
    'src/store/sqlite/a.ts': "import { sql } from 'kysely'; import Database from 'better-sqlite3';",
    'src/base/b.test.ts': "import fc from 'fast-check'; import { z } from 'zod';",
  });
  assert.deepEqual(strays(fixtures), []);
});
