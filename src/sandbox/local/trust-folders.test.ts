import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createAuthority } from '../../base/certificates.ts';
import { certificatesIn } from '../../base/der.ts';
import { Fault } from '../../contract/faults.ts';
import { trustPlaces } from '../trust.ts';
import { makeEtc } from './etc.ts';
import { TrustFolders } from './trust-folders.ts';

const root = mkdtempSync(join(tmpdir(), 'sealwright-trust-'));
after(() => rmSync(root, { recursive: true }));
const system = [createAuthority(0), createAuthority(1)].map((each) => each.certificate).join('# between\n');
const { certificate } = createAuthority(Date.now());
const [der] = certificatesIn(certificate) as [Buffer];

let made = 0;
/** What a machine has that sandboxes see without an authority. */
function base(files: Readonly<Record<string, string>>): string {
  const folder = join(root, `base-${++made}`);
  mkdirSync(folder);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

test('a sandbox trusts what the machine does and its own authority, in every form', async () => {
  const folders = new TrustFolders(join(root, 'all'), base({ 'ca-certificates.crt': system, cacerts: '' }));
  const { path } = await folders.make(certificate);
  const read = (name: string) => readFileSync(join(path, name), 'utf8');
  assert.equal(read('ca.pem'), certificate);
  assert.equal(read('ca-certificates.crt'), system + certificate);
  assert.deepEqual(certificatesIn(read('ca-certificates.crt')), [...certificatesIn(system), der]);
  assert.ok(readFileSync(join(path, 'cacerts')).includes(der));
  assert.deepEqual(JSON.parse(read('browser-policy.json')), {
    CACertificates: [der.toString('base64')],
    EncryptedClientHelloEnabled: false,
    QuicAllowed: false,
  });
});

test('a list of the machine without its last line break is read to its end, and the authority too', async () => {
  const folders = new TrustFolders(join(root, 'unended'), base({ 'ca-certificates.crt': system.trimEnd() }));
  const { path } = await folders.make(certificate);
  assert.equal(readFileSync(join(path, 'ca-certificates.crt'), 'utf8'), system + certificate);
});

test('where the folders of the machine are links, its own files are left alone', () => {
  const machine = base({});
  const real = base({ 'ca-certificates.crt': system });
  const java = base({ cacerts: 'theirs' });
  symlinkSync(java, join(real, 'java'));
  mkdirSync(join(machine, 'ssl'));
  symlinkSync(real, join(machine, 'ssl', 'certs'));
  const etc = join(root, 'linked-etc');
  makeEtc(etc, machine);
  assert.equal(readFileSync(join(real, 'ca-certificates.crt'), 'utf8'), system);
  assert.deepEqual(readdirSync(real).sort(), ['ca-certificates.crt', 'java']);
  assert.equal(readFileSync(join(java, 'cacerts'), 'utf8'), 'theirs');
  for (const [place, file] of Object.entries(trustPlaces))
    assert.equal(readlinkSync(join(etc, place)), `/etc/sealwright/${file}`);
  assert.equal(readFileSync(join(etc, 'sealwright', 'ca-certificates.crt'), 'utf8'), system);
  assert.equal(readFileSync(join(etc, 'sealwright', 'cacerts'), 'utf8'), 'theirs');
});

test('nothing that is written has a key', async () => {
  const authority = createAuthority(Date.now());
  const { path } = await new TrustFolders(join(root, 'keyless'), base({ cacerts: '' })).make(
    authority.certificate,
  );
  const [secret] = /\n[^-]{60}/.exec(authority.key)!;
  for (const name of readdirSync(path)) {
    const text = readFileSync(join(path, name), 'latin1');
    assert.ok(!text.includes('PRIVATE') && !text.includes(secret), name);
  }
});

test('on a machine without certificates and without Java it is the authority alone', async () => {
  const { path } = await new TrustFolders(join(root, 'bare'), base({})).make(certificate);
  assert.deepEqual(readdirSync(path).sort(), ['browser-policy.json', 'ca-certificates.crt', 'ca.pem']);
  assert.equal(readFileSync(join(path, 'ca-certificates.crt'), 'utf8'), certificate);
});

test('each sandbox has a folder of its own, which goes with it; what an earlier runner left goes before', async () => {
  const folder = join(root, 'own');
  const left = await new TrustFolders(folder, base({})).make(certificate);
  const folders = new TrustFolders(folder, base({}));
  assert.equal(existsSync(left.path), false);
  const [one, other] = await Promise.all([folders.make(certificate), folders.make(certificate)]);
  assert.notEqual(one.path, other.path);
  assert.equal(readdirSync(folder).length, 2);
  await Promise.all([one.remove(), one.remove()]);
  assert.deepEqual(
    readdirSync(folder).map((name) => join(folder, name)),
    [other.path],
  );
});

test('what cannot be written is refused, without a path of the machine, and nothing is left', async () => {
  const folder = join(root, 'gone');
  const folders = new TrustFolders(folder, base({}));
  rmSync(folder, { recursive: true });
  const isRefusal = (error: unknown) =>
    error instanceof Fault &&
    error.code === 'sandbox.unavailable' &&
    /ENOENT/.test(error.detail) &&
    !error.detail.includes(root);
  await assert.rejects(folders.make(certificate), isRefusal);
  mkdirSync(folder);
  assert.deepEqual(readdirSync((await folders.make(certificate)).path).length, 3);
});

test('every place where programs look leads into the folder, which is the machine’s own without a mount', () => {
  const etc = join(root, 'etc');
  makeEtc(etc);
  const hasJava = existsSync('/etc/ssl/certs/java/cacerts');
  for (const [place, file] of Object.entries(trustPlaces)) {
    if (file === 'cacerts' && !hasJava) continue;
    assert.equal(readlinkSync(join(etc, place)), `/etc/sealwright/${file}`);
  }
  for (const [place, file] of [
    ['ssl/certs/ca-certificates.crt', 'ca-certificates.crt'],
    ['ssl/certs/java/cacerts', 'cacerts'],
  ]) {
    const theirs = `/etc/${place}`;
    const ours = join(etc, 'sealwright', file!);
    assert.equal(existsSync(ours), existsSync(theirs));
    if (!existsSync(theirs)) continue;
    assert.ok(readFileSync(ours).equals(readFileSync(theirs)));
    assert.equal(statSync(ours).mode & 0o777, 0o644);
  }
});
