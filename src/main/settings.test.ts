import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { dataFolderOf, readSettings, readSettingsFile, SettingError } from './settings.ts';

const none = { flags: {}, environment: {}, file: {} };
const refusing = (pattern: RegExp) => (error: unknown) =>
  error instanceof SettingError && pattern.test(error.message);

test('flags go before the environment, that before the file, that before the default', () => {
  const all = {
    flags: { 'max-runs': '3' },
    environment: { SEALWRIGHT_MAX_RUNS: '4' },
    file: { maxRuns: '5' },
  };
  assert.equal(readSettings(all).maxRuns, 3);
  assert.equal(readSettings({ ...all, flags: {} }).maxRuns, 4);
  assert.equal(readSettings({ ...none, file: all.file }).maxRuns, 5);
  assert.equal(readSettings(none).maxRuns, 16);
});

test('the names of the documents the product grew from mean the same', () => {
  assert.equal(readSettings({ ...none, environment: { CP_ENV: 'prod' } }).env, 'prod');
  assert.equal(
    readSettings({ ...none, environment: { CP_AUDIT_PATH: '/srv/audit' } }).auditFolder,
    '/srv/audit',
  );
  const token = 'x'.repeat(32);
  assert.equal(readSettings({ ...none, environment: { CP_BOOTSTRAP_TOKEN: token } }).bootstrapToken, token);
});

for (const [name, value, pattern] of [
  ['SEALWRIGHT_LISTEN', '127.0.0.1', /SEALWRIGHT_LISTEN: '127\.0\.0\.1' is not an address and a port/],
  ['SEALWRIGHT_LISTEN', '127.0.0.1:99999', /is not an address/],
  ['SEALWRIGHT_LISTEN', 'example.org:80', /is not an address/],
  ['SEALWRIGHT_MAX_RUNS', '0', /whole number from 1 to 2000/],
  ['SEALWRIGHT_MAX_RUNS', '1e3', /whole number/],
  ['SEALWRIGHT_ENV', 'production', /one of dev, prod/],
  ['SEALWRIGHT_TRUSTED_PROXIES', '10.0.0.0/33', /CIDR/],
] as const) {
  test(`a bad value stops the start with its name and shape: ${name}=${value}`, () => {
    assert.throws(() => readSettings({ ...none, environment: { [name]: value } }), refusing(pattern));
  });
}

for (const value of [
  '10.20.0.1/16',
  '10.20.0.0',
  '10.20.0.0/16,github.com',
  '::ffff:10.0.0.0/104',
  '224.0.0.0/24',
  '198.18.3.0/24',
  '10.0.0.0/33',
  Array.from({ length: 257 }, (_, index) => `10.${index >> 8}.${index & 255}.0/24`).join(),
])
  test(`networks of github that no rule can be for stop the start: ${value.slice(0, 40)}`, () => {
    for (const name of ['SEALWRIGHT_GITHUB_EGRESS_CIDRS', 'CP_GITHUB_EGRESS_CIDRS'])
      assert.throws(
        () => readSettings({ ...none, environment: { [name]: value } }),
        refusing(new RegExp(`^${name}: '.*is not a comma-separated list of .*10\\.20\\.0\\.0/16`)),
      );
  });

test('networks of github are canonical, each once', () => {
  const environment = { CP_GITHUB_EGRESS_CIDRS: '140.82.112.0/20, FD00::/8,140.82.112.0/20' };
  const { githubEgressCidrs } = readSettings({ ...none, environment });
  assert.deepEqual(githubEgressCidrs, ['140.82.112.0/20', 'fd00::/8']);
  assert.deepEqual(readSettings(none).githubEgressCidrs, []);
});

test('words that passwords must not be made of are words, each once', () => {
  const read = (value: string) =>
    readSettings({ ...none, environment: { SEALWRIGHT_PASSWORD_WORDS: value } }).passwordWords;
  assert.deepEqual(read('Acme, rocket science,Acme'), ['Acme', 'rocket science']);
  assert.deepEqual(readSettings(none).passwordWords, []);
  for (const bad of [
    'a',
    '1234',
    'ok,!!',
    'x'.repeat(65),
    Array.from({ length: 257 }, (_, i) => `w${i}`).join(),
  ])
    assert.throws(() => read(bad), refusing(/SEALWRIGHT_PASSWORD_WORDS: .* is not .*words/));
});

test('a bad bootstrap token is not shown', () => {
  assert.throws(
    () => readSettings({ ...none, environment: { CP_BOOTSTRAP_TOKEN: 'hunter2' } }),
    (error: unknown) => error instanceof SettingError && !error.message.includes('hunter2'),
  );
});

test('any address but loopback needs a proxy that is named', () => {
  const open = { SEALWRIGHT_LISTEN: '0.0.0.0:7717' };
  assert.throws(() => readSettings({ ...none, environment: open }), refusing(/trustedProxies/));
  assert.throws(
    () => readSettings({ ...none, environment: { SEALWRIGHT_LISTEN: '[::]:1' } }),
    refusing(/trustedProxies/),
  );
  const behind = readSettings({
    ...none,
    environment: { ...open, SEALWRIGHT_TRUSTED_PROXIES: '10.0.0.1, fd00::/8' },
  });
  assert.deepEqual(behind.trustedProxies, ['10.0.0.1', 'fd00::/8']);
  for (const listen of ['[::1]:0', 'localhost:7717', '127.9.9.9:1'])
    assert.ok(readSettings({ ...none, environment: { SEALWRIGHT_LISTEN: listen } }).listen);
});

test('client networks are canonical networks, each with or without a role', () => {
  const read = (text: string) =>
    readSettings({ ...none, environment: { SEALWRIGHT_SIGN_IN_NETWORKS: text } }).signInNetworks;
  assert.deepEqual(read('10.8.0.0/16, admin@FD00::/8'), ['10.8.0.0/16', 'admin@fd00::/8']);
  for (const text of ['10.8.0.1/16', '10.8.0.0', 'admin@', 'everywhere'])
    assert.throws(() => read(text), refusing(/SEALWRIGHT_SIGN_IN_NETWORKS.*networks in canonical form/));
});

test('config.yaml is read; an unknown setting, bad YAML or a list is refused', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-settings-'));
  const path = join(folder, 'config.yaml');
  try {
    assert.deepEqual(readSettingsFile(path), {});
    writeFileSync(path, 'maxRuns: 7\ntrustedProxies: [127.0.0.1, "::1"]\n');
    const settings = readSettings({ ...none, file: readSettingsFile(path) });
    assert.deepEqual([settings.maxRuns, settings.trustedProxies], [7, ['127.0.0.1', '::1']]);
    writeFileSync(path, 'maxRun: 7\n');
    assert.throws(
      () => readSettings({ ...none, file: readSettingsFile(path) }),
      refusing(/no setting 'maxRun'/),
    );
    writeFileSync(path, 'a: [\n');
    assert.throws(() => readSettingsFile(path), refusing(/config\.yaml/));
    writeFileSync(path, '- a\n');
    assert.throws(() => readSettingsFile(path), refusing(/not a list of settings/));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the data folder is SEALWRIGHT_HOME, else /var/lib for root, else the XDG folder', () => {
  assert.equal(dataFolderOf({ SEALWRIGHT_HOME: '/a/../b' }, 0), '/b');
  assert.equal(dataFolderOf({ SEALWRIGHT_HOME: '' }, 0), '/var/lib/sealwright');
  assert.equal(dataFolderOf({ XDG_DATA_HOME: '/data' }, 1000), '/data/sealwright');
});
