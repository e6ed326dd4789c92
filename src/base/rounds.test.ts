import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rounds } from './rounds.ts';

test('rounds do not overlap, and what is asked for during one makes one more', async () => {
  const begun: (() => void)[] = [];
  const rounds = new Rounds(() => new Promise((resolve) => begun.push(resolve)));
  const turn = () => new Promise(setImmediate);
  rounds.ask();
  rounds.ask();
  rounds.ask();
  assert.equal(begun.length, 1);
  begun[0]!();
  await turn();
  assert.equal(begun.length, 2, 'however often it was asked for');
  begun[1]!();
  await turn();
  assert.equal(begun.length, 2);
  rounds.ask();
  assert.equal(begun.length, 3);
});
