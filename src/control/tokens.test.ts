import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  actorOf,
  bootstrapSecret,
  callerOf,
  TestControl,
  withCode,
} from '../../tests/support/test-control.ts';
import { localOwner } from '../identity/local-owner.ts';
import { roles } from '../model/scopes.ts';
import type { Caller } from './control.ts';

const admin = callerOf(actorOf('boss', 'all', roles.admin));
const narrow = callerOf(actorOf('team', 'own', ['identity:read', 'identity:write', 'run:read']));
const request = callerOf(actorOf('x')).request;

type Request = Parameters<TestControl['control']['tokens']['create']>[1]['request'];

function create(
  test: TestControl,
  caller: Caller,
  wanted: Partial<Request>,
  idempotencyKey: string | null = null,
) {
  const asked: Request = { name: 'ci', scopes: ['run:read'], ...wanted };
  return test.control.tokens.create(caller, { request: asked, idempotencyKey });
}

describe('creating tokens', () => {
  it('gives a secret that proves its actor, once', async () => {
    await using test = await TestControl.open();
    const made = await create(test, admin, { actor: 'agent:bot', scopes: ['run:read', 'run:read'] });
    const actor = await test.control.authenticate({ bearer: made.token }, request);
    assert.deepEqual(
      [actor?.id, [...(actor?.scopes ?? [])], actor?.reach],
      ['agent:bot', ['run:read'], 'own'],
    );
    const { items } = await test.control.tokens.list(admin, {});
    assert.equal(items.length, 1);
    assert(!JSON.stringify(items).includes(made.token));
    assert(!JSON.stringify(await test.events()).includes(made.token));
  });

  it('never gives more than the creator has: no scope, no reach, no other name', async () => {
    await using test = await TestControl.open();
    const denied = withCode('access.denied');
    await assert.rejects(create(test, narrow, { scopes: ['run:write'] }), denied);
    await assert.rejects(create(test, narrow, { reach: 'all' }), denied);
    await assert.rejects(create(test, narrow, { actor: 'user:boss' }), denied);
    await assert.rejects(create(test, callerOf(actorOf('dev')), {}), denied);
    await assert.rejects(create(test, admin, { scopes: ['execute:task'] }), denied);
    assert.equal((await create(test, narrow, {})).actor, 'user:team');
    const events = await test.events();
    assert.equal(events.filter(({ outcome }) => outcome === 'denied').length, 5);
  });

  it('never reaches further than the creator, by however little', async () => {
    await using test = await TestControl.open();
    const team = callerOf({ ...narrow.actor, reach: 'team' });
    const denied = withCode('access.denied');
    await assert.rejects(create(test, narrow, { reach: 'team' }), denied);
    await assert.rejects(create(test, team, { reach: 'all' }), denied);
    assert.equal((await create(test, narrow, { reach: 'own' })).reach, 'own');
    const made = await create(test, team, { reach: 'team' });
    assert.equal(made.reach, 'team');
    const { rotate } = test.control.tokens;
    await assert.rejects(rotate(narrow, made.id, {}), denied, 'its secret is as good as a new token');
    assert((await rotate(team, made.id, {})).token);
  });

  it('is not for whoever is kept to egress: a token would not be', async () => {
    await using test = await TestControl.open();
    const kept = callerOf({ ...admin.actor, egress: new Set(['github']) });
    const denied = withCode('access.denied');
    await assert.rejects(create(test, kept, { actor: 'service:x' }), denied);
    await assert.rejects(create(test, kept, {}), denied);
    const made = await create(test, admin, { actor: 'service:x' });
    await assert.rejects(test.control.tokens.rotate(kept, made.id, {}), denied);
    await test.control.tokens.revoke(kept, made.id);
  });

  it('refuses actors that are not users, agents or services', async () => {
    await using test = await TestControl.open();
    for (const actor of ['system:local', 'user:', 'user:A', 'root', 'user:a\nb', 'user:bootstrap:x'])
      await assert.rejects(create(test, admin, { actor }), withCode('request.invalid'));
  });

  it('makes an administrator on the machine itself, where nobody has a name yet', async () => {
    await using test = await TestControl.open();
    const made = await create(test, callerOf(localOwner), { scopes: [...roles.admin], reach: 'all' });
    assert.equal(made.actor, 'user:admin');
    assert.equal(await test.control.authenticate({ bearer: bootstrapSecret }, request), null);
    assert(await test.control.authenticate({ bearer: made.token }, request));
  });

  it('cannot repeat a secret: the key of a made token is a conflict that names it', async () => {
    await using test = await TestControl.open();
    const made = await create(test, admin, {}, 'key');
    await assert.rejects(create(test, admin, {}, 'key'), new RegExp(made.id));
    assert.equal((await test.control.tokens.list(admin, {})).items.length, 1);
  });
});

describe('revoking tokens', () => {
  it('works at once, for whoever may see them, and while nothing can be recorded', async () => {
    await using test = await TestControl.open();
    const made = await create(test, admin, { actor: 'user:ann' });
    assert(await test.control.authenticate({ bearer: made.token }, request));
    await assert.rejects(test.control.tokens.revoke(narrow, made.id), withCode('resource.absent'));
    test.auditFails = true;
    await assert.rejects(create(test, admin, {}), withCode('audit.unavailable'));
    await test.control.tokens.revoke(admin, made.id);
    test.auditFails = false;
    assert.equal(await test.control.authenticate({ bearer: made.token }, request), null);
    await assert.rejects(test.control.tokens.revoke(admin, made.id), withCode('resource.absent'));
  });
});

describe('signing in', () => {
  it('that fails is on record once and then counted, without what was presented', async () => {
    await using test = await TestControl.open();
    for (let count = 0; count < 50; count += 1)
      assert.equal(await test.control.authenticate({ bearer: 'sw_guessed-secret' }, request), null);
    await test.stop();
    const events = await test.events();
    await test.start();
    const failures = events.filter(({ action }) => action === 'token.verify');
    assert.deepEqual(
      failures.map(({ data }) => data?.repeated ?? null),
      [null, 49],
    );
    assert(!JSON.stringify(events).includes('guessed'));
  });
});
