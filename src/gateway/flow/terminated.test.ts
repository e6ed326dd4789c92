import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request as plainRequest, type ServerResponse } from 'node:http';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  createSecureServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { Agent, createServer as createTlsServer, request } from 'node:https';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls, createServer as createRawTlsServer, type TLSSocket } from 'node:tls';
import { createAuthority, openIssuer } from '../../base/certificates.ts';
import type { EgressRule } from '../../model/egress.ts';
import { hostRule, listening, portOf, settled, siteAddress, siteHost, TestGate } from '../test-gate.ts';

const now = Date.now();
const publicAuthority = createAuthority(now);
const upstreamCredential = openIssuer(publicAuthority).leaf(siteHost);
const serverOptions = { key: upstreamCredential.key, cert: upstreamCredential.certificate };
const inside = { methods: ['GET', 'POST'], paths: ['/open/**'] };

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A gate before a server, and the local port that programs connect to. */
async function gateTo(t: TestContext, port: number, more: Partial<EgressRule> = inside) {
  const gate = new TestGate(t, { rules: [hostRule(siteHost, more)], site: { port } });
  gate.upstreams.authorities = [publicAuthority.certificate];
  return { gate, port: await gate.portTo(siteHost, 443) };
}

async function site(t: TestContext, handler: Handler, options: object = serverOptions) {
  const server = createTlsServer(options, handler);
  await listening(server);
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return portOf(server);
}

async function site2(
  t: TestContext,
  onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
) {
  const server = createSecureServer(serverOptions);
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    onStream(stream, headers);
  });
  server.on('sessionError', () => undefined);
  await listening(server);
  t.after(() => server.close());
  return portOf(server);
}

type Answer = {
  status: number;
  body: string;
  headers: IncomingMessage['headers'];
  trailers: NodeJS.Dict<string>;
};
type Ask = {
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  body?: string;
  agent?: Agent;
};

/** A program that trusts the sandbox's authority and no other. */
async function ask(gate: TestGate, port: number, { body, headers: more, ...options }: Ask): Promise<Answer> {
  const asked = request({
    host: '127.0.0.1',
    port,
    servername: siteHost,
    ca: gate.authority.certificate,
    headers: { host: siteHost, ...more },
    ...options,
    agent: options.agent ?? false,
  });
  asked.end(body);
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const { statusCode: status = 0, headers, trailers } = response;
  return { status, headers, trailers, body: Buffer.concat(chunks).toString() };
}

async function gone(socket: TLSSocket): Promise<void> {
  socket.on('error', () => undefined);
  if (!socket.destroyed) await once(socket, 'close').catch(() => undefined);
}

async function session(t: TestContext, gate: TestGate, port: number): Promise<ClientHttp2Session> {
  const socket = connectTls({
    host: '127.0.0.1',
    port,
    servername: siteHost,
    ca: gate.authority.certificate,
    ALPNProtocols: ['h2', 'http/1.1'],
  });
  socket.on('error', () => undefined);
  await once(socket, 'secureConnect');
  assert.equal(socket.alpnProtocol, 'h2');
  const client = connectHttp2(`https://${siteHost}`, { createConnection: () => socket });
  client.on('error', () => undefined);
  t.after(() => client.destroy());
  return client;
}

async function ask2(client: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: string) {
  const stream = client.request(headers, { endStream: body === undefined });
  stream.on('error', () => undefined);
  if (body !== undefined) stream.end(body);
  return await answer2(stream);
}

async function answer2(stream: ClientHttp2Stream) {
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders = {};
  stream.on('response', (received) => {
    headers = received;
  });
  stream.on('trailers', (received) => {
    trailers = received;
  });
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  if (!stream.destroyed) await once(stream, 'close').catch(() => undefined);
  const status = Number(headers[':status'] ?? 0);
  return { status, headers, trailers, rst: stream.rstCode, body: Buffer.concat(chunks).toString() };
}

test('requests inside TLS are judged one by one, and each has a flow beside that of the connection', async (t) => {
  const seen: string[] = [];
  const upstream = await site(t, (request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.host}`);
    response.end('from upstream');
  });
  const { gate, port } = await gateTo(t, upstream);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const first = await ask(gate, port, { path: '/open/a?q=1', agent });
  assert.deepEqual([first.status, first.body], [200, 'from upstream']);
  const second = await ask(gate, port, { path: '/open/b', method: 'POST', body: 'abc', agent });
  assert.equal(second.status, 200);
  const denied = await ask(gate, port, { path: '/other', agent });
  assert.equal(denied.status, 403);
  assert.match(denied.body, /no rule allows this method and path/);
  assert.match(
    denied.body,
    /host: site\.test\n {4}ports: \[443\]\n {4}protocol: https\n {4}methods: \["GET"\]\n {4}paths: \["\/other"\]/,
  );
  assert.deepEqual(seen, [`GET /open/a?q=1 ${siteHost}`, `POST /open/b ${siteHost}`]);
  const flows = await gate.changes.until(() => gate.flows.length === 4 && gate.flows);
  assert.deepEqual(
    flows.map(({ verdict, protocol, method, path, denial, address }) => [
      verdict,
      protocol,
      method,
      path,
      denial,
      address,
    ]),
    [
      ['allowed', 'https', 'CONNECT', null, null, siteAddress],
      ['allowed', 'https', 'GET', '/open/a', null, siteAddress],
      ['allowed', 'https', 'POST', '/open/b', null, siteAddress],
      ['denied', 'https', 'GET', '/other', 'request', null],
    ],
  );
  const ends = await gate.changes.until(() => gate.ends.length === 3 && gate.ends);
  assert.ok(
    ends.every(({ outcome, bytesIn, bytesOut }) => outcome === 'closed' && bytesIn > 0 && bytesOut > 0),
  );
});

test('the verdict on the connection is durable before its hello, and that on a request before the request', async (t) => {
  const events: string[] = [];
  let heard = () => 0;
  const server = createRawTlsServer(serverOptions, (socket) => {
    events.push('secured');
    socket.once('data', () => {
      events.push('request');
      socket.end('HTTP/1.1 204 No Content\r\n\r\n');
    });
    socket.on('error', () => undefined);
  });
  server.on('connection', (socket) => {
    heard = () => socket.bytesRead;
  });
  await listening(server);
  t.after(() => server.close());
  const { gate, port } = await gateTo(t, portOf(server));
  gate.byHand = true;
  const asked = ask(gate, port, { path: '/open/' });
  await gate.flow(0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual([events, heard()], [[], 0]);
  events.push('durable');
  gate.acknowledge();
  await gate.flow(1);
  events.push('durable');
  gate.acknowledge();
  assert.equal((await asked).status, 204);
  assert.deepEqual(events, ['durable', 'secured', 'durable', 'request']);
});

test('a program that trusts only the public authority does not get past the gateway', async (t) => {
  const upstream = await site(t, (_request, response) => response.end());
  const { port } = await gateTo(t, upstream);
  const socket = connectTls({
    host: '127.0.0.1',
    port,
    servername: siteHost,
    ca: publicAuthority.certificate,
  });
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  assert.match(String(error.code), /SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET/);
});

const badCertificates = {
  'of another name': openIssuer(publicAuthority).leaf('other.test'),
  'of an unknown authority': openIssuer(createAuthority(now)).leaf(siteHost),
  'that has expired': openIssuer(createAuthority(now - 500 * 86_400_000)).leaf(siteHost),
};
for (const [what, { key, certificate }] of Object.entries(badCertificates)) {
  test(`an upstream with a certificate ${what} gets no request, and the program is told`, async (t) => {
    let requests = 0;
    const upstream = await site(t, () => (requests += 1), { key, cert: certificate });
    const { gate, port } = await gateTo(t, upstream);
    const { status, body } = await ask(gate, port, { path: '/open/' });
    assert.equal(status, 502);
    assert.match(body, /certificate does not prove that it is site\.test:443/);
    assert.equal(requests, 0);
    const denied = await gate.changes.until(() => gate.flows.find(({ denial }) => denial === 'certificate'));
    assert.equal(denied.verdict, 'denied');
  });
}

test('Host that is not the name of the certificate is refused: no fronting inside TLS', async (t) => {
  let requests = 0;
  const upstream = await site(t, (_request, response) => {
    requests += 1;
    response.end();
  });
  const { gate, port } = await gateTo(t, upstream);
  for (const host of ['other.test', `${siteHost}:80`, `a.${siteHost}`, '127.0.0.1'])
    assert.equal((await ask(gate, port, { path: '/open/', headers: { host } })).status, 403, host);
  const denials = await gate.changes.until(() => {
    const found = gate.flows.filter(({ denial }) => denial === 'name-mismatch');
    return found.length > 0 && found;
  });
  assert.ok(denials.length > 0);
  assert.equal(requests, 0);
  for (const host of [siteHost, `${siteHost}:443`, 'SITE.test', `${siteHost}.`])
    assert.equal((await ask(gate, port, { path: '/open/', headers: { host } })).status, 200, host);
});

test('a path with more than one reading is refused inside TLS too', async (t) => {
  const upstream = await site(t, (_request, response) => response.end());
  const { gate, port } = await gateTo(t, upstream);
  for (const path of [
    '/open/../other',
    '/open/%2e%2e/other',
    '/open//x',
    '/open/%2Fx',
    'https://site.test/open/',
  ])
    assert.equal((await ask(gate, port, { path })).status, 403, path);
  assert.equal((await ask(gate, port, { path: '/open/%61' })).status, 200);
});

test('trailers, 100 Continue and streamed events pass inside TLS', async (t) => {
  const upstream = await site(t, (request, response) => {
    if (request.url === '/open/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      response.once('close', () => undefined);
      return;
    }
    response.writeHead(200, { trailer: 'x-sum' });
    request
      .on('data', () => undefined)
      .on('end', () => {
        response.write('body');
        response.addTrailers({ 'x-sum': '42' });
        response.end();
      });
  });
  const { gate, port } = await gateTo(t, upstream);
  const answered = await ask(gate, port, {
    path: '/open/',
    method: 'POST',
    body: 'x',
    headers: { expect: '100-continue' },
  });
  assert.deepEqual([answered.body, answered.trailers], ['body', { 'x-sum': '42' }]);
  const events = request({
    host: '127.0.0.1',
    port,
    servername: siteHost,
    ca: gate.authority.certificate,
    headers: { host: siteHost },
    path: '/open/events',
    agent: false,
  });
  events.on('error', () => undefined).end();
  const [response] = (await once(events, 'response')) as [IncomingMessage];
  const [first] = (await once(response, 'data')) as [Buffer];
  assert.equal(String(first), 'data: 1\n\n');
  events.destroy();
});

test('a WebSocket inside TLS is joined after its request was judged', async (t) => {
  const server = createTlsServer(serverOptions);
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    socket.pipe(socket);
  });
  await listening(server);
  t.after(() => server.close());
  const { gate, port } = await gateTo(t, portOf(server));
  const headers = { host: siteHost, connection: 'Upgrade', upgrade: 'websocket' };
  const options = { host: '127.0.0.1', port, servername: siteHost, ca: gate.authority.certificate, headers };
  const denied = request({ ...options, path: '/other', agent: false }).end();
  const [answer] = (await once(denied, 'response')) as [IncomingMessage];
  assert.equal(answer.statusCode, 403);
  answer.resume();
  const opened = request({ ...options, path: '/open/socket', agent: false }).end();
  const [, socket] = (await once(opened, 'upgrade')) as [IncomingMessage, TLSSocket];
  socket.write('ping');
  assert.equal(String((await once(socket, 'data'))[0]), 'ping');
  gate.admit([]);
  await gone(socket);
  const end = await gate.changes.until(() => gate.ends.find(({ outcome }) => outcome === 'cut'));
  assert.ok(end);
});

test('HTTP/2 is spoken where both ends do, with every stream judged', async (t) => {
  const seen: string[] = [];
  const upstream = await site2(t, (stream, headers) => {
    seen.push(`${headers[':method']} ${headers[':path']} ${headers[':authority']} ${headers.host ?? '-'}`);
    let size = 0;
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
    });
    stream.on('end', () => {
      stream.respond({ ':status': 200, 'x-a': 'b', 'set-cookie': ['a=1', 'b=2'] }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(`got ${size}`);
    });
  });
  const { gate, port } = await gateTo(t, upstream);
  const client = await session(t, gate, port);
  const answers = await Promise.all([
    ask2(client, { ':path': '/open/1' }),
    ask2(client, { ':path': '/open/2', ':method': 'POST', te: 'trailers' }, 'x'.repeat(200_000)),
    ask2(client, { ':path': '/secret' }),
    ask2(client, { ':path': '/open/3', ':method': 'DELETE' }),
    ask2(client, { ':path': '/open/4', ':authority': 'other.test' }),
    ask2(client, { ':path': '/open/5', host: siteHost }),
    ask2(client, { ':path': '/open/6', ':scheme': 'http' }),
    ask2(client, { ':path': '/open/../7' }),
  ]);
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 403, 403, 403, 200, 403, 403],
  );
  assert.equal(answers[1]!.body, 'got 200000');
  assert.equal(answers[1]!.trailers['grpc-status'], '0');
  assert.deepEqual(answers[1]!.headers['set-cookie'], ['a=1', 'b=2']);
  assert.match(answers[2]!.body, /paths: \["\/secret"\]/);
  assert.deepEqual(seen.toSorted(), [
    `GET /open/1 ${siteHost} -`,
    `GET /open/5 ${siteHost} -`,
    `POST /open/2 ${siteHost} -`,
  ]);
  client.close();
  const ends = await gate.changes.until(() => gate.ends.length === 4 && gate.ends);
  const post = gate.flows.find(({ path }) => path === '/open/2')!;
  assert.equal(ends.find(({ id }) => id === post.id)?.bytesOut, 200_000);
  assert.ok(ends.every(({ outcome }) => outcome === 'closed'));
});

test('an early answer, a reset on either side and a large body pass as they are in HTTP/2', async (t) => {
  const upstream = await site2(t, (stream, headers) => {
    if (headers[':path'] === '/open/reset') return stream.close(11);
    if (headers[':path'] === '/open/large') {
      stream.respond({ ':status': 200 });
      stream.end(Buffer.alloc(5_000_000));
      return;
    }
    if (headers[':path'] === '/open/hints') stream.additionalHeaders({ ':status': 103, link: '</a>' });
    stream.respond({ ':status': 413 }, { endStream: true });
  });
  const { gate, port } = await gateTo(t, upstream);
  const client = await session(t, gate, port);
  assert.equal((await ask2(client, { ':path': '/open/reset' })).rst, 11);
  assert.equal((await ask2(client, { ':path': '/open/large' })).body.length, 5_000_000);
  const early = client.request({ ':path': '/open/early', ':method': 'POST' });
  early.write('begin');
  const [headers] = (await once(early, 'response')) as [IncomingHttpHeaders];
  assert.equal(headers[':status'], 413);
  early.close(8);
  const hinted = client.request({ ':path': '/open/hints' });
  const [hint] = (await once(hinted, 'headers')) as [IncomingHttpHeaders];
  assert.equal(hint[':status'], 103);
  assert.equal((await answer2(hinted)).status, 413);
});

test('a changed policy cuts HTTP/2 with a stream that it no longer allows', async (t) => {
  const upstream = await site2(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.write('first');
  });
  const { gate, port } = await gateTo(t, upstream);
  const client = await session(t, gate, port);
  const stream = client.request({ ':path': '/open/long' });
  stream.on('error', () => undefined);
  await once(stream, 'data');
  gate.admit([hostRule(siteHost, inside)]);
  assert.equal((await ask2(client, { ':path': '/closed/' })).status, 403, 'the same policy leaves it open');
  gate.admit([hostRule(siteHost, { ...inside, paths: ['/closed/**'] })]);
  if (!stream.destroyed) await once(stream, 'close').catch(() => undefined);
  const end = await gate.changes.until(() => gate.ends.find(({ outcome }) => outcome === 'cut'));
  assert.ok(end);
});

test('an upstream that speaks HTTP/1 alone is spoken to in HTTP/1, and the program is told so by ALPN', async (t) => {
  const upstream = await site(t, (_request, response) => response.end('one'));
  const { gate, port } = await gateTo(t, upstream);
  const socket = connectTls({
    host: '127.0.0.1',
    port,
    servername: siteHost,
    ca: gate.authority.certificate,
    ALPNProtocols: ['h2', 'http/1.1'],
  });
  await once(socket, 'secureConnect');
  assert.equal(socket.alpnProtocol, 'http/1.1');
  const asked = plainRequest({
    createConnection: () => socket,
    path: '/open/',
    headers: { host: siteHost },
  }).end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  assert.equal(response.statusCode, 200);
  response.resume();
});

test('a program that offers only what is not HTTP is refused', async (t) => {
  const upstream = await site(t, (_request, response) => response.end());
  const { gate, port } = await gateTo(t, upstream);
  const socket = connectTls({
    host: '127.0.0.1',
    port,
    servername: siteHost,
    ca: gate.authority.certificate,
    ALPNProtocols: ['acme-tls/1'],
  });
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  assert.match(String(error.code), /ERR_SSL/);
  assert.equal((await gate.flow()).denial, 'protocol');
});

test('what was tunnelled is cut by a policy that looks at requests', async (t) => {
  const server = createRawTlsServer(serverOptions, (socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  await listening(server);
  t.after(() => server.close());
  const { gate, port } = await gateTo(t, portOf(server), {});
  const socket = connectTls({
    host: '127.0.0.1',
    port,
    servername: siteHost,
    ca: publicAuthority.certificate,
  });
  socket.on('error', () => undefined);
  await once(socket, 'secureConnect');
  socket.write('x');
  await once(socket, 'data');
  gate.admit([hostRule(siteHost, { ...inside, name: 'later' })]);
  await gone(socket);
});

type Literals = Readonly<Record<string, string>>;

/** A frame of HTTP/2 (RFC 9113 §4.1). */
function frame(type: number, flags: number, id: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
}

/** Literal fields without indexing (RFC 7541 §6.2.2), as no library would send them. */
function literals(fields: Literals): Buffer {
  const text = (value: string) => Buffer.concat([Buffer.of(value.length), Buffer.from(value)]);
  const each = Object.entries(fields).map(([name, value]) =>
    Buffer.concat([Buffer.of(0), text(name), text(value)]),
  );
  return Buffer.concat(each);
}

/** An upstream that answers the first request of each connection with these frames. */
async function rawSite2(t: TestContext, answer: () => Buffer) {
  const server = createRawTlsServer({ ...serverOptions, ALPNProtocols: ['h2'] }, (socket) => {
    socket.on('error', () => undefined);
    socket.write(frame(4, 0, 0, Buffer.alloc(0)));
    let bytes = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      if (bytes.includes(frame(1, 5, 1, Buffer.alloc(0)).subarray(3))) socket.write(answer());
    });
  });
  await listening(server);
  t.after(() => server.close());
  return portOf(server);
}

test('an answer that is malformed or cannot be sent on ends its stream, and the gateway lives', async (t) => {
  const headers = (fields: Literals, flags = 4) => frame(1, flags, 1, literals(fields));
  const hostile: readonly Buffer[] = [
    headers({ ':status': '101' }),
    headers({ ':status': '99' }),
    headers({ ':status': '200', connection: 'close' }),
    headers({ ':status': '200', 'content-length': '5' }, 5),
    headers({ ':status': '200', 'transfer-encoding': 'chunked' }),
    headers({ ':status': '200', 'x-a': 'b\r\nc: d' }),
    headers({ 'x-a': 'b' }),
    Buffer.concat([headers({ ':status': '200' }), headers({ 'content-length': '3' }, 5)]),
    Buffer.concat([headers({ ':status': '200' }), headers({ ':status': '500' }, 5)]),
    Buffer.concat([
      headers({ ':status': '103' }),
      headers({ ':status': '103' }),
      frame(3, 0, 1, Buffer.of(0, 0, 0, 0)),
    ]),
    frame(5, 4, 1, Buffer.concat([Buffer.of(0, 0, 0, 2), literals({ ':method': 'GET' })])),
    frame(7, 0, 0, Buffer.alloc(8)),
    frame(0, 1, 1, Buffer.from('body before head')),
    frame(6, 0, 0, Buffer.alloc(7)),
    frame(8, 0, 1, Buffer.alloc(4)),
    Buffer.alloc(64, 0xff),
  ];
  let index = 0;
  const upstream = await rawSite2(t, () => hostile[index] ?? Buffer.alloc(0));
  const { gate, port } = await gateTo(t, upstream);
  for (; index < hostile.length; index += 1) {
    const client = await session(t, gate, port);
    const answer = ask2(client, { ':path': '/open/' });
    setTimeout(() => client.destroy(), 200).unref();
    const { status, rst } = await answer;
    assert.ok(rst !== 0 || status !== 101, `${index}: ${status} ${rst}`);
  }
  await gate.changes.until(() => gate.ends.length === 2 * hostile.length);
});

test('a hello that hides its name passes no byte: the upstream gets the name that can be seen', async (t) => {
  const names: (string | false | null)[] = [];
  let heard = Buffer.alloc(0);
  const server = createRawTlsServer(serverOptions, (socket) => {
    socket.on('error', () => undefined);
    names.push((socket as TLSSocket & { servername: string }).servername);
  });
  server.on('connection', (socket) => {
    const { push } = socket;
    socket.push = (chunk: Buffer | null) => {
      heard = Buffer.concat([heard, chunk ?? Buffer.alloc(0)]);
      return push.call(socket, chunk);
    };
  });
  await listening(server);
  t.after(() => server.close());
  const { gate } = await gateTo(t, portOf(server), {});
  const { program } = await gate.connect(siteHost, 443);
  program.write(withHiddenName(await helloOf(t, siteHost)));
  await program.until('\x16\x03\x03');
  while (names.length === 0) await settled();
  assert.deepEqual(names, [siteHost]);
  assert.ok(!heard.includes('hidden-from-all'));
  const { program: other } = await gate.connect(siteHost, 443);
  other.write(withHiddenName(await helloOf(t, 'other.test')));
  await other.ended();
  assert.equal(names.length, 1);
  assert.ok(await gate.changes.until(() => gate.flows.find(({ denial }) => denial === 'name-mismatch')));
});

/** The hello that Node sends for a name. */
async function helloOf(t: TestContext, servername: string): Promise<Buffer> {
  const server = createServer();
  await listening(server);
  t.after(() => server.close());
  const accepted = once(server, 'connection');
  const client = connectTls({ host: '127.0.0.1', port: portOf(server), servername });
  client.on('error', () => undefined);
  const [socket] = (await accepted) as [Socket];
  const [hello] = (await once(socket, 'data')) as [Buffer];
  client.destroy();
  socket.destroy();
  return hello;
}

/** The same with an extension encrypted_client_hello (0xfe0d) at its end, all lengths mended. */
function withHiddenName(hello: Buffer): Buffer {
  const hidden = Buffer.concat([
    Buffer.of(0, 0, 1, 0, 1, 7, 0, 32), // outer; HKDF-SHA256, AES-128-GCM; a config; 32 bytes of key
    Buffer.alloc(32),
    Buffer.of(0, 15),
    Buffer.from('hidden-from-all'),
  ]);
  const extension = Buffer.alloc(4 + hidden.length);
  extension.writeUInt16BE(0xfe0d, 0);
  extension.writeUInt16BE(hidden.length, 2);
  hidden.copy(extension, 4);
  const made = Buffer.concat([hello, extension]);
  made.writeUInt16BE(hello.readUInt16BE(3) + extension.length, 3);
  made.writeUIntBE(hello.readUIntBE(6, 3) + extension.length, 6, 3);
  // Behind version, random, session id, ciphers and compression methods.
  let at = 9 + 34;
  at += 1 + hello.readUInt8(at);
  at += 2 + hello.readUInt16BE(at);
  at += 1 + hello.readUInt8(at);
  made.writeUInt16BE(hello.readUInt16BE(at) + extension.length, at);
  return made;
}

test('a second connection resumes the session with the upstream', async (t) => {
  const reused: boolean[] = [];
  const server = createTlsServer(serverOptions, (request, response) => {
    reused.push((request.socket as TLSSocket).isSessionReused());
    response.end();
  });
  await listening(server);
  t.after(() => server.close());
  const { gate, port } = await gateTo(t, portOf(server));
  for (let index = 0; index < 2; index += 1) await ask(gate, port, { path: '/open/' });
  assert.deepEqual(reused, [false, true]);
});

const insideRules = [hostRule(siteHost, inside)];
const answerOk = { ':status': 200 } as const;

test('requests inside TLS are the requests of the minute, in HTTP/1 and in HTTP/2', async (t) => {
  const one = await gateTo(t, await site(t, (_request, response) => response.end('ok')));
  one.gate.admit(insideRules, 'restricted', { requestsPerMinute: 2 });
  for (const status of [200, 200, 429]) {
    const answer = await ask(one.gate, one.port, { path: '/open/x' });
    assert.equal(answer.status, status);
    if (status === 429) {
      assert.match(answer.headers['retry-after'] ?? '', /^(59|60)$/);
      assert.match(answer.body, /requestsPerMinute: 2/);
    }
  }
  const two = await gateTo(
    t,
    await site2(t, (stream) => {
      stream.respond(answerOk);
      stream.end('ok');
    }),
  );
  two.gate.admit(insideRules, 'restricted', { requestsPerMinute: 2 });
  const client = await session(t, two.gate, two.port);
  const answers = await Promise.all([1, 2, 3].map((at) => ask2(client, { ':path': `/open/${at}` })));
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 429],
  );
  assert.match(String(answers[2]!.headers['retry-after']), /^(59|60)$/);
  assert.match(answers[2]!.body, /requestsPerMinute: 2/);
  const denied = await two.gate.changes.until(() => two.gate.flows.find(({ denial }) => denial === 'limit'));
  assert.deepEqual([denied.protocol, denied.method, denied.path], ['https', 'GET', '/open/3']);
});

test('no byte of a body past the limit leaves inside TLS, in HTTP/1 and in HTTP/2, and all is cut', async (t) => {
  const limits = { bytesOut: 100_000 };
  const body = 'x'.repeat(1_000_000);
  let arrived = 0;
  const count = (chunk: Buffer) => {
    arrived += chunk.length;
  };
  const one = await gateTo(
    t,
    await site(t, (asked) => void asked.on('data', count).on('error', () => undefined)),
  );
  one.gate.admit(insideRules, 'restricted', limits);
  const lost = ask(one.gate, one.port, { method: 'POST', path: '/open/x', body });
  await assert.rejects(lost, { code: 'ECONNRESET' });
  await one.gate.changes.until(() => one.gate.ends.length === 2);
  assert.ok(one.gate.ends.every(({ outcome }) => outcome === 'cut'));
  assert.ok(arrived <= limits.bytesOut, `${arrived} bytes`);

  arrived = 0;
  const two = await gateTo(t, await site2(t, (stream) => void stream.on('data', count)));
  two.gate.admit(insideRules, 'restricted', limits);
  const client = await session(t, two.gate, two.port);
  const cut = await ask2(client, { ':method': 'POST', ':path': '/open/x' }, body);
  assert.equal(cut.status, 0);
  await two.gate.changes.until(() => two.gate.ends.length === 2);
  assert.ok(two.gate.ends.every(({ outcome }) => outcome === 'cut'));
  assert.ok(arrived > 0 && arrived <= limits.bytesOut, `${arrived} bytes`);
  assert.equal(two.gate.flows.filter(({ denial }) => denial === 'limit').length, 1);
});

test('fields of requests and trailers in HTTP/2 count, and one that does not fit does not leave', async (t) => {
  const paths: string[] = [];
  const trailers: string[] = [];
  const reached = Promise.withResolvers<void>();
  const { gate, port } = await gateTo(
    t,
    await site2(t, (stream, headers) => {
      paths.push(String(headers[':path']));
      if (paths.length === 2) reached.resolve();
      stream.on('trailers', (received) => trailers.push(String(received['x-told'])));
      stream.resume();
      stream.on('end', () => {
        stream.respond(answerOk);
        stream.end('ok');
      });
    }),
  );
  gate.admit(insideRules, 'restricted', { bytesOut: 2_000 });
  const client = await session(t, gate, port);
  assert.equal((await ask2(client, { ':path': '/open/small' })).status, 200);
  const stream = client.request({ ':method': 'POST', ':path': '/open/t' }, { waitForTrailers: true });
  stream.on('error', () => undefined);
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-told': 's'.repeat(2_000) }));
  stream.write('body');
  await reached.promise;
  stream.end();
  assert.equal((await answer2(stream)).status, 0);
  assert.deepEqual([paths, trailers], [['/open/small', '/open/t'], []]);
  gate.admit(insideRules, 'restricted', { bytesOut: 4_000 });
  const again = await session(t, gate, port);
  assert.equal((await ask2(again, { ':path': '/open/y', 'x-big': 'b'.repeat(3_000) })).status, 0);
  await settled();
  assert.equal(paths.length, 2);
});
