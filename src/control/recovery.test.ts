import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl } from '../../tests/support/test-control.ts';
import type { RunId, SessionId } from '../model/ids.ts';

const ann = callerOf(actorOf('ann'));

async function running(test: TestControl, session?: SessionId): Promise<RunId> {
  const { id } = await test.run(ann, session ?? (await test.session(ann)), { env: { A: 'b' } });
  await test.runner.until(() => test.runner.live.has(id));
  test.runner.running(id);
  while ((await test.control.runs.get(ann, id)).view.phase !== 'running') await new Promise(setImmediate);
  return id;
}

describe('after a restart of control', () => {
  it('a run goes on and its end is found', async () => {
    await using test = await TestControl.open();
    const id = await running(test);
    await test.stop();
    test.runner.finish(id);
    await test.start();
    assert.equal((await test.finished(ann, id)).phase, 'succeeded');
    await test.runner.until(() => test.runner.unacknowledged.size === 0);
  });

  it('a run that started meanwhile is found running', async () => {
    await using test = await TestControl.open();
    const { id } = await test.run(ann, await test.session(ann));
    await test.runner.until(() => test.runner.live.has(id));
    await test.stop();
    test.runner.running(id);
    await test.start();
    await test.connected();
    while ((await test.control.runs.get(ann, id)).view.phase !== 'running') await new Promise(setImmediate);
  });

  it('waiting runs keep their place and their environment', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const first = await running(test, session);
    const waiting = await test.run(ann, session, { env: { KEY: 'kept' } });
    await test.restart();
    await test.connected();
    assert(!test.runner.live.has(waiting.id));
    test.runner.finish(first);
    await test.runner.until(() => test.runner.live.has(waiting.id));
    assert.deepEqual(test.runner.live.get(waiting.id)?.spec.env, { KEY: 'kept' });
  });

  it('a start that never reached the runner is ordered, with its environment', async () => {
    await using test = await TestControl.open();
    test.runner.dropOrders.add('start');
    const { id } = await test.run(ann, await test.session(ann), { env: { KEY: 'kept' } });
    await test.stop();
    assert.equal(test.runner.begun.get(id), undefined);
    test.runner.dropOrders.clear();
    await test.start();
    await test.runner.until(() => test.runner.live.has(id));
    assert.deepEqual(test.runner.live.get(id)?.spec.env, { KEY: 'kept' });
    assert.equal(test.runner.begun.get(id), 1);
  });

  it('a stop that was acknowledged is carried out', async () => {
    await using test = await TestControl.open();
    const id = await running(test);
    await test.runner.stop();
    await test.control.runs.stop(ann, id);
    await test.stop();
    await test.runner.listen();
    await test.start();
    assert.equal((await test.finished(ann, id)).phase, 'cancelled');
  });

  it('a session that was closing is closed', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const id = await running(test, session);
    await test.runner.stop();
    await test.control.sessions.close(ann, session);
    assert.equal((await test.control.sessions.get(ann, session)).view.phase, 'terminating');
    await test.stop();
    await test.runner.listen();
    await test.start();
    assert.equal((await test.finished(ann, id)).phase, 'cancelled');
    while ((await test.control.sessions.get(ann, session)).view.phase !== 'closed')
      await new Promise(setImmediate);
  });
});

describe('after a restart of the runner', () => {
  it('runs that it no longer hosts are lost, and their slots are free', async () => {
    await using test = await TestControl.open({ config: { maxRuns: 1 } });
    const id = await running(test);
    const waiting = await test.run(ann, await test.session(ann));
    await test.runner.stop();
    test.runner.forgetAll();
    await test.runner.listen();
    const lost = await test.finished(ann, id);
    assert.deepEqual([lost.phase, lost.cause], ['failed', 'runner-lost']);
    await test.runner.until(() => test.runner.live.has(waiting.id));
  });

  it('a run that it had accepted is never started a second time', async () => {
    await using test = await TestControl.open();
    const { id } = await test.run(ann, await test.session(ann));
    await test.runner.until(() => test.runner.live.has(id));
    await test.runner.stop();
    test.runner.forgetAll();
    await test.runner.listen();
    assert.equal((await test.finished(ann, id)).cause, 'runner-lost');
    assert.equal(test.runner.begun.get(id), 1);
  });

  it('runs wait while there is no runner, and start when there is one', async () => {
    await using test = await TestControl.open({ withRunner: false, endsAtOnce: true });
    const { id, phase } = await test.run(ann, await test.session(ann));
    assert.equal(phase, 'queued');
    assert.equal((await test.control.readiness()).checks.runner.ok, false);
    await test.runner.listen();
    assert.equal((await test.finished(ann, id)).phase, 'succeeded');
  });

  it('a run that the store does not know is stopped', async () => {
    await using test = await TestControl.open();
    const id = await running(test);
    await test.runner.stop();
    const hosted = test.runner.live.get(id)!;
    const stranger = `run_${'0'.repeat(26)}` as RunId;
    test.runner.live.set(stranger, { ...hosted, spec: { ...hosted.spec, run: stranger } });
    await test.runner.listen();
    await test.runner.until(
      () => !test.runner.live.has(stranger) && !test.runner.unacknowledged.has(stranger),
    );
    assert(test.runner.live.has(id));
  });
});

describe('when messages are lost or repeated', () => {
  it('a start whose answer was lost is the same run', async () => {
    await using test = await TestControl.open();
    test.runner.loseAnswersTo.add('start');
    const { id } = await test.run(ann, await test.session(ann));
    await test.runner.until(() => test.runner.live.has(id));
    test.runner.loseAnswersTo.clear();
    await test.runner.until(() => test.runner.countOf('status') >= 2);
    test.runner.running(id);
    test.runner.finish(id);
    assert.equal((await test.finished(ann, id)).phase, 'succeeded');
    assert.equal(test.runner.begun.get(id), 1);
  });

  it('an end that is told twice is written once and acknowledged each time', async () => {
    await using test = await TestControl.open();
    const id = await running(test);
    test.runner.finish(id);
    const finished = test.runner.unacknowledged.get(id)!;
    test.runner.repeat(finished);
    const { version } = await test.finished(ann, id).then(() => test.control.runs.get(ann, id));
    await test.runner.until(() => test.runner.countOf('acknowledge') >= 1);
    const before = test.runner.countOf('acknowledge');
    test.runner.repeat({
      ...finished,
      ending: { phase: 'timed-out', reason: '', exit: finished.ending.exit },
    });
    await test.runner.until(() => test.runner.countOf('acknowledge') > before);
    assert.equal((await test.control.runs.get(ann, id)).version, version);
    assert.equal((await test.control.runs.get(ann, id)).view.phase, 'succeeded');
  });

  it('an end whose acknowledgement was lost is acknowledged on the next connection', async () => {
    await using test = await TestControl.open();
    const id = await running(test);
    test.runner.dropOrders.add('acknowledge');
    test.runner.finish(id);
    assert.equal((await test.finished(ann, id)).phase, 'succeeded');
    assert(test.runner.unacknowledged.has(id));
    test.runner.dropOrders.clear();
    await test.runner.until(() => !test.runner.unacknowledged.has(id));
  });

  it('an end that comes before its start is known as running is whole', async () => {
    await using test = await TestControl.open();
    const { id } = await test.run(ann, await test.session(ann));
    await test.runner.until(() => test.runner.live.has(id));
    test.runner.live.get(id)!.runningAt = Date.now();
    test.runner.finish(id);
    const ended = await test.finished(ann, id);
    assert.equal(ended.phase, 'succeeded');
    assert(ended.startedAt !== null);
  });

  it('a runner that talks nonsense is left and joined again', async () => {
    await using test = await TestControl.open();
    const id = await running(test);
    test.runner.emit({ event: 'finished', run: id, at: 'never' } as never);
    await test.runner.until(() => test.runner.countOf('status') >= 2);
    test.runner.finish(id);
    assert.equal((await test.finished(ann, id)).phase, 'succeeded');
  });
});
