import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loopbackPair } from '../../tests/support/certificates.ts';
import { SettingError } from './settings.ts';
import { readWitnesses } from './witnesses-file.ts';

const key = 'remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2';
const good = `witnesses:
  - name: vault
    url: file:///mnt/vault/sealwright/
    required: true
  - name: bucket
    url: s3://checkpoints/prod
    region: eu-central-1
    accessKeyId: AKIDEXAMPLE
    secretFile: secret
    retainDays: 400
  - name: public
    url: tlog+https://witness.example/
    key: ${key}
    caFile: ca.pem
    certFile: cert.pem
    keyFile: key.pem
  - name: hook
    url: post+https://hook.example/checkpoints
    secretFile: secret
    everySeconds: 300
`;

describe('witnesses.yaml', () => {
  let folder: string;
  const put = (name: string, text: string, mode = 0o600) => {
    writeFileSync(join(folder, name), text);
    chmodSync(join(folder, name), mode);
  };
  const read = (text: string) => {
    put('witnesses.yaml', text);
    return readWitnesses(join(folder, 'witnesses.yaml'), { optional: false });
  };
  const problem = (text: string): string => {
    try {
      read(text);
    } catch (error) {
      assert(error instanceof SettingError, String(error));
      return error.message;
    }
    throw new Error('it was taken');
  };

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'sealwright-witnesses-'));
    const pair = loopbackPair();
    put('secret', 's3cret-of-a-bucket\n');
    put('ca.pem', pair.authority);
    put('cert.pem', pair.certificate);
    put('key.pem', pair.key);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('is read with what its files hold, and says what is not said', () => {
    const [vault, bucket, tlog, hook] = read(good);
    assert.deepEqual([vault?.required, vault?.everySeconds, vault?.secret], [true, 60, null]);
    assert.deepEqual(
      [bucket?.secret, bucket?.retainDays, bucket?.required],
      ['s3cret-of-a-bucket', 400, false],
    );
    assert.deepEqual([tlog?.authorities.length, tlog?.key], [1, key]);
    assert.match(tlog?.identity?.key ?? '', /PRIVATE KEY/);
    assert.deepEqual([hook?.everySeconds, hook?.authorities], [300, []]);
    for (const one of [bucket, tlog]) assert(!('secretFile' in one!) && !('keyFile' in one!));
    assert.deepEqual(readWitnesses(join(folder, 'absent.yaml'), { optional: true }), []);
    assert.throws(
      () => readWitnesses(join(folder, 'absent.yaml'), { optional: false }),
      /witnessesFile: .*ENOENT/,
    );
  });

  it('names line, field and fix of what does not fit', () => {
    const cases: [string, string, RegExp][] = [
      ['tlog+https', 'tlog+http', /:12: witnesses\[2\]\.url: is not encrypted, .* use tlog\+https/],
      ['tlog+https', 'https', /:12: witnesses\[2\]\.url: begins with none of file:\/\//],
      ['post+https://hook', 'post+https://a:b@hook', /:18: .*name a secretFile instead/],
      ['example/checkpoints', 'example/?token=x', /:18: .*has a query/],
      ['vault/sealwright/', 'vault/sealwright', /:3: .*names no folder by its absolute path with a slash/],
      ['file:///mnt', 'file://host/mnt', /:3: .*names no folder/],
      ['s3://checkpoints/prod', 's3://checkpoints/../prod', /:6: .*is not a bucket and a prefix/],
      ['s3://checkpoints/prod', 's3://Check/prod', /:6: .*is not a bucket and a prefix/],
      ['    region: eu-central-1\n', '', /:5: witnesses\[1\]\.region: is missing: s3 needs it/],
      ['    secretFile: secret\n    retain', '    retain', /witnesses\[1\]\.secretFile: is missing: s3/],
      ['retainDays: 400', 'retainDays: 0', /:10: witnesses\[1\]\.retainDays: /],
      ['retainDays: 400', 'endpoint: http://minio.example', /:10: .*endpoint: is not encrypted/],
      ['retainDays: 400', 'endpoint: https://minio.example/x', /:10: .*endpoint: has a path/],
      [
        '    required: true',
        '    retainDays: 3',
        /:4: witnesses\[0\]\.retainDays: is for s3 and not for file/,
      ],
      [`    key: ${key}\n`, '', /:11: witnesses\[2\]\.key: is missing: tlog needs it/],
      ['name: hook', 'name: vault', /:17: witnesses\[3\]\.name: is the name of another witness/],
      ['name: hook', 'name: Hook', /:17: .*is not a name/],
      ['everySeconds: 300', 'everySeconds: 1', /:20: .*everySeconds: /],
      ['everySeconds: 300', 'every: 300', /there is no field every/],
      ['    keyFile: key.pem\n', '', /witnesses\[2\]\.certFile: and keyFile are used together/],
      ['+da77ade7+', '+da77ade8+', /the key of the witness public is not NAME\+ID\+BASE64/],
      ['secretFile: secret', 'secretFile: absent', /absent cannot be read \(ENOENT\)/],
    ];
    for (const [from, to, expected] of cases) {
      assert(good.includes(from), from);
      assert.match(problem(good.replace(from, to)), expected, to);
    }
  });

  it('takes a store on loopback in the clear', () => {
    const [, bucket] = read(good.replace('retainDays: 400', 'endpoint: http://127.0.0.1:9000'));
    assert.equal(bucket?.endpoint, 'http://127.0.0.1:9000');
  });

  it('refuses a secret that others may read', () => {
    put('secret', 's3cret', 0o644);
    assert.match(problem(good), /holds the secret of a witness and others may read it/);
    put('secret', 's3cret');
    assert.equal(read(good).length, 4, 'the control');
  });
});
