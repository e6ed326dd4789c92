import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addUser, IdentityProcesses, programOf } from '../../tests/support/identity-processes.ts';
import { identityLimits } from './limits.ts';

async function signedIn(t: Parameters<typeof IdentityProcesses.begin>[0], change = {}) {
  const processes = await IdentityProcesses.begin(t);
  const one = await processes.open();
  await addUser(one.store, 'ann');
  const { record } = await one.signIns.openProgram(programOf('ann', processes.now, change));
  return { processes, one, record, ...(await one.accessTokens.issue(record)) };
}

function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString('utf8'));
}

test('a token says what RFC 9068 asks for, and the person of an unnarrowed sign-in is all that it is', async (t) => {
  const { one, record, token, expiresInSeconds } = await signedIn(t);
  const { iat, exp, jti, ...rest } = claimsOf(token);
  const origin = 'http://localhost:7717';
  assert.deepEqual(rest, {
    ...{ iss: origin, aud: origin, sub: 'user:ann', sid: record.id, client_id: 'sealwright-cli' },
  });
  assert.equal(expiresInSeconds, 300);
  assert.equal(Number(exp) - Number(iat), 300);
  assert.match(String(jti), /^tok_/);
  const actor = await one.accessTokens.verify(token);
  assert.equal(actor?.role, 'developer');
  assert.equal(actor?.narrowed, false);
  assert.notEqual(actor?.signIn, undefined);
});

test('a token lives five minutes, but for the difference of two clocks', async (t) => {
  const { processes, one, token } = await signedIn(t);
  processes.pass(identityLimits.accessTokenLifeMs - 1000);
  await one.changes.look();
  assert.notEqual(await one.accessTokens.verify(token), null);
  processes.pass(1000 + identityLimits.clockSkewMs);
  await one.changes.look();
  assert.equal(await one.accessTokens.verify(token), null);
  const another = await processes.open();
  assert.equal(await another.accessTokens.verify(token), null);
});

test('a token from the future is none', async (t) => {
  const { processes, one, token } = await signedIn(t);
  processes.now -= identityLimits.clockSkewMs + 1000;
  assert.equal(await one.accessTokens.verify(token), null);
});

test('a token ends with its sign-in, in every process', async (t) => {
  const { processes, one, record, token } = await signedIn(t);
  const other = await processes.open();
  assert.notEqual(await other.accessTokens.verify(token), null);
  await one.signIns.end(record.id, 'test');
  assert.equal(await one.accessTokens.verify(token), null);
  await other.changes.look();
  assert.equal(await other.accessTokens.verify(token), null);
});

test('a token ends no later than its sign-in', async (t) => {
  const { expiresInSeconds } = await signedIn(t, { expiresAt: 1_700_000_060_000 });
  assert.equal(expiresInSeconds, 60);
});

test('a token may do what its sign-in, its own scopes and its person have in common, and no more', async (t) => {
  const { processes, one, record } = await signedIn(t, { scopes: ['run:read', 'run:write', 'audit:read'] });
  const { token } = await one.accessTokens.issue(record, { scopes: ['run:read', 'audit:read'] });
  const scopesOf = async () => [...((await one.accessTokens.verify(token))?.scopes ?? ['none'])];
  assert.deepEqual(await scopesOf(), ['run:read']);
  assert.equal((await one.accessTokens.verify(token))?.narrowed, true);
  await one.store.identity.users.update('ann', { role: 'auditor' }, null);
  processes.pass(1000);
  await one.changes.look();
  assert.deepEqual(await scopesOf(), ['run:read', 'audit:read']);
  await one.store.identity.users.update('ann', { phase: 'disabled' }, null);
  await one.changes.look();
  assert.deepEqual(await scopesOf(), ['none']);
});

test('a narrowed token of a person is not the person: it proves nothing anew and stays narrowed', async (t) => {
  const { one, record } = await signedIn(t);
  const { token } = await one.accessTokens.issue(record, { scopes: ['run:read'] });
  const actor = await one.identity.ofBearer(token);
  assert.deepEqual([actor?.signIn, actor?.narrowed], [undefined, true]);
  const renewed = await one.identity.renew(actor!);
  assert.deepEqual(
    [renewed?.signIn, renewed?.narrowed, [...renewed!.scopes]],
    [undefined, true, ['run:read']],
  );
});

test('what the same key signed as something else is no access token', async (t) => {
  const { one, token } = await signedIn(t);
  const claims = claimsOf(token) as { iat: number; exp: number };
  const signed = (typ: string, change: object = {}) => one.signingKeys.sign(typ, { ...claims, ...change });
  assert.notEqual(await one.accessTokens.verify(await signed('at+jwt')), null);
  for (const typ of ['JWT', 'jwt', 'AT+JWT', 'application/at+jwt', 'at+jwt ', 'logout+jwt'])
    assert.equal(await one.accessTokens.verify(await signed(typ)), null, typ);
  const wrong: object[] = [
    { iss: 'http://localhost:7718' },
    { iss: `${one.accessTokens.issuer}/` },
    { aud: 'http://elsewhere.example' },
    { aud: [one.accessTokens.issuer] },
    { sub: 'user:bob' },
    { sid: 'sgn_00000000000000000000000000' },
    { scope: 'everything' },
    { scope: ['run:read'] },
    { exp: claims.iat + 3000 },
    { iat: claims.exp + 10, exp: claims.exp + 20 },
    { extra: true },
    { act: { sub: 'agent:a' } },
    { act: { sub: 'user:ann', extra: 1 } },
    { jti: undefined },
    { client_id: undefined },
    { nbf: claims.iat },
  ];
  for (const change of wrong)
    assert.equal(await one.accessTokens.verify(await signed('at+jwt', change)), null, JSON.stringify(change));
});
