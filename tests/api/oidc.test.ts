import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { AuditEvent } from '../../src/audit/event.ts';
import { segmentOf } from '../support/audit.ts';
import { BrowserVisit } from '../support/browser-visit.ts';
import {
  callbackForgeries,
  HostileProvider,
  idTokenForgeries,
  logoutForgeries,
} from '../support/hostile-provider.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';
import { RealProvider } from '../support/real-provider.ts';
import { StubGithub } from '../support/stub-github.ts';

/** Signing in at other providers, over HTTP, with a real one, a hostile one and a GitHub. */

let instance: Instance;
let real: RealProvider;
let hostile: HostileProvider;
let github: StubGithub;

before(async () => {
  [real, hostile, github] = await Promise.all([
    RealProvider.open(),
    HostileProvider.open(),
    StubGithub.open(),
  ]);
  const home = join(mkdtempSync(join(tmpdir(), 'sealwright-test-')), 'home');
  mkdirSync(home, { mode: 0o700 });
  writeFileSync(join(home, 'company.secret'), `${real.clientSecret}\n`, { mode: 0o600 });
  writeFileSync(join(home, 'providers.yaml'), JSON.stringify({ providers: providers() }), { mode: 0o600 });
  const environment = { SEALWRIGHT_SIGN_INS_PER_MINUTE: '1000000' };
  instance = await startInstance({ home, environment });
  real.register(`${publicUrl()}/auth/providers/company`);
});
after(async () => {
  await instance?.remove();
  await Promise.all([real.close(), hostile.close(), github.close()]);
});
beforeEach(() => {
  hostile.forgery = {};
  hostile.person = { sub: 'h-1', preferred_username: 'hal', groups: ['developers'], sid: 'h-session' };
  real.people.clear();
});

/** The default of the setting. */
const publicUrl = () => `http://localhost:${new URL(instance.url).port}`;

function providers() {
  const roles = [
    { claim: 'groups', value: 'admins', role: 'admin' },
    { claim: 'groups', value: 'developers', role: 'developer' },
  ];
  return [
    {
      ...{ id: 'company', kind: 'oidc', label: 'Company', issuer: real.issuer, clientId: real.clientId },
      ...{ clientSecretFile: 'company.secret', allowSignUp: 'yes', scopes: ['openid', 'profile'] },
      mapping: { roles, teams: { claim: 'groups', map: { core: 'core' } } },
      mfa: { acr: ['urn:example:two'], amr: ['otp'] },
    },
    {
      ...{ id: 'hostile', kind: 'oidc', issuer: hostile.issuer, clientId: hostile.clientId },
      ...{ clientSecret: hostile.clientSecret, allowSignUp: 'yes', algorithms: ['RS256'] },
      mapping: { roles },
    },
    {
      ...{ id: 'hub', kind: 'github', baseUrl: github.baseUrl, clientId: github.clientId },
      ...{ clientSecret: github.clientSecret, allowSignUp: 'yes' },
      mapping: { roles: [{ claim: 'orgs', value: 'acme', role: 'developer' }] },
    },
  ];
}

const isOurs = (url: URL) => url.origin === publicUrl();

/** The way to the provider: where the browser is sent. */
async function start(visit: BrowserVisit, id: string, query = ''): Promise<URL> {
  const response = await visit.ask(new URL(`${publicUrl()}/auth/providers/${id}/start${query}`));
  assert.equal(response.status, 302, await response.text());
  return new URL(response.headers.get('location')!, publicUrl());
}

type End = { readonly error: string | null; readonly next: string | null; readonly page: string };

/** The end of the way back. */
async function finish(visit: BrowserVisit, back: URL): Promise<End> {
  const response = await visit.ask(back);
  const page = await response.text();
  const location = response.headers.get('location');
  const error = location === null ? null : new URL(location, publicUrl()).searchParams.get('error');
  if (response.status === 303) assert.match(location ?? '', /^\/login\?error=[a-z-]+$/);
  else assert.equal(response.status, 200, page);
  return { error, next: /content="0;url=([^"]*)"/.exec(page)?.[1] ?? null, page };
}

/** The whole way over the sign-in page of the real provider. */
async function signInAtCompany(
  visit: BrowserVisit,
  login: string,
  options: { query?: string; beforeReturning?: () => void } = {},
): Promise<End> {
  const there = await start(visit, 'company', options.query);
  let step = await visit.follow(there, (url) => !isOurs(url));
  if (step.location === null) step = await visit.follow(step.url, (url) => !isOurs(url), { login });
  assert(step.location !== null, `${step.response.status} ${step.url}`);
  options.beforeReturning?.();
  return await finish(visit, step.location);
}

async function signInAt(
  id: 'hostile' | 'hub',
  visit = new BrowserVisit(),
): Promise<End & { readonly visit: BrowserVisit }> {
  const there = await start(visit, id);
  const back = id === 'hostile' ? hostile.answer(there) : github.answer(there);
  return { ...(await finish(visit, back)), visit };
}

async function whoIs(visit: BrowserVisit): Promise<number> {
  const response = await visit.ask(new URL(`${publicUrl()}/api/v1/sessions`));
  await response.arrayBuffer();
  return response.status;
}

function events(): AuditEvent[] {
  const text = readFileSync(segmentOf(join(instance.home, 'audit')), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** Notes that nobody waits for are written a moment later. */
async function recorded(fits: (event: AuditEvent) => boolean): Promise<AuditEvent> {
  for (const deadline = Date.now() + 5_000; ; await pause(10)) {
    const found = events().findLast(fits);
    if (found !== undefined) return found;
    assert(Date.now() < deadline, 'it is not on the record');
  }
}

async function logout(id: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
  return await fetch(`${publicUrl()}/auth/providers/${id}/backchannel-logout`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    body,
  });
}

describe('with a real provider', () => {
  const developer = { claims: { preferred_username: 'ann', groups: ['developers', 'core'] } };

  it('a person signs in, is led on, and comes back under the same name', async () => {
    real.people.set('p-1', developer);
    const visit = new BrowserVisit();
    const end = await signInAtCompany(visit, 'p-1', { query: '?next=%2Fruns%3Fa%3D1%26b%3D%2522' });
    assert.deepEqual([end.error, end.next], [null, '/runs?a=1&#38;b=%22']);
    assert.equal(await whoIs(visit), 200);
    assert.deepEqual(
      [...visit.cookiesOf(publicUrl()).keys()],
      ['sealwright'],
      'the round has no cookie any more',
    );
    const again = new BrowserVisit();
    await signInAtCompany(again, 'p-1');
    assert.equal(await whoIs(again), 200);
    const opened = await recorded(
      (event) => event.action === 'sign-in.open' && event.actor.id === 'user:ann',
    );
    assert.equal(opened.data?.provider, 'company');
    assert.equal(
      events().filter(({ action, outcome }) => action === 'user.sign-up' && outcome === 'succeeded').length,
      1,
    );
  });

  it('no other site begins a sign-in, which the provider might let through unasked', async () => {
    const ask = async (headers: Record<string, string>) =>
      await fetch(`${publicUrl()}/auth/providers/company/start`, { redirect: 'manual', headers });
    for (const site of ['cross-site', 'same-site', 'same-origin, cross-site', 'none, none', 'NONE', '']) {
      const refused = await ask({ 'sec-fetch-site': site });
      assert.equal(refused.status, 302, site);
      assert.equal(refused.headers.get('location'), '/login?error=foreign-start', site);
      assert.deepEqual(refused.headers.getSetCookie(), [], 'no round has begun');
    }
    for (const headers of [{ 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }, {}]) {
      const started = await ask(headers as Record<string, string>);
      assert(started.headers.get('location')?.startsWith(real.issuer), JSON.stringify(headers));
      assert.equal(started.headers.getSetCookie().length, 1);
    }
  });

  it('the cookies are closed to scripts and to other sites', async () => {
    real.people.set('p-1', developer);
    const visit = new BrowserVisit();
    const response = await visit.ask(new URL(`${publicUrl()}/auth/providers/company/start`));
    const [cookie] = response.headers.getSetCookie();
    assert.match(
      cookie ?? '',
      /^sealwright-round=[A-Za-z0-9_-]{43}; Path=\/; HttpOnly; SameSite=Lax; Max-Age=600$/,
    );
    const there = new URL(response.headers.get('location')!);
    for (const secret of ['state', 'nonce', 'code_challenge'])
      assert(
        !(there.searchParams.get(secret) ?? '').includes(
          visit.cookiesOf(publicUrl()).get('sealwright-round')!,
        ),
      );
    const step = await visit.follow(there, (url) => !isOurs(url));
    const { location } = await visit.follow(step.url, (url) => !isOurs(url), { login: 'p-1' });
    const back = await visit.ask(location!);
    assert.match(
      back.headers.getSetCookie().find((line) => line.startsWith('sealwright=')) ?? '',
      /^sealwright=swb_[0-9A-Za-z]+; Path=\/; HttpOnly; SameSite=Strict$/,
    );
    assert.equal(back.headers.get('cache-control'), 'no-store');
    assert.match(back.headers.get('content-security-policy') ?? '', /default-src 'none'/);
  });

  it('its key may change between the sign-in there and the one here', async () => {
    real.people.set('p-1', developer);
    const visit = new BrowserVisit();
    assert.equal((await signInAtCompany(visit, 'p-1')).error, null);
    const end = await signInAtCompany(new BrowserVisit(), 'p-1', { beforeReturning: () => real.rotate() });
    assert.equal(end.error, null);
  });

  it('an administrator needs the second factor, by class or by method', async () => {
    const claims = { preferred_username: 'root-ann', groups: ['admins'] };
    real.people.set('p-2', { claims });
    assert.equal((await signInAtCompany(new BrowserVisit(), 'p-2')).error, 'mfa-required');
    real.people.set('p-2', { claims, acr: 'urn:example:one', amr: ['pwd'] });
    assert.equal((await signInAtCompany(new BrowserVisit(), 'p-2')).error, 'mfa-required');
    for (const proof of [{ acr: 'urn:example:two' }, { amr: ['pwd', 'otp'] }]) {
      real.people.set('p-2', { claims, ...proof });
      assert.equal((await signInAtCompany(new BrowserVisit(), 'p-2')).error, null, JSON.stringify(proof));
    }
    await recorded(({ decision }) => decision.rule === 'provider:mfa');
  });

  it('whoever it does not sign in is not signed in here', async () => {
    const end = await signInAtCompany(new BrowserVisit(), 'nobody-there');
    assert.equal(end.error, 'provider-denied');
    await recorded(
      ({ data, decision }) => decision.rule === 'provider:denied' && data?.at === 'access_denied',
    );
  });

  it('its logout ends the sign-ins that came from its session, within a second', async () => {
    real.people.set('p-1', developer);
    const [visit, other] = [new BrowserVisit(), new BrowserVisit()];
    await signInAtCompany(visit, 'p-1');
    await signInAtCompany(other, 'p-1');
    assert.deepEqual([await whoIs(visit), await whoIs(other)], [200, 200]);
    const page = await visit.follow(new URL(`${real.issuer}/session/end?client_id=sealwright`));
    const xsrf = /name="xsrf" value="([^"]+)"/.exec(await page.response.text())![1]!;
    const confirm = new URL(`${real.issuer}/session/end/confirm`);
    await visit.follow(confirm, () => true, { xsrf, logout: 'yes' });
    const ended = Date.now();
    while ((await whoIs(visit)) !== 401) assert(Date.now() - ended < 1_000);
    assert.equal(await whoIs(other), 200, 'another browser has another session there');
    const { data } = await recorded(
      ({ action, outcome }) => action === 'sign-in.provider-logout' && outcome === 'succeeded',
    );
    assert.equal(data?.provider, 'company');
  });
});

describe('with a hostile provider', () => {
  for (const [name, { forgery }] of Object.entries(idTokenForgeries))
    it(`an ID token of ${name} signs nobody in`, async () => {
      hostile.forgery = forgery;
      const { error, visit } = await signInAt('hostile');
      assert.equal(error, 'answer-refused');
      assert.equal(await whoIs(visit), 401);
      hostile.forgery = {};
      const good = await signInAt('hostile');
      assert.deepEqual([good.error, await whoIs(good.visit)], [null, 200]);
    });

  for (const [name, callback] of Object.entries(callbackForgeries))
    it(`a browser that comes back with ${name} is not signed in`, async () => {
      hostile.forgery = { callback };
      const visit = new BrowserVisit();
      const back = hostile.answer(await start(visit, 'hostile'));
      const response = await visit.ask(back);
      // A token in a URL is refused before anybody looks at it.
      if (response.status !== 400)
        assert.equal(response.headers.get('location'), '/login?error=answer-refused');
      assert.equal(await whoIs(visit), 401);
    });

  it('every refusal is on the record by its class and place, and nothing that was sent is', async () => {
    const rules = new Set(
      events()
        .filter(({ action, data }) => action === 'sign-in.provider' && data?.provider === 'hostile')
        .map(({ decision, data }) => `${decision.rule} ${data?.at}`),
    );
    for (const at of [
      'iss',
      'aud',
      'azp',
      'nonce',
      'alg',
      'signature',
      'exp',
      'iat',
      'sub',
      'key',
      'at_hash',
      'typ',
    ])
      assert(
        [...rules].some((rule) => rule === `provider:id-token ${at}`),
        `${at}: ${[...rules].join(', ')}`,
      );
    const text = readFileSync(segmentOf(join(instance.home, 'audit')), 'utf8');
    const log = readFileSync(join(instance.home, 'logs', 'control.log'), 'utf8');
    for (const secret of ['eyJ', hostile.clientSecret, real.clientSecret, 'swb_', 'evil.example'])
      assert(!text.includes(secret) && !log.includes(secret), secret);
  });

  it('a way back is good once, in the browser that began it, at the provider where it began', async () => {
    const visit = new BrowserVisit();
    const back = hostile.answer(await start(visit, 'hostile'));
    assert.equal((await finish(visit, back)).error, null);
    assert.equal((await finish(visit, back)).error, 'round-over');

    const stolen = hostile.answer(await start(new BrowserVisit(), 'hostile'));
    const thief = new BrowserVisit();
    assert.equal((await finish(thief, stolen)).error, 'round-over');
    await start(thief, 'hostile');
    const other = hostile.answer(await start(new BrowserVisit(), 'hostile'));
    assert.equal(
      (await finish(thief, other)).error,
      'round-over',
      'also with a cookie of a round of its own',
    );

    const mixed = hostile.answer(await start(visit, 'hostile'));
    mixed.pathname = mixed.pathname.replace('hostile', 'company');
    assert.equal((await finish(visit, mixed)).error, 'round-over');
    const bare = new URL(`${publicUrl()}/auth/providers/hostile/callback`);
    assert.equal((await finish(visit, bare)).error, 'round-over');
  });

  it('the code of another round signs in nobody, with its own state or with another', async () => {
    const [mine, theirs] = [new BrowserVisit(), new BrowserVisit()];
    const back = hostile.answer(await start(mine, 'hostile'));
    const injected = hostile.answer(await start(theirs, 'hostile'));
    back.searchParams.set('code', injected.searchParams.get('code')!);
    assert.equal((await finish(mine, back)).error, 'answer-refused');
    assert.equal(await whoIs(mine), 401);
  });

  it('a name that is taken is nobody else’s until an administrator links the two, and no longer than that', async () => {
    assert.equal((await signInAt('hostile')).error, null);
    hostile.person = { ...hostile.person, sub: 'h|9' };
    assert.equal((await signInAt('hostile')).error, 'name-taken');
    const change = async (word: string) => {
      const { status, stderr } = await cli(instance.home, [
        'users',
        word,
        'hal',
        'hostile',
        'h|9',
        '--local',
      ]);
      assert.equal(status, 0, stderr);
    };
    await change('link');
    const { visit } = await signInAt('hostile');
    assert.equal(await whoIs(visit), 200);
    const { stdout } = await cli(instance.home, ['users', 'identities', 'hal', '--local']);
    assert.match(stdout.toString(), /hostile +h\|9 +http:/);
    await change('unlink');
    assert.equal(await whoIs(visit), 401);
    assert.equal((await signInAt('hostile')).error, 'name-taken');
  });

  it('nobody is led to another site', async () => {
    for (const next of [
      '//evil.example',
      'https://evil.example',
      '/\\evil.example',
      '/.//evil.example',
      '/a/..//evil.example',
      'javascript:alert(1)',
      '',
      '/\t/evil.example',
      'runs',
    ]) {
      const url = `${publicUrl()}/auth/providers/hostile/start?next=${encodeURIComponent(next)}`;
      const response = await fetch(url, { redirect: 'manual' });
      assert.equal(response.status, 400, next);
    }
    const visit = new BrowserVisit();
    const back = hostile.answer(await start(visit, 'hostile', `?next=${encodeURIComponent('/a"><script>')}`));
    const { page } = await finish(visit, back);
    assert.doesNotMatch(page, /<script|"><s/);
  });

  it('a provider that nobody configured is absent', async () => {
    for (const path of ['start', 'callback?state=x'])
      assert.equal((await fetch(`${publicUrl()}/auth/providers/elsewhere/${path}`)).status, 404);
    assert.equal((await logout('elsewhere', 'logout_token=x')).status, 404);
  });

  for (const [name, { forgery }] of Object.entries(logoutForgeries))
    it(`a logout token of ${name} signs nobody out`, async () => {
      const { visit } = await signInAt('hostile');
      hostile.forgery = forgery;
      const token = hostile.logoutToken({ sub: 'h-1', sid: 'h-session' });
      assert.equal((await logout('hostile', `logout_token=${token}`)).status, 400);
      assert.equal(await whoIs(visit), 200);
    });

  it('a good logout token signs out once, and is refused the next time', async () => {
    const { visit } = await signInAt('hostile');
    const token = hostile.logoutToken({ sub: 'h-1', sid: 'h-session' });
    assert.equal(
      (await logout('company', `logout_token=${token}`)).status,
      400,
      'at another provider it is nothing',
    );
    assert.equal((await logout('hostile', `logout_token=${token}&more=x`)).status, 204);
    assert.equal(await whoIs(visit), 401);
    const { visit: next } = await signInAt('hostile');
    assert.equal((await logout('hostile', `logout_token=${token}`)).status, 400);
    assert.equal(await whoIs(next), 200);
  });

  it('what is no form with one logout token is refused', async () => {
    const cases: [string, Record<string, string>][] = [
      ['', {}],
      ['logout_token=', {}],
      ['token=x', {}],
      [JSON.stringify({ logout_token: 'x' }), { 'content-type': 'application/json' }],
      [`logout_token=${'x'.repeat(200_000)}`, {}],
      ['logout_token=%00%ff', {}],
      ['__proto__=x', {}],
    ];
    for (const [body, headers] of cases) {
      const { status } = await logout('hostile', body, headers);
      assert(status >= 400 && status < 500, `${body.slice(0, 20)}: ${status}`);
    }
  });

  it('a provider that is down is said to be, and works again later', async () => {
    const visit = new BrowserVisit();
    const back = hostile.answer(await start(visit, 'hostile'));
    hostile.down = true;
    assert.equal((await finish(visit, back)).error, 'provider-unavailable');
    hostile.down = false;
    assert.equal((await signInAt('hostile')).error, null);
  });
});

describe('with GitHub', () => {
  it('a member of the organisation signs in, and nobody else', async () => {
    const good = await signInAt('hub');
    assert.deepEqual([good.error, await whoIs(good.visit)], [null, 200]);
    github.orgs = [{ login: 'acme-evil' }];
    assert.equal((await signInAt('hub')).error, 'no-role');
    github.orgs = [{ login: 'acme' }];
    github.callback = { iss: 'https://evil.example' };
    assert.equal((await signInAt('hub')).error, 'answer-refused');
    github.callback = { state: 'x' };
    assert.equal((await signInAt('hub')).error, 'round-over');
    github.callback = {};
  });

  it('the ways of signing in are told, without anything secret', async () => {
    const response = await fetch(`${publicUrl()}/auth/methods`);
    const text = await response.text();
    for (const id of ['company', 'hostile', 'hub']) assert(text.includes(id), text);
    assert.doesNotMatch(text, /secret|clientId/i);
  });
});
