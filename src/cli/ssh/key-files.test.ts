import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openSshKeys, sshFolder } from './key-files.ts';

const root = mkdtempSync(join(tmpdir(), 'sealwright-keys-'));
after(() => rmSync(root, { recursive: true, force: true }));

function replaceByLink(path: string): void {
  rmSync(path);
  symlinkSync('/etc/hostname', path);
}

let made = 0;
function place() {
  made += 1;
  const home = join(root, `home ${made}`);
  return { variables: {}, home, platform: process.platform, uid: process.getuid?.() ?? null };
}

test('the folder is the one for state, or that of SEALWRIGHT_HOME', () => {
  const at = (variables: Record<string, string>) => sshFolder({ variables, home: '/h' });
  assert.equal(at({}), '/h/.local/state/sealwright/ssh');
  assert.equal(at({ XDG_STATE_HOME: '/s' }), '/s/sealwright/ssh');
  assert.equal(at({ XDG_STATE_HOME: '/s', SEALWRIGHT_HOME: '/d' }), '/d/ssh');
});

test('keys are made once, for this person alone, and each end has its own', async () => {
  const where = place();
  const first = await openSshKeys(where);
  const again = await openSshKeys(where);
  assert.deepEqual(again.clientKey.blob, first.clientKey.blob);
  assert.equal(again.hostKey, first.hostKey);
  const folder = sshFolder(where);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  for (const name of readdirSync(folder))
    assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
  assert.deepEqual(readdirSync(folder).toSorted(), [
    'host_ed25519',
    'id_ed25519',
    'id_ed25519.pub',
    'known_hosts',
  ]);
  const known = readFileSync(first.knownHostsFile, 'utf8');
  assert.match(known, /^sealwright-sandbox ssh-ed25519 AAAA\S+\n$/);
  assert.ok(!known.includes(first.clientKey.blob.toString('base64')));
});

test('programs that come at once get the same keys', async () => {
  const where = place();
  const all = await Promise.all(Array.from({ length: 12 }, () => openSshKeys(where)));
  assert.equal(new Set(all.map(({ clientKey }) => clientKey.blob.toString('hex'))).size, 1);
  assert.equal(new Set(all.map(({ hostKey }) => hostKey)).size, 1);
});

test('a known_hosts that says something else is put right', async () => {
  const where = place();
  const { knownHostsFile } = await openSshKeys(where);
  const right = readFileSync(knownHostsFile, 'utf8');
  writeFileSync(knownHostsFile, '* ssh-ed25519 AAAA\n');
  await openSshKeys(where);
  assert.equal(readFileSync(knownHostsFile, 'utf8'), right);
});

for (const [what, spoil] of [
  ['that others can read', (path: string) => chmodSync(path, 0o644)],
  ['that is a link', (path: string) => replaceByLink(path)],
  ['that is none', (path: string) => writeFileSync(path, 'no key')],
  ['that is cut off', (path: string) => writeFileSync(path, readFileSync(path, 'utf8').slice(0, 100))],
  ['that is too long to be one', (path: string) => writeFileSync(path, 'x'.repeat(100_000))],
] as const) {
  test(`a key ${what} is refused, with what to do`, async () => {
    for (const name of ['id_ed25519', 'host_ed25519']) {
      const where = place();
      await openSshKeys(where);
      spoil(join(sshFolder(where), name));
      await assert.rejects(openSshKeys(where), { name: 'CliFailure', hint: /^Remove / });
    }
  });
}

test('a folder that others can write to is refused', async () => {
  const where = place();
  await openSshKeys(where);
  chmodSync(sshFolder(where), 0o777);
  await assert.rejects(openSshKeys(where), { name: 'CliFailure' });
});

test('keys of another user are refused', async () => {
  const where = place();
  await openSshKeys(where);
  await assert.rejects(openSshKeys({ ...where, uid: (where.uid ?? 0) + 1 }), /others can read it or own it/);
});
