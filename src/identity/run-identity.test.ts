import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { addUser, IdentityProcesses, programOf } from '../../tests/support/identity-processes.ts';
import { testOrigin } from '../../tests/support/test-control.ts';
import { newId } from '../model/ids.ts';
import type { RunState } from '../model/run.ts';
import type { RunRecord } from '../store/store.ts';
import { openRunIdentity, type RunSubject } from './run-identity.ts';

const subject: RunSubject = { run: newId('run', 1), session: newId('session', 1), owner: 'user:ann' };
const started: RunState = { phase: 'starting', queuedAt: 1, startingAt: 2 };

async function opened(t: TestContext) {
  const processes = await IdentityProcesses.begin(t);
  const directory = await processes.open();
  const { run: id, session, owner } = subject;
  const state = { record: { id, session, owner, state: started } as RunRecord | null };
  const identity = (change: { trustDomain?: string; issuer?: string } = {}) =>
    openRunIdentity({
      keys: directory.signingKeys,
      runs: { get: async (run) => (run === state.record?.id ? state.record : null) },
      issuer: testOrigin,
      trustDomain: 'example.com',
      audiences: ['https://vault.example', 'https://registry.example'],
      clock: { now: () => processes.now, monotonic: () => processes.now },
      ...change,
    });
  return { processes, directory, state, identity };
}

test('the token of a run is a JWT-SVID that others verify by the published keys', async (t) => {
  const { directory, identity, processes } = await opened(t);
  const token = await identity().mint(subject);
  const keys = createLocalJWKSet({
    keys: (await directory.signingKeys.list()).map(({ jwk }) => ({ ...jwk })),
  });
  const { payload, protectedHeader } = await jwtVerify(token, keys, {
    audience: 'https://vault.example',
    issuer: testOrigin,
    typ: 'JWT',
    currentDate: new Date(processes.now),
  });
  assert.equal(protectedHeader.alg, 'EdDSA');
  const { run, session, owner } = subject;
  const { jti, iat, exp, ...claims } = payload;
  assert.deepEqual(claims, {
    iss: testOrigin,
    sub: `spiffe://example.com/session/${session}/run/${run}`,
    aud: ['https://vault.example', 'https://registry.example'],
    run,
    session,
    owner,
  });
  assert.deepEqual([typeof jti, exp! - iat!], ['string', 300]);
});

test('the token of a run lives five minutes, and while the run does', async (t) => {
  const { processes, state, identity } = await opened(t);
  const token = await identity().mint(subject);
  const verified = await identity().verify(token);
  assert.deepEqual([verified?.run, verified?.owner], [subject.run, subject.owner]);
  processes.now += 5 * 60_000 + 4_000;
  assert(await identity().verify(token));
  processes.now += 2_000;
  assert.equal(await identity().verify(token), null);
  const next = await identity().mint(subject);
  assert(await identity().verify(next));
  const { record } = state;
  const exit = { code: 0, signal: null };
  const finished: RunState = {
    ...{ phase: 'succeeded', queuedAt: 1, startedAt: 3, startingAt: 2, finishedAt: 4, cause: null },
    ...{ reason: '', exit },
  } as unknown as RunState;
  const others: (RunRecord | null)[] = [
    { ...record!, state: finished },
    { ...record!, state: { phase: 'queued', queuedAt: 1 } },
    { ...record!, owner: 'user:bob' },
    { ...record!, session: newId('session', 2) },
    null,
  ];
  for (const other of others) {
    state.record = other;
    assert.equal(await identity().verify(next), null);
  }
  state.record = record;
  assert(await identity().verify(next));
});

test('the token of a run opens nothing here, and no other token passes for one', async (t) => {
  const { processes, directory, identity } = await opened(t);
  await addUser(directory.store, 'ann');
  const token = await identity().mint(subject);
  assert.equal(await directory.identity.ofBearer(token), null);
  const { record } = await directory.signIns.openProgram(programOf('ann', processes.now));
  const access = await directory.accessTokens.issue(record);
  assert(await directory.identity.ofBearer(access.token));
  assert.equal(await identity().verify(access.token), null);
});

test('a token of another server, for another domain, or with a word changed is none', async (t) => {
  const { directory, identity, processes } = await opened(t);
  const good = decodeJwt(await identity().mint(subject)) as Parameters<typeof directory.signingKeys.sign>[1];
  const signed = (claims: Record<string, unknown>, typ = 'JWT') =>
    directory.signingKeys.sign(typ, { ...good, ...claims });
  assert(await identity().verify(await signed({})));
  const bad = [
    await identity({ issuer: 'https://other.example' }).mint(subject),
    await identity({ trustDomain: 'other.example' }).mint(subject),
    await signed({ sub: good.sub!.replace('/run/', '/run/x') }),
    await signed({ run: newId('run', 2) }),
    await signed({ owner: undefined }),
    await signed({ scope: 'run:write' }),
    await signed({ exp: good.iat + 3_000 }),
    await signed({ aud: 'https://vault.example' }),
    await signed({}, 'at+jwt'),
    await signed({}, 'jwt'),
    '',
    'e30.e30.AA',
  ];
  const token = await signed({});
  const [head, body, signature] = token.split('.') as [string, string, string];
  const none = Buffer.from(JSON.stringify({ ...decodeProtectedHeader(token), alg: 'none' })).toString(
    'base64url',
  );
  bad.push(`${none}.${body}.`, `${none}.${body}.${signature}`, `${head}.${body}.`, `${token}=`, ` ${token}`);
  for (const one of bad) assert.equal(await identity().verify(one), null, one);
  processes.now += 1;
  await directory.signingKeys.rotate({ overlap: true });
  assert(await identity().verify(token), 'a key that was rotated still verifies');
  await directory.signingKeys.rotate({ overlap: false });
  assert.equal(await identity().verify(token), null, 'a key that was given up does not');
});
