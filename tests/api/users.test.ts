import assert from 'node:assert/strict';
import { test } from 'node:test';
import { localOwner } from '../../src/identity/local-owner.ts';
import { totpCode } from '../../src/identity/totp.ts';
import { callerOf } from '../support/test-control.ts';
import { goodPassword, openTestPeople, type TestPeople } from '../support/test-people.ts';

/** People become users by invitation, and are administered by whoever holds more than they do. */

type Invited = { readonly link: string; readonly secret: string; readonly id: string };

async function invite(people: TestPeople, request: Record<string, unknown>): Promise<Invited> {
  const made = await people.test.control.invitations.create(callerOf(localOwner), {
    role: 'developer',
    ...request,
  });
  return { link: made.link, secret: made.link.split('#')[1]!, id: made.id };
}

const accept = (people: TestPeople, given: Record<string, unknown>, address?: string) =>
  people.browser(address).call('POST', '/auth/invitations/accept', { password: goodPassword, ...given });

test('an invitation makes one user, of any number that accept it at once', async (t) => {
  const people = await openTestPeople(t);
  const { link, secret } = await invite(people, { teams: ['core'], email: 'ada@example.org' });
  assert.match(link, /^http:\/\/localhost:7717\/invitation#swi_[0-9A-Za-z]{36}$/);
  const seen = await people.browser().ok('POST', '/auth/invitations/look', { invitation: secret });
  assert.deepEqual([seen.name, seen.role], [null, 'developer']);
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      accept(people, { invitation: secret, name: `ada${index}` }, `192.0.2.${index}`),
    ),
  );
  const statuses = answers.map(({ status }) => status).sort();
  assert.deepEqual(statuses, [200, ...Array<number>(19).fill(401)]);
  const users = await people.test.control.users.list(callerOf(localOwner), {});
  assert.equal(users.items.length, 1);
  assert.deepEqual(users.items[0]?.teams, ['core']);
  assert.equal(
    (await people.browser().call('POST', '/auth/invitations/look', { invitation: secret })).status,
    401,
  );
});

test('an invitation that is expired, revoked or made up is refused alike', async (t) => {
  const people = await openTestPeople(t);
  const [expiring, revoked] = [await invite(people, { expiresInSeconds: 60 }), await invite(people, {})];
  await people.test.control.invitations.revoke(callerOf(localOwner), revoked.id as `inv_${string}`);
  people.pass(60_001);
  const details = new Set<string>();
  for (const invitation of [expiring.secret, revoked.secret, `swi_${'0'.repeat(36)}`, 'x']) {
    const { status, body } = await accept(people, { invitation, name: 'ada' });
    details.add(`${status} ${body.code} ${body.detail}`);
  }
  assert.equal(details.size, 1, [...details].join('; '));
  assert.match([...details][0]!, /^401 auth\.invalid/);
});

test('the link of whoever is disabled or loses the role is worth nothing', async (t) => {
  const people = await openTestPeople(t);
  const control = people.test.control.users;
  const owner = callerOf(localOwner);
  const ends: Record<string, () => Promise<unknown>> = {
    boss: async () =>
      await control.update(owner, 'boss', { role: 'developer' }, (await control.get(owner, 'boss')).version),
    chief: () => control.disable(owner, 'chief'),
  };
  for (const name of ['root', ...Object.keys(ends)]) await people.totpUser(name, 'admin');
  for (const [name, end] of Object.entries(ends)) {
    const maker = await people.signedIn(name);
    const make = async () => {
      const { link } = await maker.ok('POST', '/api/v1/invitations', { role: 'admin' });
      return link.split('#')[1];
    };
    const [used, late] = [await make(), await make()];
    const { status } = await accept(people, { invitation: used, name: `friend-of-${name}` });
    assert.equal(status, 200, `the control: a link of ${name} works`);
    await end();
    assert.equal((await accept(people, { invitation: late, name: `mallory-${name}` })).status, 401, name);
  }
});

test('a name that is fixed, taken, or stands for something already is not to be chosen', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const { tokens } = people.test.control;
  await tokens.create(callerOf(localOwner), {
    request: { name: 'ci', actor: 'user:ci', scopes: ['run:read'] },
    idempotencyKey: null,
  });
  const open = (await invite(people, {})).secret;
  for (const name of ['ada', 'ci', 'bootstrap'])
    assert.equal((await accept(people, { invitation: open, name })).status, 409, name);
  for (const name of ['Ada Lovelace', '', 'user:ada', '../ada', 'a'.repeat(64)])
    assert.equal((await accept(people, { invitation: open, name })).status, 400, name);
  assert.equal((await accept(people, { invitation: open })).status, 400);
  const fixed = (await invite(people, { name: 'grace' })).secret;
  assert.equal((await accept(people, { invitation: fixed, name: 'other' })).status, 400);
  assert.equal((await accept(people, { invitation: fixed })).body.user, 'grace');
  assert.equal((await accept(people, { invitation: open, name: 'late' })).body.user, 'late');
});

test('a password that nobody should have is refused with the reason, and the invitation still works', async (t) => {
  const people = await openTestPeople(t);
  const { secret } = await invite(people, { name: 'countess' });
  for (const password of ['short', 'password', 'the countess 1815', 'nul\0nul\0nul']) {
    const { status, body } = await accept(people, { invitation: secret, password });
    assert.deepEqual([status, body.errors?.[0]?.path], [400, '/password'], password);
  }
  assert.equal((await accept(people, { invitation: secret })).status, 200);
});

test('a role that demands a second factor has one enrolled before the invited is let in', async (t) => {
  const people = await openTestPeople(t);
  const { secret } = await invite(people, { name: 'root', role: 'admin' });
  const { body, headers } = await accept(people, { invitation: secret });
  assert.deepEqual([body.state, body.next], ['pending', 'enroll']);
  assert.equal(headers.get('set-cookie'), null);
});

test('only whoever may administer sees users, and a token of another sees an absent one', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  await people.totpUser('root', 'admin');
  const [ada, root] = [await people.signedIn('ada'), await people.signedIn('root')];
  for (const [method, path, body] of [
    ['GET', '/api/v1/users', undefined],
    ['GET', '/api/v1/users/root', undefined],
    ['POST', '/api/v1/users/root/disable', undefined],
    ['POST', '/api/v1/users/root/sign-out', undefined],
    ['POST', '/api/v1/invitations', { role: 'developer' }],
    ['DELETE', '/api/v1/users/root', undefined],
  ] as const)
    assert((await ada.call(method, path, body)).status >= 403, `${method} ${path}`);
  const listed = await root.ok('GET', '/api/v1/users');
  assert.deepEqual(listed.items.map(({ name }: { name: string }) => name).sort(), ['ada', 'root']);
  assert(!JSON.stringify(listed).includes('argon2'));
  assert.equal((await people.browser().call('GET', '/api/v1/users')).status, 401);
});

test('nobody gives a role that holds more than theirs, nor has a hand on who has one', async (t) => {
  const people = await openTestPeople(t);
  const { roles } = people.test.store.identity;
  const desk = ['identity:read', 'identity:write', 'run:read'] as const;
  await roles.put({ name: 'desk', description: null, scopes: desk, reach: 'all', createdAt: 1 }, null);
  await people.totpUser('helper', 'desk');
  await people.totpUser('root', 'admin');
  await people.user('ada');
  await roles.put(
    { name: 'reader', description: null, scopes: ['run:read'], reach: 'all', createdAt: 1 },
    null,
  );
  await people.user('small', 'reader');
  const helper = await people.signedIn('helper');
  const etag = async (name: string) =>
    (await helper.call('GET', `/api/v1/users/${name}`)).headers.get('etag') ?? '';
  const change = async (name: string, to: object) =>
    (await helper.call('PATCH', `/api/v1/users/${name}`, to, { 'if-match': await etag(name) })).status;
  assert.equal(await change('small', { role: 'admin' }), 403);
  assert.equal(await change('small', { eligibleRoles: ['admin'] }), 403);
  assert.equal(await change('helper', { role: 'admin' }), 403, 'nor to oneself');
  assert.equal(await change('root', { email: 'evil@example.org' }), 403);
  for (const path of ['disable', 'reset-mfa', 'tickets'])
    assert.equal((await helper.call('POST', `/api/v1/users/root/${path}`)).status, 403, path);
  assert.equal((await helper.call('DELETE', '/api/v1/users/root')).status, 403);
  assert.equal((await helper.call('POST', '/api/v1/invitations', { role: 'admin' })).status, 403);
  assert.equal(await change('small', { role: 'nothing-of-the-kind' }), 400);
  assert.equal(await change('small', { displayName: 'Small' }), 200, 'what is theirs to do is done');
});

test('a change says which version it is of', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  await people.totpUser('root', 'admin');
  const root = await people.signedIn('root');
  const path = '/api/v1/users/ada';
  assert.equal((await root.call('PATCH', path, { displayName: 'Ada' })).status, 428);
  const tag = (await root.call('GET', path)).headers.get('etag')!;
  assert.equal((await root.call('PATCH', path, { displayName: 'Ada' }, { 'if-match': tag })).status, 200);
  assert.equal((await root.call('PATCH', path, { displayName: 'Eve' }, { 'if-match': tag })).status, 412);
});

test('disabling somebody ends all that they are signed in to, also while nothing can be recorded', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  await people.totpUser('root', 'admin');
  const [ada, root] = [await people.signedIn('ada'), await people.signedIn('root')];
  people.test.auditFails = true;
  assert.equal((await root.ok('POST', '/api/v1/users/ada/disable')).phase, 'disabled');
  assert.equal((await ada.call('GET', '/api/v1/account')).status, 401);
  people.test.auditFails = false;
  assert.equal((await people.browser().password('ada')).status, 401);
  assert.equal((await root.ok('POST', '/api/v1/users/ada/enable')).phase, 'active');
  assert.equal((await ada.call('GET', '/api/v1/account')).status, 401, 'what has ended stays so');
  assert.equal((await people.browser().password('ada')).body.state, 'signed-in');
});

test('a change of role counts from the next request on, and one that demands more ends what had less', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  await people.totpUser('root', 'admin');
  const [ada, root] = [await people.signedIn('ada'), await people.signedIn('root')];
  assert.equal((await ada.call('GET', '/api/v1/audit/events')).status, 403);
  const change = async (role: string) => {
    const tag = (await root.call('GET', '/api/v1/users/ada')).headers.get('etag')!;
    await root.ok('PATCH', '/api/v1/users/ada', { role }, { 'if-match': tag });
  };
  await change('auditor');
  assert.equal((await ada.call('GET', '/api/v1/audit/events')).status, 200);
  await change('operator');
  assert.equal((await ada.call('GET', '/api/v1/account')).status, 401);
  assert.equal((await people.browser().password('ada')).body.next, 'enroll');
});

test('an administrator ends all that a user is signed in to, and nobody else’s', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  await people.user('eve');
  await people.totpUser('root', 'admin');
  const [one, two] = [await people.signedIn('ada'), await people.signedIn('ada')];
  const [eve, root] = [await people.signedIn('eve'), await people.signedIn('root')];
  await root.ok('POST', '/api/v1/users/ada/sign-out');
  for (const ended of [one, two]) assert.equal((await ended.call('GET', '/api/v1/account')).status, 401);
  for (const kept of [eve, root]) assert.equal((await kept.call('GET', '/api/v1/account')).status, 200);
  assert.equal((await people.browser().password('ada')).body.state, 'signed-in');
});

test('the last active administrator stays, also where two end each other at once', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('one', 'admin');
  await people.totpUser('two', 'admin');
  const [one, two] = [await people.signedIn('one'), await people.signedIn('two')];
  const statuses = await Promise.all([
    one.call('POST', '/api/v1/users/two/disable'),
    two.call('DELETE', '/api/v1/users/one'),
  ]);
  assert.deepEqual(statuses.map(({ status }) => Math.floor(status / 100)).sort(), [2, 4]);
  assert.equal(await people.test.store.identity.users.countByRole('admin'), 1);
  const owner = callerOf(localOwner);
  const { items } = await people.test.control.users.list(owner, { role: 'admin', phase: 'active' });
  const { name } = items[0]!;
  const { version } = await people.test.control.users.get(owner, name);
  for (const end of [
    () => people.test.control.users.disable(owner, name),
    () => people.test.control.users.remove(owner, name),
    () => people.test.control.users.update(owner, name, { role: 'developer' }, version),
  ])
    await assert.rejects(end(), { code: 'state.conflict' });
});

test('a removed user is signed out, cannot come back, and leaves the name to nobody', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  await people.totpUser('root', 'admin');
  const [ada, root] = [await people.signedIn('ada'), await people.signedIn('root')];
  await root.ok('DELETE', '/api/v1/users/ada');
  assert.equal((await ada.call('GET', '/api/v1/account')).status, 401);
  assert.equal((await people.browser().password('ada')).status, 401);
  assert.equal((await root.call('GET', '/api/v1/users/ada')).status, 404);
  const { secret } = await invite(people, {});
  assert.equal((await accept(people, { invitation: secret, name: 'ada' })).status, 409);
});

test('whoever lost the second factor is reset to the password, and enrolls anew where the role asks', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('root', 'admin');
  await people.totpUser('op', 'operator');
  const [op, root] = [await people.signedIn('op'), await people.signedIn('root')];
  const view = await root.ok('POST', '/api/v1/users/op/reset-mfa');
  assert.equal(view.mfa, false);
  assert.equal((await op.call('GET', '/api/v1/account')).status, 401);
  assert.equal((await people.browser().password('op')).body.next, 'enroll');
});

test('people see their own sign-ins alone, and end one, all others, or all', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  await people.user('eve');
  const [here, there, eve] = [
    await people.signedIn('ada', '192.0.2.1'),
    await people.signedIn('ada', '192.0.2.2'),
    await people.signedIn('eve', '192.0.2.3'),
  ];
  const { items } = await here.ok('GET', '/api/v1/account/sign-ins');
  assert.deepEqual(
    items.map(({ address, current }: { address: string; current: boolean }) => [address, current]).sort(),
    [
      ['192.0.2.1', true],
      ['192.0.2.2', false],
    ],
  );
  const [other] = items.filter(({ current }: { current: boolean }) => !current);
  assert.equal((await eve.call('DELETE', `/api/v1/account/sign-ins/${other.id}`)).status, 404);
  await here.ok('DELETE', `/api/v1/account/sign-ins/${other.id}`);
  assert.equal((await there.call('GET', '/api/v1/account')).status, 401);
  const third = await people.signedIn('ada');
  assert.deepEqual(await here.ok('DELETE', '/api/v1/account/sign-ins'), { ended: 1 });
  assert.equal((await third.call('GET', '/api/v1/account')).status, 401);
  assert.deepEqual(await here.ok('DELETE', '/api/v1/account/sign-ins?everywhere=true'), { ended: 1 });
  assert.equal((await here.call('GET', '/api/v1/account')).status, 401);
  assert.equal((await eve.call('GET', '/api/v1/account')).status, 200);
});

test('a second factor is enrolled, proved and removed by its owner, and a role that demands one keeps it', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const ada = await people.signedIn('ada');
  const { secret } = await ada.ok('POST', '/api/v1/account/totp');
  assert.match(secret, /^[A-Z2-7]{32}$/);
  assert.equal((await ada.call('POST', '/api/v1/account/totp/confirm', { code: '000000' })).status, 409);
  assert.equal((await ada.ok('GET', '/api/v1/account')).totp, false);
  const { recoveryCodes } = await ada.ok('POST', '/api/v1/account/totp/confirm', {
    code: totpCode(secret, people.test.clock.now()),
  });
  assert.equal(recoveryCodes.length, 10);
  assert.equal((await people.browser().password('ada')).body.next, 'second-factor');
  await ada.ok('DELETE', '/api/v1/account/totp');
  const after = await ada.ok('GET', '/api/v1/account');
  assert.deepEqual([after.totp, after.recoveryCodesLeft], [false, 0], 'the codes stood in for what is gone');
  assert.equal((await people.browser().password('ada')).body.state, 'signed-in');
  await people.totpUser('op', 'operator');
  const op = await people.signedIn('op');
  const kept = await op.call('DELETE', '/api/v1/account/totp');
  assert.deepEqual([kept.status, kept.body.code], [409, 'state.conflict']);
});

test('an API token is nobody’s sign-in: it sees and changes no account', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const made = await people.test.control.tokens.create(callerOf(localOwner), {
    request: { name: 'all', actor: 'user:ada', scopes: ['identity:write', 'identity:read'], reach: 'all' },
    idempotencyKey: null,
  });
  const authorization = `Bearer ${made.token}`;
  for (const [method, path, body] of [
    ['GET', '/api/v1/account', undefined],
    ['POST', '/api/v1/account/totp', undefined],
    ['POST', '/api/v1/account/recovery-codes', undefined],
    ['DELETE', '/api/v1/account/sign-ins', undefined],
    ['PUT', '/api/v1/account/password', { current: goodPassword, password: 'a new good one' }],
    ['POST', '/auth/step-up', { password: goodPassword }],
  ] as const)
    assert.equal((await people.browser().call(method, path, body, { authorization })).status, 403, path);
});
