import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';
import type { SessionId, UploadId } from '../model/ids.ts';
import { storePage } from './paging.ts';

const ann = callerOf(actorOf('ann'));
const bob = callerOf(actorOf('bob'));
const root = callerOf(actorOf('root', 'all'));

async function* chunks(...texts: string[]): AsyncGenerator<Buffer, void, undefined> {
  for (const text of texts) yield Buffer.from(text);
}

describe('a session', () => {
  it('belongs to who made it: others see nothing', async () => {
    await using test = await TestControl.open();
    const id = await test.session(ann);
    const { sessions } = test.control;
    await assert.rejects(sessions.get(bob, id), withCode('resource.absent'));
    await assert.rejects(sessions.rename(bob, id, 'x', 1), withCode('resource.absent'));
    await assert.rejects(sessions.close(bob, id), withCode('resource.absent'));
    assert.deepEqual((await sessions.list(bob, {})).items, []);
    assert.equal((await sessions.list(root, {})).items.length, 1);
    assert.equal((await sessions.get(ann, id)).view.phase, 'pending');
  });

  it('needs its scope, which the denial names', async () => {
    await using test = await TestControl.open();
    const reader = callerOf(actorOf('ann', 'own', ['session:read']));
    await assert.rejects(test.session(reader), withCode('access.denied'));
    const id = await test.session(ann);
    assert.equal((await test.control.sessions.get(reader, id)).view.id, id);
    await assert.rejects(test.control.sessions.close(reader, id), withCode('access.denied'));
  });

  it('is closed with its runs, its workspace and its upload, and takes no more', async () => {
    await using test = await TestControl.open();
    const upload = await test.control.uploads.store(ann, chunks('bundle'));
    const { view } = await test.control.sessions.create(ann, {
      request: { repo: { upload: upload.id } },
      idempotencyKey: null,
    });
    const [live, waiting] = [await test.run(ann, view.id), await test.run(ann, view.id)];
    await test.runner.until(() => test.runner.live.has(live.id));
    await test.control.sessions.close(ann, view.id);
    assert.equal((await test.control.sessions.get(ann, view.id)).view.phase, 'closed');
    for (const run of [live, waiting])
      assert.equal((await test.control.runs.get(ann, run.id)).view.phase, 'cancelled');
    assert.equal(test.runner.uploads.size, 0);
    await assert.rejects(test.run(ann, view.id), withCode('state.conflict'));
    await test.control.sessions.close(ann, view.id);
  });

  it('has no run started behind the order that removes its workspace', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const [first, second] = [await test.run(ann, session), await test.run(ann, session)];
    await test.runner.until(() => test.runner.live.has(first.id));
    const { envOf } = test.store.runs;
    const [asked, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    test.store.runs.envOf = async (run) => {
      asked.resolve();
      await released.promise;
      return await envOf(run);
    };
    test.runner.finish(first.id);
    await asked.promise;
    const closed = test.control.sessions.close(ann, session);
    await test.runner.until(() => test.runner.countOf('remove-session') === 1);
    released.resolve();
    await closed;
    assert.equal((await test.control.runs.get(ann, second.id)).view.phase, 'cancelled');
    assert.equal(test.runner.countOf('start'), 1);
  });

  it('whose workspace takes long to remove does not keep control from ending', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    await test.runner.stop();
    await test.control.sessions.close(ann, session);
    test.runner.neverAnswer.add('remove-session');
    await test.runner.listen();
    await test.runner.until(() => test.runner.countOf('remove-session') === 1);
    await test.restart();
    test.runner.neverAnswer.clear();
    test.runner.cut();
    while ((await test.control.sessions.get(ann, session)).view.phase !== 'closed')
      await new Promise(setImmediate);
  });

  it('is refused past the quota of its owner', async () => {
    await using test = await TestControl.open({ config: { sessionsPerOwnerMax: 1 } });
    await test.session(ann);
    await assert.rejects(test.session(ann), withCode('quota.exceeded'));
    await test.session(bob);
  });

  it('is found by pages that hold each once', async () => {
    await using test = await TestControl.open();
    const made = new Set<string>();
    for (let count = 0; count < 7; count += 1) made.add(await test.session(ann));
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await test.control.sessions.list(ann, { cursor, limit: 3 });
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    assert.equal(seen.length, 7);
    assert.deepEqual(new Set(seen), made);
  });
});

describe('a cursor', () => {
  it('that no list answered is refused, whatever it holds', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.base64String(), fc.json()), (text) => {
        for (const cursor of [text, Buffer.from(text).toString('base64url')])
          assert.throws(() => storePage({ cursor }), withCode('request.invalid'));
      }),
    );
  });
});

describe('an upload', () => {
  it('becomes the workspace of one session of its owner, sent with every run', async () => {
    await using test = await TestControl.open({ endsAtOnce: true, config: { maxRunsPerSession: 1 } });
    const upload = await test.control.uploads.store(ann, chunks('bun', 'dle'));
    assert.equal(upload.bytes, 6);
    const request = { repo: { upload: upload.id, shallow: ['0'.repeat(40)] } };
    const create = (caller = ann) => test.control.sessions.create(caller, { request, idempotencyKey: null });
    await assert.rejects(create(bob), withCode('resource.absent'));
    await assert.rejects(create(root), withCode('resource.absent'));
    const { view } = await create();
    assert.equal(view.repo, true);
    await assert.rejects(create(), withCode('state.conflict'));
    await assert.rejects(test.control.uploads.remove(ann, upload.id), withCode('state.conflict'));
    const runs = [await test.run(ann, view.id), await test.run(ann, view.id)];
    for (const run of runs) await test.finished(ann, run.id);
    const specs = test.runner.orders
      .filter((order) => order.order === 'start')
      .map((order) => order.spec.repo);
    assert.deepEqual(specs, [request.repo, request.repo]);
  });

  it('that fails leaves nothing behind and says why', async () => {
    await using test = await TestControl.open({ config: { uploadBytesMax: 10 } });
    const store = (bytes: AsyncIterable<Buffer>) => test.control.uploads.store(ann, bytes);
    await assert.rejects(store(chunks('x'.repeat(11))), withCode('request.too-large'));
    async function* broken() {
      yield Buffer.from('x');
      throw new Error('the client left');
    }
    await assert.rejects(store(broken()), /the client left/);
    test.runner.refuseUploads = { code: 'storage.full', detail: 'The disk is full.' };
    await assert.rejects(store(chunks('x')), withCode('storage.full'));
    assert.equal(test.runner.uploads.size, 0);
    assert.deepEqual(await test.store.uploads.unusedBefore(Number.MAX_SAFE_INTEGER, 9), []);
  });

  it('that the runner refuses in the middle ends there, however much would follow', async () => {
    await using test = await TestControl.open();
    test.runner.refuseUploads = { code: 'storage.full', detail: 'The disk is full.' };
    let sent = 0;
    async function* endless() {
      for (; sent < 60; sent += 1) yield Buffer.alloc(1024 * 1024);
    }
    await assert.rejects(test.control.uploads.store(ann, endless()), withCode('storage.full'));
    assert(sent < 60, `${sent} MiB were sent`);
  });

  it('whose runner dies before it has answered is the runner’s failure', async () => {
    await using test = await TestControl.open();
    test.runner.holdUploads = true;
    const stored = assert.rejects(
      test.control.uploads.store(ann, chunks('x'.repeat(150_000))),
      withCode('runner.unavailable'),
    );
    await test.runner.until(() => test.runner.heldUploads === 1);
    await new Promise((resolve) => setImmediate(resolve));
    test.runner.cut();
    await stored;
  });

  it('is refused while the runner cannot be reached', async () => {
    await using test = await TestControl.open({ withRunner: false });
    await assert.rejects(test.control.uploads.store(ann, chunks('x')), withCode('runner.unavailable'));
  });

  it('is removed by its owner, and by the sweeper when nobody uses it for its time', async () => {
    let now = 1_000_000;
    const clock = { now: () => now, monotonic: () => performance.now() };
    await using test = await TestControl.open({ clock });
    const [one, two] = [
      await test.control.uploads.store(ann, chunks('1')),
      await test.control.uploads.store(ann, chunks('2')),
    ];
    await assert.rejects(test.control.uploads.remove(bob, one.id), withCode('resource.absent'));
    await test.control.uploads.remove(ann, one.id);
    assert.deepEqual([...test.runner.uploads.keys()], [two.id]);
    now += test.config.uploadTtlMs + 1;
    await test.restart();
    await test.runner.until(() => test.runner.uploads.size === 0);
    while ((await test.store.uploads.get(two.id as UploadId)) !== null) await new Promise(setImmediate);
  });
});

describe('the sweeper', () => {
  it('ends sessions without a name that nobody uses, on record, and leaves named ones', async () => {
    let now = 1_000_000;
    const clock = { now: () => now, monotonic: () => performance.now() };
    await using test = await TestControl.open({ clock, endsAtOnce: true });
    const idle = await test.session(ann);
    const named = await test.session(ann, { name: 'kept' });
    now += test.config.runFilesTtlMs + 1;
    const fresh = await test.session(ann);
    await test.restart();
    const phase = async (id: SessionId) => (await test.control.sessions.get(ann, id)).view.phase;
    while ((await phase(idle)) !== 'closed') await new Promise(setImmediate);
    assert.deepEqual([await phase(named), await phase(fresh)], ['pending', 'pending']);
    await test.stop();
    const [note] = (await test.events()).filter(({ action }) => action === 'session.close');
    assert.deepEqual([note?.actor.id, note?.resource?.id], ['system:control', idle]);
  });

  it('removes the files of finished runs after their time and keeps their records', async () => {
    let now = 1_000_000;
    const clock = { now: () => now, monotonic: () => performance.now() };
    await using test = await TestControl.open({ clock, endsAtOnce: true });
    const { id } = await test.run(ann, await test.session(ann));
    await test.finished(ann, id);
    now = Date.now() + test.config.runFilesTtlMs + 60_000;
    await test.restart();
    while (!(await test.control.runs.get(ann, id)).view.filesExpired) await new Promise(setImmediate);
    assert.equal(test.runner.output.has(id), false);
    const logs = await test.control.runs.logs(ann, id, { offset: 0, follow: true });
    for await (const record of logs) assert.fail(`a record is left: ${record.kind}`);
    assert.equal((await test.control.runs.get(ann, id)).view.phase, 'succeeded');
  });
});
