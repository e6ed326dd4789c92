import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { loopbackPair } from '../../tests/support/certificates.ts';
import type { TlsPair } from '../server/tls.ts';
import { SettingError } from './settings.ts';
import { followTlsFiles, readTlsPair, type TlsPaths } from './tls-files.ts';

const now = Date.now();
const yearMs = 366 * 24 * 3600 * 1000;

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-tls-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function write({ certificate, key }: TlsPaths, pair: TlsPair): void {
  writeFileSync(certificate, pair.certificate);
  writeFileSync(key, pair.key);
}

function problemOf(paths: TlsPaths): string {
  try {
    readTlsPair(paths, now);
  } catch (error) {
    assert(error instanceof SettingError, String(error));
    assert.doesNotMatch(error.message, /PRIVATE KEY-----\n/);
    return error.message;
  }
  return 'none';
}

test('a pair that cannot be used stops the start, with the file and the fix named', (t) => {
  const folder = folderOf(t);
  const paths = { certificate: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  const { certificate, key } = paths;
  const [good, other, old] = [loopbackPair(now), loopbackPair(now), loopbackPair(now - 2 * yearMs)];
  assert.match(problemOf(paths), new RegExp(`^tlsCert: ${certificate}: There is no such file`));
  writeFileSync(certificate, good.certificate);
  assert.match(problemOf(paths), new RegExp(`^tlsKey: ${key}: There is no such file`));
  write(paths, good);
  assert.equal(problemOf(paths), 'none');
  write(paths, { certificate: good.certificate, key: other.key });
  assert.match(problemOf(paths), /^tlsKey: .* is not the key of the first certificate/);
  write(paths, { certificate: good.authority + good.certificate, key: good.key });
  assert.match(problemOf(paths), /before its chain/);
  write(paths, { certificate: good.certificate + good.authority, key: good.key });
  assert.equal(problemOf(paths), 'none', 'with its chain');
  write(paths, old);
  assert.match(problemOf(paths), /^tlsCert: .* expired at \d{4}-.* Renew it/);
  write(paths, { certificate: good.key, key: good.key });
  assert.match(problemOf(paths), /^tlsCert: .* does not start with a certificate/);
  write(paths, { certificate: good.certificate, key: good.certificate });
  assert.match(problemOf(paths), /^tlsKey: .* is not a private key/);
  const sealed = execFileSync('openssl', ['pkey', '-aes128', '-passout', 'pass:x'], { input: good.key });
  write(paths, { certificate: good.certificate, key: sealed.toString('utf8') });
  assert.match(problemOf(paths), /without a passphrase/);
  mkdirSync(join(folder, 'folder'));
  assert.match(problemOf({ ...paths, key: join(folder, 'folder') }), /EISDIR/);
});

test('a file that may not be read is told from one that is not there', {
  skip: process.getuid?.() === 0 ? 'root reads every file' : false,
}, (t) => {
  const folder = folderOf(t);
  const paths = { certificate: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  write(paths, loopbackPair(now));
  chmodSync(paths.key, 0);
  assert.match(problemOf(paths), /may not read it/);
});

test('an RSA key too short for TLS is refused', (t) => {
  const folder = folderOf(t);
  const paths = { certificate: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  const words = ['req', '-x509', '-newkey', 'rsa:1024', '-nodes', '-subj', '/CN=x', '-days', '9'];
  execFileSync('openssl', [...words, '-keyout', paths.key, '-out', paths.certificate], { stdio: 'ignore' });
  assert.match(problemOf(paths), /^tlsCert: .* cannot be used for TLS.*2048/);
});

/** Follows the files; `next` resolves with what is told next. */
function following(t: TestContext, paths: TlsPaths, current: TlsPair) {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const told: (TlsPair | string)[] = [];
  const stop = followTlsFiles({
    ...{ paths, current, now: () => now },
    onPair: (pair) => told.push(pair),
    onProblem: (message) => told.push(message),
  });
  t.after(stop);
  return () => {
    t.mock.timers.tick(1_000);
    return told.splice(0);
  };
}

test('another pair is taken within a second, and half of one keeps the pair before', (t) => {
  const folder = folderOf(t);
  const paths = { certificate: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  const [first, second] = [loopbackPair(now), loopbackPair(now)];
  write(paths, first);
  const look = following(t, paths, first);
  assert.deepEqual(look(), []);
  writeFileSync(paths.certificate, second.certificate);
  const [problem, ...more] = look();
  assert.match(String(problem), /is not the key/);
  assert.deepEqual(more, []);
  assert.deepEqual(look(), [], 'the same problem is told once');
  writeFileSync(paths.key, second.key);
  assert.deepEqual(look(), [{ certificate: second.certificate, key: second.key }]);
  writeFileSync(paths.key, '');
  assert.match(String(look()[0]), /is not a private key/);
  rmSync(paths.key);
  assert.match(String(look()[0]), /no such file/);
  writeFileSync(paths.key, second.key);
  assert.deepEqual(look(), [], 'the pair in use is back');
  write(paths, loopbackPair(now - 2 * yearMs));
  assert.match(String(look()[0]), /expired/);
});

test('a pair behind links that are turned in one step is seen', (t) => {
  const folder = folderOf(t);
  const [first, second] = [loopbackPair(now), loopbackPair(now)];
  for (const [name, pair] of [
    ['a', first],
    ['b', second],
  ] as const) {
    mkdirSync(join(folder, name));
    write({ certificate: join(folder, name, 'tls.crt'), key: join(folder, name, 'tls.key') }, pair);
  }
  symlinkSync('a', join(folder, '..data'));
  const paths = { certificate: join(folder, '..data', 'tls.crt'), key: join(folder, '..data', 'tls.key') };
  const look = following(t, paths, first);
  assert.deepEqual(look(), []);
  symlinkSync('b', join(folder, 'next'));
  renameSync(join(folder, 'next'), join(folder, '..data'));
  assert.deepEqual(look(), [{ certificate: second.certificate, key: second.key }]);
});
