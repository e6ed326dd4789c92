import assert from 'node:assert/strict';
import test from 'node:test';
import { openTestServer } from '../../../tests/support/test-server.ts';
import * as schemas from '../../contract/schemas.ts';
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
