import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EgressBatch } from '../contract/runner.ts';
import { EgressRelay } from './egress-relay.ts';

const content = { flows: [], ends: [] };

function relayWithControl(): { relay: EgressRelay; heard: number[]; recorded: number[] } {
  const relay = new EgressRelay();
  const heard: number[] = [];
  relay.onBatch(({ batch }: EgressBatch) => heard.push(batch));
  return { relay, heard, recorded: [] };
}

test('each batch is told once as it comes, numbered in order, and is owed until control has recorded it', () => {
  const { relay, heard, recorded } = relayWithControl();
  for (const name of [1, 2, 3]) relay.send(content, () => recorded.push(name));
  assert.deepEqual(heard, [1, 2, 3]);
  assert.deepEqual(
    relay.owed().map(({ batch }) => batch),
    [1, 2, 3],
  );
  relay.recorded(2);
  assert.deepEqual(recorded, [2]);
  assert.deepEqual(
    relay.owed().map(({ batch }) => batch),
    [1, 3],
  );
});

test('a control that was started anew is told again what is owed, until it is recorded, with what it held', () => {
  const { relay, recorded } = relayWithControl();
  relay.send({ flows: [], ends: [] }, () => recorded.push(1));
  relay.send(content, () => recorded.push(2));
  const first = relay.owed();
  assert.deepEqual(relay.owed(), first);
  relay.recorded(1);
  assert.deepEqual(relay.owed(), first.slice(1));
  relay.recorded(2);
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
  relay.onBatch(({ batch }) => relay.recorded(batch));
  relay.send(content, () => {
    settled += 1;
  });
  assert.equal(settled, 1);
  assert.deepEqual(relay.owed(), []);
});
