import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { drain, openRaw, parseAnswer, rawExchange } from '../../tests/support/raw-http.ts';
import { openTestServer } from '../../tests/support/test-server.ts';

const auth = 'Authorization: Bearer owner-token\r\n';
const post = `POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\n${auth}Content-Type: application/json\r\n`;

test('what is not well-formed HTTP is answered with one problem document and a closed connection', async (t) => {
  const server = await openTestServer(t);
  const shapes: Record<string, string> = {
    'no HTTP': 'hello\r\n\r\n',
    TLS: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n',
    'HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'length and chunked': `${post}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'two lengths': `${post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`,
    'length list': `${post}Content-Length: 2, 2\r\n\r\n{}`,
    'negative length': `${post}Content-Length: -1\r\n\r\n{}`,
    'length with plus': `${post}Content-Length: +2\r\n\r\n{}`,
    'huge length': `${post}Content-Length: 99999999999999999999999\r\n\r\n{}`,
    'chunked twice': `${post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    'encoding with a tab': `${post}Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`,
    'folded header': `GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n`,
    'space before colon': `GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n`,
    'no host': `GET /api/v1/runs HTTP/1.1\r\n${auth}\r\n`,
    'NUL in a header': `GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n`,
    'bare CR': `GET /healthz HTTP/1.1\rHost: x\r\r`,
    'space in path': `GET /a b HTTP/1.1\r\nHost: x\r\n\r\n`,
    'HTTP/3.0': `GET /healthz HTTP/3.0\r\nHost: x\r\n\r\n`,
    'bad chunk size': `${post}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`,
  };
  for (const [name, shape] of Object.entries(shapes)) {
    const answer = await rawExchange(server.port, Buffer.from(shape, 'latin1'));
    assert.equal(answer.status, 400, `${name}: ${answer.text}`);
    assert.equal(answer.headers['content-type'], 'application/problem+json', name);
    assert.equal(answer.text.match(/HTTP\/1\.1 \d/g)?.length, 1, `${name} is one request`);
    assert.equal(JSON.parse(answer.body).code, 'request.malformed', name);
  }
  assert.equal((await server.call('GET', '/healthz')).status, 200);
});

test('a request that hides behind another’s body is never answered', async (t) => {
  const server = await openTestServer(t);
  const hidden = `GET /api/v1/tokens HTTP/1.1\r\nHost: x\r\n${auth}\r\n`;
  for (const shape of [
    `GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
    `GET /api/v1/runs HTTP/1.1\r\nHost: x\r\n${auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
    `${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${hidden}`,
  ]) {
    const answer = await rawExchange(server.port, shape, 20_000);
    assert.equal(answer.status, 400, answer.text);
    assert.doesNotMatch(answer.text, /nextCursor/, 'the hidden request was not run');
  }
});

test('headers past their limit are answered 431', async (t) => {
  const server = await openTestServer(t);
  for (const header of [`X: ${'a'.repeat(20_000)}`, Array(3000).fill('X: aaaaaa').join('\r\n')]) {
    const answer = await rawExchange(server.port, `GET /healthz HTTP/1.1\r\nHost: x\r\n${header}\r\n\r\n`);
    assert.equal(answer.status, 431);
    assert.equal(JSON.parse(answer.body).code, 'request.headers-too-large');
  }
});

test('a URL past its limit is answered 414', async (t) => {
  const server = await openTestServer(t);
  const answer = await server.call('GET', `/api/v1/runs?name=${'a'.repeat(5000)}`);
  assert.equal(answer.status, 414);
});

test('headers and bodies that come too slowly are answered 408 and cut', async (t) => {
  const limits = { headerTimeoutMs: 600, bodyTimeoutMs: 300 };
  const server = await openTestServer(t, { limits });
  const slow = await rawExchange(server.port, 'GET /healthz HTTP/1.1\r\nHos');
  assert.equal(slow.status, 408);
  const silent = await openRaw(server.port);
  assert.equal((await drain(silent)).status, 408, 'a connection that says nothing is cut as well');
  const body = await rawExchange(server.port, `${post}Content-Length: 100\r\n\r\n{`);
  assert.equal(body.status, 408);
  assert.equal(JSON.parse(body.body).code, 'request.timeout');
});

test('a connection without a next request is closed after the idle time', async (t) => {
  const server = await openTestServer(t, { limits: { idleTimeoutMs: 300, heartbeatMs: 100 } });
  const answer = await rawExchange(server.port, 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n', 5_000);
  assert.equal(answer.status, 200);
});

test('a body past its limit is answered 413, declared or not, while it is still being sent', async (t) => {
  const server = await openTestServer(t);
  const large = JSON.stringify({ name: 'x'.repeat(3 * 1024 * 1024) });
  assert.equal((await server.call('POST', '/api/v1/sessions', { body: large })).status, 413);
  const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
  const chunked = await rawExchange(
    server.port,
    `${post}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(20)}0\r\n\r\n`,
  );
  assert.equal(chunked.status, 413);
  assert.equal(JSON.parse(chunked.body).code, 'request.too-large');
});

test('the wrong media type, character set and encoding are answered 415', async (t) => {
  const server = await openTestServer(t);
  const make = (headers: Record<string, string>) =>
    server.call('POST', '/api/v1/sessions', { body: '{}', headers });
  for (const headers of [
    { 'content-type': 'text/plain' },
    { 'content-type': 'application/x-www-form-urlencoded' },
    { 'content-type': 'application/jsonx' },
    { 'content-type': 'nonsense' },
    { 'content-type': 'application/json; charset=utf-16' },
    { 'content-type': 'application/json', 'content-encoding': 'gzip' },
  ])
    assert.equal((await make(headers)).status, 415, JSON.stringify(headers));
  const none = await rawExchange(
    server.port,
    `POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\n${auth}Content-Length: 2\r\nConnection: close\r\n\r\n{}`,
  );
  assert.equal(none.status, 415, 'no content type');
  assert.equal((await make({ 'content-type': 'application/json; charset=UTF-8' })).status, 201);
});

test('CONNECT and upgrades open no tunnel', async (t) => {
  const server = await openTestServer(t);
  const tunnel = await rawExchange(server.port, 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal(tunnel.status, 405);
  const upgrade = await rawExchange(
    server.port,
    'GET /api/v1/runs HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n',
  );
  assert.equal(upgrade.status, 401);
});

test('pipelined requests are each authenticated and answered in order', async (t) => {
  const server = await openTestServer(t);
  const one = `GET /api/v1/runs HTTP/1.1\r\nHost: x\r\n`;
  const answer = await rawExchange(
    server.port,
    `${one}${auth}\r\n${one}\r\n${one}${auth}Connection: close\r\n\r\n`,
  );
  const statuses = [...answer.text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => status);
  assert.deepEqual(statuses, ['200', '401', '200']);
});

test('a request whose caller leaves in the middle of the body does nothing', async (t) => {
  const server = await openTestServer(t);
  const socket = await openRaw(server.port);
  socket.write(`${post}Content-Length: 100\r\n\r\n{"name":`);
  const closed = once(socket, 'close');
  socket.destroy();
  await closed;
  assert.equal((await server.call('GET', '/api/v1/sessions')).body.items.length, 0);
});

test('what fails inside is a 500 that tells nothing, and the log tells all', async (t) => {
  const server = await openTestServer(t);
  const session = await server.call('POST', '/api/v1/sessions', { body: {} });
  server.control.failure = new TypeError('secret /var/lib/path');
  const answer = await server.call('GET', `/api/v1/sessions/${session.body.id}`);
  assert.equal(answer.status, 500);
  assert.equal(answer.body.code, 'internal');
  assert.doesNotMatch(answer.text, /secret|TypeError|\.ts/);
  const line = server.log.find(({ level }) => level === 50) as { err: { stack: string }; requestId: string };
  assert.match(line.err.stack, /TypeError: secret/);
  assert.equal(line.requestId, answer.body.requestId);
  assert.equal(answer.headers.get('x-request-id'), answer.body.requestId);
});

test('a caller’s request id is kept when it is plain, and replaced when it is not', async (t) => {
  const server = await openTestServer(t);
  const idFor = async (given: string) => {
    const answer = await server.call('GET', '/api/v1/runs', { headers: { 'x-request-id': given } });
    return answer.headers.get('x-request-id');
  };
  assert.equal(await idFor('build-42.a_b'), 'build-42.a_b');
  for (const bad of ['a b', 'a"b', 'a'.repeat(65), '-x', '{{x}}'])
    assert.match((await idFor(bad)) ?? '', /^req_[0-9a-z]{26}$/);
});

test('every answer carries the headers that keep browsers from using it', async (t) => {
  const server = await openTestServer(t);
  for (const path of ['/healthz', '/api/v1/runs', '/api/v1/nope', '/api/v1/openapi.json']) {
    const { headers } = await server.call('GET', path);
    assert.equal(headers.get('cache-control'), 'no-store');
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
    assert.equal(headers.get('content-security-policy'), "default-src 'none'; frame-ancestors 'none'");
    assert.equal(headers.get('referrer-policy'), 'no-referrer');
  }
});

test('a method that a route does not take is answered 405 with those that it takes', async (t) => {
  const server = await openTestServer(t);
  const answer = await server.call('PUT', '/api/v1/runs');
  assert.equal(answer.status, 405);
  assert.equal(answer.headers.get('allow'), 'GET, POST');
  assert.equal((await server.call('OPTIONS', '/api/v1/runs')).status, 405, 'there is no CORS');
});

test('random bytes never get anything but a 4xx or a cut connection', async (t) => {
  const server = await openTestServer(t);
  let seed = 42;
  const next = () => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return seed / 2 ** 32;
  };
  const base = Buffer.from(`${post}Content-Length: 14\r\nConnection: close\r\n\r\n{"name":"abc"}`);
  for (let round = 0; round < 300; round++) {
    const bytes = Buffer.from(base);
    for (let flip = 0; flip < 3; flip++) bytes[Math.floor(next() * bytes.length)] = Math.floor(next() * 256);
    const socket = await openRaw(server.port);
    socket.end(bytes);
    const { status } = parseAnswer((await drain(socket, 8_000)).text);
    assert(
      status === 0 || status === 201 || (status >= 400 && status < 500),
      `${status}: ${bytes.toString('latin1')}`,
    );
  }
});
