import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser, BrowserContext } from 'playwright-core';
import { launchChromium, withoutChromium } from '../support/chromium.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { RealProvider } from '../support/real-provider.ts';

/** A browser signs in at a provider: what cookies and redirects really do there. */
describe('a browser at a provider', { skip: withoutChromium }, () => {
  let provider: RealProvider;
  let instance: Instance;
  let browser: Browser;
  let own: string;

  before(async () => {
    provider = await RealProvider.open();
    const home = join(mkdtempSync(join(tmpdir(), 'sealwright-test-')), 'home');
    mkdirSync(home, { mode: 0o700 });
    const company = {
      ...{ id: 'company', kind: 'oidc', issuer: provider.issuer, clientId: provider.clientId },
      ...{ clientSecret: provider.clientSecret, allowSignUp: true, scopes: ['openid', 'profile'] },
      mapping: { roles: [{ claim: 'groups', value: 'developers', role: 'developer' }] },
    };
    writeFileSync(join(home, 'providers.yaml'), JSON.stringify({ providers: [company] }), { mode: 0o600 });
    [instance, browser] = await Promise.all([startInstance({ home }), launchChromium()]);
    own = `http://localhost:${new URL(instance.url).port}`;
    provider.register(`${own}/auth/providers/company`);
    provider.people.set('ann', { claims: { preferred_username: 'ann', groups: ['developers'] } });
  });
  after(async () => {
    await browser?.close();
    await instance?.remove();
    await provider?.close();
  });

  async function withContext(visit: (context: BrowserContext) => Promise<void>): Promise<void> {
    const context = await browser.newContext();
    try {
      await visit(context);
    } finally {
      await context.close();
    }
  }

  const next = '/api/v1/sessions';

  it('signs in there, and is signed in on the page that it is led to', () =>
    withContext(async (context) => {
      const page = await context.newPage();
      assert.equal((await page.goto(own + next))?.status(), 401);
      await page.goto(`${own}/auth/providers/company/start?next=${encodeURIComponent(next)}`);
      assert(page.url().startsWith(provider.issuer));
      await page.fill('input[name=login]', 'ann');
      const led = page.waitForResponse((response) => response.url() === own + next);
      await page.click('button');
      assert.equal((await led).status(), 200);
      await page.waitForURL(own + next);
      const cookies = await context.cookies(own);
      assert.deepEqual(
        cookies.map(({ name, httpOnly, sameSite, path }) => ({ name, httpOnly, sameSite, path })),
        [{ name: 'sealwright', httpOnly: true, sameSite: 'Strict', path: '/' }],
      );
    }));

  it('is not signed in where another site sends it', () =>
    withContext(async (context) => {
      const page = await context.newPage();
      await page.goto(`${own}/auth/providers/company/start?next=${encodeURIComponent(next)}`);
      await page.fill('input[name=login]', 'ann');
      const led = page.waitForResponse((response) => response.url() === own + next);
      await page.click('button');
      assert.equal((await led).status(), 200);
      await page.waitForURL(own + next);
      // A page of the provider's, which is another site.
      await page.goto(`${provider.issuer}/interaction/none`);
      await page.setContent(`<a href="${own}${next}">go</a>`);
      const crossed = page.waitForResponse((response) => response.url() === own + next);
      await page.click('a');
      assert.equal((await crossed).status(), 401);
      assert.equal((await page.goto(own + next))?.status(), 200, 'though it still is');
      await page.goto(`${provider.issuer}/interaction/none`);
      await page.setContent(`<a href="${own}/auth/providers/company/start">go</a>`);
      await Promise.all([page.waitForURL(`${own}/login?error=foreign-start`), page.click('a')]);
      await page.getByRole('alert').getByText('Another site began this sign-in').waitFor();
      await page.getByRole('link', { name: /^Continue with/ }).click();
      await page.waitForURL(`${own}/account`);
    }));

  it('that the provider does not sign in is told so, and is not signed in', () =>
    withContext(async (context) => {
      const page = await context.newPage();
      await page.goto(`${own}/auth/providers/company/start`);
      await page.fill('input[name=login]', 'nobody-there');
      await Promise.all([page.waitForURL(`${own}/login?error=provider-denied`), page.click('button')]);
      assert.deepEqual(await context.cookies(own), []);
    }));
});
