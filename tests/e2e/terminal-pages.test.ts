import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, type TestContext, test } from 'node:test';
import type { BrowserContext, Page } from 'playwright-core';
import { type AttachedClient, attachCloseCodes, type ClientFrame } from '../../src/contract/attach.ts';
import type { ConnectionId, TerminalId } from '../../src/model/ids.ts';
import { complaints, noBrowser, openBrowser } from '../support/browser.ts';
import {
  openTerminalSite,
  type SiteClient,
  siteRun,
  siteTerminalView,
  type TerminalSite,
} from '../support/terminal-site.ts';

/** The pages of terminals in a real browser, against a server that says what each test tells it. */

const pictures = process.env.SEALWRIGHT_PICTURES;
const other = 'con_99999999999999999999999999' as ConnectionId;

let site: TerminalSite;
let browser: BrowserContext;
let endBrowser: () => Promise<void> = async () => {};

before(async () => {
  if (noBrowser !== false) return;
  site = await openTerminalSite();
  browser = await openBrowser({
    after: (end) => {
      endBrowser = end;
    },
  });
});
after(async () => {
  await endBrowser();
  await site?.close();
});
beforeEach(() => {
  if (noBrowser !== false) return;
  Object.assign(site, {
    ...{ terminals: [siteTerminalView()], recording: Buffer.alloc(0), matches: [], refuseDriver: null },
    screen: 'the screen as it is\r\n',
  });
});

type Opened = { readonly page: Page; readonly said: string[] };

async function openPage(t: TestContext, path: string): Promise<Opened> {
  const page = await browser.newPage();
  t.after(() => page.close());
  const said = complaints(page);
  await page.goto(`${site.url}${path}?run=${siteRun}`);
  return { page, said };
}

async function openLive(t: TestContext): Promise<Opened & { readonly viewer: SiteClient }> {
  const opened = await openPage(t, '/terminal');
  const viewer = await site.next();
  assert.equal(viewer.role, 'viewer');
  tell(viewer, { bar: 'viewer' });
  await shows(opened.page, 'the screen as it is');
  return { ...opened, viewer };
}

/** As openLive, and then at the wheel. */
async function openDriving(t: TestContext): Promise<Opened & { readonly driver: SiteClient }> {
  const { page, said } = await openLive(t);
  await press(page, 'Take the wheel');
  await agree(page, 'Drive');
  const driver = await site.next();
  tell(driver, { drives: true });
  await page.getByText('You drive.').waitFor();
  await page.locator('.terminal-box').click();
  return { page, said, driver };
}

type Told = {
  readonly drives?: boolean;
  readonly bar?: 'viewer' | 'no-lease';
  readonly others?: AttachedClient[];
};

/** What a server tells a client of who is there and what it may do. */
function tell(client: SiteClient, { drives = false, bar = 'no-lease', others = [] }: Told): void {
  const { connection } = client;
  const role = client.role as 'viewer' | 'driver';
  client.say({
    type: 'clients',
    clients: [{ connection, actor: 'user:ada', role, driving: drives }, ...others],
  });
  const holder = others.find(({ driving }) => driving)?.connection ?? null;
  if (drives) client.say({ type: 'input', allowed: true, until: Date.now() + 30_000 });
  else client.say({ type: 'input', allowed: false, bar, holder });
}

const grace = (driving: boolean): AttachedClient => ({
  ...{ connection: other, actor: 'user:grace', role: 'driver', driving },
});

const shows = (page: Page, text: string) => page.locator('.xterm-rows').getByText(text).first().waitFor();
const press = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click();

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

const clipboardOf = (page: Page) => page.evaluate('navigator.clipboard.readText()');
const copy = (page: Page, text: string) =>
  page.evaluate(`navigator.clipboard.writeText(${JSON.stringify(text)})`);
const typedBy = (client: SiteClient) => client.typed.join('');
const heardType = (client: SiteClient, type: ClientFrame['type']) =>
  client.heard(() => client.said.some((frame) => frame.type === type));

test('whoever opens the page watches, and no key goes anywhere', { skip: noBrowser }, async (t) => {
  const { page, said, viewer } = await openLive(t);
  viewer.print('\x1b[1;31mred\x1b[0m and \x1b[38;2;10;120;90mtrue\x1b[0m ✓\r\n');
  await shows(page, 'red');
  await picture(page, 'terminal-watch');
  await page.locator('.terminal-box').click();
  await page.keyboard.type('rm -rf /');
  await page.keyboard.press('Control+C');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  assert.notEqual(
    await page.evaluate('document.activeElement.className'),
    'xterm-helper-textarea',
    'Tab goes on where nobody types',
  );
  await page.goto('about:blank');
  await viewer.heard(() => !viewer.isOpen);
  assert.deepEqual([viewer.typed, viewer.said], [[], []]);
  assert.deepEqual(said, []);
});

test('driving begins only after the warning was confirmed, and gives every key to the program', {
  skip: noBrowser,
}, async (t) => {
  const { page, said, viewer } = await openLive(t);
  await press(page, 'Take the wheel');
  const dialog = page.getByRole('dialog', { name: 'Take the wheel?' });
  for (const words of ['goes to the program', 'put on record under your name', 'is not to be trusted'])
    await dialog.getByText(words).waitFor();
  await picture(page, 'terminal-warning');
  assert.equal(await dialog.getByRole('button', { name: 'Drive' }).isDisabled(), true);
  await press(page, 'Cancel');
  await dialog.waitFor({ state: 'detached' });
  assert.equal(viewer.isOpen, true);
  await press(page, 'Take the wheel');
  await agree(page, 'Drive');
  const driver = await site.next();
  assert.equal(driver.role, 'driver');
  await heardType(driver, 'drive');
  assert.deepEqual(driver.said[0], { type: 'drive' });
  tell(driver, { drives: true });
  await page.getByText('You drive.').waitFor();
  await page
    .getByRole('timer')
    .getByText(/^(30|2\d) s$/)
    .waitFor();
  await page.locator('.terminal-box').click();
  await page.keyboard.type('echo ü');
  for (const key of ['Enter', 'Tab', 'ArrowUp', 'Control+C', 'Escape']) await page.keyboard.press(key);
  const wanted = 'echo ü\r\t\x1b[A\x03\x1b';
  await driver.heard(() => typedBy(driver).length >= wanted.length);
  assert.equal(typedBy(driver), wanted);
  await picture(page, 'terminal-drive');
  await page.keyboard.press('Control+F6');
  assert.equal(await page.evaluate('document.activeElement.textContent'), 'Release');
  await page.keyboard.press('Enter');
  await heardType(driver, 'release');
  tell(driver, {});
  await page.getByText('Nobody drives now.').waitFor();
  await page.locator('.terminal-box').click();
  await page.keyboard.type('x');
  await press(page, 'Take the wheel');
  await agree(page, 'Drive');
  await driver.heard(() => driver.said.filter(({ type }) => type === 'drive').length === 2);
  assert.equal(typedBy(driver), wanted);
  assert.deepEqual(said, []);
});

test('a ticket is in no address, no storage and no cookie', { skip: noBrowser }, async (t) => {
  const { page } = await openDriving(t);
  const kept = await page.evaluate<string>(
    'JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, document.documentElement.outerHTML])',
  );
  assert.equal(kept.includes('sw_attach_'), false);
  assert.deepEqual(
    site.requests.filter(({ url }) => url.includes('sw_attach_')),
    [],
  );
  const upgrades = site.requests.filter(({ method }) => method === 'upgrade');
  assert(upgrades.length > 1 && upgrades.every(({ url }) => url === `/api/v1/runs/${siteRun}/attach`));
});

test('whoever may not drive is told why and goes on watching', { skip: noBrowser }, async (t) => {
  const { page, said } = await openLive(t);
  site.refuseDriver = { status: 403, code: 'access.denied', detail: 'You lack control:write.' };
  await press(page, 'Take the wheel');
  await agree(page, 'Drive');
  await page.getByRole('alert').getByText('You lack control:write.').waitFor();
  const again = await site.next();
  assert.equal(again.role, 'viewer');
  again.print('still watching\r\n');
  await shows(page, 'still watching');
  assert.deepEqual(said, []);
});

test('taking over and handing over are asked in words, and said to the server', {
  skip: noBrowser,
}, async (t) => {
  const { page, viewer } = await openLive(t);
  tell(viewer, { bar: 'viewer', others: [grace(true)] });
  await page.getByText('user:grace drives. You are watching').waitFor();
  await press(page, 'Take over');
  await page.getByRole('dialog').getByText('cannot type any more').waitFor();
  await agree(page, 'Take over');
  const driver = await site.next();
  await heardType(driver, 'drive');
  assert.deepEqual(driver.said[0], { type: 'drive', takeover: true });
  tell(driver, { drives: true, others: [grace(false)] });
  await press(page, 'Hand over');
  await agree(page, 'Hand over');
  await heardType(driver, 'hand-over');
  assert.deepEqual(driver.said.at(-1), { type: 'hand-over', to: other });
  tell(driver, { others: [grace(true)] });
  await page.getByText('user:grace drives. Your keys go nowhere.').waitFor();
  await press(page, 'Take over');
  await agree(page, 'Take over');
  await driver.heard(() => driver.said.filter(({ type }) => type === 'drive').length === 2);
  assert.deepEqual(driver.said.at(-1), { type: 'drive', takeover: true });
});

test('the terminal is as large as the driver’s window, and drawn small enough for those who watch', {
  skip: noBrowser,
}, async (t) => {
  const { page, driver } = await openDriving(t);
  await heardType(driver, 'resize');
  const sizes = () => driver.said.flatMap((frame) => (frame.type === 'resize' ? [frame.size] : []));
  const [first] = sizes();
  driver.say({ type: 'resized', size: first! });
  await page.setViewportSize({ width: 700, height: 600 });
  await driver.heard(() => sizes().at(-1)!.columns < first!.columns);
  const small = sizes().at(-1)!;
  driver.say({ type: 'resized', size: small });
  assert(small.columns < first!.columns && small.rows < first!.rows, JSON.stringify([first, small]));
  driver.print(`\x1b[2J\x1b[H${'w'.repeat(small.columns)}`);
  await shows(page, 'w'.repeat(small.columns));
  driver.say({ type: 'resized', size: { columns: 132, rows: 43 } });
  driver.print(`\x1b[2J\x1b[H${'v'.repeat(132)}`);
  await shows(page, 'v'.repeat(132));
  await page.waitForFunction(
    "(({ scrollWidth, clientWidth }) => scrollWidth <= clientWidth)(document.querySelector('.terminal-stage'))",
  );
  await picture(page, 'terminal-narrow');
});

test('a broken connection is made again, and goes on behind the last byte', {
  skip: noBrowser,
}, async (t) => {
  const { page, said, viewer } = await openLive(t);
  viewer.print('before\r\n');
  await shows(page, 'before');
  site.screen = 'a snapshot that nobody needs';
  viewer.cut();
  const back = await site.next();
  assert.equal(back.from, 'before\r\n'.length);
  back.print('after\r\n');
  await shows(page, 'after');
  for (const text of ['the screen as it is', 'before']) await shows(page, text);
  assert.deepEqual(
    said.filter((text) => !text.includes('WebSocket')),
    [],
  );
});

test('while it comes back it says why', { skip: noBrowser }, async (t) => {
  const { page, viewer } = await openLive(t);
  viewer.close(attachCloseCodes.slow);
  await page.getByText('did not read fast enough').waitFor();
  await site.next();
  await page.getByText('did not read fast enough').waitFor({ state: 'hidden' });
});

test('the page says why it was cut, for every reason there is', { skip: noBrowser }, async (t) => {
  const final = {
    revoked: 'Your access has ended',
    switchedOff: 'Attaching was switched off',
    protocol: 'do not understand each other',
    tooLarge: 'more at once than the server takes',
    ended: 'The command has ended.',
  } as const;
  for (const [reason, words] of Object.entries(final)) {
    const { page, viewer } = await openLive(t);
    viewer.close(attachCloseCodes[reason as keyof typeof final], 'the server’s own words');
    await page.locator('.attach-end').getByText(words).waitFor();
    if (reason === 'protocol') await page.getByText('the server’s own words').waitFor();
    await page.getByRole('link', { name: 'Replay what was recorded' }).waitFor();
    await picture(page, `terminal-cut-${reason}`);
  }
  const { page, viewer } = await openLive(t);
  viewer.say({ type: 'ended', code: 3, signal: null });
  viewer.close(attachCloseCodes.ended);
  await page.getByText('The command has ended with status 3.').waitFor();
});

/** What output tries with the browser that shows it. */
const attacks = [
  ...['\x1b]52;c;b3duZWQ=\x07', '\x1b]0;owned\x07', '\x1b]2;owned\x1b\\'],
  '\x1b]8;;javascript:document.title="owned"\x07link\x1b]8;;\x07',
  ...['\x1b[c', '\x1b[>c', '\x1b[=c', '\x1b[5n', '\x1b[6n', '\x1b[?6n', '\x1b[?2004$p', '\x1bP$qm\x1b\\'],
  ...['\x1b[14t', '\x1b[16t', '\x1b[18t', '\x1b[20t', '\x1b[21t', '\x1b[8;5;5t', '\x1b]4;1;?\x07'],
  ...['\x1b]10;?\x07', '\x1b]11;?\x07', '\x1b]12;?\x07', '\x1b[>q', '\x1bP+q544e\x1b\\', '\x1b[?1004h'],
  '\x1b]1337;File=inline=1:PHNjcmlwdD4=\x07<script>document.title="owned"</script><img src=x onerror=alert(1)>',
].join('');

async function isUnharmed(page: Page, title: RegExp): Promise<void> {
  assert.match(await page.title(), title);
  assert.equal(await page.locator('.terminal-box :is(a, img, script, iframe)').count(), 0);
  assert.equal(await clipboardOf(page), 'what the person copied');
}

test('output types nothing, sets neither clipboard nor title, and makes no links', {
  skip: noBrowser,
}, async (t) => {
  await browser.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: site.url });
  const { page, said, driver } = await openDriving(t);
  await copy(page, 'what the person copied');
  driver.print(`${attacks}\r\nall was drawn\r\n`);
  await shows(page, 'all was drawn');
  await page.getByText('Attached').click();
  await page.locator('.terminal-box').click();
  const link = (await page.locator('.xterm-rows > div').filter({ hasText: 'link' }).first().boundingBox())!;
  await page.mouse.click(link.x + 5, link.y + 5);
  await page.keyboard.type('x');
  await driver.heard(() => typedBy(driver).includes('x'));
  assert.equal(typedBy(driver), 'x');
  await isUnharmed(page, /^Terminal · Sealwright$/);
  assert.deepEqual(said, []);
});

test('a selection is copied by key and by button, and a paste cannot break out of itself', {
  skip: noBrowser,
}, async (t) => {
  await browser.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: site.url });
  const { page, driver } = await openDriving(t);
  driver.print('\x1b[2J\x1b[Hcopy-this rest\r\n\x1b[?2004h');
  await shows(page, 'copy-this');
  const row = (await page.locator('.xterm-rows > div').first().boundingBox())!;
  const selectWord = () => page.mouse.dblclick(row.x + 20, row.y + row.height / 2);
  await selectWord();
  await page.keyboard.press('Control+Shift+C');
  assert.equal(await clipboardOf(page), 'copy-this');
  await copy(page, 'nothing');
  await selectWord();
  await press(page, 'Copy selection');
  assert.equal(await clipboardOf(page), 'copy-this');
  assert.equal(typedBy(driver), '');
  await copy(page, 'safe\x1b[201~; rm -rf /\nend');
  await page.locator('.terminal-box').click();
  await page.keyboard.press('Control+Shift+V');
  await driver.heard(() => typedBy(driver).includes('\x1b[201~'));
  assert.equal(typedBy(driver), '\x1b[200~safe[201~; rm -rf /\rend\x1b[201~');
});

test('those who watch copy too, with the usual key', { skip: noBrowser }, async (t) => {
  await browser.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: site.url });
  const { page, viewer } = await openLive(t);
  viewer.print('\x1b[2J\x1b[Hcopy-that rest');
  await shows(page, 'copy-that');
  const row = (await page.locator('.xterm-rows > div').first().boundingBox())!;
  await page.mouse.dblclick(row.x + 20, row.y + row.height / 2);
  await page.keyboard.press('Control+C');
  assert.equal(await clipboardOf(page), 'copy-that');
});

test('for screen readers the lines are text, and everything has a name', { skip: noBrowser }, async (t) => {
  const { page, viewer } = await openLive(t);
  tell(viewer, { bar: 'viewer', others: [grace(true)] });
  await page.getByLabel('Screen reader mode').check();
  viewer.print('read this aloud\r\n');
  await page.locator('.xterm-accessibility').getByText('read this aloud').first().waitFor();
  await page.getByRole('status').getByText('user:grace drives.').waitFor();
  assert.deepEqual(await nameless(page), []);
  assert.equal(await page.getByRole('heading', { level: 1 }).count(), 1);
});

/** Controls without a name, and ids that are there twice. */
const nameless = (page: Page) =>
  page.evaluate<string[]>(`(() => {
    const nameOf = (element) => element.getAttribute('aria-label') ?? element.textContent ?? '';
    const isNamed = (element) => nameOf(element).trim() !== '' || (element.labels?.length ?? 0) > 0;
    const controls = [...document.querySelectorAll('button, a, input, select, textarea')];
    const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
    const unnamed = controls.filter((element) => !isNamed(element)).map(({ outerHTML }) => outerHTML);
    return [...unnamed, ...ids.filter((id, at) => ids.indexOf(id) !== at)];
  })()`);

const cast = (...events: readonly unknown[]) =>
  Buffer.from(
    [{ version: 2, width: 80, height: 24 }, ...events].map((line) => JSON.stringify(line)).join('\n'),
  );
const steps = (count: number) => Array.from({ length: count }, (_, at) => [at, 'o', `step ${at};\r\n`]);

test('what was recorded is played, paused, searched and moved about in by keys', {
  skip: noBrowser,
}, async (t) => {
  site.terminals = [siteTerminalView({ endedAt: '2026-01-02T03:05:20.000Z', exitCode: 0 })];
  site.recording = cast(...steps(76), [75.5, 'i', 'typed'], [76, 'r', '100x30']);
  site.matches = [{ at: 40, line: 'step 40; <b>not bold</b>' }];
  const { page, said } = await openPage(t, '/replay');
  await shows(page, 'step 0;');
  await page.getByText('00:00 of 01:16').waitFor();
  const position = async () => (await page.locator('.transport .time').innerText()).slice(0, 5);
  await page.keyboard.press('ArrowRight');
  await shows(page, 'step 5;');
  assert.equal(await position(), '00:05');
  await page.keyboard.press('ArrowLeft');
  await page.getByText('00:00 of').waitFor();
  assert.equal((await page.locator('.xterm-rows').innerText()).includes('step 5'), false);
  await page.keyboard.press('>');
  assert.equal(await page.getByLabel('Speed').inputValue(), '2');
  await page.getByLabel('Speed').selectOption('16');
  await press(page, 'Play');
  await shows(page, 'step 12;');
  await press(page, 'Pause');
  await press(page, 'Play');
  await press(page, 'Pause');
  await page.getByLabel('Position').focus();
  await page.keyboard.press('End');
  await shows(page, 'step 75;');
  await page.getByRole('button', { name: 'Play again' }).waitFor();
  await page.locator('h1').click();
  await page.keyboard.press('/');
  await page.keyboard.type('step 40 ');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: '00:40 step 40; <b>not bold</b>' }).click();
  await page.getByText('00:40 of').waitFor();
  await shows(page, 'step 40;');
  assert.equal((await page.locator('.xterm-rows').innerText()).includes('step 41'), false);
  const [query] = site.requests.filter(({ url }) => url.includes('/search?')).slice(-1);
  assert.match(query!.url, /text=step\+40\+?&limit=100$/);
  assert.equal(await page.locator('.matches b').count(), 0);
  assert.deepEqual(await nameless(page), []);
  await picture(page, 'replay');
  await page.emulateMedia({ colorScheme: 'dark' });
  await picture(page, 'replay-dark');
  assert.deepEqual(said, []);
});

test('a replay can do as little as what is live', { skip: noBrowser }, async (t) => {
  await browser.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: site.url });
  site.recording = cast([0, 'o', attacks], [1, 'o', '\r\nall was drawn']);
  const { page, said } = await openPage(t, '/replay');
  await copy(page, 'what the person copied');
  await page.getByText('00:00 of 00:01').waitFor();
  await page.keyboard.press('End');
  await shows(page, 'all was drawn');
  await page.locator('.terminal-box').click();
  await page.keyboard.type('x');
  await isUnharmed(page, /^Replay · Sealwright$/);
  assert.deepEqual(said, []);
});

test('a large recording does not freeze the page', { skip: noBrowser }, async (t) => {
  const line = `${'\x1b[32mgreen\x1b[0m plain '.repeat(40)}\r\n`;
  site.recording = cast(...Array.from({ length: 20_000 }, (_, at) => [at / 10, 'o', line]), [
    2_100,
    'o',
    'the end',
  ]);
  assert(site.recording.length > 16 * 1024 * 1024);
  const { page, said } = await openPage(t, '/replay');
  await page.getByRole('button', { name: 'Play', exact: true }).waitFor();
  await page.evaluate(`(() => {
    window.longestMs = 0;
    let before = performance.now();
    const look = () => {
      const now = performance.now();
      window.longestMs = Math.max(window.longestMs, now - before);
      before = now;
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  })()`);
  await page.keyboard.press('End');
  await shows(page, 'the end');
  const longestMs = await page.evaluate<number>('window.longestMs');
  t.diagnostic(`the longest time without a frame was ${longestMs.toFixed(0)} ms`);
  assert(longestMs < 1_000, `${longestMs} ms without a frame`);
  assert.deepEqual(said, []);
});

test('what is not whole, or no recording, is said', { skip: noBrowser }, async (t) => {
  site.terminals = [
    siteTerminalView({
      recording: { bytes: 9, seconds: 9, complete: false },
      endedAt: '2026-01-02T03:05:20.000Z',
    }),
  ];
  site.recording = cast(...steps(2));
  const { page } = await openPage(t, '/replay');
  await page.getByText('Parts in the middle were dropped').waitFor();
  site.recording = Buffer.from('<html>');
  await page.reload();
  await page.getByRole('alert').getByText('not a recording').waitFor();
  site.terminals = [];
  await page.reload();
  await page.getByRole('alert').getByText('no such terminal').waitFor();
});

test('a run’s terminals are listed with what can be done with each, and their text is text', {
  skip: noBrowser,
}, async (t) => {
  const id = 'trm_01kamcq5r8v0x4m2e7hj9n3tzc' as TerminalId;
  site.terminals = [
    siteTerminalView(),
    siteTerminalView({
      ...{ id, kind: 'exec', actor: 'user:grace', command: ['ps', '<b>\x1b[2J'] },
      ...{ endedAt: '2026-01-02T03:05:20.000Z', exitCode: 1 },
    }),
  ];
  const { page, said } = await openPage(t, '/terminals');
  await page.getByText('Command of user:grace').waitFor();
  const [own, command] = await page.locator('.terminals li').all();
  await own!.getByRole('link', { name: /^Watch/ }).waitFor();
  await command!.getByText('Command of user:grace, ended with 1').waitFor();
  await command!.getByText('ps "<b>\\u001b[2J"').waitFor();
  assert.equal(await command!.getByRole('link', { name: /^Watch/ }).count(), 0);
  assert.equal(
    await command!.getByRole('link', { name: /^Replay/ }).getAttribute('href'),
    `/replay?run=${siteRun}&terminal=${id}`,
  );
  await picture(page, 'terminals');
  site.runs = [
    {
      id: siteRun,
      name: null,
      command: ['make', 'x'],
      phase: 'running',
      owner: 'user:ada',
      createdAt: '2026-01-02T03:04:05.000Z',
    },
  ];
  await page.getByRole('link', { name: 'Other runs' }).click();
  await page.getByText('running, of user:ada').waitFor();
  await page.getByRole('link', { name: `Terminals of make x, ${siteRun}` }).click();
  await page.getByText('Command of user:grace').waitFor();
  assert.deepEqual(said, []);
});
