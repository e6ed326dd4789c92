import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EgressBatch } from '../contract/runner.ts';
import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import { newId, type RunId } from '../model/ids.ts';
import { EgressRelay } from './egress-relay.ts';

const content = { flows: [], ends: [] };

function relayWithControl(): { relay: EgressRelay; heard: number[]; recorded: number[] } {
  const relay = new EgressRelay();
  const heard: number[] = [];
  relay.onBatch(({ batch }: EgressBatch) => heard.push(batch));
  return { relay, heard, recorded: [] };
}

test('each batch is told once as it comes, numbered in order, and is owed until control has it in its store', () => {
  const { relay, heard, recorded } = relayWithControl();
  for (const name of [1, 2, 3]) relay.send(content, () => recorded.push(name));
  assert.deepEqual(heard, [1, 2, 3]);
  assert.deepEqual(
    relay.owed().map(({ batch }) => batch),
    [1, 2, 3],
  );
  relay.recorded(2);
  assert.deepEqual(recorded, [2]);
  assert.equal(relay.owed().length, 3);
  relay.kept(2);
  assert.deepEqual(
    relay.owed().map(({ batch }) => batch),
    [1, 3],
  );
});

test('a control that was started anew is told again what is owed, until it has it in its store, with what it held', () => {
  const { relay, recorded } = relayWithControl();
  relay.send({ flows: [], ends: [] }, () => recorded.push(1));
  relay.send(content, () => recorded.push(2));
  const first = relay.owed();
  assert.deepEqual(relay.owed(), first);
  relay.recorded(1);
  assert.deepEqual(relay.owed(), first);
  relay.kept(1);
  assert.deepEqual(relay.owed(), first.slice(1));
  relay.recorded(2);
  relay.kept(2);
  assert.deepEqual(relay.owed(), []);
  assert.deepEqual(recorded, [1, 2]);
});

test('a batch that was told twice and recorded twice is answered to the gateway once', () => {
  const { relay, recorded } = relayWithControl();
  relay.send(content, () => recorded.push(1));
  relay.recorded(1);
  relay.recorded(1);
  relay.recorded(99);
  assert.deepEqual(recorded, [1]);
});

test('a batch is kept while nobody listens', () => {
  const relay = new EgressRelay();
  relay.send(content, () => undefined);
  assert.equal(relay.owed().length, 1);
});

test('whoever is told sees what is owed already, so that an answer at once settles it', () => {
  const relay = new EgressRelay();
  let settled = 0;
  relay.onBatch(({ batch }) => {
    relay.recorded(batch);
    relay.kept(batch);
  });
  relay.send(content, () => {
    settled += 1;
  });
  assert.equal(settled, 1);
  assert.deepEqual(relay.owed(), []);
});

const [first, second] = [newId('run', 1), newId('run', 2)];
const flow = (run: RunId, id: number) => ({ run, id }) as EgressFlow;
const end = (run: RunId, id: number) => ({ run, id, bytesOut: 10 }) as EgressFlowEnd;

test('numbers and bytes of flows go on over the sandboxes and gateways of a run, until it is over', () => {
  const { relay } = relayWithControl();
  assert.deepEqual(relay.known(first), { nextFlow: 1, bytesOut: 0 });
  relay.send({ flows: [flow(first, 1), flow(second, 7), flow(first, 2)], ends: [] }, () => {});
  relay.send({ flows: [flow(first, 1)], ends: [end(first, 9)] }, () => {});
  assert.deepEqual(relay.known(first), { nextFlow: 3, bytesOut: 10 });
  assert.deepEqual(relay.known(second), { nextFlow: 8, bytesOut: 0 });
  relay.forget(first);
  assert.deepEqual(relay.known(first), { nextFlow: 1, bytesOut: 0 });
  assert.equal(relay.known(second).nextFlow, 8);
});

test('who follows a run hears its verdicts and no other, until they stop', () => {
  const { relay } = relayWithControl();
  const heard: unknown[] = [];
  const stop = relay.follow(first, (content) => heard.push(content));
  relay.send({ flows: [flow(second, 1), flow(first, 1)], ends: [end(second, 1)] }, () => {});
  stop();
  relay.send({ flows: [flow(first, 2)], ends: [] }, () => {});
  assert.deepEqual(heard, [{ flows: [flow(first, 1)], ends: [] }]);
});
