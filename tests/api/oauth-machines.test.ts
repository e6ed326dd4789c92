import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, sign as signBytes } from 'node:crypto';
import { test } from 'node:test';
import { SignJWT } from 'jose';
import { readPublicKey } from '../../src/identity/public-keys.ts';
import { secretHash } from '../../src/identity/token-secret.ts';
import type { ActorId } from '../../src/model/actor.ts';
import { newId } from '../../src/model/ids.ts';
import { OAuthSite } from '../support/oauth-site.ts';
import { bootstrapSecret, testOrigin } from '../support/test-control.ts';

/** How agents, services and devices get tokens, and hand on less than they have. */

const secret = 'sws_a-secret-of-the-tests';
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';
const basic = (id: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${encodeURIComponent(id)}:${password}`).toString('base64')}`,
});

async function addAgent(site: OAuthSite, id: ActorId, role: string): Promise<void> {
  await site.test.store.identity.agents.create({
    ...{
      id,
      displayName: null,
      owner: 'user:ann',
      role,
      scopes: [],
      egress: null,
      phase: 'active',
      createdAt: 1,
    },
  });
}

async function addSecret(site: OAuthSite, agent: ActorId, text = secret) {
  const id = newId('credential', Date.now());
  const proof = secretHash(text);
  await site.test.store.identity.agents.addCredential({
    ...{ id, agent, kind: 'secret', name: null, proof, material: null, createdAt: 1, expiresAt: null },
  });
  return id;
}

async function site(t: Parameters<typeof OAuthSite.open>[0]): Promise<OAuthSite> {
  const opened = await OAuthSite.open(t);
  await opened.user('ann');
  await addAgent(opened, 'agent:builder', 'developer');
  return opened;
}

const own = { grant_type: 'client_credentials' };

test('an agent proves itself by its secret, in the header or the body, and is itself', async (t) => {
  const agents = await site(t);
  const credential = await addSecret(agents, 'agent:builder');
  const inBody = { ...own, client_id: 'agent:builder', client_secret: secret };
  const answers = [
    await agents.post('/oauth2/token', own, basic('agent:builder', secret)),
    await agents.post('/oauth2/token', inBody),
  ];
  for (const { status, body } of answers) {
    assert.deepEqual([status, body.refresh_token], [200, undefined]);
    const who = (await agents.call('GET', '/api/v1/whoami', body.access_token)).body;
    assert.deepEqual([who.actor, who.role, who.signIn], ['agent:builder', 'developer', null]);
  }
  const token = answers[0]!.body.access_token;
  assert.equal((await agents.call('POST', '/api/v1/account/tokens', token, {})).status, 400);
  await agents.test.store.identity.agents.revokeCredential(credential, Date.now());
  await agents.test.directory.changes.look();
  assert.equal(
    (await agents.call('GET', '/api/v1/whoami', token)).status,
    401,
    'it ends with its credential',
  );
  assert.equal((await agents.post('/oauth2/token', inBody)).body.error, 'invalid_client');
});

test('whoever is not the client is told nothing but that, and it is on record', async (t) => {
  const agents = await site(t);
  await addAgent(agents, 'agent:other', 'developer');
  await addSecret(agents, 'agent:builder');
  const told = new Set<string>();
  const tries: [Record<string, string>, Record<string, string>][] = [
    [{}, basic('agent:builder', 'sws_wrong')],
    [{}, basic('agent:other', secret)],
    [{}, basic('agent:nobody', secret)],
    [{}, basic('agent:builder', '')],
    [{ client_id: 'agent:other' }, basic('agent:builder', secret)],
    [{ client_id: 'agent:builder', client_secret: 'sws_wrong' }, {}],
    [{ client_id: 'agent:nobody', client_secret: secret }, {}],
    [{ client_id: 'agent:builder' }, {}],
  ];
  for (const [form, headers] of tries) {
    const {
      status,
      body,
      headers: answered,
    } = await agents.post('/oauth2/token', { ...own, ...form }, headers);
    assert.equal(status, 401, JSON.stringify(form));
    assert.equal(answered.get('www-authenticate'), 'Basic realm="sealwright"');
    told.add(JSON.stringify(body));
  }
  assert.equal(told.size, 1, [...told].join());
  const two = await agents.post(
    '/oauth2/token',
    { ...own, client_id: 'agent:builder', client_secret: secret },
    basic('agent:builder', secret),
  );
  assert.equal(two.body.error, 'invalid_request');
  assert.equal((await agents.recorded('client.verify'))[0]?.outcome, 'denied');
  const person = await agents.post('/oauth2/token', { ...own, client_id: 'sealwright-cli' });
  assert.equal(person.body.error, 'unauthorized_client');
});

test('an agent gets the scopes of its role or fewer, and nothing once it is disabled', async (t) => {
  const agents = await site(t);
  await addSecret(agents, 'agent:builder');
  const ask = (scope: string) =>
    agents.post('/oauth2/token', { ...own, scope }, basic('agent:builder', secret));
  const { body } = await ask('run:read');
  assert.equal(body.scope, 'run:read');
  assert.equal((await agents.call('GET', '/api/v1/runs', body.access_token)).status, 200);
  assert.equal((await agents.call('GET', '/api/v1/sessions', body.access_token)).status, 403);
  assert.equal((await ask('run:read identity:write')).body.error, 'invalid_scope');
  await agents.test.store.identity.agents.update('agent:builder', { phase: 'disabled' }, null);
  await agents.test.directory.changes.look();
  assert.equal((await agents.call('GET', '/api/v1/runs', body.access_token)).status, 401);
  assert.equal((await ask('run:read')).status, 401);
});

async function addKey(agents: OAuthSite, agent: ActorId): Promise<KeyObject> {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const jwk = readPublicKey(publicKey.export({ format: 'jwk' }) as Record<string, unknown>);
  await agents.test.store.identity.agents.addCredential({
    ...{ id: newId('credential', Date.now()), agent, kind: 'public-key', name: null, proof: jwk.kid },
    ...{ material: JSON.stringify(jwk), createdAt: 1, expiresAt: null },
  });
  return privateKey;
}

test('an agent proves itself by a private key, and each proof works once, here, and for a short time', async (t) => {
  const agents = await site(t);
  const key = await addKey(agents, 'agent:builder');
  await addAgent(agents, 'agent:other', 'developer');
  const others = await addKey(agents, 'agent:other');
  const now = Math.floor(Date.now() / 1000);
  const good = () => ({
    ...{ iss: 'agent:builder', sub: 'agent:builder', aud: `${testOrigin}/oauth2/token` },
    ...{ iat: now, exp: now + 60, jti: newId('event', Date.now()) },
  });
  const sign = (claims: object, header: object = {}, by: KeyObject = key) =>
    new SignJWT({ ...claims }).setProtectedHeader({ alg: 'EdDSA', ...header }).sign(by);
  // What the library would not sign.
  const byHand = (claims: object, header: object) => {
    const parts = [{ alg: 'EdDSA', ...header }, claims];
    const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    return `${text}.${signBytes(null, Buffer.from(text), key).toString('base64url')}`;
  };
  const ask = (client_assertion: string, more: Record<string, string> = {}) =>
    agents.post('/oauth2/token', {
      ...own,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion,
      ...more,
    });
  const used = await sign(good());
  assert.equal((await ask(used)).status, 200);
  assert.equal((await ask(used)).status, 401, 'the same again');
  assert.equal((await ask(await sign({ ...good(), aud: testOrigin }, { typ: 'JWT' }))).status, 200);
  assert.equal((await ask(await sign(good()), { client_id: 'agent:builder' })).status, 200);
  assert.equal((await ask(await sign(good()), { client_id: 'agent:other' })).status, 401);
  const wrong: object[] = [
    { aud: 'http://elsewhere.example' },
    { aud: [testOrigin, 'http://elsewhere.example'] },
    { aud: undefined },
    { iss: 'agent:other' },
    { iss: 'agent:other', sub: 'agent:other' },
    { sub: 'user:ann', iss: 'user:ann' },
    { exp: now - 60 },
    { exp: now + 3600 },
    { exp: undefined },
    { nbf: now + 600 },
    { jti: undefined },
    { jti: '' },
    { jti: 'x'.repeat(300) },
  ];
  for (const change of wrong)
    assert.equal((await ask(await sign({ ...good(), ...change }))).status, 401, JSON.stringify(change));
  assert.equal((await ask(await sign(good(), {}, others))).status, 401, "another agent's key");
  for (const header of [{ jku: 'http://x.example' }, { typ: 'at+jwt' }, { kid: 'x' }])
    assert.equal((await ask(await sign(good(), header))).status, 401);
  assert.equal((await ask(byHand(good(), { crit: ['exp'], exp: 1 }))).status, 401);
  assert.equal((await ask(byHand(good(), {}))).status, 200, 'the control: it is its header');
  assert.equal((await ask(`${await sign(good())}=`)).status, 401);
  const access = await agents.signedIn('ann');
  assert.equal((await ask(access.access_token)).status, 401);
});

test('a sub-agent acts for whoever gave it a token: with less, no longer, and never once that has ended', async (t) => {
  const agents = await site(t);
  await addSecret(agents, 'agent:builder');
  const subject = await agents.signedIn('ann', 'run:read run:write');
  const exchange = (form: Record<string, string>) =>
    agents.post(
      '/oauth2/token',
      {
        grant_type: exchangeGrant,
        subject_token: subject.access_token,
        subject_token_type: accessTokenType,
        ...form,
      },
      basic('agent:builder', secret),
    );
  const { status, body } = await exchange({ scope: 'run:read' });
  assert.equal(status, 200);
  assert.equal(body.issued_token_type, accessTokenType);
  assert(body.expires_in <= 300 && body.refresh_token === undefined);
  const claims = JSON.parse(Buffer.from(body.access_token.split('.')[1], 'base64url').toString());
  assert.deepEqual([claims.sub, claims.act], ['user:ann', { sub: 'agent:builder' }]);
  const who = (await agents.call('GET', '/api/v1/whoami', body.access_token)).body;
  assert.deepEqual([who.actor, who.onBehalfOf, who.scopes], ['agent:builder', 'user:ann', ['run:read']]);
  assert.equal(who.reach, 'own');
  assert.equal((await exchange({ scope: 'run:read session:read' })).body.error, 'invalid_scope');
  assert.equal((await exchange({ scope: 'control:write' })).body.error, 'invalid_scope');
  assert.equal((await exchange({ audience: 'http://elsewhere.example' })).body.error, 'invalid_target');
  assert.equal((await exchange({ subject_token: 'nonsense' })).body.error, 'invalid_grant');
  assert.equal((await exchange({ subject_token: bootstrapSecret })).body.error, 'invalid_grant');
  await agents.post('/oauth2/revoke', { token: subject.access_token });
  assert.equal((await agents.call('GET', '/api/v1/runs', body.access_token)).status, 401);
  const [event] = await agents.recorded('token.exchange');
  assert.deepEqual([event?.actor.id, event?.data?.subject], ['agent:builder', 'user:ann']);
});

test('a chain of agents names everybody, and each link narrows it', async (t) => {
  const agents = await site(t);
  await addAgent(agents, 'agent:helper', 'developer');
  await addSecret(agents, 'agent:builder');
  await addSecret(agents, 'agent:helper', 'sws_of-the-helper');
  const exchange = async (token: string, scope: string, by: Record<string, string>) => {
    const form = {
      grant_type: exchangeGrant,
      subject_token: token,
      subject_token_type: accessTokenType,
      scope,
    };
    return await agents.post('/oauth2/token', form, by);
  };
  const subject = await agents.signedIn('ann');
  const first = await exchange(subject.access_token, 'run:read run:write', basic('agent:builder', secret));
  const helper = basic('agent:helper', 'sws_of-the-helper');
  const second = await exchange(first.body.access_token, 'run:read', helper);
  assert.equal(second.status, 200);
  const claims = JSON.parse(Buffer.from(second.body.access_token.split('.')[1], 'base64url').toString());
  assert.equal(claims.sub, 'user:ann');
  assert.deepEqual(claims.act, { sub: 'agent:helper', act: { sub: 'agent:builder' } });
  assert.equal((await exchange(first.body.access_token, 'session:read', helper)).body.error, 'invalid_scope');
  await agents.test.store.identity.users.update('ann', { role: 'auditor' }, null);
  await agents.test.directory.changes.look();
  const tried = await exchange(first.body.access_token, 'run:write', helper);
  assert.equal(tried.body.error, 'invalid_scope', 'what the person lost, nobody acts on');
  const deep = async (token: string, depth: number): Promise<string> => {
    if (depth === 0) return token;
    const by = depth % 2 === 0 ? helper : basic('agent:builder', secret);
    const { body } = await exchange(token, 'run:read', by);
    return body.access_token === undefined ? body.error : await deep(body.access_token, depth - 1);
  };
  assert.equal(await deep((await agents.signedIn('ann')).access_token, 20), 'invalid_request');
});

test('without an actor a token only narrows, and one of an API token ends with it', async (t) => {
  const agents = await site(t);
  const { tokens } = agents.test.directory;
  const made = await tokens.issue(
    { name: 'ci', actor: 'user:ann', scopes: ['run:read'], reach: 'own', expiresAt: Date.now() + 60_000 },
    null,
  );
  assert('secret' in made);
  const form = { grant_type: exchangeGrant, subject_token: made.secret, subject_token_type: accessTokenType };
  const { body } = await agents.post('/oauth2/token', form);
  assert(body.expires_in <= 60, 'it lives no longer');
  const who = (await agents.call('GET', '/api/v1/whoami', body.access_token)).body;
  assert.deepEqual(
    [who.actor, who.reach, who.scopes, who.onBehalfOf],
    ['user:ann', 'own', ['run:read'], null],
  );
  assert.equal(
    (await agents.post('/oauth2/token', { ...form, scope: 'run:write' })).body.error,
    'invalid_scope',
  );
  await tokens.revoke(made.record.id);
  assert.equal((await agents.call('GET', '/api/v1/runs', body.access_token)).status, 401);
});

test('a run exchanges its token for what agents do among themselves, until it ends, and for nothing of its owner', async (t) => {
  const agents = await site(t);
  await addAgent(agents, 'agent:worker', 'worker');
  const { runIdentity } = agents.test.directory;
  const phases = new Map<string, string>();
  const runOf = async (owner: ActorId) => {
    const [run, session] = [newId('run', Date.now()), newId('session', Date.now())];
    phases.set(run, 'running');
    owners.set(run, { owner, session });
    return { run, token: await runIdentity.mint({ run, session, owner }) };
  };
  const owners = new Map<string, { owner: ActorId; session: string }>();
  const get = async (id: string) => ({ ...owners.get(id), state: { phase: phases.get(id) } });
  Object.assign(agents.test.store.runs, { get });
  const exchange = (subject_token: string, scope?: string) =>
    agents.post('/oauth2/token', {
      ...{ grant_type: exchangeGrant, subject_token, ...(scope === undefined ? {} : { scope }) },
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    });
  const { run, token } = await runOf('agent:worker');
  assert.equal((await agents.call('GET', '/api/v1/whoami', token)).status, 401, 'it opens nothing by itself');
  const { status, body } = await exchange(token);
  assert.deepEqual([status, body.scope], [200, 'execute:task']);
  const who = (await agents.call('GET', '/api/v1/whoami', body.access_token)).body;
  assert.deepEqual([who.actor, who.reach, who.scopes], ['agent:worker', 'own', ['execute:task']]);
  assert.equal((await exchange(token, 'run:read')).body.error, 'invalid_scope');
  phases.set(run, 'succeeded');
  assert.equal((await exchange(token)).body.error, 'invalid_grant');
  assert.equal((await agents.call('GET', '/api/v1/whoami', body.access_token)).status, 401);
  const ofAnn = await runOf('user:ann');
  assert.equal((await exchange(ofAnn.token)).body.error, 'invalid_scope');
  assert.equal((await exchange(ofAnn.token, 'run:read')).body.error, 'invalid_scope');
});

test('introspection is for agents and holders of identity:read, and says nothing of what does not work', async (t) => {
  const agents = await site(t);
  await agents.user('bea', 'auditor');
  await addSecret(agents, 'agent:builder');
  const subject = await agents.signedIn('ann', 'run:read');
  const ask = (token: string, headers: Record<string, string>) =>
    agents.post('/oauth2/introspect', { token }, headers);
  const asAgent = basic('agent:builder', secret);
  const { body } = await ask(subject.access_token, asAgent);
  assert.deepEqual(
    [body.active, body.sub, body.scope, body.client_id, body.iss],
    [true, 'user:ann', 'run:read', 'sealwright-cli', testOrigin],
  );
  const auditor = { authorization: `Bearer ${(await agents.signedIn('bea')).access_token}` };
  assert.equal((await ask(subject.access_token, auditor)).body.active, true);
  const developer = { authorization: `Bearer ${(await agents.signedIn('ann')).access_token}` };
  assert.equal((await ask(subject.access_token, developer)).status, 403);
  assert.equal((await ask(subject.access_token, {})).status, 401);
  assert.equal((await ask(subject.access_token, { authorization: 'Bearer nonsense' })).status, 401);
  await agents.post('/oauth2/revoke', { token: subject.access_token });
  for (const token of [subject.access_token, subject.refresh_token, 'x', bootstrapSecret])
    assert.deepEqual((await ask(token, asAgent)).body, { active: false });
});

const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';

test('a device is let in by a person who sees what it is, and only then', async (t) => {
  const agents = await site(t);
  const begun = await agents.post(
    '/oauth2/device_authorization',
    { client_id: 'sealwright-cli' },
    { 'user-agent': 'a device' },
  );
  const { device_code, user_code, interval, verification_uri } = begun.body;
  assert.match(user_code, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/);
  assert.deepEqual([interval, verification_uri], [5, `${testOrigin}/device`]);
  const poll = () =>
    agents.post('/oauth2/token', { grant_type: deviceGrant, client_id: 'sealwright-cli', device_code });
  assert.equal((await poll()).body.error, 'authorization_pending');
  assert.equal((await poll()).body.error, 'slow_down');
  const { access_token: ann } = await agents.signedIn('ann');
  const find = await agents.call('POST', '/api/v1/account/devices/find', ann, {
    userCode: user_code.toLowerCase(),
  });
  assert.deepEqual(
    [find.status, find.body.client, find.body.address, find.body.userAgent, find.body.scopes],
    [200, 'sealwright-cli', '127.0.0.1', 'a device', null],
  );
  const answer = { userCode: user_code, decision: 'approve' };
  assert.equal((await agents.call('POST', '/api/v1/account/devices/approve', null, answer)).status, 401);
  const narrow = (await agents.signedIn('ann', 'run:read')).access_token;
  assert.equal((await agents.call('POST', '/api/v1/account/devices/approve', narrow, answer)).status, 403);
  const cookie = await agents.browser('ann');
  assert.equal((await agents.answerDevice(answer, cookie)).status, 204);
  assert.equal((await agents.answerDevice(answer, cookie)).status, 404);
  const { body } = await poll();
  const who = (await agents.call('GET', '/api/v1/whoami', body.access_token)).body;
  assert.equal(who.actor, 'user:ann');
  assert.equal((await poll()).body.error, 'expired_token');
  assert.equal((await agents.recorded('account.device.approve')).length > 0, true);
});

test('a device that was refused hears so, and wrong codes run out', async (t) => {
  const agents = await site(t);
  const begin = () => agents.post('/oauth2/device_authorization', { client_id: 'sealwright-cli' });
  const { device_code, user_code } = (await begin()).body;
  const { access_token: ann } = await agents.signedIn('ann');
  const deny = { userCode: user_code, decision: 'deny' };
  assert.equal((await agents.call('POST', '/api/v1/account/devices/approve', ann, deny)).status, 204);
  const form = { grant_type: deviceGrant, client_id: 'sealwright-cli', device_code };
  assert.equal((await agents.post('/oauth2/token', form)).body.error, 'access_denied');
  for (let index = 0; index < 10; index += 1)
    assert.equal(
      (await agents.call('POST', '/api/v1/account/devices/find', ann, { userCode: 'BBBB-BBBB' })).status,
      404,
    );
  const right = { userCode: (await begin()).body.user_code };
  assert.equal((await agents.call('POST', '/api/v1/account/devices/find', ann, right)).status, 429);
  assert.equal((await agents.post('/oauth2/device_authorization', { client_id: 'agent:a' })).status, 401);
});

test('relying parties find the keys that verify, and may keep them for a while', async (t) => {
  const agents = await site(t);
  const { access_token: token } = await agents.signedIn('ann');
  const jwks = await agents.call('GET', '/.well-known/jwks.json', null);
  assert.equal(jwks.headers.get('cache-control'), 'public, max-age=300');
  const { kid } = JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString());
  const [key] = jwks.body.keys;
  assert.deepEqual([key.kid, key.kty, key.crv, key.alg, key.use], [kid, 'OKP', 'Ed25519', 'EdDSA', 'sig']);
  assert.equal('d' in key, false);
  for (const path of ['/.well-known/oauth-authorization-server', '/.well-known/openid-configuration']) {
    const { body } = await agents.call('GET', path, null);
    assert.deepEqual([body.issuer, body.jwks_uri], [testOrigin, `${testOrigin}/.well-known/jwks.json`]);
  }
});

test('what is no form of known parameters is refused in the words of OAuth', async (t) => {
  const agents = await site(t);
  const send = (body: string, type = 'application/x-www-form-urlencoded') =>
    agents.send('POST', '/oauth2/token', { headers: { 'content-type': type }, body });
  const good = 'grant_type=client_credentials&client_id=sealwright-cli';
  assert.equal((await send(good)).body.error, 'unauthorized_client');
  const bad = [
    '',
    'grant_type',
    'grant_type=',
    'grant_type=a=b',
    `${good}&grant_type=client_credentials`,
    `${good}&x=1&x=2`,
    `${good}&`,
    `${good}&x=%`,
    `${good}&x=%ff`,
    `${good}&client_secret=%00`,
    `${good}&scope=\u00e9`,
    `a=${'x'.repeat(5000)}&grant_type=${'x'.repeat(5000)}`,
    Array.from({ length: 100 }, (_, index) => `p${index}=1`).join('&'),
  ];
  for (const body of bad) {
    const { status, body: answer, headers } = await send(body);
    assert.equal(status, 400, body.slice(0, 60));
    assert.equal(headers.get('content-type'), 'application/json');
    assert.equal(headers.get('cache-control'), 'no-store');
    assert(answer.error === 'invalid_request' || answer.error === 'unsupported_grant_type', answer.error);
  }
  assert.equal((await send('{}', 'application/json')).status, 415);
  assert.equal((await send('x'.repeat(20_000))).status, 413);
  assert.equal((await agents.send('GET', '/oauth2/token', {})).status, 401);
  const inUrl = await agents.send('POST', `/oauth2/token?${good}`, {});
  assert.equal(inUrl.status, 400);
});
