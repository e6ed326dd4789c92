import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import type { FlagRule } from '../../model/flags.ts';
import { roles } from '../../model/scopes.ts';
import type { UserRecord } from '../../store/identity-store.ts';
import { controlLimits } from '../limits.ts';

const admin = callerOf(actorOf('root', 'all', roles.admin));
const asked = { id: 'req', address: '192.0.2.7', userAgent: 'portal' };

describe('a ticket', () => {
  let test: TestControl;
  let now: number;

  beforeEach(async () => {
    now = Date.now();
    const clock = { now: () => now, monotonic: () => performance.now() };
    test = await TestControl.open({ withRunner: false, clock });
    await user('ada', 'developer', ['platform']);
    await user('eve', 'developer');
  });
  afterEach(() => test[Symbol.asyncDispose]());

  async function user(name: string, role: string, teams: string[] = []): Promise<void> {
    const record: Omit<UserRecord, 'lastSignInAt' | 'version'> = {
      ...{ name, role, displayName: null, email: null, eligibleRoles: [], phase: 'active' },
      ...{ passwordHash: null, totpSealed: null, createdAt: now },
    };
    await test.store.identity.users.create(record, { external: null, teams });
  }
  const flag = (rule: FlagRule) => test.control.flags.put(admin, 'sso-tickets', { rule }, null);
  const make = async (name: string) => (await test.control.users.ticket(admin, name)).ticket;
  const use = (ticket: string) => test.control.signIn.ticket(asked, ticket);
  const signInsOf = async (name: string) => {
    const listed = await test.store.identity.signIns.list(
      { actor: `user:${name}` },
      { after: null, limit: 10 },
      now,
    );
    return listed.records.length;
  };

  it('is made for nobody while the flag is off, which it is until it is set', async () => {
    await assert.rejects(make('ada'), withCode('feature.off'));
    await flag('on');
    assert.match(await make('ada'), /^swt_/);
  });

  it('is made for those alone that the flag is on for', async () => {
    await flag([{ teams: ['platform'] }]);
    assert.match(await make('ada'), /^swt_/);
    await assert.rejects(make('eve'), withCode('feature.off'));
  });

  it('is made by nobody who is kept to egress, nor is an invitation: a person is not', async () => {
    await flag('on');
    const kept = callerOf({ ...admin.actor, egress: new Set(['github']) });
    const invite = (caller: typeof kept) => test.control.invitations.create(caller, { role: 'developer' });
    await assert.rejects(test.control.users.ticket(kept, 'ada'), withCode('access.denied'));
    await assert.rejects(invite(kept), withCode('access.denied'));
    assert.match((await invite(admin)).link, /#swi_/);
    assert.match(await make('ada'), /^swt_/);
  });

  it('signs its user in once', async () => {
    await flag('on');
    const ticket = await make('ada');
    const { answer, cookie } = await use(ticket);
    assert.deepEqual([answer.state, cookie !== null, await signInsOf('ada')], ['signed-in', true, 1]);
    await assert.rejects(use(ticket), withCode('auth.invalid'));
    assert.equal(await signInsOf('ada'), 1);
  });

  it('that is under way is worth nothing once the flag is off', async () => {
    await flag('on');
    const ticket = await make('ada');
    await test.control.flags.remove(admin, 'sso-tickets');
    await assert.rejects(use(ticket), withCode('feature.off'));
    await flag('on');
    await assert.rejects(use(ticket), withCode('auth.invalid'));
    assert.equal(await signInsOf('ada'), 0);
  });

  it('is worth nothing after its time, in another form, or for a user who is disabled', async () => {
    await flag('on');
    const [late, gone] = [await make('ada'), await make('eve')];
    await test.control.users.disable(admin, 'eve');
    await assert.rejects(use(gone), withCode('auth.invalid'));
    now += controlLimits.ticketMs;
    for (const text of [late, `${late} `, late.slice(0, -1), '', 'swt_'])
      await assert.rejects(use(text), withCode('auth.invalid'));
    assert.equal(await signInsOf('ada'), 0);
  });

  it('is one factor: a role that demands two asks for the other', async () => {
    await flag('on');
    await user('grace', 'operator');
    const { answer, cookie } = await use(await make('grace'));
    assert.deepEqual([answer.state, cookie], ['pending', null]);
    assert.equal(await signInsOf('grace'), 0);
  });
});
