import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Page } from 'playwright-core';
import { totpCode } from '../../src/identity/totp.ts';
import { addAuthenticator, complaints, noBrowser, openBrowser } from '../support/browser.ts';
import { startCli } from '../support/cli-process.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';

/** People sign in with a browser, by what they see on its pages. */

const password = 'correct horse battery';
/** Where pictures of the pages go that a person wants to look at; none are taken where it is not set. */
const pictures = process.env.SEALWRIGHT_PICTURES;

let instance: Instance;
let site: string;

before(async () => {
  if (noBrowser !== false) return;
  instance = await startInstance();
  site = `http://localhost:${new URL(instance.url).port}`;
});
after(() => instance?.remove());

async function picture(page: Page, name: string): Promise<void> {
  if (pictures === undefined) return;
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

async function sealwright(...words: string[]): Promise<string> {
  const { stdout, status, stderr } = await cli(instance.home, words);
  assert.equal(status, 0, stderr);
  return stdout.toString('utf8').trim();
}

async function invite(...words: string[]): Promise<string> {
  const link = await sealwright('users', 'invite', ...words, '--local');
  assert(link.startsWith(`${site}/invitation#swi_`), link);
  return link;
}

const heading = (page: Page, name: string | RegExp) =>
  page.getByRole('heading', { level: 1, name }).waitFor();
const press = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click();

/** The time of a code is over sooner or later: the next one is always another. */
function codesOf(secret: string): () => string {
  let steps = -1;
  return () => totpCode(secret, Date.now() + 30_000 * steps++);
}

test('an invited administrator enrolls an authenticator app, and signs in with password and code', {
  skip: noBrowser,
}, async (t) => {
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  const said = complaints(page);
  await page.goto(await invite('ada', '--role', 'admin'));
  await heading(page, 'Welcome to Sealwright');
  assert.equal(new URL(page.url()).hash, '', 'the secret leaves the address');
  await picture(page, 'invitation');
  await page.getByLabel('Password').fill('password');
  await press(page, 'Create account');
  await page.getByRole('alert').getByText('attackers try first').waitFor();
  await page.getByLabel('Password').fill(password);
  await press(page, 'Create account');
  await heading(page, 'Protect your account');
  await picture(page, 'protect');
  await press(page, 'Use an authenticator app');
  await heading(page, 'Set up your authenticator app');
  await picture(page, 'totp');
  const secret = (await page.locator('.secret').innerText()).replaceAll(/\s/g, '');
  const code = codesOf(secret);
  await page.getByLabel('The code that the app shows').fill(code());
  await page.keyboard.press('Enter');
  await heading(page, 'Keep your recovery codes');
  await picture(page, 'recovery-codes');
  const [recoveryCode] = await page.locator('.codes li').allInnerTexts();
  await press(page, 'I have kept them');
  await heading(page, 'ada');
  await page.getByText('with two factors').waitFor();
  await picture(page, 'account');
  await press(page, 'Sign out');

  await heading(page, 'Sign in');
  await picture(page, 'login');
  await page.emulateMedia({ colorScheme: 'dark' });
  await picture(page, 'login-dark');
  await page.goto(`${site}/account`);
  await page.waitForURL(/\/login\?next=%2Faccount/);
  await heading(page, 'Sign in');
  await page.getByLabel('Name').fill('ada');
  await page.getByLabel('Password').fill('not the password');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').getByText('The name or the password is not right.').waitFor();
  await picture(page, 'login-refused');
  await page.getByLabel('Password').fill(password);
  await page.keyboard.press('Enter');
  await heading(page, 'One more step');
  await picture(page, 'second-factor');
  await page.getByLabel('Code of your authenticator app').fill(code());
  await page.keyboard.press('Enter');
  await heading(page, 'ada');
  await page.waitForURL(`${site}/account`);
  await picture(page, 'account-dark');
  const [cookie] = await browser.cookies();
  assert.deepEqual([cookie?.name, cookie?.httpOnly, cookie?.sameSite], ['sealwright', true, 'Strict']);
  await press(page, 'Sign out everywhere');
  await heading(page, 'Sign in');

  await page.getByLabel('Name').fill('ada');
  await page.getByLabel('Password').fill(password);
  await page.keyboard.press('Enter');
  await heading(page, 'One more step');
  await press(page, 'Use a recovery code');
  await page.getByLabel('Recovery code').fill(recoveryCode!);
  await page.keyboard.press('Enter');
  await heading(page, 'ada');
  assert.deepEqual(said, []);
});

test('a passkey is made on first sign-in, and signs in without a name', { skip: noBrowser }, async (t) => {
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  const said = complaints(page);
  await addAuthenticator(page);
  await page.goto(await invite('--role', 'admin'));
  await page.getByLabel('Name').fill('grace');
  await page.getByLabel('How you are called').fill('Grace Hopper');
  await page.getByLabel('Password').fill(password);
  await press(page, 'Create account');
  await press(page, 'Make a passkey on this device');
  await heading(page, 'Keep your recovery codes');
  await press(page, 'I have kept them');
  await heading(page, 'Grace Hopper');
  await page.getByText('Passkey “first passkey”').waitFor();
  await press(page, 'Sign out');
  await heading(page, 'Sign in');
  await press(page, 'Use a passkey');
  await heading(page, 'Grace Hopper');
  await page.getByText('with two factors').waitFor();
  assert.deepEqual(said, []);
});

test('whoever forgot the password chooses another by the link of an administrator', {
  skip: noBrowser,
}, async (t) => {
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  const said = complaints(page);
  await page.goto(await invite('hedy', '--role', 'developer'));
  await page.getByLabel('Password').fill(password);
  await press(page, 'Create account');
  await heading(page, 'hedy');
  const link = await sealwright('users', 'reset-password', 'hedy', '--local');
  assert(link.startsWith(`${site}/reset#swp_`), link);
  await page.goto(link);
  await heading(page, 'Choose a new password');
  assert.equal(new URL(page.url()).hash, '', 'the secret leaves the address');
  await picture(page, 'reset');
  assert.equal(await page.getByLabel('Name').inputValue(), 'hedy');
  await page.getByLabel('New password').fill('hedy is my name');
  await press(page, 'Set the password');
  await page.getByRole('alert').getByText('holds your name').waitFor();
  await page.getByLabel('New password').fill('another horse entirely');
  await press(page, 'Set the password');
  await heading(page, 'hedy');
  await press(page, 'Sign out');
  await heading(page, 'Sign in');
  await page.goto(link);
  await heading(page, 'This did not work');
  await page.getByRole('alert').getByText('used, expired or replaced').waitFor();
  await page.goto(`${site}/login`);
  await page.getByLabel('Name').fill('hedy');
  await page.getByLabel('Password').fill('another horse entirely');
  await page.keyboard.press('Enter');
  await heading(page, 'hedy');
  assert.deepEqual(said, []);
});

test('fields for passwords mask them, take what is pasted, and say to password managers what they are', {
  skip: noBrowser,
}, async (t) => {
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  const isPasswordField = async (label: string, autocomplete: string) => {
    const field = page.getByLabel(label);
    assert.deepEqual(
      [await field.getAttribute('type'), await field.getAttribute('autocomplete')],
      ['password', autocomplete],
      label,
    );
    await field.fill('');
    await field.focus();
    await page.keyboard.press('Control+V');
    assert.equal(await field.inputValue(), 'what was pasted', label);
  };
  await page.goto(`${site}/login`);
  await page.getByLabel('Name').fill('what was pasted');
  await page.getByLabel('Name').selectText();
  await page.keyboard.press('Control+C');
  assert.equal(await page.getByLabel('Name').getAttribute('autocomplete'), 'username');
  await isPasswordField('Password', 'current-password');
  await page.goto(await invite('radia', '--role', 'developer'));
  await isPasswordField('Password', 'new-password');
  await press(page, 'Create account');
  await heading(page, 'radia');
  await page.getByText('Change it').click();
  await isPasswordField('Current password', 'current-password');
  await isPasswordField('New password', 'new-password');
  await page.goto(await sealwright('users', 'reset-password', 'radia', '--local'));
  await isPasswordField('New password', 'new-password');
});

test('every page that is for somebody who signed in shows the way out', { skip: noBrowser }, async (t) => {
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  await page.goto(await invite('anita', '--role', 'developer'));
  await page.getByLabel('Password').fill(password);
  await press(page, 'Create account');
  await heading(page, 'anita');
  const query = new URLSearchParams({
    ...{ client_id: 'sealwright-cli', redirect_uri: 'http://127.0.0.1:9/callback', response_type: 'code' },
    ...{ code_challenge: 'x'.repeat(43), code_challenge_method: 'S256' },
  });
  for (const path of ['/account', '/device', `/oauth2/authorize?${query}`]) {
    await page.goto(site + path);
    await page.getByRole('button', { name: 'Sign out', exact: true }).waitFor();
  }
  await heading(page, 'Let this program act as you?');
  for (const shown of ['sealwright-cli', '127.0.0.1:9', 'user:anita', 'all that you may do', '30 days'])
    await page.getByText(shown).waitFor();
  await picture(page, 'authorize');
  await press(page, 'Sign out');
  await heading(page, 'Sign in');
  assert.deepEqual(await browser.cookies(), []);
});

test('a device is looked at before it is let in', { skip: noBrowser }, async (t) => {
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  const said = complaints(page);
  await page.goto(await invite('joan', '--role', 'developer'));
  await page.getByLabel('Password').fill(password);
  await press(page, 'Create account');
  await heading(page, 'joan');
  const asked = await fetch(`${site}/oauth2/device_authorization`, {
    method: 'POST',
    headers: { 'user-agent': 'the device of the test' },
    body: new URLSearchParams({ client_id: 'sealwright-cli' }),
  });
  const { verification_uri_complete: uri, device_code } = (await asked.json()) as Record<string, string>;
  assert(uri?.startsWith(`${site}/device#`), JSON.stringify(uri));
  await page.goto(uri!);
  await press(page, 'Look it up');
  await heading(page, 'Is this your device?');
  for (const shown of ['the device of the test', 'sealwright-cli', 'all that you may do', '30 days'])
    await page.getByText(shown).waitFor();
  await picture(page, 'device');
  await press(page, 'Sign it in');
  await heading(page, 'The device is signed in');
  const got = await fetch(`${site}/oauth2/token`, {
    method: 'POST',
    body: new URLSearchParams({
      client_id: 'sealwright-cli',
      device_code: device_code!,
      grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    }),
  });
  const { refresh_token } = (await got.json()) as Record<string, string>;
  assert.equal(got.status, 200);
  const refresh = async () =>
    await fetch(`${site}/oauth2/token`, {
      method: 'POST',
      body: new URLSearchParams({
        client_id: 'sealwright-cli',
        grant_type: 'refresh_token',
        refresh_token: refresh_token!,
      }),
    });
  await page.goto(`${site}/account`);
  const program = page.getByRole('listitem').filter({ hasText: 'sealwright-cli at' });
  await program.getByRole('button', { name: 'End' }).click();
  await program.waitFor({ state: 'detached' });
  assert.equal((await refresh()).status, 400, 'what was let in is ended on the page');
  assert.deepEqual(said, []);
});

test('the command line is let in by the person in a browser, and is that person afterwards', {
  skip: noBrowser,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-login-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  // A desktop whose browser writes down where it was sent.
  const opened = join(folder, 'opened');
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  writeFileSync(
    join(bin, 'xdg-open'),
    `#!/bin/sh\nprintf %s "$1" > ${opened}.new && mv ${opened}.new ${opened}\n`,
    {
      mode: 0o755,
    },
  );
  const environment = {
    PATH: `${bin}:${process.env.PATH}`,
    DISPLAY: ':0',
    SEALWRIGHT_URL: site,
    XDG_CONFIG_HOME: folder,
    SEALWRIGHT_CREDENTIALS: 'file',
  };
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  await page.goto(await invite('mary', '--role', 'developer'));
  await page.getByLabel('Password').fill(password);
  await press(page, 'Create account');
  await heading(page, 'mary');
  await press(page, 'Sign out');
  await heading(page, 'Sign in');
  for (const [answer, status] of [
    ['Refuse', 1],
    ['Let it in', 0],
  ] as const) {
    rmSync(opened, { force: true });
    const login = startCli(instance.home, ['login'], { cwd: folder, environment });
    await login.said(/sign in in your browser/);
    while (!existsSync(opened)) await new Promise((resolve) => setTimeout(resolve, 10));
    await page.goto(readFileSync(opened, 'utf8'));
    if (status === 1) {
      await heading(page, 'Sign in');
      await page.getByLabel('Name').fill('mary');
      await page.getByLabel('Password').fill(password);
      await page.keyboard.press('Enter');
    }
    await heading(page, 'Let this program act as you?');
    await page.getByText('user:mary').waitFor();
    await picture(page, 'authorize');
    await press(page, answer);
    const ended = await login.ended;
    assert.equal(ended.status, status, ended.stderr.toString('utf8'));
  }
  const who = await cli(instance.home, ['whoami', '--json'], { environment });
  const { actor, role, signIn } = JSON.parse(who.stdout.toString('utf8'));
  assert.deepEqual([actor, role, signIn !== null], ['user:mary', 'developer', true], who.stderr);
});

test('a page goes on to this server alone, and runs no script but its own', {
  skip: noBrowser,
}, async (t) => {
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  await page.goto(await invite('kay', '--role', 'developer'));
  await page.getByLabel('Password').fill(password);
  await press(page, 'Create account');
  await heading(page, 'kay');
  await press(page, 'Sign out');
  await heading(page, 'Sign in');
  for (const next of ['https://evil.example/', '//evil.example', '/\\evil.example', 'javascript:alert(1)']) {
    await page.goto(`${site}/login?next=${encodeURIComponent(next)}`);
    await page.getByLabel('Name').fill('kay');
    await page.getByLabel('Password').fill(password);
    await page.keyboard.press('Enter');
    await heading(page, 'kay');
    assert.equal(page.url(), `${site}/account`, next);
    await press(page, 'Sign out');
    await heading(page, 'Sign in');
  }
  const response = await page.goto(`${site}/login?error=<img src=x onerror=alert(1)>`);
  await heading(page, 'Sign in');
  assert.match(response?.headers()['content-security-policy'] ?? '', /default-src 'none'.*script-src 'self'/);
  assert.equal(await page.locator('img[src=x]').count(), 0);
});
