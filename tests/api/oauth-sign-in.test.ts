import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { authorizeQuery, locationOf, OAuthSite, redirectUri } from '../support/oauth-site.ts';
import { testOrigin } from '../support/test-control.ts';

/** How programs of people get tokens: authorization code, refresh, and the end of both. */

const cli = { client_id: 'sealwright-cli' };

async function site(t: Parameters<typeof OAuthSite.open>[0]): Promise<OAuthSite> {
  const opened = await OAuthSite.open(t);
  await opened.user('ann');
  return opened;
}

test('a person whose browser is signed in gets a program in, which is then that person', async (t) => {
  const ann = await site(t);
  const { access_token: token, token_type, expires_in, refresh_token, scope } = await ann.signedIn('ann');
  assert.deepEqual([token_type, expires_in, scope], ['Bearer', 300, undefined]);
  assert.match(refresh_token, /^swr_/);
  const who = (await ann.call('GET', '/api/v1/whoami', token)).body;
  assert.deepEqual([who.actor, who.role, who.reach], ['user:ann', 'developer', 'team']);
  assert.notEqual(who.signIn, null);
  assert.equal((await ann.call('GET', '/api/v1/sessions', token)).status, 200);
  const [event] = await ann.recorded('sign-in.program');
  assert.equal(event?.actor.id, 'user:ann');
  assert.equal(event?.request?.address, '127.0.0.1');
});

test('what was asked for with scopes is a machine that may do those alone', async (t) => {
  const ann = await site(t);
  const { access_token: token, scope } = await ann.signedIn('ann', 'run:read audit:read');
  assert.equal(scope, 'run:read audit:read');
  const who = (await ann.call('GET', '/api/v1/whoami', token)).body;
  assert.deepEqual([who.scopes, who.signIn], [['run:read'], null]);
  assert.equal((await ann.call('GET', '/api/v1/runs', token)).status, 200);
  assert.equal((await ann.call('GET', '/api/v1/sessions', token)).status, 403);
});

test('a program gets nothing before the person has said so, and the answer goes back with its state (RFC 9207)', async (t) => {
  const ann = await site(t);
  const query = authorizeQuery('v'.repeat(43));
  const asked = await ann.authorize(query);
  assert.deepEqual([asked.status, asked.headers.get('cache-control')], [302, 'no-store']);
  assert.equal(locationOf(asked).pathname, '/authorize');
  assert.deepEqual(Object.fromEntries(locationOf(asked).searchParams), query);
  const cookie = await ann.browser('ann');
  const answer = await ann.answer(query, cookie);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const { origin, pathname, searchParams } = new URL(answer.body.location);
  assert.equal(origin + pathname, redirectUri);
  assert.deepEqual([...searchParams.keys()].sort(), ['code', 'iss', 'state']);
  assert.deepEqual([searchParams.get('state'), searchParams.get('iss')], ['the-state', testOrigin]);
  const refused = new URL((await ann.answer(query, cookie, 'deny')).body.location);
  assert.deepEqual(
    [refused.searchParams.get('error'), refused.searchParams.get('code')],
    ['access_denied', null],
  );
  const events = await ann.recorded('account.program.approve');
  assert.deepEqual(
    events.flatMap(({ data, phase }) => (phase === 'attempt' ? [data?.decision] : [])),
    ['approve', 'deny'],
  );
});

test('nobody is sent to an address that is not this machine, whatever it looks like', async (t) => {
  const ann = await site(t);
  const cookie = await ann.browser('ann');
  const query = authorizeQuery('v'.repeat(43));
  assert.equal((await ann.authorize(query)).status, 302);
  assert.equal((await ann.answer(query, cookie)).status, 200);
  const addresses = [
    'http://localhost:49152/callback',
    'https://127.0.0.1:49152/callback',
    'http://127.0.0.1/callback',
    'http://127.0.0.1:0/callback',
    'http://127.0.0.1:65536/callback',
    'http://127.0.0.1:049152/callback',
    'http://127.0.0.1:49152/callback/',
    'http://127.0.0.1:49152/callback?x=1',
    'http://127.0.0.1:49152/callback#x',
    'http://127.0.0.1:49152/other',
    'http://127.0.0.1:49152@evil.example/callback',
    'http://127.0.0.1.evil.example:49152/callback',
    'http://evil.example:49152/callback',
    'http://2130706433:49152/callback',
    'http://127.1:49152/callback',
    'http://[::ffff:127.0.0.1]:49152/callback',
    'javascript:alert(1)',
    '//evil.example/callback',
    'http://127.0.0.1:49152/callback\r\nset-cookie: a=b',
  ];
  for (const address of addresses) {
    const { status, headers } = await ann.authorize({ ...query, redirect_uri: address });
    assert.equal(status, 400, address);
    assert.equal((await ann.answer({ ...query, redirect_uri: address }, cookie)).status, 400, address);
    assert.equal(headers.get('location'), null, address);
  }
  for (const client of ['', 'other', 'agent:a']) {
    assert.notEqual((await ann.authorize({ ...query, client_id: client })).status, 302, client);
    assert.equal((await ann.answer({ ...query, client_id: client }, cookie)).status, 400, client);
  }
  const six = { ...query, redirect_uri: 'http://[::1]:49152/callback' };
  assert.equal((await ann.answer(six, cookie)).status, 200);
});

test('a request without S256 or with another form goes back as an error, and twice the same is none', async (t) => {
  const ann = await site(t);
  const cookie = await ann.browser('ann');
  const query = authorizeQuery('v'.repeat(43));
  const errorOf = async (change: Record<string, string>) => {
    const error = locationOf(await ann.authorize({ ...query, ...change })).searchParams.get('error');
    const { status } = await ann.answer({ ...query, ...change }, cookie);
    assert.equal(status, error === null ? 200 : 400, JSON.stringify(change));
    return error;
  };
  assert.equal(await errorOf({}), null);
  assert.equal(await errorOf({ code_challenge_method: 'plain' }), 'invalid_request');
  assert.equal(await errorOf({ code_challenge_method: '' }), 'invalid_request');
  assert.equal(await errorOf({ code_challenge: 'short' }), 'invalid_request');
  assert.equal(await errorOf({ code_challenge: '' }), 'invalid_request');
  assert.equal(await errorOf({ response_type: 'token' }), 'unsupported_response_type');
  assert.equal(await errorOf({ response_mode: 'fragment' }), 'invalid_request');
  assert.equal(await errorOf({ scope: 'run:read *' }), 'invalid_scope');
  assert.equal(await errorOf({ scope: 'everything' }), 'invalid_scope');
  assert.equal(await errorOf({ max_age: '-1' }), 'invalid_request');
  const twice = `${new URLSearchParams(query)}&redirect_uri=${encodeURIComponent(redirectUri)}`;
  assert.equal((await ann.authorize(twice)).status, 400);
  assert.equal((await ann.answer(twice, cookie)).status, 400);
});

test('only a person in a browser lets a program in, and one who proved it as late as the program asks', async (t) => {
  const ann = await site(t);
  const query = authorizeQuery('v'.repeat(43));
  assert.equal((await ann.answer(query, null)).status, 401);
  assert.equal((await ann.answer(query, `sealwright=swb_${'0'.repeat(36)}`)).status, 401);
  const hourAgo = await ann.browser('ann', Date.now() - 3_600_000);
  const stale = await ann.answer({ ...query, max_age: '300' }, hourAgo);
  assert.deepEqual([stale.status, stale.body.code], [401, 'auth.step-up']);
  assert.equal((await ann.answer(query, hourAgo)).status, 200);
  const bearer = (await ann.signedIn('ann')).access_token;
  const body = { query: new URLSearchParams(query).toString(), decision: 'approve' };
  const program = await ann.call('POST', '/api/v1/account/programs/approve', bearer, body);
  assert.equal(program.status, 403, 'a program does not let in another one');
});

test('a code works once, for the program that asked for it', async (t) => {
  const ann = await site(t);
  const redeem = (change: Record<string, string>) =>
    ann.post('/oauth2/token', {
      ...{ grant_type: 'authorization_code', ...cli, redirect_uri: redirectUri },
      ...change,
    });
  const wrong: ((verifier: string) => Record<string, string>)[] = [
    () => ({ code_verifier: randomBytes(32).toString('base64url') }),
    (verifier) => ({ code_verifier: verifier, redirect_uri: 'http://127.0.0.1:49153/callback' }),
    (verifier) => ({ code_verifier: `${verifier}x` }),
    () => ({ code_verifier: 'short' }),
  ];
  for (const change of wrong) {
    const { code, verifier } = await ann.code('ann');
    const { status, body } = await redeem({ code, ...change(verifier) });
    assert.deepEqual([status, body.error], [400, 'invalid_grant']);
    assert.equal((await redeem({ code, code_verifier: verifier })).body.error, 'invalid_grant');
  }
  const { code, verifier } = await ann.code('ann');
  const first = await redeem({ code, code_verifier: verifier });
  assert.equal(first.status, 200);
  assert.equal((await ann.call('GET', '/api/v1/runs', first.body.access_token)).status, 200);
  assert.equal((await redeem({ code, code_verifier: verifier })).body.error, 'invalid_grant');
  assert.equal((await ann.call('GET', '/api/v1/runs', first.body.access_token)).status, 401);
  assert.equal((await ann.recorded('sign-in.reuse'))[0]?.decision.rule, 'authorization-code:reused');
});

test('a refresh gives other tokens, and the one that was used never works again', async (t) => {
  const ann = await site(t);
  const { refresh_token: first } = await ann.signedIn('ann');
  const refresh = (token: string, more = {}) =>
    ann.post('/oauth2/token', { grant_type: 'refresh_token', ...cli, refresh_token: token, ...more });
  const second = await refresh(first);
  assert.equal(second.status, 200);
  const third = await refresh(second.body.refresh_token);
  const token = third.body.access_token;
  assert.equal((await ann.call('GET', '/api/v1/runs', token)).status, 200);
  const again = await refresh(first);
  assert.deepEqual([again.status, again.body.error], [400, 'invalid_grant']);
  assert.equal((await ann.call('GET', '/api/v1/runs', token)).status, 401, 'the family is dead');
  assert.equal((await refresh(third.body.refresh_token)).status, 400);
  const [event] = await ann.recorded('sign-in.reuse');
  assert.deepEqual(
    [event?.actor.id, event?.outcome, event?.decision.rule],
    ['user:ann', 'denied', 'refresh-token:reused'],
  );
});

test('a refresh may narrow and never widens, and what it may not ask uses nothing up', async (t) => {
  const ann = await site(t);
  const { refresh_token: token } = await ann.signedIn('ann', 'run:read run:write');
  const refresh = (refresh_token: string, scope: string) =>
    ann.post('/oauth2/token', { grant_type: 'refresh_token', ...cli, refresh_token, scope });
  assert.equal((await refresh(token, 'run:read session:read')).body.error, 'invalid_scope');
  const narrow = await refresh(token, 'run:read');
  assert.equal(narrow.body.scope, 'run:read');
  const who = (await ann.call('GET', '/api/v1/whoami', narrow.body.access_token)).body;
  assert.deepEqual(who.scopes, ['run:read']);
  const wide = await refresh(narrow.body.refresh_token, 'run:read run:write');
  assert.equal(wide.status, 200, 'what was granted stays granted');
});

test('a refresh token is worth nothing to another client, or once its person is disabled', async (t) => {
  const ann = await site(t);
  const { refresh_token: token } = await ann.signedIn('ann');
  for (const client of ['agent:a', 'sealwright', ''])
    assert.notEqual(
      (
        await ann.post('/oauth2/token', {
          grant_type: 'refresh_token',
          client_id: client,
          refresh_token: token,
        })
      ).status,
      200,
    );
  await ann.test.store.identity.users.update('ann', { phase: 'disabled' }, null);
  await ann.test.directory.changes.look();
  const { body } = await ann.post('/oauth2/token', {
    grant_type: 'refresh_token',
    ...cli,
    refresh_token: token,
  });
  assert.equal(body.error, 'invalid_grant');
});

test('a role that is kept to a network gets no tokens elsewhere, nor does it refresh those it has', async (t) => {
  let isInside = true;
  const mayComeFrom = (role: string) => isInside || role !== 'admin';
  const ann = await OAuthSite.open(t, { signIn: { mayComeFrom } });
  await ann.user('ann', 'admin');
  await ann.user('bob');
  const [admin, developer] = [await ann.signedIn('ann'), await ann.signedIn('bob')];
  const { code, verifier } = await ann.code('ann');
  isInside = false;
  const refresh = (refresh_token: string) =>
    ann.post('/oauth2/token', { grant_type: 'refresh_token', ...cli, refresh_token });
  assert.equal((await refresh(admin.refresh_token)).body.error, 'access_denied');
  assert.equal((await refresh(developer.refresh_token)).status, 200);
  const redeemed = await ann.post('/oauth2/token', {
    ...{ grant_type: 'authorization_code', ...cli, redirect_uri: redirectUri },
    ...{ code, code_verifier: verifier },
  });
  assert.equal(redeemed.body.error, 'access_denied');
  const [event] = await ann.recorded('token.issue');
  assert.deepEqual([event?.outcome, event?.decision.rule], ['denied', 'network:sign-in']);
  isInside = true;
  assert.equal((await refresh(admin.refresh_token)).status, 200, 'it was not used up');
});

test('nothing is handed out that is not on record, and a refresh token is not used up for it', async (t) => {
  const ann = await site(t);
  const { refresh_token: token } = await ann.signedIn('ann');
  const { code, verifier } = await ann.code('ann');
  ann.test.auditFails = true;
  const refresh = () =>
    ann.post('/oauth2/token', { grant_type: 'refresh_token', ...cli, refresh_token: token });
  const refused = await refresh();
  assert.deepEqual([refused.status, refused.body.error], [503, 'temporarily_unavailable']);
  const redeemed = await ann.post('/oauth2/token', {
    ...{ grant_type: 'authorization_code', ...cli, redirect_uri: redirectUri },
    ...{ code, code_verifier: verifier },
  });
  assert.equal(redeemed.status, 503);
  ann.test.auditFails = false;
  assert.equal((await refresh()).status, 200);
});

test('whoever holds a token can end it, and with it everything that its sign-in gave', async (t) => {
  const ann = await site(t);
  const revoke = async (token: string) => {
    const { status, body } = await ann.post('/oauth2/revoke', { token });
    assert.deepEqual([status, body], [200, {}]);
  };
  for (const which of ['access_token', 'refresh_token'] as const) {
    const tokens = await ann.signedIn('ann');
    const other = await ann.signedIn('ann');
    assert.equal((await ann.call('GET', '/api/v1/runs', tokens.access_token)).status, 200);
    await revoke(tokens[which]);
    assert.equal((await ann.call('GET', '/api/v1/runs', tokens.access_token)).status, 401);
    const { body } = await ann.post('/oauth2/token', {
      ...{ grant_type: 'refresh_token', ...cli, refresh_token: tokens.refresh_token },
    });
    assert.equal(body.error, 'invalid_grant');
    assert.equal((await ann.call('GET', '/api/v1/runs', other.access_token)).status, 200);
  }
  for (const nothing of ['x', 'swr_'.padEnd(40, '0'), 'sw_'.padEnd(39, '0'), 'e30.e30.e30'])
    await revoke(nothing);
  assert.equal((await ann.post('/oauth2/revoke', {})).status, 400);
  assert.equal((await ann.recorded('token.revoke'))[0]?.actor.id, 'user:ann');
});

test('no code, token or secret stands in the log or on record', async (t) => {
  const ann = await site(t);
  const { code, verifier } = await ann.code('ann');
  const { body } = await ann.post('/oauth2/token', {
    ...{ grant_type: 'authorization_code', ...cli, redirect_uri: redirectUri },
    ...{ code, code_verifier: verifier },
  });
  await ann.post('/oauth2/token', { grant_type: 'refresh_token', ...cli, refresh_token: body.refresh_token });
  await ann.recorded('token.refresh');
  const text = JSON.stringify(await ann.test.events()) + ann.log.join('');
  for (const secret of [code, verifier, body.access_token, body.refresh_token])
    assert(!text.includes(secret), secret.slice(0, 8));
});
