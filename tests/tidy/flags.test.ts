import assert from 'node:assert/strict';
import { test } from 'node:test';
import { importsOf, isIn, isProduct, parseSources, readSources, type Source } from './sources.ts';

/**
 * Nothing that protects is behind a flag: a flag that cannot be read is off, and a protection must not be off with it.
 * Who knows of flags at all is listed here, with the reason. Whoever adds a line says what the flag opens that would
 * be safe without it.
 */
const knowing: Readonly<Record<string, string>> = {
  'src/cli/flags.ts': 'people set and read them',
  'src/client/client.ts': 'calls the routes of flags',
  'src/contract/flags-schemas.ts': 'the grammar of rules',
  'src/control/control.ts': 'the use cases of flags',
  'src/control/identity/flags.ts': 'changes and shows them',
  'src/control/identity/tickets.ts':
    'sso-tickets: one more way to prove one factor, and without it the others stay',
  'src/control/open.ts': 'hands them to use cases',
  'src/control/readiness.ts': 'says what is wrong with them; asks for none',
  'src/main/feature-flags.ts': 'opens them',
  'src/server/flags/routes.ts': 'their routes',
};

const homes = ['src/flags', 'src/model/flags', 'src/contract/flags-schemas'];

/** Product files outside src/flags that import from where flags are known, types included. */
function askers(sources: readonly Source[]): string[] {
  return sources
    .filter(({ path }) => isProduct(path) && !isIn(path, 'src/flags'))
    .filter((source) =>
      importsOf(source).some(
        (target) => target.kind === 'file' && homes.some((home) => isIn(target.path, home)),
      ),
    )
    .map(({ path }) => path)
    .sort();
}

test('only files of a list know of flags, and none of them protects anything', () => {
  assert.deepEqual(askers(readSources()), Object.keys(knowing).sort());
});

test('nothing that decides, authenticates, records, bounds or seals is on the list', () => {
  const protecting = [
    'src/access',
    'src/audit',
    'src/gateway',
    'src/identity',
    'src/model',
    'src/runner',
    'src/sandbox',
    'src/control/gate',
    'src/control/denials',
    'src/server/admission',
    'src/server/rates',
  ];
  for (const path of Object.keys(knowing))
    assert(!protecting.some((place) => isIn(path, place)), `${path} protects, so it must not know of flags`);
});

test('each way of asking for a flag is caught, and its like is not', () => {
  const asked = parseSources({
    'src/identity/a.ts': "import { openFlags } from '../flags/flags.ts';",
    'src/server/admission.ts': "import type { Flags } from '../flags/flags.ts';",
    'src/control/gate.ts': "import { decideFlag } from '../model/flags.ts';",
    'src/access/b.ts': "const { parseFlags } = await import('../contract/flags-schemas.ts');",
    'src/flags/provider.ts': "import { decideFlag } from '../model/flags.ts';",
    'src/cli/c.ts': "import { defineFlags } from './flags.ts';",
    'src/flags/d.test.ts': "import { openFlags } from './flags.ts';",
  });
  const expected = ['src/access/b.ts', 'src/control/gate.ts', 'src/identity/a.ts', 'src/server/admission.ts'];
  assert.deepEqual(askers(asked), expected);
});
