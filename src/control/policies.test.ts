import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';
import type { PolicyDocument } from '../contract/policy.ts';
import { unlimitedEgress } from '../model/egress.ts';
import type { RunId, SessionId } from '../model/ids.ts';
import { roles } from '../model/scopes.ts';

const admin = callerOf(actorOf('boss', 'all', roles.admin));
const ann = callerOf(actorOf('ann'));
const operator = callerOf(actorOf('op', 'own', roles.operator));
const agent = callerOf(actorOf('bot', 'own', roles.agent));

const web: PolicyDocument = { rules: [{ host: 'example.com' }] };
const other: PolicyDocument = { rules: [{ host: 'example.org', ports: [8443] }] };

function put(test: TestControl, name: string, document = web, ifMatch: number | null = null) {
  return test.control.policies.put(admin, name, { document, reason: 'for the tests' }, ifMatch);
}

const hostsOf = (test: TestControl, run: RunId) =>
  test.runner.live.get(run)?.egress.rules.map(({ target }) => ('host' in target ? target.host : target.cidr));

async function hosted(test: TestControl, egress: string[], session?: SessionId): Promise<RunId> {
  const { id } = await test.run(ann, session ?? (await test.session(ann)), { egress });
  await test.runner.until(() => test.runner.live.has(id));
  return id;
}

describe('a policy', () => {
  it('is put, read, listed, replaced and removed, and every generation stays', async () => {
    await using test = await TestControl.open();
    const { policies } = test.control;
    const made = await put(test, 'web', { rules: [{ host: 'EXAMPLE.com', ports: [443] }] });
    assert.deepEqual([made.version, made.view.author, made.view.reason], [1, 'user:boss', 'for the tests']);
    assert.deepEqual(made.view.document, web, 'in its one form');
    assert.deepEqual(await policies.get(ann, 'web'), made);
    assert.equal((await put(test, 'web', other, 1)).version, 2);
    assert.deepEqual((await policies.get(ann, 'web', 1)).view.document, web);
    assert.deepEqual(
      (await policies.list(ann, {})).items.map(({ name, generation }) => [name, generation]),
      [['web', 2]],
    );
    const limited = { ...other, limits: { connections: 1 } };
    assert.deepEqual((await put(test, 'limited', limited)).view.document, limited);
    assert.deepEqual((await policies.get(ann, 'limited')).view.document, limited);
    await policies.remove(admin, 'web');
    await assert.rejects(policies.get(ann, 'web'), withCode('resource.absent'));
    await assert.rejects(policies.get(ann, 'web', 3), withCode('resource.absent'));
    await assert.rejects(policies.remove(admin, 'web'), withCode('resource.absent'));
    const history = await policies.history(ann, 'web', { limit: 2 });
    assert.deepEqual(
      history.items.map(({ generation, removed }) => [generation, removed]),
      [
        [3, true],
        [2, false],
      ],
    );
    const rest = await policies.history(ann, 'web', { cursor: history.nextCursor! });
    assert.deepEqual([rest.items.length, rest.nextCursor], [1, null]);
    assert.equal((await policies.presets(ann)).length > 0, true);
  });

  it('is replaced only by who read it as it is', async () => {
    await using test = await TestControl.open();
    await assert.rejects(put(test, 'web', web, 1), withCode('precondition.failed'));
    await put(test, 'web');
    await assert.rejects(put(test, 'web'), withCode('precondition.required'));
    await assert.rejects(put(test, 'web', other, 2), withCode('precondition.failed'));
    await assert.rejects(test.control.policies.history(ann, 'none-such', {}), withCode('resource.absent'));
  });

  it('needs the scope, whoever asks, and leaves denials and changes on record', async () => {
    await using test = await TestControl.open();
    const { policies } = test.control;
    const denied = withCode('access.denied');
    for (const caller of [ann, operator, agent])
      await assert.rejects(policies.put(caller, 'web', { document: web }, null), denied);
    await put(test, 'web');
    for (const caller of [ann, operator]) await assert.rejects(policies.remove(caller, 'web'), denied);
    for (const attempt of [
      () => policies.get(agent, 'web'),
      () => policies.list(agent, {}),
      () => policies.history(agent, 'web', {}),
      () => policies.presets(agent),
    ])
      await assert.rejects(attempt(), denied);
    const events = await test.events();
    const attempt = events.find(({ action, phase, outcome }) => {
      return action === 'policy.put' && phase === 'attempt' && outcome === 'allowed';
    });
    assert.deepEqual(attempt?.resource, { kind: 'policy', id: 'web' });
    assert.equal(attempt?.data?.reason, 'for the tests');
    assert.match(String(attempt?.data?.sha256), /^[0-9a-f]{64}$/);
    assert(events.filter(({ outcome }) => outcome === 'denied').length >= 5);
  });

  it('that cannot be enforced is refused as a whole, with every place', async () => {
    await using test = await TestControl.open();
    const document: PolicyDocument = {
      rules: [{ host: '127.0.0.1' }, web.rules[0]!, { cidr: '10.0.0.0/8' }],
    };
    await assert.rejects(put(test, 'web', document), (error: unknown) => {
      withCode('request.invalid')(error);
      const { errors } = (error as { extra: { errors: { path: string }[] } }).extra;
      assert.deepEqual(
        errors.map(({ path }) => path),
        ['/document/rules/0/host', '/document/rules/2/ports'],
      );
      return true;
    });
    assert.deepEqual((await test.control.policies.list(ann, {})).items, []);
  });

  it('is not put where it cannot be recorded, and is removed all the same', async () => {
    await using test = await TestControl.open();
    await put(test, 'web');
    test.auditFails = true;
    await assert.rejects(put(test, 'web', other, 1), withCode('audit.unavailable'));
    await test.control.policies.remove(admin, 'web');
    test.auditFails = false;
    const { items } = await test.control.policies.history(ann, 'web', {});
    assert.deepEqual(
      items.map(({ removed }) => removed),
      [true, false],
    );
  });
});

describe('a run with egress', () => {
  it('reaches nothing where it asks for nothing', async () => {
    await using test = await TestControl.open();
    const id = await hosted(test, []);
    assert.deepEqual(test.runner.live.get(id)?.spec.egress, {
      mode: 'restricted',
      generation: 1,
      rules: [],
      limits: unlimitedEgress,
    });
    assert.deepEqual((await test.control.runs.get(ann, id)).view.egress, { names: [], mode: 'restricted' });
  });

  it('starts with the rules of its presets and policies, in their order', async () => {
    await using test = await TestControl.open();
    await put(test, 'web');
    const id = await hosted(test, ['web', 'npm']);
    const { spec } = test.runner.live.get(id)!;
    assert.equal(spec.egress.mode, 'restricted');
    assert.deepEqual(
      spec.egress.rules.map(({ name }) => name),
      ['web#1', 'npm#1'],
    );
    assert.deepEqual((await test.control.runs.get(ann, id)).view.egress.names, ['web', 'npm']);
  });

  it('reaches the networks of its server’s github with that preset, by its own name and in a policy', async () => {
    await using test = await TestControl.open({ config: { githubNetworks: ['10.20.0.0/16'] } });
    await put(test, 'web', { rules: [{ preset: 'github' }, { host: 'example.com' }] });
    const networks = async (name: string) =>
      hostsOf(test, await hosted(test, [name]))?.filter((host) => host === '10.20.0.0/16').length;
    assert.deepEqual([await networks('github'), await networks('web'), await networks('npm')], [2, 2, 0]);
    const presets = await test.control.policies.presets(ann);
    const github = presets.find(({ name }) => name === 'github');
    assert.deepEqual(
      github?.rules.filter((rule) => 'cidr' in rule),
      [
        { cidr: '10.20.0.0/16', ports: [443], protocol: 'https' },
        { cidr: '10.20.0.0/16', ports: [22], protocol: 'ssh' },
      ],
    );
    await assert.rejects(
      put(test, 'odd', { rules: [{ cidr: '10.0.0.0/8', ports: [22] }, { preset: 'github' }] }),
      withCode('request.invalid'),
    );
  });

  it('is refused for names that are neither, which are named', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    await assert.rejects(test.run(ann, session, { egress: ['npm', 'nowhere'] }), /with the name nowhere/);
    await put(test, 'gone');
    await test.control.policies.remove(admin, 'gone');
    await assert.rejects(test.run(ann, session, { egress: ['gone'] }), withCode('request.invalid'));
    assert.deepEqual((await test.control.runs.list(ann, {})).items, []);
  });

  it('is refused for more rules than a run takes', async () => {
    await using test = await TestControl.open();
    const names = ['a', 'b', 'c', 'd', 'e'];
    const rules = Array.from({ length: 500 }, (_, index) => ({ host: `h${index}.example.com` }));
    for (const name of names) await put(test, name, { rules });
    const session = await test.session(ann);
    await assert.rejects(test.run(ann, session, { egress: names }), /2500 rules together/);
    assert.equal((await test.run(ann, session, { egress: names.slice(0, 4) })).egress.names.length, 4);
  });

  it('reaches everything public only for who holds control:write and says why, on the record', async () => {
    await using test = await TestControl.open();
    const full = { egress: ['full'], egressReason: 'an incident' };
    const own = await test.session(ann);
    await assert.rejects(test.run(ann, own, full), withCode('access.denied'));
    await assert.rejects(test.run(ann, own, { egress: ['full'] }), withCode('request.invalid'));
    await assert.rejects(test.run(ann, own, { egressReason: 'x' }), withCode('request.invalid'));
    const session = await test.session(operator);
    await assert.rejects(test.run(operator, session, { egress: ['full'] }), /needs a reason/);
    const made = await test.run(operator, session, full);
    assert.deepEqual(made.egress, { names: ['full'], mode: 'full' });
    await test.runner.until(() => test.runner.live.has(made.id));
    assert.equal(test.runner.live.get(made.id)?.spec.egress.mode, 'full');
    assert.deepEqual(
      (await test.events())
        .filter(({ data, phase }) => data?.egressReason === 'an incident' && phase === 'attempt')
        .map(({ action, actor, outcome, decision }) => [action, actor.id, outcome, decision.rule]),
      [
        ['egress.full', 'user:ann', 'denied', 'scope:control:write:missing'],
        ['run.create', 'user:op', 'allowed', 'scope:run:write'],
      ],
    );
    test.runner.finish(made.id);
    await test.finished(operator, made.id);
    const narrow = callerOf(actorOf('op'));
    const resume = { request: {}, idempotencyKey: null };
    await assert.rejects(test.control.runs.resume(narrow, made.id, resume), withCode('access.denied'));
    const again = await test.control.runs.resume(operator, made.id, resume);
    assert.equal(again.view.egress.mode, 'full');
  });

  it('is resumed with the names of its parent, as they are then', async () => {
    await using test = await TestControl.open();
    await put(test, 'web');
    const id = await hosted(test, ['web']);
    test.runner.finish(id);
    await test.finished(ann, id);
    await put(test, 'web', other, 1);
    const resume = () => test.control.runs.resume(ann, id, { request: {}, idempotencyKey: null });
    const { view } = await resume();
    await test.runner.until(() => test.runner.live.has(view.id));
    assert.deepEqual(hostsOf(test, view.id), ['example.org']);
    assert.equal(test.runner.live.get(view.id)?.spec.egress.generation, 1);
    await test.control.policies.remove(admin, 'web');
    await assert.rejects(resume(), /with the name web/);
  });
});

describe('a change of a policy', () => {
  it('reaches every live run that names it, with the next generation, and no other', async () => {
    await using test = await TestControl.open();
    await put(test, 'web');
    const [uses, not] = [await hosted(test, ['web', 'npm']), await hosted(test, ['npm'])];
    await put(test, 'web', other, 1);
    await test.runner.until(() => test.runner.live.get(uses)?.egress.generation === 2);
    assert.equal(hostsOf(test, uses)?.[0], 'example.org');
    await test.control.policies.remove(admin, 'web');
    await test.runner.until(() => test.runner.live.get(uses)?.egress.generation === 3);
    assert.deepEqual(
      test.runner.live.get(uses)?.egress.rules,
      [],
      'what is gone may have been what kept the rest narrow',
    );
    await put(test, 'web', other);
    await test.runner.until(() => test.runner.live.get(uses)?.egress.generation === 4);
    assert.deepEqual(
      test.runner.live.get(uses)?.egress.rules.map(({ name }) => name),
      ['web#1', 'npm#1'],
    );
    assert.equal(test.runner.live.get(not)?.egress.generation, 1);
    assert.equal(test.runner.countOf('egress'), 3);
  });

  it('of its limits reaches live runs, of which the smallest of all their policies hold', async () => {
    await using test = await TestControl.open();
    await put(test, 'web', { ...web, limits: { connections: 8, bytesOut: 1_000 } });
    await put(test, 'slow', { rules: [], limits: { connections: 9, requestsPerMinute: 60 } });
    const id = await hosted(test, ['slow', 'npm', 'web']);
    const limitsOf = () => test.runner.live.get(id)?.egress.limits;
    assert.deepEqual(limitsOf(), { bytesOut: 1_000, connections: 8, requestsPerMinute: 60 });
    await put(test, 'slow', { rules: [], limits: { connections: 2 } }, 1);
    await test.runner.until(() => test.runner.live.get(id)?.egress.generation === 2);
    assert.deepEqual(limitsOf(), { bytesOut: 1_000, connections: 2, requestsPerMinute: null });
    await put(test, 'web', web, 1);
    await test.runner.until(() => test.runner.live.get(id)?.egress.generation === 3);
    assert.deepEqual(limitsOf(), { bytesOut: null, connections: 2, requestsPerMinute: null });
  });

  it('many times over ends with the last one', async () => {
    await using test = await TestControl.open();
    await put(test, 'web');
    const id = await hosted(test, ['web']);
    for (let generation = 1; generation <= 20; generation += 1)
      await put(test, 'web', { rules: [{ host: `h${generation}.example.com` }] }, generation);
    await test.runner.until(() => test.runner.live.get(id)?.egress.generation === 21);
    assert.deepEqual(hostsOf(test, id), ['h20.example.com']);
  });

  it('while a run waits or is being started is what it starts with or follows at once', async () => {
    await using test = await TestControl.open();
    await put(test, 'web');
    const session = await test.session(ann);
    const first = await hosted(test, [], session);
    const waiting = await test.run(ann, session, { egress: ['web'] });
    await put(test, 'web', other, 1);
    test.runner.finish(first);
    await test.runner.until(() => test.runner.live.has(waiting.id));
    assert.deepEqual([hostsOf(test, waiting.id), test.runner.countOf('egress')], [['example.org'], 0]);
    const racing = await test.run(ann, await test.session(ann), { egress: ['web'] });
    await put(test, 'web', web, 2);
    await test.runner.until(() => hostsOf(test, racing.id)?.[0] === 'example.com');
  });

  it('while the runner is away is told when it is back, also by a control that was restarted', async () => {
    await using test = await TestControl.open();
    await put(test, 'web');
    const id = await hosted(test, ['web']);
    await test.runner.stop();
    await put(test, 'web', other, 1);
    await test.runner.listen();
    await test.runner.until(() => test.runner.live.get(id)?.egress.generation === 2);
    assert.deepEqual(hostsOf(test, id), ['example.org']);
    await test.runner.stop();
    await put(test, 'web', web, 2);
    await test.stop();
    await test.runner.listen();
    await test.start();
    await test.runner.until(() => test.runner.live.get(id)?.egress.generation === 3);
    assert.deepEqual(hostsOf(test, id), ['example.com']);
  });

  it('whose order was lost is ordered again', async () => {
    await using test = await TestControl.open();
    await put(test, 'web');
    const id = await hosted(test, ['web']);
    test.runner.dropOrders.add('egress');
    await put(test, 'web', other, 1);
    test.runner.dropOrders.clear();
    await test.runner.until(() => test.runner.live.get(id)?.egress.generation === 2);
  });
});
