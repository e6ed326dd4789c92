import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import type { SigningKeyRecord, SigningKeyStore } from '../../store/identity-store.ts';
import { identityLimits } from '../limits.ts';
import { openSealing } from '../sealing.ts';
import { type Authority, fingerprintOf, openAuthority } from './authority.ts';

const hourMs = 3600 * 1000;
const dayMs = 24 * hourMs;

/** The rules of the store's keys, in memory. */
function keysInMemory(): SigningKeyStore & { records: SigningKeyRecord[] } {
  const store = {
    records: [] as SigningKeyRecord[],
    valid: async (_use: string, now: number) =>
      store.records.filter(({ expiresAt }) => expiresAt === null || expiresAt > now),
    ensure: async (key: SigningKeyRecord) => {
      if (store.records.length === 0) store.records.push(key);
      return store.records[0]!;
    },
    rotate: async (key: SigningKeyRecord, expiresAt: number) => {
      const { createdAt: retiredAt } = key;
      const retired = store.records.map((old) =>
        old.retiredAt === null ? { ...old, retiredAt, expiresAt } : old,
      );
      store.records = [key, ...retired];
    },
  };
  return store;
}

describe('the built-in authority', () => {
  let folder: string;
  let request: string;
  let key: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'sealwright-authority-'));
    // Whoever asks wishes to be an authority, another agent and a host.
    const words =
      'req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=agent:other/O=Evil -keyout key.pem';
    const wishes = [
      ...['basicConstraints=critical,CA:TRUE', 'keyUsage=keyCertSign', 'extendedKeyUsage=serverAuth'],
      'subjectAltName=URI:spiffe://example.com/agent/other,DNS:localhost,IP:127.0.0.1',
    ].flatMap((wish) => ['-addext', wish]);
    request = execFileSync('openssl', [...words.split(' '), ...wishes], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'ignore'],
    }).toString('utf8');
    key = readFileSync(join(folder, 'key.pem'), 'utf8');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  let now: number;
  let store: ReturnType<typeof keysInMemory>;
  let authority: Authority;
  const open = (sealing = openSealing(randomBytes(32)), keys = keysInMemory()) =>
    openAuthority({
      store: keys,
      sealing,
      clock: { now: () => now, monotonic: () => now },
      trustDomain: 'example.com',
    });
  beforeEach(() => {
    now = Date.now();
    store = keysInMemory();
    authority = open(openSealing(randomBytes(32)), store);
  });

  it('names whom it was told to name, and nothing that the request asks for', async () => {
    const { certificate, fingerprint, expiresAt } = await authority.issue('agent:planner-1', request, hourMs);
    const leaf = new X509Certificate(certificate);
    assert.equal(leaf.subject, 'CN=agent:planner-1');
    assert.equal(leaf.subjectAltName, 'URI:spiffe://example.com/agent/planner-1');
    assert.equal(leaf.ca, false);
    assert.deepEqual(leaf.keyUsage, ['1.3.6.1.5.5.7.3.2']);
    assert.equal(leaf.fingerprint256.replaceAll(':', '').toLowerCase(), fingerprint);
    assert.equal(+leaf.validToDate, expiresAt);
    assert(expiresAt <= now + hourMs && expiresAt > now + hourMs - 1000);
    assert.match(await textOf(certificate), /X509v3 Key Usage: critical\s+Digital Signature\n/);
    const service = await authority.issue('service:ci', request, hourMs);
    assert.match(
      new X509Certificate(service.certificate).subjectAltName!,
      /^URI:spiffe:\/\/example.com\/service\/ci$/,
    );
    assert.notEqual(new X509Certificate(service.certificate).serialNumber, leaf.serialNumber);
  });

  it('issues nothing for longer than a day', async () => {
    const { expiresAt } = await authority.issue('agent:a', request, 365 * dayMs);
    assert(expiresAt <= now + identityLimits.certificateLifeMsMax);
  });

  it('is made once, by whoever needs it first, and keeps its key sealed', async () => {
    const [first, second] = await Promise.all([authority.certificates(), authority.certificates()]);
    assert.deepEqual(first, second);
    assert.equal(store.records.length, 1);
    const [record] = store.records;
    assert(new X509Certificate(record!.public).ca);
    assert(!JSON.stringify(record).includes('PRIVATE KEY'));
    await assert.rejects(open(openSealing(randomBytes(32)), store).issue('agent:a', request, hourMs), {
      code: 'store.unavailable',
    });
  });

  it('is verified by OpenSSL, for clients alone', async () => {
    const { certificate } = await authority.issue('agent:a', request, hourMs);
    const [ca] = await authority.certificates();
    for (const [name, text] of Object.entries({ ca: ca!.certificate, leaf: certificate }))
      writeFileSync(join(folder, `${name}.pem`), text);
    const verify = (purpose: string) =>
      execFileSync(
        'openssl',
        ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', 'ca.pem', 'leaf.pem'],
        {
          cwd: folder,
          stdio: ['ignore', 'pipe', 'ignore'],
        },
      ).toString();
    assert.match(verify('sslclient'), /OK/);
    assert.throws(() => verify('sslserver'));
  });

  it('verifies what it signed while that lasts, and nothing that another authority signed', async () => {
    const { certificate, expiresAt } = await authority.issue('agent:a', request, hourMs);
    assert.equal(await authority.verifies(certificate), true);
    const other = await open().issue('agent:a', request, hourMs);
    assert.equal(await authority.verifies(other.certificate), false);
    now = expiresAt;
    assert.equal(await authority.verifies(certificate), false);
  });

  it('takes what the earlier one signed until the overlap ends, and without one not at all', async () => {
    const { certificate } = await authority.issue('agent:a', request, dayMs);
    const before = await authority.certificates();
    const made = await authority.rotate(hourMs);
    assert.deepEqual(
      (await authority.certificates()).map(({ id, signs }) => [id, signs]),
      [
        [made.id, true],
        [before[0]!.id, false],
      ],
    );
    assert.equal(await authority.verifies(certificate), true);
    const next = await authority.issue('agent:a', request, dayMs);
    assert(new X509Certificate(next.certificate).checkIssued(new X509Certificate(made.certificate)));
    now += hourMs;
    assert.equal(await authority.verifies(certificate), false);
    assert.equal(await authority.verifies(next.certificate), true);
    await authority.rotate(0);
    assert.equal(await authority.verifies(next.certificate), false);
  });

  it('is replaced by itself long before it is over', async () => {
    const [first] = await authority.certificates();
    now += identityLimits.authorityRotateMs;
    assert(now < first!.expiresAt);
    const [second, earlier] = await authority.certificates();
    assert.equal(earlier?.id, first!.id);
    assert(second!.signs && !earlier!.signs);
    assert.equal((await authority.certificates()).length, 2);
  });

  it('lets both ends of a TLS connection know each other, by the old authority too while it rotates', async () => {
    const { certificate } = await authority.issue('agent:a', request, hourMs);
    const [ca] = await authority.certificates();
    await authority.rotate(dayMs);
    const server = await authority.serverCredential(['localhost', '127.0.0.1']);
    assert(server.expiresAt <= now + dayMs);
    const cas = (await authority.certificates()).map((one) => one.certificate);
    const agent = { key, cert: certificate, ca: ca!.certificate };
    assert.equal(await handshake(server, cas, agent), fingerprintOf(certificate));
    const stranger = await open().issue('agent:a', request, hourMs);
    await assert.rejects(handshake(server, cas, { ...agent, cert: stranger.certificate }));
    await assert.rejects(handshake(server, cas, { ca: ca!.certificate }));
    await assert.rejects(handshake(server, cas, { ...agent, ca: [] }));
  });

  async function textOf(certificate: string): Promise<string> {
    return execFileSync('openssl', ['x509', '-noout', '-text'], { input: certificate }).toString('utf8');
  }
});

/** The fingerprint that a server learns of its client; rejects where either refuses the other. */
async function handshake(
  { key, certificate: cert }: { key: string; certificate: string },
  ca: string[],
  client: { key?: string; cert?: string; ca: string | string[] },
): Promise<string> {
  const server = createServer({ key, cert, ca, requestCert: true, rejectUnauthorized: true });
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.on('error', () => undefined);
    socket.end(socket.getPeerX509Certificate()!.fingerprint256.replaceAll(':', '').toLowerCase());
  });
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ...client });
  try {
    let said = '';
    for await (const chunk of socket) said += String(chunk);
    assert(said !== '', 'the server ended the connection without a word');
    return said;
  } finally {
    socket.destroy();
    server.close();
  }
}
