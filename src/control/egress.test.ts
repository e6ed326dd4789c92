import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';
import { listSegments } from '../audit/segments.ts';
import { parseGatewayWord } from '../contract/gateway.ts';
import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import { newId, type RunId } from '../model/ids.ts';
import { roles } from '../model/scopes.ts';

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

const recorded = (test: TestControl) => test.runner.until(() => test.runner.handedOver);

const egressEvents = async (test: TestControl) =>
  (await test.runnerEvents()).filter(({ action }) => action.startsWith('egress.'));

const flowsOf = async (test: TestControl) =>
  (await egressEvents(test)).flatMap(({ data }) => (data?.flow === undefined ? [] : [data.flow]));

describe('a verdict', () => {
  it('that the runner recorded is on the record here byte for byte, and whoever reads finds it', async () => {
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
    const { stream, folder } = test.runner.record;
    assert.equal(await textOf(join(test.folder, 'audit', stream)), await textOf(folder));
    const { items, counts } = await test.control.runs.egress(ann, run, {});
    assert.deepEqual(
      items.map(({ id, verdict, end }) => [id, verdict, end]),
      [
        [1, 'allowed', null],
        [2, 'denied', null],
      ],
    );
    assert.deepEqual(counts, { allowed: 1, denied: 3, bytesOut: 0, bytesIn: 0 });
    assert.deepEqual(
      (await test.events()).filter(({ action }) => action.startsWith('egress.')),
      [],
      'and not on control’s own stream',
    );
  });

  it('waits for nothing of control: it is taken over when control is there and its log can be written', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.auditFails = true;
    test.runner.tell([flow(run, 1)]);
    await recorded(test);
    test.auditFails = false;
    assert.deepEqual(await flowsOf(test), [1]);
    assert.equal((await test.control.runs.egress(ann, run, {})).items.length, 1);
  });

  it('told again is stored once', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.runner.tell([flow(run, 1), flow(run, 1, denied)]);
    await recorded(test);
    test.runner.tell([flow(run, 1), flow(run, 2)]);
    await recorded(test);
    const { items } = await test.control.runs.egress(ann, run, {});
    assert.deepEqual(
      items.map(({ id, verdict }) => [id, verdict]),
      [
        [1, 'allowed'],
        [2, 'allowed'],
      ],
    );
  });

  it('that control had stored but not mirrored when it was killed is handed over again, and is there once', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.runner.tell([flow(run, 1), flow(run, 2)], []);
    await recorded(test);
    await test.stop();
    const path = join(test.folder, 'audit', test.runner.record.stream, '0000000000000001.jsonl');
    const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
    writeFileSync(path, `${lines.slice(0, -2).join('\n')}\n${lines.at(-1)!.slice(0, 40)}`);
    test.runner.tell([flow(run, 3)]);
    await test.start();
    await recorded(test);
    assert.deepEqual(await flowsOf(test), [1, 2, 3]);
    assert.equal((await test.control.runs.egress(ann, run, {})).items.length, 3);
  });

  it('that was told while control was away is recorded when it is back', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    await test.stop();
    test.runner.tell([flow(run, 1)]);
    test.runner.finish(run);
    await test.start();
    await test.finished(ann, run);
    assert.equal((await test.control.runs.egress(ann, run, {})).items.length, 1);
    await recorded(test);
    assert.deepEqual(await flowsOf(test), [1]);
  });

  it('ends with its bytes, many ends in one line', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.runner.tell([flow(run, 1)], [end(run, 1), end(run, 7), end(newId('run', 1), 1)]);
    await recorded(test);
    const { items, counts } = await test.control.runs.egress(ann, run, {});
    const known = { at: '2023-11-14T22:13:21.000Z', outcome: 'closed', bytesOut: 10, bytesIn: 20 };
    assert.deepEqual(items[0]?.end, known);
    assert.deepEqual([items.length, counts?.bytesIn], [1, 20]);
    const ended = (await egressEvents(test)).filter(({ action }) => action === 'egress.ended');
    assert.deepEqual(
      ended.map(({ actor, resource, data }) => [actor.id, resource.id, lengthOf(data?.ends)]),
      [['user:ann', run, 2]],
    );
  });

  it('about a run that nobody knows is on the record, and not stored', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    const stranger = newId('run', 1);
    const refused = [2, 3].map((id) => flow(stranger, id, denied));
    test.runner.tell([flow(stranger, 1), ...refused, flow(stranger, 4), flow(run, 1)]);
    await recorded(test);
    assert.equal((await test.store.flows.list(stranger, {}, { after: null, limit: 9 })).records.length, 0);
    const events = (await egressEvents(test)).filter(({ resource }) => resource.id === stranger);
    assert.deepEqual(
      events
        .filter(({ outcome }) => outcome === 'allowed')
        .map(({ actor, decision, data }) => [actor.id, decision.rule, data?.flow]),
      [
        ['system:runner', 'run:unknown', 1],
        ['system:runner', 'run:unknown', 4],
      ],
    );
  });

  it('about a run that the runner hosts and control does not know is on the record, and not stored', async () => {
    await using test = await TestControl.open();
    const [run, session] = [newId('run', 1), newId('session', 1)];
    test.runner.relay.host({ run, session, owner: 'user:eve' });
    test.runner.tell([flow(run, 1)]);
    await recorded(test);
    assert.deepEqual(await flowsOf(test), [1]);
    assert.equal((await test.store.flows.list(run, {}, { after: null, limit: 9 })).records.length, 0);
  });

  it('of the thousandth flow is there too: what the runner recorded at once comes in parts, none is lost', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    await test.stop();
    const count = 3_000;
    for (let id = 1; id <= count; id += 100)
      test.runner.tell(Array.from({ length: 100 }, (_, at) => flow(run, id + at)));
    await test.start();
    await recorded(test);
    const told = await flowsOf(test);
    assert.deepEqual(
      told,
      Array.from({ length: count }, (_, at) => at + 1),
    );
    assert.equal((await test.control.runs.egress(ann, run, {})).counts?.allowed, count);
  });

  it('by a gateway that was taken over is bounded in every member', () => {
    const run = newId('run', 1);
    const word = (more: object, count = 1) => ({
      word: 'flows',
      batch: 1,
      flows: Array.from({ length: count }, () => ({ ...flow(run, 1), ...more })),
      ends: [],
    });
    assert.doesNotThrow(() =>
      parseGatewayWord(word({ host: 'x'.repeat(253), path: '/'.repeat(1_024) }, 256)),
    );
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
    for (const more of hostile) assert.throws(() => parseGatewayWord(word(more)), JSON.stringify(more));
    assert.throws(() => parseGatewayWord(word({}, 257)));
    const ends = [{ ...end(run, 1), at: 1e300 }];
    assert.throws(() => parseGatewayWord({ word: 'flows', batch: 1, flows: [], ends }));
  });
});

const lengthOf = (list: unknown) => (Array.isArray(list) ? list.length : 0);

/** The segments of a stream, one after the other. */
async function textOf(folder: string): Promise<string> {
  const segments = await listSegments(folder);
  return segments.map(({ path }) => readFileSync(path, 'utf8')).join('');
}

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
