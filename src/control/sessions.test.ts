import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';
import type { CreateSession } from '../contract/schemas.ts';
import type { EgressFlow } from '../model/egress.ts';
import { type ElevationId, newId, type SessionId, type UploadId } from '../model/ids.ts';
import { roles } from '../model/scopes.ts';
import { newSignIn } from '../store/test-identity.ts';
import { controlLimits } from './limits.ts';
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

  it('of a URL is shown with it, starts its runs with it and ends without any upload', async () => {
    await using test = await TestControl.open();
    const hostKeys = [`ssh-ed25519 AAAA${'B'.repeat(64)}`];
    const given = { url: 'SSH://git@Git.example:22/a', hostKeys };
    const id = await test.session(ann, { repo: given });
    const { view } = await test.control.sessions.get(ann, id);
    const url = 'ssh://git@git.example/a';
    assert.deepEqual([view.repo, view.remote], [true, { url, ref: null }]);
    const run = await test.run(ann, id);
    await test.runner.until(() => test.runner.live.has(run.id));
    assert.deepEqual(test.runner.live.get(run.id)?.spec.repo, { url, ref: null, hostKeys });
    await test.control.sessions.close(ann, id);
    assert.equal((await test.control.sessions.get(ann, id)).view.phase, 'closed');
    assert.equal(test.runner.countOf('remove-upload'), 0);
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
    const flows = Array.from({ length: 2 * controlLimits.sweepFlowsMax + 1 }, (_, at) => ({
      ...{
        id: at,
        run: id,
        at: 1,
        host: 'a.example',
        address: null,
        port: 443,
        protocol: null,
        method: null,
      },
      ...{ path: null, verdict: 'denied', rule: null, denial: 'no-rule', generation: 1, count: 1 },
    })) as EgressFlow[];
    await test.store.flows.record(flows, []);
    now = Date.now() + test.config.runFilesTtlMs + 60_000;
    await test.restart();
    while (!(await test.control.runs.get(ann, id)).view.filesExpired) await new Promise(setImmediate);
    assert.deepEqual((await test.control.runs.egress(ann, id, {})).items, []);
    assert.equal(test.runner.output.has(id), false);
    const expired = (await test.events()).filter(({ action }) => action === 'run.expire');
    assert.deepEqual(
      expired.map(({ actor, resource, outcome }) => [actor.id, resource.id, outcome]),
      [['system:control', id, 'succeeded']],
    );
    const logs = await test.control.runs.logs(ann, id, { offset: 0, follow: true });
    for await (const record of logs) assert.fail(`a record is left: ${record.kind}`);
    assert.equal((await test.control.runs.get(ann, id)).view.phase, 'succeeded');
  });
});

describe('what the sweeper forgets of identity', () => {
  it('is what can be used no more, and no more than that', async () => {
    let now = 1_000_000;
    const clock = { now: () => now, monotonic: () => performance.now() };
    await using test = await TestControl.open({ clock });
    const { oneTimes, attempts, signIns, changes } = test.store.identity;
    const signIn = newSignIn({ createdAt: now });
    const kept = newSignIn({ createdAt: now, idleMs: 1e12, expiresAt: 1e12 });
    await signIns.create(signIn, 'over');
    await signIns.create(kept, 'kept');
    now += controlLimits.endedSignInsKeptMs + 60_000;
    await oneTimes.put('ticket', 'over', 1, now - 1);
    await oneTimes.put('ticket', 'kept', 1, now + 60_000);
    await attempts.add('over', 1, now - 2);
    await changes.note('run', 'kept');
    await test.restart();
    const { identity } = test.store;
    while ((await identity.signIns.byRefresh('over')) !== null) await new Promise(setImmediate);
    assert.equal((await identity.signIns.byRefresh('kept'))?.id, kept.id);
    assert.equal(await identity.oneTimes.put('ticket', 'over', 2, now + 60_000), true);
    assert.equal(await identity.oneTimes.peek('ticket', 'kept', now), 1);
    assert((await identity.changes.since(0)).some(({ id }) => id === 'kept'));
  });
});

describe('an elevation', () => {
  it('is on the record as ended when its time is over, once, and one that goes on is not', async () => {
    let now = 1_000_000;
    const clock = { now: () => now, monotonic: () => performance.now() };
    await using test = await TestControl.open({ clock });
    const { elevations } = test.store.identity;
    const asked = { role: 'admin', reason: 'an incident', state: 'active', requestedAt: now } as const;
    const at = { decidedBy: null, decidedAt: now, ...asked };
    const over = { id: newId('elevation', 1), seconds: 900, expiresAt: now + 900_000 };
    const going = { id: newId('elevation', 2), seconds: 3600, expiresAt: now + 3_600_000 };
    assert(await elevations.create({ ...at, ...over, user: 'user:ann' }, now));
    assert(await elevations.create({ ...at, ...going, user: 'user:bob' }, now));
    now += 900_000;
    for (let sweep = 0; sweep < 2; sweep += 1) await test.restart();
    while ((await elevationsOf(test, over.id)) !== 'ended') await new Promise(setImmediate);
    await test.restart();
    assert.equal(await elevationsOf(test, going.id), 'active');
    const ends = (await test.events()).filter(({ action }) => action === 'elevation.end');
    assert.deepEqual(
      ends.map(({ resource, decision }) => [resource.id, decision.rule]),
      [[over.id, 'elevation:over']],
    );
  });
});

async function elevationsOf(test: TestControl, id: ElevationId) {
  return (await test.store.identity.elevations.get(id))?.state;
}

describe('what the runs of a session may reach', () => {
  const admin = callerOf(actorOf('boss', 'all', roles.admin));
  const operator = callerOf(actorOf('op', 'own', roles.operator));
  const make = async (test: TestControl, request: CreateSession, caller = ann) =>
    (await test.control.sessions.create(caller, { request, idempotencyKey: null })).view;
  const put = async (test: TestControl, name: string) =>
    await test.control.policies.put(admin, name, { document: { rules: [] } }, null);

  it('is what the session says, where the run says nothing', async () => {
    await using test = await TestControl.open();
    await put(test, 'web');
    const { id, egress } = await make(test, { egress: ['npm', 'web'] });
    assert.deepEqual(egress, { names: ['npm', 'web'], mode: 'restricted' });
    assert.deepEqual((await test.control.sessions.get(ann, id)).view.egress, egress);
    assert.deepEqual((await test.control.sessions.list(ann, {})).items[0]?.egress, egress);
    assert.deepEqual((await test.control.sessions.rename(ann, id, 'x', 1)).view.egress, egress);
    const first = await test.run(ann, id);
    assert.deepEqual(first.egress, egress);
    await test.runner.until(() => test.runner.live.has(first.id));
    assert.equal(test.runner.live.get(first.id)?.egress.rules[0]?.name, 'npm#1');
    assert.deepEqual((await test.run(ann, id, { egress: ['pypi'] })).egress.names, ['pypi']);
    assert.deepEqual(
      (await test.run(ann, id, { egress: [] })).egress.names,
      [],
      'nothing is something to say',
    );
    const plain = await make(test, {});
    assert.deepEqual((await test.run(ann, plain.id)).egress, { names: [], mode: 'restricted' });
  });

  it('is checked when it is written, and again for each run', async () => {
    await using test = await TestControl.open();
    await assert.rejects(make(test, { egress: ['npm', 'nowhere'] }), /with the name nowhere/);
    await assert.rejects(make(test, { egressReason: 'x' }), withCode('request.invalid'));
    assert.deepEqual((await test.control.sessions.list(ann, {})).items, []);
    await put(test, 'web');
    const { id } = await make(test, { egress: ['web'] });
    await test.control.policies.remove(admin, 'web');
    await assert.rejects(test.run(ann, id), /with the name web/);
    assert.equal((await test.run(ann, id, { egress: [] })).egress.names.length, 0);
  });

  it('is everything public only for who holds control:write and says why, on the record, run by run', async () => {
    await using test = await TestControl.open();
    const full = { egress: ['full'], egressReason: 'an incident' };
    await assert.rejects(make(test, full), withCode('access.denied'));
    await assert.rejects(make(test, { egress: ['full'] }, operator), /needs a reason/);
    const { id, egress } = await make(test, full, operator);
    assert.deepEqual(egress, { names: ['full'], mode: 'full' });
    assert.equal((await test.run(operator, id)).egress.mode, 'full');
    const narrow = callerOf(actorOf('op'));
    await assert.rejects(test.run(narrow, id), withCode('access.denied'));
    assert.equal((await test.run(narrow, id, { egress: [] })).egress.mode, 'restricted');
    const events = (await test.events()).filter(
      ({ data, phase }) => data?.egressReason === 'an incident' && phase === 'attempt',
    );
    assert.deepEqual(
      events.map(({ action, actor, outcome }) => [action, actor.id, outcome]),
      [
        ['egress.full', 'user:ann', 'denied'],
        ['session.create', 'user:op', 'allowed'],
        ['run.create', 'user:op', 'allowed'],
        ['egress.full', 'user:op', 'denied'],
      ],
    );
  });

  it('tells a stranger no more than that there is no session', async () => {
    await using test = await TestControl.open();
    const { id } = await make(test, { egress: ['full'], egressReason: 'x' }, operator);
    for (const session of [id, newId('session', 1)]) {
      await assert.rejects(test.run(bob, session), withCode('resource.absent'));
      await assert.rejects(test.run(bob, session, { egressReason: 'x' }), withCode('request.invalid'));
      await assert.rejects(test.run(bob, session, { egress: ['full'] }), withCode('request.invalid'));
    }
  });
});
