import assert from 'node:assert/strict';
import test from 'node:test';
import { openTestServer, type TestServer } from '../../tests/support/test-server.ts';
import * as schemas from '../contract/schemas.ts';

async function newSession(server: TestServer, body: object = {}) {
  return await server.call('POST', '/api/v1/sessions', { body });
}

test('a session is made, read, renamed, listed and closed', async (t) => {
  const server = await openTestServer(t);
  const made = await newSession(server, { name: 'work' });
  assert.equal(made.status, 201);
  const path = made.headers.get('location')!;
  assert.equal(path, `/api/v1/sessions/${made.body.id}`);
  assert.equal(made.headers.get('etag'), '"v1"');
  assert.deepEqual(schemas.session.parse(made.body), made.body);
  assert.deepEqual((await server.call('GET', path)).body, made.body);
  const renamed = await server.call('PATCH', path, {
    body: { name: 'play' },
    headers: { 'if-match': '"v1"' },
  });
  assert.equal(renamed.body.name, 'play');
  assert.equal(renamed.headers.get('etag'), '"v2"');
  assert.deepEqual((await server.call('GET', '/api/v1/sessions')).body, {
    items: [renamed.body],
    nextCursor: null,
  });
  const closed = await server.call('DELETE', path);
  assert.equal(closed.status, 202);
  assert.equal(closed.text, '');
});

test('an update needs the ETag that was read: 428 without, 412 with another', async (t) => {
  const server = await openTestServer(t);
  const session = await newSession(server);
  const run = await server.call('POST', '/api/v1/runs', {
    body: { session: session.body.id, command: ['x'] },
  });
  for (const path of [`/api/v1/sessions/${session.body.id}`, `/api/v1/runs/${run.body.id}`]) {
    const patch = async (headers: Record<string, string>) =>
      (await server.call('PATCH', path, { body: { name: 'n' }, headers })).status;
    assert.equal(await patch({}), 428);
    for (const tag of ['"v2"', '*', 'v1', '"v1", "v2"', 'W/"v1"', '"x"'])
      assert.equal(await patch({ 'if-match': tag }), 412, tag);
    assert.equal(await patch({ 'if-match': '"v1"' }), 200);
    assert.equal(await patch({ 'if-match': '"v1"' }), 412, 'once');
  }
});

test('a read of what the caller has is answered 304', async (t) => {
  const server = await openTestServer(t);
  const session = await newSession(server);
  const path = `/api/v1/sessions/${session.body.id}`;
  const again = await server.call('GET', path, { headers: { 'if-none-match': '"v0", W/"v1"' } });
  assert.equal(again.status, 304);
  assert.equal(again.headers.get('etag'), '"v1"');
  assert.equal((await server.call('GET', path, { headers: { 'if-none-match': '"v2"' } })).status, 200);
});

test('a creation with a key is made once, and a key that is none is refused', async (t) => {
  const server = await openTestServer(t);
  const make = (key: string) =>
    server.call('POST', '/api/v1/sessions', { body: {}, headers: { 'idempotency-key': key } });
  assert.equal((await make('k1')).body.id, (await make('k1')).body.id);
  for (const key of ['a b', 'x'.repeat(256), 'ü'.normalize()])
    assert.equal((await make(key)).status, 400, key);
});

test('every field that does not fit is named, with where it stands', async (t) => {
  const server = await openTestServer(t);
  const answer = await server.call('POST', '/api/v1/runs', {
    body: {
      session: 'ses_x',
      command: [],
      limits: { cpus: 0, magic: 1 },
      env: { 'A=B': 'x', OK: 'a\0b' },
      extra: 1,
    },
  });
  assert.equal(answer.status, 400);
  assert.equal(answer.body.code, 'request.invalid');
  assert.equal(answer.body.in, 'body');
  assert.deepEqual(answer.body.errors.map(({ path }: { path: string }) => path).sort(), [
    '/command',
    '/env/A=B',
    '/env/OK',
    '/extra',
    '/limits/cpus',
    '/limits/magic',
    '/session',
  ]);
  const query = await server.call('GET', '/api/v1/runs?limit=0&nope=1&limit=2');
  assert.equal(query.body.in, 'query');
  assert.deepEqual(
    query.body.errors.map(({ path }: { path: string }) => path),
    ['/limit', '/nope'],
  );
  for (const path of [
    '/api/v1/runs?limit=201',
    '/api/v1/runs?limit=abc',
    '/api/v1/runs?phase=odd',
    '/healthz?x=1',
  ])
    assert.equal((await server.call('GET', path)).status, 400, path);
  const session = await newSession(server);
  const stray = await server.call('DELETE', `/api/v1/sessions/${session.body.id}`, { body: { force: true } });
  assert.equal(stray.status, 400, 'a body where none belongs');
});

test('lists are pages', async (t) => {
  const server = await openTestServer(t);
  for (let count = 0; count < 5; count++) await newSession(server);
  const first = await server.call('GET', '/api/v1/sessions?limit=3');
  assert.equal(first.body.items.length, 3);
  const second = await server.call('GET', `/api/v1/sessions?limit=3&cursor=${first.body.nextCursor}`);
  assert.equal(second.body.items.length, 2);
  assert.equal(second.body.nextCursor, null);
});

test('a run is made, stopped, resumed and removed', async (t) => {
  const server = await openTestServer(t);
  const session = await newSession(server);
  const made = await server.call('POST', '/api/v1/runs', {
    body: { session: session.body.id, command: ['make'], timeoutSeconds: 5 },
  });
  assert.equal(made.status, 201);
  assert.equal(made.body.phase, 'queued');
  const path = made.headers.get('location')!;
  assert.equal((await server.call('DELETE', path)).status, 409);
  const stopped = await server.call('POST', `${path}/stop`);
  assert.equal(stopped.status, 200);
  assert.equal(stopped.body.phase, 'cancelled');
  assert.equal((await server.call('POST', `${path}/stop`)).body.phase, 'cancelled');
  const resumed = await server.call('POST', `${path}/resume`);
  assert.equal(resumed.status, 201);
  assert.equal(resumed.body.parent, made.body.id);
  assert.deepEqual((await server.call('POST', `${path}/resume`, { body: { command: ['y'] } })).body.command, [
    'y',
  ]);
  assert.equal((await server.call('DELETE', path)).status, 204);
});

test('artifacts come whole, as downloads that no browser runs, and a missing diff says why', async (t) => {
  const server = await openTestServer(t);
  const session = await newSession(server);
  const run = await server.call('POST', '/api/v1/runs', {
    body: { session: session.body.id, command: ['x'] },
  });
  const path = `/api/v1/runs/${run.body.id}`;
  const early = await server.call('GET', `${path}/diff`);
  assert.equal(early.status, 404);
  assert.match(early.body.detail, /has not finished/);
  const bytes = Buffer.alloc(300_000, 'diff --git\n');
  server.control.artifacts
    .set('diff', bytes)
    .set('page.html', Buffer.from('<script>'))
    .set('short', Buffer.from('a'));
  const info = (name: string, mediaType: string, size: number) => ({
    name,
    mediaType,
    bytes: size,
    sha256: '',
  });
  server.control.finish(run.body.id, {
    artifacts: [
      info('diff', 'text/x-diff', bytes.length),
      info('page.html', 'text/html', 8),
      info('short', 'application/octet-stream', 10),
    ],
  });
  const diff = await server.call('GET', `${path}/diff`);
  assert.equal(diff.headers.get('content-type'), 'text/x-diff');
  assert.equal(diff.headers.get('content-length'), String(bytes.length));
  assert.equal(diff.text, bytes.toString());
  assert.equal((await server.call('GET', `${path}/artifacts`)).body.items.length, 3);
  const page = await server.call('GET', `${path}/artifacts/page.html`);
  assert.equal(page.headers.get('content-type'), 'application/octet-stream');
  assert.equal(page.headers.get('content-disposition'), 'attachment; filename="page.html"');
  await assert.rejects(server.call('GET', `${path}/artifacts/short`), 'fewer bytes than promised');
  for (const name of ['none', '..%2f..%2fetc%2fpasswd', '%00', '.hidden', 'a%0d%0ab'])
    assert((await server.call('GET', `${path}/artifacts/${name}`)).status >= 400, name);
});

test('readiness tells which check fails, health does not ask', async (t) => {
  const server = await openTestServer(t);
  assert.equal((await server.call('GET', '/readyz', { token: null })).status, 200);
  server.control.ready = {
    ready: false,
    checks: {
      store: { ok: true },
      audit: { ok: false, detail: 'no space' },
      access: { ok: true },
      runner: { ok: true },
      flags: { ok: true },
      witnesses: { ok: true },
    },
  };
  const answer = await server.call('GET', '/readyz', { token: null });
  assert.equal(answer.status, 503);
  assert.equal(answer.body.checks.audit.detail, 'no space');
  assert.equal((await server.call('GET', '/healthz', { token: null })).body.status, 'ok');
});

test('metrics need cluster:read and hold no URL', async (t) => {
  const server = await openTestServer(t);
  server.control.actors.set('reader', { id: 'user:r', scopes: new Set(['run:read']), reach: 'own' });
  const denied = await server.call('GET', '/metrics', { token: 'reader' });
  assert.equal(denied.status, 403);
  assert.equal(denied.body.required, 'cluster:read');
  await server.call('GET', '/api/v1/runs?name=needle');
  const { text, headers } = await server.call('GET', '/metrics');
  assert.match(headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  assert.match(
    text,
    /sealwright_http_request_seconds_count\{method="GET",route="\/api\/v1\/runs",status="2xx"\} 1/,
  );
  assert.match(text, /sealwright_fake 1/);
  assert.doesNotMatch(text, /needle/);
});

test('audit events need audit:read', async (t) => {
  const server = await openTestServer(t);
  assert.equal((await server.call('GET', '/api/v1/audit/events?outcome=denied')).status, 200);
  server.control.actors.set('reader', { id: 'user:r', scopes: new Set(['run:read']), reach: 'own' });
  assert.equal((await server.call('GET', '/api/v1/audit/events', { token: 'reader' })).status, 403);
});
