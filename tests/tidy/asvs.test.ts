import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readText, root } from './sources.ts';

/**
 * The levels of every requirement of OWASP ASVS 5.0.0 in the chapters that docs/reference/asvs.md answers, one digit a
 * requirement, in the order of the standard: the third digit of V4.1 is the level of V4.1.3.
 */
const levels: Readonly<Record<string, string>> = {
  'V4.1': '12233',
  'V4.2': '23333',
  'V4.3': '22',
  'V4.4': '1222',
  'V6.1': '122',
  'V6.2': '111111112222',
  'V6.3': '11223333',
  'V6.4': '112233',
  'V6.5': '22222333',
  'V6.6': '2223',
  'V6.7': '33',
  'V6.8': '2222',
  'V7.1': '222',
  'V7.2': '1111',
  'V7.3': '22',
  'V7.4': '11222',
  'V7.5': '223',
  'V7.6': '22',
  'V8.1': '1233',
  'V8.2': '1123',
  'V8.3': '133',
  'V8.4': '23',
  'V9.1': '111',
  'V9.2': '1222',
  'V10.1': '22',
  'V10.2': '223',
  'V10.3': '22223',
  'V10.4': '1111122222233333',
  'V10.5': '22222',
  'V10.6': '22',
  'V10.7': '222',
};

const states = ['kept', 'not applicable', 'open'];

type Row = {
  readonly id: string;
  readonly level: string;
  readonly asks: string;
  readonly state: string;
  readonly how: string;
  readonly shown: string;
};

/** The rows of the page's tables, as they stand there. */
function rowsOf(page: string): Row[] {
  return page
    .split('\n')
    .filter((line) => /^\| V\d/.test(line))
    .map((line) => {
      const cells = line.split('|').map((cell) => cell.trim());
      const [, id = '', level = '', asks = '', state = '', how = '', shown = ''] = cells;
      assert.equal(cells.length, 8, `${id} does not have six cells`);
      return { id, level, asks, state, how, shown };
    });
}

const required = Object.entries(levels).flatMap(([section, digits]) =>
  [...digits].map((level, index) => ({ id: `${section}.${index + 1}`, level })),
);

/** What is wrong with a row by itself. */
function problemsOf({ id, asks, state, how, shown }: Row, exists: (path: string) => boolean): string[] {
  const named = [...`${how} ${shown}`.matchAll(/`((?:src|tests|docs|bench|tools)\/[^`]+)`/g)].map(
    ([, path]) => path!,
  );
  const tests = [...shown.matchAll(/`([^`]+)`/g)].map(([, path]) => path!);
  return [
    ...(states.includes(state) ? [] : [`${id}: '${state}' is not ${states.join(', ')}`]),
    ...(asks.length > 10 && how.length > 10
      ? []
      : [`${id} does not say what is asked, or how it is answered`]),
    ...(state === 'kept' && tests.length === 0 ? [`${id} is kept, and nothing shows it`] : []),
    ...[...new Set([...named, ...tests])]
      .filter((path) => !exists(path))
      .map((path) => `${id}: ${path} does not exist`),
  ];
}

const rows = rowsOf(readText('docs/reference/asvs.md'));

test('every requirement of the chapters is answered exactly once, in order, with its level', () => {
  assert.deepEqual(
    rows.map(({ id, level }) => ({ id, level })),
    required,
  );
});

test('every row says how, and what shows it exists', () => {
  const exists = (path: string) => existsSync(join(root, path));
  assert.deepEqual(
    rows.flatMap((row) => problemsOf(row, exists)),
    [],
  );
});

test('the counts on the page are those of its rows', () => {
  const count = (wanted: string) => rows.filter(({ state }) => state === wanted).length;
  const line = states.map((state) => `${count(state)} ${state}`).join(', ');
  assert(readText('docs/reference/asvs.md').includes(`${rows.length} requirements: ${line}.`), line);
});

test('each breach of a row is caught', () => {
  const row = (line: string) => problemsOf(rowsOf(line)[0]!, (path) => path === 'tests/a.test.ts');
  const fine = '| V4.1.1 | 1 | what is asked | kept | how it is kept here | `tests/a.test.ts` |';
  assert.deepEqual(row(fine), []);
  assert.equal(row(fine.replace('kept |', 'done |')).length, 1);
  assert.equal(row(fine.replace('`tests/a.test.ts`', '–')).length, 1);
  assert.equal(row(fine.replace('tests/a', 'tests/b')).length, 1);
  assert.equal(row(fine.replace('how it', 'by `src/b.ts` it')).length, 1);
  assert.equal(row(fine.replace('what is asked', '')).length, 1);
});
