import assert from 'node:assert/strict';
import { test } from 'node:test';
import { totpCode } from '../../src/identity/totp.ts';
import { testSealing } from '../support/test-control.ts';
import { goodPassword, openTestPeople } from '../support/test-people.ts';

/** People come in by what they prove, and by nothing else. */

const wrong = 'a wrong password';

test('a name and a password sign in whom no second factor is due from, with a cookie for pages alone', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const browser = people.browser();
  const answer = await browser.password(' Ada ');
  assert.deepEqual(answer.body, { state: 'signed-in', user: 'ada' });
  assert.match(
    answer.headers.get('set-cookie') ?? '',
    /^sealwright=swb_[0-9A-Za-z]{36}; Path=\/; HttpOnly; SameSite=Strict$/,
  );
  const account = await browser.ok('GET', '/api/v1/account');
  assert.deepEqual([account.name, account.role, account.signIn.mfa], ['ada', 'developer', false]);
  await browser.ok('POST', '/auth/sign-out');
  assert.equal(browser.cookie, null);
});

test('over TLS the cookie is kept to this host', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const headers = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'localhost:7717' };
  const given = { name: 'ada', password: goodPassword };
  const answer = await people.browser().call('POST', '/auth/password', given, headers);
  assert.match(answer.headers.get('set-cookie') ?? '', /^__Host-sealwright=swb_.*; Secure$/);
});

test('who is not there, who is disabled and who has no password are refused like a wrong password', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  await people.user('gone');
  await people.user('elsewhere');
  const { users } = people.test.store.identity;
  await users.update('gone', { phase: 'disabled' }, null);
  await users.update('elsewhere', { passwordHash: null }, null);
  const answers = new Set<string>();
  for (const [name, password] of [
    ['ada', wrong],
    ['gone', goodPassword],
    ['elsewhere', goodPassword],
    ['nobody', goodPassword],
    ['no such name!', goodPassword],
    ['bootstrap', goodPassword],
  ] as const) {
    const { status, body, headers } = await people.browser().password(name, password);
    const { requestId, ...rest } = body;
    assert.match(requestId, /^req_/);
    answers.add(JSON.stringify([status, rest, headers.get('set-cookie')]));
  }
  assert.equal(answers.size, 1, [...answers].join('\n'));
  assert.match([...answers][0]!, /^\[401,.*auth\.invalid/);
});

test('five failures pause a name at an address, and nobody is locked out elsewhere', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  for (const name of ['ada', 'nobody']) {
    const attacker = people.browser('198.51.100.7');
    for (let count = 0; count < 5; count += 1)
      assert.equal((await attacker.password(name, wrong)).status, 401);
    const locked = await attacker.password(name, goodPassword);
    assert.deepEqual([locked.status, locked.body.code], [429, 'auth.locked'], name);
    assert(Number(locked.headers.get('retry-after')) <= 300);
  }
  assert.equal((await people.browser('198.51.100.8').password('ada')).body.state, 'signed-in');
  people.pass(300_000);
  assert.equal((await people.browser('198.51.100.7').password('ada')).body.state, 'signed-in');
  const lockouts = await people.events('sign-in.lockout');
  assert.deepEqual(
    lockouts.map(({ resource, request }) => [resource.id, request?.address]),
    [
      ['ada', '198.51.100.7'],
      [undefined, '198.51.100.7'],
    ],
  );
});

test('many guesses at once are no more than as many one after the other', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const guesses = Array.from({ length: 16 }, () => people.browser().password('ada', wrong));
  const statuses = (await Promise.all(guesses)).map(({ status }) => status);
  assert.equal(statuses.filter((status) => status === 401).length, 5, statuses.join(' '));
  assert(statuses.every((status) => status === 401 || status === 429));
});

test('a second factor that is enrolled is asked for, and nothing comes of the password alone', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('ada');
  const browser = people.browser();
  const { body, headers } = await browser.password('ada');
  assert.deepEqual([body.state, body.next, body.factors], ['pending', 'second-factor', ['totp']]);
  assert.equal(headers.get('set-cookie'), null);
  assert.equal((await browser.call('GET', '/api/v1/account')).status, 401);
  const { continuation } = body;
  for (const path of ['/auth/enrollment/totp', '/auth/enrollment/passkey/options'])
    assert.equal((await browser.call('POST', path, { continuation })).status, 401, path);
  const done = await browser.ok('POST', '/auth/totp', { continuation, code: people.code() });
  assert.deepEqual(done, { state: 'signed-in', user: 'ada' });
  assert.equal((await browser.ok('GET', '/api/v1/account')).signIn.mfa, true);
});

test('a code works once, also for another continuation, and a continuation signs in once', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('ada');
  const begin = async () => (await people.browser().password('ada')).body.continuation as string;
  const [first, second] = [await begin(), await begin()];
  const send = (continuation: string, code: string) =>
    people.browser().call('POST', '/auth/totp', { continuation, code });
  const code = people.code();
  const tries = await Promise.all(Array.from({ length: 4 }, () => send(first, code)));
  assert.deepEqual(tries.map(({ status }) => status).sort(), [200, 401, 401, 401]);
  assert.equal((await send(second, code)).status, 401, 'the code again');
  assert.equal((await send(first, people.code(1))).status, 401, 'the continuation again');
  assert.equal((await send(second, people.code(1))).status, 200, 'the next code');
  const third = await begin();
  assert.equal((await send(third, people.code())).status, 401, 'an earlier step');
});

test('a continuation takes five tries, and its time', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('ada');
  const begin = async () => (await people.browser().password('ada')).body.continuation as string;
  const send = (continuation: string, code: string) =>
    people.browser().call('POST', '/auth/totp', { continuation, code });
  const tried = await begin();
  const bad = people.code() === '000000' ? '000001' : '000000';
  for (let count = 0; count < 5; count += 1) assert.equal((await send(tried, bad)).status, 401);
  assert.equal((await send(tried, people.code())).status, 401, 'the sixth, though right');
  const late = await begin();
  people.pass(10 * 60_000 + 1);
  assert.equal((await send(late, people.code())).status, 401, 'too late');
  for (const forged of ['x', 'swc_'.padEnd(40, '0'), `${late}0`])
    assert.equal((await send(forged, people.code())).status, 401);
});

test('codes are not to be guessed from many addresses either', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('ada');
  const bad = people.code() === '000000' ? '000001' : '000000';
  const seen: number[] = [];
  for (let round = 0; round < 7; round += 1) {
    const browser = people.browser(`203.0.113.${round}`);
    const { continuation } = (await browser.password('ada')).body;
    for (let count = 0; count < 5; count += 1)
      seen.push((await browser.call('POST', '/auth/totp', { continuation, code: bad })).status);
  }
  assert.equal(seen.filter((status) => status === 401).length, 30, seen.join(' '));
  assert.equal(seen.filter((status) => status === 429).length, 5);
});

test('a recovery code stands in for the second factor, once', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('ada');
  const signedIn = await people.signedIn('ada');
  const { recoveryCodes } = await signedIn.ok('POST', '/api/v1/account/recovery-codes');
  assert.equal(new Set(recoveryCodes).size, 10);
  const begin = async () => (await people.browser().password('ada')).body;
  assert((await begin()).factors.includes('recovery-code'));
  const send = async (continuation: string, code: string) =>
    (await people.browser().call('POST', '/auth/recovery-code', { continuation, code })).status;
  const typed = recoveryCodes[0].toUpperCase().replaceAll('-', ' ');
  const continuations = await Promise.all([begin(), begin(), begin()]);
  const statuses = await Promise.all(continuations.map(({ continuation }) => send(continuation, typed)));
  assert.deepEqual(statuses.sort(), [200, 401, 401]);
  assert.equal(await send((await begin()).continuation, recoveryCodes[1]), 200);
  assert.equal((await signedIn.ok('GET', '/api/v1/account')).recoveryCodesLeft, 8);
});

test('a role that demands a second factor lets in nobody before one is enrolled', async (t) => {
  const people = await openTestPeople(t);
  await people.user('root', 'admin');
  const browser = people.browser();
  const { body } = await browser.password('root');
  assert.deepEqual([body.state, body.next, body.factors], ['pending', 'enroll', ['totp', 'passkey']]);
  const { continuation } = body;
  assert.equal((await browser.call('POST', '/auth/totp', { continuation, code: '123456' })).status, 401);
  const { secret, uri } = await browser.ok('POST', '/auth/enrollment/totp', { continuation });
  assert.match(uri, /^otpauth:\/\/totp\/Sealwright%20localhost.*root\?/);
  const code = totpCode(secret, people.test.clock.now());
  const done = await browser.ok('POST', '/auth/enrollment/totp/confirm', { continuation, code });
  assert.equal(done.state, 'signed-in');
  assert.equal(done.recoveryCodes.length, 10);
  assert.equal((await browser.ok('GET', '/api/v1/account')).signIn.mfa, true);
  const again = (await people.browser().password('root')).body;
  assert.equal(again.next, 'second-factor', 'it is asked for from now on');
});

test('whoever has the password cannot enroll beside what was enrolled meanwhile', async (t) => {
  const people = await openTestPeople(t);
  await people.user('root', 'admin');
  const attacker = people.browser('198.51.100.7');
  const { continuation } = (await attacker.password('root')).body;
  const totpSealed = testSealing.seal('totp root', 'JBSWY3DPEHPK3PXP');
  await people.test.store.identity.users.update('root', { totpSealed }, null);
  for (const path of ['/auth/enrollment/totp', '/auth/enrollment/passkey/options'])
    assert.equal((await attacker.call('POST', path, { continuation })).status, 401, path);
});

test('a passkey signs in without a name, as two factors, each challenge once and on our pages alone', async (t) => {
  const people = await openTestPeople(t);
  const authenticator = await people.passkeyUser('ada', 'admin');
  const begin = async () => await people.browser().ok('POST', '/auth/passkey/options');
  const send = async (answer: unknown) => {
    const browser = people.browser();
    const { status, body } = await browser.call('POST', '/auth/passkey/verify', { answer });
    return { status, body, browser };
  };
  const options = await begin();
  assert.equal(options.userVerification, 'required');
  assert.equal(options.allowCredentials, undefined, 'nobody learns who has which passkey');
  const answer = authenticator.prove(options);
  const { body, browser } = await send(answer);
  assert.deepEqual(body, { state: 'signed-in', user: 'ada' });
  assert.equal((await browser.ok('GET', '/api/v1/account')).signIn.mfa, true);
  assert.equal((await send(answer)).status, 401, 'the same answer again');
  for (const saying of [
    { origin: 'http://localhost:7718' },
    { origin: 'https://evil.example' },
    { domain: 'evil.example' },
    { verified: false },
    { challenge: 'bm90LW91cnM' },
    { userHandle: 'c29tZWJvZHk' },
    { counter: 1 },
  ])
    assert.equal(
      (await send(authenticator.prove(await begin(), saying))).status,
      401,
      JSON.stringify(saying),
    );
  const refusals = await people.events('sign-in.passkey');
  assert(
    refusals.some(({ decision }) => decision.rule === 'sign-in:passkey-copied'),
    'a copy is on record',
  );
  assert.equal((await send(authenticator.prove(await begin(), { counter: 50 }))).status, 200);
  const late = await begin();
  people.pass(5 * 60_000 + 1);
  assert.equal((await send(authenticator.prove(late))).status, 401, 'a challenge of long ago');
});

test('a passkey does not sign in a disabled user, nor for another purpose than its challenge was made for', async (t) => {
  const people = await openTestPeople(t);
  const authenticator = await people.passkeyUser('ada');
  const options = await people.browser().ok('POST', '/auth/passkey/options');
  const signedIn = people.browser();
  await signedIn.ok('POST', '/auth/passkey/verify', { answer: authenticator.prove(options) });
  const forSignIn = await people.browser().ok('POST', '/auth/passkey/options');
  const crossed = await signedIn.call('POST', '/auth/step-up', { answer: authenticator.prove(forSignIn) });
  assert.equal(crossed.status, 401);
  const forStepUp = await signedIn.ok('POST', '/auth/step-up/options');
  const other = await people
    .browser()
    .call('POST', '/auth/passkey/verify', { answer: authenticator.prove(forStepUp) });
  assert.equal(other.status, 401);
  await people.test.store.identity.users.update('ada', { phase: 'disabled' }, null);
  const again = await people.browser().ok('POST', '/auth/passkey/options');
  const answer = authenticator.prove(again);
  assert.equal((await people.browser().call('POST', '/auth/passkey/verify', { answer })).status, 401);
});

test('the cookie changes at every proof, so that one that was planted or taken before is worth nothing', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('ada');
  const browser = people.browser();
  browser.cookie = 'sealwright=swb_planted';
  const { continuation } = (await browser.password('ada')).body;
  assert.equal(browser.cookie, 'sealwright=swb_planted', 'nothing is given for one factor of two');
  await browser.ok('POST', '/auth/totp', { continuation, code: people.code() });
  const first = browser.cookie;
  assert.notEqual(first, 'sealwright=swb_planted');
  await browser.ok('POST', '/auth/step-up', { password: goodPassword, code: people.code(1) });
  assert.notEqual(browser.cookie, first);
  await browser.ok('GET', '/api/v1/account');
  const thief = people.browser();
  thief.cookie = first;
  assert.equal((await thief.call('GET', '/api/v1/account')).status, 401);
});

test('what is dangerous asks who had signed in long ago to prove it again, with all that is enrolled', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('ada');
  const browser = await people.signedIn('ada');
  people.pass(11 * 60_000);
  const change = { current: goodPassword, password: 'another good one' };
  const asked = await browser.call('PUT', '/api/v1/account/password', change);
  assert.deepEqual([asked.status, asked.body.code], [401, 'auth.step-up']);
  for (const [given, status] of [
    [{ password: goodPassword }, 400],
    [{ password: wrong, code: people.code() }, 401],
    [{ password: goodPassword, code: '000000' === people.code() ? '000001' : '000000' }, 401],
  ] as const)
    assert.equal((await browser.call('POST', '/auth/step-up', given)).status, status);
  const other = await people.signedIn('ada', '192.0.2.9');
  people.pass(60_000);
  await browser.ok('POST', '/auth/step-up', { password: goodPassword, code: people.code() });
  await browser.ok('PUT', '/api/v1/account/password', change);
  assert.equal((await other.call('GET', '/api/v1/account')).status, 401, 'all other sign-ins have ended');
  assert.equal((await people.browser().password('ada')).status, 401);
  assert.equal((await people.browser().password('ada', 'another good one')).body.state, 'pending');
});

test('sign-in changes nothing from pages of others', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  const given = { name: 'ada', password: goodPassword };
  for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }] as Record<
    string,
    string
  >[]) {
    const { status, headers: answered } = await people
      .browser()
      .call('POST', '/auth/password', given, headers);
    assert.equal(status, 403, JSON.stringify(headers));
    assert.equal(answered.get('set-cookie'), null);
  }
  assert.equal((await people.browser().call('POST', '/auth/password', given)).status, 200);
});

test('where people have to come through their provider, no password and no passkey is taken', async (t) => {
  const people = await openTestPeople(t, { signIn: { localSignIn: false } });
  await people.user('ada');
  assert.equal((await people.browser().password('ada')).status, 403);
  assert.equal((await people.browser().call('POST', '/auth/passkey/options')).status, 403);
  const methods = await people.browser().ok('GET', '/auth/methods');
  assert.deepEqual([methods.local, methods.passkeys], [false, null]);
});

test('a role that is kept to networks signs in from there alone', async (t) => {
  const mayComeFrom = (role: string, address: string | null) => role !== 'operator' || address === '10.0.0.1';
  const people = await openTestPeople(t, { signIn: { mayComeFrom, mfaRoles: [] } });
  await people.user('op', 'operator');
  assert.equal((await people.browser('192.0.2.1').password('op')).status, 403);
  assert.equal((await people.browser('10.0.0.1').password('op')).body.state, 'signed-in');
});

test('who signed in, how and from where is on the record, and nothing that was typed', async (t) => {
  const people = await openTestPeople(t);
  await people.totpUser('ada');
  await people.browser('192.0.2.5').password('ada', 'mistyped hunter2!');
  await people.browser('192.0.2.5').password('hunter2-in-the-wrong-field', wrong);
  const browser = await people.signedIn('ada', '192.0.2.5');
  await browser.ok('POST', '/auth/sign-out');
  const [opened] = await people.events('sign-in.open');
  assert.equal(opened?.actor.id, 'user:ada');
  assert.deepEqual(opened?.data?.methods, ['pwd', 'otp', 'mfa']);
  const { address, userAgent } = opened?.request ?? {};
  assert.deepEqual([address, userAgent], ['192.0.2.5', 'a browser of the tests']);
  const refusals = await people.events('sign-in.password');
  assert.deepEqual(refusals.map(({ decision, resource }) => [decision.rule, resource.id]).sort(), [
    ['sign-in:password', 'ada'],
    ['sign-in:unknown', undefined],
  ]);
  assert.equal((await people.events('account.sign-out')).length, 2);
  const all = JSON.stringify(await people.test.events());
  for (const secret of [goodPassword, 'hunter2', wrong, people.code(), 'swb_', 'swc_', '$argon2'])
    assert(!all.includes(secret), secret);
});

test('a sign-in that cannot be recorded does not happen', async (t) => {
  const people = await openTestPeople(t);
  await people.user('ada');
  people.test.auditFails = true;
  const browser = people.browser();
  assert.equal((await browser.password('ada')).status, 503);
  assert.equal(browser.cookie, null);
  const { signIns } = people.test.store.identity;
  const page = { after: null, limit: 10 };
  const { records } = await signIns.list({ actor: 'user:ada' }, page, people.test.clock.now());
  assert.equal(records.length, 0);
  people.test.auditFails = false;
  assert.equal((await browser.password('ada')).body.state, 'signed-in');
});
