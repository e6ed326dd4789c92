import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import type { EgressRule } from '../../model/egress.ts';
import { gatewayLimits } from '../limits.ts';
import {
  cidrRule,
  hostRule,
  type Peer,
  settled,
  siteAddress,
  siteHost,
  TestGate,
  TestSite,
} from '../test-gate.ts';

type Web = { gate: TestGate; site: TestSite; program: Peer; served: Promise<void> };

/** A program that is connected to a web site by way of the gateway. */
async function web(t: TestContext, more: Partial<EgressRule> = {}): Promise<Web> {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, {
    rules: [hostRule(siteHost, { protocol: 'http', ports: [80], ...more })],
    site,
  });
  const { program, served } = await gate.connect(siteHost, 80);
  return { gate, site, program, served };
}

function request(line: string, fields: readonly string[] = [], body = ''): string {
  return [line, `Host: ${siteHost}`, ...fields, '', body].join('\r\n');
}

const get = request('GET / HTTP/1.1');

function response(body: string, fields: readonly string[] = []): string {
  return ['HTTP/1.1 200 OK', `Content-Length: ${body.length}`, ...fields, '', body].join('\r\n');
}

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

test('each request of a kept connection is checked, recorded and answered, on one connection upstream', async (t) => {
  const { gate, site, program } = await web(t, { methods: ['GET', 'PUT'], paths: ['/open/**'] });
  program.write(request('GET /open/a?q=1 HTTP/1.1'));
  const peer = await site.next();
  assert.equal(await peer.until('\r\n\r\n'), `GET /open/a?q=1 HTTP/1.1\r\nhost: ${siteHost}\r\n\r\n`);
  peer.write(response('first'));
  await program.until('first');
  program.write(request('PUT /open/b HTTP/1.1', ['Content-Length: 3'], 'abc'));
  await peer.until('abc');
  peer.write(response('second'));
  await program.until('second');
  program.write(request('DELETE /open/b HTTP/1.1'));
  assert.equal(await program.ended(), 'end');
  assert.match(program.text, /second(HTTP\/1.1 403 Forbidden[\s\S]*no rule allows this method and path)/);
  assert.equal(await peer.ended(), 'end');
  assert.ok(!peer.text.includes('DELETE'));
  await gate.end(1);
  await gate.flow(2);
  assert.deepEqual(
    gate.flows.map(({ method, path, verdict, denial }) => [method, path, verdict, denial]),
    [
      ['GET', '/open/a', 'allowed', null],
      ['PUT', '/open/b', 'allowed', null],
      ['DELETE', '/open/b', 'denied', 'request'],
    ],
  );
  assert.deepEqual(
    gate.ends.map(({ id, outcome }) => [id, outcome]),
    gate.flows.slice(0, 2).map(({ id }) => [id, 'closed']),
  );
  assert.equal(gate.ends[1]!.bytesIn, response('second').length);
  assert.equal(gate.upstreams.dials.length, 1);
});

for (const path of [
  '/shut',
  '/open',
  '/open/../shut',
  '/open/%2e%2e/shut',
  '/open/..%2fshut',
  '/open//x',
  '/open/a;b',
  '/open\\..\\shut',
])
  test(`with a rule for /open/** nothing of ${path} gets out`, async (t) => {
    const { gate, program } = await web(t, { paths: ['/open/**'] });
    program.write(request(`GET ${path} HTTP/1.1`));
    assert.equal(await program.ended(), 'end');
    assert.match(program.text, /^HTTP\/1.1 403/);
    assert.ok(['request', 'malformed'].includes((await gate.flow()).denial!));
    assert.deepEqual(gate.upstreams.dials, []);
  });

const misnamed: readonly (readonly [string, string])[] = [
  ['another Host', 'GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n'],
  ['another port', `GET / HTTP/1.1\r\nHost: ${siteHost}:8080\r\n\r\n`],
  ['an address as Host', `GET / HTTP/1.1\r\nHost: ${siteAddress}\r\n\r\n`],
  ['another host in the target', 'GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n'],
];
for (const [what, bytes] of misnamed)
  test(`${what} is denied as name-mismatch and nothing is dialled`, async (t) => {
    const { gate, program } = await web(t);
    program.write(bytes);
    await program.until('403 Forbidden');
    assert.equal((await gate.flow()).denial, 'name-mismatch');
    assert.deepEqual(gate.upstreams.dials, []);
  });

for (const [host, line] of [
  ['SITE.test', 'GET / HTTP/1.1'],
  [`${siteHost}.`, 'GET / HTTP/1.1'],
  [`${siteHost}:80`, 'GET / HTTP/1.1'],
  [siteHost, `GET http://${siteHost}/ HTTP/1.1`],
] as const)
  test(`${line} with Host ${host} names the host, and goes upstream by its canonical name`, async (t) => {
    const { site, program } = await web(t);
    program.write(`${line}\r\nHost: ${host}\r\n\r\n`);
    const peer = await site.next();
    assert.equal(await peer.until('\r\n\r\n'), `GET / HTTP/1.1\r\nhost: ${siteHost}\r\n\r\n`);
  });

test('a literal address is named by itself, and by no name', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, {
    rules: [cidrRule('10.0.0.0/8', { protocol: 'http', ports: [8080] })],
    site,
  });
  const { program } = await gate.connect('10.0.0.1', 8080);
  program.write('GET / HTTP/1.1\r\nHost: 10.0.0.1:8080\r\n\r\n');
  const peer = await site.next();
  assert.match(await peer.until('\r\n\r\n'), /^host: 10\.0\.0\.1:8080\r$/m);
  const other = await gate.connect('10.0.0.1', 8080);
  other.program.write('GET / HTTP/1.1\r\nHost: internal.test:8080\r\n\r\n');
  await other.program.until('403 Forbidden');
  assert.equal((await gate.flow(1)).denial, 'name-mismatch');
});

const smuggled: readonly (readonly [string, string])[] = [
  [
    'both framings',
    request('POST / HTTP/1.1', ['Content-Length: 4', 'Transfer-Encoding: chunked'], '0\r\n\r\n'),
  ],
  ['two lengths', request('POST / HTTP/1.1', ['Content-Length: 1', 'Content-Length: 2'], 'ab')],
  ['a signed length', request('POST / HTTP/1.1', ['Content-Length: +1'], 'a')],
  ['another coding', request('POST / HTTP/1.1', ['Transfer-Encoding: chunked, identity'], '0\r\n\r\n')],
  ['a space before the colon', request('POST / HTTP/1.1', ['Content-Length : 5'], 'GET /')],
  ['a folded line', request('POST / HTTP/1.1', ['X: a', ' Transfer-Encoding: chunked'], '')],
  ['a bare LF', get.replaceAll('\r\n', '\n')],
  ['two Hosts', request('GET / HTTP/1.1', ['Host: evil.test'])],
  ['an underscored framing field', request('POST / HTTP/1.1', ['Content_Length: 5'], '')],
  ['CONNECT', request('CONNECT evil.test:443 HTTP/1.1')],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a head that is too large', request('GET / HTTP/1.1', [`X: ${'x'.repeat(17_000)}`])],
  ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
];
for (const [what, bytes] of smuggled)
  test(`${what} is denied as malformed and nothing is dialled`, async (t) => {
    const { gate, site, program } = await web(t);
    program.write(bytes);
    await program.until('403 Forbidden');
    assert.equal(await program.ended(), 'end');
    assert.equal((await gate.flow()).denial, 'malformed');
    assert.deepEqual(gate.upstreams.dials, []);
    const { program: other } = await gate.connect(siteHost, 80);
    other.write(get);
    await (await site.next()).until('GET / HTTP/1.1');
  });

test('a request behind a body is one of its own, checked and recorded', async (t) => {
  const { gate, site, program } = await web(t, { methods: ['POST'] });
  const hidden = request('GET /admin HTTP/1.1');
  program.write(request('POST / HTTP/1.1', ['Content-Length: 3'], `abc${hidden}`));
  const peer = await site.next();
  await peer.until('abc');
  await settled();
  assert.ok(!peer.text.includes('admin'), 'it waits for the answer to the first');
  peer.write(response('ok'));
  await program.until('403 Forbidden');
  assert.equal((await gate.flow(1)).denial, 'request');
  assert.ok(!peer.text.includes('admin'));
});

test('requests that come together are sent one after the other, each after the answer to the one before', async (t) => {
  const { site, program } = await web(t);
  program.write(request('GET /1 HTTP/1.1') + request('POST /2 HTTP/1.1', ['Content-Length: 2'], 'hi') + get);
  const peer = await site.next();
  await peer.until('/1');
  await settled();
  assert.ok(!peer.text.includes('/2'));
  peer.write(response('one'));
  await peer.until('hi');
  peer.write(response('two'));
  await peer.until('GET / HTTP');
  peer.write(response('three'));
  await program.until('three');
  assert.deepEqual(program.text, response('one') + response('two') + response('three'));
});

test('a chunked body passes as it came, and what follows its end is a request', async (t) => {
  const { site, program } = await web(t);
  const body = '5;x=y\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n';
  program.write(request('POST /up HTTP/1.1', ['Transfer-Encoding: chunked']));
  const peer = await site.next();
  for (const character of body) program.write(character);
  program.write(get);
  await peer.until(body);
  peer.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body}`);
  await program.until(body);
  await peer.until('GET / HTTP/1.1');
});

test('a body that is broken cuts the upstream, before it can take the rest for a request', async (t) => {
  const { gate, site, program } = await web(t);
  const bad = `5\r\nhello0\r\n\r\n${request('GET /admin HTTP/1.1')}`;
  program.write(request('POST / HTTP/1.1', ['Transfer-Encoding: chunked']) + bad);
  const peer = await site.next();
  await peer.ended();
  await program.ended();
  assert.ok(!peer.text.includes('admin'));
  assert.equal(gate.flows.length, 1);
});

test('a program that waits for 100 gets it, and then its body is sent', async (t) => {
  const { site, program } = await web(t);
  program.write(request('POST / HTTP/1.1', ['Content-Length: 4', 'Expect: 100-continue']));
  const peer = await site.next();
  assert.match(await peer.until('\r\n\r\n'), /expect: 100-continue/);
  peer.write('HTTP/1.1 100 Continue\r\n\r\n');
  await program.until('100 Continue\r\n\r\n');
  program.write('body');
  await peer.until('body');
  peer.write(response('done'));
  await program.until('done');
  program.write(get);
  await peer.until('GET / HTTP/1.1');
});

test('a program that is refused instead of told to continue is not taken at its word about a body', async (t) => {
  const { gate, site, program } = await web(t);
  program.write(request('POST / HTTP/1.1', ['Content-Length: 400', 'Expect: 100-continue']));
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  peer.write('HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n');
  await program.until('417');
  assert.equal(await program.ended(), 'end');
  await peer.ended();
  assert.equal((await gate.end()).outcome, 'closed');
});

test('an answer without a body ends with its head: to HEAD, 204 and 304', async (t) => {
  const { site, program } = await web(t);
  const answers = [
    [request('HEAD / HTTP/1.1'), 'HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n'],
    [get, 'HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n'],
    [get, 'HTTP/1.1 304 Not Modified\r\nContent-Length: 4000\r\n\r\n'],
    [get, response('the end')],
  ] as const;
  let peer: Peer | null = null;
  for (const [index, [sent, answer]] of answers.entries()) {
    program.write(sent);
    peer ??= await site.next();
    const heads = () => count(peer!.text, '\r\n\r\n');
    while (heads() <= index) await once(peer.socket, 'data');
    peer.write(answer);
    await program.until(answer);
  }
  assert.equal(program.text, answers.map(([, answer]) => answer).join(''));
});

test('a body of no bytes is over at once, in a request and in an answer', async (t) => {
  const { gate, site, program } = await web(t);
  const empty = request('POST / HTTP/1.1', ['Content-Length: 0']);
  program.write(empty);
  const peer = await site.next();
  for (let turn = 1; turn <= 3; turn += 1) {
    while (count(peer.text, 'POST') < turn) await once(peer.socket, 'data');
    peer.write(response(''));
    await gate.end(turn - 1);
    program.write(empty);
  }
  assert.equal(gate.upstreams.dials.length, 1);
});

test('an answer up to the close of the connection is whole once it is closed in order', async (t) => {
  const { gate, site, program } = await web(t);
  program.write(get);
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  peer.write('HTTP/1.1 200 OK\r\n\r\nno length');
  await program.until('no length');
  peer.socket.end(' at all');
  assert.equal(await program.ended(), 'end');
  assert.match(program.text, /no length at all$/);
  assert.equal((await gate.end()).outcome, 'closed');
});

for (const head of ['', 'Content-Length: 100\r\n', 'Transfer-Encoding: chunked\r\n'])
  test(`an answer that is cut off (${head.trim() || 'up to the close'}) reaches the program as cut off`, async (t) => {
    const { gate, site, program } = await web(t);
    program.write(get);
    const peer = await site.next();
    await peer.until('\r\n\r\n');
    peer.write(`HTTP/1.1 200 OK\r\n${head}\r\n5\r\nhello`);
    await program.until('hello');
    peer.socket.resetAndDestroy();
    assert.equal(await program.ended(), 'reset');
    assert.equal((await gate.end()).outcome, 'reset');
  });

const upgrade = request('GET /ws HTTP/1.1', ['Connection: Upgrade', 'Upgrade: websocket']);
const switched = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

test('a websocket passes in both directions, with frames that come early on both sides', async (t) => {
  const { gate, site, program } = await web(t);
  program.write(`${upgrade}early from program`);
  const peer = await site.next();
  await peer.until('upgrade: websocket');
  await settled();
  assert.ok(!peer.text.includes('early'), 'frames wait for the change');
  peer.write(`${switched}early from site`);
  await program.until('early from site');
  await peer.until('early from program');
  program.write('one');
  await peer.until('one');
  peer.write('two');
  await program.until('two');
  program.socket.end();
  peer.socket.end();
  assert.equal((await gate.end()).outcome, 'closed');
  assert.equal(count(program.text, 'early'), 1);
});

test('frames behind an upgrade that is not made are no request', async (t) => {
  const { gate, site, program } = await web(t);
  program.write(`${upgrade}\x81\x05hello`);
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  peer.write(response('no'));
  await program.until('403 Forbidden');
  assert.equal((await gate.flow(1)).denial, 'malformed');
  assert.ok(!peer.text.includes('hello'));
});

test('a policy that stops allowing its request cuts a live websocket at once', async (t) => {
  const { gate, site, program } = await web(t, { paths: ['/ws', '/other'] });
  program.write(upgrade);
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  peer.write(switched);
  await program.until('101');
  const rule = hostRule(siteHost, { protocol: 'http', ports: [80] });
  gate.admit([{ ...rule, paths: ['/w*'] }]);
  peer.write('still allowed');
  await program.until('still allowed');
  gate.admit([{ ...rule, paths: ['/other'] }]);
  assert.equal(await program.ended(), 'reset');
  await peer.ended();
  assert.equal((await gate.end()).outcome, 'cut');
});

const unasked: readonly (readonly [string, string])[] = [
  ['a change of protocol unasked', switched],
  ['both framings', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc'],
  ['no HTTP', 'SSH-2.0-server\r\n\r\n'],
  ['a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n'],
  ['a head that is too large', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(17_000)}\r\n\r\n`],
];
for (const [what, answer] of unasked)
  test(`an upstream that answers with ${what} is cut, and the program is told by a 502`, async (t) => {
    const { gate, site, program } = await web(t);
    program.write(get);
    const peer = await site.next();
    await peer.until('\r\n\r\n');
    peer.write(answer);
    assert.equal(await program.ended(), 'end');
    assert.match(program.text, /^HTTP\/1.1 502 Bad Gateway\r\n[\s\S]*Sealwright: /);
    assert.equal(count(program.text, 'HTTP/1.1'), 1);
    await peer.ended();
    await gate.end();
  });

test('a change to another protocol than the one that was asked for is a 502', async (t) => {
  const { site, program } = await web(t);
  program.write(upgrade);
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  peer.write(switched.replace('websocket', 'h2c'));
  await program.until('502 Bad Gateway');
  await peer.ended();
});

test('an answer that nobody asked for is never taken for the next one', async (t) => {
  const { gate, site, program } = await web(t);
  program.write(get);
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  peer.write(response('first'));
  await program.until('first');
  peer.write(response('poison'));
  await settled();
  program.write(request('GET /second HTTP/1.1'));
  const other = await site.next();
  await other.until('/second');
  other.write(response('second'));
  await program.until('second');
  assert.ok(!program.text.includes('poison'));
  assert.equal(gate.upstreams.dials.length, 2);

  program.write(get);
  await other.until('GET / ');
  other.write(`${response('third')}${response('poison')}`);
  assert.equal(await program.ended(), 'end');
  assert.match(program.text, /third$/);
});

test('an upstream that ended a kept connection is dialled anew for the next request', async (t) => {
  const { gate, site, program } = await web(t);
  program.write(get);
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  peer.write(response('first'));
  await program.until('first');
  peer.socket.end();
  await once(peer.socket, 'finish');
  await settled();
  program.write(request('GET /second HTTP/1.1'));
  const other = await site.next();
  await other.until('/second');
  other.write(response('second'));
  await program.until('second');
  assert.equal(gate.upstreams.dials.length, 2);
});

test('an upstream that ends without an answer, and one that nobody answers at, are a 502', async (t) => {
  const { gate, site, program } = await web(t);
  program.write(get);
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  peer.socket.end();
  await program.until('ended without an answer');
  assert.match(program.text, /^HTTP\/1.1 502/);

  gate.upstreams.port = null;
  const other = await gate.connect(siteHost, 80);
  other.program.write(get);
  await other.program.until('cannot be reached');
  assert.match(other.program.text, /^HTTP\/1.1 502/);
  assert.equal((await gate.end(1)).outcome, 'unreachable');
});

test('a name without an address is a 403 that says so', async (t) => {
  const { gate, program } = await web(t);
  gate.upstreams.names.set(siteHost, []);
  program.write(get);
  await program.until('the name has no address');
  assert.equal((await gate.flow()).denial, 'unresolved');
});

test('an early answer reaches a program that still sends its body, and the connection is over', async (t) => {
  const { site, program } = await web(t);
  program.write(request('POST / HTTP/1.1', ['Content-Length: 100000000']));
  const peer = await site.next();
  program.write('x'.repeat(1_000_000));
  await peer.until('xxx');
  peer.write('HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nstop');
  program.write('x'.repeat(1_000_000));
  assert.equal(await program.ended(), 'end');
  assert.match(program.text, /^HTTP\/1.1 413 Too Large[\s\S]*stop$/);
  await peer.ended();
});

test('a 502 reaches a program that still sends its body', async (t) => {
  const { site, program } = await web(t);
  program.write(request('POST / HTTP/1.1', ['Content-Length: 100000000']));
  const peer = await site.next();
  program.write('x'.repeat(1_000_000));
  await peer.until('xxx');
  peer.write('nonsense\r\n\r\n');
  program.write('x'.repeat(4_000_000));
  assert.equal(await program.ended(), 'end');
  assert.match(program.text, /^HTTP\/1.1 502[\s\S]*broken\.\n$/);
});

test('a program that reads slowly gets all of an answer that ends the connection', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { gate, site } = await web(t);
  const { program, socket } = await gate.connect(siteHost, 80);
  program.socket.pause();
  program.write(request('GET / HTTP/1.1', ['Connection: close']));
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  const head = 'HTTP/1.1 200 OK\r\n\r\n';
  peer.write(head);
  let sent = head.length;
  // Until the kernel takes no more and the gateway holds the rest.
  for (; socket.writableLength === 0; sent += 16 * 1024) {
    peer.write('x'.repeat(16 * 1024));
    await settled();
  }
  peer.socket.end();
  while (gate.ends.length === 0) {
    await settled();
    t.mock.timers.tick(1);
  }
  t.mock.timers.tick(gatewayLimits.lingerMs);
  program.socket.resume();
  assert.equal(await program.ended(), 'end');
  assert.equal(program.text.length, sent);
});

test('HTTP/1.0 is answered once, and gets nothing that it cannot read', async (t) => {
  const { gate, site, program } = await web(t);
  program.write(request('GET / HTTP/1.0', ['Connection: keep-alive']));
  const peer = await site.next();
  assert.match(await peer.until('\r\n\r\n'), /^GET \/ HTTP\/1\.0\r\n[\s\S]*connection: close\r\n/);
  peer.write(response('old'));
  assert.equal(await program.ended(), 'end');
  assert.equal(program.text, response('old'));

  const other = await gate.connect(siteHost, 80);
  other.program.write(request('GET / HTTP/1.0'));
  const again = await site.next();
  await again.until('\r\n\r\n');
  again.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n');
  await other.program.until('502 Bad Gateway');
});

test('a request that says close is the last one', async (t) => {
  const { site, program } = await web(t);
  program.write(request('GET / HTTP/1.1', ['Connection: close']) + get);
  const peer = await site.next();
  await peer.until('connection: close');
  peer.write(response('last'));
  assert.equal(await program.ended(), 'end');
  assert.match(program.text, /last$/);
  assert.equal(count(peer.text, 'GET'), 1);
});

test('a program that ends its side after the request still gets the answer', async (t) => {
  const { site, program } = await web(t);
  program.socket.end(get);
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  await settled();
  peer.write(response('late'));
  await program.until('late');
  assert.equal(await program.ended(), 'end');
});

test('a program that is gone before the answer takes the upstream with it', async (t) => {
  const { gate, site, program } = await web(t);
  program.write(get);
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  program.socket.resetAndDestroy();
  await peer.ended();
  await gate.end();
});

test('a policy change cuts a kept connection that it does not allow, and judges the next request of one that it does', async (t) => {
  const { gate, site, program } = await web(t);
  gate.upstreams.names.set('other.test', [siteAddress]);
  const rule = hostRule(siteHost, { protocol: 'http', ports: [80] });
  const other = hostRule('other.test', { protocol: 'http', ports: [80] });
  gate.admit([rule, other]);
  program.write(get);
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  peer.write(response('one'));
  await program.until('one');
  const gone = await gate.connect('other.test', 80);
  gone.program.write(get.replace(siteHost, 'other.test'));
  const goneSite = await site.next();
  await goneSite.until('\r\n\r\n');
  goneSite.write(response('two'));
  await gone.program.until('two');
  gate.admit([{ ...rule, methods: ['GET'] }]);
  assert.equal(await gone.program.ended(), 'reset');
  assert.equal(await goneSite.ended(), 'reset');
  program.write(get);
  while (count(peer.text, 'GET') < 2) await once(peer.socket, 'data');
  peer.write(response('three'));
  await program.until('three');
  program.write(request('POST / HTTP/1.1', ['Content-Length: 0']));
  await program.until('403 Forbidden');
  const flow = await gate.changes.until(() => gate.flows.find(({ denial }) => denial !== null));
  assert.deepEqual([flow.method, flow.denial, flow.generation], ['POST', 'request', 3]);
});

test('a large body passes in constant memory, and a site that does not read holds the program', async (t) => {
  const { site, program } = await web(t);
  const piece = Buffer.alloc(256 * 1024);
  program.write(request('POST / HTTP/1.1', [`Content-Length: ${2 ** 40}`]));
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  peer.socket.pause();
  let sent = 0;
  for (; sent < 128 * 1024 * 1024 && program.socket.writableLength < 4 * piece.length; sent += piece.length) {
    program.write(piece);
    await settled();
  }
  assert.ok(sent < 64 * 1024 * 1024, `it took ${sent} bytes`);
});
