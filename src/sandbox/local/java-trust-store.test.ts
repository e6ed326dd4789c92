import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createAuthority, openIssuer } from '../../base/certificates.ts';
import { certificatesIn } from '../../base/der.ts';
import { JavaTrustStore } from './java-trust-store.ts';

const folder = mkdtempSync(join(tmpdir(), 'sealwright-java-'));
after(() => rmSync(folder, { recursive: true }));
const keytool = (...words: string[]) =>
  spawnSync('keytool', ['-J-Duser.language=en', ...words], { encoding: 'utf8' });
const skip = keytool('-help').error ? 'keytool is not installed' : false;

test('Java reads a store of many certificates and the last, and that nobody changed it', { skip }, () => {
  const issuer = openIssuer(createAuthority(Date.now()));
  const roots = Array.from({ length: 20 }, (_, index) => issuer.leaf(`root-${index}.example`).certificate);
  const { certificate } = createAuthority(Date.now());
  const [der] = certificatesIn(certificate);
  const store = new JavaTrustStore(certificatesIn(roots.join('\n')));
  const list = (bytes: Buffer) => {
    const file = join(folder, 'cacerts');
    writeFileSync(file, bytes);
    return keytool('-list', '-keystore', file, '-storepass', 'changeit').stdout;
  };
  const told = list(store.with(der!));
  assert.match(told, /contains 21 entries/);
  assert.match(told, new RegExp(`sealwright,.*\\n.*${new X509Certificate(certificate).fingerprint256}`));
  const changed = store.with(der!);
  changed[changed.length - 30]! ^= 1;
  assert.match(list(changed), /tampered with|incorrect/);
  assert.match(list(new JavaTrustStore([]).with(der!)), /contains 1 entry/);
});
