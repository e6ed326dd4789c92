import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startCli } from '../support/cli-process.ts';
import { cli } from '../support/instance.ts';

/** What `sealwright up` says to whoever starts a server that nobody administers yet. */

const step = './bin/sealwright users invite --local --role admin';
const listen = { SEALWRIGHT_LISTEN: '127.0.0.1:0' };

function newHome(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-first-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'home');
}

/** All that `up` says of a start, and of what is done before it is ended. */
async function announced(
  home: string,
  environment: Record<string, string> = {},
  meanwhile: () => Promise<void> = async () => undefined,
): Promise<string> {
  const up = startCli(home, ['up'], { cwd: '/', environment: { ...listen, ...environment } });
  try {
    await up.said(/Ctrl-C stops it/);
    await meanwhile();
  } finally {
    up.child.kill('SIGINT');
  }
  const { status, stdout } = await up.ended;
  assert.equal(status, 0);
  return stdout.toString();
}

/** Makes the administrator by the very words that were said. */
async function followStep(home: string): Promise<void> {
  const { stdout, stderr, status } = await cli(home, step.split(' ').slice(1));
  assert.equal(status, 0, stderr);
  const link = new URL(stdout.toString('utf8').trim());
  const response = await fetch(new URL('/auth/invitations/accept', link), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ invitation: link.hash.slice(1), name: 'ada', password: 'correct horse battery' }),
  });
  assert.equal(response.status, 200, await response.text());
}

test('the next step of a first administrator is told until there is one, and works as it stands there', async (t) => {
  const home = newHome(t);
  assert(
    (await announced(home, {}, async () => await followStep(home))).includes(`\n  ${step} `),
    'it is told at first',
  );
  assert(!(await announced(home)).includes(step), 'and no more once somebody administers');
});

test('where people have to come through their provider nobody is told to invite', async (t) => {
  const said = await announced(newHome(t), { SEALWRIGHT_LOCAL_SIGN_IN: 'no' });
  assert.match(said, /is ready at/);
  assert(!said.includes(step));
});
