import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { StubGithub } from '../../../tests/support/stub-github.ts';
import { systemClock } from '../../base/clock.ts';
import type { GithubSettings } from '../../contract/providers.ts';
import { openGithub } from './github.ts';
import { type ExternalProfile, type Provider, ProviderRefusal, type Round } from './provider.ts';

const round: Round = {
  state: 'the-state-of-this-round',
  nonce: 'not-used-here',
  verifier: 'v'.repeat(43),
  redirectUri: 'http://localhost:7717/auth/providers/hub/callback',
  startedAt: Date.now(),
  fresh: false,
};

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

  it('tells who signed in there, with organisations and teams', async () => {
    const { authAt, ...profile } = await signIn();
    assert(authAt >= round.startedAt);
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

  it('is asked with state and a challenge', async () => {
    const { searchParams, pathname } = await provider.authorizationUrl(round);
    assert.equal(pathname, '/login/oauth/authorize');
    assert.equal(searchParams.get('state'), round.state);
    assert.equal(searchParams.get('code_challenge_method'), 'S256');
    assert.equal(searchParams.get('scope'), 'read:user user:email read:org');
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

  it('redeems a code once, with our state, and for nobody without the verifier', async () => {
    const back = github.answer(await provider.authorizationUrl(round)).searchParams;
    assert(await provider.profileOf(back, round));
    await assert.rejects(provider.profileOf(back, round), refused('answer', /./));
    const other = github.answer(await provider.authorizationUrl(round)).searchParams;
    const thief = { ...round, verifier: 'w'.repeat(43) };
    await assert.rejects(provider.profileOf(other, thief), refused('answer', /./));
    for (const state of [undefined, 'of-another-round']) {
      github.callback = { state };
      await assert.rejects(signIn(), refused('answer', /./));
    }
  });

  it('is not believed where the browser comes back from elsewhere, or with a refusal', async () => {
    github.callback = { iss: 'https://evil.example' };
    await assert.rejects(signIn(), refused('answer', /./));
    github.callback = { code: undefined, error: 'access_denied' };
    await assert.rejects(signIn(), refused('denied', /^access_denied$/));
    github.callback = { iss: `${github.baseUrl}/login/oauth` };
    assert(await signIn());
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
