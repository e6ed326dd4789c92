import assert from 'node:assert/strict';
import test from 'node:test';
import { openTestServer } from '../../../tests/support/test-server.ts';
import * as schemas from '../../contract/schemas.ts';
import { newId } from '../../model/ids.ts';
import type { Scope } from '../../model/scopes.ts';

const path = '/api/v1/policies/web';
const document = { rules: [{ host: 'example.com' }] };

test('a policy is made, read, replaced, listed and removed, and its history stays', async (t) => {
  const server = await openTestServer(t);
  const made = await server.call('PUT', path, { body: { document, reason: 'why' } });
  assert.equal(made.status, 200);
  assert.equal(made.headers.get('etag'), '"v1"');
  assert.deepEqual(schemas.policy.parse(made.body), made.body);
  assert.deepEqual((await server.call('GET', path)).body, made.body);
  const replaced = await server.call('PUT', path, {
    body: { document: { rules: [] } },
    headers: { 'if-match': '"v1"' },
  });
  assert.deepEqual([replaced.status, replaced.headers.get('etag')], [200, '"v2"']);
  assert.deepEqual((await server.call('GET', `${path}?generation=1`)).body.document, document);
  const { body } = await server.call('GET', '/api/v1/policies');
  assert.deepEqual(
    body.items.map(({ name, generation }: schemas.PolicySummaryView) => [name, generation]),
    [['web', 2]],
  );
  const removed = await server.call('DELETE', path);
  assert.deepEqual([removed.status, removed.text], [204, '']);
  assert.equal((await server.call('DELETE', path)).status, 404);
  const history = await server.call('GET', `${path}/history?limit=2`);
  assert.deepEqual(
    history.body.items.map(({ removed }: schemas.PolicySummaryView) => removed),
    [true, false],
  );
  assert.notEqual(history.body.nextCursor, null);
  const presets = await server.call('GET', '/api/v1/presets');
  assert.equal(presets.body.items[0].name, 'npm');
});

test('a policy is replaced with the ETag that was read: 428 without, 412 with another', async (t) => {
  const server = await openTestServer(t);
  const put = async (headers: Record<string, string> = {}) =>
    (await server.call('PUT', path, { body: { document }, headers })).status;
  assert.equal(await put({ 'if-match': '"v1"' }), 412, 'there is none');
  assert.equal(await put(), 200);
  assert.equal(await put(), 428);
  for (const tag of ['*', '"v2"', 'W/"v1"', '"x"']) assert.equal(await put({ 'if-match': tag }), 412, tag);
  assert.equal(await put({ 'if-match': '"v1"' }), 200);
  const again = await server.call('GET', path, { headers: { 'if-none-match': '"v2"' } });
  assert.equal(again.status, 304);
});

test('every place of a document that does not fit is named', async (t) => {
  const server = await openTestServer(t);
  const rules = [
    { preset: 'nowhere' },
    { host: 'a.example', secret: 'x' },
    { host: 'b.example', ports: [0] },
  ];
  const answer = await server.call('PUT', path, { body: { document: { rules }, more: 1 } });
  assert.equal(answer.status, 400);
  assert.deepEqual(
    answer.body.errors.map((error: { path: string }) => error.path),
    ['/document/rules/0/preset', '/document/rules/1/secret', '/document/rules/2/ports/0', '/more'],
  );
  for (const name of ['npm', 'full', 'none', 'Web', '..', 'a b', 'x'.repeat(64), '%00'])
    for (const method of ['PUT', 'GET', 'DELETE']) {
      const body = method === 'PUT' ? { document } : undefined;
      const url = `/api/v1/policies/${name === '%00' ? name : encodeURIComponent(name)}`;
      const { status } = await server.call(method, url, body === undefined ? {} : { body });
      assert([400, 404, 405].includes(status), `${method} ${url}: ${status}`);
    }
  for (const reason of ['', ' x', 'x\n', 'x'.repeat(501)])
    assert.equal((await server.call('PUT', path, { body: { document, reason } })).status, 400);
});

test('policies answer nobody, read for policy:read and change for policy:write', async (t) => {
  const server = await openTestServer(t);
  const token = (name: string, ...scopes: Scope[]) =>
    server.control.actors.set(name, { id: `user:${name}`, scopes: new Set(scopes), reach: 'own' });
  token('stranger', 'run:read');
  token('reader', 'policy:read');
  token('writer', 'policy:write', 'policy:read');
  const reads = [path, '/api/v1/policies', `${path}/history`, '/api/v1/presets'];
  const statusOf = async (method: string, url: string, bearer: string | null) =>
    (await server.call(method, url, { token: bearer, ...(method === 'PUT' ? { body: { document } } : {}) }))
      .status;
  for (const url of reads) assert.equal(await statusOf('GET', url, null), 401);
  for (const method of ['PUT', 'DELETE']) {
    assert.equal(await statusOf(method, path, null), 401);
    assert.equal(await statusOf(method, path, 'stranger'), 403);
    assert.equal(await statusOf(method, path, 'reader'), 403);
  }
  assert.equal(await statusOf('PUT', path, 'writer'), 200);
  for (const url of reads) {
    assert.equal(await statusOf('GET', url, 'stranger'), 403, url);
    assert.equal(await statusOf('GET', url, 'reader'), 200, url);
  }
  assert.equal(await statusOf('DELETE', path, 'writer'), 204);
});

const simulations = '/api/v1/egress/simulations';

test('a simulation answers by its schema, and bad input names its place', async (t) => {
  const server = await openTestServer(t);
  const simulate = (body: object) => server.call('POST', simulations, { body });
  const policies = [{ name: 'npm' }, { document: { ...document, limits: { connections: 1 } } }];
  const answer = await simulate({ policies });
  assert.equal(answer.status, 200);
  assert.deepEqual(schemas.egressSimulation.parse(answer.body), answer.body);
  for (const since of ['30m', '12h', '7d', '2026-01-31T12:00:00Z'])
    assert.equal((await simulate({ policies, since })).status, 200, since);
  const bad: readonly (readonly [object, string])[] = [
    [{}, '/policies'],
    [{ policies: [] }, '/policies'],
    [{ policies: [{}] }, '/policies/0'],
    [{ policies: [{ name: 'npm', document }] }, '/policies/0'],
    [{ policies: [{ name: 'Npm' }] }, '/policies/0/name'],
    [
      { policies: [{ document: { rules: [{ host: 'a.b', ports: [0] }] } }] },
      '/policies/0/document/rules/0/ports/0',
    ],
    [{ policies: Array(33).fill({ name: 'npm' }) }, '/policies'],
    ...['', '7', '7y', '-1d', '1e3d', '1000000000d', 'yesterday', '2026-02-30T00:00:00Z', 7].map(
      (since) => [{ policies, since }, '/since'] as const,
    ),
    [{ policies, run: 'x' }, '/run'],
    [{ policies, run: newId('run', 1), session: newId('session', 1) }, '/session'],
    [{ policies, more: 1 }, '/more'],
  ];
  for (const [body, path] of bad) {
    const { status, body: problem } = await simulate(body);
    assert.deepEqual([status, problem.errors?.[0]?.path], [400, path], JSON.stringify(body));
  }
});

test('a simulation is for who may read runs', async (t) => {
  const server = await openTestServer(t);
  const { actors } = server.control;
  actors.set('reader', { id: 'user:r', scopes: new Set(['run:read']), reach: 'own' });
  actors.set('other', { id: 'user:o', scopes: new Set(['policy:read', 'run:write']), reach: 'all' });
  const body = { policies: [{ name: 'npm' }] };
  for (const [token, status] of [
    [null, 401],
    ['other', 403],
    ['reader', 200],
  ] as const)
    assert.equal((await server.call('POST', simulations, { token, body })).status, status);
});
