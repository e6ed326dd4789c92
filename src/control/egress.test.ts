import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';
import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import { newId, type RunId } from '../model/ids.ts';
import { roles } from '../model/scopes.ts';
import { controlLimits } from './limits.ts';
import { parseFrame } from './runner-frames.ts';

const ann = callerOf(actorOf('ann'));
const bob = callerOf(actorOf('bob'));
const root = callerOf(actorOf('root', 'all'));
const auditor = callerOf(actorOf('aud', 'own', roles.auditor));

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

async function hosted(test: TestControl): Promise<RunId> {
  const { id } = await test.run(ann, await test.session(ann));
  await test.runner.until(() => test.runner.live.has(id));
  return id;
}

const recorded = (test: TestControl) => test.runner.until(() => test.runner.unrecorded.size === 0);

const egressEvents = async (test: TestControl) =>
  (await test.events()).filter(({ action }) => action.startsWith('egress.'));

describe('a verdict', () => {
  it('is on the record before the runner hears so, and whoever reads finds it', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    const request = { protocol: 'http', method: 'GET', path: '/x', port: 80 } as const;
    test.runner.tell([flow(run, 1, request), flow(run, 2, { ...denied, protocol: 'dns', count: 3 })]);
    await recorded(test);
    const events = await egressEvents(test);
    assert.deepEqual(
      events.map(({ action, actor, resource, decision, outcome, phase }) => [
        ...[action, actor.id, resource.id, decision.allow, decision.rule, outcome, phase],
      ]),
      [
        ['egress.connect', 'user:ann', run, true, 'egress:web#1', 'allowed', 'note'],
        ['egress.lookup', 'user:ann', run, false, 'egress:no-rule', 'denied', 'note'],
      ],
    );
    assert.deepEqual(events[0]?.data, {
      ...{ flow: 1, at: '2023-11-14T22:13:20.001Z', host: 'a.example', address: '192.0.2.1', port: 80 },
      ...{ protocol: 'http', method: 'GET', path: '/x', denial: null, generation: 1, count: 1 },
    });
    const { items, counts } = await test.control.runs.egress(ann, run, {});
    assert.deepEqual(
      items.map(({ id, verdict, end }) => [id, verdict, end]),
      [
        [1, 'allowed', null],
        [2, 'denied', null],
      ],
    );
    assert.deepEqual(counts, { allowed: 1, denied: 3, bytesOut: 0, bytesIn: 0 });
  });

  it('waits while it cannot be recorded, and is told to the runner when it could be', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.auditFails = true;
    test.runner.tell([flow(run, 1)]);
    test.runner.tell([flow(run, 2)]);
    // A later exchange of the same connection shows that both have arrived.
    test.runner.running(run);
    while ((await test.control.runs.get(ann, run)).view.phase !== 'running') await new Promise(setImmediate);
    assert.equal(test.runner.countOf('recorded'), 0);
    assert.deepEqual((await test.control.runs.egress(ann, run, {})).items, []);
    test.auditFails = false;
    await recorded(test);
    assert.deepEqual(
      (await egressEvents(test)).map(({ data }) => data?.flow),
      [1, 2],
    );
  });

  it('told again is recorded once', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.runner.dropOrders.add('recorded');
    const batch = test.runner.tell([flow(run, 1), flow(run, 1, denied)]);
    while ((await egressEvents(test)).length === 0) await new Promise(setImmediate);
    test.runner.dropOrders.clear();
    await recorded(test);
    const before = test.runner.countOf('recorded');
    const again = { event: 'egress', batch, flows: [flow(run, 1), flow(run, 2)], ends: [] } as const;
    for (const count of [1, 2]) {
      test.runner.emit(again);
      await test.runner.until(() => test.runner.countOf('recorded') >= before + count);
    }
    assert.deepEqual(
      (await egressEvents(test)).map(({ data }) => data?.flow),
      [1, 2],
    );
  });

  it('that was told while control was away is recorded when it is back', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    await test.stop();
    test.runner.tell([flow(run, 1)]);
    test.runner.finish(run);
    await test.start();
    await recorded(test);
    await test.finished(ann, run);
    assert.equal((await test.control.runs.egress(ann, run, {})).items.length, 1);
  });

  it('ends with its bytes, without a line of its own', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.runner.tell([flow(run, 1)], [end(run, 1), end(run, 7), end(newId('run', 1), 1)]);
    await recorded(test);
    const { items, counts } = await test.control.runs.egress(ann, run, {});
    const known = { at: '2023-11-14T22:13:21.000Z', outcome: 'closed', bytesOut: 10, bytesIn: 20 };
    assert.deepEqual(items[0]?.end, known);
    assert.deepEqual([items.length, counts?.bytesIn], [1, 20]);
    assert.equal((await egressEvents(test)).length, 1);
  });

  it('about a run that nobody knows is on the record before it is acknowledged, and not stored', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    const stranger = newId('run', 1);
    test.auditFails = true;
    const refused = [2, 3].map((id) => flow(stranger, id, denied));
    test.runner.tell([flow(stranger, 1), ...refused, flow(stranger, 4), flow(run, 1)]);
    test.runner.running(run);
    while ((await test.control.runs.get(ann, run)).view.phase !== 'running') await new Promise(setImmediate);
    assert.equal(test.runner.countOf('recorded'), 0);
    test.auditFails = false;
    await recorded(test);
    assert.equal((await test.store.flows.list(stranger, {}, { after: null, limit: 9 })).records.length, 0);
    await test.stop();
    const events = (await egressEvents(test)).filter(({ resource }) => resource.id === stranger);
    await test.start();
    assert.deepEqual(
      events
        .filter(({ outcome }) => outcome === 'allowed')
        .map(({ actor, decision, data }) => [actor.id, decision.rule, data?.flow]),
      [
        ['system:control', 'run:unknown', 1],
        ['system:control', 'run:unknown', 4],
      ],
    );
  });

  it('beyond what waits for the disk is told again, and none is lost', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.auditFails = true;
    const batches = controlLimits.egressBatchesMax + 20;
    for (let id = 1; id <= batches; id += 1) test.runner.tell([flow(run, id)]);
    test.runner.running(run);
    while ((await test.control.runs.get(ann, run)).view.phase !== 'running') await new Promise(setImmediate);
    test.auditFails = false;
    await recorded(test);
    const told = (await egressEvents(test)).map(({ data }) => data?.flow);
    assert.equal(new Set(told).size, batches);
    assert.equal(told.length, batches);
  });

  it('by a runner that was taken over is bounded in every member', () => {
    const run = newId('run', 1);
    const frame = (more: object, count = 1) => ({
      event: 'egress',
      batch: 1,
      flows: Array.from({ length: count }, () => ({ ...flow(run, 1), ...more })),
      ends: [],
    });
    assert.doesNotThrow(() => parseFrame(frame({ host: 'x'.repeat(253), path: '/'.repeat(1_024) }, 256)));
    const hostile: object[] = [
      { host: 'x'.repeat(254) },
      { path: 'x'.repeat(1_025) },
      { method: 'x'.repeat(33) },
      { address: 'x'.repeat(46) },
      { rule: 'x'.repeat(129) },
      { port: 65_536 },
      { port: -1 },
      { at: 8.64e15 + 1 },
      { at: 1.5 },
      { id: -1 },
      { id: 2 ** 53 },
      { count: 0 },
      { verdict: 'maybe' },
      { denial: 'because' },
      { protocol: 'ftp' },
      { run: 'run_x' },
      { extra: 1 },
    ];
    for (const more of hostile) assert.throws(() => parseFrame(frame(more)), JSON.stringify(more));
    assert.throws(() => parseFrame(frame({}, 257)));
    const ends = [{ ...end(run, 1), at: 1e300 }];
    assert.throws(() => parseFrame({ event: 'egress', batch: 1, flows: [], ends }));
  });
});

describe('reading what a run reached for', () => {
  it('is for its owner, and for others on the record; strangers see no run', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.runner.tell([flow(run, 1)]);
    await recorded(test);
    const { runs } = test.control;
    for (const caller of [bob, auditor])
      await assert.rejects(runs.egress(caller, run, {}), withCode('resource.absent'));
    await assert.rejects(runs.egress(ann, newId('run', 1), {}), withCode('resource.absent'));
    const scopeless = callerOf(actorOf('ann', 'own', roles.agent));
    await assert.rejects(runs.egress(scopeless, run, {}), withCode('access.denied'));
    assert.equal((await runs.egress(ann, run, {})).items.length, 1);
    assert.equal((await runs.egress(root, run, {})).items.length, 1);
    const reads = (await test.events()).filter(({ action }) => action === 'run.egress');
    assert.deepEqual(
      reads.filter(({ outcome }) => outcome === 'succeeded').map(({ actor }) => actor.id),
      ['user:root'],
    );
  });

  it('is page by page, by verdict and host, and goes on after the last one seen', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.runner.tell(
      Array.from({ length: 7 }, (_, id) =>
        flow(run, id, id % 2 === 0 ? {} : { ...denied, host: 'b.example' }),
      ),
    );
    await recorded(test);
    const { runs } = test.control;
    const ids = async (query: Parameters<typeof runs.egress>[2]) =>
      (await runs.egress(ann, run, query)).items.map(({ id }) => id);
    assert.deepEqual(await ids({ verdict: 'denied' }), [1, 3, 5]);
    assert.deepEqual(await ids({ host: 'a.example' }), [0, 2, 4, 6]);
    assert.deepEqual(await ids({ after: 4 }), [5, 6]);
    const first = await runs.egress(ann, run, { limit: 4 });
    const second = await runs.egress(ann, run, { limit: 4, cursor: first.nextCursor! });
    assert.deepEqual(
      [...first.items, ...second.items].map(({ id }) => id),
      [0, 1, 2, 3, 4, 5, 6],
    );
    assert.deepEqual([first.counts?.denied, second.counts, second.nextCursor], [3, null, null]);
    await assert.rejects(ids({ cursor: 'x' }), withCode('request.invalid'));
  });
});

describe('watching what a run reaches for', () => {
  const idsOf = async (reader: AsyncIterable<{ id: number }>, count = Number.POSITIVE_INFINITY) => {
    const ids: number[] = [];
    for await (const { id } of reader) if (ids.push(id) >= count) break;
    return ids;
  };

  it('gives each flow once, as it is recorded, until the run has ended', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.runner.tell([flow(run, 1), flow(run, 2, denied)]);
    const whole = idsOf(await test.control.runs.flows(ann, run, {}));
    const later = idsOf(await test.control.runs.flows(ann, run, { after: 1 }));
    const refused = idsOf(await test.control.runs.flows(ann, run, { verdict: 'denied' }));
    const first = await test.control.runs.flows(ann, run, {});
    assert.deepEqual(await idsOf(first, 2), [1, 2]);
    for (let id = 3; id < 600; id += 150)
      test.runner.tell(Array.from({ length: 150 }, (_, at) => flow(run, id + at)));
    await recorded(test);
    test.runner.tell([flow(run, 1_000, denied)]);
    test.runner.finish(run);
    const all = [...Array.from({ length: 602 }, (_, at) => at + 1), 1_000];
    assert.deepEqual(await whole, all);
    assert.deepEqual(await later, all.slice(1));
    assert.deepEqual(await refused, [2, 1_000]);
    assert.deepEqual(await idsOf(await test.control.runs.flows(ann, run, { after: 601 })), [602, 1_000]);
  });

  it('ends when its reader leaves, and keeps nothing of the run', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    const reader = await test.control.runs.flows(ann, run, {});
    const reading = idsOf(reader);
    await new Promise(setImmediate);
    reader.cancel();
    assert.deepEqual(await reading, []);
  });

  it('is for its owner, and for others once on the record', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    for (const caller of [bob, auditor])
      await assert.rejects(test.control.runs.flows(caller, run, {}), withCode('resource.absent'));
    const reader = await test.control.runs.flows(root, run, {});
    test.runner.tell([flow(run, 1), flow(run, 2)]);
    test.runner.finish(run);
    assert.deepEqual(await idsOf(reader), [1, 2]);
    const reads = (await test.events()).filter(
      ({ action, outcome }) => action === 'run.egress' && outcome === 'succeeded',
    );
    assert.deepEqual(
      reads.map(({ actor }) => actor.id),
      ['user:root'],
    );
  });
});
