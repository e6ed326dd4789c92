import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import test from 'node:test';
import { answersAtOnce, openRoutes } from '../../tests/support/open-routes.ts';
import { rawExchange } from '../../tests/support/raw-http.ts';
import { openTestServer } from '../../tests/support/test-server.ts';
import type { Actor } from '../model/actor.ts';
import { newId } from '../model/ids.ts';

const filled = (url: string) => url.replace(':id', newId('run', 1)).replace(':name', 'diff');

test('every route but the open ones answers 401 to nobody, and the open ones answer', async (t) => {
  const server = await openTestServer(t);
  const open: string[] = [];
  for (const { method, url, open: isOpen } of server.routes) {
    const answer = await server.call(method, filled(url), { token: null });
    const route = `${method} ${url.replaceAll(/:(\w+)/g, '{$1}')}`;
    if (isOpen) open.push(route);
    if (answersAtOnce(route)) assert.equal(answer.status, 200, `${method} ${url}`);
    else if (isOpen) assert.notEqual(answer.body?.code, 'auth.missing', `${method} ${url}`);
    if (isOpen) continue;
    assert.equal(answer.status, 401, `${method} ${url}`);
    assert.equal(answer.headers.get('www-authenticate'), 'Bearer realm="sealwright"');
    if (method !== 'HEAD') assert.equal(answer.body.code, 'auth.missing');
  }
  assert.deepEqual(open.sort(), openRoutes);
  assert(server.routes.length > 25);
});

test('no spelling of a path goes around authentication', async (t) => {
  const server = await openTestServer(t);
  const paths = [
    '//api/v1/runs',
    '/api//v1/runs',
    '/api/v1/runs/',
    '/API/v1/runs',
    '/api/v1/../v1/runs',
    '/healthz/../api/v1/runs',
    '/api%2fv1%2fruns',
    '/api/v1%2Fruns',
    '/%61pi/v1/runs',
    '/api/v1/runs%00',
    '/api/v1/runs/%zz',
    '/api/v1/runs/%ff',
    '/api/v1/runs;a=b',
    '/api/v1/runs?',
    '/api/v1/./runs',
    '/api/v1',
    '/api/v1/',
    '/api/v2/runs',
    '/',
    '*',
    'http://127.0.0.1/api/v1/runs',
    'http://127.0.0.1/api/v1/openapi.json/',
    `/api/v1/runs/${'a'.repeat(3000)}`,
    '/api/v1/openapi.json/',
    '/api/v1/openapi.json%2f',
    '/healthz/',
    '/metrics',
  ];
  for (const method of ['GET', 'POST', 'OPTIONS', 'PROPFIND', 'TRACE'])
    for (const path of paths) {
      const answer = await rawExchange(
        server.port,
        `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
      );
      assert.equal(answer.status, 401, `${method} ${path}: ${answer.text}`);
      assert.equal(JSON.parse(answer.body).code, 'auth.missing');
    }
  const control = await rawExchange(
    server.port,
    'GET /api/v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: bearer owner-token\r\nConnection: close\r\n\r\n',
  );
  assert.equal(control.status, 200, 'the positive control is let in');
});

test('credentials that are not one bearer token are refused', async (t) => {
  const server = await openTestServer(t);
  const headers = [
    'Bearer wrong',
    'Bearer',
    'Bearer ',
    'Basic b3duZXItdG9rZW46',
    'owner-token',
    'Bearer owner-token extra',
    'Bearer owner-token, Bearer owner-token',
    `Bearer ${'a'.repeat(600)}`,
  ];
  for (const authorization of headers) {
    const answer = await server.call('GET', '/api/v1/runs', { token: null, headers: { authorization } });
    assert.equal(answer.status, 401, authorization);
    assert.equal(answer.body.code, 'auth.invalid');
    assert.match(answer.headers.get('www-authenticate') ?? '', /invalid_token/);
    assert.doesNotMatch(answer.text, /owner-token/);
  }
  const twice = await rawExchange(
    server.port,
    'GET /api/v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer owner-token\r\nAuthorization: Bearer other\r\nConnection: close\r\n\r\n',
  );
  assert.equal(twice.status, 401, 'two Authorization headers are none');
});

test('a token in the URL is refused with and without a good header, and is not logged', async (t) => {
  const server = await openTestServer(t);
  const ours = `sw_${'a'.repeat(36)}`;
  for (const query of [
    'access_token=owner-token',
    'token=owner-token',
    'a=1&api%5fkey=owner-token',
    `x=${ours}`,
  ])
    for (const token of [null, 'owner-token']) {
      const answer = await server.call('GET', `/api/v1/runs?${query}`, { token });
      assert.equal(answer.status, 400, query);
      assert.equal(answer.body.code, 'request.malformed');
    }
  assert.equal((await server.call('GET', `/api/v1/runs/${ours}`)).status, 400);
  for (const kind of ['b', 'r', 's', 'i', 't'])
    assert.equal(
      (await server.call('GET', `/api/v1/runs?name=sw${kind}_${'a'.repeat(36)}`)).status,
      400,
      kind,
    );
  assert.doesNotMatch(JSON.stringify(server.log), /owner-token|sw_aaa/);
});

test('a revoked token stops working with the next request', async (t) => {
  const server = await openTestServer(t);
  const made = await server.call('POST', '/api/v1/tokens', { body: { name: 'ci', scopes: ['run:read'] } });
  const { token, id } = made.body;
  assert.equal((await server.call('GET', '/api/v1/runs', { token })).status, 200);
  assert.equal((await server.call('DELETE', `/api/v1/tokens/${id}`)).status, 204);
  assert.equal((await server.call('GET', '/api/v1/runs', { token })).status, 401);
});

test('foreign and absent resources answer alike, whatever the method', async (t) => {
  const server = await openTestServer(t);
  const session = await server.call('POST', '/api/v1/sessions', { body: {} });
  const stranger: Actor = {
    id: 'user:stranger',
    scopes: new Set(['session:read', 'session:write', 'run:read', 'run:write']),
    reach: 'own',
  };
  server.control.actors.set('stranger-token', stranger);
  const run = await server.call('POST', '/api/v1/runs', {
    body: { session: session.body.id, command: ['x'] },
  });
  const routes = server.routes.filter(({ url }) => url.startsWith('/api/v1/runs/:id'));
  assert(routes.length >= 9);
  const bodies: Readonly<Record<string, object>> = {
    renameRun: { name: 'n' },
    createExec: { command: ['x'] },
    createPortForward: { port: 80 },
  };
  for (const { method, url, operationId } of routes) {
    const ask = async (id: string) => {
      const body = bodies[operationId];
      const headers = { 'if-match': '"v1"' };
      const answer = await server.call(method, url.replace(':id', id).replace(':name', 'diff'), {
        token: 'stranger-token',
        headers,
        body,
      });
      return { status: answer.status, body: { ...answer.body, requestId: '' } };
    };
    const foreign = await ask(run.body.id);
    assert.deepEqual(foreign, await ask(newId('run', 1)), `${method} ${url}`);
    assert.equal(foreign.status, 404);
    const wrongKind = await ask(newId('session', 1));
    assert.equal(wrongKind.status, 404);
  }
});

test('failed sign-ins of an address are slowed, and tokens that are good work from it all the same', async (t) => {
  const server = await openTestServer(t, {
    rateLimits: { default: 1e6, signIn: 3, write: 1e6, admin: 1e6 },
  });
  const statuses: number[] = [];
  for (let attempt = 0; attempt < 5; attempt++)
    statuses.push((await server.call('GET', '/api/v1/runs', { token: `guess-${attempt}` })).status);
  assert.deepEqual(statuses, [401, 401, 401, 429, 429]);
  assert.equal((await server.call('GET', '/api/v1/runs')).status, 200);
});

test('an actor past its rate gets 429 with Retry-After, and another actor does not', async (t) => {
  const server = await openTestServer(t, {
    rateLimits: { default: 4, signIn: 1e6, write: 2, admin: 1 },
  });
  server.control.actors.set('other-token', { id: 'user:other', scopes: new Set(['*']), reach: 'own' });
  const make = (token: string) => server.call('POST', '/api/v1/sessions', { body: {}, token });
  assert.deepEqual([(await make('owner-token')).status, (await make('owner-token')).status], [201, 201]);
  const refused = await make('owner-token');
  assert.equal(refused.status, 429);
  assert.equal(refused.body.code, 'rate.exceeded');
  const wait = Number(refused.headers.get('retry-after'));
  assert(wait >= 1 && wait <= 60);
  assert.equal((await make('other-token')).status, 201);
  assert.equal((await server.call('GET', '/api/v1/runs')).status, 200, 'reads are counted by themselves');
  assert.equal((await server.call('GET', '/api/v1/tokens')).status, 200);
  assert.equal((await server.call('GET', '/api/v1/tokens')).status, 429);
  for (let count = 0; count < 4; count++) await server.call('GET', '/api/v1/runs', { token: null });
  assert.equal(
    (await server.call('GET', '/api/v1/runs', { token: null })).status,
    429,
    'nobody is counted too',
  );
});

/** The status of a request on the machine's own socket. */
function askLocally(socketPath: string, path: string, headers: Record<string, string> = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    httpRequest({ socketPath, path, headers, agent: false }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode ?? 0));
    })
      .once('error', reject)
      .end();
  });
}

test('on the machine’s own socket the caller is its owner, and only its user can open it', async (t) => {
  const { socketPath } = await openTestServer(t);
  assert.equal(statSync(socketPath).mode & 0o777, 0o600);
  assert.equal(await askLocally(socketPath, '/api/v1/tokens'), 200);
  assert.equal(
    await askLocally(socketPath, '/api/v1/tokens', { authorization: 'Bearer wrong' }),
    401,
    'a token that is given is the one that counts',
  );
});

test('the owner of the machine may probe its own socket as often as it likes, others may not', async (t) => {
  const server = await openTestServer(t, {
    rateLimits: { default: 2, signIn: 1e6, write: 1e6, admin: 1e6 },
  });
  for (let probe = 0; probe < 5; probe++) assert.equal(await askLocally(server.socketPath, '/healthz'), 200);
  const statuses: number[] = [];
  for (let probe = 0; probe < 3; probe++)
    statuses.push((await server.call('GET', '/healthz', { token: null })).status);
  assert.deepEqual(statuses, [200, 200, 429]);
});

test('a change that a page of another origin asks for is refused', async (t) => {
  const server = await openTestServer(t);
  const make = (headers: Record<string, string>) =>
    server.call('POST', '/api/v1/sessions', { body: {}, headers });
  assert.equal((await make({ origin: 'http://evil.example' })).status, 403);
  assert.equal((await make({ origin: 'null' })).status, 403);
  assert.equal((await make({ 'sec-fetch-site': 'cross-site' })).status, 403);
  assert.equal((await make({ origin: server.address })).status, 201);
  const read = await server.call('GET', '/api/v1/sessions', { headers: { origin: 'http://evil.example' } });
  assert.equal(read.status, 200);
  assert.equal([...read.headers.keys()].filter((name) => name.startsWith('access-control')).length, 0);
});
