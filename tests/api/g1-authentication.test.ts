import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createClient } from '../../src/client/client.ts';
import { newTokenSecret } from '../../src/identity/token-secret.ts';
import { newId } from '../../src/model/ids.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { answersAtOnce, openRoutes } from '../support/open-routes.ts';
import { rawExchange } from '../support/raw-http.ts';

/** G1: nothing under /api/v1 answers without authentication. */

type Operation = { readonly security?: readonly unknown[] };
type Document = { readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>> };

let instance: Instance;
let port: number;
let operations: { method: string; path: string; open: boolean }[];

before(async () => {
  instance = await startInstance();
  port = Number(new URL(instance.url).port);
  const document = (await (await fetch(`${instance.url}/api/v1/openapi.json`)).json()) as Document;
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { security }]) => ({
      method: method.toUpperCase(),
      path: filled(path),
      open: security?.length === 0,
    })),
  );
});

after(() => instance.remove());

function filled(path: string): string {
  const kind = path.includes('/sessions') ? 'session' : path.includes('/tokens') ? 'token' : 'run';
  return path.replace('{id}', newId(kind, 1)).replace('{name}', 'diff');
}

type Answer = { status: number; code: string | null; challenge: string | null };

async function ask(method: string, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(instance.url + path, { method, headers });
  // Events have no end: that they begin is the answer.
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
  if (isStream) await response.body?.cancel();
  const text = isStream ? '' : await response.text();
  const isProblem = response.headers.get('content-type') === 'application/problem+json' && text !== '';
  return {
    status: response.status,
    code: isProblem ? (JSON.parse(text) as { code: string }).code : null,
    challenge: response.headers.get('www-authenticate'),
  };
}

test('every operation of the OpenAPI document answers 401 to nobody, but for those it calls open', async () => {
  assert(operations.length >= 20, `${operations.length} operations`);
  for (const { method, path, open } of operations) {
    const { status, code, challenge } = await ask(method, path);
    if (answersAtOnce(`${method} ${path}`))
      assert.deepEqual([status, challenge], [200, null], `${method} ${path}`);
    else if (open) assert(status < 500 && code !== 'auth.missing', `${method} ${path}: ${status}`);
    else assert.deepEqual([status, code], [401, 'auth.missing'], `${method} ${path}`);
    if (!open) assert.equal(challenge, 'Bearer realm="sealwright"');
  }
  const open = operations
    .filter((operation) => operation.open)
    .map(({ method, path }) => `${method} ${path}`);
  assert.deepEqual(
    open.filter((operation) => !openRoutes.includes(operation)),
    [],
  );
});

test('the same operations let the bootstrap token in', async () => {
  const authorization = `Bearer ${instance.bootstrapToken}`;
  for (const { method, path } of operations) {
    const { status } = await ask(method, path, { authorization });
    // A token is nobody's sign-in: what a person does with the own account is not for it.
    const isPersonal = /^\/(api\/v1\/account|auth|oauth2)\b/.test(path);
    assert(status !== 401 || isPersonal, `${method} ${path}: ${status}`);
    assert(status !== 403 || isPersonal, `${method} ${path}: ${status}`);
    assert(status < 500, `${method} ${path}: ${status}`);
  }
});

test('no method and no spelling of a path goes around it', async () => {
  const { id } = await instance.client.sessions.create({ name: 'hidden' });
  const spellings = [
    '/api/v1/sessions',
    '/api/v1/sessions/',
    '//api/v1/sessions',
    '/api//v1/sessions',
    '/./api/v1/sessions',
    '/healthz/../api/v1/sessions',
    '/healthz/%2e%2e/api/v1/sessions',
    '/healthz%2f..%2fapi/v1/sessions',
    '/healthz;/../api/v1/sessions',
    '/api/v1/openapi.json/../sessions',
    '/api/v1/openapi.json%00/../sessions',
    '/API/V1/SESSIONS',
    '/%61%70%69/v1/sessions',
    '/api/v1/%73essions',
    '/api%2fv1%2fsessions',
    '/api\\v1\\sessions',
    '/api/v1/sessions?open=true',
    '/api/v1/sessions#x',
    '/api/v1/sessions%20',
    '/api/v1/sessions.json',
    `/api/v1/sessions/${id}`,
    `/api/v1/sessions/${id.toUpperCase()}`,
    '/api/v2/sessions',
    '/metrics',
    '/',
    '*',
    `http://127.0.0.1:${port}/api/v1/sessions`,
    'http://elsewhere.example/api/v1/sessions',
  ];
  const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'QUERY', 'PROPFIND'];
  for (const path of spellings)
    for (const method of methods) {
      const head = `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`;
      const { status, text } = await rawExchange(port, head);
      // What is open at the root is the page that asks people to sign in; it is the same for everybody.
      const isPage = status === 200 && method === 'GET' && text.includes('<title>Sealwright</title>');
      assert(
        status === 401 || status === 400 || (isPage && /^[/*]$/.test(path)),
        `${method} ${path}: ${text}`,
      );
      assert.doesNotMatch(text, /hidden|nextCursor|sealwright_/, `${method} ${path}`);
    }
});

test('headers that proxies and frameworks trust change nothing', async () => {
  const tricks: Record<string, string>[] = [
    { 'x-forwarded-for': '127.0.0.1' },
    { forwarded: 'for=127.0.0.1;proto=https' },
    { 'x-original-url': '/healthz' },
    { 'x-rewrite-url': '/healthz' },
    { 'x-http-method-override': 'GET' },
    { 'x-user': 'user:bootstrap', 'x-actor': 'user:bootstrap', 'x-remote-user': 'root' },
    { cookie: `token=${instance.bootstrapToken}; session=${instance.bootstrapToken}` },
    { 'proxy-authorization': `Bearer ${instance.bootstrapToken}` },
    { 'x-api-key': instance.bootstrapToken },
    { 'sec-websocket-protocol': instance.bootstrapToken },
  ];
  for (const headers of tricks)
    assert.equal(
      (await ask('GET', '/api/v1/runs', headers)).status,
      401,
      JSON.stringify(Object.keys(headers)),
    );
});

test('an upgrade is not a way in, and neither is a tunnel', async () => {
  const upgrade = `GET /api/v1/runs HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
  const h2c =
    'GET /api/v1/runs HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n';
  const closing = upgrade.replace('Connection: Upgrade', 'Connection: Upgrade, close');
  for (const request of [closing, h2c]) assert.equal((await rawExchange(port, request)).status, 401);
  const tunnel = await rawExchange(port, `CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: x\r\n\r\n`);
  assert(tunnel.status === 401 || tunnel.status === 405, tunnel.text);
});

test('a token in the URL is refused, valid or not, with and without a good header', async () => {
  const { bootstrapToken } = instance;
  const queries = ['access_token', 'token', 'bearer', 'api_key', 'auth', 'Authorization', 'anything'];
  for (const name of queries)
    for (const headers of [{}, { authorization: `Bearer ${bootstrapToken}` }] as Record<string, string>[]) {
      const { status, code } = await ask('GET', `/api/v1/runs?${name}=${bootstrapToken}`, headers);
      assert.deepEqual([status, code], [400, 'request.malformed'], name);
    }
  const logged = readFileSync(join(instance.home, 'logs', 'control.log'), 'utf8');
  assert(!logged.includes(bootstrapToken), 'no token is in the log');
});

test('what is not exactly one valid bearer token is refused, and says nothing about why', async () => {
  const { bootstrapToken: good } = instance;
  const credentials = [
    'Bearer',
    'Bearer ',
    `bearer${good}`,
    `Basic ${Buffer.from(`bootstrap:${good}`).toString('base64')}`,
    `Token ${good}`,
    good,
    `Bearer ${good} x`,
    `Bearer ${good},Bearer ${good}`,
    `Bearer ${good.slice(0, -1)}`,
    `Bearer ${good}a`,
    `Bearer ${good.toUpperCase()}`,
    `Bearer "${good}"`,
    `Bearer ${newTokenSecret()}`,
    `Bearer sw_${'0'.repeat(36)}`,
    `Bearer ${'a'.repeat(8000)}`,
    'Bearer null',
    'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyOmJvb3RzdHJhcCJ9.',
  ];
  const answers = new Set<string>();
  for (const authorization of credentials) {
    const { status, code, challenge } = await ask('GET', '/api/v1/runs', { authorization });
    assert.equal(status, 401, authorization.slice(0, 40));
    answers.add(`${code} ${challenge}`);
  }
  assert.equal(answers.size, 1, [...answers].join('; '));
  const twice = `GET /api/v1/runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${good}\r\nAuthorization: Bearer ${good}\r\n\r\n`;
  assert.equal((await rawExchange(port, twice)).status, 401, 'two headers are none');
  assert.equal((await ask('GET', '/api/v1/runs', { authorization: `BEARER  ${good}` })).status, 200);
});

test('a token stops working when it expires and when it is revoked, and one of fewer scopes is kept to them', async () => {
  const { client, url } = instance;
  const create = (more: { expiresInSeconds?: number }) =>
    client.tokens.create({ name: 'short', scopes: ['run:read'], ...more });
  const [short, revoked] = await Promise.all([create({ expiresInSeconds: 1 }), create({})]);
  const reads = ({ token }: { token: string }) =>
    ask('GET', '/api/v1/runs', { authorization: `Bearer ${token}` }).then(({ status }) => status);
  assert.deepEqual([await reads(short), await reads(revoked)], [200, 200]);
  await client.tokens.revoke(revoked.id);
  assert.equal(await reads(revoked), 401);
  const narrow = createClient({ url, token: (await create({})).token });
  await assert.rejects(narrow.sessions.list(), { status: 403, code: 'access.denied' });
  await assert.rejects(narrow.tokens.create({ name: 'more', scopes: ['run:write'] }), { status: 403 });
  while ((await reads(short)) === 200) await pause(50);
  assert.equal(await reads(short), 401);
  assert((await instance.client.runs.list()).items.length === 0, 'the bootstrap token still works');
});
