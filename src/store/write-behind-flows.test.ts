import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import { newId } from '../model/ids.ts';
import { storeLimits } from './limits.ts';
import type { FlowStore } from './store.ts';
import { WriteBehindFlows } from './write-behind-flows.ts';

const run = newId('run', 1);
const flow = (id: number) => ({ run, id }) as EgressFlow;
const end = (id: number) => ({ run, id }) as EgressFlowEnd;

/** A store that writes when it is let, and tells what it was asked in order. */
class SlowStore {
  readonly asked: string[] = [];
  #next = Promise.withResolvers<void>();

  let(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }

  fail(): void {
    this.#next.reject(new Error('full'));
    this.#next = Promise.withResolvers();
  }

  get store(): FlowStore {
    const asked = (what: string) => async () => {
      this.asked.push(what);
      return { records: [], more: false } as never;
    };
    return {
      record: async (flows, ends) => {
        this.asked.push(`record ${flows.map(({ id }) => id)} ${ends.map(({ id }) => id)}`);
        await this.#next.promise;
      },
      known: asked('known'),
      list: asked('list'),
      newest: asked('newest'),
      runsSince: asked('runsSince'),
      countsOf: asked('countsOf'),
      remove: asked('remove'),
    };
  }
}

test('what is recorded within a moment is one commit, and each caller hears when it is durable', async () => {
  const slow = new SlowStore();
  const flows = new WriteBehindFlows(slow.store);
  let kept = 0;
  const all = [flows.record([flow(1)], []), flows.record([flow(2)], [end(1)])];
  for (const each of all)
    void each.then(() => {
      kept += 1;
    });
  assert.deepEqual(slow.asked, []);
  await pause(2 * storeLimits.flowsHeldMs);
  assert.deepEqual([slow.asked, kept], [['record 1,2 1'], 0]);
  slow.let();
  await Promise.all(all);
});

test('whoever reads or removes waits for all that was recorded before', async () => {
  for (const what of ['known', 'list', 'newest', 'runsSince', 'countsOf', 'remove'] as const) {
    const slow = new SlowStore();
    const flows = new WriteBehindFlows(slow.store);
    void flows.record([flow(1)], []);
    const read = (flows[what] as (...words: unknown[]) => Promise<unknown>)(run, []);
    await new Promise(setImmediate);
    assert.deepEqual(slow.asked, ['record 1 ']);
    slow.let();
    await read;
    assert.deepEqual(slow.asked, ['record 1 ', what]);
  }
});

test('commits follow each other in the order of the calls, and one that fails is told to its callers alone', async () => {
  const slow = new SlowStore();
  const flows = new WriteBehindFlows(slow.store);
  const first = flows.record([flow(1)], []);
  void flows.settled();
  const second = flows.record([flow(2)], []);
  const settled = flows.settled();
  await new Promise(setImmediate);
  assert.deepEqual(slow.asked, ['record 1 ']);
  slow.fail();
  await assert.rejects(first, /full/);
  await new Promise(setImmediate);
  assert.deepEqual(slow.asked, ['record 1 ', 'record 2 ']);
  slow.let();
  await Promise.all([second, settled]);
});

test('many do not wait for the moment to pass', async () => {
  const slow = new SlowStore();
  const flows = new WriteBehindFlows(slow.store);
  const many = Array.from({ length: storeLimits.flowsHeldMax }, (_, id) => flow(id));
  const kept = flows.record(many, []);
  await new Promise(setImmediate);
  assert.equal(slow.asked.length, 1);
  slow.let();
  await kept;
});
