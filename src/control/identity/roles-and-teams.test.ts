import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import type { GrantableScope } from '../../model/scopes.ts';
import { roles } from '../../model/scopes.ts';

let at: TestControl;
const admin = callerOf(actorOf('root', 'all', roles.admin));
/** May change identities, and holds little else. */
const clerk = callerOf(actorOf('clerk', 'own', ['identity:read', 'identity:write', 'run:read']));
const ada = callerOf(actorOf('ada'));

before(async () => {
  at = await TestControl.open({ withRunner: false });
});
after(() => at[Symbol.asyncDispose]());

const role = (scopes: readonly GrantableScope[], reach: 'own' | 'team' | 'all' = 'own') => ({
  scopes: [...scopes],
  reach,
});

test('a role holds what it was given, and whoever has it follows a change of it at once', async () => {
  const { version } = await at.control.roles.put(admin, 'reader', role(['run:read']), null);
  await at.store.identity.users.create(
    {
      ...{ name: 'eve', displayName: null, email: null, role: 'reader', eligibleRoles: [], phase: 'active' },
      ...{ passwordHash: null, totpSealed: null, createdAt: 1 },
    },
    { external: null, teams: [] },
  );
  const scopesOf = async () => {
    const known = await at.directory.principals.of('user:eve');
    return typeof known === 'string' ? known : [...known.scopes];
  };
  assert.deepEqual(await scopesOf(), ['run:read']);
  await at.control.roles.put(admin, 'reader', role(['session:read']), version);
  assert.deepEqual(await scopesOf(), ['session:read']);
  await assert.rejects(at.control.roles.remove(admin, 'reader'), withCode('state.conflict'), 'eve has it');
});

test('roles that ship stay as they are', async () => {
  const { roles: use } = at.control;
  await assert.rejects(use.put(admin, 'developer', role(['run:read']), null), withCode('state.conflict'));
  await assert.rejects(use.put(admin, 'admin', role([]), 0), withCode('state.conflict'));
  await assert.rejects(use.remove(admin, 'auditor'), withCode('state.conflict'));
  const shipped = (await use.list(admin)).filter((view) => view.shipped).map(({ name }) => name);
  assert.deepEqual(shipped, Object.keys(roles));
});

test('nobody makes, changes or removes a role that holds a scope or a reach they do not hold', async () => {
  const { roles: use } = at.control;
  for (const wanted of [role(['audit:read']), role(['run:read'], 'team'), role(['run:read'], 'all')])
    await assert.rejects(use.put(clerk, 'more', wanted, null), withCode('access.denied'));
  await use.put(clerk, 'less', role(['run:read']), null);
  await use.put(admin, 'strong', role(['audit:read'], 'all'), null);
  const strong = (await use.get(admin, 'strong')).version;
  await assert.rejects(use.put(clerk, 'strong', role([]), strong), withCode('access.denied'));
  await assert.rejects(use.remove(clerk, 'strong'), withCode('access.denied'));
  await use.remove(clerk, 'less');
  await assert.rejects(use.get(admin, 'less'), withCode('resource.absent'));
  const denied = (await at.events()).filter(
    ({ outcome, decision }) => outcome === 'denied' && decision.rule === 'role:above',
  );
  assert(denied.length >= 3, 'repetitions are counted');
});

test('a write needs the version that was read, and only whoever may change identities writes', async () => {
  const { roles: use, teams } = at.control;
  await use.put(admin, 'once', role(['run:read']), null);
  await assert.rejects(use.put(admin, 'once', role([]), null), withCode('precondition.required'));
  await assert.rejects(use.put(admin, 'once', role([]), 99), withCode('precondition.failed'));
  await assert.rejects(use.put(admin, 'never', role([]), 1), withCode('resource.absent'));
  for (const act of [
    () => use.list(ada),
    () => use.put(ada, 'mine', role([]), null),
    () => use.remove(ada, 'once'),
    () => teams.list(ada, {}),
    () => teams.put(ada, 'mine', { members: [] }, null),
    () => teams.addMember(ada, 'mine', 'user:ada'),
    () => teams.remove(ada, 'mine'),
  ])
    await assert.rejects(act, withCode('access.denied'));
});

test('teams change member by member, at the same time too, and their members know at once', async () => {
  const { teams } = at.control;
  await teams.put(admin, 'red', { members: ['user:bob'] }, null);
  const names = Array.from({ length: 8 }, (_, index) => `user:m${index}` as const);
  await Promise.all(names.map((name) => teams.addMember(admin, 'red', name)));
  await Promise.all(names.slice(1).map((name) => teams.removeMember(admin, 'red', name)));
  assert.deepEqual((await teams.get(admin, 'red')).view.members, ['user:bob', 'user:m0']);
  assert.deepEqual((await teams.addMember(admin, 'red', 'user:bob')).members, ['user:bob', 'user:m0']);
  assert.deepEqual((await teams.list(admin, {})).items.length, 1);
  await teams.remove(admin, 'red');
  await assert.rejects(teams.get(admin, 'red'), withCode('resource.absent'));
  await assert.rejects(teams.remove(admin, 'red'), withCode('resource.absent'));
});

test('whoever does not reach everything changes no team but its own', async () => {
  const { teams } = at.control;
  await teams.put(admin, 'blue', { members: [] }, null);
  for (const act of [
    () => teams.addMember(clerk, 'blue', 'user:clerk'),
    () => teams.put(clerk, 'blue', { members: ['user:clerk'] }, 1),
    () => teams.removeMember(clerk, 'blue', 'user:bob'),
    () => teams.remove(clerk, 'blue'),
  ])
    await assert.rejects(act, withCode('access.denied'));
  const member = callerOf({ ...clerk.actor, teams: new Set(['blue']) });
  assert.deepEqual((await teams.addMember(member, 'blue', 'user:bob')).members, ['user:bob']);
});

test('taking somebody out of a team works while nothing can be recorded; adding does not', async () => {
  const { teams } = at.control;
  await teams.put(admin, 'green', { members: ['user:bob'] }, null);
  at.auditFails = true;
  await assert.rejects(teams.addMember(admin, 'green', 'user:eve'), withCode('audit.unavailable'));
  assert.deepEqual((await teams.removeMember(admin, 'green', 'user:bob')).members, []);
  at.auditFails = false;
});

test('nobody invites somebody into a team that they could not join themselves', async () => {
  const { invitations } = at.control;
  const scopes = [...roles.developer, 'identity:read', 'identity:write'] as const;
  const lead = callerOf({ ...actorOf('lead', 'own', scopes), reach: 'team', teams: new Set(['web']) });
  const invite = (caller: typeof lead, teams: string[]) =>
    invitations.create(caller, { role: 'developer', teams });
  await assert.rejects(invite(lead, ['core']), withCode('access.denied'));
  await assert.rejects(invite(lead, ['web', 'core']), withCode('access.denied'));
  assert.deepEqual((await invite(lead, ['web'])).teams, ['web']);
  const boss = callerOf(actorOf('boss', 'all', roles.admin));
  assert.deepEqual((await invite(boss, ['core'])).teams, ['core']);
});
