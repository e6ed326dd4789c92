import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type Credential, type Keyring, openCredentials } from './credentials.ts';
import { CliFailure, UsageFailure } from './failure.ts';
import { type TestEnvironment, testEnvironment } from './test-environment.ts';

const here = 'https://here.example';
const there = 'https://there.example';
const signIn: Credential = { kind: 'sign-in', accessToken: 'a', refreshToken: 'r', expiresAt: 1 };
const token: Credential = { kind: 'token', token: 'sw_x' };

let environment: TestEnvironment;
beforeEach(() => {
  environment = testEnvironment({ SEALWRIGHT_CREDENTIALS: '' });
});
afterEach(() => environment.dispose());

const open = (keyring: Keyring | null = null) => openCredentials(environment, async () => keyring);
const file = () => join(environment.home, '.config', 'sealwright', 'credentials.json');

class MemoryKeyring implements Keyring {
  readonly secrets = new Map<string, string>();
  async read(origin: string) {
    return this.secrets.get(origin) ?? null;
  }
  async write(origin: string, secret: string) {
    this.secrets.set(origin, secret);
  }
  async remove(origin: string) {
    this.secrets.delete(origin);
  }
}

describe('credentials', () => {
  it('go to the server that they are of alone, and each is forgotten by itself', async () => {
    const credentials = open();
    assert.equal(await credentials.read(here), null);
    assert.equal(await credentials.write(here, signIn), 'file');
    await credentials.write(there, token);
    assert.deepEqual(await credentials.read(here), signIn);
    assert.deepEqual(await credentials.read(there), token);
    assert.equal(await credentials.read('http://here.example'), null);
    assert.equal(await credentials.remove(here), true);
    assert.equal(await credentials.remove(here), false);
    assert.deepEqual(await credentials.read(there), token);
    await credentials.remove(there);
    assert.equal(existsSync(file()), false);
  });

  it('stand in a file that only their owner can read, and are not read from any other', async () => {
    await open().write(here, signIn);
    assert.equal(statSync(file()).mode & 0o777, 0o600);
    chmodSync(file(), 0o640);
    await assert.rejects(open().read(here), CliFailure);
    chmodSync(file(), 0o600);
    assert.deepEqual(await open().read(here), signIn);
    await open().remove(here);
    writeFileSync(join(environment.folder, 'elsewhere'), '{}', { mode: 0o600 });
    symlinkSync(join(environment.folder, 'elsewhere'), file());
    await assert.rejects(open().read(here), CliFailure);
  });

  it('that are not what was written are an error with its fix, not a missing sign-in', async () => {
    await open().write(here, signIn);
    for (const text of ['', '[]', 'null', '{"https://here.example":{"kind":"sign-in"}}', '{"a":1}']) {
      writeFileSync(file(), text);
      await assert.rejects(open().read(here), { name: 'CliFailure', hint: /login/ });
    }
  });

  it('lie in the keyring where one answers, and the file says just that', async () => {
    const keyring = new MemoryKeyring();
    assert.equal(await open(keyring).write(here, signIn), 'keyring');
    assert.deepEqual(JSON.parse(readFileSync(file(), 'utf8')), { [here]: { kind: 'keyring' } });
    assert.deepEqual(await open(keyring).read(here), signIn);
    assert.equal(await open(null).read(here), null, 'without its keyring there is none');
    await assert.rejects(open(null).remove(here), CliFailure, 'nor is it called removed');
    await open(keyring).remove(here);
    assert.equal(keyring.secrets.size, 0);
  });

  it('fall back to the file where the keyring refuses, unless the keyring was asked for', async () => {
    const locked = new MemoryKeyring();
    locked.write = async () => Promise.reject(new Error('locked'));
    assert.equal(await open(locked).write(here, signIn), 'file');
    assert.deepEqual(await open(locked).read(here), signIn);
    environment.dispose();
    environment = testEnvironment({ SEALWRIGHT_CREDENTIALS: 'keyring' });
    await assert.rejects(open(locked).write(here, signIn), CliFailure);
    assert.equal(existsSync(file()), false);
    environment.dispose();
    environment = testEnvironment({ SEALWRIGHT_CREDENTIALS: 'both' });
    assert.throws(() => open(), UsageFailure);
  });
});
