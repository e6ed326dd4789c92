import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import {
  callbackForgeries,
  HostileProvider,
  idTokenForgeries,
  logoutForgeries,
} from '../../../tests/support/hostile-provider.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import type { OidcSettings } from '../../contract/providers.ts';
import { KeySet } from './key-set.ts';
import { openOidc } from './oidc.ts';
import { openOutbound } from './outbound.ts';
import { providerConformance, refusalOf, testRound } from './provider.conformance.ts';
import type { ExternalProfile, Provider, Round } from './provider.ts';
import { verifyIdToken } from './verify.ts';

const round = testRound;

describe('a provider of OpenID Connect', () => {
  let idp: HostileProvider;
  let provider: Provider;

  before(async () => {
    idp = await HostileProvider.open();
  });
  after(() => idp.close());
  beforeEach(() => {
    idp.forgery = {};
    idp.metadata = {};
    idp.down = false;
    idp.person = { sub: 'person-1', preferred_username: 'ann', groups: ['developers'], sid: 'idp-session-1' };
    idp.asked.clear();
    provider = open();
  });

  function open(changes: Partial<OidcSettings> = {}, clock: Clock = systemClock): Provider {
    return openOidc(
      {
        id: 'company',
        kind: 'oidc',
        issuer: idp.issuer,
        clientId: idp.clientId,
        clientSecret: idp.clientSecret,
        authorities: [],
        scopes: ['openid', 'profile'],
        algorithms: ['RS256'],
        userinfo: false,
        authTime: 'provider',
        untypedLogoutTokens: false,
        mfa: { acr: [], amr: [], request: 'acr_values' },
        mapping: { roles: [{ claim: 'groups', value: 'developers', role: 'developer' }] },
        syncOnSignIn: true,
        allowSignUp: true,
        ...changes,
      },
      clock,
    );
  }

  async function signIn(at = provider, how: Round = round): Promise<ExternalProfile> {
    const back = idp.answer(await at.authorizationUrl(how));
    return await at.profileOf(back.searchParams, how);
  }

  const refusal = refusalOf;

  providerConformance(() => ({
    provider,
    subject: 'person-1',
    answer: (url, callback = {}) => {
      idp.forgery = { callback };
      return idp.answer(url);
    },
    absent: open({ issuer: 'http://127.0.0.1:1' }),
  }));

  it('tells who signed in there', async () => {
    assert.deepEqual(await signIn(), {
      provider: 'company',
      subject: 'person-1',
      userName: 'ann',
      displayName: null,
      email: null,
      role: 'developer',
      teams: null,
      methods: [],
      mfa: false,
      authAt: (await signIn()).authAt,
      providerSession: 'idp-session-1',
    });
  });

  it('is asked with state, nonce and a challenge, and the verifier stays here', async () => {
    const url = await provider.authorizationUrl(round);
    const { code_challenge: challenge, ...rest } = Object.fromEntries(url.searchParams);
    assert.deepEqual(rest, {
      redirect_uri: round.redirectUri,
      scope: 'openid profile',
      state: round.state,
      nonce: round.nonce,
      code_challenge_method: 'S256',
      client_id: 'sealwright',
      response_type: 'code',
    });
    assert.match(challenge ?? '', /^[A-Za-z0-9_-]{43}$/);
    assert(!url.href.includes(round.verifier) && !url.href.includes(idp.clientSecret));
  });

  for (const [name, { at, forgery }] of Object.entries(idTokenForgeries))
    it(`is not believed with an ID token of ${name}`, async () => {
      assert(await signIn(), 'the good one is taken');
      idp.forgery = forgery;
      const [reason, place] = (await refusal(() => signIn())).split(':');
      assert.match(reason!, /^(id-token|answer)$/);
      assert.match(place!, at);
      idp.forgery = {};
      assert(await signIn(), 'and again');
    });

  for (const [name, callback] of Object.entries(callbackForgeries))
    it(`is not believed where the browser comes back with ${name}`, async () => {
      assert(await signIn());
      idp.forgery = { callback };
      assert.match(await refusal(() => signIn()), /^answer:/);
    });

  it('is not believed for another round, also by whoever checks the ID token alone', async () => {
    const outbound = openOutbound({ authorities: [], loopback: true });
    const keys = new KeySet(`${idp.issuer}/jwks`, { outbound, clock: systemClock });
    const relation = { issuer: idp.issuer, clientId: idp.clientId, algorithms: ['RS256'], keys };
    const check = (nonce: string) =>
      verifyIdToken(idp.idToken('n', 'a'), relation, { nonce, accessToken: 'a', now: Date.now() });
    assert.equal((await check('n')).sub, 'person-1');
    for (const nonce of ['', 'N', 'n ']) assert.equal(await refusal(() => check(nonce)), 'id-token:nonce');
  });

  it('may rotate its key just before signing', async () => {
    assert(await signIn());
    idp.rotate('key-2');
    assert(await signIn());
    assert.equal(idp.asked.get('/jwks'), 2);
    assert(await signIn());
    assert.equal(idp.asked.get('/jwks'), 2, 'and is not asked again for what is known');
  });

  it('is asked for its keys a bounded number of times, whatever names tokens make up', async () => {
    assert(await signIn());
    for (let count = 0; count < 12; count += 1) {
      idp.forgery = { header: { kid: `made-up-${count}` } };
      assert.equal(await refusal(() => signIn()), 'id-token:key');
    }
    assert.equal(idp.asked.get('/jwks'), 6);
    idp.forgery = {};
    assert(await signIn(), 'the good key still works');
  });

  it('is asked for its keys once by many at the same time', async () => {
    await Promise.all(Array.from({ length: 8 }, () => signIn()));
    assert.equal(idp.asked.get('/jwks'), 1);
    assert.equal(idp.asked.get('/.well-known/openid-configuration'), 1);
  });

  it('with one key may leave its name out', async () => {
    idp.forgery = { header: { kid: undefined }, keys: ([key]) => [key!] };
    assert(await signIn());
  });

  it('is refused whole where it is not what was configured', async () => {
    idp.metadata = { issuer: 'https://other.example' };
    assert.match(await refusal(() => signIn(open())), /^metadata:/);
    idp.metadata = { jwks_uri: undefined };
    assert.match(await refusal(() => signIn(open())), /^metadata:/);
    idp.metadata = { token_endpoint: 'http://192.0.2.1/token' };
    assert.match(await refusal(() => signIn(open())), /^metadata:endpoint$/);
    idp.metadata = { code_challenge_methods_supported: ['plain'] };
    assert.equal(await refusal(() => signIn(open())), 'metadata:pkce');
    idp.metadata = {};
    assert(await signIn(open()));
  });

  it('that does not answer is a refusal, is not asked again at once, and is asked again later', async () => {
    let now = 0;
    const at = open({}, { now: Date.now, monotonic: () => now });
    idp.down = true;
    assert.match(await refusal(() => signIn(at)), /^unreachable:/);
    idp.down = false;
    assert.match(await refusal(() => signIn(at)), /^unreachable:/);
    now += 2_000;
    assert(await signIn(at));
  });

  it('tells more at its userinfo endpoint, of the same person alone, and never against the ID token', async () => {
    const at = open({ userinfo: true });
    idp.forgery = { userinfo: { preferred_username: 'mallory' } };
    const { email, userName } = await signIn(at);
    assert.deepEqual([email, userName], ['ann@example.com', 'ann']);
    idp.forgery = { userinfo: { sub: 'person-2' } };
    assert.match(await refusal(() => signIn(at)), /^userinfo:/);
  });

  it('proves a second factor by the classes and methods that count, and by no others', async () => {
    const at = open({ mfa: { acr: ['phr'], amr: ['otp'], request: 'acr_values' } });
    assert.equal((await at.authorizationUrl(round)).searchParams.get('acr_values'), 'phr');
    const mfaOf = async (claims: Record<string, unknown>) => {
      idp.forgery = { claims };
      return (await signIn(at)).mfa;
    };
    assert.equal(await mfaOf({ acr: 'phr' }), true);
    assert.equal(await mfaOf({ amr: ['pwd', 'otp'] }), true);
    for (const claims of [{}, { acr: 'ph' }, { amr: ['pwd'] }, { amr: ['phr'] }, { acr: { phr: true } }])
      assert.equal(await mfaOf(claims), false, JSON.stringify(claims));
    const essential = open({ mfa: { acr: ['phr'], amr: [], request: 'claims' } });
    const claims = (await essential.authorizationUrl(round)).searchParams.get('claims');
    assert.deepEqual(JSON.parse(claims!), { id_token: { acr: { essential: true, values: ['phr'] } } });
  });

  it('must say that somebody proved anew who it is, where that was asked', async () => {
    const fresh = { ...round, startedAt: Date.now(), fresh: true };
    const url = await provider.authorizationUrl(fresh);
    assert.deepEqual([url.searchParams.get('prompt'), url.searchParams.get('max_age')], ['login', '0']);
    assert(await signIn(provider, fresh));
    const old = Math.floor(Date.now() / 1000) - 3600;
    idp.forgery = { claims: { auth_time: old } };
    assert.equal((await signIn()).authAt, old * 1000, 'an old sign-in there is one');
    assert.equal(await refusal(() => signIn(provider, fresh)), 'not-fresh:auth_time');
    idp.forgery = { claims: { auth_time: undefined } };
    assert.equal((await signIn()).authAt, 0, 'a time that nobody says is none');
    assert.equal(await refusal(() => signIn(provider, fresh)), 'not-fresh:auth_time');
    assert((await signIn(open({ authTime: 'round' }), fresh)).authAt >= fresh.startedAt);
  });

  it('tells of a logout by session or subject', async () => {
    const session = await provider.logoutOf(idp.logoutToken({ sid: 'idp-session-1', jti: 'j1' }));
    assert.deepEqual([session.session, session.subject, session.tokenId], ['idp-session-1', null, 'j1']);
    const subject = await provider.logoutOf(idp.logoutToken({ sub: 'person-1' }));
    assert.deepEqual([subject.session, subject.subject], [null, 'person-1']);
  });

  for (const [name, { at, forgery }] of Object.entries(logoutForgeries))
    it(`does not sign anybody out with a logout token of ${name}`, async () => {
      assert(await provider.logoutOf(idp.logoutToken({ sub: 'person-1' })));
      idp.forgery = forgery;
      const token = idp.logoutToken({ sub: 'person-1' });
      const [reason, place] = (await refusal(() => provider.logoutOf(token))).split(':');
      assert.equal(reason, 'logout-token');
      assert.match(place!, at);
    });

  it('does not sign anybody out with an ID token, or anything that is no token', async () => {
    const words = ['', 'x', 'a.b.c', `${idp.logoutToken({ sub: 'p' })}.x`, 'x'.repeat(100_000)];
    for (const token of [idp.idToken('n', 'a'), ...words])
      assert.match(await refusal(() => provider.logoutOf(token)), /^logout-token:/);
  });
});
