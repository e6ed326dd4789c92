import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect } from '../../src/cli/connect.ts';
import type { Context } from '../../src/cli/context.ts';
import { buildProgram, runProgram } from '../../src/cli/program.ts';
import { chooseTarget } from '../../src/cli/target.ts';
import { type TestEnvironment, testEnvironment } from '../../src/cli/test-environment.ts';
import { OAuthSite } from '../support/oauth-site.ts';

/** `sealwright login` and what follows from it, against a real server. */

const root = join(import.meta.dirname, '..', '..');

/** A browser that is signed in as the person whose cookie it has, who says yes to the program that asks. */
const browser = `
import { readFileSync } from 'node:fs';
const cookie = readFileSync(process.env.HOME + '/cookie', 'utf8');
const asked = await fetch(process.argv[2], { redirect: 'manual' });
const page = new URL(asked.headers.get('location'), process.argv[2]);
const answered = await fetch(new URL('/api/v1/account/programs/approve', page), {
  method: 'POST',
  headers: { cookie, 'content-type': 'application/json', 'sec-fetch-site': 'same-origin' },
  body: JSON.stringify({ query: page.search.slice(1), decision: 'approve' }),
});
await fetch((await answered.json()).location);
`;

type Desk = { readonly environment: TestEnvironment; readonly site: OAuthSite };

async function desk(
  t: TestContext,
  variables: Record<string, string> = {},
  isReachable = true,
): Promise<Desk> {
  const site = await OAuthSite.open(t, { isReachable });
  await site.user('ann');
  const environment = testEnvironment({ SEALWRIGHT_URL: site.server.address, ...variables });
  t.after(() => environment.dispose());
  const bin = join(environment.folder, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'browser.mjs'), browser);
  writeFileSync(join(bin, 'xdg-open'), `#!/bin/sh\nexec ${process.execPath} ${bin}/browser.mjs "$1"\n`);
  chmodSync(join(bin, 'xdg-open'), 0o755);
  Object.assign(environment.variables, { PATH: `${bin}:${process.env.PATH}` });
  writeFileSync(join(environment.home, 'cookie'), await site.browser('ann'));
  return { environment, site };
}

async function sealwright({ environment }: Desk, ...words: string[]) {
  environment.stdout.chunks.length = 0;
  environment.stderr.chunks.length = 0;
  const target = () => chooseTarget(environment, {});
  const context: Context = {
    environment,
    connect: async (options = {}) => connect(await target(), options),
    describeTarget: async () => {
      const { url, token, profilePath } = await target();
      return { url, token: token !== null, profile: profilePath };
    },
    isHere: async () => false,
    dataFolder: async () => environment.folder,
    version: '0.0.0-test',
    verbose: false,
    status: 0,
  };
  const program = buildProgram(context, () => undefined);
  const status = await runProgram(program, words, context);
  return { status, out: environment.stdout.text, err: environment.stderr.text };
}

const file = ({ environment }: Desk) => join(environment.home, '.config', 'sealwright', 'credentials.json');
const kept = (at: Desk) =>
  Object.values(JSON.parse(readFileSync(file(at), 'utf8')))[0] as Record<string, string>;

/** Makes what is kept look as old as it is after five minutes. */
function age(at: Desk): void {
  const entries = JSON.parse(readFileSync(file(at), 'utf8'));
  for (const entry of Object.values(entries) as { expiresAt: number }[]) entry.expiresAt = Date.now();
  writeFileSync(file(at), JSON.stringify(entries));
}

test('login opens the browser, and afterwards the command line is that person until logout', async (t) => {
  const at = await desk(t, { DISPLAY: ':0' });
  const { status, out, err } = await sealwright(at, 'login');
  assert.equal(status, 0, err);
  assert.equal(out, 'user:ann (developer)\n');
  assert.equal(statSync(file(at)).mode & 0o777, 0o600);
  const { accessToken, refreshToken } = kept(at);
  assert(!(out + err).includes(accessToken!) && !(out + err).includes(refreshToken!));
  const who = JSON.parse((await sealwright(at, 'whoami', '--json')).out);
  assert.deepEqual([who.actor, who.role, who.signIn === null], ['user:ann', 'developer', false]);
  assert.match((await sealwright(at, 'whoami')).out, /user:ann/);
  assert.equal((await sealwright(at, 'logout')).status, 0);
  assert.equal((await at.site.call('GET', '/api/v1/whoami', accessToken!)).status, 401);
  const after = await sealwright(at, 'whoami');
  assert.deepEqual([after.status, /sealwright login/.test(after.err)], [1, true]);
});

test('without a display a code is shown, for a browser elsewhere', async (t) => {
  const at = await desk(t);
  const running = sealwright(at, 'login');
  const signal = AbortSignal.timeout(5000);
  let code: string | undefined;
  while (code === undefined) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 10));
    code = /the code ([A-Z]{4}-[A-Z]{4})/.exec(at.environment.stderr.text)?.[1];
  }
  const answer = { userCode: code, decision: 'approve' };
  assert.equal((await at.site.answerDevice(answer, await at.site.browser('ann'))).status, 204);
  const { status, out, err } = await running;
  assert.deepEqual([status, out], [0, 'user:ann (developer)\n'], err);
});

test('a token that was given on standard input is kept where it works, and not where it does not', async (t) => {
  const at = await desk(t);
  const made = await at.site.test.directory.tokens.issue(
    { name: 'x', actor: 'user:ann', scopes: ['run:read'], reach: 'own', expiresAt: null },
    null,
  );
  assert('secret' in made);
  at.environment.input = `sw_${'0'.repeat(36)}\n`;
  assert.equal((await sealwright(at, 'login', '--token')).status, 1);
  assert.throws(() => readFileSync(file(at)));
  at.environment.input = 'not a token\n';
  assert.equal((await sealwright(at, 'login', '--token')).status, 2);
  at.environment.input = `${made.secret}\n`;
  assert.equal((await sealwright(at, 'login', '--token')).status, 0);
  assert.equal(JSON.parse((await sealwright(at, 'whoami', '--json')).out).credential, made.record.id);
  await sealwright(at, 'logout');
  assert.notEqual(
    await at.site.test.directory.tokens.verify(made.secret),
    null,
    'a token of its own lives on',
  );
});

test('of many programs at once one refreshes, and all go on', async (t) => {
  const at = await desk(t, { DISPLAY: ':0' });
  assert.equal((await sealwright(at, 'login')).status, 0);
  const before = kept(at);
  age(at);
  const programs = Array.from({ length: 6 }, async () => {
    const program = spawn(process.execPath, [join(root, 'src/main/cli.ts'), 'whoami', '--json'], {
      env: at.environment.variables as Record<string, string>,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const chunks: Buffer[] = [];
    program.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    const [status] = await once(program, 'close');
    return { status, out: Buffer.concat(chunks).toString('utf8') };
  });
  for (const { status, out } of await Promise.all(programs)) {
    assert.equal(status, 0);
    assert.equal(JSON.parse(out).actor, 'user:ann');
  }
  assert.equal((await at.site.recorded('token.refresh')).length, 1);
  assert.notEqual(kept(at).refreshToken, before.refreshToken);
});

test('a token that the server does not take any more is renewed once, and a sign-in that ended is forgotten', async (t) => {
  const at = await desk(t, { DISPLAY: ':0' });
  await sealwright(at, 'login');
  await at.site.test.directory.signingKeys.rotate({ overlap: false });
  assert.equal((await sealwright(at, 'whoami')).status, 0, 'a rotated key is no reason to sign in again');
  await at.site.test.directory.signIns.endAllOf('user:ann', 'test', null);
  const { status, err } = await sealwright(at, 'whoami');
  assert.equal(status, 1);
  assert.match(err, /has ended[\s\S]*sealwright login/);
  assert.throws(() => readFileSync(file(at)));
});

test('a server that calls itself by another name gets no code', async (t) => {
  const at = await desk(t, { DISPLAY: ':0' }, false);
  const { status, err } = await sealwright(at, 'login');
  assert.equal(status, 1);
  assert.match(err, /calls itself http:\/\/localhost:7717/);
});

test('a developer makes, lists, rotates and revokes own tokens, which need an end', async (t) => {
  const at = await desk(t, { DISPLAY: ':0' });
  await sealwright(at, 'login');
  const create = (...more: string[]) =>
    sealwright(at, 'tokens', 'create', '--name', 'ci', '--scope', 'run:read', ...more);
  const endless = await create();
  assert.match(endless.err, /--expires/);
  const made = await create('--expires', '30d', '--json');
  assert.equal(made.status, 0, made.err);
  const { id, token, actor } = JSON.parse(made.out);
  assert.equal(actor, 'user:ann');
  assert.equal((await at.site.call('GET', '/api/v1/runs', token)).status, 200);
  assert.match((await create('--scope', 'identity:write', '--expires', '1d')).err, /identity:write/);
  assert.match((await create('--reach', 'all', '--expires', '1d')).err, /reach/);
  assert.match((await sealwright(at, 'tokens')).out, new RegExp(id));
  const rotated = await sealwright(at, 'tokens', 'rotate', id, '--overlap', '1h', '--json');
  const next = JSON.parse(rotated.out);
  for (const secret of [token, next.token])
    assert.equal((await at.site.call('GET', '/api/v1/runs', secret)).status, 200);
  assert.equal((await sealwright(at, 'tokens', 'rm', id)).status, 0);
  assert.equal((await at.site.call('GET', '/api/v1/runs', token)).status, 401);
  const last = await sealwright(at, 'tokens', 'rotate', next.id);
  assert.equal(
    (await at.site.call('GET', '/api/v1/runs', next.token)).status,
    401,
    'at once without --overlap',
  );
  assert.equal((await at.site.call('GET', '/api/v1/runs', last.out.trim())).status, 200);
});
