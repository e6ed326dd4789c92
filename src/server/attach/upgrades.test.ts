import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { connect as connectSecurely } from 'node:tls';
import { loopbackPair } from '../../../tests/support/certificates.ts';
import { openRaw } from '../../../tests/support/raw-http.ts';
import { opcodes, RawWebSocket, upgradeText } from '../../../tests/support/raw-websocket.ts';
import { openTestServer, type TestServer } from '../../../tests/support/test-server.ts';
import { createAuthority, openIssuer } from '../../base/certificates.ts';
import { attachProtocol } from '../../contract/attach.ts';
import type { UpgradeRefusal } from '../../control/attach/attach.ts';
import { newId, type RunId } from '../../model/ids.ts';
import { openTlsSource } from '../tls.ts';

const run = newId('run', 1) as RunId;
const other = newId('run', 2) as RunId;
const path = `/api/v1/runs/${run}/attach`;

type Shape = Parameters<typeof upgradeText>[1] & { readonly target?: string };

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

/** One way in, and what is wrong with an upgrade over it. */
type Way = {
  readonly server: TestServer;
  readonly origin: string | null;
  connect(): Promise<Socket>;
};

async function ask(way: Way, { target = path, ...shape }: Shape): Promise<RawWebSocket> {
  const headers = { Origin: way.origin, ...shape.headers };
  return new RawWebSocket(await way.connect(), upgradeText(target, { ...shape, headers }));
}

async function overTcp(t: TestContext): Promise<Way> {
  const server = await openTestServer(t);
  return { server, origin: server.address, connect: () => openRaw(server.port) };
}

async function overTls(t: TestContext): Promise<Way> {
  const pair = loopbackPair();
  const server = await openTestServer(t, { tls: openTlsSource(pair) });
  return {
    server,
    origin: server.address,
    async connect() {
      const socket = connectSecurely({ port: server.port, host: '127.0.0.1', ca: pair.authority });
      await once(socket, 'secureConnect');
      return socket;
    },
  };
}

async function overLocalSocket(t: TestContext): Promise<Way> {
  const server = await openTestServer(t);
  return {
    server,
    origin: null,
    async connect() {
      const socket = connect({ path: server.socketPath });
      await once(socket, 'connect');
      return socket;
    },
  };
}

/** A certificate that vouches for itself, of a machine. */
async function selfSigned(t: TestContext): Promise<{ key: string; certificate: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'sealwright-machine-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const words =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=machine -keyout key -out cert';
  execFileSync('openssl', words.split(' '), { cwd: folder, stdio: 'ignore' });
  const read = (name: string) => readFile(join(folder, name), 'utf8');
  return { key: await read('key'), certificate: await read('cert') };
}

async function asMachine(t: TestContext): Promise<Way & { readonly fingerprint: string }> {
  const made = createAuthority(Date.now());
  const own = openIssuer(made).leaf({ bytes: Uint8Array.of(127, 0, 0, 1) });
  const client = await selfSigned(t);
  const server = await openTestServer(t, {
    machines: {
      listen: { host: '127.0.0.1', port: 0 },
      names: ['127.0.0.1'],
      authority: {
        certificates: async () => [made, client],
        serverCredential: async () => ({ ...own, expiresAt: Date.now() + 3_600_000 }),
      },
    },
  });
  const fingerprint = createHash('sha256').update(new X509Certificate(client.certificate).raw).digest('hex');
  server.control.actors.set(fingerprint, { id: 'agent:machine', scopes: new Set(['*']), reach: 'all' });
  return {
    ...{ server, fingerprint, origin: null },
    async connect() {
      const socket = connectSecurely({
        ...{ port: Number(new URL(server.machinesAddress!).port), host: '127.0.0.1', ca: made.certificate },
        ...{ cert: client.certificate, key: client.key },
      });
      await once(socket, 'secureConnect');
      return socket;
    },
  };
}

/** Each shape is refused with the status before any 101, uses up no ticket, and is on record as that. */
async function refusesAll(
  way: Way,
  shapes: Readonly<Record<string, readonly [Shape, status: number, UpgradeRefusal]>>,
): Promise<void> {
  const { attach } = way.server.control;
  for (const [name, [shape, status, refusal]] of Object.entries(shapes)) {
    const before = attach.refusals.length;
    const socket = await ask(way, shape);
    const answer = await socket.answer;
    assert.equal(answer.status, status, `${name}: ${answer.text}`);
    assert.equal(answer.headers['content-type'], 'application/problem+json', name);
    assert.equal(answer.headers.connection, 'close', name);
    assert.equal(answer.headers['x-frame-options'], 'DENY', name);
    assert.doesNotMatch(answer.text, /sw_attach_/, name);
    await socket.closed;
    assert.equal(attach.refusals.length, before + 1, `${name} is on record`);
    const [recorded] = attach.refusals.slice(-1);
    assert.deepEqual([recorded!.refusal, recorded!.upgrade.run], [refusal, run], name);
    assert.equal(recorded!.upgrade.request.id, answer.headers['x-request-id'], name);
  }
  assert.equal(attach.attached.length, 0);
  assert.deepEqual(attach.denied, [], 'no ticket was used up');
}

/** Positive control: the very ticket that was refused all the time is still good for one connection. */
async function letsIn(way: Way, ticket: string): Promise<void> {
  const socket = await ask(way, { ticket });
  assert.equal((await socket.answer).status, 101);
  const { client } = await way.server.control.attach.at(0);
  client.data(1, Buffer.from('hello'));
  assert.equal(String((await socket.next())!.payload), '\x01hello');
  socket.socket.destroy();
}

function malformedUpgrades(ticket: string): Parameters<typeof refusesAll>[1] {
  const protocol = (value: string | null) => ({ ticket, headers: { 'Sec-WebSocket-Protocol': value } });
  const key = (value: string | null) => ({ ticket, headers: { 'Sec-WebSocket-Key': value } });
  const version = (value: string | null) => ({ ticket, headers: { 'Sec-WebSocket-Version': value } });
  const query = (text: string): Shape => ({ ticket, target: `${path}?${text}` });
  const both = `${attachProtocol}, sealwright.ticket.${ticket}`;
  return {
    'no ticket': [{}, 401, 'ticket-missing'],
    'another credential': [{ headers: { Authorization: 'Basic b3duZXI6cGFzcw==' } }, 401, 'ticket-missing'],
    'an empty ticket': [{ headers: { Authorization: 'Bearer ' } }, 401, 'ticket-missing'],
    'ticket in the URL': [{ target: `${path}?ticket=${ticket}` }, 400, 'ticket-in-url'],
    'token in the URL': [{ target: `${path}?token=${ticket}` }, 400, 'ticket-in-url'],
    'ticket as the offset': [{ target: `${path}?from=${ticket}` }, 400, 'ticket-in-url'],
    'an unknown query': [query('x=1'), 400, 'ticket-in-url'],
    'an offset twice': [query('from=1&from=2'), 400, 'ticket-in-url'],
    'a negative offset': [query('from=-1'), 400, 'ticket-in-url'],
    'a huge offset': [query('from=9999999999999999'), 400, 'protocol'],
    'a POST': [{ ticket, first: `POST ${path} HTTP/1.1` }, 401, 'ticket-missing'],
    'HTTP/1.0': [{ ticket, first: `GET ${path} HTTP/1.0` }, 400, 'protocol'],
    'another protocol': [{ ticket, headers: { Upgrade: 'h2c' } }, 426, 'protocol'],
    'two upgrades': [{ ticket, more: ['Upgrade: h2c'] }, 426, 'protocol'],
    'no version': [version(null), 426, 'protocol'],
    'version 8': [version('8'), 426, 'protocol'],
    'two versions': [{ ticket, more: ['Sec-WebSocket-Version: 13'] }, 426, 'protocol'],
    'no key': [key(null), 400, 'protocol'],
    'a short key': [key('dGhlIHNhbXBsZSBub25jZQ='), 400, 'protocol'],
    'a key of 15 bytes': [key('dGhlIHNhbXBsZSBub25j'), 400, 'protocol'],
    'two keys': [{ ticket, more: ['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='] }, 400, 'protocol'],
    'no subprotocol': [protocol(null), 400, 'protocol'],
    'an older subprotocol': [protocol('sealwright.attach.v0'), 400, 'protocol'],
    'a subprotocol twice': [protocol(`${attachProtocol}, ${attachProtocol}`), 400, 'protocol'],
    'no token as subprotocol': [protocol(`${attachProtocol}, a b`), 400, 'protocol'],
    'an empty subprotocol': [protocol(`${attachProtocol},,`), 400, 'protocol'],
    'the ticket in two ways': [{ ticket, headers: { 'Sec-WebSocket-Protocol': both } }, 400, 'protocol'],
    'two tickets': [
      { headers: { 'Sec-WebSocket-Protocol': `${both}, sealwright.ticket.x` } },
      400,
      'protocol',
    ],
    'the ticket in two headers': [
      { ticket, more: [`Authorization: Bearer ${ticket}`] },
      401,
      'ticket-missing',
    ],
    'a body': [{ ticket, headers: { 'Content-Length': '5' } }, 400, 'protocol'],
    'two hosts': [{ ticket, more: ['Host: other.test'] }, 400, 'protocol'],
    'no host': [{ ticket, headers: { Host: null } }, 400, 'protocol'],
  };
}

function foreignOrigins(way: Way, ticket: string): Parameters<typeof refusesAll>[1] {
  const { protocol, port } = new URL(way.origin!);
  const from = (origin: string | null): readonly [Shape, number, UpgradeRefusal] => [
    { ticket, headers: { Origin: origin } },
    403,
    'origin',
  ];
  const swapped = protocol === 'http:' ? 'https:' : 'http:';
  return {
    'no origin': from(null),
    'an empty origin': from(''),
    'the null origin': from('null'),
    'a foreign origin': from('https://evil.example'),
    'an own name as a prefix': from(`${protocol}//127.0.0.1.evil.example:${port}`),
    'an own name as a suffix': from(`${protocol}//evil-127.0.0.1:${port}`),
    'another port': from(`${protocol}//127.0.0.1:${Number(port) + 1}`),
    'no port': from(`${protocol}//127.0.0.1`),
    'another scheme': from(`${swapped}//127.0.0.1:${port}`),
    'a path behind it': from(`${way.origin}/`),
    'a user in it': from(`${protocol}//user@127.0.0.1:${port}`),
    'another case': from(`${protocol.toUpperCase()}//127.0.0.1:${port}`),
    'two origins': [{ ticket, headers: {}, more: [`Origin: ${way.origin}`] }, 403, 'origin'],
    'its host as origin': [
      { ticket, headers: { Host: 'evil.example', Origin: `${protocol}//evil.example` } },
      403,
      'origin',
    ],
  };
}

for (const [name, open] of Object.entries({ TCP: overTcp, TLS: overTls }))
  test(`over ${name} an upgrade that is not exactly right is refused before 101 and recorded`, async (t) => {
    const way = await open(t);
    const ticket = way.server.control.attach.issue(run);
    await refusesAll(way, { ...malformedUpgrades(ticket), ...foreignOrigins(way, ticket) });
    await letsIn(way, ticket);
  });

for (const [name, open] of Object.entries({ 'local socket': overLocalSocket, machines: asMachine }))
  test(`at the listener ${name} pages are refused, and malformed upgrades as elsewhere`, async (t) => {
    const way = await open(t);
    const ticket = way.server.control.attach.issue(run);
    const { 'a POST': _, ...malformed } = malformedUpgrades(ticket);
    await refusesAll(way, {
      ...malformed,
      'an own origin': [{ ticket, headers: { Origin: way.server.address } }, 403, 'origin'],
      'what a browser says': [{ ticket, headers: { 'Sec-Fetch-Site': 'same-origin' } }, 403, 'origin'],
    });
    await letsIn(way, ticket);
  });

test('a machine whose certificate nobody knows gets nowhere, and one whose certificate is revoked is cut', async (t) => {
  const way = await asMachine(t);
  const { actors, attach } = way.server.control;
  const actor = actors.get(way.fingerprint)!;
  actors.delete(way.fingerprint);
  const refused = await ask(way, { ticket: attach.issue(run) });
  assert.equal((await refused.answer).status, 401);
  actors.set(way.fingerprint, actor);
  const socket = await ask(way, { ticket: attach.issue(run) });
  assert.equal((await socket.answer).status, 101);
  const { length: before } = attach.attached;
  actors.delete(way.fingerprint);
  way.server.control.identityChanged();
  await socket.closed;
  assert.equal(before, 1);
});

test('a ticket is for one use, for one run, in time; each other use is refused before 101 and on record', async (t) => {
  const way = await overTcp(t);
  const { attach } = way.server.control;
  const used = attach.issue(run);
  assert.equal((await (await ask(way, { ticket: used })).answer).status, 101);
  const tickets = { used, other: attach.issue(other), expired: attach.issue(run, { expiresAt: 1 }), no: 'x' };
  for (const [name, ticket] of Object.entries(tickets)) {
    const answer = await (await ask(way, { ticket })).answer;
    assert.deepEqual([name, answer.status], [name, 401]);
    assert.equal(JSON.parse(answer.body).code, 'auth.invalid');
  }
  assert.deepEqual(
    attach.denied.map(({ ticket }) => ticket),
    Object.values(tickets),
  );
  assert.deepEqual(attach.refusals, [], 'control puts them on record, and nobody twice');
  assert.equal(attach.attached.length, 1);
});

test('of ten who present one ticket at once one is let in', async (t) => {
  const way = await overTcp(t);
  const ticket = way.server.control.attach.issue(run);
  const sockets = await Promise.all(Array.from({ length: 10 }, () => ask(way, { ticket })));
  const statuses = await Promise.all(sockets.map(async ({ answer }) => (await answer).status));
  assert.deepEqual(statuses.sort(), [101, ...Array(9).fill(401)]);
  for (const { socket } of sockets) socket.destroy();
});

test('without an upgrade the route asks for a credential like every other, and then for an upgrade', async (t) => {
  const { server } = await overTcp(t);
  const { attach } = server.control;
  assert.equal((await server.call('GET', path, { token: null })).status, 401);
  assert.equal((await server.call('GET', path)).status, 404, 'no such run');
  const session = await server.call('POST', '/api/v1/sessions', { body: {} });
  const made = await server.call('POST', '/api/v1/runs', {
    body: { session: session.body.id, command: ['x'] },
  });
  const asked = await server.call('GET', `/api/v1/runs/${made.body.id}/attach`);
  assert.equal(asked.status, 426);
  assert.deepEqual([asked.headers.get('upgrade'), asked.body.code], ['websocket', 'request.upgrade']);
  const half = upgradeText(path, {
    ticket: attach.issue(run),
    headers: { Upgrade: null, Connection: 'close' },
  });
  assert.equal((await new RawWebSocket(await openRaw(server.port), half).answer).status, 401);
  assert.deepEqual(
    attach.refusals.map(({ refusal }) => refusal),
    ['ticket-missing', 'protocol', 'protocol', 'ticket-missing'],
  );
});

test('no other route upgrades, whatever is asked', async (t) => {
  const way = await overTcp(t);
  const ticket = way.server.control.attach.issue(run);
  for (const [target, status] of [
    ['/api/v1/runs', 401],
    ['/healthz', 200],
    [`${path}/`, 401],
    [`/api/v1/runs/${run}/attach%2f`, 401],
    [`/api/v1/runs/${run}/%61ttach`, 401],
    ['/api/v1/runs/nothing/attach', 401],
    [`//api/v1/runs/${run}/attach`, 401],
  ] as const) {
    const socket = await ask(way, { ticket, target, more: ['Connection: close'] });
    assert.equal((await socket.answer).status, status, target);
    socket.socket.destroy();
  }
  assert.deepEqual(way.server.control.attach.attached, []);
});

test('an upgrade behind a request that is not answered yet is none', async (t) => {
  const { server } = await overTcp(t);
  const ticket = server.control.attach.issue(run);
  const ordinary = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n';
  const upgrade = upgradeText(path, {
    ticket,
    headers: { Origin: server.address },
    more: ['Connection: close'],
  });
  const socket = new RawWebSocket(await openRaw(server.port), ordinary + upgrade);
  const { text } = await socket.answer;
  assert.deepEqual(text.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 401']);
  assert.deepEqual(server.control.attach.attached, []);
});

test('past its rate an address is refused, and on record for it once', async (t) => {
  const rateLimits = { default: 5, signIn: 1e6, write: 1e6, admin: 1e6 };
  const server = await openTestServer(t, { rateLimits });
  const way: Way = { server, origin: server.address, connect: () => openRaw(server.port) };
  const statuses: number[] = [];
  for (let at = 0; at < 12; at += 1) statuses.push((await (await ask(way, {})).answer).status);
  assert.deepEqual(statuses, [...Array(5).fill(401), ...Array(7).fill(429)]);
  const { refusals } = server.control.attach;
  assert.equal(refusals.filter(({ refusal }) => refusal === 'rate').length, 1);
  assert.equal(refusals.length, 6);
});

test('who guesses tickets is slowed', async (t) => {
  const rateLimits = { default: 1e6, signIn: 3, write: 1e6, admin: 1e6 };
  const server = await openTestServer(t, { rateLimits });
  const way: Way = { server, origin: server.address, connect: () => openRaw(server.port) };
  const statuses: number[] = [];
  for (let at = 0; at < 5; at += 1)
    statuses.push((await (await ask(way, { ticket: `guess${at}` })).answer).status);
  assert.deepEqual(statuses, [401, 401, 401, 429, 429]);
  const good = await ask(way, { ticket: server.control.attach.issue(run) });
  assert.equal((await good.answer).status, 101, 'who holds one is let in');
  good.socket.destroy();
});

test('a client that leaves before it is let in is abandoned, and the server closes while others wait', async (t) => {
  const way = await overTcp(t);
  const { attach } = way.server.control;
  const release = Promise.withResolvers<void>();
  attach.hold = release.promise;
  const left = await ask(way, { ticket: attach.issue(run) });
  await until(() => attach.presented.length === 1);
  left.socket.resetAndDestroy();
  await left.closed;
  // The server hears of it no later than of what is sent after it.
  for (let at = 0; at < 3; at += 1) await way.server.call('GET', '/healthz');
  release.resolve();
  await until(() => attach.abandoned.length + attach.attached.length > 0);
  assert.equal(attach.abandoned.length, 1);
  attach.hold = new Promise(() => undefined);
  const waiting = await ask(way, { ticket: attach.issue(run) });
  await until(() => attach.presented.length === 2);
  const since = performance.now();
  await way.server.close();
  assert(performance.now() - since < 2_500, `the close took ${performance.now() - since} ms`);
  await waiting.closed;
});

test('a close of the server tells clients to come again, and does not wait for those that do not go', async (t) => {
  const way = await overTcp(t);
  const { attach } = way.server.control;
  const polite = await ask(way, { ticket: attach.issue(run) });
  const silent = await ask(way, { ticket: attach.issue(run) });
  await attach.at(1);
  const since = performance.now();
  const closed = way.server.close();
  assert.equal(await polite.closeCode(), 1001);
  polite.send({ opcode: opcodes.close, payload: Buffer.from([0x03, 0xe9]) });
  await Promise.all([closed, polite.closed, silent.closed]);
  assert(performance.now() - since < 1_000, `the close took ${performance.now() - since} ms`);
  assert.deepEqual(
    attach.attached.map(({ gone }) => gone),
    ['goingAway', 'goingAway'],
  );
});
