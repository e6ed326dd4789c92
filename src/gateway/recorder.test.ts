import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import { gatewayLimits } from './limits.ts';
import { Denials, type FlowBatch, Recorder } from './recorder.ts';
import { run, settled } from './test-gate.ts';

function flow(id: number, more: Partial<EgressFlow> = {}): EgressFlow {
  const seen = {
    host: 'a.test',
    address: null,
    port: 443,
    protocol: 'https',
    method: null,
    path: null,
  } as const;
  const verdict = { verdict: 'allowed', rule: 'test#1', denial: null } as const;
  return { id, run, at: 1, ...seen, ...verdict, generation: 1, count: 1, ...more };
}

function end(id: number): EgressFlowEnd {
  return { id, run, at: 2, bytesOut: 0, bytesIn: 0, outcome: 'closed' };
}

function recorded(): { recorder: Recorder; batches: FlowBatch[] } {
  const batches: FlowBatch[] = [];
  return { recorder: new Recorder((batch) => batches.push(batch)), batches };
}

/** Fills every place on the way with one verdict each. */
async function fillTheWay(recorder: Recorder): Promise<void> {
  for (let batch = 0; batch < gatewayLimits.batchesMax; batch += 1) {
    void recorder.record(flow(batch));
    await settled();
  }
}

test('what happens at once goes in one batch, verdicts and ends together', async () => {
  const { recorder, batches } = recorded();
  const results = [1, 2, 3].map((id) => recorder.record(flow(id)));
  recorder.ended(end(1));
  await settled();
  assert.deepEqual(batches, [{ batch: 1, flows: [flow(1), flow(2), flow(3)], ends: [end(1)] }]);
  recorder.recorded(1);
  assert.deepEqual(await Promise.all(results), [true, true, true]);
});

test('nothing is true before its own batch is recorded', async () => {
  const { recorder, batches } = recorded();
  let first = false;
  const one = recorder.record(flow(1)).then(() => {
    first = true;
  });
  await settled();
  const two = recorder.record(flow(2));
  await settled();
  assert.equal(batches.length, 2);
  recorder.recorded(2);
  assert.equal(await two, true);
  assert.equal(first, false);
  recorder.recorded(1);
  await one;
});

test('nothing of a batch that cannot be recorded goes on, at once, and the next one is asked for anew', async () => {
  const { recorder, batches } = recorded();
  const refused = [1, 2].map((id) => recorder.record(flow(id)));
  await settled();
  const other = recorder.record(flow(3));
  await settled();
  recorder.refused(1);
  assert.deepEqual(await Promise.all(refused), [false, false]);
  recorder.recorded(1);
  recorder.refused(7);
  recorder.recorded(2);
  assert.equal(await other, true);
  const again = recorder.record(flow(4));
  await settled();
  assert.equal(batches.length, 3);
  recorder.recorded(3);
  assert.equal(await again, true);
});

test('a batch holds no more than its bound, in the order of the verdicts', async () => {
  const { recorder, batches } = recorded();
  const max = gatewayLimits.flowsPerBatchMax;
  for (let id = 1; id <= max + 1; id += 1) void recorder.record(flow(id));
  for (let id = 1; id <= max + 2; id += 1) recorder.ended(end(id));
  await settled();
  assert.deepEqual(
    batches.map(({ flows, ends }) => [flows.length, ends.length]),
    [
      [max, max],
      [1, 2],
    ],
  );
  const ids = batches.flatMap(({ flows }) => flows.map(({ id }) => id));
  assert.deepEqual(
    ids,
    [...ids].sort((a, b) => a - b),
  );
  for (const { batch } of batches) recorder.recorded(batch);
});

test('no more batches than the bound are on their way, and what waited goes together with the next one', async () => {
  const { recorder, batches } = recorded();
  await fillTheWay(recorder);
  const late = [100, 101, 102].map((id) => recorder.record(flow(id)));
  await settled();
  assert.equal(batches.length, gatewayLimits.batchesMax);
  recorder.recorded(1);
  await settled();
  assert.equal(batches.length, gatewayLimits.batchesMax + 1);
  assert.deepEqual(
    batches.at(-1)!.flows.map(({ id }) => id),
    [100, 101, 102],
  );
  for (const { batch } of batches) recorder.recorded(batch);
  assert.deepEqual(await Promise.all(late), [true, true, true]);
});

test('an end goes with the next verdict, or after a moment on its own', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { recorder, batches } = recorded();
  recorder.ended(end(1));
  await settled();
  assert.equal(batches.length, 0);
  void recorder.record(flow(2));
  await settled();
  assert.deepEqual(
    batches.map(({ flows, ends }) => [flows.length, ends]),
    [[1, [end(1)]]],
  );
  recorder.ended(end(3));
  t.mock.timers.tick(gatewayLimits.endsHeldMs - 1);
  await settled();
  assert.equal(batches.length, 1);
  t.mock.timers.tick(1);
  await settled();
  assert.deepEqual(batches.at(-1)!.ends, [end(3)]);
  recorder.recorded(1);
  t.mock.timers.tick(gatewayLimits.recordTimeoutMs);
});

test('an end alone is told too, and its batch takes a place on the way until it is recorded', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { recorder, batches } = recorded();
  for (let id = 0; id <= gatewayLimits.batchesMax; id += 1) {
    recorder.ended(end(id));
    t.mock.timers.tick(gatewayLimits.endsHeldMs);
    await settled();
  }
  assert.equal(batches.length, gatewayLimits.batchesMax);
  recorder.recorded(3);
  await settled();
  assert.deepEqual(batches.at(-1)!.ends, [end(gatewayLimits.batchesMax)]);
});

test('a verdict that is not recorded in time is refused, and one that is recorded just before is not', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { recorder, batches } = recorded();
  const slow = recorder.record(flow(1));
  await settled();
  t.mock.timers.tick(1);
  const quick = recorder.record(flow(2));
  await settled();
  assert.equal(batches.length, 2);
  t.mock.timers.tick(gatewayLimits.recordTimeoutMs - 1);
  assert.equal(await slow, false);
  recorder.recorded(2);
  assert.equal(await quick, true);
  recorder.recorded(1);
});

test('past the bound of what waits a verdict is refused at once, and taken again when there is room', async () => {
  const { recorder, batches } = recorded();
  await fillTheWay(recorder);
  const waiting = Array.from({ length: gatewayLimits.flowsWaitingMax }, (_, id) => recorder.record(flow(id)));
  assert.equal(await recorder.record(flow(-1)), false);
  recorder.recorded(1);
  await settled();
  const after = recorder.record(flow(-2));
  recorder.flush();
  for (const { batch } of batches) recorder.recorded(batch);
  assert.equal(await after, true);
  assert.ok((await Promise.all(waiting)).every((result) => result));
  assert.ok(!batches.some(({ flows }) => flows.some(({ id }) => id === -1)));
});

test('a flush sends all that waits, whatever is on its way', async () => {
  const { recorder, batches } = recorded();
  await fillTheWay(recorder);
  const count = gatewayLimits.flowsPerBatchMax + 1;
  const waiting = Array.from({ length: count }, (_, id) => recorder.record(flow(1_000 + id)));
  recorder.ended(end(7));
  recorder.flush();
  assert.equal(batches.length, gatewayLimits.batchesMax + 2);
  assert.deepEqual(batches.at(-2)!.ends, [end(7)]);
  for (const { batch } of batches) recorder.recorded(batch);
  assert.ok((await Promise.all(waiting)).every((result) => result));
  await settled();
  assert.equal(batches.length, gatewayLimits.batchesMax + 2, 'and nothing twice');
});

test('an answer for a batch that is not on its way changes nothing', async () => {
  const { recorder, batches } = recorded();
  recorder.recorded(1);
  const result = recorder.record(flow(1));
  await settled();
  recorder.recorded(9);
  recorder.recorded(1);
  assert.equal(await result, true);
  assert.equal(batches.length, 1);
});

type Facts = Parameters<Denials['add']>[0];

function denied(host: string, more: Partial<Facts> = {}): Facts {
  const {
    id: _,
    at: __,
    count: ___,
    ...facts
  } = flow(0, { host, verdict: 'denied', rule: null, denial: 'no-rule' });
  return { ...facts, ...more };
}

function denials(t: TestContext): { denials: Denials; told: EgressFlow[] } {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const told: EgressFlow[] = [];
  let next = 1;
  const made = new Denials(
    (facts) => ({ ...facts, id: next++, at: 5, count: 1 }),
    (one) => told.push(one),
  );
  return { denials: made, told };
}

test('the first denial of a kind is told at once, and its repetitions as one with their count', (t) => {
  const { denials: some, told } = denials(t);
  some.add(denied('a.test'));
  assert.deepEqual(
    told.map(({ host, count }) => [host, count]),
    [['a.test', 1]],
  );
  for (let repetition = 0; repetition < 41; repetition += 1) some.add(denied('a.test'));
  assert.equal(told.length, 1);
  t.mock.timers.tick(gatewayLimits.denialsToldMs - 1);
  assert.equal(told.length, 1);
  t.mock.timers.tick(1);
  assert.deepEqual(
    told.map(({ id, host, count }) => [id, host, count]),
    [
      [1, 'a.test', 1],
      [2, 'a.test', 41],
    ],
  );
  t.mock.timers.tick(10 * gatewayLimits.denialsToldMs);
  assert.equal(told.length, 2, 'what was told is not told again');
  some.add(denied('a.test'));
  t.mock.timers.tick(gatewayLimits.denialsToldMs);
  assert.deepEqual(told.at(-1)?.count, 1);
});

test('another host, address, port, reason, method, path or generation is another kind', (t) => {
  const { denials: some, told } = denials(t);
  const kinds: Facts[] = [
    denied('a.test'),
    denied('b.test'),
    denied('a.test', { address: '1.2.3.4' }),
    denied('a.test', { port: 80 }),
    denied('a.test', { denial: 'protocol' }),
    denied('a.test', { method: 'GET' }),
    denied('a.test', { path: '/' }),
    denied('a.test', { generation: 2 }),
  ];
  for (const kind of [...kinds, ...kinds]) some.add(kind);
  assert.deepEqual(
    told.map(({ id: _, at: __, count: ___, ...facts }) => facts),
    kinds,
  );
});

test('a flush tells the counts at once, and once', (t) => {
  const { denials: some, told } = denials(t);
  for (const host of ['a.test', 'b.test', 'a.test', 'a.test', 'b.test']) some.add(denied(host));
  some.flush();
  assert.deepEqual(
    told.slice(2).map(({ host, count }) => [host, count]),
    [
      ['a.test', 2],
      ['b.test', 1],
    ],
  );
  t.mock.timers.tick(gatewayLimits.denialsToldMs);
  assert.equal(told.length, 4);
});

test('past the bound of kinds new ones are counted together, and known ones still apart', (t) => {
  const { denials: some, told } = denials(t);
  const max = gatewayLimits.denialKindsMax;
  for (let kind = 0; kind < max + 500; kind += 1) some.add(denied(`n${kind}.test`, { path: '/secret' }));
  assert.equal(told.length, max + 1);
  const { host, path, port, count } = told.at(-1)!;
  assert.deepEqual([host, path, port, count], [null, null, 0, 1]);
  some.add(denied('n7.test', { path: '/secret' }));
  some.flush();
  const counted = told.slice(max + 1).map((one) => [one.host, one.count]);
  assert.deepEqual(
    counted.sort((a, b) => Number(a[1]) - Number(b[1])),
    [
      ['n7.test', 1],
      [null, 499],
    ],
  );
  const sum = told.reduce((total, one) => total + one.count, 0);
  assert.equal(sum, max + 501, 'every denial is counted once');
});

test('a kind that does not come again is forgotten, and one that goes on is not', (t) => {
  const { denials: some, told } = denials(t);
  const rounds = gatewayLimits.denialForgottenMs / gatewayLimits.denialsToldMs;
  some.add(denied('gone.test'));
  for (let round = 0; round < rounds; round += 1) {
    some.add(denied('again.test'));
    t.mock.timers.tick(gatewayLimits.denialsToldMs);
  }
  assert.equal(told.length, 2 + rounds - 1);
  some.add(denied('again.test'));
  assert.equal(told.length, 2 + rounds - 1, 'it is still counted');
  some.add(denied('gone.test'));
  assert.deepEqual([told.at(-1)!.host, told.at(-1)!.count], ['gone.test', 1]);
});

test('a sandbox that was denied too many things is told of single ones again once they are long past', (t) => {
  const { denials: some, told } = denials(t);
  for (let kind = 0; kind <= gatewayLimits.denialKindsMax; kind += 1) some.add(denied(`n${kind}.test`));
  assert.equal(told.at(-1)!.host, null);
  t.mock.timers.tick(gatewayLimits.denialForgottenMs);
  some.add(denied('new.test'));
  assert.equal(told.at(-1)!.host, 'new.test');
});
