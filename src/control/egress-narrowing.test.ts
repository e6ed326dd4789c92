import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';
import type { Actor } from '../model/actor.ts';
import { roles } from '../model/scopes.ts';

/** What an agent, or a token that was exchanged for less, may ask for of the network. */

const scopes = [...roles.operator, 'policy:write'] as const;
const kept = (...names: string[]): Actor => ({
  ...actorOf('bot', 'own', scopes),
  narrowed: true,
  egress: new Set(names),
});
const free = callerOf(actorOf('bot', 'own', scopes));
const denied = withCode('access.denied');

describe('an actor that is kept to some egress', () => {
  it('starts runs with that and less, and with nothing else, also where a session or a parent says so', async () => {
    await using test = await TestControl.open();
    const narrow = callerOf(kept('npm', 'pypi'));
    const wide = await test.session(free, { egress: ['npm', 'github'] });
    const own = await test.session(narrow, { egress: ['npm'] });
    assert.deepEqual((await test.run(narrow, own)).egress.names, ['npm']);
    assert.deepEqual((await test.run(narrow, own, { egress: ['pypi', 'npm'] })).egress.names, [
      'pypi',
      'npm',
    ]);
    assert.deepEqual((await test.run(narrow, wide, { egress: [] })).egress.names, []);
    await assert.rejects(test.session(narrow, { egress: ['github'] }), denied);
    await assert.rejects(test.run(narrow, own, { egress: ['npm', 'github'] }), denied);
    await assert.rejects(test.run(narrow, wide), denied, 'the default of its session');
    const full = { egress: ['full'], egressReason: 'an incident' };
    await assert.rejects(test.run(narrow, own, full), denied);
    assert.equal((await test.run(free, own, full)).egress.mode, 'full');
    assert.equal((await test.run(callerOf(kept('full')), own, full)).egress.mode, 'full');
  });

  it('resumes no run that reached more', async () => {
    await using test = await TestControl.open({ endsAtOnce: true });
    const session = await test.session(free);
    const parent = await test.run(free, session, { egress: ['github'] });
    await test.finished(free, parent.id);
    const resume = (caller: typeof free) =>
      test.control.runs.resume(caller, parent.id, { request: {}, idempotencyKey: null });
    await assert.rejects(resume(callerOf(kept('npm'))), denied);
    assert.deepEqual((await resume(free)).view.egress.names, ['github']);
  });

  it('does not say what stands in a policy, and that is on record', async () => {
    await using test = await TestControl.open();
    const document = { rules: [{ host: 'example.org' }] };
    const put = (caller: typeof free, ifMatch: number | null) =>
      test.control.policies.put(caller, 'web', { document }, ifMatch);
    assert.equal((await put(free, null)).view.generation, 1);
    await assert.rejects(put(callerOf(kept('web')), 1), denied);
    assert.equal((await put(free, 1)).view.generation, 2);
    const rules = (await test.events()).map(({ action, decision }) => `${action} ${decision.rule}`);
    assert(rules.includes('policy.put egress:beyond'));
  });
});
