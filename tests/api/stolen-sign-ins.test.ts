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
