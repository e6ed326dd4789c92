import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import type { CreateAgent } from '../../contract/agents-schemas.ts';
import { localOwner } from '../../identity/local-owner.ts';
import type { ActorId } from '../../model/actor.ts';
import { roles } from '../../model/scopes.ts';
import type { Caller } from '../control.ts';

const admin = callerOf(actorOf('boss', 'all', roles.admin));
const lead = callerOf(actorOf('lead', 'own', ['identity:read', 'identity:write', 'run:read']));
const developer = callerOf(actorOf('dev'));
const denied = withCode('access.denied');
const gone = withCode('resource.absent');

async function make(test: TestControl, caller: Caller, wanted: Partial<CreateAgent> = {}): Promise<ActorId> {
  const asked: CreateAgent = { kind: 'agent', name: 'a', role: 'worker', ...wanted };
  return (await test.control.agents.create(caller, asked)).view.id as ActorId;
}

async function withUser(test: TestControl, name: string): Promise<void> {
  const rest = { displayName: null, email: null, role: 'developer', eligibleRoles: [] } as const;
  const proof = { passwordHash: null, totpSealed: null } as const;
  await test.store.identity.users.create(
    { name, ...rest, ...proof, phase: 'active', createdAt: 1 },
    { external: null, teams: [] },
  );
}

describe('an agent', () => {
  it('is its maker’s, is active and is on record', async () => {
    await using test = await TestControl.open();
    const { view, version } = await test.control.agents.create(lead, {
      kind: 'service',
      name: 'ci',
      role: 'agent',
      scopes: ['run:read', 'run:read'],
      displayName: 'CI',
    });
    assert.deepEqual(
      { ...view, createdAt: null },
      {
        id: 'service:ci',
        displayName: 'CI',
        owner: 'user:lead',
        role: 'agent',
        scopes: ['run:read'],
        egress: null,
        phase: 'active',
        createdAt: null,
      },
    );
    assert.deepEqual(await test.control.agents.get(lead, 'service:ci'), { view, version });
    const [attempt] = (await test.events()).filter(({ action }) => action === 'agent.create');
    assert.deepEqual(attempt?.data, { owner: 'user:lead', role: 'agent', scopes: ['run:read'] });
  });

  it('never has a name that was somebody’s', async () => {
    await using test = await TestControl.open();
    const id = await make(test, admin);
    await assert.rejects(make(test, admin), withCode('state.conflict'));
    assert.equal(await make(test, admin, { kind: 'service' }), 'service:a');
    await test.control.agents.remove(admin, id);
    await assert.rejects(make(test, admin), withCode('state.conflict'));
    await assert.rejects(test.control.agents.get(admin, id), gone);
  });

  it('never holds what its maker does not: no scope, no role, no reach', async () => {
    await using test = await TestControl.open();
    const { roles: store } = test.store.identity;
    const role = (name: string, scopes: readonly (typeof roles.admin)[number][], reach: 'own' | 'all') =>
      store.put({ name, description: null, scopes, reach, createdAt: 1 }, null);
    await role('reader', ['run:read'], 'own');
    await role('writer', ['run:read', 'run:write'], 'own');
    await role('far', ['run:read'], 'all');
    await assert.rejects(make(test, lead, { scopes: ['run:write'] }), denied);
    await assert.rejects(make(test, lead, { role: 'writer' }), denied);
    await assert.rejects(make(test, lead, { role: 'far' }), denied);
    await assert.rejects(make(test, developer), denied);
    // What agents do among themselves no person holds, and everybody who may make agents gives.
    await make(test, lead, { role: 'reader', scopes: ['run:read', 'execute:task'] });
    await make(test, lead, { name: 'p', role: 'planner' });
    await make(test, admin, { name: 'w', role: 'writer' });
    await make(test, admin, { name: 'f', role: 'far' });
  });

  it('never asks for more of the network than its maker may', async () => {
    await using test = await TestControl.open();
    const kept: typeof lead = { ...lead, actor: { ...lead.actor, egress: new Set(['npm']) } };
    await assert.rejects(make(test, kept, { egress: ['npm', 'github'] }), denied);
    await assert.rejects(make(test, kept), denied, 'anything is more');
    const id = await make(test, kept, { egress: ['npm'] });
    assert.deepEqual((await test.control.agents.get(kept, id)).view.egress, ['npm']);
    await assert.rejects(test.control.agents.update(kept, id, { egress: null }, 1), denied);
    await test.control.agents.update(lead, id, { egress: null }, 1);
    await assert.rejects(test.control.agents.update(kept, id, { displayName: 'mine' }, 2), denied);
  });

  it('has a role that there is, and none that is for people', async () => {
    await using test = await TestControl.open();
    for (const role of ['admin', 'operator', 'developer', 'auditor', 'nothing', 'constructor', '__proto__'])
      await assert.rejects(make(test, admin, { role }), withCode('request.invalid'), role);
  });

  it('is another’s only by whoever reaches everybody, and only somebody’s who exists', async () => {
    await using test = await TestControl.open();
    await withUser(test, 'ann');
    await assert.rejects(make(test, lead, { owner: 'user:ann' }), denied);
    await assert.rejects(make(test, admin, { owner: 'user:nobody' }), withCode('request.invalid'));
    const id = await make(test, admin, { owner: 'user:ann' });
    assert.equal((await test.control.agents.get(admin, id)).view.owner, 'user:ann');
    const own = await make(test, lead, { name: 'b', owner: 'user:lead' });
    await assert.rejects(test.control.agents.update(lead, own, { owner: 'user:ann' }, 1), denied);
    await test.control.agents.update(admin, own, { owner: 'user:ann' }, 1);
    await assert.rejects(test.control.agents.get(lead, own), gone);
  });

  it('of another looks absent, and shows in no list', async () => {
    await using test = await TestControl.open();
    const id = await make(test, admin);
    const own = await make(test, lead, { name: 'mine' });
    const { agents } = test.control;
    for (const target of [id, 'agent:never'] as const) {
      await assert.rejects(agents.get(lead, target), gone);
      await assert.rejects(agents.update(lead, target, { role: 'agent' }, 1), gone);
      await assert.rejects(agents.disable(lead, target), gone);
      await assert.rejects(agents.enable(lead, target), gone);
      await assert.rejects(agents.remove(lead, target), gone);
      // Without the scope nobody learns which there are.
      for (const act of [agents.get, agents.disable, agents.enable, agents.remove])
        await assert.rejects(act(developer, target), denied);
    }
    const ids = async (caller: Caller, query = {}) =>
      (await agents.list(caller, query)).items.map((one) => one.id);
    assert.deepEqual(await ids(lead), [own]);
    assert.deepEqual(await ids(lead, { owner: 'user:boss' }), []);
    assert.deepEqual((await ids(admin)).toSorted(), [id, own]);
    assert.deepEqual(await ids(admin, { owner: 'user:boss' }), [id]);
  });

  it('changes only as it was read, and never beyond who changes it', async () => {
    await using test = await TestControl.open();
    const { agents } = test.control;
    const id = await make(test, lead);
    const { view, version } = await agents.update(lead, id, { displayName: 'A', scopes: ['run:read'] }, 1);
    assert.deepEqual([view.displayName, view.scopes, version], ['A', ['run:read'], 2]);
    await assert.rejects(agents.update(lead, id, { role: 'judge' }, 1), withCode('precondition.failed'));
    await assert.rejects(agents.update(lead, id, { scopes: ['run:write'] }, 2), denied);
    // Given more by an administrator, it is out of its owner's hands until it has less again.
    await agents.update(admin, id, { scopes: ['run:write'] }, 2);
    await assert.rejects(agents.update(lead, id, { displayName: null }, 3), denied);
    await assert.rejects(agents.update(lead, id, { scopes: [] }, 3), denied);
    await agents.disable(lead, id);
    await assert.rejects(agents.enable(lead, id), denied);
    await agents.enable(admin, id);
  });

  it('stops with its owner, who may know its secrets, and goes on with another', async () => {
    await using test = await TestControl.open();
    const { agents, authenticate, tokens, users } = test.control;
    await withUser(test, 'ann');
    await withUser(test, 'eve');
    const id = await make(test, admin, { owner: 'user:ann', scopes: ['run:read'] });
    const request = { name: 't', scopes: ['run:read' as const], actor: id };
    const { token: bearer } = await tokens.create(admin, { request, idempotencyKey: null });
    const who = async () => (await authenticate({ bearer }, admin.request))?.id ?? null;
    assert.equal(await who(), id);
    await users.disable(admin, 'ann');
    assert.equal(await who(), null);
    await users.enable(admin, 'ann');
    assert.equal(await who(), id);
    await users.remove(admin, 'ann');
    assert.equal(await who(), null);
    const { version } = await agents.get(admin, id);
    await agents.update(admin, id, { owner: 'user:eve' }, version);
    assert.equal(await who(), null, 'somebody has to say so');
    await agents.enable(admin, id);
    assert.equal(await who(), id);
  });

  it('that is disabled or removed is nobody at once, whatever it proves itself with', async () => {
    await using test = await TestControl.open();
    const { agents, authenticate, tokens } = test.control;
    const id = await make(test, admin, { scopes: ['run:read'] });
    const { request } = admin;
    const asked = { name: 't', scopes: ['run:read'], actor: id } as const;
    const token = await tokens.create(admin, {
      request: { ...asked, scopes: [...asked.scopes] },
      idempotencyKey: null,
    });
    const { signIns } = test.directory;
    const proof = { at: Date.now(), methods: [], mfa: false, provider: null, providerSession: null };
    const signIn = { actor: id, proof, address: null, userAgent: null };
    const program = () =>
      signIns.openProgram({ ...signIn, client: id, scopes: null, reach: null, refreshable: false });
    const first = (await program()).record.id;
    const who = async (signInId: typeof first) => [
      (await authenticate({ bearer: token.token }, request))?.id ?? null,
      (await signIns.actorOf(signInId))?.id ?? null,
    ];
    assert.deepEqual(await who(first), [id, id]);
    await agents.disable(admin, id);
    assert.deepEqual(await who(first), [null, null]);
    await agents.enable(admin, id);
    // What ended does not come back; what was only held does.
    assert.deepEqual(await who(first), [id, null]);
    const second = (await program()).record.id;
    assert.deepEqual(await who(second), [id, id]);
    await agents.remove(admin, id);
    assert.deepEqual(await who(second), [null, null]);
  });

  it('is stopped even while nothing can be recorded, and made by nobody then', async () => {
    await using test = await TestControl.open();
    const id = await make(test, admin);
    test.auditFails = true;
    await assert.rejects(make(test, admin, { name: 'b' }), withCode('audit.unavailable'));
    await assert.rejects(
      test.control.agents.update(admin, id, { role: 'judge' }, 1),
      withCode('audit.unavailable'),
    );
    assert.equal((await test.control.agents.disable(admin, id)).phase, 'disabled');
    await assert.rejects(test.control.agents.enable(admin, id), withCode('audit.unavailable'));
    await test.control.agents.remove(admin, id);
    test.auditFails = false;
    await assert.rejects(test.control.agents.get(admin, id), gone);
  });

  it('is dangerous to make, so a person proves again who it is, and stopping one asks for nothing', async () => {
    await using test = await TestControl.open();
    const stale = { ...admin.actor, signIn: { at: Date.now() - 3_600_000, mfa: true } };
    const caller = { ...admin, actor: stale };
    await assert.rejects(make(test, caller), withCode('auth.step-up'));
    const id = await make(test, { ...admin, actor: { ...stale, signIn: { at: Date.now(), mfa: true } } });
    assert.equal((await test.control.agents.disable(caller, id)).phase, 'disabled');
    await test.control.agents.remove(caller, id);
  });

  it('can be made by the owner of the data folder', async () => {
    await using test = await TestControl.open();
    const id = await make(test, callerOf(localOwner));
    assert.equal((await test.control.agents.get(admin, id)).view.owner, 'system:local');
  });
});
