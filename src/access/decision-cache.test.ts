import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DecisionCache } from './decision-cache.ts';

test('however much is remembered, it is no more than twice the half, and what is asked for stays', () => {
  const cache = new DecisionCache<number>(100);
  cache.set('kept', 1);
  for (let index = 0; index < 10_000; index += 1) {
    cache.set(`key ${index}`, index);
    assert.equal(cache.get('kept'), 1);
    assert(cache.size <= 200, `${cache.size}`);
  }
  assert.equal(cache.get('key 1'), undefined);
  assert.equal(cache.get('key 9999'), 9_999);
});
