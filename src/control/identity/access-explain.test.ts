import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import { Fault } from '../../contract/faults.ts';
import { newId, type SessionId } from '../../model/ids.ts';
import { roles } from '../../model/scopes.ts';
import type { Caller } from '../control.ts';

let at: TestControl;
const admin = callerOf(actorOf('root', 'all', roles.admin));
const ada = callerOf(actorOf('ada'));
const stranger = callerOf(actorOf('stranger', 'own', []));
let adas: SessionId;

before(async () => {
  at = await TestControl.open({ withRunner: false });
  adas = await at.session(ada);
  await at.store.identity.users.create(
    {
      ...{
        name: 'bob',
        displayName: null,
        email: null,
        role: 'developer',
        eligibleRoles: [],
        phase: 'active',
      },
      ...{ passwordHash: null, totpSealed: null, createdAt: 1 },
    },
    { external: null, teams: [] },
  );
});
after(() => at[Symbol.asyncDispose]());

const explain = (caller: Caller, request: { actor?: `user:${string}`; action: string; resource?: string }) =>
  at.control.explainAccess(caller, request);

test('everybody learns why they may or may not, and what is missing', async () => {
  const may = await explain(ada, { action: 'session.close', resource: adas });
  assert.deepEqual([may.allow, may.rule, may.missing], [true, 'scope:session:write', []]);
  assert.deepEqual(
    may.determining.map(({ id }) => id),
    ['scope:session:write'],
  );
  const not = await explain(ada, { action: 'policy.put' });
  assert.deepEqual(
    [not.allow, not.rule, not.missing],
    [false, 'scope:policy:write:missing', ['the scope policy:write']],
  );
  assert.deepEqual(not.resource, { kind: 'policy', id: null });
  const token = await explain(ada, { action: 'account.password' });
  assert.deepEqual([token.allow, token.missing], [false, ['a person who signed in, not a token']]);
});

test('about others only whoever may read identities, of the other as it would be now', async () => {
  const request = { actor: 'user:bob', action: 'session.close', resource: adas } as const;
  await assert.rejects(explain(ada, request), withCode('access.denied'));
  const answer = await explain(admin, request);
  assert.deepEqual(
    [answer.allow, answer.rule, answer.missing],
    [false, 'ownership:foreign', ['a reach of all']],
  );
  const own = await explain(admin, { actor: 'user:bob', action: 'session.create' });
  assert.equal(own.allow, true);
  await assert.rejects(explain(admin, { ...request, actor: 'user:nobody' }), withCode('resource.absent'));
  const user = (await at.store.identity.users.get('bob'))!;
  await at.store.identity.users.update('bob', { phase: 'disabled' }, user.version);
  await at.directory.changes.look();
  assert.equal((await explain(admin, request)).rule, 'actor:disabled');
});

test('what the caller may not see answers as what is not there, whatever it is', async () => {
  const answers = new Set<string>();
  const bobs = await at.session(callerOf(actorOf('bob')));
  for (const resource of [
    bobs,
    newId('session', 1),
    newId('run', 1),
    'user:bob',
    'user:nobody',
    'account:bob',
    'account:nobody',
    'team:red',
    'role:admin',
    'role:none',
    'agent:scout',
    'nonsense',
    'access-policy:x',
    'policy:none',
  ])
    for (const action of ['session.close', 'user.update'])
      await explain(stranger, { action, resource }).then(
        (answer) => assert.fail(`${resource}: ${JSON.stringify(answer)}`),
        (error: unknown) =>
          answers.add(error instanceof Fault ? `${error.code} ${error.detail}` : String(error)),
      );
  assert.deepEqual([...answers], ['resource.absent No such resource, or you may not see it.']);
  assert.equal((await explain(admin, { action: 'user.update', resource: 'user:bob' })).allow, true);
  assert.equal((await explain(admin, { action: 'session.close', resource: bobs })).allow, true);
});
