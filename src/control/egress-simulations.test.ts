import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';
import type { SimulateEgress } from '../contract/schemas.ts';
import type { EgressFlow, EgressRule } from '../model/egress.ts';
import { presetRules } from '../model/egress-presets.ts';
import type { RunId } from '../model/ids.ts';
import { newId } from '../model/ids.ts';
import { roles } from '../model/scopes.ts';
import type { Caller } from './control.ts';
import { controlLimits } from './limits.ts';

const ann = callerOf(actorOf('ann'));
const bob = callerOf(actorOf('bob'));
const auditor = callerOf(actorOf('aud', 'all', roles.auditor));
const admin = callerOf(actorOf('boss', 'all', roles.admin));
const agent = callerOf(actorOf('bot', 'own', roles.agent));

const day = 24 * 3600 * 1000;
const web = { rules: [{ host: 'a.example' }] };

function flow(run: RunId, id: number, more: Partial<EgressFlow> = {}): EgressFlow {
  return {
    ...{ id, run, at: Date.now() - 1000, host: 'a.example', address: '93.184.216.34', port: 443 },
    ...{ protocol: 'https', method: null, path: null, verdict: 'allowed', rule: 'web#1', denial: null },
    ...{ generation: 1, count: 1, ...more },
  };
}

const denied = { verdict: 'denied', rule: null, denial: 'no-rule', address: null } as const;

async function hosted(test: TestControl, caller = ann): Promise<RunId> {
  const { id } = await test.run(caller, await test.session(caller));
  await test.runner.until(() => test.runner.live.has(id));
  return id;
}

async function simulate(
  test: TestControl,
  caller: Caller,
  request: Partial<SimulateEgress>,
  signal = new AbortController().signal,
) {
  const asked = { policies: [{ document: web }], ...request };
  return await test.control.policies.simulate(caller, asked, signal);
}

describe('a simulation', () => {
  it('is of live and ended runs, each flow once, and says what would change', async () => {
    await using test = await TestControl.open();
    const [live, over] = [await hosted(test), await hosted(test)];
    await test.store.flows.record(
      [
        ...[flow(live, 1), flow(live, 2, { host: 'b.example' })],
        ...[flow(over, 1, denied), flow(over, 2, { host: 'b.example', count: 4 })],
      ],
      [],
    );
    test.runner.finish(over);
    await test.finished(ann, over);
    const { totals, groups, more, runs, truncated } = await simulate(test, ann, {});
    assert.deepEqual(totals, { flows: 7, unchanged: 1, newlyDenied: 5, newlyAllowed: 1, unknown: 0 });
    assert.deepEqual(
      groups.map(({ host, was, would, rule, denial, count, runs: of }) => [
        ...[host, was, would, rule ?? denial, count, of],
      ]),
      [
        ['b.example', 'allowed', 'denied', 'no-rule', 5, 2],
        ['a.example', 'denied', 'allowed', 'candidate#1', 1, 1],
      ],
    );
    assert.deepEqual([more, runs, truncated], [{ groups: 0, flows: 0 }, 2, false]);
    const own = await simulate(test, ann, { run: over });
    assert.deepEqual([own.totals.flows, own.runs], [5, 1]);
  });

  it('reads nothing of a run that a policy forbids to simulate, live or ended, and goes on with the others', async () => {
    await using test = await TestControl.open();
    const [live, over, hiddenLive, hiddenOver] = [
      await hosted(test),
      await hosted(test),
      await hosted(test),
      await hosted(test),
    ];
    for (const run of [live, over, hiddenLive, hiddenOver])
      await test.store.flows.record([flow(run, 1), flow(run, 2, { host: `${run}.example` })], []);
    for (const run of [over, hiddenOver]) {
      test.runner.finish(run);
      await test.finished(ann, run);
    }
    assert.equal((await simulate(test, admin, {})).runs, 4);
    const { session } = (await test.store.runs.get(over))!;
    const hidden = [hiddenLive, hiddenOver].map((run) => `Run::"${run}"`).join(', ');
    const text = `forbid (principal, action == Action::"egress.simulate", resource) when { [${hidden}].contains(resource) };`;
    assert.deepEqual(test.access.replace([{ name: 'house', text }]), []);
    for (const caller of [admin, ann]) {
      const { runs, groups } = await simulate(test, caller, {});
      assert.equal(runs, 2);
      const hosts = groups.map(({ host }) => host).sort();
      assert.deepEqual(hosts, [`${live}.example`, `${over}.example`].sort());
      assert.equal((await simulate(test, caller, { session })).runs, 1);
      await assert.rejects(simulate(test, caller, { run: hiddenOver }), withCode('access.denied'));
    }
  });

  it('takes presets, policies and documents in their order, and mode full', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    const [{ target }] = presetRules('npm') as [EgressRule];
    const host = 'host' in target ? target.host : null;
    const request = { protocol: 'http', port: 80, method: 'PUT', path: '/' } as const;
    await test.store.flows.record([flow(run, 1, { host }), flow(run, 2, request)], []);
    const reads = { rules: [{ host: 'a.example', protocol: 'http' as const, methods: ['GET'] }] };
    await test.control.policies.put(admin, 'reads', { document: reads }, null);
    const wide = { rules: [{ host: 'a.example', protocol: 'http' as const }] };
    const say = async (policies: SimulateEgress['policies']) =>
      (await simulate(test, ann, { policies })).totals.unchanged;
    assert.equal(await say([{ name: 'npm' }]), 1);
    assert.equal(await say([{ name: 'npm' }, { name: 'reads' }, { document: wide }]), 1);
    assert.equal(await say([{ name: 'npm' }, { document: wide }, { name: 'reads' }]), 2);
    assert.equal(await say([{ name: 'full' }]), 2);
    assert.equal(await say([{ document: { rules: [] } }]), 0);
  });

  it('refuses what is no policy, by its place', async () => {
    await using test = await TestControl.open();
    const place = async (...policies: SimulateEgress['policies']) => {
      const error = await simulate(test, ann, { policies }).then(
        () => assert.fail(),
        (thrown: unknown) => thrown,
      );
      withCode('request.invalid')(error);
      return (error as { extra: { errors: { path: string }[] } }).extra.errors[0]?.path;
    };
    assert.equal(await place({ name: 'npm' }, { name: 'nowhere' }), '/policies/1/name');
    assert.equal(await place({ name: 'npm' }, { name: 'full' }), '/policies/1/name');
    const bad = { rules: [{ host: 'a.example' }, { host: '127.0.0.1' }] };
    assert.equal(await place({ document: bad }), '/policies/0/document/rules/1/host');
    const many = (letter: string) => ({
      document: { rules: Array.from({ length: 500 }, (_, at) => ({ host: `${letter}${at}.example` })) },
    });
    assert.equal(await place(...['a', 'b', 'c', 'd', 'e'].map(many)), '/policies');
  });

  it('is of the time that was asked for, and of a week where none was', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    const ages = [8 * day, 3 * day, 2 * 3600_000, 60_000];
    await test.store.flows.record(
      ages.map((age, id) => flow(run, id, { at: Date.now() - age })),
      [],
    );
    const count = async (since?: string) =>
      (await simulate(test, ann, since === undefined ? {} : { since })).totals.flows;
    assert.equal(await count(), 3);
    assert.equal(await count('30m'), 1);
    assert.equal(await count('12h'), 2);
    assert.equal(await count('9d'), 4);
    assert.equal(await count('999999w'), 4);
    assert.equal(await count(new Date(Date.now() - 2.5 * 3600_000).toISOString()), 2);
  });

  it('is of what the caller may see: foreign runs and sessions answer like absent ones', async () => {
    await using test = await TestControl.open();
    const [mine, theirs] = [await hosted(test, ann), await hosted(test, bob)];
    await test.store.flows.record([flow(mine, 1), flow(theirs, 1), flow(theirs, 2)], []);
    const count = async (caller: Caller, request: Partial<SimulateEgress> = {}) =>
      (await simulate(test, caller, request)).totals.flows;
    assert.deepEqual([await count(ann), await count(bob), await count(auditor)], [1, 2, 3]);
    const sessionOf = async (run: RunId) => (await test.control.runs.get(auditor, run)).view.session;
    const [own, foreign] = [await sessionOf(mine), await sessionOf(theirs)];
    assert.equal(await count(ann, { session: own }), 1);
    assert.equal(await count(auditor, { session: foreign }), 2);
    for (const run of [theirs, newId('run', 1)])
      await assert.rejects(simulate(test, ann, { run }), withCode('resource.absent'));
    for (const session of [foreign, newId('session', 1)])
      await assert.rejects(simulate(test, ann, { session }), withCode('resource.absent'));
    await assert.rejects(simulate(test, agent, {}), withCode('access.denied'));
    const narrow = callerOf(actorOf('ann', 'own', ['run:read']));
    assert.equal(await count(narrow), 1);
    await assert.rejects(count(narrow, { policies: [{ name: 'web' }] }), withCode('access.denied'));
    const read = (await test.events()).filter(({ action }) => action === 'egress.simulate');
    assert.deepEqual(
      read.filter(({ outcome }) => outcome === 'succeeded').map(({ actor }) => actor.id),
      ['user:aud', 'user:aud'],
      'what others reached for is read on the record',
    );
  });

  it('of a removed run is of nothing', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    await test.store.flows.record([flow(run, 1)], []);
    test.runner.finish(run);
    await test.finished(ann, run);
    assert.equal((await simulate(test, ann, {})).totals.flows, 1);
    await test.control.runs.remove(ann, run);
    assert.equal((await simulate(test, ann, {})).totals.flows, 0);
    await assert.rejects(simulate(test, ann, { run }), withCode('resource.absent'));
  });

  it('reads no more than it may and lets others in between, one at a time for a caller', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    const count = controlLimits.simulateFlowsMax + 1;
    for (let id = 0; id < count; id += 5_000)
      await test.store.flows.record(
        Array.from({ length: Math.min(5_000, count - id) }, (_, at) => flow(run, id + at)),
        [],
      );
    let turns = 0;
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
      turns += 1;
    }, 1);
    const first = simulate(test, ann, {});
    await test.control.runs.get(ann, run);
    await assert.rejects(simulate(test, ann, {}), withCode('quota.exceeded'));
    const { totals, truncated } = await first;
    clearInterval(timer);
    assert.deepEqual([totals.flows, truncated], [controlLimits.simulateFlowsMax, true]);
    assert(turns > 10 && longest < 500, `${turns} turns, the longest ${longest} ms`);
    const gone = new AbortController();
    gone.abort();
    assert((await simulate(test, ann, {}, gone.signal)).totals.flows < count / 2);
  });
});
