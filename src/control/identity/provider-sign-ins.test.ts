import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { HostileProvider, idTokenForgeries } from '../../../tests/support/hostile-provider.ts';
import { TestControl } from '../../../tests/support/test-control.ts';
import type { OidcSettings } from '../../contract/providers.ts';
import { openProviders } from '../../identity/providers/open.ts';
import { secretHash } from '../../identity/token-secret.ts';
import { newId } from '../../model/ids.ts';
import type { UserRecord } from '../../store/identity-store.ts';
import { type Gate, openGate } from '../gate.ts';
import { type ProviderSignInUseCases, providerSignInUseCases, type RoundEnd } from './provider-sign-ins.ts';
import type { Asked } from './sign-in-parts.ts';

const asked: Asked = { id: 'req_1', address: '192.0.2.7', userAgent: 'a browser' };
const publicUrl = 'http://localhost:7717';

describe('signing in at a provider', () => {
  let test: TestControl;
  let idp: HostileProvider;
  let gate: Gate;
  let useCases: ProviderSignInUseCases;

  before(async () => {
    idp = await HostileProvider.open();
  });
  after(() => idp.close());
  beforeEach(async () => {
    test = await TestControl.open({ withRunner: false });
    const { audit, access, clock } = test;
    gate = openGate({ audit, access, clock, logger: { debug() {}, info() {}, warn() {}, error() {} } });
    idp.forgery = {};
    person('person-1', {});
    useCases = open();
  });
  afterEach(async () => {
    test.auditFails = false;
    await gate.close();
    await test[Symbol.asyncDispose]();
  });

  const settings: Omit<OidcSettings, 'issuer'> = {
    id: 'company',
    kind: 'oidc',
    clientId: 'sealwright',
    clientSecret: 'the-secret-of-the-client',
    authorities: [],
    scopes: ['openid'],
    algorithms: ['RS256'],
    userinfo: false,
    authTime: 'provider',
    untypedLogoutTokens: false,
    mfa: { acr: ['phr'], amr: [], request: 'acr_values' },
    mapping: {
      roles: [
        { claim: 'groups', value: 'admins', role: 'admin' },
        { claim: 'groups', value: 'developers', role: 'developer' },
        { claim: 'groups', value: 'odd', role: 'no-such-role' },
      ],
      teams: { claim: 'groups', map: { core: 'core', web: 'web' } },
    },
    syncOnSignIn: true,
    allowSignUp: true,
  };

  function open(changes: Partial<OidcSettings> = {}): ProviderSignInUseCases {
    const all = [
      { ...settings, issuer: idp.issuer, ...changes },
      { ...settings, issuer: idp.issuer, id: 'second' },
    ];
    const { store, clock, directory } = test;
    const { signIns, changes: feed } = directory;
    const signInConfig = {
      publicUrl,
      localSignIn: true,
      passwordWords: [],
      mfaRoles: ['admin', 'operator'],
      mayComeFrom: () => true,
    };
    const providers = openProviders(all, clock);
    return providerSignInUseCases({ store, gate, clock, signIns, changes: feed, providers, signInConfig });
  }

  function person(sub: string, claims: Record<string, unknown>): void {
    idp.person = { sub, preferred_username: 'ann', groups: ['developers'], sid: 'idp-session-1', ...claims };
  }

  async function started(at = useCases, how = { next: '/runs', fresh: false }) {
    const start = await at.start(asked, 'company', how);
    assert('location' in start, JSON.stringify(start));
    return { secret: start.secret, query: idp.answer(new URL(start.location)).searchParams };
  }

  async function signIn(at = useCases): Promise<RoundEnd> {
    return await at.finish(asked, 'company', await started(at));
  }

  const refused = (error: string) => ({ error });
  const user = (name = 'ann'): Promise<UserRecord | null> => test.store.identity.users.get(name);
  const teams = () => test.store.identity.teams.of('user:ann');
  const isAlive = async (end: RoundEnd) =>
    'cookie' in end && (await test.directory.signIns.ofCookie(end.cookie)) !== null;

  async function recorded(action: string, rule?: string) {
    await gate.settled();
    return (await test.events()).filter(
      (event) => event.action === action && (rule === undefined || event.decision.rule === rule),
    );
  }

  async function makeUser(name: string, changes: Partial<UserRecord> = {}): Promise<void> {
    const made = await test.store.identity.users.create(
      {
        ...{ name, displayName: null, email: null, role: 'developer', eligibleRoles: [], phase: 'active' },
        ...{ passwordHash: null, totpSealed: null, createdAt: 1 },
        ...changes,
      },
      { external: null, teams: [] },
    );
    assert.equal(made.outcome, 'created');
  }

  it('takes back the invitations of whom it gives another role, and no others', async () => {
    const { invitations } = test.store.identity;
    const invite = async (createdBy: `user:${string}`) => {
      const id = newId('invitation', 1);
      const made = { name: null, email: null, role: 'admin', teams: [], createdAt: 1, expiresAt: 9e15 };
      await invitations.create({ id, hash: secretHash(id), createdBy, ...made });
      return secretHash(id);
    };
    const isOpen = async (hash: string) => (await invitations.byHash(hash, 2)) !== null;
    person('person-1', { groups: ['admins'], acr: 'phr' });
    await signIn();
    const [own, other] = [await invite('user:ann'), await invite('user:bob')];
    await signIn();
    assert.deepEqual([await isOpen(own), await isOpen(other)], [true, true], 'the role is the same');
    person('person-1', { groups: ['developers'] });
    await signIn();
    assert.equal((await user())?.role, 'developer');
    assert.deepEqual([await isOpen(own), await isOpen(other)], [false, true]);
  });

  it('makes the user, with role and teams, and a browser that is signed in', async () => {
    person('person-1', { groups: ['developers', 'core'] });
    const end = await signIn();
    assert('cookie' in end && end.next === '/runs');
    const actor = await test.directory.signIns.ofCookie(end.cookie);
    assert.equal(actor?.id, 'user:ann');
    assert.equal(actor.role, 'developer');
    assert.deepEqual(await teams(), ['core']);
    const [made] = await recorded('user.sign-up');
    assert.deepEqual(made?.data?.subject, 'person-1');
    const [opened] = await recorded('sign-in.open');
    assert.deepEqual([opened?.data?.provider, opened?.request?.address], ['company', '192.0.2.7']);
  });

  it('knows a person by issuer and subject, whatever the person is called by now', async () => {
    await signIn();
    person('person-1', { preferred_username: 'bob' });
    assert(await isAlive(await signIn()));
    assert.equal(await user('bob'), null);
  });

  it('never gives anybody an account by its name or address', async () => {
    await makeUser('ann', { email: 'ann@example.com' });
    person('person-1', { email: 'ann@example.com', email_verified: true });
    assert.deepEqual(await signIn(), refused('name-taken'));
    assert.equal((await recorded('sign-in.provider', 'provider:name-taken')).length, 1);
    assert(await test.store.identity.users.link('ann', { provider: idp.issuer, subject: 'person-1' }));
    assert(await isAlive(await signIn()), 'whom an administrator linked comes in');
    person('person-2', {});
    assert.deepEqual(await signIn(), refused('name-taken'));
  });

  it('gives nobody a name that owns something already', async () => {
    const { tokens } = test.directory;
    const token = { name: 'ci', scopes: ['run:read'], reach: 'own', expiresAt: null } as const;
    await tokens.issue({ ...token, actor: 'user:ci-bot' }, null);
    for (const name of ['ci-bot', 'bootstrap']) {
      person(`person-${name}`, { preferred_username: name });
      assert.deepEqual(await signIn(), refused('name-taken'), name);
    }
    person('person-3', { preferred_username: '日本' });
    assert.deepEqual(await signIn(), refused('name-unusable'));
    person('person-4', { preferred_username: 'free' });
    assert(await isAlive(await signIn()));
  });

  it('makes no user where the provider may not', async () => {
    assert.deepEqual(await signIn(open({ allowSignUp: false })), refused('sign-up-closed'));
    assert.equal(await user(), null);
    await signIn();
    assert(await isAlive(await signIn(open({ allowSignUp: false }))), 'who is there already comes in');
  });

  it('makes one user of two windows that come back at once', async () => {
    const rounds = await Promise.all([started(), started(), started()]);
    const ends = await Promise.all(rounds.map((round) => useCases.finish(asked, 'company', round)));
    for (const end of ends) assert(await isAlive(end), JSON.stringify(end));
  });

  it('lets nobody in without a role that exists', async () => {
    person('person-1', { groups: [] });
    assert.deepEqual(await signIn(), refused('no-role'));
    person('person-1', { groups: ['odd'] });
    assert.deepEqual(await signIn(), refused('no-role'));
    assert.equal(await user(), null);
    person('person-1', {});
    await signIn();
    person('person-1', { groups: [] });
    assert.deepEqual(await signIn(), refused('no-role'), 'and nobody any more who lost it');
    assert(await isAlive(await signIn(open({ syncOnSignIn: false }))), 'unless roles are given here');
  });

  it('follows the claims with role and teams, on the record, and leaves other teams alone', async () => {
    person('person-1', { groups: ['developers', 'core'] });
    const first = await signIn();
    await test.store.identity.teams.assign('user:ann', ['own', 'core'], ['own', 'core']);
    person('person-1', { groups: ['admins', 'web'], acr: 'phr' });
    const second = await signIn();
    assert.equal((await user())?.role, 'admin');
    assert.deepEqual([...(await teams())].sort(), ['own', 'web']);
    assert(await isAlive(second));
    assert.equal(
      await isAlive(first),
      false,
      'what was signed in with one factor is not what the new role takes',
    );
    const [change] = await recorded('user.update', 'provider:claims');
    assert.deepEqual(
      [change?.data?.role, change?.data?.was, change?.actor.id],
      ['admin', 'developer', 'system:provider'],
    );
    const [moved] = await recorded('team.put', 'provider:claims');
    assert.deepEqual([moved?.data?.given, moved?.data?.taken], [['web'], ['core']]);
  });

  it('demands a second factor of roles that ask for one', async () => {
    person('person-1', { groups: ['admins'] });
    assert.deepEqual(await signIn(), refused('mfa-required'));
    assert.equal(await user(), null, 'nobody is made an administrator without it');
    person('person-1', { groups: ['admins'], acr: 'something-else' });
    assert.deepEqual(await signIn(), refused('mfa-required'));
    person('person-1', { groups: ['admins'], acr: 'phr' });
    const end = await signIn();
    assert('cookie' in end);
    assert.equal((await test.directory.signIns.ofCookie(end.cookie))?.signIn?.mfa, true);
    person('person-1', { groups: ['admins'] });
    assert.deepEqual(await signIn(), refused('mfa-required'), 'each time anew');
    await test.store.identity.users.update('ann', { role: 'developer', eligibleRoles: ['admin'] }, null);
    person('person-1', {});
    assert.deepEqual(await signIn(), refused('mfa-required'), 'also for what one may become');
  });

  it('keeps out whoever is disabled', async () => {
    await signIn();
    await test.store.identity.users.update('ann', { phase: 'disabled' }, null);
    assert.deepEqual(await signIn(), refused('account-disabled'));
    assert.equal((await recorded('sign-in.provider', 'provider:disabled'))[0]?.resource.id, 'ann');
  });

  it('takes a state once, at its provider, in its browser, within its time', async () => {
    const round = await started();
    assert(await isAlive(await useCases.finish(asked, 'company', round)));
    assert.deepEqual(await useCases.finish(asked, 'company', round), refused('round-over'), 'used');

    const elsewhere = await started();
    assert.deepEqual(await useCases.finish(asked, 'second', elsewhere), refused('round-over'), 'mix-up');
    assert.deepEqual(
      await useCases.finish(asked, 'company', elsewhere),
      refused('round-over'),
      'and used up',
    );

    const [mine, other] = [await started(), await started()];
    const planted = { query: mine.query, secret: other.secret };
    assert.deepEqual(
      await useCases.finish(asked, 'company', planted),
      refused('round-over'),
      'another browser',
    );
    const bare = { query: (await started()).query, secret: null };
    assert.deepEqual(await useCases.finish(asked, 'company', bare), refused('round-over'), 'no browser');
    for (const state of ['', 'x', 'a'.repeat(43), '\u0000'.repeat(43)]) {
      const { secret, query } = await started();
      query.set('state', state);
      assert.deepEqual(await useCases.finish(asked, 'company', { secret, query }), refused('round-over'));
    }
    const places = (await recorded('sign-in.provider', 'provider:round')).map(({ data }) => data?.at);
    assert.deepEqual(new Set(places), new Set(['state', 'provider', 'browser']));
    assert(
      await isAlive(await useCases.finish(asked, 'company', other)),
      'the browser that began it still may',
    );
  });

  it('keeps nothing that redeems a code', async () => {
    const start = await useCases.start(asked, 'company', { next: '/', fresh: false });
    assert('location' in start);
    const { searchParams } = new URL(start.location);
    const kept = await test.store.identity.oneTimes.peek(
      'provider-state',
      secretHash(searchParams.get('state')!),
      Date.now(),
    );
    const text = JSON.stringify(kept);
    assert(kept !== null);
    for (const secret of [start.secret, searchParams.get('nonce')!, searchParams.get('state')!])
      assert(!text.includes(secret));
  });

  it('signs nobody in who is not on the record', async () => {
    await signIn();
    const round = await started();
    test.auditFails = true;
    assert.deepEqual(await useCases.finish(asked, 'company', round), refused('unavailable'));
    test.auditFails = false;
    const { records } = await test.store.identity.signIns.list(
      { actor: 'user:ann' },
      { after: null, limit: 10 },
      Date.now(),
    );
    assert.equal(records.length, 1, 'only the one that is');
  });

  it('changes no role and makes nobody who is not on the record', async () => {
    test.auditFails = true;
    assert.deepEqual(await signIn(), refused('unavailable'));
    assert.equal(await user(), null);
    test.auditFails = false;
    await signIn();
    test.auditFails = true;
    person('person-1', { groups: ['admins'], acr: 'phr' });
    assert.deepEqual(await signIn(), refused('unavailable'));
    assert.equal((await user())?.role, 'developer');
    test.auditFails = false;
  });

  it('records each refusal with its class and place, and nothing of what was sent', async () => {
    for (const { forgery } of Object.values(idTokenForgeries)) {
      idp.forgery = forgery;
      assert.deepEqual(await signIn(), refused('answer-refused'));
    }
    idp.forgery = {};
    const events = await recorded('sign-in.provider');
    assert(events.length > 10);
    for (const { outcome, actor, data } of events) {
      assert.deepEqual([outcome, actor.id, data?.provider], ['denied', 'system:nobody', 'company']);
      assert.match(String(data?.at), /^[a-z_-]+$/);
    }
    const text = JSON.stringify(await test.events());
    assert.doesNotMatch(text, /eyJ|the-secret|evil\.example/);
    assert.equal(await user(), null);
  });

  it('says that a provider is not there', async () => {
    const gone = open({ issuer: 'http://127.0.0.1:1' });
    assert.deepEqual(
      await gone.start(asked, 'company', { next: '/', fresh: false }),
      refused('provider-unavailable'),
    );
    await assert.rejects(useCases.start(asked, 'nowhere', { next: '/', fresh: false }), {
      code: 'resource.absent',
    });
    assert.deepEqual(
      useCases.list().map(({ id }) => id),
      ['company', 'second'],
    );
  });

  it("ends at the provider's word: the session it names, or all of the person, each word once", async () => {
    const [first, second] = [await signIn(), await signIn()];
    person('person-1', { sid: 'idp-session-2' });
    const third = await signIn();
    person('person-2', { preferred_username: 'bob', sid: 'idp-session-3' });
    const bob = await signIn();
    const token = idp.logoutToken({ sub: 'person-1', sid: 'idp-session-1' });
    await useCases.logout(asked, 'company', token);
    assert.deepEqual(await Promise.all([first, second, third, bob].map(isAlive)), [false, false, true, true]);
    await assert.rejects(useCases.logout(asked, 'company', token), { code: 'request.invalid' });
    person('person-1', {});
    const fourth = await signIn();
    await useCases.logout(asked, 'company', idp.logoutToken({ sub: 'person-1', sid: undefined }));
    assert.deepEqual(await Promise.all([third, fourth, bob].map(isAlive)), [false, false, true]);
    const ended = await recorded('sign-in.provider-logout', 'provider:logout-token');
    assert.deepEqual(
      ended.map(({ outcome }) => outcome),
      ['succeeded', 'denied', 'succeeded'],
    );
    assert.equal(ended[0]?.resource.id, 'ann');
  });

  it('ends sessions though nothing can be recorded, and says so later', async () => {
    const end = await signIn();
    test.auditFails = true;
    await useCases.logout(asked, 'company', idp.logoutToken({ sid: 'idp-session-1' }));
    assert.equal(await isAlive(end), false);
    assert.equal(gate.owed() + gate.pending() > 0, true);
    test.auditFails = false;
  });

  it('takes the same word again where the store could not be written', async () => {
    const end = await signIn();
    const { signIns } = test.store.identity;
    const { revokeOfProvider } = signIns;
    const broken = signIns as { revokeOfProvider: typeof revokeOfProvider };
    broken.revokeOfProvider = async () => {
      throw new Error('made to fail');
    };
    const token = idp.logoutToken({ sid: 'idp-session-1' });
    await assert.rejects(useCases.logout(asked, 'company', token), /made to fail/);
    broken.revokeOfProvider = revokeOfProvider;
    await useCases.logout(asked, 'company', token);
    assert.equal(await isAlive(end), false);
  });
});
