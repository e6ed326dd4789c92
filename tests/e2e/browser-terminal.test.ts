import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import type { Page } from 'playwright-core';
import { addAuthenticator, complaints, noBrowser, openBrowser } from '../support/browser.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';

/** Two people in two browsers, a real server, and the shell of a real sandbox. */

const password = 'correct horse battery';
const pictures = process.env.SEALWRIGHT_PICTURES;

let instance: Instance;
let site: string;

before(async () => {
  if (noBrowser !== false) return;
  // Of its own, and the same after a restart.
  instance = await startInstance({ environment: { SEALWRIGHT_LISTEN: `127.0.0.1:${await freePort()}` } });
  site = `http://localhost:${new URL(instance.url).port}`;
});
after(() => instance?.remove());

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function sealwright(...words: string[]): Promise<string> {
  const { stdout, status, stderr } = await cli(instance.home, words);
  assert.equal(status, 0, stderr);
  return stdout.toString('utf8').trim();
}

const press = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click();
const heading = (page: Page, name: string) => page.getByRole('heading', { level: 1, name }).waitFor();
const shows = (page: Page, text: string) => page.locator('.xterm-rows').getByText(text).first().waitFor();

async function agree(page: Page, action: string): Promise<void> {
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('checkbox').check();
  await dialog.getByRole('button', { name: action, exact: true }).click();
}

async function picture(page: Page, name: string): Promise<void> {
  if (pictures === undefined) return;
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

/** Somebody who may drive, signed in with a browser of their own. */
async function signIn(t: TestContext, name: string): Promise<{ page: Page; said: string[] }> {
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  const said = complaints(page);
  await addAuthenticator(page);
  await page.goto(await sealwright('users', 'invite', name, '--role', 'operator', '--local'));
  await page.getByLabel('Password').fill(password);
  await press(page, 'Create account');
  await press(page, 'Make a passkey on this device');
  await press(page, 'I have kept them');
  await heading(page, name);
  return { page, said };
}

async function startShell(): Promise<{ readonly session: string; readonly run: string }> {
  const session = await instance.client.sessions.create({ attach: { enabled: true } });
  const run = await instance.client.runs.create({
    session: session.id,
    command: ['bash', '--norc', '--noprofile'],
    env: { PS1: 'sandbox> ' },
    terminal: { columns: 80, rows: 24 },
  });
  return { session: session.id, run: run.id };
}

async function open(page: Page, run: string): Promise<void> {
  await page.goto(`${site}/terminal?run=${run}`);
  await page
    .getByText('your keys go nowhere', { exact: false })
    .or(page.getByText('Your keys go nowhere'))
    .waitFor();
}

async function drive(page: Page): Promise<void> {
  await press(page, 'Take the wheel');
  await agree(page, 'Drive');
  await page.getByText('You drive.').waitFor();
  await page.locator('.terminal-box').click();
}

async function type(page: Page, line: string): Promise<void> {
  await page.keyboard.type(line);
  await page.keyboard.press('Enter');
}

test('two people share a shell: one drives, the other watches, takes over and hands back', {
  skip: noBrowser,
}, async (t) => {
  const [ada, grace] = [await signIn(t, 'ada'), await signIn(t, 'grace')];
  const { run } = await startShell();
  await open(ada.page, run);
  await shows(ada.page, 'sandbox>');
  await drive(ada.page);
  await type(ada.page, 'echo first-$((40 + 2))');
  await shows(ada.page, 'first-42');

  await open(grace.page, run);
  await shows(grace.page, 'first-42');
  await grace.page.getByText('user:ada drives.').waitFor();
  await grace.page.locator('.terminal-box').click();
  await type(grace.page, 'echo never-$((1 + 1))');
  await type(ada.page, 'echo second-$((40 + 3))');
  await shows(grace.page, 'second-43');
  await picture(grace.page, 'real-viewer');
  assert.equal((await ada.page.locator('.xterm-rows').innerText()).includes('never'), false);

  await press(grace.page, 'Take over');
  await agree(grace.page, 'Take over');
  await grace.page.getByText('You drive.').waitFor();
  await ada.page.getByText('user:grace drives.').waitFor();
  await grace.page.locator('.terminal-box').click();
  await type(grace.page, 'echo third-$((40 + 4))');
  await shows(ada.page, 'third-44');
  await ada.page.locator('.terminal-box').click();
  await type(ada.page, 'echo never-$((1 + 1))');
  await press(grace.page, 'Hand over');
  await agree(grace.page, 'Hand over');
  await ada.page.getByText('You drive.').waitFor();
  await ada.page.locator('.terminal-box').click();
  await type(ada.page, 'echo fourth-$((40 + 5))');
  await shows(grace.page, 'fourth-45');
  assert.equal((await grace.page.locator('.xterm-rows').innerText()).includes('never'), false);
  await picture(ada.page, 'real-driver');
  assert.deepEqual([ada.said, grace.said], [[], []]);
});

test('whoever may no longer is cut at once, and told why', { skip: noBrowser }, async (t) => {
  const [barbara, jean] = [await signIn(t, 'barbara'), await signIn(t, 'jean')];
  const { run, session } = await startShell();
  const pages = [barbara.page, jean.page];
  for (const page of pages) await open(page, run);
  await drive(barbara.page);
  await instance.client.attach.configure(session, { enabled: false });
  for (const page of pages) await page.getByRole('alert').getByText('Attaching was switched off').waitFor();
  await barbara.page.keyboard.type('x');
  await picture(barbara.page, 'real-switched-off');
  await press(jean.page, 'Connect again');
  await jean.page.getByRole('alert').first().waitFor();
  await instance.client.attach.configure(session, { enabled: true });
  for (const page of pages) await open(page, run);
  await sealwright('users', 'disable', 'jean', '--local');
  await jean.page.getByRole('alert').getByText('Your access has ended').waitFor();
  await drive(barbara.page);
  await type(barbara.page, 'echo still-$((40 + 2))');
  await shows(barbara.page, 'still-42');
});

test('a server that is killed and comes back finds the browser where it was', {
  skip: noBrowser,
}, async (t) => {
  const { page } = await signIn(t, 'katherine');
  const { run } = await startShell();
  await open(page, run);
  await drive(page);
  await type(page, 'echo before-$((40 + 2))');
  await shows(page, 'before-42');
  process.kill(instance.pids().control, 'SIGKILL');
  await page.getByText('The connection broke. Connecting again…').waitFor();
  await page.getByText('You drive.').waitFor();
  await page.locator('.terminal-box').click();
  await type(page, 'echo after-$((40 + 3))');
  await shows(page, 'after-43');
  await shows(page, 'before-42');
});

test('what was shown can be replayed and searched after the end', { skip: noBrowser }, async (t) => {
  const { page, said } = await signIn(t, 'evelyn');
  const { run } = await startShell();
  await open(page, run);
  await drive(page);
  await type(page, 'echo needle-$((40 + 2)); printf "\\033]0;owned\\007\\033[c\\033[6n"');
  await shows(page, 'needle-42');
  await type(page, 'exit 3');
  await page.getByText('The command has ended with status 3.').waitFor();
  await page.getByRole('link', { name: 'Replay what was recorded' }).click();
  await heading(page, 'Replay');
  await page.getByRole('button', { name: 'Play', exact: true }).waitFor();
  await page.keyboard.press('End');
  await shows(page, 'needle-42');
  assert.match(await page.title(), /^Replay · Sealwright$/);
  await page.keyboard.press('Home');
  await page.getByLabel('Text to look for').fill('needle-42');
  await page.keyboard.press('Enter');
  await page
    .locator('.matches')
    .getByRole('button', { name: /needle-42/ })
    .first()
    .click();
  await shows(page, 'needle-42');
  await picture(page, 'real-replay');
  await page.goto(`${site}/terminals?run=${run}`);
  await page.getByText('ended with 3').waitFor();
  assert.deepEqual(said, []);
});
