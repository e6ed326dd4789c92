import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import type { ClaimMapping } from '../../contract/providers.ts';
import type { Provider } from '../../identity/providers/provider.ts';
import { roles } from '../../model/scopes.ts';
import { type Gate, openGate } from '../gate.ts';
import { type UserIdentityUseCases, userIdentityUseCases } from './user-identities.ts';

const admin = callerOf(actorOf('root', 'all', roles.admin));
const issuer = 'https://idp.example';
const company = { provider: 'company', subject: 'person|1' };

describe('persons of other providers', () => {
  let test: TestControl;
  let gate: Gate;
  let useCases: UserIdentityUseCases;

  beforeEach(async () => {
    test = await TestControl.open({ withRunner: false });
    const { audit, access, clock, store, directory } = test;
    gate = openGate({ audit, access, clock, logger: { debug() {}, info() {}, warn() {}, error() {} } });
    const signInConfig = test.signIn;
    const { signIns, changes } = directory;
    const never = async () => assert.fail('no provider is asked');
    const provider: Provider = {
      ...{ id: 'company', label: 'Company', kind: 'oidc', issuer, syncOnSignIn: true, allowSignUp: true },
      ...{ mapping: { roles: [] } satisfies ClaimMapping },
      ...{ authorizationUrl: never, profileOf: never, logoutOf: never },
    };
    const providers = new Map([['company', provider]]);
    useCases = userIdentityUseCases({ store, gate, clock, signIns, changes, providers, signInConfig });
    for (const name of ['ann', 'bob'])
      await store.identity.users.create(
        {
          ...{ name, displayName: null, email: null, role: 'developer', eligibleRoles: [], phase: 'active' },
          ...{ passwordHash: null, totpSealed: null, createdAt: 1 },
        },
        { external: null, teams: [] },
      );
  });
  afterEach(async () => {
    test.auditFails = false;
    await gate.close();
    await test[Symbol.asyncDispose]();
  });

  it('are linked to a user and taken back, on the record', async () => {
    const kept = callerOf({ ...admin.actor, egress: new Set(['github']) });
    await assert.rejects(useCases.link(kept, 'ann', company), withCode('access.denied'));
    const linked = await useCases.link(admin, 'ann', company);
    assert.deepEqual(linked, { provider: 'company', issuer, subject: 'person|1' });
    assert.deepEqual(await useCases.list(admin, 'ann'), [linked]);
    assert.equal(
      (await test.store.identity.users.byExternal({ provider: issuer, subject: 'person|1' }))?.name,
      'ann',
    );
    await useCases.unlink(admin, 'ann', company);
    assert.deepEqual(await useCases.list(admin, 'ann'), []);
    await gate.settled();
    const actions = (await test.events()).map(({ action }) => action);
    assert(actions.includes('user.link') && actions.includes('user.unlink'));
  });

  it('are each of one user alone', async () => {
    await useCases.link(admin, 'ann', company);
    await assert.rejects(useCases.link(admin, 'bob', company), withCode('state.conflict'));
    await assert.rejects(useCases.unlink(admin, 'bob', company), withCode('resource.absent'));
    await assert.rejects(useCases.link(admin, 'nobody', company), withCode('resource.absent'));
    await assert.rejects(useCases.list(admin, 'nobody'), withCode('resource.absent'));
    await assert.rejects(
      useCases.link(admin, 'ann', { ...company, provider: 'other' }),
      withCode('request.invalid'),
    );
  });

  it('are linked by nobody to somebody who holds more', async () => {
    await test.store.identity.users.update('ann', { role: 'admin' }, null);
    const lesser = callerOf(actorOf('lesser', 'all', ['identity:read', 'identity:write']));
    await assert.rejects(useCases.link(lesser, 'ann', company), withCode('access.denied'));
    const reader = callerOf(actorOf('reader', 'all', roles.auditor));
    await assert.rejects(useCases.link(reader, 'bob', company), withCode('access.denied'));
    assert.deepEqual(await useCases.list(reader, 'ann'), []);
    await useCases.link(admin, 'ann', company);
    await assert.rejects(useCases.unlink(lesser, 'ann', company), withCode('access.denied'));
  });

  it('taken back end what was signed in to there, also while nothing can be recorded', async () => {
    await useCases.link(admin, 'ann', company);
    const { signIns } = test.directory;
    const proof = { at: Date.now(), methods: [], mfa: false, provider: 'company', providerSession: null };
    const from = { actor: 'user:ann', address: null, userAgent: null } as const;
    const there = await signIns.openBrowser({ ...from, proof });
    const here = await signIns.openBrowser({ ...from, proof: { ...proof, provider: null } });
    test.auditFails = true;
    await assert.rejects(
      useCases.link(admin, 'bob', { ...company, subject: '2' }),
      withCode('audit.unavailable'),
    );
    await useCases.unlink(admin, 'ann', company);
    assert.equal(await signIns.ofCookie(there.cookie), null);
    assert.equal((await signIns.ofCookie(here.cookie))?.id, 'user:ann');
  });
});
