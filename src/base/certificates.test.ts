import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { connect, createServer } from 'node:tls';
import fc from 'fast-check';
import {
  type Authority,
  authorityHash,
  createAuthority,
  openIssuer,
  type SubjectName,
} from './certificates.ts';
import { octets, pem, sequence, tagged } from './der.ts';

const now = Date.UTC(2026, 0, 31, 12);
const day = 86_400_000;
const folder = mkdtempSync(join(tmpdir(), 'sealwright-certificates-'));
after(() => rmSync(folder, { recursive: true }));

function missing(program: string): string | false {
  const found = spawnSync(program, ['--version'], { stdio: 'ignore' });
  return found.error ? `${program} is not installed` : false;
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function run(program: string, words: readonly string[], input = ''): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(program, words, { input, encoding: 'utf8' });
  return { status, text: `${stdout}${stderr}` };
}

/** What OpenSSL's strict reading of RFC 5280 says. */
function strict(authority: Authority, certificate: string, host: readonly [string, string]) {
  const at = String(now / 1_000);
  const words = [
    'verify',
    '-x509_strict',
    '-purpose',
    'sslserver',
    '-attime',
    at,
    '-no-CApath',
    '-no-CAstore',
  ];
  const anchor = file('authority.pem', authority.certificate);
  return run('openssl', [...words, '-CAfile', anchor, ...host, file('leaf.pem', certificate)]);
}

/**
 * What OpenSSL finds that is no distinguished encoding. Its own words only: hexadecimal digits spell BAD now and then, and
 * of a length that is left open it says `l=inf`.
 */
function misencoded(certificate: string): string | undefined {
  const { status, text } = run('openssl', ['asn1parse', '-i'], certificate);
  return status === 0 ? /:BAD [A-Z]+|\berror\b|\bl=inf\b/i.exec(text)?.[0] : text;
}

const authority = createAuthority(now);
const issuer = openIssuer(authority);
const address = Uint8Array.of(192, 0, 2, 7);
const address6 = Uint8Array.from({ length: 16 }, (_, index) => (index === 15 ? 1 : 0x20));

describe('OpenSSL', { skip: missing('openssl') }, () => {
  test('a leaf is the host it is for, strictly, and no other', () => {
    const longest = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}`;
    for (const host of ['api.example.org', 'localhost', '_x.a--b.xn--bcher-kva.example', longest]) {
      const { certificate } = issuer.leaf(host);
      assert.equal(strict(authority, certificate, ['-verify_hostname', host]).status, 0, host);
      const other = strict(authority, certificate, ['-verify_hostname', 'other.example']);
      assert.match(other.text, /hostname mismatch/);
      assert.notEqual(other.status, 0);
    }
  });

  test('a leaf is the address it is for, of either family, and no other', () => {
    for (const [bytes, text] of [
      [address, '192.0.2.7'],
      [address6, '2020:2020:2020:2020:2020:2020:2020:2001'],
    ] as const) {
      const { certificate } = issuer.leaf({ bytes });
      assert.deepEqual(strict(authority, certificate, ['-verify_ip', text]).status, 0);
      assert.match(strict(authority, certificate, ['-verify_ip', '192.0.2.8']).text, /IP address mismatch/);
    }
  });

  test('a leaf is nothing to the authority of another sandbox, although both have one name', () => {
    const { certificate } = issuer.leaf('example.org');
    const { status } = strict(createAuthority(now), certificate, ['-verify_hostname', 'example.org']);
    assert.notEqual(status, 0);
  });

  test('every authority is found by the one hash in a folder of certificates', () => {
    for (const each of [authority, createAuthority(0)]) {
      const { text } = run('openssl', ['x509', '-noout', '-subject_hash'], each.certificate);
      assert.equal(text.trim(), authorityHash);
    }
  });

  test('the encoding is one that it reads through', () => {
    for (const { certificate } of [authority, issuer.leaf('example.org'), issuer.leaf({ bytes: address6 })])
      assert.equal(misencoded(certificate), undefined, certificate);
  });

  test('an encoding that is none is found, and digits that spell a word are no fault', () => {
    const found = (der: Buffer) => misencoded(pem('CERTIFICATE', der));
    assert.equal(found(sequence(octets(Buffer.from('bad0bad0', 'hex')))), undefined);
    assert.equal(found(sequence(tagged(0x02, Buffer.of(0, 5)))), ':BAD INTEGER');
    assert.equal(found(sequence(tagged(0x06, Buffer.of(0x80)))), ':BAD OBJECT');
    assert.equal(found(Buffer.from('30800201050000', 'hex')), 'l=inf');
    assert.match(found(Buffer.from('3005020105', 'hex')) ?? '', /error/i);
  });
});

test('GnuTLS takes a leaf for its host alone', { skip: missing('certtool') }, () => {
  const anchor = file('authority.pem', createAuthority(Date.now()).certificate);
  const current = createAuthority(Date.now());
  const words = ['--verify', '--load-ca-certificate', file('gnutls.pem', current.certificate)];
  const { certificate } = openIssuer(current).leaf('example.org');
  assert.equal(run('certtool', [...words, '--verify-hostname', 'example.org'], certificate).status, 0);
  assert.notEqual(run('certtool', [...words, '--verify-hostname', 'example.com'], certificate).status, 0);
  const foreign = ['--verify', '--load-ca-certificate', anchor, '--verify-hostname', 'example.org'];
  assert.notEqual(run('certtool', foreign, certificate).status, 0);
});

test('Node finishes a handshake with a leaf, and refuses one for another name', async (context) => {
  const current = createAuthority(Date.now());
  const { key, certificate } = openIssuer(current).leaf('example.org');
  const server = createServer({ key, cert: certificate }, (socket) => socket.end('hello'));
  server.on('tlsClientError', () => undefined);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  context.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const dial = (servername: string) => connect({ port, servername, ca: current.certificate }).resume();
  const good = dial('example.org');
  await once(good, 'secureConnect');
  assert.equal(good.authorized, true);
  good.destroy();
  const [error] = await once(dial('example.com'), 'error');
  assert.equal(error.code, 'ERR_TLS_CERT_ALTNAME_INVALID');
});

test('an authority is valid from a day before until 390 days after, and its leaves as long', () => {
  for (const [at, years] of [
    [now, ['2026', '2027']],
    [Date.UTC(2049, 5), ['2049', '2050']],
    [Date.UTC(2050, 0, 2), ['2050', '2051']],
  ] as const) {
    const made = createAuthority(at);
    for (const { certificate } of [made, openIssuer(made).leaf('example.org')]) {
      const { validFromDate, validToDate } = new X509Certificate(certificate);
      assert.deepEqual([+validFromDate, +validToDate], [at - day, at + 390 * day]);
      assert.deepEqual(
        [validFromDate, validToDate].map((date) => String(date.getUTCFullYear())),
        years,
      );
    }
  }
});

test('every name and address gives a certificate that says exactly it, under its own key and serial number', () => {
  const word = fc.stringMatching(/^[a-z0-9_]([a-z0-9_-]{0,40}[a-z0-9_])?$/);
  const host = fc
    .tuple(fc.array(word, { maxLength: 5 }), fc.stringMatching(/^[a-z]{2,20}$/))
    .map(([labels, last]): SubjectName => [...labels, last].join('.'));
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  );
  const subject = fc.oneof(
    host,
    bytes.map((value): SubjectName => ({ bytes: value })),
  );
  const signer = new X509Certificate(authority.certificate);
  const serials = new Set<string>();
  fc.assert(
    fc.property(subject, (name) => {
      const leaf = issuer.leaf(name);
      const read = new X509Certificate(leaf.certificate);
      assert.ok(read.verify(signer.publicKey) && read.checkIssued(signer) && !read.ca);
      assert.ok(read.checkPrivateKey(createPrivateKey(leaf.key)));
      if (typeof name === 'string') assert.equal(read.subjectAltName, `DNS:${name}`);
      else assert.match(read.subjectAltName ?? '', /^IP Address:[^,]+$/);
      assert.match(read.serialNumber, /^[4-7][0-9A-F]{31}$/);
      assert.ok(!serials.has(read.serialNumber));
      serials.add(read.serialNumber);
    }),
    { numRuns: 200 },
  );
});

test('what is no canonical name gets no certificate', () => {
  const over = `${'a.'.repeat(126)}aa`;
  for (const name of [
    '',
    '.',
    'a..b',
    'a.',
    '.a',
    '*.a.b',
    'A.b',
    'a b',
    'a\0.b',
    'ä.b',
    '-a.b',
    '1.2.3.4',
    '::1',
    over,
  ])
    assert.throws(() => issuer.leaf(name), { code: 'ERR_ASSERTION' }, name);
  assert.throws(() => issuer.leaf({ bytes: new Uint8Array(5) }), { code: 'ERR_ASSERTION' });
  assert.ok(issuer.leaf(over.slice(0, 253)));
});
