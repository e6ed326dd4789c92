import assert from 'node:assert/strict';
import { test } from 'node:test';
import { authorizeQuery, OAuthSite, redirectUri } from '../support/oauth-site.ts';

/** What a thief of a cookie or a token can make of it: never more than it was, nor anything that outlives its end. */

const cli = { client_id: 'sealwright-cli' };
const hourAgo = () => Date.now() - 3_600_000;
/** An act that asks for a proof of a moment ago. */
const dangerous = { name: 't', scopes: ['run:read'], expiresInSeconds: 3600 };
const all = 'identity:read identity:write run:read';
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';

async function site(t: Parameters<typeof OAuthSite.open>[0]): Promise<OAuthSite> {
  const opened = await OAuthSite.open(t);
  await opened.user('ann', 'admin');
  return opened;
}

/** A program that a browser let in, whose person proved who it is at some time. */
async function program(at: OAuthSite, proved: number, scope?: string) {
  const verifier = 'v'.repeat(43);
  const query = { ...authorizeQuery(verifier), ...(scope === undefined ? {} : { scope }) };
  const { status, body } = await at.answer(query, await at.browser('ann', proved));
  assert.equal(status, 200, JSON.stringify(body));
  const code = new URL(body.location).searchParams.get('code') ?? '';
  return (await redeem(at, code, verifier)).body;
}

const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';

/** A device that waits for a person. */
async function device(at: OAuthSite) {
  const { body } = await at.post('/oauth2/device_authorization', cli);
  const { device_code, user_code } = body;
  return {
    answer: { userCode: user_code, decision: 'approve' },
    poll: () => at.post('/oauth2/token', { grant_type: deviceGrant, ...cli, device_code }),
  };
}

async function redeem(at: OAuthSite, code: string, verifier: string) {
  return await at.post('/oauth2/token', {
    ...{ grant_type: 'authorization_code', ...cli, redirect_uri: redirectUri },
    ...{ code, code_verifier: verifier },
  });
}

/** What became of the dangerous act. */
async function tried(at: OAuthSite, token: string): Promise<string> {
  const { status, body } = await at.call('POST', '/api/v1/tokens', token, dangerous);
  return status === 201 ? 'done' : body.code;
}

async function exchanged(at: OAuthSite, subject: string): Promise<string> {
  const { body } = await at.post('/oauth2/token', {
    ...{ grant_type: exchangeGrant, ...cli, scope: all },
    ...{ subject_token: subject, subject_token_type: accessTokenType },
  });
  return body.access_token;
}

async function refreshed(at: OAuthSite, refresh_token: string): Promise<string> {
  const form = { grant_type: 'refresh_token', ...cli, refresh_token, scope: all };
  return (await at.post('/oauth2/token', form)).body.access_token;
}

test('a proof that is too old for what is dangerous is not made new by asking for less', async (t) => {
  const ann = await site(t);
  for (const [proved, expected] of [
    [Date.now(), 'done'],
    [hourAgo(), 'auth.step-up'],
  ] as const) {
    const whole = await program(ann, proved);
    assert.equal(await tried(ann, whole.access_token), expected, 'a program that was not narrowed');
    const narrow = await program(ann, proved, all);
    assert.equal(await tried(ann, narrow.access_token), expected, 'narrowed from the beginning');
    const handed = await exchanged(ann, whole.access_token);
    assert.equal(await tried(ann, handed), expected, 'exchanged');
    assert.equal(await tried(ann, await exchanged(ann, handed)), expected, 'exchanged twice');
    const again = await exchanged(ann, narrow.access_token);
    assert.equal(await tried(ann, again), expected, 'narrowed, then exchanged');
    assert.equal(await tried(ann, await refreshed(ann, whole.refresh_token)), expected, 'refreshed for less');
  }
});

test('an API token, which no person proves anew, may still do what is dangerous', async (t) => {
  const ann = await site(t);
  const fresh = await program(ann, Date.now());
  const wanted = { name: 'automation', scopes: all.split(' '), reach: 'all' };
  const { status, body } = await ann.call('POST', '/api/v1/tokens', fresh.access_token, wanted);
  assert.equal(status, 201);
  assert.equal(await tried(ann, body.token), 'done');
  assert.equal(await tried(ann, await exchanged(ann, body.token)), 'done');
});

const endings: readonly (readonly [string, (at: OAuthSite, cookie: string) => Promise<unknown>])[] = [
  ['it goes on', async () => undefined],
  ['it was signed out', (at, cookie) => at.page('/auth/sign-out', cookie)],
  [
    'all were ended by an administrator',
    (at) => at.test.directory.signIns.endAllOf('user:ann', 'ended by an administrator', null),
  ],
];

test('what was let in by a sign-in that has ended meanwhile gets nothing', async (t) => {
  const ann = await site(t);
  for (const [how, end] of endings) {
    const expected = how === 'it goes on' ? 200 : 400;
    const cookie = await ann.browser('ann');
    const waiting = await device(ann);
    assert.equal((await ann.answerDevice(waiting.answer, cookie)).status, 204);
    const { body } = await ann.answer(authorizeQuery('v'.repeat(43)), cookie);
    const code = new URL(body.location).searchParams.get('code') ?? '';
    await end(ann, cookie);
    const polled = await waiting.poll();
    assert.equal(polled.status, expected, `a device: ${how}`);
    const redeemed = await redeem(ann, code, 'v'.repeat(43));
    assert.equal(redeemed.status, expected, `a program: ${how}`);
    if (expected === 400)
      assert.deepEqual([polled.body.error, redeemed.body.error], ['invalid_grant', 'invalid_grant']);
  }
});

test('a token of some minutes lets in no device, which would outlive it', async (t) => {
  const ann = await site(t);
  const { access_token: token } = await ann.signedIn('ann');
  const { answer, poll } = await device(ann);
  const refused = await ann.call('POST', '/api/v1/account/devices/approve', token, answer);
  assert.deepEqual([refused.status, refused.body.code], [403, 'access.denied']);
  assert.equal((await poll()).body.error, 'authorization_pending');
  const cookie = await ann.browser('ann');
  assert.equal((await ann.answerDevice(answer, cookie)).status, 204);
  assert.equal((await poll()).status, 200);
});
