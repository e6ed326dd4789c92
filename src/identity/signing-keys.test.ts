import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  addUser,
  type IdentityProcess,
  IdentityProcesses,
  programOf,
} from '../../tests/support/identity-processes.ts';
import { identityLimits } from './limits.ts';

const { accessTokenLifeMs, signedLifeMsMax, clockSkewMs } = identityLimits;

test('of processes that start together one makes the first key, and all sign with it', async (t) => {
  const processes = await IdentityProcesses.begin(t);
  const [one, other] = (await processes.openTogether(2)) as [IdentityProcess, IdentityProcess];
  const [ours, theirs] = [await one.signingKeys.list(), await other.signingKeys.list()];
  assert.equal(ours.length, 1);
  assert.deepEqual(ours, theirs);
  assert.equal(ours[0]?.retiredAt, null);
});

test('a private key lies sealed in the store, and what is published holds nothing of it', async (t) => {
  const { signingKeys, store } = await (await IdentityProcesses.begin(t)).open();
  const [record] = await store.identity.signingKeys.valid('access', 0);
  assert.match(record!.sealed, /^v1\./);
  assert.equal('d' in JSON.parse(record!.public), false);
  const [{ jwk } = assert.fail()] = await signingKeys.list();
  assert.deepEqual(Object.keys(jwk).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x']);
});

test('after a rotation the new key signs at once, everywhere, and the old one verifies until it is over', async (t) => {
  const processes = await IdentityProcesses.begin(t);
  const [one, other] = [await processes.open(), await processes.open()];
  await addUser(one.store, 'ann');
  const { record } = await one.signIns.openProgram(programOf('ann', processes.now));
  const before = (await one.accessTokens.issue(record)).token;
  const made = await one.signingKeys.rotate({ overlap: true });
  const after = (await one.accessTokens.issue(record)).token;
  assert.equal(kidOf(after), made.id);
  assert.notEqual(kidOf(before), made.id);
  processes.pass(identityLimits.changesEveryMs);
  for (const { accessTokens } of [one, other])
    for (const token of [before, after]) assert.equal((await accessTokens.verify(token))?.id, 'user:ann');
  await other.changes.look();
  assert.equal(kidOf((await other.accessTokens.issue(record)).token), made.id);
  assert.equal((await other.signingKeys.list()).length, 2);
  processes.pass(signedLifeMsMax + clockSkewMs);
  await other.changes.look();
  assert.deepEqual(
    (await other.signingKeys.list()).map(({ id }) => id),
    [made.id],
  );
  assert.equal(await other.signingKeys.verifier(kidOf(before)), null);
});

test('a key that others may know ends at once, with all that it signed', async (t) => {
  const processes = await IdentityProcesses.begin(t);
  const [one, other] = [await processes.open(), await processes.open()];
  await addUser(one.store, 'ann');
  const { record } = await one.signIns.openProgram(programOf('ann', processes.now));
  const { token } = await one.accessTokens.issue(record);
  assert.notEqual(await other.accessTokens.verify(token), null);
  await one.signingKeys.rotate({ overlap: false });
  assert.equal(await one.accessTokens.verify(token), null);
  await other.changes.look();
  assert.equal(await other.accessTokens.verify(token), null);
  const fresh = await one.accessTokens.issue(record);
  processes.pass(identityLimits.changesEveryMs);
  assert.notEqual(await other.accessTokens.verify(fresh.token), null);
});

test('strangers with made-up key ids do not make the store work for each of them', async (t) => {
  const processes = await IdentityProcesses.begin(t);
  const { signingKeys, store } = await processes.open();
  let reads = 0;
  const { valid } = store.identity.signingKeys;
  Object.assign(store.identity.signingKeys, {
    valid: (...query: Parameters<typeof valid>) => {
      reads += 1;
      return valid(...query);
    },
  });
  processes.pass(identityLimits.changesEveryMs);
  for (let index = 0; index < 100; index += 1)
    assert.equal(await signingKeys.verifier(`key_${String(index).padStart(26, '0')}`), null);
  assert(reads <= 1, `${reads} reads`);
  for (const kid of ['', '../key', "key_' or 1=1", 'key_'.repeat(20)])
    assert.equal(await signingKeys.verifier(kid), null);
});

test('nothing is signed that would outlive its key', async (t) => {
  const { signingKeys } = await (await IdentityProcesses.begin(t)).open();
  await assert.rejects(signingKeys.sign('JWT', { iat: 0, exp: signedLifeMsMax / 1000 + 1 }), RangeError);
  assert.match(await signingKeys.sign('JWT', { iat: 0, exp: accessTokenLifeMs / 1000 }), /^eyJ/);
});

function kidOf(token: string): string {
  const { kid } = JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString('utf8'));
  return kid;
}
