import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, deadline, TestControl, withCode } from '../../tests/support/test-control.ts';
import { newId, type RunId } from '../model/ids.ts';
import type { LogReader } from './control.ts';

const ann = callerOf(actorOf('ann'));
const bob = callerOf(actorOf('bob'));
const root = callerOf(actorOf('root', 'all'));

async function textOf(reader: LogReader): Promise<string> {
  let text = '';
  for await (const { payload } of reader) text += payload.toString();
  return text;
}

describe('a run', () => {
  it('starts at once where a slot is free, and its end is durable before it is seen', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const made = await test.run(ann, session, { command: ['echo', 'x'], env: { KEY: 'value' } });
    assert.equal(made.phase, 'starting');
    assert.deepEqual(made.envNames, ['KEY']);
    await test.runner.until(() => test.runner.live.has(made.id));
    assert.deepEqual(test.runner.live.get(made.id)?.spec.env, { KEY: 'value' });
    test.runner.running(made.id);
    test.runner.finish(made.id);
    const ended = await test.finished(ann, made.id);
    assert.deepEqual([ended.phase, ended.exitCode], ['succeeded', 0]);
    assert.deepEqual((await test.control.runs.get(ann, made.id)).view, ended);
    assert.equal((await test.control.sessions.get(ann, session)).view.phase, 'active');
    await test.runner.until(() => test.runner.unacknowledged.size === 0);
  });

  it('costs one audit line before it happens, and leaves its outcome and its end on record', async () => {
    await using test = await TestControl.open({ endsAtOnce: true });
    const made = await test.run(ann, await test.session(ann));
    await test.finished(ann, made.id);
    await test.stop();
    const lines = (await test.events()).filter(({ resource }) => resource.id === made.id);
    await test.start();
    assert.deepEqual(
      lines.map(({ action, phase, outcome }) => `${action} ${phase} ${outcome}`),
      ['run.create attempt allowed', 'run.create outcome succeeded', 'run.end note succeeded'],
    );
  });

  it('waits while its session is busy and starts when that ends', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const first = await test.run(ann, session);
    const second = await test.run(ann, session);
    assert.equal(second.phase, 'queued');
    await test.runner.until(() => test.runner.live.has(first.id));
    assert(!test.runner.live.has(second.id));
    test.runner.finish(first.id);
    await test.runner.until(() => test.runner.live.has(second.id));
  });

  it('fails with the reason where the runner refuses to start it, and frees its slot', async () => {
    await using test = await TestControl.open({ config: { maxRuns: 1 } });
    const session = await test.session(ann);
    test.runner.refuseStarts = { code: 'sandbox.unavailable', detail: 'No cgroup here.' };
    const refused = await test.finished(ann, (await test.run(ann, session)).id);
    assert.deepEqual(
      [refused.phase, refused.cause, refused.reason],
      ['failed', 'provisioning', 'No cgroup here.'],
    );
    assert.equal(
      await textOf(await test.control.runs.logs(ann, refused.id, { offset: 0, follow: true })),
      '',
    );
    test.runner.refuseStarts = null;
    assert.equal((await test.run(ann, session)).phase, 'starting');
  });

  it('is refused past the quota of its owner, who is told the number', async () => {
    await using test = await TestControl.open({ config: { liveRunsPerOwnerMax: 2 } });
    const session = await test.session(ann);
    await test.run(ann, session);
    await test.run(ann, session);
    await assert.rejects(test.run(ann, session), withCode('quota.exceeded'));
    assert.equal((await test.control.runs.list(ann, {})).items.length, 2);
  });

  it('is the same run for the same idempotency key, and a conflict for another request', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const make = (command: string[]) =>
      test.control.runs.create(ann, { request: { session, command }, idempotencyKey: 'once' });
    const [one, two] = await Promise.all([make(['a']), make(['a'])]);
    assert.equal(one.view.id, two.view.id);
    assert.equal((await make(['a'])).view.id, one.view.id);
    await assert.rejects(make(['b']), withCode('idempotency.conflict'));
    await test.runner.until(() => test.runner.live.size === 1);
    assert.equal((await test.control.runs.list(ann, {})).items.length, 1);
  });

  it('looks absent to strangers, whatever they try', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const { id } = await test.run(ann, session);
    const { runs } = test.control;
    const nothing = newId('run', 1);
    for (const target of [id, nothing]) {
      const attempts = [
        () => runs.get(bob, target),
        () => runs.stop(bob, target),
        () => runs.remove(bob, target),
        () => runs.rename(bob, target, 'x', 1),
        () => runs.resume(bob, target, { request: {}, idempotencyKey: null }),
        () => runs.logs(bob, target, { offset: 0, follow: false }),
        () => runs.artifact(bob, target, 'diff'),
        () => runs.finished(bob, target, deadline()),
        () => runs.steps(bob, target),
      ];
      for (const attempt of attempts) await assert.rejects(attempt(), withCode('resource.absent'));
    }
    await assert.rejects(test.run(bob, session), /No such session/);
    assert.deepEqual((await runs.list(bob, {})).items, []);
    assert.equal((await runs.list(root, {})).items.length, 1);
    assert.equal((await runs.get(root, id)).view.id, id);
  });

  it('is renamed only from the version that was read', async () => {
    await using test = await TestControl.open();
    const { id } = await test.run(ann, await test.session(ann));
    const { version } = await test.control.runs.get(ann, id);
    const renamed = await test.control.runs.rename(ann, id, 'new', version);
    assert.equal(renamed.view.name, 'new');
    await assert.rejects(test.control.runs.rename(ann, id, 'x', version), withCode('precondition.failed'));
  });

  it('is removed only once it has finished, with its files', async () => {
    await using test = await TestControl.open();
    const { id } = await test.run(ann, await test.session(ann));
    await test.runner.until(() => test.runner.live.has(id));
    await assert.rejects(test.control.runs.remove(ann, id), withCode('state.conflict'));
    test.runner.finish(id);
    await test.finished(ann, id);
    await test.control.runs.remove(ann, id);
    await assert.rejects(test.control.runs.get(ann, id), withCode('resource.absent'));
    assert.deepEqual(test.runner.orders.at(-1), { order: 'forget', runs: [id] });
  });

  it('shows its steps while it starts', async () => {
    await using test = await TestControl.open();
    const { id } = await test.run(ann, await test.session(ann));
    await test.runner.until(() => test.runner.live.has(id));
    test.runner.emit({ event: 'step', run: id, step: 'workspace', at: 1 });
    test.runner.running(id);
    while ((await test.control.runs.get(ann, id)).view.phase !== 'running') await new Promise(setImmediate);
    assert.deepEqual(await test.control.runs.steps(ann, id), [{ step: 'workspace', at: 1 }]);
  });

  it('that has finished is resumed as a new run that names it', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const parent = await test.run(ann, session, {
      command: ['a'],
      env: { KEY: 'v' },
      cwd: '/x',
      priority: 3,
    });
    const resume = (request: Parameters<typeof test.control.runs.resume>[2]['request']) =>
      test.control.runs.resume(ann, parent.id, { request, idempotencyKey: null });
    await assert.rejects(resume({}), withCode('state.conflict'));
    await test.runner.until(() => test.runner.live.has(parent.id));
    test.runner.finish(parent.id);
    await test.finished(ann, parent.id);
    await assert.rejects(resume({}), /not kept. Give env with KEY/);
    const { view } = await resume({ env: { KEY: 'w' } });
    assert.deepEqual([view.parent, view.command, view.cwd, view.priority], [parent.id, ['a'], '/x', 3]);
    assert.notEqual(view.id, parent.id);
    await test.runner.until(() => test.runner.live.has(view.id));
    assert.deepEqual(test.runner.live.get(view.id)?.spec.env, { KEY: 'w' });
  });
});

describe('stopping', () => {
  it('a waiting run ends it at once; a live one ends when the runner says so', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const [live, waiting] = [await test.run(ann, session), await test.run(ann, session)];
    await test.runner.until(() => test.runner.live.has(live.id));
    assert.equal((await test.control.runs.stop(ann, waiting.id)).phase, 'cancelled');
    await test.control.runs.stop(ann, live.id);
    const ended = await test.finished(ann, live.id);
    assert.deepEqual([ended.phase, ended.exitCode, ended.signal], ['cancelled', 143, 'SIGTERM']);
    assert.equal((await test.control.runs.stop(ann, live.id)).phase, 'cancelled');
    assert.equal(test.runner.begun.get(waiting.id), undefined);
  });

  it('works while nothing can be recorded, when nothing else does', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const run = await test.run(ann, session);
    await test.runner.until(() => test.runner.live.has(run.id));
    test.auditFails = true;
    await assert.rejects(test.run(ann, session), withCode('audit.unavailable'));
    await assert.rejects(test.session(ann), withCode('audit.unavailable'));
    assert.equal((await test.control.readiness()).checks.audit.ok, false);
    await test.control.runs.stop(ann, run.id);
    assert.equal((await test.finished(ann, run.id)).phase, 'cancelled');
    await test.control.sessions.close(ann, session);
    assert.equal((await test.control.sessions.get(ann, session)).view.phase, 'closed');
    test.auditFails = false;
    await test.stop();
    const late = (await test.events()).filter(({ data }) => data?.late === true);
    await test.start();
    const actions = new Set(late.map(({ action }) => action));
    assert(actions.has('run.stop') && actions.has('session.close'));
    assert.equal((await test.control.runs.list(ann, {})).items.length, 1);
  });
});

describe('logs', () => {
  it('arrive as they are written, both streams apart, and go on from an offset', async () => {
    await using test = await TestControl.open();
    const { id } = await test.run(ann, await test.session(ann));
    const reader = await test.control.runs.logs(ann, id, { offset: 0, follow: true });
    const records = reader[Symbol.asyncIterator]();
    await test.runner.until(() => test.runner.live.has(id));
    test.runner.running(id);
    test.runner.write(id, 'stdout', 'one');
    const first = (await records.next()).value;
    assert.deepEqual([first.kind, first.payload.toString()], ['stdout', 'one']);
    test.runner.write(id, 'stderr', 'two');
    test.runner.finish(id);
    assert.equal((await records.next()).value.kind, 'stderr');
    assert.equal((await records.next()).done, true);
    const rest = await test.control.runs.logs(ann, id, { offset: first.nextOffset, follow: false });
    assert.equal(await textOf(rest), 'two');
  });

  it('of a waiting run wait for it', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const [first, second] = [await test.run(ann, session), await test.run(ann, session)];
    const text = textOf(await test.control.runs.logs(ann, second.id, { offset: 0, follow: true }));
    await test.runner.until(() => test.runner.live.has(first.id));
    test.runner.finish(first.id);
    await test.runner.until(() => test.runner.live.has(second.id));
    test.runner.running(second.id);
    test.runner.write(second.id, 'stdout', 'late');
    test.runner.finish(second.id);
    assert.equal(await text, 'late');
  });

  it('of a run that is cancelled before it starts are empty', async () => {
    await using test = await TestControl.open({ config: { maxRuns: 1 } });
    await test.run(ann, await test.session(ann));
    const waiting = await test.run(ann, await test.session(ann));
    const text = textOf(await test.control.runs.logs(ann, waiting.id, { offset: 0, follow: true }));
    await test.control.runs.stop(ann, waiting.id);
    assert.equal(await text, '');
  });

  it('that are cancelled end at once, wherever they are', async () => {
    await using test = await TestControl.open({ config: { maxRuns: 1 } });
    const live = await test.run(ann, await test.session(ann));
    const waiting = await test.run(ann, await test.session(ann));
    await test.runner.until(() => test.runner.live.has(live.id));
    for (const id of [live.id, waiting.id]) {
      const reader = await test.control.runs.logs(ann, id, { offset: 0, follow: true });
      const text = textOf(reader);
      reader.cancel();
      assert.equal(await text, '');
    }
  });

  it('go on where they were when the runner comes back', async () => {
    await using test = await TestControl.open();
    const { id } = await test.run(ann, await test.session(ann));
    await test.runner.until(() => test.runner.live.has(id));
    test.runner.running(id);
    test.runner.write(id, 'stdout', 'before ');
    const reader = await test.control.runs.logs(ann, id, { offset: 0, follow: true });
    const records = reader[Symbol.asyncIterator]();
    assert.equal((await records.next()).value.payload.toString(), 'before ');
    test.runner.cut();
    test.runner.write(id, 'stdout', 'after');
    assert.equal((await records.next()).value.payload.toString(), 'after');
    test.runner.finish(id);
    assert.equal((await records.next()).done, true);
  });
});

describe('artifacts', () => {
  it('arrive whole, or end with an error where the runner sends less than it announced', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const read = async (announced: number) => {
      const { id } = await test.run(ann, session);
      await test.runner.until(() => test.runner.live.has(id));
      const info = { name: 'diff', mediaType: 'text/x-diff', bytes: announced, sha256: '0'.repeat(64) };
      test.runner.artifacts.set(id as RunId, [{ info, bytes: Buffer.from('12345') }]);
      test.runner.running(id);
      test.runner.finish(id);
      await test.finished(ann, id);
      const reader = await test.control.runs.artifact(ann, id, 'diff');
      const chunks: Buffer[] = [];
      for await (const chunk of reader) chunks.push(chunk);
      await assert.rejects(test.control.runs.artifact(ann, id, 'other'), withCode('resource.absent'));
      return Buffer.concat(chunks).toString();
    };
    assert.equal(await read(5), '12345');
    await assert.rejects(read(6), withCode('runner.unavailable'));
    await assert.rejects(read(4), withCode('runner.unavailable'));
  });
});
