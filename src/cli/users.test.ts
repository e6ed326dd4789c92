import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { type TestEnvironment, testEnvironment } from './test-environment.ts';

describe('sealwright users', () => {
  let server: TestServer;
  let environment: TestEnvironment;
  beforeEach(() => {
    server = new TestServer();
    environment = testEnvironment();
  });
  afterEach(() => environment.dispose());

  async function sealwright(...words: string[]): Promise<{ status: number; out: string; err: string }> {
    environment.stdout.chunks.length = 0;
    environment.stderr.chunks.length = 0;
    const context = testContext(environment, server);
    const status = await runProgram(
      buildProgram(context, () => {}),
      words,
      context,
    );
    return { status, out: environment.stdout.text, err: environment.stderr.text };
  }

  it('ls shows names that a terminal would obey as text, and asks for what was asked', async () => {
    const { out } = await sealwright('users', 'ls', '--role', 'developer', '--disabled');
    assert.match(out, /^NAME +ROLE +PHASE/);
    assert.match(out, /ada +developer +active +no +core +never +\\e\[2J/);
    assert.match(server.calls[0]!, /"role":"developer","phase":"disabled"/);
  });

  it('invite prints the link alone on standard output', async () => {
    const { out, err } = await sealwright(
      ...['users', 'invite', 'ada', '--role', 'admin', '--team', 'core', '--expires', '2d'],
    );
    assert.equal(out, 'http://localhost:7717/invitation#swi_secret\n');
    assert.doesNotMatch(err, /swi_/);
    assert.equal(
      server.calls[0],
      'invitations.create {"role":"admin","name":"ada","teams":["core"],"expiresInSeconds":172800}',
    );
    assert.equal((await sealwright('users', 'invite', 'ada')).status, 2, 'the role is not guessed');
  });

  it('reset-password prints the link alone on standard output', async () => {
    const { out, err } = await sealwright('users', 'reset-password', 'ada', '--expires', '2h');
    assert.equal(out, 'http://localhost:7717/reset#swp_secret\n');
    assert.doesNotMatch(err, /swp_/);
    assert.equal(server.calls[0], 'users.reset-password {"expiresInSeconds":7200} ada');
    assert.equal((await sealwright('users', 'reset-password')).status, 2);
  });

  it('update changes what is named, and nothing is a mistake', async () => {
    await sealwright(
      ...['users', 'update', 'ada', '--role', 'operator', '--eligible', 'none', '--email', ''],
    );
    assert.equal(server.calls[0], 'users.update {"role":"operator","eligibleRoles":[],"email":null} ada');
    assert.equal((await sealwright('users', 'update', 'ada')).status, 2);
  });

  it('link and unlink say which person of which provider, and identities shows it as text', async () => {
    for (const word of ['link', 'unlink']) {
      server.calls.length = 0;
      assert.equal((await sealwright('users', word, 'ada', 'company', 'a|1')).out, 'ada\n');
      assert.deepEqual(server.calls, [`users.${word} {"provider":"company","subject":"a|1"} ada`]);
      assert.equal((await sealwright('users', word, 'ada', 'company')).status, 2);
    }
    const { out } = await sealwright('users', 'identities', 'ada');
    assert.match(out, /^PROVIDER +SUBJECT +ISSUER\n- +a\\e\[2J +https:\/\/idp\.example/);
  });

  it('each act is done to every name, and says to which', async () => {
    for (const word of ['disable', 'enable', 'reset-mfa', 'sign-out', 'rm']) {
      server.calls.length = 0;
      assert.equal((await sealwright('users', word, 'ada', 'grace')).status, 0);
      const call = word === 'rm' ? 'remove' : word;
      assert.deepEqual(server.calls, [`users.${call} ada`, `users.${call} grace`]);
    }
  });
});
