import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import fc from 'fast-check';
import type { EgressRule } from '../../model/egress.ts';
import { gatewayLimits } from '../limits.ts';
import {
  cidrRule,
  hostRule,
  listening,
  type Peer,
  portOf,
  settled,
  siteAddress,
  siteHost,
  TestGate,
  TestSite,
} from '../test-gate.ts';
import { serveHttpProxy } from './http-proxy.ts';

type Proxied = { gate: TestGate; site: TestSite; program: Peer };

const http = (host: string, more: Partial<EgressRule> = {}) =>
  hostRule(host, { protocol: 'http', ports: [80], ...more });
const tcp = (host: string) => hostRule(host, { protocol: 'tcp', ports: [9000] });

async function proxied(t: TestContext, rules: readonly EgressRule[]): Promise<Proxied> {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules, site });
  return { gate, site, program: await gate.proxied(serveHttpProxy) };
}

const connectTo = (target: string, host = target) => `CONNECT ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
const get = (url: string, fields: readonly string[] = []) =>
  [`GET ${url} HTTP/1.1`, `Host: ${new URL(url).host}`, ...fields, '', ''].join('\r\n');
const answer = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const established = 'HTTP/1.1 200 Connection established\r\n\r\n';

test('a tunnel carries what came with its head, byte for byte, and is recorded as a connection is', async (t) => {
  const { gate, site, program } = await proxied(t, [tcp(siteHost)]);
  program.write(`${connectTo(`${siteHost}:9000`)}early`);
  const peer = await site.next();
  await peer.until('early');
  assert.equal(program.text, established);
  peer.write('answer');
  await program.until('answer');
  program.socket.end('late');
  await peer.until('late');
  peer.socket.end();
  const { host, address, port, protocol, verdict, rule } = await gate.flow();
  assert.deepEqual(
    [host, address, port, protocol, verdict, rule],
    [siteHost, siteAddress, 9000, 'tcp', 'allowed', `test#${siteHost}`],
  );
  const end = await gate.end();
  assert.deepEqual([end.bytesOut, end.bytesIn, end.outcome], [9, 6, 'closed']);
});

test('a head in single bytes is read, and nothing is said before its end', async (t) => {
  const { site, program } = await proxied(t, [tcp(siteHost)]);
  const head = connectTo(`${siteHost}:9000`);
  for (const byte of Buffer.from(head.slice(0, -1))) {
    program.write(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await settled();
  assert.equal(program.text, '');
  program.write(head.slice(-1));
  await program.until(established);
  await site.next();
});

test('TLS in a tunnel is checked as on a connection: the name in the hello must be the one asked for', async (t) => {
  const psk = Buffer.alloc(32, 7);
  const ciphers = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const;
  const server = tls.createServer({ ...ciphers, pskCallback: () => psk }, (socket) => socket.end('hello'));
  await listening(server);
  t.after(() => server.close());
  const gate = new TestGate(t, { rules: [hostRule(siteHost)], site: { port: portOf(server) } });
  for (const servername of [siteHost, 'evil.test']) {
    const program = await gate.proxied(serveHttpProxy);
    program.write(connectTo(`${siteHost}:443`));
    await program.until(established);
    program.socket.removeAllListeners('data');
    const client = tls.connect({
      socket: program.socket,
      servername,
      checkServerIdentity: () => undefined,
      pskCallback: () => ({ psk, identity: 'test' }),
      ...ciphers,
    });
    if (servername === siteHost) assert.equal(String((await once(client, 'data'))[0]), 'hello');
    else await assert.rejects(once(client, 'data'), /access denied/);
  }
  assert.deepEqual(
    gate.flows.map(({ verdict, denial }) => [verdict, denial]),
    [
      ['allowed', null],
      ['denied', 'name-mismatch'],
    ],
  );
});

test('requests in a tunnel to a port of HTTP are each checked', async (t) => {
  const { site, program } = await proxied(t, [http(siteHost, { paths: ['/open'] })]);
  program.write(`${connectTo(`${siteHost}:80`)}GET /open HTTP/1.1\r\nHost: ${siteHost}\r\n\r\n`);
  const peer = await site.next();
  await peer.until('GET /open');
  peer.write(answer('first'));
  await program.until('first');
  program.write(`GET /shut HTTP/1.1\r\nHost: ${siteHost}\r\n\r\n`);
  await program.until('403 Forbidden');
  assert.ok(!peer.text.includes('/shut'));
});

const refusedTargets: readonly (readonly [string, string])[] = [
  ['evil.test:443', 'no-rule'],
  ['a.site.test:443', 'no-rule'],
  ['site.test:444', 'no-rule'],
  ['localhost:80', 'no-rule'],
  ['127.0.0.1:80', 'address-class'],
  ['[::1]:80', 'address-class'],
  ['[::ffff:127.0.0.1]:80', 'address-class'],
  ['169.254.169.254:80', 'address-class'],
  ['[::ffff:169.254.169.254]:80', 'address-class'],
  ['10.0.0.1:443', 'address-class'],
  ['198.18.0.1:3128', 'address-class'],
  ['198.18.0.1:1080', 'address-class'],
  ['198.18.0.1:53', 'address-class'],
  ['198.19.255.255:443', 'address-class'],
  [`${siteAddress}:443`, 'no-rule'],
];
for (const [target, denial] of refusedTargets)
  test(`CONNECT ${target} is a legible 403 (${denial}) and nothing is dialled or looked up`, async (t) => {
    const { gate, program } = await proxied(t, [hostRule(siteHost)]);
    program.write(connectTo(target));
    assert.equal(await program.ended(), 'end');
    assert.match(program.text, /^HTTP\/1.1 403 Forbidden\r\n[\s\S]*A rule that would allow it:/);
    const flow = await gate.flow();
    assert.deepEqual([flow.verdict, flow.denial], ['denied', denial]);
    assert.equal(flow.port, Number(target.split(':').at(-1)));
    assert.deepEqual([gate.upstreams.dials, gate.upstreams.asked], [[], []]);
  });

test('an address that stands for a name is that name', async (t) => {
  const { gate, site, program } = await proxied(t, [tcp(siteHost)]);
  program.write(connectTo(`${gate.door.addressFor(siteHost, 4)}:9000`));
  await program.until(established);
  await site.next();
  const six = await gate.proxied(serveHttpProxy);
  six.write(connectTo(`[${gate.door.addressFor(siteHost, 6)}]:9000`));
  await six.until(established);
  assert.deepEqual([(await gate.flow(0)).host, (await gate.flow(1)).host], [siteHost, siteHost]);
});

test('spellings of a name are the name, and a rule for a network lets its addresses through', async (t) => {
  const { gate, program } = await proxied(t, [tcp(siteHost), cidrRule('10.0.0.0/8')]);
  for (const target of ['SITE.Test:9000', `${siteHost}.:9000`, '10.0.0.1:9000', '[::ffff:10.0.0.1]:9000']) {
    const one = await gate.proxied(serveHttpProxy);
    one.write(connectTo(target));
    await one.until(established);
  }
  await gate.flow(3);
  assert.deepEqual(
    gate.flows.map(({ host, address }) => [host, address]),
    [
      [siteHost, siteAddress],
      [siteHost, siteAddress],
      [null, '10.0.0.1'],
      [null, '10.0.0.1'],
    ],
  );
  program.socket.destroy();
});

const brokenHeads: readonly (readonly [string, string])[] = [
  ['CONNECT without a port', connectTo(siteHost)],
  ['CONNECT with port 0', connectTo(`${siteHost}:0`)],
  ['CONNECT with a port past 65535', connectTo(`${siteHost}:65536`)],
  ['CONNECT with a URL', connectTo(`https://${siteHost}:443`, siteHost)],
  ['CONNECT with a path', connectTo('/', siteHost)],
  ['CONNECT with a user', connectTo(`me@${siteHost}:443`, siteHost)],
  ['CONNECT of an octal address', connectTo('0177.0.0.1:80')],
  ['CONNECT of a whole number', connectTo('2130706433:80')],
  ['CONNECT of a short address', connectTo('127.1:80')],
  ['CONNECT with a zone', connectTo('[fe80::1%25lo]:80')],
  ['CONNECT with another Host', connectTo(`${siteHost}:443`, 'evil.test:443')],
  ['CONNECT with another port in Host', connectTo(`${siteHost}:443`, `${siteHost}:80`)],
  ['CONNECT without Host', `CONNECT ${siteHost}:443 HTTP/1.1\r\n\r\n`],
  ['CONNECT with two Hosts', `CONNECT ${siteHost}:443 HTTP/1.1\r\nHost: ${siteHost}\r\nHost: a\r\n\r\n`],
  [
    'CONNECT with a body',
    `CONNECT ${siteHost}:443 HTTP/1.1\r\nHost: ${siteHost}\r\nContent-Length: 1\r\n\r\nx`,
  ],
  ['CONNECT with bare LF', `CONNECT ${siteHost}:443 HTTP/1.1\nHost: ${siteHost}\n\n`],
  ['connect in lower case', connectTo(`${siteHost}:443`).replace('CONNECT', 'connect')],
  ['CONNECT of HTTP/2', connectTo(`${siteHost}:443`).replace('HTTP/1.1', 'HTTP/2.0')],
  ['origin-form', `GET / HTTP/1.1\r\nHost: ${siteHost}\r\n\r\n`],
  ['an https URL', `GET https://${siteHost}/ HTTP/1.1\r\nHost: ${siteHost}\r\n\r\n`],
  ['another scheme', `GET ftp://${siteHost}/ HTTP/1.1\r\nHost: ${siteHost}\r\n\r\n`],
  ['a URL with a user', `GET http://me@${siteHost}/ HTTP/1.1\r\nHost: ${siteHost}\r\n\r\n`],
  ['a URL and another Host', `GET http://${siteHost}/ HTTP/1.1\r\nHost: evil.test\r\n\r\n`],
  ['a URL of a short address', 'GET http://127.1/ HTTP/1.1\r\nHost: 127.1\r\n\r\n'],
  [
    'both lengths',
    `POST http://${siteHost}/ HTTP/1.1\r\nHost: ${siteHost}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`,
  ],
  ['TLS', '\x16\x03\x01\x02\x00\x01'],
  ['SOCKS', '\x05\x01\x00'],
  ['a head that is too large', `GET http://${siteHost}/${'a'.repeat(17_000)} HTTP/1.1\r\n`],
];
for (const [what, bytes] of brokenHeads)
  test(`${what} is answered with 400 and an end`, async (t) => {
    const { gate, program } = await proxied(t, [hostRule(siteHost), http(siteHost)]);
    program.write(bytes);
    assert.equal(await program.ended(), 'end');
    assert.match(program.text, /^HTTP\/1.1 400 Bad Request\r\n[\s\S]*Sealwright: .{10}/);
    const flow = await gate.flow();
    assert.deepEqual([flow.verdict, flow.denial], ['denied', 'malformed']);
    assert.deepEqual([gate.upstreams.dials, gate.upstreams.asked], [[], []]);
  });

test('what a program has to do instead is said: CONNECT for https, a URL for a path', async (t) => {
  const { gate, program } = await proxied(t, []);
  program.write(get('https://site.test/'));
  await program.until('https URL, which takes CONNECT');
  const other = await gate.proxied(serveHttpProxy);
  other.write(`GET / HTTP/1.1\r\nHost: ${siteHost}\r\n\r\n`);
  await other.until('this is a proxy');
});

test('each request of a connection may name another host and is judged on its own', async (t) => {
  const { gate, site, program } = await proxied(t, [
    http('one.test', { paths: ['/open'] }),
    http('two.test'),
  ]);
  for (const name of ['one.test', 'two.test']) gate.upstreams.names.set(name, [siteAddress]);
  const peers: Peer[] = [];
  for (const [index, url] of [
    'http://one.test/open',
    'http://two.test/x',
    'http://one.test/open',
  ].entries()) {
    program.write(get(url));
    const peer = await site.next();
    peers.push(peer);
    const { host, pathname } = new URL(url);
    assert.equal(await peer.until('\r\n\r\n'), `GET ${pathname} HTTP/1.1\r\nhost: ${host}\r\n\r\n`);
    peer.write(answer(`answer ${index}`));
    await program.until(`answer ${index}`);
  }
  assert.equal(await peers[0]!.ended(), 'end', 'a connection is for one destination alone');
  program.write(get('http://one.test/open?again'));
  await peers[2]!.until('/open?again');
  peers[2]!.write(answer('again'));
  await program.until('again');
  program.write(get('http://one.test/shut'));
  await program.until('403 Forbidden');
  assert.ok(site.peers.every(({ text }) => !text.includes('shut')));
  assert.equal(gate.upstreams.dials.length, 3);
  await gate.flow(4);
  assert.deepEqual(
    gate.flows.map(({ host, method, path, denial }) => [host, method, path, denial]),
    [
      ['one.test', 'GET', '/open', null],
      ['two.test', 'GET', '/x', null],
      ['one.test', 'GET', '/open', null],
      ['one.test', 'GET', '/open', null],
      ['one.test', 'GET', '/shut', 'request'],
    ],
  );
});

test('of requests that are sent at once those before the first denied one are answered, in their order', async (t) => {
  const { gate, site, program } = await proxied(t, [http('one.test'), http('two.test')]);
  for (const name of ['one.test', 'two.test']) gate.upstreams.names.set(name, [siteAddress]);
  const hosts = ['one', 'one', 'two', 'evil', 'one'];
  program.write(hosts.map((host) => get(`http://${host}.test/${host}`)).join(''));
  const one = await site.next();
  await one.until('/one');
  one.write(answer('1'));
  await program.until('\r\n\r\n1');
  while (one.text.split('GET').length < 3) await once(one.socket, 'data');
  one.write(answer('2'));
  const two = await site.next();
  await two.until('/two');
  two.write(answer('3'));
  await program.until('403 Forbidden');
  assert.equal(await program.ended(), 'end');
  assert.equal(site.peers.length, 2);
  assert.equal((await gate.flow(3)).host, 'evil.test');
});

for (const [what, bytes] of [
  ['CONNECT', connectTo('evil.test:80')],
  ['origin-form', `GET /path HTTP/1.1\r\nHost: ${siteHost}\r\n\r\n`],
  ['a broken head', 'GET http://site.test/ HTTP/1.1\nHost: site.test\n\n'],
  ['a head that is too large', `GET http://site.test/${'a'.repeat(17_000)} HTTP/1.1\r\n`],
  ['another host that no rule names', get('http://evil.test/')],
] as const)
  test(`after a request that was let through, ${what} is judged as if it were the first`, async (t) => {
    const { site, program } = await proxied(t, [http(siteHost)]);
    program.write(get(`http://${siteHost}/`));
    const peer = await site.next();
    await peer.until('\r\n\r\n');
    const before = peer.text;
    peer.write(answer('fine'));
    await program.until('fine');
    program.write(bytes);
    assert.equal(await program.ended(), 'end');
    assert.match(program.text, /fineHTTP\/1.1 (400 Bad Request|403 Forbidden)/);
    assert.equal(await peer.ended(), 'end');
    assert.equal(peer.text, before);
  });

test('a tunnel may follow requests on one connection', async (t) => {
  const { site, program } = await proxied(t, [http(siteHost), tcp(siteHost)]);
  program.write(get(`http://${siteHost}/`));
  const first = await site.next();
  await first.until('\r\n\r\n');
  first.write(answer('fine'));
  await program.until('fine');
  program.write(`${connectTo(`${siteHost}:9000`)}raw`);
  await (await site.next()).until('raw');
});

test('what is for the proxy alone is not forwarded', async (t) => {
  const { site, program } = await proxied(t, [http(siteHost)]);
  program.write(
    get(`http://${siteHost}/`, [
      'Proxy-Authorization: Basic c2VjcmV0',
      'Proxy-Connection: keep-alive',
      'X-A: 1',
    ]),
  );
  const peer = await site.next();
  assert.equal(await peer.until('\r\n\r\n'), `GET / HTTP/1.1\r\nhost: ${siteHost}\r\nx-a: 1\r\n\r\n`);
});

test('a request to a port whose rule takes any bytes passes; one to a port of TLS or SSH does not', async (t) => {
  const { gate, site, program } = await proxied(t, [tcp(siteHost), hostRule(siteHost, { ports: [8443] })]);
  program.write(get(`http://${siteHost}:9000/any`));
  await (await site.next()).until(`GET /any HTTP/1.1\r\nhost: ${siteHost}:9000\r\n`);
  const other = await gate.proxied(serveHttpProxy);
  other.write(get(`http://${siteHost}:8443/`));
  await other.until('403 Forbidden');
  assert.equal((await gate.flow(1)).denial, 'protocol');
});

for (const [what, bytes] of [
  ['a tunnel', connectTo(`${siteHost}:9000`)],
  ['a request', get(`http://${siteHost}/slow`)],
] as const)
  test(`a policy that stops allowing it cuts ${what} through the proxy`, async (t) => {
    const { gate, site, program } = await proxied(t, [http(siteHost), tcp(siteHost)]);
    program.write(bytes);
    const peer = await site.next();
    await gate.flow();
    await settled();
    gate.admit([hostRule(siteHost)]);
    assert.equal(await program.ended(), 'reset');
    assert.equal(await peer.ended(), 'reset');
    assert.equal((await gate.end()).outcome, 'cut');
  });

test('no byte goes upstream before the verdict is recorded', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: [http(siteHost), tcp(siteHost)], site, byHand: true });
  for (const [index, bytes] of [
    `${connectTo(`${siteHost}:9000`)}early`,
    get(`http://${siteHost}/`),
  ].entries()) {
    const program = await gate.proxied(serveHttpProxy);
    program.write(bytes);
    const peer = await site.next();
    await gate.flow(index);
    await settled();
    assert.equal(peer.text, '');
    gate.acknowledge();
    await peer.until(index === 0 ? 'early' : 'GET /');
  }
});

test('an upstream that cannot be reached is a 502 to a request and a reset of a tunnel', async (t) => {
  const gate = new TestGate(t, { rules: [http(siteHost), tcp(siteHost)] });
  for (const url of [`http://${siteHost}/`, `http://${siteHost}:9000/`]) {
    const program = await gate.proxied(serveHttpProxy);
    program.write(get(url));
    await program.until('502 Bad Gateway');
  }
  const tunnel = await gate.proxied(serveHttpProxy);
  tunnel.write(connectTo(`${siteHost}:9000`));
  assert.equal(await tunnel.ended(), 'reset');
});

test('whoever says nothing, or not enough, is cut in time', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { gate, program } = await proxied(t, []);
  const slow = await gate.proxied(serveHttpProxy);
  slow.write('CONNECT ');
  await settled();
  t.mock.timers.tick(gatewayLimits.firstBytesMs);
  await Promise.all([program.ended(), slow.ended()]);
  assert.deepEqual([program.text, slow.text], ['', '']);
});

test('random bytes in random pieces end every connection, and nothing is dialled', async (t) => {
  const { gate, program } = await proxied(t, [tcp(siteHost), http(siteHost)]);
  program.socket.destroy();
  const piece = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
    fc.constantFrom(
      '\r\n',
      '\r\n\r\n',
      ' HTTP/1.1',
      'Host: ',
      'evil.test:80',
      'http://',
      'Content-Length: 9',
    ),
  );
  const start = fc.constantFrom('', 'CONNECT ', 'GET http://', 'CONNECT evil.test:80 HTTP/1.1\r\n');
  await fc.assert(
    fc.asyncProperty(start, fc.array(piece, { maxLength: 8 }), async (first, pieces) => {
      const hostile = await gate.proxied(serveHttpProxy);
      for (const text of [first, ...pieces]) {
        hostile.write(text);
        await new Promise((resolve) => setImmediate(resolve));
      }
      hostile.socket.end();
      await hostile.ended();
      hostile.socket.destroy();
    }),
    { numRuns: 150 },
  );
  assert.deepEqual(gate.upstreams.dials, []);
});

test('many changes of the destination leave nothing behind on the connection', async (t) => {
  const warnings: string[] = [];
  const onWarning = (warning: Error) => warnings.push(warning.message);
  process.on('warning', onWarning);
  t.after(() => process.off('warning', onWarning));
  const { gate, site, program } = await proxied(t, [http('one.test'), http('two.test')]);
  for (const name of ['one.test', 'two.test']) gate.upstreams.names.set(name, [siteAddress]);
  for (let turn = 0; turn < 30; turn += 1) {
    program.write(get(`http://${turn % 2 === 0 ? 'one' : 'two'}.test/${turn}`));
    const peer = await site.next();
    await peer.until('\r\n\r\n');
    peer.write(answer(`turn ${turn}.`));
    await program.until(`turn ${turn}.`);
  }
  await settled();
  assert.deepEqual(warnings, []);
});

test('a proxy of a sandbox that is not admitted refuses at once', async (t) => {
  const gate = new TestGate(t, { rules: [] });
  await gate.door.close();
  const program = await gate.proxied(serveHttpProxy);
  assert.equal(await program.ended(), 'reset');
});
