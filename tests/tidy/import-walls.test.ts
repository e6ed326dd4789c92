import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  hiddenImports,
  type Import,
  importsOf,
  isIn,
  isProduct,
  isTest,
  parseSources,
  readSources,
  type Source,
} from './sources.ts';
import { nodeWalls, type Wall, walls } from './walls.ts';

const sources = readSources();

function wallOf(path: string, table: readonly Wall[]): Wall | undefined {
  return table.find(({ folder }) => isIn(path, folder));
}

/** What is wrong with one import of a product file, or null; packages have homes instead of walls. */
function judge(path: string, target: Import): string | null {
  const wall = wallOf(path, walls);
  if (!wall) return `${path}: its folder has no line in tests/tidy/walls.ts`;
  if (target.kind === 'package') return null;
  if (target.kind === 'node') {
    const builtins = wallOf(path, nodeWalls);
    if (!builtins || builtins.mayImport.includes(target.name)) return null;
    return `${path} imports ${target.name}: ${builtins.why}`;
  }
  if (isTest(target.path)) return `${path} imports ${target.path}, which is for tests`;
  const reach = [wall.folder, ...wall.mayImport];
  return reach.some((folder) => isIn(target.path, folder))
    ? null
    : `${path} imports ${target.path}: ${wall.why}`;
}

function breaches(checked: readonly Source[]): string[] {
  return checked
    .filter(({ path }) => isProduct(path))
    .flatMap((source) => importsOf(source).map((target) => judge(source.path, target)))
    .filter((breach) => breach !== null);
}

test('no folder imports past its wall', () => {
  assert.deepEqual(breaches(sources), []);
});

test('no import of the product hides its target from the walls', () => {
  assert.deepEqual(sources.filter(({ path }) => isProduct(path)).flatMap(hiddenImports), []);
});

test('every folder of src, and web, has a wall and every wall a folder', () => {
  const folders = new Set(sources.flatMap(({ path }) => /^(src\/[^/]+|web)(?=\/)/.exec(path)?.[0] ?? []));
  assert.deepEqual([...folders].sort(), walls.map(({ folder }) => folder).sort());
});

test('every kind of forbidden import is caught', () => {
  const fixtures = parseSources({
    'src/model/a.ts': "import { open } from '../store/sqlite/open.ts';",
    'src/model/b.ts': "import { readFileSync } from 'node:fs';",
    'src/server/c.ts': "import type { Store } from '../store/store.ts';",
    'src/runner/d.ts': "export async function load() { return import('../store/store.ts'); }",
    'src/sandbox/local/e.ts': "export { Log } from '../../audit/log.ts';",
    'src/cli/f.ts': "import { openAuditLog } from '../audit/log.ts';",
    'src/control/g.ts': "import { settings } from '../main/settings.ts';",
    'src/audit/h.ts': "import { repository } from '../cli/test-repository.ts';",
    'src/client/i.ts': "export type S = import('../store/store.ts').Store;",
    'src/newcomer/j.ts': "import { systemClock } from '../base/clock.ts';",
    'src/base/k.ts': "import { walls } from '../../tests/tidy/walls.ts';",
    'web/m.ts': "import { createClient } from '../src/client/client.ts';",
    'src/base/l.ts': "import packageFile from '../../package.json' with { type: 'json' };",
  });
  const caught = new Set(breaches(fixtures).map((breach) => breach.split(/[: ]/)[0]));
  assert.deepEqual(
    [...caught],
    fixtures.map(({ path }) => path),
  );
});

test('allowed imports are not caught', () => {
  const fixtures = parseSources({
    'src/cli/a.ts': "import { verifyStreams } from '../audit/verify.ts'; import { x } from './b.ts';",
    'src/main/b.ts': "import { openServer } from '../server/server.ts';",
    'src/model/c.test.ts': "import { open } from '../store/sqlite/open.ts';",
    'src/store/d.ts': "import { readFileSync } from 'node:fs'; import { sql } from 'kysely';",
  });
  assert.deepEqual(breaches(fixtures), []);
});

test('an import whose target is computed is caught', () => {
  const [fixture] = parseSources({ 'src/base/a.ts': 'export const load = (name: string) => import(name);' });
  assert.deepEqual(hiddenImports(fixture!), ['src/base/a.ts:1']);
});
