import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import type { Clock } from '../../base/clock.ts';
import type { Actor } from '../../model/actor.ts';
import type { ElevationId } from '../../model/ids.ts';
import { roles, type Scope } from '../../model/scopes.ts';
import type { Caller } from '../control.ts';

let at: TestControl;
let strict: TestControl;
let passed = 0;
const clock: Clock = { now: () => Date.now() + passed, monotonic: () => performance.now() };
const person = (name: string, scopes: readonly Scope[], reach: Actor['reach']): Caller =>
  callerOf({ id: `user:${name}`, scopes: new Set(scopes), reach, signIn: { at: clock.now(), mfa: true } });
const ada = () => person('ada', roles.developer, 'team');
const boss = () => person('boss', roles.admin, 'all');
const wanted = { role: 'operator', reason: 'pager', seconds: 3600 };

before(async () => {
  const config = { elevationApproval: true };
  [at, strict] = await Promise.all([
    TestControl.open({ withRunner: false, clock }),
    TestControl.open({ withRunner: false, clock, config }),
  ]);
});
after(async () => {
  await at[Symbol.asyncDispose]();
  await strict[Symbol.asyncDispose]();
});

let users = 0;
/** Somebody new who may be elevated to these. */
async function somebody(on: TestControl, eligibleRoles: readonly string[] = ['operator']): Promise<Caller> {
  users += 1;
  const name = `u${users}`;
  const made = await on.store.identity.users.create(
    {
      ...{ name, displayName: null, email: null, role: 'developer', eligibleRoles, phase: 'active' },
      ...{ passwordHash: null, totpSealed: null, createdAt: clock.now() },
    },
    { external: null, teams: [] },
  );
  assert.equal(made.outcome, 'created');
  return person(name, roles.developer, 'team');
}

async function roleOf(on: TestControl, { actor }: Caller): Promise<string> {
  const known = await on.directory.principals.of(actor.id);
  if (typeof known === 'string') return known;
  return (known.elevated ?? known).role;
}

beforeEach(() => {
  passed = 0;
});

test('a user has the role for the time that was asked for, and not a moment longer', async () => {
  const user = await somebody(at);
  const made = await at.control.elevations.request(user, wanted);
  assert.equal(made.state, 'active');
  assert.equal(await roleOf(at, user), 'operator');
  passed = 3600 * 1000 - 5_000;
  assert.equal(await roleOf(at, user), 'operator');
  passed = 3600 * 1000 + 1;
  assert.equal(await roleOf(at, user), 'developer');
  const { items } = await at.control.elevations.listOwn(user, {});
  assert.deepEqual(
    items.map(({ id, state }) => [id, state]),
    [[made.id, 'ended']],
  );
  const events = (await at.events()).filter(({ action }) => action === 'account.elevation.request');
  assert.match(JSON.stringify(events[0]?.data), /"reason":"pager"/);
});

test('ending it takes the role away at once, by the user or by whoever may, also while nothing can be recorded', async () => {
  const user = await somebody(at);
  const first = await at.control.elevations.request(user, wanted);
  at.auditFails = true;
  assert.equal((await at.control.elevations.end(user, first.id as ElevationId)).state, 'ended');
  at.auditFails = false;
  assert.equal(await roleOf(at, user), 'developer');
  const second = await at.control.elevations.request(user, wanted);
  await assert.rejects(
    at.control.elevations.end(await somebody(at), second.id as ElevationId),
    withCode('resource.absent'),
    'to others it is not there',
  );
  const ended = await at.control.elevations.end(boss(), second.id as ElevationId);
  assert.deepEqual([ended.state, await roleOf(at, user)], ['ended', 'developer']);
  assert.equal((await at.control.elevations.end(boss(), second.id as ElevationId)).state, 'ended');
});

test('only to a role that the user may be elevated to, by the user as a person, and one at a time', async () => {
  const { elevations } = at.control;
  const user = await somebody(at);
  await assert.rejects(elevations.request(user, { ...wanted, role: 'admin' }), withCode('access.denied'));
  await assert.rejects(elevations.request(await somebody(at, []), wanted), withCode('access.denied'));
  const { signIn: _, ...machine } = user.actor;
  const token = callerOf({ ...machine, narrowed: true });
  await assert.rejects(elevations.request(token, wanted), withCode('access.denied'));
  await assert.rejects(elevations.request(person('nobody', ['*'], 'all'), wanted), withCode('access.denied'));
  const stale = callerOf({ ...user.actor, signIn: { at: clock.now() - 3600 * 1000, mfa: true } });
  await assert.rejects(elevations.request(stale, wanted), withCode('auth.step-up'));
  await elevations.request(user, wanted);
  await assert.rejects(elevations.request(user, wanted), withCode('state.conflict'));
  await assert.rejects(elevations.list(ada(), {}), withCode('access.denied'));
  assert((await elevations.list(boss(), { state: 'active' })).items.length > 0);
});

test('where a second person has to approve, nothing is given before, and nobody approves for themselves', async () => {
  const { elevations } = strict.control;
  const user = await somebody(strict);
  const { id, state } = await elevations.request(user, wanted);
  assert.deepEqual([state, await roleOf(strict, user)], ['requested', 'developer']);
  const approve = (caller: Caller) => elevations.approve(caller, id as ElevationId);
  const mighty = callerOf({ ...boss().actor, id: user.actor.id });
  await assert.rejects(approve(mighty), withCode('access.denied'), 'not by the same person');
  await assert.rejects(approve(user), withCode('access.denied'));
  await assert.rejects(approve(ada()), withCode('resource.absent'));
  const { signIn: _, ...token } = boss().actor;
  await assert.rejects(
    approve(callerOf({ ...token, narrowed: true })),
    withCode('access.denied'),
    'not by a token',
  );
  const weak = person('weak', ['identity:read', 'identity:write'], 'all');
  await assert.rejects(approve(weak), withCode('access.denied'), 'not by who holds less than the role');
  assert.equal(await roleOf(strict, user), 'developer');
  const approved = await approve(boss());
  assert.deepEqual(
    [approved.state, approved.decidedBy, await roleOf(strict, user)],
    ['active', 'user:boss', 'operator'],
  );
  await assert.rejects(approve(boss()), withCode('state.conflict'));
  assert.equal(Date.parse(approved.expiresAt!) - Date.parse(approved.decidedAt!), 3600 * 1000);
});

test('what was denied, withdrawn or waited a day is not approved any more', async () => {
  const { elevations } = strict.control;
  const [denied, withdrawn, late] = await Promise.all([somebody(strict), somebody(strict), somebody(strict)]);
  const ids = await Promise.all(
    [denied, withdrawn, late].map(async (user) => (await elevations.request(user, wanted)).id as ElevationId),
  );
  assert.equal((await elevations.deny(boss(), ids[0]!)).state, 'denied');
  assert.equal((await elevations.end(withdrawn, ids[1]!)).state, 'ended');
  passed = 25 * 3600 * 1000;
  for (const id of ids) await assert.rejects(elevations.approve(boss(), id), withCode('state.conflict'));
  for (const user of [denied, withdrawn, late]) assert.equal(await roleOf(strict, user), 'developer');
});

test('of many who approve and deny at once, one decides', async () => {
  const { elevations } = strict.control;
  const user = await somebody(strict);
  const id = (await elevations.request(user, wanted)).id as ElevationId;
  const settled = await Promise.allSettled([
    elevations.approve(boss(), id),
    elevations.deny(boss(), id),
    elevations.approve(boss(), id),
    elevations.deny(boss(), id),
  ]);
  assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('whoever may not be elevated to a role any more is not, from that moment', async () => {
  const user = await somebody(at, ['operator', 'auditor']);
  const name = user.actor.id.slice('user:'.length);
  await at.control.elevations.request(user, wanted);
  assert.equal(await roleOf(at, user), 'operator');
  const eligible = async (eligibleRoles: string[]) => {
    const { version } = await at.control.users.get(boss(), name);
    await at.control.users.update(boss(), name, { eligibleRoles }, version);
  };
  await eligible(['operator']);
  assert.equal(await roleOf(at, user), 'operator', 'another role was taken');
  await eligible(['auditor']);
  assert.equal(await roleOf(at, user), 'developer');
});

test('of many requests at once one is in force, so that ending it ends all of it', async () => {
  const { elevations } = at.control;
  const user = await somebody(at);
  const settled = await Promise.allSettled(Array.from({ length: 6 }, () => elevations.request(user, wanted)));
  const made = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  assert.equal(made.length, 1);
  assert.equal(await roleOf(at, user), 'operator');
  await elevations.end(user, made[0]!.id as ElevationId);
  assert.equal(await roleOf(at, user), 'developer');
});
