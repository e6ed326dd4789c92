import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../../contract/faults.ts';
import { readCertificateRequest } from './request.ts';

describe('a certificate request', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'sealwright-request-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const openssl = (...words: string[]) =>
    execFileSync('openssl', words, { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] }).toString('utf8');
  const made = (key: readonly string[], ...more: string[]) =>
    openssl('req', '-new', ...key, '-nodes', '-subj', '/CN=x', '-keyout', 'key.pem', ...more);
  const p256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];

  async function refusal(pem: string): Promise<string> {
    const error = await readCertificateRequest(pem).then(
      () => assert.fail('it was taken'),
      (thrown: unknown) => thrown,
    );
    assert(error instanceof Fault && error.code === 'request.invalid', String(error));
    return error.detail;
  }

  it('with a good key of any kind that agents may have is taken', async () => {
    for (const key of [
      p256,
      ['-newkey', 'ed25519'],
      ['-newkey', 'rsa:2048'],
      ['-newkey', 'rsa:3072', '-sha384'],
    ]) {
      const { rawData } = await readCertificateRequest(made(key));
      const wanted = openssl('pkey', '-in', 'key.pem', '-pubout', '-outform', 'PEM').split('\n').slice(1, -2);
      assert.equal(Buffer.from(rawData).toString('base64'), wanted.join(''));
    }
    assert(await readCertificateRequest(made(p256).replaceAll('\n', '\r\n')));
  });

  it('with a weak key or an unusual curve is refused', async () => {
    assert.match(await refusal(made(['-newkey', 'rsa:1024'])), /RSA key of 1024 bits/);
    assert.match(await refusal(made(['-newkey', 'rsa:2048', '-pkeyopt', 'rsa_keygen_pubexp:3'])), /exponent/);
    assert.match(
      await refusal(made(['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:secp256k1'])),
      /curve|kind/,
    );
    assert.match(await refusal(made(['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384'])), /curve/);
    assert.match(await refusal(made(['-newkey', 'rsa:2048'], '-sha1')), /SHA-1/);
  });

  it('that was not signed by the private half of its key is refused', async () => {
    const lines = made(p256).trimEnd().split('\n');
    const bytes = Buffer.from(lines.slice(1, -1).join(''), 'base64');
    bytes[bytes.length - 1]! ^= 1;
    assert.match(await refusal(pem(bytes)), /not signed by the private half/);
    // Another's key in place of its own.
    const [mine, other] = [made(p256), made(p256)].map((text) => Buffer.from(body(text), 'base64'));
    const at = (der: Buffer) => der.indexOf(Buffer.from('03420004', 'hex')) + 4;
    other!.copy(mine!, at(mine!), at(other!), at(other!) + 64);
    assert.match(await refusal(pem(mine!)), /not signed by the private half/);
  });

  it('that is huge, doubled, something else or no PEM at all is refused', async () => {
    const good = made(p256);
    const certificate = openssl('req', '-x509', ...p256, '-nodes', '-subj', '/CN=x', '-keyout', 'k.pem');
    const hostile = [
      '',
      'x',
      good + good,
      `x${good}`,
      `${good}x`,
      certificate,
      readFileSync(join(folder, 'key.pem'), 'utf8'),
    ];
    for (const text of hostile) assert.match(await refusal(text), /one PEM block/);
    assert.match(await refusal(pem(Buffer.alloc(1_000_000, 0x30))), /longer than/);
    // Sequences in sequences, as deep as the length lets them be.
    const deep = Buffer.alloc(5_600);
    for (let at = 0; at < deep.length; at += 2) deep.set([0x30, 0x80], at);
    await refusal(pem(deep));
  });

  it('of whatever bytes is an answer, and never a crash', async () => {
    const good = Buffer.from(body(made(p256)), 'base64');
    const key = Buffer.from((await readCertificateRequest(pem(good))).rawData);
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bytes = Buffer.from(good);
        bytes[at]! ^= flip;
        // A signature has more than one spelling; whichever it is, it proves this key and no other.
        const taken = await readCertificateRequest(pem(bytes)).catch((error: unknown) => {
          assert(error instanceof Fault && error.code === 'request.invalid', String(error));
          return null;
        });
        assert(taken === null || Buffer.from(taken.rawData).equals(key));
      }),
      { numRuns: 200 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        await refusal(pem(Buffer.from(bytes)));
      }),
    );
  });
});

function body(text: string): string {
  return text.trimEnd().split('\n').slice(1, -1).join('');
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE REQUEST-----', ...lines, '-----END CERTIFICATE REQUEST-----', ''].join(
    '\n',
  );
}
