import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { newId } from '../../src/model/ids.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { drain, openRaw, rawExchange } from '../support/raw-http.ts';

/** G12 for signing in and tokens: what anybody may send before they are known, and cookies of every kind. */

const vectors = process.env.SEALWRIGHT_VECTORS;
const noVectors = vectors === undefined ? 'SEALWRIGHT_VECTORS is not set' : false;
const isAbsent = ({ text }: { text: string }) => text.includes('route.absent');
const form = 'application/x-www-form-urlencoded';

type Operation = { readonly method: string; readonly path: string; readonly open: boolean };

let instance: Instance;
let port: number;
/** Everything that takes a JSON body, as the server's own document says. */
let operations: Operation[];

before(async () => {
  instance = await startInstance({ environment: { SEALWRIGHT_SIGN_INS_PER_MINUTE: '1000000' } });
  port = Number(new URL(instance.url).port);
  const { paths } = (await (await fetch(`${instance.url}/api/v1/openapi.json`)).json()) as {
    paths: Record<string, Record<string, { security?: unknown[]; requestBody?: { content: object } }>>;
  };
  operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, { requestBody }]) => 'application/json' in (requestBody?.content ?? {}))
      .map(([method, { security }]) => ({
        method: method.toUpperCase(),
        path: path.replace('{name}', 'x').replaceAll(/\{\w+\}/g, newId('run', 1)),
        open: security?.length === 0,
      })),
  );
});

after(() => instance.remove());

/** Whatever came before: it answers, and none of its answers was a 5xx. */
afterEach(async () => {
  assert.equal((await instance.client.health()).status, 'ok');
  const lines = readFileSync(join(instance.home, 'logs', 'control.log'), 'utf8')
    .trimEnd()
    .split('\n');
  const faults = lines
    .map((line) => JSON.parse(line) as { status?: number; method?: string; route?: string })
    .filter(({ status, route }) => (status ?? 0) >= 500 && route !== '/readyz');
  assert.deepEqual(faults, []);
});

async function send(
  { method, path }: Pick<Operation, 'method' | 'path'>,
  body: string | Buffer,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string }> {
  const all = { 'content-type': 'application/json', ...headers };
  const response = await fetch(instance.url + path, { method, headers: all, body });
  return { status: response.status, text: await response.text() };
}

const bearer = () => ({ authorization: `Bearer ${instance.bootstrapToken}` });

function vectorsOf(pattern: RegExp): { name: string; bytes: Buffer }[] {
  const folder = join(vectors!, 'json', 'test_parsing');
  const names = readdirSync(folder).filter((name) => pattern.test(name));
  return names.map((name) => ({ name, bytes: readFileSync(join(folder, name)) }));
}

test('every JSON vector is refused where anybody may sign in: malformed is 400, and what is JSON does not fit', {
  skip: noVectors,
}, async () => {
  const open = operations.filter((operation) => operation.open);
  assert(open.length > 5, 'sign-in takes JSON');
  const all = vectorsOf(/\.json$/);
  assert(all.length > 300);
  for (const operation of [open.find(({ path }) => path === '/auth/password')!, open.at(-1)!])
    for (const { name, bytes } of all) {
      const { status, text } = await send(operation, bytes);
      assert(status >= 400 && status < 500, `${operation.path} ${name}: ${status} ${text}`);
      if (name.startsWith('n_')) assert.equal(status, 400, `${operation.path} ${name}: ${text}`);
    }
});

test('every route that takes JSON refuses what is none', { skip: noVectors }, async () => {
  const hostile = vectorsOf(
    /^n_(structure_(100000|open_array|null|UTF8|lone)|string_(1_sur|un)|object_(bad|key|trailing)|number_(NaN|inf))/,
  );
  assert(hostile.length > 15, `${hostile.length}`);
  assert(operations.length > 25, `${operations.length}`);
  for (const operation of operations)
    for (const { name, bytes } of hostile) {
      const { status, text } = await send(operation, bytes, bearer());
      assert.equal(status, 400, `${operation.method} ${operation.path} ${name}: ${text}`);
    }
});

test('what is no form, and no form that makes sense, gets no token', { skip: noVectors }, async () => {
  const token = { method: 'POST', path: '/oauth2/token' };
  for (const { name, bytes } of vectorsOf(/\.json$/)) {
    for (const type of [form, 'application/json']) {
      const { status, text } = await send(token, bytes, { 'content-type': type });
      assert(status >= 400 && status < 500, `${name} as ${type}: ${status} ${text}`);
      assert.doesNotMatch(text, /access_token/);
    }
  }
});

test('odd forms get a 4xx', async () => {
  const forms = [
    '',
    '=',
    '&&&',
    '%',
    '%zz=1',
    'grant_type=%ff%fe',
    'grant_type=refresh_token&grant_type=client_credentials',
    'grant_type[]=refresh_token',
    'grant_type=refresh_token&refresh_token=%00',
    '__proto__=1&grant_type=x',
    'constructor=1&toString=2&grant_type=hasOwnProperty',
    `grant_type=${'x'.repeat(100_000)}`,
    Array.from({ length: 5_000 }, (_, index) => `a${index}=1`).join('&'),
    `${'a='.repeat(50_000)}`,
    'grant_type=authorization_code&code=a&code_verifier=b&client_id=__proto__&redirect_uri=javascript:alert(1)',
  ];
  for (const path of [
    '/oauth2/token',
    '/oauth2/introspect',
    '/oauth2/revoke',
    '/oauth2/device_authorization',
  ])
    for (const body of forms) {
      const answer = await send({ method: 'POST', path }, body, { 'content-type': form });
      if (isAbsent(answer)) continue;
      const isRevocation = path === '/oauth2/revoke' && answer.status === 200;
      assert(
        isRevocation || (answer.status >= 400 && answer.status < 500),
        `${path} ${body.slice(0, 60)}: ${answer.status}`,
      );
    }
});

test('bodies of sign-ins that stall are answered 408, and endless ones 413', async () => {
  const head = (path: string, type: string, length: string) =>
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\n${length}\r\n\r\n`;
  const targets = [
    ['/auth/password', 'application/json'],
    ['/oauth2/token', form],
  ] as const;
  const slow = targets.map(async ([path, type]) => {
    const socket = await openRaw(port);
    socket.write(`${head(path, type, 'Content-Length: 100')}{"na`);
    return (await drain(socket, 25_000)).status;
  });
  for (const [path, type] of targets) {
    const declared = await rawExchange(port, head(path, type, 'Content-Length: 99999999'));
    assert.equal(declared.status, 413, path);
    const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
    const endless = head(path, type, 'Transfer-Encoding: chunked') + chunk.repeat(20);
    assert.equal((await rawExchange(port, endless)).status, 413, path);
  }
  assert.deepEqual(await Promise.all(slow), [408, 408]);
});

test('cookies of every kind let nobody in', async () => {
  const ask = async (cookie: string) => {
    const head = `GET /api/v1/runs HTTP/1.1\r\nHost: localhost:${port}\r\nConnection: close\r\n`;
    return (await rawExchange(port, Buffer.from(`${head}Cookie: ${cookie}\r\n\r\n`, 'latin1'))).status;
  };
  const secret = instance.bootstrapToken;
  for (const cookie of [
    `sealwright=${secret}`,
    `__Host-sealwright=${secret}`,
    `__Secure-sealwright=${secret}`,
    'sealwright=',
    'sealwright=null',
    'sealwright=swb_',
    `sealwright=swb_${'a'.repeat(36)}`,
    `sealwright=swb_${'a'.repeat(12_000)}`,
    'sealwright="swb_x\\"',
    'sealwright=%73%77%62',
    'sealwright=\xff\xfe',
    `sealwright[]=${secret}`,
    `sealwright.=${secret}`,
    `SEALWRIGHT=${secret}`,
    `$Version=1; sealwright=${secret}; $Path=/`,
    `${Array.from({ length: 900 }, (_, index) => `c${index}=1`).join('; ')}; sealwright=x`,
    `access_token=${secret}; token=${secret}; session=${secret}; Authorization=Bearer ${secret}`,
  ])
    assert.equal(await ask(cookie), 401, cookie.slice(0, 60));
  assert.equal(await ask(`sealwright=a; sealwright=${secret}`), 400, 'two of the name');
  assert.equal(await ask('sealwright=a\r\nCookie: sealwright=b'), 400, 'in two headers');
  assert.equal(await ask('a'.repeat(17_000)), 431);
});

test('sign-ins are refused to pages of other origins, with and without anything to sign in with', async () => {
  const open = operations.filter(({ open, path }) => open && path.startsWith('/auth/'));
  assert(open.length > 5);
  for (const operation of open)
    for (const headers of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: `http://localhost.evil.example:${port}` },
      { origin: `http://localhost:${port + 1}` },
    ] as Record<string, string>[]) {
      const { status, text } = await send(operation, '{}', headers);
      assert.equal(status, 403, `${operation.path} ${JSON.stringify(headers)}: ${text}`);
    }
  const own = await send({ method: 'POST', path: '/auth/password' }, '{}', { origin: instance.url });
  assert.equal(own.status, 400, 'from its own page it is looked at');
  for (const type of ['text/plain', form, 'multipart/form-data; boundary=x'])
    assert.equal(
      (await send({ method: 'POST', path: '/auth/password' }, '{}', { 'content-type': type })).status,
      415,
    );
});
