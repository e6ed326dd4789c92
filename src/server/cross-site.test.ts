import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { ownerActor } from '../../tests/support/fake-control.ts';
import { rawExchange } from '../../tests/support/raw-http.ts';
import { openTestServer } from '../../tests/support/test-server.ts';

type Headers = Readonly<Record<string, string>>;

/** A server where a cookie is the owner's, and requests as bytes, so that no client adds or refuses a header. */
async function openSite(t: TestContext, options = {}) {
  const server = await openTestServer(t, { origins: ['https://sealwright.example'], ...options });
  server.control.actors.set('swb_owner', ownerActor);
  const own = `http://127.0.0.1:${server.port}`;
  const ask = async (method: string, headers: Headers, path = '/api/v1/sessions') => {
    const body = method === 'POST' ? '{}' : '';
    const all = {
      host: `127.0.0.1:${server.port}`,
      ...(method === 'POST' ? { 'content-type': 'application/json', 'content-length': '2' } : {}),
      ...headers,
      connection: 'close',
    };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    return await rawExchange(server.port, `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
  };
  const status = async (...request: Parameters<typeof ask>) => (await ask(...request)).status;
  return { server, own, ask, status };
}

const cookie = { cookie: 'sealwright=swb_owner' };
const bearer = { authorization: 'Bearer owner-token' };

test('with a cookie, a change must come from a page of this server and say so', async (t) => {
  const { own, status } = await openSite(t);
  const change = (headers: Headers) => status('POST', { ...cookie, ...headers });
  assert.equal(await change({ origin: own }), 201);
  assert.equal(await change({ origin: own, 'sec-fetch-site': 'same-origin' }), 201);
  assert.equal(await change({ 'sec-fetch-site': 'same-origin' }), 201);
  assert.equal(await change({ origin: 'https://sealwright.example' }), 201);
  assert.equal(await change({}), 403, 'nothing says where it comes from');
  const port = Number(new URL(own).port);
  const foreign: Headers[] = [
    { origin: 'null' },
    { origin: '' },
    { origin: 'https://evil.example' },
    { origin: 'https://sealwright.example.evil.example' },
    { origin: 'https://evilsealwright.example' },
    { origin: 'https://sub.sealwright.example' },
    { origin: 'http://sealwright.example' },
    { origin: 'https://sealwright.example:8443' },
    { origin: 'https://sealwright.example/' },
    { origin: 'https://SEALWRIGHT.example' },
    { origin: 'https://user@sealwright.example' },
    { origin: `http://127.0.0.1:${port + 1}` },
    { origin: 'http://127.0.0.1' },
    { origin: `https://127.0.0.1:${port}` },
    { origin: `http://127.0.0.2:${port}` },
    { origin: `http://[::ffff:127.0.0.1]:${port}` },
    { origin: `${own}, https://evil.example` },
    { origin: `https://evil.example, ${own}` },
    { origin: own, 'sec-fetch-site': 'cross-site' },
    { origin: own, 'sec-fetch-site': 'same-site' },
    { origin: own, 'sec-fetch-site': 'none' },
    { 'sec-fetch-site': 'none' },
    { 'sec-fetch-site': 'same-site' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'Same-Origin' },
    { 'sec-fetch-site': 'same-origin, cross-site' },
    { 'sec-fetch-site': '' },
    { origin: 'https://evil.example', 'sec-fetch-site': 'same-origin' },
  ];
  for (const headers of foreign) assert.equal(await change(headers), 403, JSON.stringify(headers));
});

test('two Origin headers are none of this server', async (t) => {
  const { server, own } = await openSite(t);
  const head = `POST /api/v1/sessions HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nCookie: ${cookie.cookie}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n`;
  for (const [first, second] of [
    [own, 'https://evil.example'],
    ['https://evil.example', own],
  ]) {
    const request = `${head}Origin: ${first}\r\nOrigin: ${second}\r\n\r\n{}`;
    assert.equal((await rawExchange(server.port, request)).status, 403);
  }
});

test('a Referer neither helps nor harms', async (t) => {
  const { own, status } = await openSite(t);
  for (const referer of [own, `${own}/login`, `https://evil.example/?${own}`, `${own}@evil.example/`, ''])
    assert.equal(await status('POST', { ...cookie, referer }), 403, referer);
  const foreign = { origin: own, referer: 'https://evil.example/' };
  assert.equal(await status('POST', { ...cookie, ...foreign }), 201);
});

test('no header turns a read into a change', async (t) => {
  const { server, status } = await openSite(t);
  for (const method of ['POST', 'DELETE', 'PUT', 'PATCH'])
    for (const name of ['x-http-method-override', 'x-http-method', 'x-method-override']) {
      assert.equal(await status('GET', { ...cookie, [name]: method }), 200);
      assert.equal(
        await status('GET', { ...cookie, [name]: method }, `/api/v1/sessions?_method=${method}`),
        400,
      );
    }
  assert.equal((await server.call('GET', '/api/v1/sessions')).body.items.length, 0);
});

test('what a form of any page can send is not taken as JSON', async (t) => {
  const { own, status } = await openSite(t);
  const types = [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'text/plain; application/json',
    'text/plain;charset=application/json',
    '',
  ];
  for (const type of types)
    for (const credential of [cookie, bearer])
      assert.equal(
        await status('POST', { ...credential, origin: own, 'content-type': type }),
        415,
        `${type} ${JSON.stringify(credential)}`,
      );
});

test('with a cookie, reads are refused to pages of other origins, streams and upgrades too', async (t) => {
  const { server, own, status } = await openSite(t);
  const session = await server.call('POST', '/api/v1/sessions', { body: {} });
  const run = await server.call('POST', '/api/v1/runs', {
    body: { session: session.body.id, command: ['x'] },
  });
  server.control.finish(run.body.id);
  const logs = `/api/v1/runs/${run.body.id}/logs`;
  const variants: [string, Headers][] = [
    ['/api/v1/sessions', {}],
    [logs, { accept: 'text/event-stream' }],
    [`/api/v1/runs/${run.body.id}/egress`, { accept: 'text/event-stream' }],
    ['/api/v1/sessions', { upgrade: 'websocket', 'sec-websocket-version': '13' }],
  ];
  for (const [path, more] of variants) {
    const read = (headers: Headers) => status('GET', { ...cookie, ...more, ...headers }, path);
    assert.equal(await read({}), 200, path);
    assert.equal(await read({ 'sec-fetch-site': 'same-origin' }), 200);
    assert.equal(await read({ 'sec-fetch-site': 'none' }), 200, 'somebody typed the address');
    assert.equal(await read({ origin: own }), 200);
    assert.equal(await read({ 'sec-fetch-site': 'cross-site' }), 403);
    assert.equal(await read({ 'sec-fetch-site': 'same-site' }), 403);
    assert.equal(await read({ origin: 'https://evil.example' }), 403);
    assert.equal(await read({ origin: 'null' }), 403);
  }
});

test('with a cookie, a host that is not this server’s is refused: names can be rebound', async (t) => {
  const { server, own, status } = await openSite(t);
  const ask = (host: string) => status('GET', { ...cookie, host });
  for (const host of [
    '127.0.0.1',
    `localhost:${server.port}`,
    'localhost:8080',
    '[::1]',
    'sealwright.example',
  ])
    assert.equal(await ask(host), 200, host);
  for (const host of [
    'evil.example',
    `evil.example:${server.port}`,
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    'sealwright.example.evil.example',
    '127.0.0.2',
    '0.0.0.0',
  ])
    assert.equal(await ask(host), 403, host);
  assert.equal(await status('POST', { ...cookie, host: 'evil.example', origin: own }), 403);
  assert.equal(await status('GET', { ...bearer, host: 'evil.example' }), 200, 'no browser adds a token');
});

test('where there is an Authorization header, the cookie is not looked at', async (t) => {
  const { server, status } = await openSite(t);
  const authorization = 'Bearer wrong';
  assert.equal(await status('GET', { ...cookie, authorization }), 401);
  assert.equal(await status('GET', { ...cookie, authorization: '' }), 401);
  assert(!server.control.authentications.includes('swb_owner'));
  assert.equal(await status('POST', { ...cookie, ...bearer }), 201, 'a token needs no Origin');
  const twice = { cookie: 'sealwright=a; sealwright=b' };
  assert.equal(await status('GET', { ...twice, ...bearer }), 200);
  assert.equal(await status('GET', twice), 400);
  assert.equal(await status('GET', { cookie: 'sealwright=swb_unknown' }), 401);
  assert.equal(await status('GET', { cookie: '__Host-sealwright=swb_owner' }), 401, 'of another name');
});

test('behind a proxy the cookie has its strict name, and what a proxy reports is no own origin', async (t) => {
  const { status } = await openSite(t, { trustedProxies: ['127.0.0.1'] });
  const proxied = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'sealwright.example' };
  const strict = { cookie: '__Host-sealwright=swb_owner' };
  const change = (headers: Headers) => status('POST', { ...proxied, ...headers });
  assert.equal(await change({ ...strict, origin: 'https://sealwright.example' }), 201);
  assert.equal(await change({ ...cookie, origin: 'https://sealwright.example' }), 401);
  const rebound = { 'x-forwarded-host': 'evil.example', origin: 'https://evil.example' };
  assert.equal(await change({ ...strict, ...rebound }), 403);
  assert.equal(await change({ ...bearer, ...rebound }), 201, 'a token is not the browser’s to add');
  const several = { 'x-forwarded-host': 'sealwright.example, evil.example' };
  assert.equal(await change({ ...strict, ...several, origin: 'https://sealwright.example' }), 403);
});

test('many and odd cookies are read as they are, and cost nothing', async (t) => {
  const { status } = await openSite(t);
  const many = Array.from({ length: 500 }, (_, index) => `c${index}=${index}`).join('; ');
  assert.equal(await status('GET', { cookie: `${many}; ${cookie.cookie}` }), 200);
  const startedAt = performance.now();
  for (const hostile of [
    `sealwright=${' '.repeat(12_000)}x`,
    `${'sealwright'.repeat(1_200)}=`,
    `${';'.repeat(12_000)}sealwright=x`,
    'sealwright="swb_owner"',
    'sealwright=swb_owner\u00a0',
    'sealwright=swb%5fowner',
  ])
    assert.equal(await status('GET', { cookie: hostile }), 401, hostile.slice(0, 40));
  assert(performance.now() - startedAt < 2_000);
  assert.equal(await status('GET', { cookie: `${'a'.repeat(20_000)}` }), 431);
});

test('pages of other origins are counted like nobody, with a cookie that is good too', async (t) => {
  const { status } = await openSite(t, { rateLimits: { default: 3, signIn: 1e6, write: 1e6, admin: 1e6 } });
  const foreign = { ...cookie, origin: 'https://evil.example' };
  const statuses: number[] = [];
  for (let attempt = 0; attempt < 4; attempt++) statuses.push(await status('GET', foreign));
  assert.deepEqual(statuses, [403, 403, 403, 429]);
  assert.equal(await status('GET', cookie), 200);
});
