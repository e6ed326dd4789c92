import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import { anyNetwork } from '../../access/client-networks.ts';
import { openAccessEngine } from '../../access/engine.ts';
import { Fault } from '../../contract/faults.ts';
import { localOwner } from '../../identity/local-owner.ts';
import { roles } from '../../model/scopes.ts';
import type { AccessPolicyRecord } from '../../store/identity-store.ts';
import { openAccessSet } from './access-set.ts';

let at: TestControl;
const admin = callerOf(actorOf('root', 'all', roles.admin));
const local = callerOf(localOwner);
const ada = callerOf(actorOf('ada'));

before(async () => {
  at = await TestControl.open({ withRunner: false });
});
after(() => at[Symbol.asyncDispose]());

const forbidClose = 'forbid (principal == Actor::"user:ada", action == Action::"session.close", resource);';
const put = (name: string, text: string, ifMatch: number | null = null) =>
  at.control.accessPolicies.put(admin, name, { text }, ifMatch);
const detailOf = async (promise: Promise<unknown>) => {
  const error = await promise.then(
    () => null,
    (failure: unknown) => failure,
  );
  return error instanceof Fault ? `${error.code}: ${error.detail}` : String(error);
};

test('a policy is in force with the answer, is told by its name, and by its removal no more', async () => {
  const session = await at.session(ada);
  const made = await put('no-close', forbidClose);
  assert.deepEqual([made.view.generation, made.version], [1, 1]);
  const denied = await detailOf(at.control.sessions.close(ada, session));
  assert.match(denied, /^access.denied: .*policy:no-close/);
  assert(!denied.includes('principal'), 'the text is not told');
  await at.control.accessPolicies.remove(admin, 'no-close');
  await at.control.sessions.close(ada, session);
  const { items } = await at.control.accessPolicies.history(admin, 'no-close', {});
  assert.deepEqual(
    items.map(({ generation, removed }) => [generation, removed]),
    [
      [2, true],
      [1, false],
    ],
  );
  await assert.rejects(at.control.accessPolicies.get(admin, 'no-close'), withCode('resource.absent'));
  assert.equal((await at.control.accessPolicies.get(admin, 'no-close', 1)).view.text, forbidClose);
});

test('a change needs the generation that was read, and is on record by its digest', async () => {
  await put('versioned', forbidClose);
  await assert.rejects(put('versioned', forbidClose), withCode('precondition.required'));
  await assert.rejects(put('versioned', forbidClose, 7), withCode('precondition.failed'));
  assert.equal((await put('versioned', forbidClose, 1)).view.generation, 2);
  const [event] = (await at.events()).filter(
    ({ action, phase }) => action === 'access-policy.put' && phase === 'attempt',
  );
  assert.match(JSON.stringify(event?.data), /"sha256":"[0-9a-f]{64}"/);
  await at.control.accessPolicies.remove(admin, 'versioned');
});

test('what is wrong with a text is said with its place, and changes nothing', async () => {
  const wrong = 'permit (principal, action, resource)\nwhen { principal.roles == "admin" };';
  assert.match(
    await detailOf(put('wrong', wrong)),
    /^request.invalid: .*line 2, column 8: attribute `roles`/,
  );
  const deep = `permit (principal, action, resource) when { ${'('.repeat(9_000)}true${')'.repeat(9_000)} };`;
  assert.match(await detailOf(put('wrong', deep)), /nested too deeply/);
  assert.deepEqual(await at.control.accessPolicies.list(admin), []);
});

test('no policy locks the owner of the data folder out of mending policies', async () => {
  for (const text of [
    'forbid (principal, action, resource);',
    'forbid (principal, action in Action::"identity:write", resource) when { !principal.mfa };',
    'forbid (principal, action == Action::"access-policy.remove", resource) when { context.local };',
  ])
    assert.match(await detailOf(put('all', text)), /^request.invalid: .*own socket.*unless/s);
  await put('all', 'forbid (principal, action, resource) unless { principal.id == "system:local" };');
  await assert.rejects(at.control.accessPolicies.remove(admin, 'all'), withCode('access.denied'));
  await at.control.accessPolicies.remove(local, 'all');
  assert.deepEqual(await at.control.accessPolicies.list(admin), []);
});

test('who may not read or change policies does not, and nothing is done that cannot be recorded', async () => {
  const { accessPolicies } = at.control;
  await put('kept', forbidClose);
  for (const act of [
    () => accessPolicies.list(ada),
    () => accessPolicies.get(ada, 'kept'),
    () => accessPolicies.shipped(ada),
    () => accessPolicies.history(ada, 'kept', {}),
    () => accessPolicies.put(ada, 'mine', { text: 'permit (principal, action, resource);' }, null),
    () => accessPolicies.remove(ada, 'kept'),
  ])
    await assert.rejects(act, withCode('access.denied'));
  at.auditFails = true;
  await assert.rejects(accessPolicies.remove(admin, 'kept'), withCode('audit.unavailable'));
  at.auditFails = false;
  assert.equal((await accessPolicies.list(admin)).length, 1);
  assert.match((await accessPolicies.shipped(admin)).policies, /@id\("scope:run:write"\)/);
  await accessPolicies.remove(admin, 'kept');
});

const silent = { debug() {}, info() {}, warn() {}, error() {} };

test('a change of another process is in force here as soon as it is told', async () => {
  const engine = openAccessEngine({ networks: anyNetwork });
  const { accessPolicies: store } = at.store.identity;
  const set = await openAccessSet({ engine, store, changes: at.directory.changes, logger: silent });
  const rule = () => engine.decide(ada.actor, 'session.close', { kind: 'session' }, { address: null }).rule;
  assert.equal(rule(), 'scope:session:write');
  await put('elsewhere', forbidClose);
  await at.directory.changes.look();
  await set.reload();
  assert.equal(rule(), 'policy:elsewhere');
  set.close();
  await at.control.accessPolicies.remove(admin, 'elsewhere');
});

test('what is stored and cannot be in force stops the start; later the old set stays and readiness says so', async () => {
  const broken = {
    name: 'broken',
    generation: 1,
    text: 'permit (',
    author: 'user:root',
    reason: null,
    createdAt: 1,
  };
  let stored: AccessPolicyRecord[] | Error = [broken as AccessPolicyRecord];
  const store = {
    ...at.store.identity.accessPolicies,
    all: async () => {
      if (stored instanceof Error) throw stored;
      return stored;
    },
  };
  const open = () =>
    openAccessSet({
      engine: openAccessEngine({ networks: anyNetwork }),
      store,
      changes: at.directory.changes,
      logger: silent,
    });
  await assert.rejects(open, /broken, line 1, column 9: .*Start the version of Sealwright that took them/s);
  stored = new Error('the disk is gone');
  await assert.rejects(open, /the disk is gone/);
  stored = [{ ...broken, name: 'closed', text: forbidClose } as AccessPolicyRecord];
  const set = await open();
  const rule = () =>
    set.engine.decide(ada.actor, 'session.close', { kind: 'session' }, { address: null }).rule;
  let told = 0;
  const forget = set.onReplaced(() => (told += 1));
  const failures: (AccessPolicyRecord[] | Error)[] = [[broken as AccessPolicyRecord], new Error('gone')];
  for (const failure of failures) {
    stored = failure;
    await set.reload();
    assert.equal(rule(), 'policy:closed', 'never an open door');
    assert.match(set.health().detail ?? '', /before the last change are in force/);
  }
  stored = [];
  await set.reload();
  assert.deepEqual([rule(), set.health().ok], ['scope:session:write', true]);
  assert.equal(told, 1, 'streams are judged again by what is in force late, not by what failed');
  forget();
  await set.reload();
  assert.equal(told, 1);
  set.close();
});

test('whoever may change identities and holds less than an administrator permits nobody more by a policy', async () => {
  const { accessPolicies, audit } = at.control;
  const helpdesk = callerOf(actorOf('desk', 'all', ['identity:read', 'identity:write']));
  const near = callerOf(actorOf('near', 'own', roles.admin));
  const mine = 'permit (principal == Actor::"user:desk", action, resource);';
  await put(
    'keeps-out',
    'forbid (principal == Actor::"user:desk", action == Action::"audit.read", resource);',
  );
  for (const caller of [helpdesk, near]) {
    await assert.rejects(accessPolicies.put(caller, 'mine', { text: mine }, null), withCode('access.denied'));
    await assert.rejects(accessPolicies.remove(caller, 'keeps-out'), withCode('access.denied'));
    await assert.rejects(
      accessPolicies.put(caller, 'keeps-out', { text: mine }, 1),
      withCode('access.denied'),
      'nor in place of what keeps it out',
    );
    assert((await accessPolicies.list(caller)).length > 0, 'it may read them');
  }
  await assert.rejects(audit.list(helpdesk, {}), withCode('access.denied'));
  await accessPolicies.remove(admin, 'keeps-out');
  await put('mine', mine);
  assert((await audit.list(helpdesk, {})).items.length > 0, 'which such a policy would have given');
  await accessPolicies.remove(local, 'mine');
});
