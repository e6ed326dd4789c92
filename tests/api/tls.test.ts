import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from 'node:tls';
import { createClient } from '../../src/client/client.ts';
import { loopbackPair } from '../support/certificates.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';

/** TLS in the server itself, as it is started: settings, the CLI against it, and files that change. */

let folder: string;
let instance: Instance;
const pair = loopbackPair();
const path = (name: string) => join(folder, name);

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-tls-'));
  writeFileSync(path('ca.pem'), pair.authority);
  writeFileSync(path('cert.pem'), pair.certificate);
  writeFileSync(path('key.pem'), pair.key, { mode: 0o600 });
  instance = await startInstance({
    environment: { SEALWRIGHT_TLS_CERT: path('cert.pem'), SEALWRIGHT_TLS_KEY: path('key.pem') },
    authorities: pair.authority,
  });
});

after(async () => {
  await instance?.remove();
  rmSync(folder, { recursive: true, force: true });
});

test('the address is https, and nothing is answered without TLS', async () => {
  assert.match(instance.url, /^https:\/\/127\.0\.0\.1:\d+$/);
  assert.equal((await instance.client.health()).status, 'ok');
  await assert.rejects(fetch(`${instance.url.replace('https:', 'http:')}/healthz`));
});

test('the profile is for https, and the CLI trusts the authority of SEALWRIGHT_CA_FILE alone', async () => {
  const profile = JSON.parse(readFileSync(join(instance.home, 'profile.json'), 'utf8'));
  const { port } = new URL(instance.url);
  assert.equal(profile.url, `https://localhost:${port}`);
  const ask = (environment: Record<string, string>) =>
    cli(instance.home, ['runs', '--json'], {
      environment: { SEALWRIGHT_URL: instance.url, SEALWRIGHT_TOKEN: profile.token, ...environment },
    });
  const trusting = await ask({ SEALWRIGHT_CA_FILE: path('ca.pem') });
  assert.equal(trusting.status, 0, trusting.stderr);
  const strange = await ask({});
  assert.notEqual(strange.status, 0);
  assert.match(strange.stderr, /SEALWRIGHT_CA_FILE/);
  const missing = await ask({ SEALWRIGHT_CA_FILE: path('nothing.pem') });
  assert.match(missing.stderr, /SEALWRIGHT_CA_FILE: .*nothing\.pem cannot be read/);
  const foreign = await ask({ SEALWRIGHT_CA_FILE: path('key.pem') });
  assert.match(foreign.stderr, /holds no certificate/);
});

test('a changed pair is used without a restart, a broken one is not, and a connection stays', async () => {
  const { port } = new URL(instance.url);
  const kept = connect({ port: Number(port), host: '127.0.0.1', ca: pair.authority });
  await new Promise((resolve) => kept.once('secureConnect', resolve));
  const pids = instance.pids();
  writeFileSync(path('key.pem'), 'half written');
  await pause(1_200);
  assert.equal((await instance.client.health()).status, 'ok');
  const next = loopbackPair();
  writeFileSync(path('cert.pem'), next.certificate);
  writeFileSync(path('key.pem'), next.key);
  const client = createClient({ url: instance.url, authorities: next.authority });
  for (const until = performance.now() + 10_000; ; await pause(50)) {
    if (
      await client.health().then(
        () => true,
        () => false,
      )
    )
      break;
    assert(performance.now() < until, 'the next pair is used');
  }
  client.close();
  assert.deepEqual(instance.pids(), pids);
  kept.write('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  assert.match(String(await new Promise((resolve) => kept.once('data', resolve))), /^HTTP\/1\.1 200/);
  kept.destroy();
});

test('a pair that does not hold stops the start', async () => {
  writeFileSync(path('other.pem'), loopbackPair().key);
  for (const [environment, message] of [
    [{ SEALWRIGHT_TLS_CERT: path('cert.pem'), SEALWRIGHT_TLS_KEY: path('other.pem') }, /is not the key/],
    [{ SEALWRIGHT_TLS_CERT: path('cert.pem') }, /tlsKey: .*name both/],
    [{ SEALWRIGHT_TLS_CERT: 'cert.pem' }, /absolute path/],
    [{ SEALWRIGHT_LISTEN: '0.0.0.0:0' }, /not a loopback address.*SEALWRIGHT_TLS_CERT/],
  ] as const)
    await assert.rejects(startInstance({ environment }), message);
});
