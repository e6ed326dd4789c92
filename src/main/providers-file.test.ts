import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readProviders } from './providers-file.ts';
import { SettingError } from './settings.ts';

const good = `providers:
  - id: company
    kind: oidc
    issuer: https://idp.example
    clientId: sealwright
    clientSecretFile: secret
    allowSignUp: yes
    mapping:
      roles:
        - { claim: groups, value: admins, role: admin }
      defaultRole: developer
      teams: { claim: groups, map: { eng: engineering } }
    mfa: { acr: [phr] }
  - id: hub
    kind: github
    clientId: abc
    allowSignUp: no
    mapping: { roles: [ { claim: orgs, value: acme, role: developer } ] }
`;

describe('providers.yaml', () => {
  let folder: string;
  const file = () => join(folder, 'providers.yaml');
  const read = (text: string, mode = 0o600) => {
    writeFileSync(file(), text);
    chmodSync(file(), mode);
    return readProviders(file(), { optional: false });
  };
  const problem = (text: string, mode?: number): string => {
    try {
      read(text, mode);
    } catch (error) {
      assert(error instanceof SettingError, String(error));
      return error.message;
    }
    throw new Error('it was taken');
  };
  const secretFile = (text: string, mode = 0o600) => {
    writeFileSync(join(folder, 'secret'), text);
    chmodSync(join(folder, 'secret'), mode);
  };

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'sealwright-providers-'));
    secretFile('s3cret-of-the-client\n');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('is read with its secrets, and says what is not said', () => {
    const [company, hub] = read(good);
    assert(company?.kind === 'oidc' && hub?.kind === 'github');
    assert.equal(company.clientSecret, 's3cret-of-the-client');
    assert.equal(hub.clientSecret, null);
    assert.deepEqual([company.allowSignUp, hub.allowSignUp], [true, false]);
    assert.deepEqual(company.scopes, ['openid', 'profile', 'email']);
    assert.equal(company.syncOnSignIn, true);
    assert.equal(hub.baseUrl, 'https://github.com');
    assert(!('clientSecretFile' in company));
  });

  it('may be absent where nobody named it, and must be there where somebody did', () => {
    const absent = join(folder, 'absent.yaml');
    assert.deepEqual(readProviders(absent, { optional: true }), []);
    assert.throws(() => readProviders(absent, { optional: false }), /absent\.yaml cannot be read \(ENOENT\)/);
  });

  it('names line and field of what does not fit', () => {
    const cases: [string, string, RegExp][] = [
      ['kind: oidc', 'kind: saml', /:3: providers\[0\]\.kind: /],
      ['issuer: https://idp.example', 'issuer: http://idp.example', /:4: providers\[0\]\.issuer: .*loopback/],
      ['issuer: https://idp.example', 'issuer: https://a:b@idp.example', /:4: providers\[0\]\.issuer: /],
      [
        'role: admin',
        'role: "Ad min"',
        /:10: providers\[0\]\.mapping\.roles\[0\]\.role: is not the name of a role/,
      ],
      ['allowSignUp: yes', 'allowSignUp: maybe', /:7: providers\[0\]\.allowSignUp: is neither yes nor no/],
      ['allowSignUp: yes', 'alowSignUp: yes', /:2: providers\[0\]: there is no field alowSignUp/],
      ['id: hub', 'id: company', /:14: providers\[1\]\.id: is the id of another provider/],
      ['id: hub', 'id: ../hub', /:14: providers\[1\]\.id: is not an id/],
      ['mfa: { acr: [phr] }', 'mfa: { acr: ["a b"] }', /:13: providers\[0\]\.mfa\.acr\[0\]: /],
      ['mfa: { acr: [phr] }', 'algorithms: [HS256]', /:13: providers\[0\]\.algorithms\[0\]: /],
      ['mfa: { acr: [phr] }', 'algorithms: [none]', /:13: providers\[0\]\.algorithms\[0\]: /],
      ['mfa: { acr: [phr] }', 'scopes: [profile]', /:13: providers\[0\]\.scopes: has no openid/],
      ['mfa: { acr: [phr] }', 'id: again', /:13: this is not YAML that can be read/],
    ];
    for (const [from, to, expected] of cases) {
      assert(good.includes(from), from);
      assert.match(problem(good.replace(from, to)), expected);
    }
    assert.match(problem('providers: [\n'), /this is not YAML/);
    assert.match(problem('[]'), /:1: /);
    assert.match(problem(good.replace(/roles: \[ .*/, 'roles: [] }')), /nobody could sign in/);
  });

  it('and the file of a secret must be readable by its owner alone, and neither is ever shown', () => {
    const inline = good.replace('clientSecretFile: secret', 'clientSecret: very-secret-value');
    assert.equal(read(inline)[0]?.clientSecret, 'very-secret-value');
    assert.match(problem(inline, 0o644), /others may read it \(mode 644\): chmod 600/);
    assert.doesNotMatch(problem(inline.replace('kind: oidc', 'kind: x')), /very-secret/);
    assert.doesNotMatch(problem(inline.replace('very-secret-value', '"very secret value"')), /very/);
    assert.match(
      problem(good.replace('clientSecretFile: secret', 'clientSecretFile: missing')),
      /missing cannot be read/,
    );
    secretFile('s3cret-of-the-client\n', 0o640);
    assert.match(problem(good), /others may read it \(mode 640\)/);
    secretFile('two lines\nof text');
    assert.doesNotMatch(problem(good), /two lines/);
  });
});
