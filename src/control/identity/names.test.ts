import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { callerOf, TestControl } from '../../../tests/support/test-control.ts';
import { localOwner } from '../../identity/local-owner.ts';
import type { Actor } from '../../model/actor.ts';
import { roles } from '../../model/scopes.ts';
import { standsForSomething } from './names.ts';

const owner = callerOf(localOwner);
/** A token's, with the rights of an administrator and of no user. */
const holder = (name: string): Actor => ({
  id: `user:${name}`,
  scopes: new Set(roles.admin),
  reach: 'all',
  narrowed: true,
});

describe('a name that is no user’s', () => {
  it('stands for nothing, whatever other names own', async () => {
    await using test = await TestControl.open({ withRunner: false });
    assert.equal(await standsForSomething(test.store, 'bootstrap'), true);
    await test.session(callerOf(holder('ann')));
    for (const name of ['an', 'anna', 'free'])
      assert.equal(await standsForSomething(test.store, name), false);
  });

  it('stands for what it owns: a token, a session, a run, an agent, a policy that is there or was removed', async () => {
    await using test = await TestControl.open();
    const { control } = test;
    const document = { rules: [] };
    const makes: Record<string, (name: string) => Promise<unknown>> = {
      token: (name) =>
        control.tokens.create(owner, {
          request: { name: 'ci', actor: `user:${name}`, scopes: ['run:read'] },
          idempotencyKey: null,
        }),
      session: (name) => test.session(callerOf(holder(name))),
      run: async (name) => test.run(callerOf(holder(name)), await test.session(owner)),
      agent: (name) =>
        control.agents.create(callerOf(holder(name)), { kind: 'agent', name: 'helper', role: 'worker' }),
      policy: (name) => control.policies.put(callerOf(holder(name)), 'web', { document }, null),
      removed: async (name) => {
        await control.policies.put(callerOf(holder(name)), 'old', { document }, null);
        await control.policies.remove(owner, 'old');
      },
    };
    for (const [kind, make] of Object.entries(makes)) {
      const name = `of-${kind}`;
      assert.equal(await standsForSomething(test.store, name), false, kind);
      await make(name);
      assert.equal(await standsForSomething(test.store, name), true, kind);
    }
  });
});
