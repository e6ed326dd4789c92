import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { ActorId } from '../model/actor.ts';
import { newId } from '../model/ids.ts';
import { changeKinds, type UserRecord } from './identity-store.ts';
import { signInPromises } from './sign-in.conformance.ts';
import type { Store } from './store.ts';
import { changesOf, newSignIn, type OpenedPair, type Using } from './test-identity.ts';

const ann: ActorId = 'user:ann';
const bob: ActorId = 'user:bob';
const page = { after: null, limit: 10 };

/** What every store promises of people and machines. `open` makes an empty one and opens it twice. */
export function identityConformance(kind: string, open: () => Promise<OpenedPair>) {
  describe(`${kind} identity store`, () => {
    let pair: OpenedPair;
    beforeEach(async () => {
      pair = await open();
    });
    afterEach(async () => {
      await pair.store.close();
      await pair.other.close();
      await pair.remove();
    });
    const using: Using = () => pair;
    userPromises(using);
    removalPromises(using);
    factorPromises(using);
    invitationPromises(using);
    signInPromises(using);
    oneTimePromises(using);
    teamPromises(using);
    rolePromises(using);
    agentPromises(using);
    policyPromises(using);
    elevationPromises(using);
    keyPromises(using);
    flagPromises(using);
    attemptPromises(using);
    changePromises(using);
  });
}

function newUser(
  name: string,
  change: Partial<UserRecord> = {},
): Omit<UserRecord, 'lastSignInAt' | 'version'> {
  return {
    name,
    displayName: null,
    email: null,
    role: 'developer',
    eligibleRoles: [],
    phase: 'active',
    passwordHash: null,
    totpSealed: null,
    createdAt: 1000,
    ...change,
  };
}

async function makeUser(store: Store, name: string, change: Partial<UserRecord> = {}): Promise<UserRecord> {
  const made = await store.identity.users.create(newUser(name, change), { external: null, teams: [] });
  assert(made.outcome === 'created');
  return made.record;
}

function userPromises(using: Using): void {
  it('gives back a user as it was made', async () => {
    const { store } = using();
    const made = await makeUser(store, 'ann', {
      displayName: 'Ann',
      email: 'ann@example.org',
      eligibleRoles: ['admin'],
      passwordHash: '$argon2id$',
    });
    assert.deepEqual(await store.identity.users.get('ann'), made);
    assert.deepEqual([made.version, made.lastSignInAt], [1, null]);
    assert.equal(await store.identity.users.get('bob'), null);
  });

  it('makes one user of a name, though two processes ask at once', async () => {
    const { store, other } = using();
    const made = await Promise.all(
      [store, other, store, other].map((each) =>
        each.identity.users.create(newUser('ann'), { external: null, teams: [] }),
      ),
    );
    assert.equal(made.filter(({ outcome }) => outcome === 'created').length, 1);
  });

  it('never gives a name again, not even after its user was removed', async () => {
    const { users } = using().store.identity;
    await makeUser(using().store, 'ann');
    assert.equal(await users.remove('ann', 2000), 'removed');
    assert.equal(await users.get('ann'), null);
    const again = await users.create(newUser('ann'), { external: null, teams: [] });
    assert.equal(again.outcome, 'taken');
    assert.equal(await users.remove('ann', 3000), 'absent');
  });

  it('finds a user by who it is at a provider, which nobody else can be', async () => {
    const { users } = using().store.identity;
    const external = { provider: 'https://idp.example', subject: 'a1' };
    await users.create(newUser('ann'), { external, teams: [] });
    await makeUser(using().store, 'bob');
    assert.equal((await users.byExternal(external))?.name, 'ann');
    assert.equal((await users.create(newUser('eve'), { external, teams: [] })).outcome, 'taken');
    assert.equal(await users.get('eve'), null);
    assert(!(await users.link('bob', external)));
    assert(await users.link('bob', { ...external, subject: 'b1' }));
    assert.deepEqual(await users.externalsOf('bob'), [{ ...external, subject: 'b1' }]);
    assert.equal(await users.byExternal({ ...external, subject: 'zz' }), null);
    assert(!(await users.link('nobody', { ...external, subject: 'n1' })));
    assert(!(await users.unlink('ann', { ...external, subject: 'b1' })), 'of another user');
    assert(await users.unlink('bob', { ...external, subject: 'b1' }));
    assert(!(await users.unlink('bob', { ...external, subject: 'b1' })));
    assert.equal(await users.byExternal({ ...external, subject: 'b1' }), null);
  });

  it('changes a user whose version is what the writer read, and no other', async () => {
    const { users } = using().store.identity;
    const { version } = await makeUser(using().store, 'ann');
    const written = await users.update('ann', { role: 'admin', displayName: 'A' }, version);
    assert(written.outcome === 'written');
    assert.deepEqual(
      [written.record.role, written.record.displayName, written.record.version],
      ['admin', 'A', 2],
    );
    assert.equal((await users.update('ann', { role: 'auditor' }, version)).outcome, 'stale');
    assert.equal((await users.update('ann', { phase: 'disabled' }, null)).outcome, 'written');
    assert.equal((await users.update('bob', {}, null)).outcome, 'absent');
    assert.equal((await users.get('ann'))?.role, 'admin');
  });

  it('leaves an active user with the role that is to be kept, whatever two processes do at once', async () => {
    const { store, other } = using();
    const one = store.identity.users;
    const two = (other ?? store).identity.users;
    for (const round of [0, 1, 2, 3]) {
      const [a, b] = [`a${round}`, `b${round}`];
      for (const name of [a, b]) await makeUser(store, name, { role: 'boss' });
      await makeUser(store, `c${round}`, { role: 'boss', phase: 'disabled' });
      const ends = [
        one.update(a, round < 2 ? { phase: 'disabled' } : { role: 'auditor' }, null, 'boss'),
        round % 2 === 0
          ? two.remove(b, 2000, 'boss').then((outcome) => ({ outcome }))
          : two.update(b, { role: 'auditor' }, null, 'boss'),
      ];
      const outcomes = (await Promise.all(ends)).map(({ outcome }) => outcome);
      assert.equal(outcomes.filter((outcome) => outcome === 'last').length, 1, `${outcomes}`);
      assert.equal(await one.countByRole('boss'), 1);
      const { name, version } = (await one.list({ role: 'boss', phase: 'active' }, page)).records[0]!;
      assert.equal(await two.remove(name, 2000, 'boss'), 'last');
      assert.equal((await two.update(name, { displayName: 'B' }, version, 'boss')).outcome, 'written');
      assert.equal((await two.update(name, { role: 'auditor' }, version, 'boss')).outcome, 'stale');
      assert.equal((await two.update(`c${round}`, { role: 'auditor' }, null, 'boss')).outcome, 'written');
      assert.equal(await two.remove(name, 2000), 'removed', 'nothing is kept that was not asked for');
    }
    assert.equal(await two.remove('nobody', 2000, 'boss'), 'absent');
    assert.equal((await two.update('nobody', { role: 'auditor' }, null, 'boss')).outcome, 'absent');
  });

  it('upgrades a password hash unless the password was changed meanwhile', async () => {
    const { users } = using().store.identity;
    await makeUser(using().store, 'ann', { passwordHash: 'old' });
    assert(await users.rehash('ann', 'old', 'new'));
    assert(!(await users.rehash('ann', 'old', 'newer')));
    assert.equal((await users.get('ann'))?.passwordHash, 'new');
  });

  it('lists users by age, role and phase, and counts the active ones of a role', async () => {
    const { users } = using().store.identity;
    await makeUser(using().store, 'ann', { role: 'admin', createdAt: 1 });
    await makeUser(using().store, 'bob', { createdAt: 2 });
    await makeUser(using().store, 'cyd', { createdAt: 2, phase: 'disabled', role: 'admin' });
    const first = await users.list({}, { after: null, limit: 2 });
    assert.deepEqual([first.records.map(({ name }) => name), first.more], [['cyd', 'bob'], true]);
    const rest = await users.list({}, { after: { createdAt: 2, id: 'bob' }, limit: 2 });
    assert.deepEqual([rest.records.map(({ name }) => name), rest.more], [['ann'], false]);
    const admins = await users.list({ role: 'admin', phase: 'active' }, page);
    assert.deepEqual(
      admins.records.map(({ name }) => name),
      ['ann'],
    );
    assert.equal(await users.countByRole('admin'), 1);
    await users.signedIn('ann', 77);
    assert.equal((await users.get('ann'))?.lastSignInAt, 77);
  });
}

function removalPromises(using: Using): void {
  it('ends with a user all that it could act with, in the same commit', async () => {
    const { store } = using();
    const { users, signIns, passkeys, teams } = store.identity;
    const external = { provider: 'p', subject: 's' };
    await users.create(newUser('ann'), { external, teams: ['blue'] });
    const signIn = newSignIn();
    const helper = newSignIn({ actor: 'agent:helper', parent: signIn.id });
    await signIns.create(signIn, 'r1');
    await signIns.create(helper, null);
    await passkeys.add(newPasskey('k1'));
    await users.putRecoveryCodes('ann', ['c1']);
    const token = newToken();
    await store.tokens.create(token, null);
    const changes = await changesOf(store, () => users.remove('ann', 1500));
    assert.deepEqual(
      changes.toSorted(),
      [
        `sign-in ${helper.id}`,
        `sign-in ${signIn.id}`,
        'team blue',
        `token ${token.id}`,
        'user ann',
      ].toSorted(),
    );
    assert.equal(await signIns.get(signIn.id, 1500), null);
    assert.equal(await signIns.get(helper.id, 1500), null);
    assert.equal(await store.tokens.get(token.id), null);
    assert.equal(await passkeys.get('k1'), null);
    assert.equal(await users.recoveryCodesLeft('ann'), 0);
    assert.equal(await users.byExternal(external), null);
    assert.deepEqual(await teams.of(ann), []);
    assert.equal((await users.update('ann', { phase: 'active' }, null)).outcome, 'absent');
  });

  it('ends with an API token what was exchanged from it', async () => {
    const { store } = using();
    const token = newToken();
    await store.tokens.create(token, null);
    const exchanged = newSignIn({ parent: token.id });
    await store.identity.signIns.create(exchanged, null);
    assert.notEqual(await store.identity.signIns.get(exchanged.id, 1100), null);
    const changes = await changesOf(store, () => store.tokens.revoke(token.id, 1100));
    assert.deepEqual(changes, [`token ${token.id}`, `sign-in ${exchanged.id}`]);
    assert.equal(await store.identity.signIns.get(exchanged.id, 1100), null);
  });
}

function newToken() {
  return {
    id: newId('token', 1000),
    name: 'ci',
    actor: ann,
    scopes: [],
    reach: 'own' as const,
    hash: newId('token', 1),
    createdAt: 1000,
    expiresAt: null,
  };
}

function newPasskey(id: string, counter = 0) {
  return { id, user: 'ann', name: 'key', publicKey: 'pk', counter, transports: ['usb'], createdAt: 1 };
}

function factorPromises(using: Using): void {
  it('takes the code of a step of time once, and none from before', async () => {
    const { store, other } = using();
    await makeUser(store, 'ann');
    const taken = await Promise.all(
      [store, other, store, other].map((each) => each.identity.users.takeTotpStep('ann', 50)),
    );
    assert.equal(taken.filter(Boolean).length, 1);
    assert(!(await store.identity.users.takeTotpStep('ann', 49)));
    assert(await store.identity.users.takeTotpStep('ann', 51));
    assert(!(await store.identity.users.takeTotpStep('nobody', 51)));
  });

  it('takes a recovery code once, and forgets all when new ones are made', async () => {
    const { store, other } = using();
    await makeUser(store, 'ann');
    const { users } = store.identity;
    await users.putRecoveryCodes('ann', ['a', 'b', 'c']);
    const taken = await Promise.all(
      [store, other, store, other].map((each) => each.identity.users.takeRecoveryCode('ann', 'a', 5)),
    );
    assert.equal(taken.filter(Boolean).length, 1);
    assert(!(await users.takeRecoveryCode('bob', 'b', 5)));
    assert.equal(await users.recoveryCodesLeft('ann'), 2);
    await users.putRecoveryCodes('ann', ['d']);
    assert(!(await users.takeRecoveryCode('ann', 'b', 5)));
    assert.equal(await users.recoveryCodesLeft('ann'), 1);
  });

  it('refuses a passkey whose counter went back or stood still, and one that is known', async () => {
    const { passkeys } = using().store.identity;
    assert(await passkeys.add(newPasskey('k1', 4)));
    assert(!(await passkeys.add({ ...newPasskey('k1'), user: 'eve' })));
    assert(!(await passkeys.used('k1', 4, 9)));
    assert(!(await passkeys.used('k1', 3, 9)));
    assert(!(await passkeys.used('k1', 0, 9)));
    assert(await passkeys.used('k1', 5, 9));
    const stored = { ...newPasskey('k1', 5), lastUsedAt: 9 };
    assert.deepEqual(await passkeys.of('ann'), [stored]);
    assert(!(await passkeys.remove('eve', 'k1')));
    assert(await passkeys.remove('ann', 'k1'));
    assert.equal(await passkeys.get('k1'), null);
  });

  it('accepts a passkey that does not count', async () => {
    const { passkeys } = using().store.identity;
    await passkeys.add(newPasskey('k1'));
    assert(await passkeys.used('k1', 0, 1));
    assert(await passkeys.used('k1', 0, 2));
    assert(!(await passkeys.used('k2', 0, 2)));
  });
}

function invitationPromises(using: Using): void {
  const invitation = (hash: string, name: string | null = null) => ({
    id: newId('invitation', 1000),
    hash,
    name,
    email: null,
    role: 'developer',
    teams: ['blue'],
    createdBy: bob,
    createdAt: 1000,
    expiresAt: 2000,
  });

  it('makes one user of an invitation, though two processes accept it at once', async () => {
    const { store, other } = using();
    const made = invitation('h');
    await store.identity.invitations.create(made);
    assert.deepEqual(await store.identity.invitations.byHash('h', 1500), made);
    const accepted = await Promise.all(
      [store, other, store, other].map((each, index) =>
        each.identity.invitations.accept('h', newUser(`ann${index}`), 1500),
      ),
    );
    assert.equal(accepted.filter(({ outcome }) => outcome === 'accepted').length, 1);
    assert.equal((await store.identity.users.list({}, page)).records.length, 1);
    const [user] = (await store.identity.users.list({}, page)).records;
    assert.deepEqual(await store.identity.teams.of(`user:${user?.name}`), ['blue']);
    assert.equal(await store.identity.invitations.get(made.id, 1500), null);
  });

  it('keeps an invitation whose name was taken', async () => {
    const { invitations } = using().store.identity;
    await makeUser(using().store, 'ann');
    await invitations.create(invitation('h'));
    assert.equal((await invitations.accept('h', newUser('ann'), 1500)).outcome, 'taken');
    assert.equal((await invitations.accept('h', newUser('amy'), 1500)).outcome, 'accepted');
  });

  it('knows nothing of invitations that are over or revoked', async () => {
    const { invitations } = using().store.identity;
    const made = invitation('h');
    await invitations.create(made);
    assert.equal((await invitations.list(page, 1999)).records.length, 1);
    assert.equal((await invitations.list(page, 2000)).records.length, 0);
    assert.equal((await invitations.accept('h', newUser('ann'), 2000)).outcome, 'absent');
    assert(await invitations.revoke(made.id, 1500));
    assert(!(await invitations.revoke(made.id, 1500)));
    assert.equal(await invitations.byHash('h', 1500), null);
    assert.equal((await invitations.accept('h', newUser('ann'), 1500)).outcome, 'absent');
  });
}

function oneTimePromises(using: Using): void {
  it('gives what was put to one of many callers on two processes', async () => {
    const { store, other } = using();
    const data = { user: 'ann', list: [1, null], nested: { b: 1, a: 2 } };
    assert(await store.identity.oneTimes.put('ticket', 'h', data, 2000));
    const taken = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        (index % 2 === 0 ? store : other).identity.oneTimes.take('ticket', 'h', 1000),
      ),
    );
    assert.deepEqual(
      taken.filter((each) => each !== null),
      [data],
    );
  });

  it('keeps kinds apart, refuses a hash in use, and forgets at its time', async () => {
    const { oneTimes } = using().store.identity;
    assert(await oneTimes.put('ticket', 'h', 1, 2000));
    assert(!(await oneTimes.put('ticket', 'h', 2, 2000)));
    assert.equal(await oneTimes.take('challenge', 'h', 1000), null);
    assert.equal(await oneTimes.peek('ticket', 'h', 1999), 1);
    assert.equal(await oneTimes.peek('ticket', 'h', 2000), null);
    assert.equal(await oneTimes.take('ticket', 'h', 2000), null);
    await oneTimes.forgetBefore(2001);
    assert(await oneTimes.put('ticket', 'h', 2, 3000));
  });

  it('replaces what is as it was read, in whatever order its members are, and nothing else', async () => {
    const { store, other } = using();
    const { oneTimes } = store.identity;
    await oneTimes.put('device-code', 'h', { state: 'asked', client: 'c' }, 2000);
    const from = { client: 'c', state: 'asked' };
    const swapped = await Promise.all(
      [store, other, store, other].map((each, index) =>
        each.identity.oneTimes.replace('device-code', 'h', from, { ...from, state: `${index}` }, 1000),
      ),
    );
    assert.equal(swapped.filter(Boolean).length, 1);
    assert(
      !(await oneTimes.replace('device-code', 'h', await oneTimes.peek('device-code', 'h', 1), {}, 2000)),
    );
  });
}

function teamPromises(using: Using): void {
  const team = (members: ActorId[]) => ({ name: 'blue', description: 'd', members, createdAt: 1 });

  it('replaces a team that is as its writer read it', async () => {
    const { teams } = using().store.identity;
    const made = await teams.put(team([bob, ann, ann]), null);
    assert(made.outcome === 'written');
    assert.deepEqual(made.record, { ...team([ann, bob]), version: 1 });
    assert.deepEqual(await teams.get('blue'), made.record);
    assert.equal((await teams.put(team([]), null)).outcome, 'stale');
    assert.equal((await teams.put(team([]), 2)).outcome, 'stale');
    assert.equal((await teams.put({ ...team([]), name: 'red' }, 1)).outcome, 'absent');
    assert.equal((await teams.put(team([bob]), 1)).outcome, 'written');
    assert.deepEqual([await teams.of(ann), await teams.of(bob)], [[], ['blue']]);
  });

  it('changes the memberships that were asked about and leaves the others', async () => {
    const { teams } = using().store.identity;
    await teams.put(team([ann]), null);
    await teams.assign(ann, ['red', 'green'], ['red', 'blue']);
    assert.deepEqual(await teams.of(ann), ['red']);
    await teams.put({ ...team([ann]), name: 'green' }, null);
    const changes = await changesOf(using().store, () => teams.assign(ann, [], ['red']));
    assert.deepEqual(changes, ['team red']);
    assert.deepEqual(await teams.of(ann), ['green']);
    assert.deepEqual(
      await changesOf(using().store, () => teams.assign(ann, ['green'], ['green', 'red'])),
      [],
    );
  });

  it('has no members in a team that was removed, also when it is made again', async () => {
    const { teams } = using().store.identity;
    await teams.put(team([ann]), null);
    assert(await teams.remove('blue'));
    assert(!(await teams.remove('blue')));
    assert.equal(await teams.get('blue'), null);
    assert.equal((await teams.list({ after: null, limit: 10 })).records.length, 0);
    assert.deepEqual(await teams.of(ann), []);
    const again = await teams.put(team([]), null);
    assert(again.outcome === 'written');
    assert.deepEqual([again.record.members, again.record.version], [[], 2]);
  });
}

function rolePromises(using: Using): void {
  const role = (name: string) => ({
    name,
    description: null,
    scopes: ['run:read' as const],
    reach: 'team' as const,
    createdAt: 1,
  });

  it('removes a role that nobody has, can be elevated to or was invited with', async () => {
    const { roles, users, agents, invitations } = using().store.identity;
    for (const name of ['own', 'eligible', 'agents', 'invited', 'old', 'free'])
      assert.equal((await roles.put(role(name), null)).outcome, 'written');
    await makeUser(using().store, 'ann', { role: 'own', eligibleRoles: ['eligible'] });
    await agents.create(newAgent({ role: 'agents' }));
    const invitation = { hash: 'h', name: null, email: null, teams: [], createdBy: ann, createdAt: 1 };
    const id = () => newId('invitation', 1);
    await invitations.create({
      ...invitation,
      id: id(),
      role: 'invited',
      expiresAt: Number.MAX_SAFE_INTEGER,
    });
    await invitations.create({ ...invitation, id: id(), hash: 'i', role: 'old', expiresAt: 2 });
    for (const name of ['own', 'eligible', 'agents', 'invited'])
      assert.equal(await roles.remove(name), 'used', name);
    for (const name of ['old', 'free']) assert.equal(await roles.remove(name), 'removed', name);
    assert.equal(await roles.remove('free'), 'absent');
    assert.equal(await roles.get('free'), null);
    assert.equal((await roles.list()).length, 4);
    await users.remove('ann', 2);
    assert.equal(await roles.remove('own'), 'removed');
  });

  it('replaces a role that is as its writer read it', async () => {
    const { roles } = using().store.identity;
    await roles.put(role('r'), null);
    const changes = await changesOf(using().store, () => roles.put({ ...role('r'), reach: 'own' }, 1));
    assert.deepEqual(changes, ['role r']);
    assert.equal((await roles.put(role('r'), 1)).outcome, 'stale');
    assert.deepEqual(await roles.get('r'), { ...role('r'), reach: 'own', version: 2 });
  });
}

function newAgent(change: { id?: ActorId; role?: string } = {}) {
  return {
    id: 'agent:helper' as ActorId,
    displayName: null,
    owner: ann,
    role: 'agent',
    scopes: ['run:read' as const],
    egress: null,
    phase: 'active' as const,
    createdAt: 1,
    ...change,
  };
}

function agentPromises(using: Using): void {
  const credential = (proof: string, expiresAt: number | null = null) => ({
    id: newId('credential', 1),
    agent: 'agent:helper' as ActorId,
    kind: 'secret' as const,
    name: null,
    proof,
    material: null,
    createdAt: 1,
    expiresAt,
  });

  it('never gives an agent’s name again, and ends all that it had', async () => {
    const { agents, signIns } = using().store.identity;
    const made = await agents.create(newAgent());
    assert(made.outcome === 'created');
    assert.deepEqual(await agents.get('agent:helper'), made.record);
    assert.equal((await agents.create(newAgent())).outcome, 'taken');
    const secret = credential('p');
    await agents.addCredential(secret);
    const signIn = newSignIn({ actor: 'agent:helper' });
    await signIns.create(signIn, null);
    const changes = await changesOf(using().store, () => agents.remove('agent:helper', 1100));
    assert.deepEqual(changes, [`sign-in ${signIn.id}`, 'agent agent:helper']);
    assert.equal(await agents.get('agent:helper'), null);
    assert.equal(await agents.credentialByProof('secret', 'p', 1100), null);
    assert.equal(await signIns.get(signIn.id, 1100), null);
    assert.equal((await agents.create(newAgent())).outcome, 'taken');
    assert(!(await agents.remove('agent:helper', 1200)));
  });

  it('finds the credentials that are valid now', async () => {
    const { agents } = using().store.identity;
    await agents.create(newAgent());
    const [kept, short, revoked] = [credential('a'), credential('b', 50), credential('c')];
    for (const each of [kept, short, revoked]) await agents.addCredential(each);
    const changes = await changesOf(using().store, () => agents.revokeCredential(revoked.id, 10));
    assert.deepEqual(changes, ['agent agent:helper']);
    assert(!(await agents.revokeCredential(revoked.id, 10)));
    const ids = async (now: number) =>
      (await agents.credentials('agent:helper', now)).map(({ proof }) => proof).toSorted();
    assert.deepEqual([await ids(49), await ids(50)], [['a', 'b'], ['a']]);
    assert.equal((await agents.credentialByProof('secret', 'b', 49))?.id, short.id);
    assert.equal(await agents.credentialByProof('secret', 'b', 50), null);
    assert.equal(await agents.credentialByProof('certificate', 'a', 1), null);
    assert.deepEqual(await agents.revoked('secret', 49), [
      { id: revoked.id, agent: 'agent:helper', proof: 'c', revokedAt: 10 },
    ]);
    assert.deepEqual(await agents.revoked('certificate', 49), []);
    await agents.touchCredential(kept.id, 33);
    assert.equal((await agents.credential(kept.id))?.lastUsedAt, 33);
    assert.equal(await agents.credential(revoked.id), null);
  });

  it('takes no credential whose proof is, or was, another one’s', async () => {
    const { agents } = using().store.identity;
    await agents.create(newAgent());
    const first = credential('a');
    assert.equal(await agents.addCredential(first), true);
    assert.equal(await agents.addCredential(credential('a')), false);
    assert.equal(await agents.addCredential({ ...credential('a'), kind: 'public-key' }), true);
    await agents.revokeCredential(first.id, 10);
    assert.equal(await agents.addCredential(credential('a')), false);
    const brief = credential('b', 50);
    await agents.addCredential(brief);
    await agents.revokeCredential(brief.id, 20);
    const revoked = async (now: number) => (await agents.revoked('secret', now)).map(({ id }) => id);
    assert.deepEqual([await revoked(49), await revoked(50)], [[brief.id, first.id], [first.id]]);
  });

  it('lists and changes agents', async () => {
    const { agents } = using().store.identity;
    await agents.create(newAgent());
    const written = await agents.update('agent:helper', { phase: 'disabled', owner: bob }, 1);
    assert(written.outcome === 'written');
    assert.equal((await agents.update('agent:helper', { phase: 'active' }, 1)).outcome, 'stale');
    assert.equal((await agents.list({ owner: ann }, page)).records.length, 0);
    assert.deepEqual((await agents.list({ owner: bob }, page)).records, [written.record]);
  });
}

function policyPromises(using: Using): void {
  const policy = (text: string | null) => ({ name: 'p', text, author: ann, reason: null, createdAt: 1 });

  it('counts the generations of an access policy, its removal too', async () => {
    const { store, other } = using();
    const { accessPolicies } = store.identity;
    const first = await Promise.all(
      [store, other].map((each) => each.identity.accessPolicies.put(policy('a'), null)),
    );
    assert.deepEqual(first.map(({ outcome }) => outcome).toSorted(), ['stale', 'written']);
    assert.equal((await accessPolicies.put(policy('b'), 1)).outcome, 'written');
    assert.deepEqual(await accessPolicies.all(), [{ ...policy('b'), generation: 2 }]);
    const changes = await changesOf(store, () => accessPolicies.put(policy(null), 2));
    assert.deepEqual(changes, ['access-policy p']);
    assert.deepEqual([await accessPolicies.get('p'), await accessPolicies.all()], [null, []]);
    assert.equal((await accessPolicies.put(policy('c'), null)).outcome, 'written');
    assert.equal((await accessPolicies.get('p'))?.generation, 4);
    assert.equal((await accessPolicies.getGeneration('p', 2))?.text, 'b');
    const history = await accessPolicies.history('p', { before: 4, limit: 2 });
    assert.deepEqual([history.records.map(({ generation }) => generation), history.more], [[3, 2], true]);
  });
}

function elevationPromises(using: Using): void {
  it('moves an elevation once, though two processes decide at once', async () => {
    const { store, other } = using();
    const { elevations } = store.identity;
    const id = newId('elevation', 1);
    const asked = { user: ann, role: 'admin', reason: 'r', seconds: 60, requestedAt: 1 };
    const undecided = { decidedBy: null, decidedAt: null, expiresAt: null };
    const first = { id, ...asked, state: 'requested', ...undecided } as const;
    const all = [store, other, store, other];
    const made = await Promise.all(
      all.map((each, at) =>
        each.identity.elevations.create(at === 0 ? first : { ...first, id: newId('elevation', 1) }, 0),
      ),
    );
    assert.deepEqual(made, [true, false, false, false], 'one at a time of one user');
    assert.equal((await elevations.list({ user: ann }, page)).records.length, 1);
    const later = { ...first, requestedAt: 100 };
    assert(await elevations.create({ ...later, id: newId('elevation', 2), user: bob }, 0));
    assert.equal(await elevations.activeOf(ann, 1), null);
    const moved = await Promise.all(
      [store, other, store, other].map((each) =>
        each.identity.elevations.move(id, 'requested', {
          state: 'active',
          decidedBy: bob,
          decidedAt: 5,
          expiresAt: 65,
        }),
      ),
    );
    assert.equal(moved.filter((each) => each !== null).length, 1);
    assert.equal((await elevations.activeOf(ann, 64))?.id, id);
    assert.equal(await elevations.activeOf(ann, 65), null);
    assert.equal(await elevations.activeOf(bob, 5), null);
    assert.equal((await elevations.list({ user: ann, state: 'active' }, page)).records.length, 1);
    const second = { ...first, id: newId('elevation', 3) };
    assert.equal(await elevations.create({ ...second, requestedAt: 64 }, 64), false, 'one is in force');
    const changes = await changesOf(store, () => elevations.move(id, 'active', { state: 'ended' }));
    assert.deepEqual(changes, [`elevation ${id}`]);
    assert(await elevations.create({ ...second, requestedAt: 64 }, 0));
    assert.equal(
      await elevations.create({ ...second, id: newId('elevation', 4), requestedAt: 70 }, 60),
      false,
    );
    assert(
      await elevations.create({ ...second, id: newId('elevation', 4), requestedAt: 70 }, 64),
      'too long',
    );
    assert.equal(await elevations.activeOf(ann, 6), null);
    assert.equal((await elevations.get(id))?.decidedBy, bob);
  });
}

function keyPromises(using: Using): void {
  const key = (createdAt: number, use: 'access' | 'authority' = 'access') => ({
    id: newId('key', createdAt),
    use,
    public: 'p',
    sealed: 's',
    createdAt,
    retiredAt: null,
    expiresAt: null,
  });

  it('has one first key of a use, though two processes make one at once', async () => {
    const { store, other } = using();
    const made = await Promise.all(
      [store, other, store, other].map((each) => each.identity.signingKeys.ensure(key(1))),
    );
    assert.equal(new Set(made.map(({ id }) => id)).size, 1);
    assert.equal((await store.identity.signingKeys.ensure(key(1, 'authority'))).use, 'authority');
    assert.equal((await store.identity.signingKeys.valid('access', 5)).length, 1);
  });

  it('verifies with the keys before until their overlap is over, and never longer than they were given', async () => {
    const { signingKeys } = using().store.identity;
    const [first, second, third] = [key(1), key(2), key(3)];
    await signingKeys.ensure(first);
    await signingKeys.ensure(key(1, 'authority'));
    assert.deepEqual(await changesOf(using().store, () => signingKeys.rotate(second, 50)), [
      `key ${second.id}`,
    ]);
    await signingKeys.rotate(third, 100);
    const ids = async (now: number) => (await signingKeys.valid('access', now)).map(({ id }) => id);
    assert.deepEqual(await ids(49), [third.id, second.id, first.id]);
    assert.deepEqual(await ids(50), [third.id, second.id]);
    assert.deepEqual(await ids(100), [third.id]);
    assert.equal((await signingKeys.valid('authority', 1000)).length, 1);
    assert.equal((await signingKeys.ensure(key(9))).id, third.id);
  });
}

function flagPromises(using: Using): void {
  it('sets a flag that is as its writer read it, and goes on counting after a removal', async () => {
    const { flags } = using().store.identity;
    const flag = { name: 'f', rule: '{}', author: ann, changedAt: 1 };
    assert.equal((await flags.put(flag, null)).outcome, 'written');
    assert.equal((await flags.put(flag, null)).outcome, 'stale');
    assert.equal((await flags.put({ ...flag, rule: '1' }, 1)).outcome, 'written');
    assert.deepEqual(await flags.list(), [{ ...flag, rule: '1', version: 2 }]);
    assert.deepEqual(await changesOf(using().store, () => flags.remove('f')), ['flag f']);
    assert(!(await flags.remove('f')));
    assert.deepEqual(await flags.list(), []);
    assert.equal((await flags.put(flag, 2)).outcome, 'absent');
    const again = await flags.put(flag, null);
    assert(again.outcome === 'written' && again.record.version === 3);
  });
}

function attemptPromises(using: Using): void {
  it('counts every attempt of two processes in one window', async () => {
    const { store, other } = using();
    const added = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 === 0 ? store : other).identity.attempts.add('k', 100, 1000 + index),
      ),
    );
    assert.deepEqual(
      added.map(({ count }) => count).toSorted((a, b) => a - b),
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
    assert.equal(new Set(added.map(({ endsAt }) => endsAt)).size, 1);
  });

  it('begins a new window when one is over, and can be cleared', async () => {
    const { attempts } = using().store.identity;
    assert.deepEqual(await attempts.add('k', 100, 1000), { count: 1, endsAt: 1100 });
    assert.deepEqual(await attempts.add('k', 100, 1099), { count: 2, endsAt: 1100 });
    assert.equal((await attempts.count('k', 1099)).count, 2);
    assert.equal((await attempts.count('k', 1100)).count, 0);
    assert.deepEqual(await attempts.add('k', 100, 1100), { count: 1, endsAt: 1200 });
    await attempts.clear('k');
    assert.equal((await attempts.count('k', 1100)).count, 0);
    await attempts.add('k', 100, 1100);
    await attempts.forgetBefore(1201);
    assert.equal((await attempts.add('k', 100, 1100)).count, 1);
  });

  it('adds to many at once, whoever else adds', async () => {
    const { store, other } = using();
    const [one, two] = [store.identity.attempts, other.identity.attempts];
    assert.deepEqual(
      await one.addAll(
        [
          { key: 'a', by: 3 },
          { key: 'b', by: 1 },
        ],
        2000,
        1000,
      ),
      [3, 1],
    );
    assert.deepEqual(
      await two.addAll(
        [
          { key: 'b', by: 5 },
          { key: 'a', by: 0 },
        ],
        2000,
        1500,
      ),
      [6, 3],
    );
    assert.equal((await one.count('b', 1999)).count, 6);
    assert.deepEqual(await one.addAll([{ key: 'b', by: 2 }], 3000, 2000), [2]);
    assert.deepEqual(await one.addAll([], 3000, 2000), []);
  });
}

function changePromises(using: Using): void {
  it('numbers the changes of two processes without gaps, each seen by both', async () => {
    const { store, other } = using();
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 === 0 ? store : other).identity.changes.note('run', `${index}`),
      ),
    );
    const seen = await store.identity.changes.since(0);
    assert.deepEqual(
      seen.map(({ seq }) => seq),
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
    assert.deepEqual(await other.identity.changes.since(0), seen);
    assert.deepEqual(await other.identity.changes.since(19), seen.slice(19));
    assert.equal(await other.identity.changes.last(), 20);
  });

  it('never uses a number again, not even when all changes are forgotten', async () => {
    const { changes } = using().store.identity;
    await changes.note('run', 'a');
    await changes.forgetBefore(Number.MAX_SAFE_INTEGER);
    assert.deepEqual(await changes.since(1), []);
    await changes.note('run', 'b');
    assert.deepEqual(await changes.since(1), [{ seq: 2, kind: 'run', id: 'b' }]);
  });

  it('tells whoever was away while changes were forgotten that everything may have changed', async () => {
    const { changes } = using().store.identity;
    for (const id of ['a', 'b']) await changes.note('run', id);
    await changes.forgetBefore(Number.MAX_SAFE_INTEGER);
    const all = changeKinds.map((kind) => ({ seq: 2, kind, id: '*' }));
    assert.deepEqual(await changes.since(1), all);
    await changes.note('team', 'c');
    assert.deepEqual(await changes.since(1), [...all, { seq: 3, kind: 'team', id: 'c' }]);
    assert.deepEqual(await changes.since(2), [{ seq: 3, kind: 'team', id: 'c' }]);
  });
}
