import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { StubGithub } from '../../../tests/support/stub-github.ts';
import { systemClock } from '../../base/clock.ts';
import type { GithubSettings } from '../../contract/providers.ts';
import { openGithub } from './github.ts';
import { providerConformance, testRound } from './provider.conformance.ts';
import { type ExternalProfile, type Provider, ProviderRefusal, type Round } from './provider.ts';

const round = testRound;

describe('GitHub as a provider', () => {
  let github: StubGithub;
  let provider: Provider;

  before(async () => {
    github = await StubGithub.open();
  });
  after(() => github.close());
  beforeEach(() => {
    github.callback = {};
    github.user = { id: 42, login: 'Ann-Lee', name: 'Ann Lee', two_factor_authentication: true };
    github.orgs = [{ login: 'acme' }];
    provider = open();
  });

  function open(changes: Partial<GithubSettings> = {}): Provider {
    const settings: GithubSettings = {
      id: 'hub',
      kind: 'github',
      authTime: 'provider',
      baseUrl: github.baseUrl,
      clientId: github.clientId,
      clientSecret: github.clientSecret,
      authorities: [],
      scopes: ['read:user', 'user:email', 'read:org'],
      mfa: { twoFactor: false },
      mapping: {
        roles: [{ claim: 'orgs', value: 'acme', role: 'developer' }],
        teams: { claim: 'teams', map: { 'acme/core': 'core' } },
      },
      syncOnSignIn: true,
      allowSignUp: true,
      ...changes,
    };
    return openGithub(settings, systemClock);
  }

  async function signIn(at = provider, how: Round = round): Promise<ExternalProfile> {
    return await at.profileOf(github.answer(await at.authorizationUrl(how)).searchParams, how);
  }

  const refused = (reason: string, place: RegExp) => (error: unknown) => {
    assert(error instanceof ProviderRefusal, String(error));
    assert.equal(error.reason, reason);
    assert.match(error.at, place);
    return true;
  };

  providerConformance(() => ({
    provider,
    subject: '42',
    answer: (url, callback = {}) => {
      github.callback = callback;
      return github.answer(url);
    },
    absent: open({ baseUrl: 'http://127.0.0.1:1' }),
  }));

  it('tells who signed in there, with organisations and teams', async () => {
    const { authAt, ...profile } = await signIn();
    assert.equal(authAt, 0, 'it says nothing of when');
    assert.deepEqual(profile, {
      provider: 'hub',
      subject: '42',
      userName: 'ann-lee',
      displayName: 'Ann Lee',
      email: 'ann@example.com',
      role: 'developer',
      teams: ['core'],
      methods: [],
      mfa: false,
      providerSession: null,
    });
  });

  it('proves nothing anew, unless coming back from it is taken for that', async () => {
    const fresh = { ...round, fresh: true };
    await assert.rejects(signIn(provider, fresh), refused('not-fresh', /auth_time/));
    const taken = open({ authTime: 'round' });
    assert((await signIn(taken, fresh)).authAt >= round.startedAt);
  });

  it('counts a second factor only where the configuration says so', async () => {
    assert.equal((await signIn(open({ mfa: { twoFactor: true } }))).mfa, true);
    github.user = { ...github.user, two_factor_authentication: 'yes' };
    assert.equal((await signIn(open({ mfa: { twoFactor: true } }))).mfa, false);
  });

  it('finds an organisation beyond the first page', async () => {
    github.orgs = [
      ...Array.from({ length: 150 }, (_, index) => ({ login: `org-${index}` })),
      { login: 'acme' },
    ];
    assert.equal((await signIn()).role, 'developer');
    github.orgs = [{ login: 'ACME' }, { login: 'acme-evil' }];
    assert.equal((await signIn()).role, null);
  });

  it('is not asked for what no rule looks at', async () => {
    github.asked.clear();
    await signIn(open({ scopes: ['read:user'], mapping: { roles: [], defaultRole: 'developer' } }));
    assert.deepEqual([...github.asked.keys()], ['/login/oauth/access_token', '/api/v3/user']);
  });

  it('is not believed where it does not say who somebody is', async () => {
    for (const user of [
      {},
      { id: '42', login: 'x' },
      { id: 4.2, login: 'x' },
      { id: 0, login: 'x' },
      { id: 42 },
      [],
    ]) {
      github.user = user as Record<string, unknown>;
      await assert.rejects(signIn(), refused('userinfo', /^user$/));
    }
    github.user = { id: 42, login: 'ann' };
    github.orgs = [{ login: 'a/b' }];
    await assert.rejects(signIn(), refused('userinfo', /^name$/));
  });

  it('has no logout tokens', async () => {
    await assert.rejects(provider.logoutOf('x.y.z'), refused('logout-token', /^kind$/));
  });
});
