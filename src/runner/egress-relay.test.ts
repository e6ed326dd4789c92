import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manualClock } from '../../tests/support/audit.ts';
import type { NewEvent } from '../audit/event.ts';
import { owedLimits } from '../audit/limits.ts';
import { Fault } from '../contract/faults.ts';
import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import { newId, type RunId } from '../model/ids.ts';
import { EgressRelay } from './egress-relay.ts';

const [first, second] = [newId('run', 1), newId('run', 2)];
const session = newId('session', 1);
const nothing = () => undefined;

function flow(run: RunId, id: number, more: Partial<EgressFlow> = {}): EgressFlow {
  return {
    ...{ id, run, at: 1_700_000_000_000 + id, host: 'a.example', address: '192.0.2.1', port: 443 },
    ...{ protocol: 'https', method: null, path: null, verdict: 'allowed', rule: 'web#1', denial: null },
    ...{ generation: 1, count: 1, ...more },
  };
}

const denied = { verdict: 'denied', rule: null, denial: 'no-rule', address: null } as const;

function end(run: RunId, id: number): EgressFlowEnd {
  return { run, id, at: 1_700_000_001_000, bytesOut: 10, bytesIn: 20, outcome: 'closed' };
}

/** A record in memory whose disk a test holds up or lets fail. */
class Record {
  readonly events: NewEvent[] = [];
  fails = false;
  held: Promise<void> = Promise.resolve();

  async append(event: NewEvent) {
    if (this.fails) throw new Fault('audit.unavailable', { detail: 'made to fail' });
    this.events.push(event);
    const seq = this.events.length;
    await this.held;
    return { id: newId('event', 0), seq, hash: '' };
  }

  get said(): string[] {
    return this.events.map(({ action, outcome, data }) => `${action} ${outcome} ${data?.flow ?? ''}`.trim());
  }
}

function relayOn(record: Record): EgressRelay {
  const relay = new EgressRelay({ record, clock: manualClock(), log: { info: nothing, warn: nothing } });
  for (const run of [first, second]) relay.host({ run, session, owner: 'user:ann' });
  return relay;
}

test('an allowed flow may go on once its verdict is durable, and not before', async () => {
  const record = new Record();
  const { promise, resolve } = Promise.withResolvers<void>();
  record.held = promise;
  let answered = false;
  const sent = relayOn(record).send({ flows: [flow(first, 1)], ends: [] });
  void sent.then(() => {
    answered = true;
  });
  await new Promise(setImmediate);
  assert.equal(answered, false);
  resolve();
  assert.equal(await sent, true);
  const [{ actor, resource, decision, phase, data } = {} as NewEvent] = record.events;
  assert.deepEqual(
    [actor, resource],
    [
      { id: 'user:ann', kind: 'user' },
      { kind: 'run', id: first, session },
    ],
  );
  assert.deepEqual([decision, phase], [{ allow: true, rule: 'egress:web#1' }, 'note']);
  assert.deepEqual(data, {
    ...{ flow: 1, at: '2023-11-14T22:13:20.001Z', host: 'a.example', address: '192.0.2.1', port: 443 },
    ...{ protocol: 'https', method: null, path: null, denial: null, generation: 1, count: 1 },
  });
});

test('verdicts stand in their order, and each end behind its flow', async () => {
  const record = new Record();
  const relay = relayOn(record);
  await relay.send({
    flows: [flow(first, 1), flow(second, 7, denied), flow(first, 2)],
    ends: [end(first, 1), end(second, 3)],
  });
  assert.deepEqual(record.said, [
    'egress.connect allowed 1',
    'egress.connect denied 7',
    'egress.connect allowed 2',
    'egress.ended succeeded',
    'egress.ended succeeded',
  ]);
});

test('what cannot be recorded is refused at once; denials and ends of it are written later, as late', async () => {
  const record = new Record();
  const relay = relayOn(record);
  record.fails = true;
  const content = { flows: [flow(first, 1), flow(first, 2, denied)], ends: [end(first, 9)] };
  assert.equal(await relay.send(content), false);
  assert.equal(relay.owed, 2);
  record.fails = false;
  await relay.close();
  assert.deepEqual(record.said, ['egress.connect denied 2', 'egress.ended succeeded']);
  assert.deepEqual(
    record.events.map(({ data }) => data?.late),
    [true, true],
  );
  assert.equal(relay.owed, 0);
  assert.equal(await relay.send({ flows: [flow(first, 3)], ends: [] }), true, 'the next one goes on');
});

test('what is owed is bounded, and what did not fit is counted on the record', async () => {
  const record = new Record();
  const relay = relayOn(record);
  record.fails = true;
  const flows = Array.from({ length: owedLimits.eventsMax + 5 }, (_, id) => flow(first, id, denied));
  await relay.send({ flows, ends: [] });
  record.fails = false;
  await relay.close();
  const lost = record.events.at(-1);
  assert.deepEqual(
    [lost?.action, lost?.actor.id, lost?.data],
    ['audit.lost', 'system:runner', { events: 5 }],
  );
});

test('a run that nobody knows is nobody’s: each allowed flow is on the record, its denials are counted', async () => {
  const record = new Record();
  const relay = relayOn(record);
  const stranger = newId('run', 1);
  const flows = [1, 2, 3].flatMap((id) => [flow(stranger, id), flow(stranger, 10 + id, denied)]);
  await relay.send({ flows, ends: [end(stranger, 1)] });
  assert.deepEqual(record.said, [
    'egress.connect allowed 1',
    'egress.connect denied 11',
    'egress.connect allowed 2',
    'egress.connect allowed 3',
  ]);
  assert(
    record.events.every(
      ({ actor, decision }) => actor.id === 'system:runner' && decision.rule === 'run:unknown',
    ),
  );
  await relay.close();
  assert.equal(record.events.at(-1)?.data?.repeated, 2);
});

test('numbers and bytes of flows go on over the sandboxes and gateways of a run, until it is over', () => {
  const relay = relayOn(new Record());
  assert.deepEqual(relay.known(first), { nextFlow: 1, bytesOut: 0 });
  void relay.send({ flows: [flow(first, 1), flow(second, 7), flow(first, 2)], ends: [] });
  void relay.send({ flows: [flow(first, 1)], ends: [end(first, 9)] });
  assert.deepEqual(relay.known(first), { nextFlow: 3, bytesOut: 10 });
  assert.deepEqual(relay.known(second), { nextFlow: 8, bytesOut: 0 });
  relay.forget(first);
  assert.deepEqual(relay.known(first), { nextFlow: 1, bytesOut: 0 });
  assert.equal(relay.known(second).nextFlow, 8);
});

test('who follows a run hears its verdicts and no other, until they stop', () => {
  const relay = relayOn(new Record());
  const heard: unknown[] = [];
  const stop = relay.follow(first, (content) => heard.push(content));
  void relay.send({ flows: [flow(second, 1), flow(first, 1)], ends: [end(second, 1)] });
  stop();
  void relay.send({ flows: [flow(first, 2)], ends: [] });
  assert.deepEqual(heard, [{ flows: [flow(first, 1)], ends: [] }]);
});
