import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import fc from 'fast-check';
import type { SessionId } from '../../src/model/ids.ts';
import { newId } from '../../src/model/ids.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { drain, openRaw, type RawAnswer, rawExchange } from '../support/raw-http.ts';
import { watchMemory } from '../support/resident-memory.ts';
import { seeded } from '../support/seeded.ts';

/** G12: hostile input of any kind gets a 4xx or a cut connection, never a 5xx, a hang or unbounded memory. */

const vectors = process.env.SEALWRIGHT_VECTORS;
const mib = 1024 * 1024;
let instance: Instance;
let port: number;
let processes: { control: number; runner: number };
let authorization: string;

before(async () => {
  instance = await startInstance();
  port = Number(new URL(instance.url).port);
  processes = instance.pids();
  authorization = `Bearer ${instance.bootstrapToken}`;
});

after(() => instance.remove());

/** Routes whose answer was a 5xx, as control logged them; `GET /readyz` is 503 by contract until `up` is ready. */
function serverFaults(): string[] {
  const lines = readFileSync(join(instance.home, 'logs', 'control.log'), 'utf8')
    .trimEnd()
    .split('\n');
  return lines
    .map((line) => JSON.parse(line) as { status?: number; method?: string; route?: string })
    .filter(({ status, route }) => status !== undefined && status >= 500 && route !== '/readyz')
    .map(({ status, method, route }) => `${status} ${method} ${route}`);
}

/** Whatever came before: the same processes answer, and none of their answers was a 5xx. */
afterEach(async () => {
  const response = await fetch(`${instance.url}/healthz`, { signal: AbortSignal.timeout(2_000) });
  assert.equal(response.status, 200);
  assert.deepEqual(instance.pids(), processes, 'neither process was started anew');
  assert.equal((await instance.client.readiness()).ready, true);
  assert.deepEqual(serverFaults(), []);
});

const head = (line: string, ...headers: string[]) =>
  [`${line} HTTP/1.1`, 'Host: x', `Authorization: ${authorization}`, ...headers, '', ''].join('\r\n');
const post = (path: string, ...headers: string[]) =>
  head(`POST ${path}`, 'Content-Type: application/json', ...headers);

const isRefusal = ({ status }: RawAnswer) => status === 0 || (status >= 400 && status < 500);

type Answer = { readonly status: number; readonly text: string };

async function ask(method: string, path: string, body?: string | Buffer, more = {}): Promise<Answer> {
  const headers = {
    authorization,
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    ...more,
  };
  const init = { method, headers, ...(body === undefined ? {} : { body }) };
  const response = await fetch(instance.url + path, { ...init, signal: AbortSignal.timeout(20_000) });
  return { status: response.status, text: await response.text() };
}

test('every JSON vector is refused where it does not fit, on every route that takes a body', {
  skip: vectors === undefined ? 'SEALWRIGHT_VECTORS is not set' : false,
}, async () => {
  const folder = join(vectors!, 'json', 'test_parsing');
  const names = readdirSync(folder);
  assert(names.length > 300);
  for (const name of names)
    for (const path of ['/api/v1/sessions', '/api/v1/runs', '/api/v1/tokens']) {
      const { status, text } = await ask('POST', path, readFileSync(join(folder, name)));
      const fits = name === 'y_object_empty.json' && path === '/api/v1/sessions';
      assert.equal(status, fits ? 201 : 400, `${path} ${name}: ${text}`);
    }
});

test('bodies past the limit are refused while they come, whoever sends them, and are held nowhere', async () => {
  const watch = watchMemory([processes.control, processes.runner]);
  const declared = post('/api/v1/sessions', `Content-Length: ${1024 * mib}`);
  const chunked = post('/api/v1/sessions', 'Transfer-Encoding: chunked');
  const nobody = chunked.replace(/Authorization: .*\r\n/, '');
  const upload = head(
    'POST /api/v1/uploads',
    'Transfer-Encoding: chunked',
    'Content-Type: application/octet-stream',
  );
  const uploadOfNobody = upload.replace(/Authorization: .*\r\n/, '');
  const expected = [413, 413, 401, 401];
  const answers = await Promise.all([declared, chunked, nobody, uploadOfNobody].map(flood));
  assert.deepEqual(
    answers.map(({ status }) => status),
    expected,
  );
  const [control = 0, runner = 0] = watch.growth();
  assert(control < 150 * mib && runner < 50 * mib, `grew by ${control} and ${runner} bytes`);
});

/** Sends a head and then chunks until the other side has enough. */
async function flood(start: string): Promise<RawAnswer> {
  const socket = await openRaw(port);
  const answer = drain(socket);
  socket.write(start);
  await pour(
    socket,
    Buffer.concat([Buffer.from('10000\r\n'), Buffer.alloc(0x10000, 'x'), Buffer.from('\r\n')]),
  );
  return await answer;
}

/** Writes the same bytes again and again as they are taken, 256 MiB at most, until the connection ends. */
async function pour(socket: Socket, bytes: Buffer): Promise<void> {
  const closed = once(socket, 'close');
  for (let sent = 0; sent < 256 * mib && socket.writable; sent += bytes.length)
    if (!socket.write(bytes)) await Promise.race([once(socket, 'drain'), closed]).catch(() => undefined);
}

test('headers and URLs past their limits are refused', async () => {
  const long = 'a'.repeat(20_000);
  const cases: readonly (readonly [number, string])[] = [
    [431, head('GET /api/v1/runs', `X-Long: ${long}`)],
    [431, head('GET /api/v1/runs', ...Array<string>(3_000).fill('X: aaaaaa'))],
    [431, head(`GET /${long}`)],
    [414, head(`GET /api/v1/runs?name=${'a'.repeat(5_000)}`, 'Connection: close')],
    [414, head(`GET /api/v1/runs/${'a'.repeat(5_000)}`, 'Connection: close')],
  ];
  for (const [status, request] of cases) assert.equal((await rawExchange(port, request)).status, status);
  const endless = await openRaw(port);
  const answer = drain(endless);
  await pour(endless, Buffer.alloc(0x10000, 'a'));
  assert(isRefusal(await answer), 'a head without an end');
});

test('a thousand silent, slow and half-open connections keep nobody waiting, and are cut', async (t) => {
  const bytes = [
    '',
    'GET /api/v1/runs HTTP/1.1\r\nHos',
    head('GET /api/v1/runs').slice(0, -2),
    `${post('/api/v1/sessions', 'Content-Length: 100')}{"na`,
    `${post('/api/v1/sessions', 'Transfer-Encoding: chunked')}4\r\n{"na`,
  ];
  const sockets = await Promise.all(Array.from({ length: 1_000 }, () => openRaw(port)));
  const answers = sockets.map((socket, index) => {
    socket.write(bytes[index % bytes.length]!);
    return drain(socket, 25_000);
  });
  for (let turn = 0; turn < 20; turn += 1) {
    const startedAt = performance.now();
    assert.equal((await ask('GET', '/api/v1/runs')).status, 200);
    assert(performance.now() - startedAt < 1_000, 'an honest caller is answered at once');
  }
  const startedAt = performance.now();
  const all = await Promise.all(answers);
  t.diagnostic(`all were cut after ${Math.round(performance.now() - startedAt)} ms`);
  for (const [index, { status }] of all.entries()) {
    const expected = index % bytes.length === 0 ? [0, 408] : [408];
    assert(expected.includes(status), `${JSON.stringify(bytes[index % bytes.length])}: ${status}`);
  }
});

test('requests with bytes changed at random get an answer below 500 or a cut connection', async (t) => {
  const random = seeded();
  t.diagnostic(`SEALWRIGHT_SEED=${random.seed}`);
  const close = 'Connection: close';
  const body = '{"name":"abc"}';
  const requests = [
    `${post('/api/v1/sessions', close, `Content-Length: ${body.length}`)}${body}`,
    `${post('/api/v1/runs', close, 'Transfer-Encoding: chunked')}e\r\n${body}\r\n0\r\n\r\n`,
    head('GET /api/v1/runs?limit=5&phase=queued', close, 'Accept: application/json', 'If-None-Match: "v1"'),
    head(
      `GET /api/v1/runs/${newId('run', 1)}/logs?follow=true`,
      close,
      'Last-Event-ID: 7',
      'Accept: text/event-stream',
    ),
    `${head('POST /api/v1/uploads', close, 'Content-Type: application/x-git-bundle', 'Content-Length: 14')}# v2 git bundle`,
    head(`DELETE /api/v1/sessions/${newId('session', 1)}`, close),
  ].map((text) => Buffer.from(text, 'latin1'));
  const one = async () => {
    const bytes = Buffer.from(random.pick(requests));
    for (let flip = random.between(1, 4); flip > 0; flip -= 1)
      bytes[random.between(0, bytes.length - 1)] = random.between(0, 255);
    const cut = random.between(0, 9) === 0 ? bytes.subarray(0, random.between(0, bytes.length)) : bytes;
    const socket = await openRaw(port);
    socket.end(cut);
    const { status, text } = await drain(socket, 20_000);
    assert(status < 500, `${cut.toString('latin1')}\n${text}`);
  };
  for (let round = 0; round < 100; round += 1) await Promise.all(Array.from({ length: 20 }, one));
});

test('bytes that are no HTTP at all get a 400 or a cut connection', async () => {
  const random = seeded(7);
  for (let round = 0; round < 100; round += 1) {
    const bytes = Buffer.from(Array.from({ length: random.between(1, 2_000) }, () => random.between(0, 255)));
    const socket = await openRaw(port);
    socket.end(bytes);
    assert(isRefusal(await drain(socket, 20_000)));
  }
});

test('values of every kind in every field are refused or taken, and never break anything', async () => {
  const { client } = instance;
  const session = (await client.sessions.create({ name: 'closed' })).id as SessionId;
  await client.sessions.close(session);
  const odd = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.double(),
    fc.bigInt().map(Number),
    fc.constantFrom(null, true, [], {}, '', '\0', '\ud800', '__proto__', -0, 1e308),
  );
  const value = fc.oneof(
    odd,
    fc.array(odd, { maxLength: 3 }),
    fc.dictionary(fc.string({ unit: 'binary' }), odd, { maxKeys: 3 }),
  );
  const run = fc.record(
    {
      command: fc.oneof({ weight: 3, arbitrary: fc.constant(['true']) }, value),
      name: value,
      env: value,
      cwd: value,
      limits: fc.oneof(
        value,
        fc.record({ memoryBytes: value, cpus: value, pids: value }, { requiredKeys: [] }),
      ),
      timeoutSeconds: value,
      priority: value,
      strict: value,
      diff: value,
      egress: value,
      egressReason: value,
      other: value,
    },
    { requiredKeys: ['command'] },
  );
  const token = fc.record(
    { name: value, scopes: value, actor: value, reach: value, expiresInSeconds: value },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(run, token, value, async (asked, made, name) => {
      // The session is closed: what fits is a conflict, and nothing ever runs.
      const ran = await ask('POST', '/api/v1/runs', JSON.stringify({ session, ...asked }));
      assert([400, 409].includes(ran.status), `${ran.status} ${ran.text}`);
      const created = await ask('POST', '/api/v1/tokens', JSON.stringify(made));
      assert([400, 403].includes(created.status), `${created.status} ${created.text}`);
      const named = await ask('POST', '/api/v1/sessions', JSON.stringify({ name }));
      assert([201, 400].includes(named.status), `${named.status} ${named.text}`);
    }),
    { numRuns: 150 },
  );
});

test('ids that are none of ours are absent or refused, on every route that takes one', async () => {
  const ids = [
    '..',
    '%2e%2e',
    '..%2f..%2fetc%2fpasswd',
    '%00',
    '%ff%fe',
    '%c0%ae%c0%ae',
    "' OR 1=1 --",
    '1;DROP TABLE runs',
    '__proto__',
    'constructor',
    'run_',
    'run_0',
    `run_${'z'.repeat(26)}`,
    `run_${'0'.repeat(26)}`,
    `run_${'0'.repeat(2_000)}`,
    newId('session', 1).toUpperCase(),
    newId('token', 1),
    'ses_01kamcq5r8v0x4m2e7hj9n3tz\u0131',
    '💥',
    '-1',
    'null',
  ];
  const routes = [
    '/sessions/ID',
    '/runs/ID',
    '/runs/ID/logs',
    '/runs/ID/diff',
    '/runs/ID/artifacts/diff',
    '/runs/ID/wait',
    '/runs/ID/egress',
    '/policies/ID',
    '/policies/ID/history',
    '/tokens/ID',
    '/uploads/ID',
  ];
  for (const id of ids)
    for (const route of routes)
      for (const method of ['GET', 'DELETE']) {
        const path = `/api/v1${route.replace('ID', id.includes('%') ? id : encodeURIComponent(id))}`;
        const { status, text } = await ask(method, path);
        assert([400, 404, 405, 414].includes(status), `${method} ${path}: ${status} ${text}`);
      }
  const { id } = await instance.client.sessions.create({});
  const run = await instance.client.runs.create({ session: id, command: ['true'] });
  await instance.client.runs.wait(run.id);
  for (const name of [
    '..',
    '%2e%2e%2fresult.json',
    'log',
    '../log',
    'result.json',
    'diff%00',
    'x'.repeat(300),
    'acknowledged.json',
  ])
    assert(
      [400, 404, 414].includes((await ask('GET', `/api/v1/runs/${run.id}/artifacts/${name}`)).status),
      name,
    );
  await instance.client.sessions.close(id);
});

test('a name comes back exactly as it was given, or is refused', async () => {
  const names = [
    'plain',
    "'; DROP TABLE sessions; --",
    '<script>alert(1)</script>',
    '../../etc/passwd',
    '__proto__',
    'constructor',
    '%s%n%x',
    '$(reboot)`id`',
    '\u202egnihsif',
    'e\u0301\u0302\u0303',
    '👩‍👩‍👧‍👦'.repeat(9),
    '𝕏'.repeat(63),
    'ﷺ'.repeat(63),
    '%',
    '_',
    '*',
    '\\',
    'null',
    '"',
  ];
  const refused = [
    '',
    ' ',
    ' x',
    'x\n',
    '\0',
    '\u001b[2J',
    '\u0085',
    '\u2028',
    'x'.repeat(64),
    '𝕏'.repeat(64),
  ];
  for (const name of names) {
    const made = await ask('POST', '/api/v1/sessions', JSON.stringify({ name }));
    assert.equal(made.status, 201, `${name}: ${made.text}`);
    assert.equal((JSON.parse(made.text) as { name: string }).name, name);
    const { items } = await instance.client.sessions.list({ name, limit: 200 });
    assert(
      items.length >= 1 && items.every((item) => item.name === name),
      'the filter means the name itself',
    );
  }
  for (const name of refused)
    assert.equal((await ask('POST', '/api/v1/sessions', JSON.stringify({ name }))).status, 400);
  assert.equal(
    (await ask('POST', '/api/v1/sessions', '{"name":"\\ud800"}')).status,
    400,
    'half a surrogate pair',
  );
});

test('queries and headers out of their bounds are refused', async () => {
  await instance.client.sessions.create({});
  const queries = [
    'limit=0',
    'limit=-1',
    'limit=201',
    'limit=1e9',
    'limit=abc',
    'limit=',
    'limit=1&limit=2',
    'limit[]=1',
    'phase=dead',
    'phase=queued&phase=queued',
    'unknown=1',
    '__proto__=1',
    'constructor.prototype.x=1',
    'session=..',
  ];
  for (const query of queries) {
    const { status, text } = await ask('GET', `/api/v1/runs?${query}`);
    assert.equal(status, 400, `${query}: ${text}`);
  }
  const position = (...parts: unknown[]) => Buffer.from(JSON.stringify(parts)).toString('base64url');
  const cursors = [
    'x',
    '',
    '%00',
    'a'.repeat(512),
    'a'.repeat(513),
    position(),
    position(1),
    position('1', 'x'),
    position(-1, 'x'),
    position(1e308, 'x'),
    position(1, 2),
    position(1, 'x', 'y'),
    position({}),
    `${position(1, 'x')}=`,
    position(1, "' OR 1=1"),
  ];
  for (const cursor of cursors) {
    const { status, text } = await ask('GET', `/api/v1/sessions?cursor=${cursor}`);
    assert(
      status === 400 || (status === 200 && text === '{"items":[],"nextCursor":null}'),
      `${cursor}: ${status} ${text}`,
    );
  }
  const { id } = await instance.client.sessions.create({});
  const headers: readonly (readonly [string, string, Record<string, string>, number])[] = [
    ['POST', '/api/v1/sessions', { 'idempotency-key': 'x'.repeat(256) }, 400],
    ['POST', '/api/v1/sessions', { 'idempotency-key': 'a b' }, 400],
    ['PATCH', `/api/v1/sessions/${id}`, {}, 428],
    ['PATCH', `/api/v1/sessions/${id}`, { 'if-match': '*' }, 412],
    ['PATCH', `/api/v1/sessions/${id}`, { 'if-match': '"v99999999999999999999"' }, 412],
    ['POST', '/api/v1/sessions', { 'content-type': 'application/json; charset=utf-16' }, 415],
    ['POST', '/api/v1/sessions', { 'content-encoding': 'gzip' }, 415],
    ['POST', '/api/v1/sessions', { origin: 'http://evil.example' }, 403],
  ];
  for (const [method, path, more, expected] of headers)
    assert.equal((await ask(method, path, '{"name":"x"}', more)).status, expected, JSON.stringify(more));
  for (const lastId of ['-1', 'x', '1e9', '99999999999999999', '0x10'])
    assert.equal(
      (await ask('GET', `/api/v1/runs/${newId('run', 1)}/logs`, undefined, { 'last-event-id': lastId }))
        .status,
      400,
    );
});

test('a thousand requests in one packet are each answered, in order', async () => {
  const request = head(`GET /api/v1/runs/${newId('run', 1)}`);
  const last = head('GET /healthz', 'Connection: close');
  const { text } = await rawExchange(port, request.repeat(1_000) + last);
  assert.equal(text.match(/HTTP\/1\.1 404 /g)?.length, 1_000);
  assert.equal(text.match(/HTTP\/1\.1 200 /g)?.length, 1);
});

/** A follower of a run's log that reads the head of the answer and then nothing more. */
async function stalledReader(run: string, accept: string): Promise<Socket> {
  const socket = await openRaw(port);
  socket.on('error', () => undefined);
  socket.write(head(`GET /api/v1/runs/${run}/logs?follow=true`, `Accept: ${accept}`));
  await once(socket, 'data');
  socket.pause();
  return socket;
}

test('readers that stall while a run writes 1 GiB cost no memory, and hold the run up in nothing', async (t) => {
  const { client } = instance;
  const { id } = await client.sessions.create({});
  const command = ['sh', '-c', 'echo start; sleep 0.5; head -c 1G /dev/zero'];
  const run = await client.runs.create({ session: id, command });
  const accepts = ['text/event-stream', 'text/plain', 'application/octet-stream'];
  const readers = await Promise.all([...accepts, ...accepts].map((accept) => stalledReader(run.id, accept)));
  const watch = watchMemory([processes.control, processes.runner]);
  const startedAt = performance.now();
  const ended = await client.runs.wait(run.id, { timeoutSeconds: 60 });
  const [control = 0, runner = 0] = watch.growth();
  t.diagnostic(
    `${Math.round(performance.now() - startedAt)} ms; control grew by ${Math.round(control / mib)} MiB, the runner by ${Math.round(runner / mib)} MiB`,
  );
  assert.equal(ended.phase, 'succeeded');
  assert.equal(ended.usage?.outputBytes, 1024 * mib + 'start\n'.length);
  assert(control < 150 * mib && runner < 150 * mib, `grew by ${control} and ${runner} bytes`);
  for (const reader of readers) reader.destroy();
  const events: string[] = [];
  for await (const event of client.runs.logs(run.id, { offset: 1024 * mib })) events.push(event.event);
  assert.equal(events.at(-1), 'end', 'a reader that comes late reads to the end');
  await client.sessions.close(id);
});
