import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plainRedactor } from './redactor.ts';
import { isSecretName } from './secret-names.ts';

test('names of secrets are told in every spelling', () => {
  const names = [
    ...[
      'password',
      'Password',
      'newPassword',
      'new_password',
      'NEW-PASSWORD',
      'DB_PASSWORD',
      'PGPASSWORD',
      'passwd',
    ],
    ...['secret', 'clientSecret', 'client_secret', 'client-secret', 'CLIENT_SECRET', 'AWS_SECRET_ACCESS_KEY'],
    ...[
      'token',
      'accessToken',
      'refresh_token',
      'GITHUB_TOKEN',
      'X-Auth-Token',
      'bearerToken',
      'idToken',
      'csrfToken',
    ],
    ...['authorization', 'Authorization', 'Proxy-Authorization', 'cookie', 'Set-Cookie', 'cookies'],
    ...[
      'api_key',
      'apiKey',
      'X-Api-Key',
      'OPENAI_API_KEY',
      'APIKEY',
      'privateKey',
      'private-key',
      'signingKey',
    ],
    ...[
      'otp',
      'totp',
      'recoveryCodes',
      'recovery_code',
      'userCode',
      'pin',
      'passphrase',
      'jwt',
      'DB_PASSWORD2',
    ],
    ...['MYSQL_PWD', 'credentials', 'tokenHash', '--password', 'registry.example/:_authToken'],
  ];
  assert.deepEqual(
    names.filter((name) => !isSecretName(name)),
    [],
  );
});

test('names that only name a credential, or that nothing secret stands under, are left', () => {
  const names = [
    ...[
      'tokenId',
      'token_id',
      'credentialId',
      'secretName',
      'token_type',
      'token_endpoint',
      'secret-ref',
      'tokenKind',
    ],
    ...['passwordChangedAt', 'token-expires-at', 'cookie_name', 'secretsCount', 'tokenFile', 'CP_TOKEN_FILE'],
    ...[
      'key',
      'auditKey',
      'publicKey',
      'monkey',
      'author',
      'code',
      'exitCode',
      'signIn',
      'subject',
      'PWD',
      'OLDPWD',
    ],
    ...['opinion', 'pinned', 'session', 'signature', '', '__proto__', 'constructor'],
  ];
  assert.deepEqual(
    names.filter((name) => isSecretName(name)),
    [],
  );
});

/** What control puts into `data` today under names that sound secret: see the calls of the gate. */
test('the members that events have today keep their values', () => {
  const id = `tok_${'0'.repeat(26)}`;
  const members = {
    ...{
      accessToken: id,
      credential: `crd_${'0'.repeat(26)}`,
      with: id,
      parent: id,
      signIn: `sgn_${'0'.repeat(26)}`,
    },
    ...{
      name: 'ci',
      actor: 'user:alice',
      scopes: ['secret:read'],
      reach: 'own',
      expiresInSeconds: 60,
      overlapSeconds: 0,
    },
    ...{
      provider: 'corp',
      issuer: 'https://id.example',
      subject: '248289761001',
      role: 'developer',
      teams: ['a'],
    },
    ...{ reason: 'because', current: 3, sha256: 'ab'.repeat(32), rules: 4, policies: 2, compromised: false },
    ...{
      methods: ['password', 'totp'],
      mfa: true,
      factor: 'passkey',
      decision: 'approve',
      client: 'cli',
      at: 'code',
    },
    ...{
      program: 'make',
      arguments: 2,
      egress: ['npm'],
      upload: null,
      url: 'https://git.example/x',
      ref: 'main',
    },
    ...{
      phase: 'failed',
      cause: 'exit',
      exitCode: 1,
      signal: null,
      code: 'internal',
      events: 2,
      refused: 3,
      late: true,
    },
    ...{
      host: 'x.example',
      port: 443,
      method: 'GET',
      path: '/',
      flow: 1,
      generation: 1,
      denial: 'no-rule',
      count: 1,
    },
  };
  for (const [name, value] of Object.entries(members))
    assert.equal(plainRedactor.named(name, value), null, name);
  assert.deepEqual(plainRedactor.document(members), members);
});

test('what a secret name holds is replaced whatever it is, but for nothing, answers, counts and ids', () => {
  for (const value of ['x', ['a', 'b'], { a: 'b' }])
    assert.equal(plainRedactor.named('password', value), '[redacted:by-name]');
  assert.equal(plainRedactor.named('otp', 123456), '[redacted:by-name]');
  for (const value of ['', null, true, false, [], `tok_${'0'.repeat(26)}`])
    assert.equal(plainRedactor.named('token', value), null);
  assert.equal(plainRedactor.named('tokens', 3), null);
});

test('a name of any length and kind is judged in time', () => {
  for (const name of ['A', 'aA', '_', '-', 'é', '\u0000', 'passworD'])
    assert.equal(typeof isSecretName(name.repeat(1_000_000)), 'boolean');
});
