import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SignJWT } from 'jose';
import { pino } from 'pino';
import { ApiError } from '../../src/client/api-error.ts';
import { createClient } from '../../src/client/client.ts';
import type { IssuedCertificateView } from '../../src/contract/agents-schemas.ts';
import { type OpenServer, openServer } from '../../src/server/server.ts';
import { actorOf, bootstrapSecret, TestControl, testOrigin } from '../support/test-control.ts';
import { wideRates } from '../support/test-server.ts';

/** Agents and services over HTTP: made, given what they prove themselves with, and stopped. */

let folder: string;
let control: TestControl;
let server: OpenServer;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-agents-'));
  control = await TestControl.open({ withRunner: false });
  server = await openServer({
    control: control.control,
    logger: pino({ level: 'silent' }),
    listen: { host: '127.0.0.1', port: 0 },
    localSocketPath: null,
    identity: { localOwner: actorOf('nobody') },
    version: '0.0.0-test',
    rateLimits: wideRates,
    machines: {
      listen: { host: '127.0.0.1', port: 0 },
      authority: control.directory.authority,
      names: ['localhost', '127.0.0.1'],
    },
  });
});
after(async () => {
  await server.close();
  await control[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const clientOf = (token: string) => createClient({ url: server.address, token });
const admin = () => clientOf(bootstrapSecret);

async function call(method: string, path: string, options: { body?: object; ifMatch?: string } = {}) {
  const { body, ifMatch } = options;
  const headers: Record<string, string> = { authorization: `Bearer ${bootstrapSecret}` };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (ifMatch !== undefined) headers['if-match'] = ifMatch;
  const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
  const response = await fetch(server.address + path, init);
  const text = await response.text();
  return {
    status: response.status,
    etag: response.headers.get('etag'),
    code: text === '' ? null : JSON.parse(text).code,
  };
}

async function token(form: Record<string, string>): Promise<{ status: number; access_token?: string }> {
  const body = new URLSearchParams({ grant_type: 'client_credentials', ...form });
  const response = await fetch(`${server.address}/oauth2/token`, { method: 'POST', body });
  return { status: response.status, ...((await response.json()) as { access_token?: string }) };
}

const isUnauthorized = (error: unknown) => error instanceof ApiError && error.status === 401;

test('an agent with a secret gets tokens until the secret is revoked, and they end with it', async () => {
  const { agents } = admin();
  const { id } = await agents.create({
    kind: 'agent',
    name: 'secretive',
    role: 'agent',
    scopes: ['run:read'],
  });
  const made = await agents.addSecret(id, { expiresInSeconds: 3600, name: 'ci' });
  const form = { client_id: id, client_secret: made.secret };
  const { access_token = '' } = await token(form);
  const itself = clientOf(access_token);
  assert.deepEqual((await itself.runs.list()).items, []);
  await assert.rejects(itself.agents.list(), (error) => error instanceof ApiError && error.status === 403);
  assert.equal((await token({ ...form, client_id: 'agent:other' })).status, 401);
  await agents.revokeCredential(id, made.id);
  assert.equal((await token(form)).status, 401);
  await assert.rejects(itself.runs.list(), isUnauthorized);
});

test('an agent with a key proves itself by what it signs', async () => {
  const { agents } = admin();
  const { id } = await agents.create({
    kind: 'service',
    name: 'signer',
    role: 'agent',
    scopes: ['run:read'],
  });
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const key = await agents.addKey(id, { jwk: { ...publicKey.export({ format: 'jwk' }) } });
  const assertion = (by = privateKey) =>
    new SignJWT({ jti: String(Math.random()) })
      .setProtectedHeader({ alg: 'PS256', kid: key.thumbprint! })
      .setIssuer(id)
      .setSubject(id)
      .setAudience(testOrigin)
      .setExpirationTime('1m')
      .sign(by);
  const form = async (by?: typeof privateKey) => ({
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: await assertion(by),
  });
  const { access_token = '' } = await token(await form());
  assert.deepEqual((await clientOf(access_token).runs.list()).items, []);
  const other = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  assert.equal((await token(await form(other.privateKey))).status, 401);
  await agents.revokeCredential(id, key.id);
  assert.equal((await token(await form())).status, 401);
});

test('an agent that is disabled is nobody at once, and again somebody when it is enabled', async () => {
  const { agents } = admin();
  const { id } = await agents.create({ kind: 'agent', name: 'stopped', role: 'agent', scopes: ['run:read'] });
  const { secret } = await agents.addSecret(id, { expiresInSeconds: 3600 });
  const form = { client_id: id, client_secret: secret };
  const { access_token = '' } = await token(form);
  assert.equal((await agents.disable(id)).phase, 'disabled');
  await assert.rejects(clientOf(access_token).runs.list(), isUnauthorized);
  assert.equal((await token(form)).status, 401);
  await agents.enable(id);
  assert.equal((await token(form)).status, 200);
  await agents.remove(id);
  assert.equal((await token(form)).status, 401);
  await assert.rejects(agents.get(id), (error) => error instanceof ApiError && error.status === 404);
});

test('a change needs what was read, and what is no agent is no resource', async () => {
  const { agents } = admin();
  const { id } = await agents.create({ kind: 'agent', name: 'edited', role: 'agent' });
  const path = `/api/v1/agents/${encodeURIComponent(id)}`;
  const { etag } = await call('GET', path);
  const body = { displayName: 'Edited' };
  assert.equal((await call('PATCH', path, { body })).status, 428);
  assert.equal((await call('PATCH', path, { body, ifMatch: '"v9"' })).status, 412);
  assert.equal((await call('PATCH', path, { body: {}, ifMatch: etag! })).status, 400);
  assert.deepEqual([(await call('PATCH', path, { body, ifMatch: etag! })).etag, etag], ['"v2"', '"v1"']);
  assert.equal((await agents.update(id, { displayName: null })).displayName, null);
  for (const name of ['user:ann', 'system:local', 'agent:', 'agent:A', 'edited', 'agent:x%0a', '..%2fusers'])
    assert([400, 404].includes((await call('GET', `/api/v1/agents/${name}`)).status), name);
  for (const wanted of [
    { name: 'a@b' },
    { name: '.' },
    { kind: 'user' },
    { owner: 'agent:x' },
    { scopes: ['*'] },
  ])
    assert.equal(
      (await call('POST', '/api/v1/agents', { body: { kind: 'agent', name: 'x', role: 'agent', ...wanted } }))
        .code,
      'request.invalid',
    );
  for (const wanted of [{}, { expiresInSeconds: 0 }, { expiresInSeconds: 367 * 86_400 }])
    assert.equal((await call('POST', `${path}/secrets`, { body: wanted })).status, 400);
});

test('an agent renews its certificate with the one that it has, and by no other proof', async () => {
  const { agents } = admin();
  const { id } = await agents.create({
    kind: 'agent',
    name: 'certified',
    role: 'agent',
    scopes: ['run:read'],
  });
  const words = 'req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -keyout key.pem';
  const csr = execFileSync('openssl', words.split(' '), { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] });
  const [request, key] = [csr.toString('utf8'), readFileSync(join(folder, 'key.pem'), 'utf8')];
  const first = await agents.issueCertificate(id, { request });
  const ca = [...first.authorities];
  const renewed = await renew({ key, cert: first.certificate, ca }, { request, expiresInSeconds: 600 });
  assert.equal(renewed.status, 201);
  const second = await renew({ key, cert: renewed.body.certificate, ca }, { request });
  assert.equal(second.status, 201);
  await agents.revokeCredential(id, first.id);
  assert.equal((await renew({ key, cert: first.certificate, ca }, { request })).status, 401);
  assert.equal((await agents.credentials(id)).items.length, 2);
  const { secret } = await agents.addSecret(id, { expiresInSeconds: 60 });
  const { access_token = '' } = await token({ client_id: id, client_secret: secret });
  const response = await fetch(`${server.address}/api/v1/agents/self/certificates`, {
    method: 'POST',
    headers: { authorization: `Bearer ${access_token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ request }),
  });
  assert.equal(response.status, 403);
  const { revoked } = await admin().authority.get();
  assert.deepEqual(
    revoked.map(({ credential, agent }) => [credential, agent]),
    [[first.id, id]],
  );
});

/** Over the listener for machines. */
async function renew(
  credential: { key: string; cert: string; ca: string[] },
  body: object,
): Promise<{ status: number | undefined; body: IssuedCertificateView }> {
  const { port } = new URL(server.machinesAddress!);
  return await new Promise((resolve, reject) => {
    const sent = httpsRequest(
      {
        ...{ ...credential, host: '127.0.0.1', port, servername: 'localhost', method: 'POST', agent: false },
        ...{ path: '/api/v1/agents/self/certificates', headers: { 'content-type': 'application/json' } },
      },
      (answer) => {
        let text = '';
        answer.on('data', (chunk) => {
          text += String(chunk);
        });
        answer.on('end', () => resolve({ status: answer.statusCode, body: JSON.parse(text) }));
      },
    );
    sent.on('error', reject);
    sent.end(JSON.stringify(body));
  });
}
