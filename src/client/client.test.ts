import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { openTestServer, type TestServer } from '../../tests/support/test-server.ts';
import type { EgressFlowView } from '../contract/schemas.ts';
import { ApiError } from './api-error.ts';
import { type Client, createClient } from './client.ts';
import type { LogEvent } from './log-events.ts';

function clientOf(
  t: TestContext,
  server: Pick<TestServer, 'address'>,
  token: string | null = 'owner-token',
): Client {
  const client = createClient({ url: server.address, ...(token === null ? {} : { token }) });
  t.after(() => client.close());
  return client;
}

/** A server that answers what the test says, for what the real one never does. */
async function openStub(t: TestContext, listener: RequestListener): Promise<{ address: string }> {
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function failure(promise: Promise<unknown>): Promise<ApiError> {
  const error = await promise.then(
    () => assert.fail('it was expected to fail'),
    (reason: unknown) => reason,
  );
  assert(error instanceof ApiError, String(error));
  return error;
}

test('a session and its runs are made, read, renamed, stopped, resumed and removed', async (t) => {
  const server = await openTestServer(t);
  const client = clientOf(t, server);
  const session = await client.sessions.create({ name: 'work' });
  assert.deepEqual(await client.sessions.get(session.id), session);
  assert.equal((await client.sessions.rename(session.id, 'play')).name, 'play');
  assert.equal((await client.sessions.rename(session.id, 'again')).name, 'again');
  const run = await client.runs.create({ session: session.id, command: ['true'] });
  assert.equal((await client.runs.rename(run.id, 'first')).name, 'first');
  assert.equal((await client.runs.wait(run.id, { timeoutSeconds: 0 })).phase, 'queued');
  assert.equal((await client.runs.stop(run.id)).phase, 'cancelled');
  assert.equal((await client.runs.resume(run.id)).parent, run.id);
  await client.runs.remove(run.id);
  assert.equal((await failure(client.runs.get(run.id))).code, 'resource.absent');
  await client.sessions.close(session.id);
  const key = { idempotencyKey: 'k' };
  assert.equal((await client.sessions.create({}, key)).id, (await client.sessions.create({}, key)).id);
});

test('an iterator gives every item of every page', async (t) => {
  const server = await openTestServer(t);
  const client = clientOf(t, server);
  for (let count = 0; count < 5; count++) await client.sessions.create({ name: `s${count}` });
  const names: (string | null)[] = [];
  for await (const { name } of client.sessions.all({ limit: 2 })) names.push(name);
  assert.deepEqual(names, ['s0', 's1', 's2', 's3', 's4']);
});

test('policies are put whatever they were before, read, listed and removed', async (t) => {
  const server = await openTestServer(t);
  const { policies, runs, sessions } = clientOf(t, server);
  const document = { rules: [{ host: 'example.com' }] };
  assert.equal((await policies.put('web', { document })).generation, 1);
  assert.equal((await policies.put('web', { document: { rules: [] }, reason: 'why' })).generation, 2);
  assert.deepEqual((await policies.get('web', { generation: 1 })).document, document);
  const names: string[] = [];
  for await (const { name } of policies.all()) names.push(name);
  assert.deepEqual(names, ['web']);
  await policies.remove('web');
  assert.equal((await failure(policies.get('web'))).code, 'resource.absent');
  assert.equal((await policies.history('web')).items.length, 3);
  assert.equal((await policies.put('web', { document })).generation, 4);
  assert.equal((await policies.presets()).items.length, 1);
  const session = await sessions.create({});
  const run = await runs.create({ session: session.id, command: ['x'], egress: ['web'] });
  assert.deepEqual(await runs.egress(run.id, { verdict: 'denied' }), {
    ...{ items: [], nextCursor: null, counts: null },
  });
});

test('tokens, audit, health and readiness answer', async (t) => {
  const server = await openTestServer(t);
  const client = clientOf(t, server);
  const made = await client.tokens.create({ name: 'ci', scopes: ['run:read'] });
  assert.equal((await client.tokens.list()).items.length, 1);
  await clientOf(t, server, made.token).runs.list();
  await client.tokens.revoke(made.id);
  assert.equal((await client.audit.list()).items.length, 1);
  assert.equal((await client.health()).status, 'ok');
  server.control.ready = { ready: false, checks: { ...server.control.ready.checks, store: { ok: false } } };
  assert.equal((await client.readiness()).ready, false);
});

test('over the machine’s own socket no token is needed', async (t) => {
  const server = await openTestServer(t);
  const client = createClient({ url: 'http://localhost', socketPath: server.socketPath });
  t.after(() => client.close());
  assert.deepEqual((await client.tokens.list()).items, []);
});

test('a failure says what the server said', async (t) => {
  const server = await openTestServer(t);
  const client = clientOf(t, server);
  const invalid = await failure(client.sessions.create({ name: '', odd: 1 } as never));
  assert.equal(invalid.status, 400);
  assert.equal(invalid.code, 'request.invalid');
  assert.deepEqual(invalid.errors.map(({ path }) => path).sort(), ['/name', '/odd']);
  assert.match(invalid.requestId ?? '', /^req_/);
  assert.equal((await failure(clientOf(t, server, 'wrong').runs.list())).code, 'auth.invalid');
  assert.equal((await failure(client.runs.get('../../healthz'))).code, 'resource.absent');
  assert.equal((await failure(client.runs.get('..'))).code, 'resource.absent');
});

test('a server that is not there says so, and what to do', async (t) => {
  const stub = await openStub(t, () => undefined);
  const port = Number(new URL(stub.address).port);
  const gone = createClient({ url: `http://127.0.0.1:${port === 1 ? 2 : 1}` });
  const error = await failure(gone.health());
  assert.equal(error.code, 'server.unreachable');
  assert.equal(error.status, 0);
  assert.match(error.detail, /npm start/);
  const socket = await failure(
    createClient({ url: 'http://x', socketPath: '/nonexistent/api.sock' }).health(),
  );
  assert.match(socket.detail, /npm start/);
});

test('what is no Sealwright is told from one', async (t) => {
  const stub = await openStub(t, ({ url }, response) => {
    response.writeHead(url === '/healthz' ? 200 : 502, { 'content-type': 'text/html' }).end('<html>');
  });
  const client = clientOf(t, stub);
  assert.equal((await failure(client.health())).code, 'server.unintelligible');
  const proxy = await failure(client.runs.list());
  assert.equal(proxy.code, 'server.unintelligible');
  assert.equal(proxy.status, 502);
});

test('an answer that breaks off is a failure, never a shorter answer', async (t) => {
  const stub = await openStub(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 });
    response.write('{"items":[],');
    response.socket?.end();
  });
  assert.equal((await failure(clientOf(t, stub).runs.list())).code, 'server.unreachable');
});

test('an upload streams, and an abort leaves nothing', async (t) => {
  const server = await openTestServer(t);
  const client = clientOf(t, server);
  async function* bytes(count: number): AsyncGenerator<Uint8Array> {
    for (let index = 0; index < count; index++) yield Buffer.alloc(100_000, index);
  }
  const stored = await client.uploads.store(bytes(30));
  assert.equal(stored.bytes, 3_000_000);
  await client.uploads.remove(stored.id);
  const stop = new AbortController();
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (let index = 0; ; index++) {
      if (index === 5) stop.abort(new Error('enough'));
      yield Buffer.alloc(1000);
    }
  }
  await assert.rejects(client.uploads.store(endless(), { signal: stop.signal }), /enough/);
  assert.equal(server.control.uploads.kept.size, 0);
});

test('an upload that is refused early says why', async (t) => {
  const server = await openTestServer(t, { limits: { uploadBytesMax: 100_000 } });
  async function* bytes(): AsyncGenerator<Uint8Array> {
    for (let index = 0; index < 200; index++) yield Buffer.alloc(50_000);
  }
  assert.equal((await failure(clientOf(t, server).uploads.store(bytes()))).code, 'request.too-large');
  assert.equal((await failure(clientOf(t, server, 'wrong').uploads.store(bytes()))).code, 'auth.invalid');
});

test('a diff comes as a stream with its size', async (t) => {
  const server = await openTestServer(t);
  const client = clientOf(t, server);
  const session = await client.sessions.create({});
  const run = await client.runs.create({ session: session.id, command: ['x'] });
  server.control.artifacts.set('diff', Buffer.from('patch'));
  server.control.finish(run.id, {
    artifacts: [{ name: 'diff', mediaType: 'text/x-diff', bytes: 5, sha256: '' }],
  });
  const diff = await client.runs.diff(run.id);
  assert.equal(diff.bytes, 5);
  assert.equal(diff.mediaType, 'text/x-diff');
  let text = '';
  for await (const chunk of diff.body) text += Buffer.from(chunk).toString();
  assert.equal(text, 'patch');
});

test('a log is followed to its end, any bytes preserved', async (t) => {
  const server = await openTestServer(t);
  const client = clientOf(t, server);
  const session = await client.sessions.create({});
  const run = await client.runs.create({ session: session.id, command: ['x'] });
  const log = server.control.logsOf(run.id);
  log.append('stdout', 'a\r\nb\n\n');
  log.append('stderr', Buffer.from([0, 255, 10]));
  log.append('dropped', '{"droppedBytes":5}');
  const seen: LogEvent[] = [];
  for await (const event of client.runs.logs(run.id)) {
    seen.push(event);
    if (event.event === 'dropped') server.control.finish(run.id);
  }
  const [first, second, third, last] = seen;
  assert(first?.event === 'stdout' && first.bytes.toString() === 'a\r\nb\n\n');
  assert(second?.event === 'stderr' && second.bytes.equals(Buffer.from([0, 255, 10])));
  assert(third?.event === 'dropped' && third.droppedBytes === 5);
  assert(last?.event === 'end' && last.end.phase === 'succeeded');
});

test('a log that breaks off goes on after the last event, missing nothing and giving nothing twice', async (t) => {
  const server = await openTestServer(t);
  const real = new URL(server.address);
  // Cuts every connection after the first bytes of each answer's events.
  let opened = 0;
  const stub = await openStub(t, async (request, response) => {
    opened += 1;
    const answer = await fetch(real.origin + request.url!, { headers: { ...request.headers } as never });
    const text = await answer.text();
    response.writeHead(answer.status, { 'content-type': 'text/event-stream' });
    const firstEvent = text.indexOf('\n\n', text.indexOf('id: ')) + 2;
    response.write(opened < 4 ? text.slice(0, firstEvent + 8) : text, () => response.destroy());
  });
  const client = clientOf(t, server);
  const session = await client.sessions.create({});
  const run = await client.runs.create({ session: session.id, command: ['x'] });
  const log = server.control.logsOf(run.id);
  for (const text of ['a', 'b', 'c', 'd', 'e']) log.append('stdout', text);
  server.control.finish(run.id);
  let text = '';
  let end: string | null = null;
  for await (const event of clientOf(t, stub).runs.logs(run.id)) {
    if (event.event === 'stdout') text += event.bytes.toString();
    if (event.event === 'end') end = event.end.phase;
  }
  assert.equal(text, 'abcde');
  assert.equal(end, 'succeeded');
  assert.equal(opened, 4);
});

test('flows that break off go on after the last one, missing nothing and giving nothing twice', async (t) => {
  const server = await openTestServer(t);
  const real = new URL(server.address);
  let opened = 0;
  const stub = await openStub(t, async (request, response) => {
    opened += 1;
    const answer = await fetch(real.origin + request.url!, { headers: { ...request.headers } as never });
    const text = await answer.text();
    response.writeHead(answer.status, { 'content-type': 'text/event-stream' });
    const firstEvent = text.indexOf('\n\n', text.indexOf('id: ')) + 2;
    response.write(opened < 4 ? text.slice(0, firstEvent + 8) : text, () => response.destroy());
  });
  const client = clientOf(t, server);
  const session = await client.sessions.create({});
  const run = await client.runs.create({ session: session.id, command: ['x'] });
  server.control.flows.set(
    run.id,
    [3, 4, 8, 9, 20].map((id) => ({ ...anyFlow, id })),
  );
  server.control.finish(run.id);
  const seen: (number | string)[] = [];
  for await (const event of clientOf(t, stub).runs.flows(run.id))
    seen.push(event.event === 'flow' ? event.flow.id : event.end.phase);
  assert.deepEqual(seen, [3, 4, 8, 9, 20, 'succeeded']);
  assert.equal(opened, 4);
  const absent = client.runs.flows('run_01kamcq5r8v0x4m2e7hj9n3tzb').next();
  assert.equal((await failure(absent)).code, 'resource.absent');
});

const anyFlow: EgressFlowView = {
  ...{ id: 1, at: '2026-01-02T03:04:05.678Z', host: 'a.example', address: null, port: 443, protocol: null },
  ...{ method: null, path: null, verdict: 'denied', rule: null, denial: 'no-rule', generation: 1, count: 1 },
  end: null,
};

test('a log that the caller may not see fails at once, and one that is left is let go', async (t) => {
  const server = await openTestServer(t);
  const client = clientOf(t, server);
  const absent = client.runs.logs('run_01kamcq5r8v0x4m2e7hj9n3tzb').next();
  assert.equal((await failure(absent)).code, 'resource.absent');
  const session = await client.sessions.create({});
  const run = await client.runs.create({ session: session.id, command: ['x'] });
  const log = server.control.logsOf(run.id);
  log.append('stdout', 'x');
  for await (const _ of client.runs.logs(run.id)) break;
  while (log.cancelled === 0) await new Promise((resolve) => setImmediate(resolve));
  const stop = new AbortController();
  const aborted = client.runs.logs(run.id, { signal: stop.signal, offset: 6 }).next();
  setImmediate(() => stop.abort(new Error('enough')));
  await assert.rejects(aborted, /enough/);
});

test('the same client works over fetch', async (t) => {
  const server = await openTestServer(t);
  const client = createClient({ url: server.address, token: 'owner-token', fetch });
  const session = await client.sessions.create({ name: 'x' });
  assert.equal((await client.sessions.rename(session.id, 'y')).name, 'y');
  await client.sessions.close(session.id);
  async function* bytes(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('abc');
  }
  assert.equal((await client.uploads.store(bytes())).bytes, 3);
  const gone = createClient({ url: 'http://127.0.0.1:1', fetch });
  assert.equal((await failure(gone.health())).code, 'server.unreachable');
});
