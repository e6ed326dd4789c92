import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';
import { Fault } from '../contract/faults.ts';
import type { Reach } from '../model/actor.ts';
import type { EgressFlow } from '../model/egress.ts';
import { newId, type RunId, type SessionId } from '../model/ids.ts';
import { roles, type Scope } from '../model/scopes.ts';
import type { Caller } from './control.ts';

/** Whoever may do everything with its own, as far as it reaches, and is in these teams. */
function person(
  name: string,
  reach: Reach,
  teams: string[] = [],
  scopes: readonly Scope[] = roles.admin,
): Caller {
  return callerOf({ ...actorOf(name, 'own', scopes), reach, teams: new Set(teams) });
}

const owner = person('ann', 'team', ['blue']);
const member = person('bob', 'team', ['red', 'blue']);
const stranger = person('eve', 'team', ['red']);
/** In the team, but its credential was narrowed to its own. */
const narrowed = person('cyd', 'own', ['blue']);
const everything = person('boss', 'all');
const nobody = person('none', 'team', ['blue'], []);
const document = { rules: [{ host: 'a.example' }] };

async function opened(): Promise<TestControl> {
  const test = await TestControl.open();
  for (const name of ['blue', 'red'])
    await test.store.identity.teams.put({ name, description: null, members: [], createdAt: 1 }, null);
  return test;
}

/** What a caller learns: the answer, or the fault as it is told. */
async function told(act: Promise<unknown>): Promise<string> {
  try {
    await act;
    return 'done';
  } catch (error) {
    assert(error instanceof Fault, String(error));
    return `${error.code} ${error.detail} ${JSON.stringify(error.extra)}`;
  }
}

const put = (
  test: TestControl,
  caller: Caller,
  name: string,
  team?: string | null,
  ifMatch: number | null = null,
) => test.control.policies.put(caller, name, { document, ...(team === undefined ? {} : { team }) }, ifMatch);

describe('a session of a team', () => {
  const each = (test: TestControl, caller: Caller, id: SessionId) => ({
    get: () => test.control.sessions.get(caller, id),
    run: () => test.run(caller, id),
    rename: () => test.control.sessions.rename(caller, id, 'x', 99),
    simulate: () =>
      test.control.policies.simulate(
        caller,
        { policies: [{ document }], session: id },
        AbortSignal.timeout(5_000),
      ),
    close: () => test.control.sessions.close(caller, id),
  });

  it('is seen and used by its owner, its team and whoever reaches everything', async () => {
    await using test = await opened();
    for (const caller of [owner, member, everything]) {
      const id = await test.session(owner, { team: 'blue' });
      const acts = each(test, caller, id);
      assert.equal((await acts.get()).view.team, 'blue');
      const { view } = await test.control.runs.get(owner, (await acts.run()).id);
      assert.deepEqual([view.team, view.owner], ['blue', caller.actor.id]);
      await assert.rejects(acts.rename(), withCode('precondition.failed'));
      await acts.simulate();
      const { items } = await test.control.sessions.list(caller, {});
      assert(items.some((item) => item.id === id));
      await acts.close();
    }
  });

  it('answers everybody else exactly like one that is not there', async () => {
    await using test = await opened();
    const id = await test.session(owner, { team: 'blue' });
    for (const caller of [stranger, narrowed, person('eve', 'team')]) {
      const absent = each(test, caller, newId('session', 1));
      for (const [name, act] of Object.entries(each(test, caller, id)))
        assert.equal(await told(act()), await told(absent[name as keyof typeof absent]()), name);
      assert.match(await told(each(test, caller, id).get()), /^resource\.absent /);
      assert.deepEqual((await test.control.sessions.list(caller, {})).items, []);
    }
    assert.match(await told(each(test, nobody, id).get()), /^access\.denied /);
    assert.equal((await test.control.sessions.get(owner, id)).view.phase, 'pending');
  });

  it('is made only for a team that is there and that one is in', async () => {
    await using test = await opened();
    const refused = await told(test.session(stranger, { team: 'blue' }));
    assert.match(refused, /^request\.invalid There is no team with the name blue, or you are not in it\./);
    const absent = await told(test.session(everything, { team: 'none' }));
    assert.equal(refused.replaceAll('blue', 'none'), absent);
    // A member by a token that was issued before the team was removed.
    assert.equal(await told(test.session(person('eve', 'team', ['none']), { team: 'none' })), absent);
    await test.session(everything, { team: 'blue' });
    await test.session(narrowed, { team: 'blue' });
    const { items } = await test.control.sessions.list(everything, {});
    assert.equal(items.length, 2);
  });

  it('stays its owner’s alone when its team is removed, and is not found by one that is made again', async () => {
    await using test = await opened();
    const id = await test.session(owner, { team: 'blue' });
    await test.store.identity.teams.remove('blue');
    await test.store.identity.teams.put({ name: 'blue', description: null, members: [], createdAt: 2 }, null);
    assert.equal((await test.control.sessions.get(owner, id)).view.team, null);
    await assert.rejects(test.control.sessions.get(member, id), withCode('resource.absent'));
  });

  it('made from an upload takes only its owner’s', async () => {
    await using test = await opened();
    const chunk = async function* () {
      yield Buffer.from('bundle');
    };
    const upload = await test.control.uploads.store(owner, chunk());
    const repo = { upload: upload.id as `upl_${string}` };
    await assert.rejects(test.session(member, { team: 'blue', repo }), withCode('resource.absent'));
    await assert.rejects(
      test.control.uploads.remove(member, upload.id as `upl_${string}`),
      withCode('resource.absent'),
    );
    await test.session(owner, { team: 'blue', repo });
  });
});

describe('a run in a team’s session', () => {
  const each = (test: TestControl, caller: Caller, id: RunId) => ({
    get: () => test.control.runs.get(caller, id),
    egress: () => test.control.runs.egress(caller, id, {}),
    rename: () => test.control.runs.rename(caller, id, 'x', 99),
    steps: () => test.control.runs.steps(caller, id),
    simulate: () =>
      test.control.policies.simulate(
        caller,
        { policies: [{ document }], run: id },
        AbortSignal.timeout(5_000),
      ),
    stop: () => test.control.runs.stop(caller, id),
    resume: () => test.control.runs.resume(caller, id, { request: {}, idempotencyKey: null }),
    remove: () => test.control.runs.remove(caller, id),
  });

  async function hosted(test: TestControl, caller: Caller, session: SessionId): Promise<RunId> {
    const { id } = await test.run(caller, session);
    await test.runner.until(() => test.runner.live.has(id));
    return id;
  }

  it('is seen and stopped by the team, whoever of it began it', async () => {
    await using test = await opened();
    const session = await test.session(owner, { team: 'blue' });
    for (const caller of [owner, member, everything]) {
      const id = await hosted(test, member, session);
      const acts = each(test, caller, id);
      await acts.get();
      await acts.egress();
      assert((await test.control.runs.list(caller, {})).items.some((item) => item.id === id));
      await acts.stop();
      test.runner.finish(id);
      await test.finished(owner, id);
    }
  });

  it('answers everybody else exactly like one that is not there', async () => {
    await using test = await opened();
    const id = await hosted(test, owner, await test.session(owner, { team: 'blue' }));
    for (const caller of [stranger, narrowed]) {
      const absent = each(test, caller, newId('run', 1));
      for (const [name, act] of Object.entries(each(test, caller, id)))
        assert.equal(await told(act()), await told(absent[name as keyof typeof absent]()), name);
      assert.deepEqual((await test.control.runs.list(caller, {})).items, []);
    }
    assert.equal((await test.control.runs.get(owner, id)).view.phase, 'starting');
  });

  it('has its flows simulated by the team, on record, and by no stranger', async () => {
    await using test = await opened();
    const id = await hosted(test, owner, await test.session(owner, { team: 'blue' }));
    const flow: EgressFlow = {
      ...{ id: 1, run: id, at: Date.now() - 1000, host: 'b.example', address: '192.0.2.1', port: 443 },
      ...{ protocol: 'https', method: null, path: null, verdict: 'allowed', rule: 'web#1', denial: null },
      ...{ generation: 1, count: 1 },
    };
    await test.store.flows.record([flow], []);
    const flows = async (caller: Caller) =>
      (await test.control.policies.simulate(caller, { policies: [{ document }] }, AbortSignal.timeout(5_000)))
        .totals.flows;
    assert.deepEqual([await flows(member), await flows(everything), await flows(owner)], [1, 1, 1]);
    assert.deepEqual([await flows(stranger), await flows(narrowed)], [0, 0]);
    const noted = (await test.events()).filter(({ action }) => action === 'egress.simulate');
    assert(noted.some(({ actor }) => actor.id === member.actor.id));
    test.runner.finish(id);
    await test.finished(owner, id);
    assert.deepEqual([await flows(member), await flows(stranger), await flows(narrowed)], [1, 0, 0]);
  });

  it('may name the policies that its own caller may see, and others as little as absent ones', async () => {
    await using test = await opened();
    await put(test, member, 'web', 'red');
    const session = await test.session(owner, { team: 'blue' });
    const refused = await told(test.run(owner, session, { egress: ['web'] }));
    const absent = await told(test.run(owner, session, { egress: ['none'] }));
    assert.equal(refused.replaceAll('web', 'none'), absent);
    assert.match(absent, /^request\.invalid There is no preset or policy with the name none\./);
    assert.equal(await told(test.session(owner, { egress: ['web'] })), refused);
    const simulated = (name: string) =>
      told(test.control.policies.simulate(owner, { policies: [{ name }] }, AbortSignal.timeout(5_000)));
    assert.equal((await simulated('web')).replaceAll('web', 'none'), await simulated('none'));
    await test.run(member, session, { egress: ['web'] });
    await test.run(everything, session, { egress: ['web'] });
  });
});

describe('a policy of a team', () => {
  const each = (test: TestControl, caller: Caller, name: string) => ({
    get: () => test.control.policies.get(caller, name),
    generation: () => test.control.policies.get(caller, name, 1),
    history: () => test.control.policies.history(caller, name, {}),
    remove: () => test.control.policies.remove(caller, name),
    put: () => put(test, caller, name, undefined, 7),
  });

  it('is seen, used and changed by its owner, its team and whoever reaches everything', async () => {
    await using test = await opened();
    for (const caller of [owner, member, everything]) {
      const name = `web-${caller.actor.id.slice('user:'.length)}`;
      await put(test, owner, name, 'blue');
      const acts = each(test, caller, name);
      assert.deepEqual([(await acts.get()).view.team, (await acts.get()).view.owner], ['blue', 'user:ann']);
      assert.equal((await acts.history()).items.length, 1);
      await put(test, caller, name, undefined, 1);
      assert((await test.control.policies.list(caller, {})).items.some((item) => item.name === name));
      assert.equal((await acts.get()).view.team, 'blue');
      await acts.remove();
    }
  });

  it('answers everybody else exactly like one that is not there, with and without the scope', async () => {
    await using test = await opened();
    await put(test, owner, 'web', 'blue');
    const reader = person('eve', 'team', ['red'], roles.developer);
    for (const caller of [stranger, narrowed, reader, person('eve', 'team', [], [])]) {
      const absent = each(test, caller, 'none');
      for (const [name, act] of Object.entries(each(test, caller, 'web')))
        assert.equal(
          (await told(act())).replaceAll('web', 'none'),
          await told(absent[name as keyof typeof absent]()),
          name,
        );
    }
    assert.deepEqual((await test.control.policies.list(stranger, {})).items, []);
    assert.equal((await test.control.policies.get(owner, 'web')).version, 1);
  });

  it('keeps its history and its name to itself after its removal', async () => {
    await using test = await opened();
    await put(test, owner, 'web', 'blue');
    await test.control.policies.remove(owner, 'web');
    for (const act of [
      test.control.policies.history(stranger, 'web', {}),
      test.control.policies.get(stranger, 'web', 1),
    ])
      await assert.rejects(act, withCode('resource.absent'));
    await assert.rejects(put(test, stranger, 'web'), withCode('state.conflict'));
    assert.equal((await test.control.policies.history(member, 'web', {})).items.length, 2);
    await put(test, member, 'web');
    assert.equal((await test.control.policies.get(owner, 'web')).view.team, 'blue');
  });

  it('is its owner’s alone when its team is removed, never everybody’s', async () => {
    await using test = await opened();
    await put(test, owner, 'web', 'blue');
    await test.store.identity.teams.remove('blue');
    for (const caller of [member, stranger])
      await assert.rejects(test.control.policies.get(caller, 'web'), withCode('resource.absent'));
    await test.control.policies.get(owner, 'web');
    await put(test, everything, 'web', null, 1);
    await test.control.policies.get(stranger, 'web');
  });

  it('is given only to a team that is there and that one is in', async () => {
    await using test = await opened();
    const refused = await told(put(test, stranger, 'web', 'blue'));
    assert.equal(refused.replaceAll('blue', 'none'), await told(put(test, everything, 'web', 'none')));
    assert.match(refused, /^request\.invalid /);
    assert.deepEqual((await test.control.policies.list(everything, {})).items, []);
  });
});

describe('a policy of no team', () => {
  it('is seen by everybody who reads policies, and changed by its owner and whoever reaches everything', async () => {
    await using test = await opened();
    await put(test, owner, 'web');
    for (const caller of [member, stranger, narrowed]) {
      await test.control.policies.get(caller, 'web');
      assert.match(await told(put(test, caller, 'web', undefined, 1)), /^access\.denied .* belongs to ann\./);
      assert.match(await told(test.control.policies.remove(caller, 'web')), /^access\.denied /);
      await test.run(caller, await test.session(caller), { egress: ['web'] });
    }
    await put(test, everything, 'web', undefined, 1);
    await put(test, owner, 'web', undefined, 2);
    assert.equal((await test.control.policies.get(stranger, 'web')).view.owner, 'user:ann');
    await test.control.policies.remove(owner, 'web');
  });

  it('is withdrawn from everybody else when it is given to a team', async () => {
    await using test = await opened();
    await put(test, owner, 'web');
    await put(test, owner, 'web', 'blue', 1);
    await assert.rejects(test.control.policies.get(stranger, 'web', 1), withCode('resource.absent'));
    await test.control.policies.get(member, 'web', 1);
  });
});
