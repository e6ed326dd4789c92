import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { localOwner } from '../../src/identity/local-owner.ts';
import { segmentOf } from '../support/audit.ts';
import { callerOf } from '../support/test-control.ts';
import { goodPassword, openTestPeople, type TestBrowser, type TestPeople } from '../support/test-people.ts';

/** Whoever forgot the password chooses another, by a link that an administrator made and never by the administrator. */

const newPassword = 'staple battery horse';
const owner = callerOf(localOwner);

type Link = { readonly secret: string; readonly link: string };

async function linkFor(people: TestPeople, name: string, request = {}): Promise<Link> {
  const { link } = await people.test.control.passwordResets.create(owner, name, request);
  return { link, secret: link.split('#')[1]! };
}

async function linkBy(admin: TestBrowser, name: string): Promise<string> {
  const made = await admin.ok('POST', `/api/v1/users/${name}/password-resets`, {});
  return made.link.split('#')[1];
}

const look = (people: TestPeople, reset: string) =>
  people.browser().call('POST', '/auth/password-resets/look', { reset });
const accept = (people: TestPeople, reset: string, password = newPassword, browser = people.browser()) =>
  browser.call('POST', '/auth/password-resets/accept', { reset, password });

test('a link sets a password once, of any number that use it at once', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const { link, secret } = await linkFor(people, 'ada');
  assert.match(link, /^http:\/\/localhost:7717\/reset#swp_[0-9A-Za-z]{36}$/);
  assert.equal((await look(people, secret)).body.name, 'ada');
  const chosen = Array.from({ length: 20 }, (_, index) => `${newPassword} no ${index}`);
  const answers = await Promise.all(
    chosen.map((password, index) =>
      accept(people, secret, password, people.browser(`192.0.2.${index + 10}`)),
    ),
  );
  const statuses = answers.map(({ status }) => status);
  assert.deepEqual([...statuses].sort(), [200, ...Array<number>(19).fill(401)]);
  const winner = answers[statuses.indexOf(200)]!;
  assert.equal(winner.body.state, 'signed-in');
  assert.match(winner.headers.get('set-cookie') ?? '', /^sealwright=swb_/);
  const won = chosen[statuses.indexOf(200)]!;
  assert.equal((await people.browser('192.0.2.99').password('ada', won)).body.state, 'signed-in');
  assert.equal((await people.browser('192.0.2.98').password('ada')).status, 401, 'the old one is over');
  assert.equal((await look(people, secret)).status, 401);
});

test('what is used, expired, replaced by a newer one or made up is refused alike', async (t) => {
  const people = await openTestPeople(t);
  for (const name of ['used', 'late', 'twice', 'gone', 'stopped', 'moved']) await people.user(name);
  const [used, late] = [
    await linkFor(people, 'used'),
    await linkFor(people, 'late', { expiresInSeconds: 60 }),
  ];
  assert.equal((await accept(people, used.secret)).status, 200);
  people.pass(60_001);
  const [older, newer] = [await linkFor(people, 'twice'), await linkFor(people, 'twice')];
  const [gone, stopped] = [await linkFor(people, 'gone'), await linkFor(people, 'stopped')];
  await people.test.control.users.remove(owner, 'gone');
  await people.test.control.users.disable(owner, 'stopped');
  const moved = await linkFor(people, 'moved');
  const browser = await people.signedIn('moved');
  await browser.ok('PUT', '/api/v1/account/password', { current: goodPassword, password: 'my own new one' });
  const told = new Set<string>();
  for (const secret of [
    ...[used, late, older, gone, stopped, moved].map((one) => one.secret),
    ...[`swp_${'0'.repeat(36)}`, older.secret.replace('swp_', 'swi_'), 'x'],
  ])
    for (const { status, body } of [await look(people, secret), await accept(people, secret)])
      told.add(`${status} ${body.code} ${body.detail}`);
  assert.equal(told.size, 1, [...told].join('; '));
  assert.match([...told][0]!, /^401 auth\.invalid/);
  assert.equal((await accept(people, newer.secret)).status, 200);
});

test('of links that are made at once, one is left', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const made = await Promise.all(Array.from({ length: 8 }, () => linkFor(people, 'ada')));
  const seen = await Promise.all(made.map(async ({ secret }) => (await look(people, secret)).status));
  assert.deepEqual(seen.sort(), [200, ...Array<number>(7).fill(401)]);
});

test('a link is for its own user: nobody else’s password changes, and nobody else is signed in', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  await people.user('eve');
  const { secret } = await linkFor(people, 'eve');
  const ada = await people.signedIn('ada');
  const answer = await accept(people, secret, newPassword, ada);
  assert.equal(answer.body.user, 'eve');
  assert.equal((await people.browser().password('ada')).body.state, 'signed-in');
  assert.equal((await people.browser().password('eve', newPassword)).body.state, 'signed-in');
  const other = await people.browser().call('POST', '/auth/password-resets/accept', {
    ...{ reset: (await linkFor(people, 'eve')).secret, password: newPassword, name: 'ada' },
  });
  assert.equal(other.status, 400, 'a body that names somebody is none');
});

test('second factors stay, and are asked for before anybody is signed in', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('ada');
  await people.passkeyUser('grace');
  await people.user('op', 'operator');
  const answers = [];
  for (const name of ['ada', 'grace', 'op']) {
    const { secret } = await linkFor(people, name);
    const browser = people.browser();
    const { body, headers } = await accept(people, secret, newPassword, browser);
    assert.equal(headers.get('set-cookie'), null);
    assert.equal((await browser.call('GET', '/api/v1/account')).status, 401);
    answers.push([body.state, body.next, ...body.factors]);
  }
  assert.deepEqual(answers, [
    ['pending', 'second-factor', 'totp'],
    ['pending', 'second-factor', 'passkey'],
    ['pending', 'enroll', 'totp', 'passkey'],
  ]);
  const browser = people.browser();
  const again = await browser.password('ada', newPassword);
  const { continuation } = again.body;
  await browser.ok('POST', '/auth/totp', { continuation, code: people.code() });
  assert.equal((await browser.ok('GET', '/api/v1/account')).totp, true);
});

test('all sign-ins end with the old password, and what was begun with it', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('ada');
  await people.user('eve');
  const [one, two, eve] = [
    await people.signedIn('ada'),
    await people.browser('192.0.2.7'),
    await people.signedIn('eve'),
  ];
  people.pass(60_000);
  const begun = await two.password('ada');
  assert.equal(begun.body.next, 'second-factor');
  const { secret } = await linkFor(people, 'ada');
  assert.equal((await one.call('GET', '/api/v1/account')).status, 200, 'a link alone ends nothing');
  assert.equal((await accept(people, secret)).body.next, 'second-factor');
  assert.equal((await one.call('GET', '/api/v1/account')).status, 401);
  assert.equal((await eve.call('GET', '/api/v1/account')).status, 200);
  const { continuation } = begun.body;
  const late = await two.call('POST', '/auth/totp', { continuation, code: people.code() });
  assert.equal(late.status, 401, 'who proved the old password goes no further');
  const now = await two.password('ada', newPassword);
  const proved = await two.call('POST', '/auth/totp', {
    continuation: now.body.continuation,
    code: people.code(),
  });
  assert.equal(proved.body.state, 'signed-in');
});

test('whoever proved the old password a moment before it changed is not signed in', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const { signIns } = people.test.directory;
  const { users } = people.test.store.identity;
  const open = signIns.openBrowser.bind(signIns);
  const changing = t.mock.method(signIns, 'openBrowser', async (signIn: Parameters<typeof open>[0]) => {
    await users.rehash('ada', (await users.get('ada'))!.passwordHash!, 'another');
    await signIns.endAllOf('user:ada', 'password changed', null);
    return await open(signIn);
  });
  const late = people.browser();
  assert.equal((await late.password('ada')).status, 401);
  assert.equal(changing.mock.callCount(), 1);
  assert.equal(late.cookie, null);
  const { records } = await people.test.store.identity.signIns.list(
    { actor: 'user:ada' },
    { after: null, limit: 10 },
    people.test.clock.now(),
  );
  assert.deepEqual(records, []);
});

test('whoever proved a password enrolls nothing once it is another', async (t) => {
  const people = await openTestPeople(t);
  await people.user('op', 'operator');
  const thief = people.browser('192.0.2.66');
  const { continuation } = (await thief.password('op')).body;
  await thief.ok('POST', '/auth/enrollment/totp', { continuation });
  await accept(people, (await linkFor(people, 'op')).secret);
  assert.equal((await thief.call('POST', '/auth/enrollment/totp', { continuation })).status, 401);
});

test('a password that nobody should have is refused with the reason, and the link still works', async (t) => {
  const people = await openTestPeople(t, { signIn: { passwordWords: ['acme'] } });
  await people.user('countess');
  const { secret } = await linkFor(people, 'countess');
  for (const password of [
    'short',
    'password',
    'the countess 1815',
    'Sealwright1!',
    'acme2026!',
    'localhost1',
  ]) {
    const { status, body } = await accept(people, secret, password);
    assert.deepEqual([status, body.errors?.[0]?.path], [400, '/password'], password);
  }
  assert.equal((await accept(people, secret)).status, 200);
});

test('only whoever administers, freshly proved, makes links, and for nobody whose role holds more', async (t) => {
  const people = await openTestPeople(t);
  const { roles } = people.test.store.identity;
  const desk = ['identity:read', 'identity:write', 'run:read'] as const;
  await roles.put({ name: 'desk', description: null, scopes: desk, reach: 'all', createdAt: 1 }, null);
  const small = { name: 'reader', description: null, scopes: ['run:read'] as const, reach: 'all' as const };
  await roles.put({ ...small, createdAt: 1 }, null);
  await people.totpUser('helper', 'desk');
  await people.totpUser('root', 'admin');
  await people.user('ada');
  await people.user('small', 'reader');
  const [helper, ada] = [await people.signedIn('helper'), await people.signedIn('ada')];
  const ask = async (browser: TestBrowser, name: string, body: unknown = {}) =>
    (await browser.call('POST', `/api/v1/users/${name}/password-resets`, body)).status;
  assert.equal(await ask(people.browser(), 'small'), 401);
  assert.equal(await ask(ada, 'small'), 403);
  assert.equal(await ask(ada, 'ada'), 403);
  assert.equal(await ask(helper, 'root'), 403);
  assert.equal(
    await ask(helper, 'helper'),
    409,
    'who asks for one’s own current password is not gone around',
  );
  assert.equal(await ask(helper, 'nobody-there'), 404);
  for (const expiresInSeconds of [0, 59, 24 * 3600 + 1, 1.5])
    assert.equal(await ask(helper, 'small', { expiresInSeconds }), 400);
  assert.equal(await ask(helper, 'small', { password: newPassword }), 400, 'nobody chooses for others');
  assert.equal(await ask(helper, 'small', { expiresInSeconds: 24 * 3600 }), 201);
  people.pass(10 * 60_000 + 1);
  const late = await helper.call('POST', '/api/v1/users/small/password-resets', {});
  assert.deepEqual([late.status, late.body.code], [401, 'auth.step-up']);
});

test('a link is worth nothing once its maker may make it no more, or its user has a role that holds more', async (t) => {
  const people = await openTestPeople(t);
  const { control } = people.test;
  const { roles } = people.test.store.identity;
  const desk = ['identity:read', 'identity:write', 'run:read'] as const;
  await roles.put({ name: 'desk', description: null, scopes: desk, reach: 'all', createdAt: 1 }, null);
  const small = { name: 'reader', description: null, scopes: ['run:read'] as const, reach: 'all' as const };
  await roles.put({ ...small, createdAt: 1 }, null);
  await people.totpUser('root', 'admin');
  for (const name of ['demoted', 'disabled', 'removed', 'stays']) await people.totpUser(name, 'desk');
  const change = async (name: string, to: object) => {
    const { version } = await control.users.get(owner, name);
    await control.users.update(owner, name, to, version);
  };
  const links = new Map<string, string>();
  for (const name of ['demoted', 'disabled', 'removed', 'stays']) {
    await people.user(`of-${name}`, 'reader');
    links.set(name, await linkBy(await people.signedIn(name), `of-${name}`));
    people.pass(60_000);
  }
  await change('demoted', { role: 'reader' });
  await control.users.disable(owner, 'disabled');
  await control.users.remove(owner, 'removed');
  for (const name of ['demoted', 'disabled', 'removed'])
    assert.equal((await accept(people, links.get(name)!)).status, 401, name);
  const stays = await people.signedIn('stays');
  for (const [name, to] of [
    ['risen', { role: 'admin' }],
    ['eligible', { eligibleRoles: ['admin'] }],
  ] as const) {
    await people.user(name, 'reader');
    const secret = await linkBy(stays, name);
    await change(name, to);
    assert.equal((await accept(people, secret)).status, 401, name);
  }
  assert.equal((await accept(people, links.get('stays')!)).status, 200);
});

test('whoever is kept to egress makes no way to be somebody who is not', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const kept = callerOf({ ...localOwner, egress: new Set(['github']) });
  await assert.rejects(people.test.control.passwordResets.create(kept, 'ada', {}), { code: 'access.denied' });
  assert.equal((await look(people, (await linkFor(people, 'ada')).secret)).status, 200);
});

test('whoever has no password here gets none, and a disabled user no link', async (t) => {
  const people = await openTestPeople(t);
  await people.user('sso');
  await people.test.store.identity.users.update('sso', { passwordHash: null }, null);
  await people.user('off');
  await people.test.control.users.disable(owner, 'off');
  for (const name of ['sso', 'off'])
    await assert.rejects(linkFor(people, name), { code: 'state.conflict' }, name);
});

test('where people have to come through their provider, no password is reset', async (t) => {
  const people = await openTestPeople(t, { signIn: { localSignIn: false } });
  await people.user('ada');
  await assert.rejects(linkFor(people, 'ada'), { code: 'access.denied' });
  for (const path of ['look', 'accept']) {
    const given = { reset: `swp_${'0'.repeat(36)}`, ...(path === 'accept' ? { password: newPassword } : {}) };
    const { status, body } = await people.browser().call('POST', `/auth/password-resets/${path}`, given);
    assert.deepEqual([status, body.code], [403, 'access.denied'], path);
  }
});

test('a role that is kept to networks takes a new password from there alone, and the link is not used up', async (t) => {
  const mayComeFrom = (_: string, address: string | null) => address === '198.51.100.7';
  const people = await openTestPeople(t, { signIn: { mayComeFrom } });
  await people.user('ada');
  const { secret } = await linkFor(people, 'ada');
  assert.equal((await accept(people, secret)).status, 403);
  assert.equal((await accept(people, secret, newPassword, people.browser('198.51.100.7'))).status, 200);
});

test('nothing changes from pages of others', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const { secret } = await linkFor(people, 'ada');
  for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }]) {
    const given = { reset: secret, password: newPassword };
    const { status } = await people.browser().call('POST', '/auth/password-resets/accept', given, headers);
    assert.equal(status, 403);
  }
  const inAddress = await people.browser().call('GET', `/reset?token=${secret}`);
  assert.equal(inAddress.status, 400);
  assert.equal((await accept(people, secret)).status, 200);
});

test('who made a link, that it was used and from where is on the record, without its secret or the password', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('root', 'admin');
  await people.user('ada');
  const root = await people.signedIn('root', '198.51.100.1');
  const secret = await linkBy(root, 'ada');
  await look(people, `swp_${'0'.repeat(36)}`);
  await accept(people, secret, newPassword, people.browser('198.51.100.2'));
  await accept(people, secret, newPassword, people.browser('198.51.100.3'));
  const [made] = await people.events('user.reset-password');
  assert.deepEqual(
    [made?.actor.id, made?.resource.id, made?.request?.address, made?.data],
    ['user:root', 'ada', '198.51.100.1', { expiresInSeconds: 3600 }],
  );
  const used = await people.events('sign-in.password-reset');
  const by = used.filter(({ actor }) => actor.id === 'user:ada');
  assert.deepEqual(
    by.map(({ outcome, request, data }) => [outcome, request?.address, data?.madeBy]),
    [
      ['allowed', '198.51.100.2', 'user:root'],
      ['succeeded', '198.51.100.2', 'user:root'],
    ],
  );
  const denied = used.filter(({ outcome }) => outcome === 'denied');
  assert(denied.some(({ request }) => request?.address === '198.51.100.3'));
  const log = await readFile(segmentOf(join(people.test.folder, 'audit')), 'utf8');
  for (const kept of [secret, newPassword, goodPassword, 'argon2']) assert(!log.includes(kept), kept);
});

test('a reset that cannot be recorded does not happen, and no link is made that is not on record', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const { secret } = await linkFor(people, 'ada');
  people.test.auditFails = true;
  assert.equal((await accept(people, secret)).status, 503);
  await assert.rejects(linkFor(people, 'ada'), { code: 'audit.unavailable' });
  people.test.auditFails = false;
  assert.equal((await people.browser().password('ada')).body.state, 'signed-in');
  assert.equal((await accept(people, secret)).status, 200, 'the link is not used up');
});
