import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loopbackPair } from '../../tests/support/certificates.ts';
import { SettingError } from './settings.ts';
import { readSinks } from './sinks-file.ts';

const good = `sinks:
  - name: loki
    url: loki+https://loki.example:3100
    secretFile: token
    user: ada
    caFile: ca.pem
    tenant: acme
    labels: { site: berlin }
    filter: { actions: [egress., run.create], outcomes: [denied] }
  - name: siem
    url: syslog+tls://log.example:6514
    format: ocsf
    certFile: cert.pem
    keyFile: key.pem
    facility: 10
  - name: hook
    url: webhook+https://hook.example/events
    secretFile: key
  - name: copy
    url: file:///var/log/sealwright/audit.jsonl
    rotateMebibytes: 10
`;

describe('sinks.yaml', () => {
  let folder: string;
  const put = (name: string, text: string, mode = 0o600) => {
    writeFileSync(join(folder, name), text);
    chmodSync(join(folder, name), mode);
  };
  const read = (text: string) => {
    put('sinks.yaml', text);
    return readSinks(join(folder, 'sinks.yaml'), { optional: false });
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
    folder = mkdtempSync(join(tmpdir(), 'sealwright-sinks-'));
    const pair = loopbackPair();
    put('token', 's3cret-token\n');
    put('key', `${'k3y'.repeat(16)}\n`);
    put('ca.pem', pair.authority);
    put('cert.pem', pair.certificate);
    put('key.pem', pair.key);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('is read with what its files hold, and says what is not said', () => {
    const [loki, siem, hook, copy] = read(good);
    assert.deepEqual([loki?.secret, loki?.authorities.length, loki?.format], ['s3cret-token', 1, 'event']);
    assert.match(siem?.identity?.key ?? '', /PRIVATE KEY/);
    assert.deepEqual([siem?.format, siem?.secret, hook?.secret], ['ocsf', null, 'k3y'.repeat(16)]);
    assert.equal(copy?.rotateMebibytes, 10);
    for (const sink of [loki, siem, hook]) assert(!('secretFile' in sink!) && !('keyFile' in sink!));
    assert.deepEqual(readSinks(join(folder, 'absent.yaml'), { optional: true }), []);
    assert.throws(() => readSinks(join(folder, 'absent.yaml'), { optional: false }), /sinksFile: .*ENOENT/);
  });

  it('names line, field and fix of what does not fit', () => {
    const cases: [string, string, RegExp][] = [
      ['loki+https://loki', 'loki+http://loki', /:3: sinks\[0\]\.url: is not encrypted, .* use loki\+https/],
      ['loki+https://loki', 'https://loki', /:3: sinks\[0\]\.url: begins with none of loki\+https/],
      ['loki+https://loki', 'loki+https://a:b@loki', /:3: .*name a secretFile instead/],
      ['webhook+https://hook.example/events', 'webhook+https://hook.example/?token=x', /has a query/],
      ['syslog+tls://log.example:6514', 'syslog+tls://log.example', /:11: .*is not a host and a port/],
      ['syslog+tls://log.example:6514', 'syslog+tcp://log.example:514', /is not encrypted/],
      ['file:///var/log/sealwright/audit.jsonl', 'file://audit.jsonl', /names no file by its absolute path/],
      ['    facility: 10', '    tenant: acme', /:1[0-5]: sinks\[1\]\.tenant: is for loki and not for syslog/],
      ['    keyFile: key.pem\n', '', /certFile: and keyFile are used together/],
      ['    secretFile: token\n', '', /user: needs a secretFile/],
      ['    secretFile: key\n', '', /secretFile: is missing: a webhook is signed/],
      ['name: siem', 'name: loki', /:10: sinks\[1\]\.name: is the name of another sink/],
      ['name: siem', 'name: ../x', /is not a name/],
      ['format: ocsf', 'format: cef', /:12: sinks\[1\]\.format: /],
      ['outcomes: [denied]', 'outcomes: [refused]', /outcomes\[0\]: /],
      ['tenant: acme', 'tennant: acme', /there is no field tennant/],
      ['    rotateMebibytes: 10', '    rotateMebibytes: 0', /rotateMebibytes: /],
      [
        'secretFile: key\n',
        'secretFile: token\n',
        /token holds a key that is too short to sign with: .*openssl/,
      ],
      ['caFile: ca.pem', 'caFile: cert.pem', /does not hold certificates of authorities/],
      ['certFile: cert.pem', 'certFile: ca.pem', /are not a certificate and its key/],
    ];
    for (const [from, to, expected] of cases) {
      assert(good.includes(from), from);
      const said = problem(good.replace(from, to));
      assert.match(said, expected);
      assert.doesNotMatch(said, /s3cret|k3y/);
    }
  });

  it('and a secret must be readable by its owner alone', () => {
    put('token', 's3cret-token', 0o640);
    assert.match(problem(good), /token holds the secret of a sink and others may read it .*: chmod 600/);
    put('token', 'two words');
    assert.doesNotMatch(problem(good), /two words/);
    put('token', 's3cret-token');
    assert.equal(read(good).length, 4);
  });
});
