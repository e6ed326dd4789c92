import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId, parseId } from './ids.ts';

test('ids are unique, parse as their own kind alone, and fit a file name and a Kubernetes label', () => {
  const ids = Array.from({ length: 20_000 }, () => newId('run', 1_700_000_000_000));
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids.slice(0, 100)) {
    assert.equal(parseId('run', id), id);
    assert.equal(parseId('session', id), null);
    assert.match(id, /^[a-z0-9_]{1,63}$/);
  }
});

test('ids sort by the time they were made', () => {
  const times = [1, 1_000, 1_700_000_000_000, 1_700_000_000_001, 2 ** 47];
  const ids = times.map((time) => newId('event', time));
  assert.deepEqual([...ids].sort(), ids);
});

for (const text of [
  '',
  'run_',
  'run_0',
  `run_${'0'.repeat(27)}`,
  `run_${'i'.repeat(26)}`,
  `RUN_${'0'.repeat(26)}`,
  `run_${'0'.repeat(25)}/`,
  `run_${'0'.repeat(25)}\n`,
]) {
  test(`what is not an id is refused: ${JSON.stringify(text)}`, () => {
    assert.equal(parseId('run', text), null);
  });
}
