import assert from 'node:assert/strict';
import test from 'node:test';
import { rawExchange } from '../../tests/support/raw-http.ts';
import { openTestServer } from '../../tests/support/test-server.ts';
import { newId } from '../model/ids.ts';
import { securityHeaders } from './security-headers.ts';

type Headers = Readonly<Record<string, string>>;
const auth = 'Authorization: Bearer owner-token';
const filled = (url: string) => url.replace(':id', newId('run', 1)).replace(':name', 'diff');

/** Every header of every answer, but that public documents are kept, and none that would let another origin read it or that TLS alone may say. */
function assertGuarded(headers: Headers, what: string): void {
  const isPublic = what.startsWith('GET /.well-known/') && headers['cache-control']?.startsWith('public, ');
  for (const [name, value] of Object.entries(securityHeaders))
    if (!(isPublic && name === 'cache-control')) assert.equal(headers[name], value, `${what}: ${name}`);
  const loose = Object.keys(headers).filter((name) => name.startsWith('access-control-'));
  assert.deepEqual(loose, [], what);
  assert.equal(headers['strict-transport-security'], undefined, what);
  assert.equal(headers.server, undefined, what);
  assert.equal(headers['x-powered-by'], undefined, what);
}

test('every route guards its answers, whoever asks and from wherever', async (t) => {
  const server = await openTestServer(t);
  const origin = { origin: 'https://evil.example', 'access-control-request-method': 'POST' };
  assert(server.routes.length > 25);
  for (const { method, url } of server.routes)
    for (const token of [null, 'owner-token', 'wrong'])
      for (const headers of [{}, origin]) {
        const answer = await server.call(method, filled(url), { token, headers, headersAlone: true });
        assertGuarded(Object.fromEntries(answer.headers), `${method} ${url} ${token} ${answer.status}`);
      }
});

test('refusals guard their answers, also where no request came to be', async (t) => {
  const server = await openTestServer(t);
  const head = (line: string, ...headers: string[]) =>
    [`${line} HTTP/1.1`, 'Host: x', auth, 'Connection: close', ...headers, '', ''].join('\r\n');
  const post = (...headers: string[]) => head('POST /api/v1/sessions', ...headers);
  const cases: readonly (readonly [number, string])[] = [
    [400, 'hello\r\n\r\n'],
    [400, `GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n`],
    [400, `GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n`],
    [400, head('GET /api/v1/runs', 'Expect: 200-ok')],
    [400, head('GET /api/v1/runs/%zz')],
    [400, head('GET /api/v1/runs?token=x')],
    [400, `${post('Content-Type: application/json', 'Content-Length: 1')}{`],
    [401, 'GET /api/v1/runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'],
    [403, post('Origin: https://evil.example')],
    [404, head('GET /nothing')],
    [405, head('OPTIONS /api/v1/runs')],
    [405, 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n'],
    [413, post('Content-Type: application/json', 'Content-Length: 99999999')],
    [414, head(`GET /api/v1/runs/${'a'.repeat(5_000)}`)],
    [415, `${post('Content-Type: text/plain', 'Content-Length: 2')}{}`],
    [431, head('GET /api/v1/runs', `X: ${'a'.repeat(20_000)}`)],
  ];
  for (const [status, request] of cases) {
    const answer = await rawExchange(server.port, request);
    assert.equal(answer.status, status, `${request.slice(0, 60)}: ${answer.text}`);
    assertGuarded(answer.headers, request.slice(0, 60));
    assert.equal(answer.headers['content-type'], 'application/problem+json');
  }
});

test('a request names one plain host', async (t) => {
  const server = await openTestServer(t);
  const ask = async (host: string) =>
    (await rawExchange(server.port, `GET /healthz HTTP/1.1\r\n${host}Connection: close\r\n\r\n`)).status;
  for (const host of ['x', 'localhost:7717', '127.0.0.1', '[::1]:80', 'my_host.example'])
    assert.equal(await ask(`Host: ${host}\r\n`), 200, host);
  for (const host of [
    '',
    'a b',
    'a,b',
    'a/b',
    'user@host',
    'a:b',
    'a:1:2',
    '[::1',
    '::1',
    'a\\b',
    'ä',
    'x'.repeat(300),
  ])
    assert.equal(await ask(`Host: ${host}\r\n`), 400, host);
  assert.equal(await ask(''), 400);
  assert.equal(await ask('Host: x\r\nHost: x\r\n'), 400);
  const old = await rawExchange(server.port, 'GET /healthz HTTP/1.0\r\n\r\n');
  assert.equal(old.status, 200, 'HTTP/1.0 knows no Host');
});

test('HSTS is sent where a trusted proxy says that its client speaks TLS, and nowhere else', async (t) => {
  const trusting = await openTestServer(t, { trustedProxies: ['127.0.0.1'] });
  const plain = await openTestServer(t);
  const hsts = async (server: typeof plain, proto: string, path = '/healthz') => {
    const answer = await server.call('GET', path, { headers: { 'x-forwarded-proto': proto } });
    return answer.headers.get('strict-transport-security');
  };
  const year = 'max-age=31536000; includeSubDomains';
  assert.equal(await hsts(trusting, 'https'), year);
  assert.equal(await hsts(trusting, 'https', '/nothing'), year);
  assert.equal(await hsts(trusting, 'http'), null);
  assert.equal(await hsts(trusting, 'https, http'), null, 'the nearest proxy is the one that counts');
  assert.equal(await hsts(plain, 'https'), null, 'anybody else may claim it');
});
