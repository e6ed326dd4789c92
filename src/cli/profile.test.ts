import assert from 'node:assert/strict';
import { chmodSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { CliFailure, UsageFailure } from './failure.ts';
import { dataFolder, profilePath, readProfile, writeProfile } from './profile.ts';
import { chooseTarget } from './target.ts';
import { type TestEnvironment, testEnvironment } from './test-environment.ts';

let environment: TestEnvironment;
let path: string;
beforeEach(() => {
  environment = testEnvironment();
  path = profilePath({}, environment.home);
});
afterEach(() => environment.dispose());

const profile = { url: 'http://127.0.0.1:7717', token: 'sw_secret' };

describe('the profile', () => {
  it('lies in SEALWRIGHT_HOME, then XDG_CONFIG_HOME, then ~/.config', () => {
    assert.equal(profilePath({ SEALWRIGHT_HOME: '/s', XDG_CONFIG_HOME: '/x' }, '/h'), '/s/profile.json');
    assert.equal(profilePath({ XDG_CONFIG_HOME: '/x' }, '/h'), '/x/sealwright/profile.json');
    assert.equal(profilePath({ SEALWRIGHT_HOME: '' }, '/h'), '/h/.config/sealwright/profile.json');
  });

  it('is written 0600, in one step, and read back', async () => {
    await writeProfile(path, { ...profile, home: '/data' });
    await writeProfile(path, profile);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(path)).mode & 0o077, 0);
    assert.deepEqual(readdirSync(dirname(path)), ['profile.json']);
    assert.deepEqual(await readProfile(path, 'linux'), profile);
  });

  it('is refused when others can read it, with the fix', async () => {
    await writeProfile(path, profile);
    for (const mode of [0o640, 0o604, 0o660]) {
      chmodSync(path, mode);
      await assert.rejects(
        readProfile(path, 'linux'),
        (error: CliFailure) => error.hint === `chmod 600 ${path}`,
      );
    }
  });

  it('is refused when it is a link or no profile, and null when it is not there', async () => {
    assert.equal(await readProfile(path, 'linux'), null);
    await writeProfile(path, profile);
    const link = join(dirname(path), 'link');
    symlinkSync(path, link);
    await assert.rejects(readProfile(link, 'linux'), /not a plain file/);
    for (const text of ['', '{', '[]', '{"url":1}', '{"token":"x"}', '{"url":"x","more":1}']) {
      writeFileSync(path, text);
      await assert.rejects(readProfile(path, 'linux'), /is not a profile/);
    }
  });
});

describe('which server', () => {
  const choose = (variables: Record<string, string>, flags: { url?: string } = {}) =>
    chooseTarget({ ...environment, variables }, flags);

  it('is the flag, then the environment, then the profile, then this machine', async () => {
    assert.equal((await choose({})).url, 'http://127.0.0.1:7717');
    await writeProfile(path, { url: 'https://a.example/', token: 'sw_a' });
    assert.equal((await choose({})).url, 'https://a.example');
    assert.equal((await choose({ SEALWRIGHT_URL: 'https://b.example' })).url, 'https://b.example');
    assert.equal(
      (await choose({ SEALWRIGHT_URL: 'https://b.example' }, { url: 'https://c.example' })).url,
      'https://c.example',
    );
  });

  it('never gets the token of another', async () => {
    await writeProfile(path, { url: 'https://a.example', token: 'sw_a' });
    assert.equal((await choose({})).token, 'sw_a');
    assert.equal((await choose({ SEALWRIGHT_URL: 'https://b.example' })).token, null);
    assert.equal(
      (await choose({}, { url: 'http://a.example' }).catch((error) => error)) instanceof CliFailure,
      true,
    );
    assert.equal(
      (await choose({ SEALWRIGHT_URL: 'https://b.example', SEALWRIGHT_TOKEN: 'sw_b' })).token,
      'sw_b',
    );
  });

  it('is refused when the way there is not encrypted, or is no URL', async () => {
    await assert.rejects(choose({ SEALWRIGHT_URL: 'http://10.0.0.1:7717' }), /in the clear/);
    assert.equal(
      (await choose({ SEALWRIGHT_URL: 'http://10.0.0.1:7717', SEALWRIGHT_ALLOW_HTTP: '1' })).url,
      'http://10.0.0.1:7717',
    );
    assert.equal((await choose({ SEALWRIGHT_URL: 'http://[::1]:1' })).url, 'http://[::1]:1');
    for (const url of [
      'x',
      'file:///x',
      '127.0.0.1:7717',
      'https://u:p@a.example',
      'http://127.0.0.1.evil.example',
    ]) {
      await assert.rejects(choose({}, { url }), CliFailure, url);
    }
    await assert.rejects(choose({}, { url: 'x' }), UsageFailure);
  });

  it('has its data folder where `up` puts it', () => {
    assert.equal(dataFolder({ variables: { SEALWRIGHT_HOME: '/s' }, home: '/h', uid: 0 }, null), '/s');
    assert.equal(dataFolder({ variables: {}, home: '/h', uid: 0 }, { url: 'x', home: '/p' }), '/p');
    assert.equal(dataFolder({ variables: {}, home: '/h', uid: 0 }, null), '/var/lib/sealwright');
    assert.equal(dataFolder({ variables: {}, home: '/h', uid: 9 }, null), '/h/.local/share/sealwright');
  });
});
