import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import tls from 'node:tls';
import type { EgressProtocol } from '../../model/egress.ts';
import { gatewayLimits } from '../limits.ts';
import {
  cidrRule,
  hostRule,
  listening,
  portOf,
  settled,
  siteAddress,
  siteHost,
  TestGate,
  TestSite,
} from '../test-gate.ts';
import { fatalAlert, tlsAlerts } from '../tls/client-hello.ts';
import { serveConnection } from './connection.ts';

/** TLS with a key that both know, so without certificates. */
const ciphers = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const;
const psk = Buffer.alloc(32, 7);

/** The first flight of OpenSSL. */
async function helloFor(servername: string | null): Promise<Buffer> {
  const sent = Promise.withResolvers<Buffer>();
  const wire = new Duplex({ read: () => undefined, write: (chunk: Buffer) => sent.resolve(chunk) });
  const client = tls.connect({ socket: wire, ...(servername === null ? {} : { servername }) });
  client.on('error', () => undefined);
  const bytes = await sent.promise;
  client.destroy();
  return bytes;
}

/** A hello with a name that OpenSSL would not send; both are as long. */
async function helloWith(name: string): Promise<Buffer> {
  const stand = 'x'.repeat(name.length);
  const bytes = await helloFor(stand);
  const at = bytes.indexOf(stand, 0, 'latin1');
  assert.ok(at > 0);
  bytes.write(name, at, 'latin1');
  return bytes;
}

const siteRules = [hostRule(siteHost)];

test('a TLS session of a real client and server passes, and is recorded with its bytes', async (t) => {
  const server = tls.createServer({ ...ciphers, pskCallback: () => psk }, (socket) => {
    socket.on('data', (data) => socket.end(`you said ${data}`));
  });
  await listening(server);
  t.after(() => server.close());
  const gate = new TestGate(t, { rules: siteRules, site: { port: portOf(server) } });
  const { program } = await gate.connect(siteHost, 443);
  const client = tls.connect({
    socket: program.socket,
    servername: siteHost,
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ psk, identity: 'test' }),
    ...ciphers,
  });
  client.write('hello');
  const [answer] = (await once(client, 'data')) as [Buffer];
  assert.equal(String(answer), 'you said hello');
  client.end();
  const flow = await gate.flow();
  const { host, address, port, protocol, verdict, rule, denial } = flow;
  assert.deepEqual(
    [host, address, port, protocol, verdict, rule, denial],
    [siteHost, siteAddress, 443, 'https', 'allowed', `test#${siteHost}`, null],
  );
  const end = await gate.end();
  assert.equal(end.id, flow.id);
  assert.equal(end.outcome, 'closed');
  assert.ok(end.bytesOut > 100 && end.bytesIn > 100);
});

for (const name of [siteHost, 'SITE.tEST', `${siteHost}.`])
  test(`a hello for ${name} is the name that was looked up, and passes untouched`, async (t) => {
    const site = await TestSite.open(t);
    const gate = new TestGate(t, { rules: siteRules, site });
    const { program } = await gate.connect(siteHost, 443);
    const hello = await helloWith(name);
    program.write(hello);
    const peer = await site.next();
    await peer.until(hello.toString('latin1'));
    assert.equal(peer.text, hello.toString('latin1'));
    assert.deepEqual(gate.upstreams.asked, [siteHost]);
  });

test('a hello in single bytes passes once it is whole', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: siteRules, site });
  const { program } = await gate.connect(siteHost, 443);
  const hello = await helloFor(siteHost);
  for (const byte of hello.subarray(0, -1)) {
    program.write(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await settled();
  assert.deepEqual(gate.upstreams.asked, []);
  program.write(hello.subarray(-1));
  const peer = await site.next();
  await peer.until(hello.toString('latin1'));
});

const refusedHellos: readonly (readonly [string, () => Promise<Buffer>, string])[] = [
  ['another name', () => helloFor('evil.test'), 'name-mismatch'],
  ['a subdomain', () => helloFor(`a.${siteHost}`), 'name-mismatch'],
  ['no name', () => helloFor(null), 'name-mismatch'],
  ['an address', () => helloWith(siteAddress), 'name-mismatch'],
  ['an empty label', () => helloWith('site..test'), 'name-mismatch'],
  ['two dots at its end', () => helloWith(`${siteHost}..`), 'name-mismatch'],
  ['bytes that are no name', () => helloWith('site\0test'), 'malformed'],
  ['HTTP', async () => Buffer.from('GET / HTTP/1.1\r\nHost: site.test\r\n\r\n'), 'protocol'],
  ['garbage', async () => Buffer.alloc(400, 0xa5), 'protocol'],
  ['a record of TLS that is none', async () => Buffer.from([22, 3, 1, 0, 0]), 'malformed'],
];
for (const [what, bytes, denial] of refusedHellos)
  test(`${what} where the hello is to name the host is denied as ${denial}, and nothing is asked or dialled`, async (t) => {
    const site = await TestSite.open(t);
    const gate = new TestGate(t, { rules: siteRules, site });
    const { program } = await gate.connect(siteHost, 443);
    program.write(await bytes());
    assert.equal(await program.ended(), 'end');
    const alert = denial === 'malformed' ? tlsAlerts.decodeError : tlsAlerts.accessDenied;
    assert.equal(program.text, fatalAlert(alert).toString('latin1'));
    const flow = await gate.flow();
    assert.deepEqual(
      [flow.verdict, flow.denial, flow.host, flow.port, flow.rule],
      ['denied', denial, siteHost, 443, null],
    );
    assert.deepEqual([gate.upstreams.asked, gate.upstreams.dials], [[], []]);
    const allowed = await gate.connect(siteHost, 443);
    allowed.program.write(await helloFor(siteHost));
    await (await site.next()).until(siteHost);
  });

for (const [protocol, first] of [
  ['https', ''],
  ['https', '\x16\x03\x01'],
  ['http', 'GET / HTTP/1.1\r\n'],
  ['ssh', 'SS'],
] as readonly (readonly [EgressProtocol, string])[])
  test(`a connection for ${protocol} that says ${JSON.stringify(first)} and no more is ended in time`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const gate = new TestGate(t, { rules: [hostRule(siteHost, { protocol, ports: [1000] })] });
    const { program, served } = await gate.connect(siteHost, 1000);
    program.write(first);
    await settled();
    t.mock.timers.tick(gatewayLimits.firstBytesMs);
    await program.ended();
    await served;
    assert.deepEqual(gate.upstreams.dials, []);
  });

test('an ssh banner passes with what the server says, and nothing else does', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: [hostRule(siteHost, { protocol: 'ssh', ports: [22] })], site });
  const { program } = await gate.connect(siteHost, 22);
  program.write('SS');
  await settled();
  program.write('H-2.0-test\r\n');
  const peer = await site.next();
  await peer.until('SSH-2.0-test\r\n');
  peer.write('SSH-2.0-server\r\n');
  await program.until('SSH-2.0-server\r\n');

  const other = await gate.connect(siteHost, 22);
  other.program.write('GET / HTTP/1.1\r\n\r\n');
  assert.equal(await other.program.ended(), 'reset');
  const flow = await gate.flow(1);
  assert.deepEqual([flow.denial, flow.protocol], ['protocol', 'ssh']);
  assert.equal(site.peers.length, 1);
});

test('tcp passes bytes as they are, and the server may speak first', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: [hostRule(siteHost, { protocol: 'tcp', ports: [5432] })], site });
  const { program } = await gate.connect(siteHost, 5432);
  const peer = await site.next();
  peer.write('welcome');
  await program.until('welcome');
  program.write('\0\xff');
  await peer.until('\0\xff');
  program.socket.end();
  peer.socket.end();
  const { bytesIn, bytesOut, outcome } = await gate.end();
  assert.deepEqual([bytesIn, bytesOut, outcome], [7, 2, 'closed']);
});

test('a cidr rule lets a literal address through at its port, without a lookup, and no other', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: [cidrRule('10.1.0.0/16')], site });
  const { program } = await gate.connect('10.1.2.3', 9000);
  const peer = await site.next();
  program.write('ping');
  await peer.until('ping');
  assert.deepEqual(gate.upstreams.asked, []);
  assert.deepEqual(gate.upstreams.dials, [{ addresses: ['10.1.2.3'], port: 9000 }]);
  const denied = [
    ['10.1.2.3', 9001, 'address-class'],
    ['10.2.0.1', 9000, 'address-class'],
    ['169.254.169.254', 9000, 'address-class'],
    [siteAddress, 9000, 'no-rule'],
  ] as const;
  for (const [index, [address, port, denial]] of denied.entries()) {
    const other = await gate.connect(address, port);
    await other.program.ended();
    const flow = await gate.flow(1 + index);
    assert.deepEqual([flow.address, flow.host, flow.denial], [address, null, denial]);
  }
  assert.equal(gate.upstreams.dials.length, 1);
});

test('a name without a rule, and a port beside the rule, are denied before a byte is read', async (t) => {
  const gate = new TestGate(t, { rules: siteRules });
  for (const [index, [host, port]] of (
    [
      [siteHost, 80],
      ['other.test', 443],
      [siteHost, 22],
    ] as const
  ).entries()) {
    const { program } = await gate.connect(host, port);
    await program.ended();
    const flow = await gate.flow(index);
    assert.deepEqual([flow.host, flow.port, flow.denial], [host, port, 'no-rule']);
  }
  assert.deepEqual([gate.upstreams.asked, gate.upstreams.dials], [[], []]);
});

test('mode full lets public addresses through and none of the others', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: [], mode: 'full', site });
  const { program } = await gate.connect(siteAddress, 9000);
  await site.next();
  program.socket.destroy();
  assert.equal((await gate.flow()).rule, 'full');
  for (const [index, address] of [
    '127.0.0.1',
    '10.0.0.1',
    '169.254.169.254',
    '100.64.0.1',
    '::1',
    'fe80::1',
  ].entries()) {
    const { program: other } = await gate.connect(address, 9000);
    assert.equal(await other.ended(), 'reset');
    assert.equal((await gate.flow(1 + index)).denial, 'address-class');
  }
  assert.equal(gate.upstreams.dials.length, 1);
});

const tcpRules = [hostRule(siteHost, { protocol: 'tcp', ports: [9000] })];

for (const address of [
  '127.0.0.1',
  '10.0.0.1',
  '169.254.169.254',
  '100.64.0.1',
  '198.18.1.0',
  '::1',
  '::ffff:10.0.0.1',
  'fd00::1',
  '203.0.114.1',
])
  test(`a name that resolves to ${address} is denied, and dialled once a cidr rule names it`, async (t) => {
    const site = await TestSite.open(t);
    const gate = new TestGate(t, { rules: tcpRules, site });
    gate.upstreams.ownAddresses = ['203.0.114.1/32'];
    gate.upstreams.names.set(siteHost, [address]);
    const { program } = await gate.connect(siteHost, 9000);
    assert.equal(await program.ended(), 'reset');
    assert.equal((await gate.flow()).denial, 'address-class');
    assert.deepEqual(gate.upstreams.dials, []);
    const v4 = address.replace('::ffff:', '');
    gate.admit([...tcpRules, cidrRule(`${v4}/${v4.includes(':') ? 128 : 32}`)]);
    await gate.connect(siteHost, 9000);
    await site.next();
  });

test('of several addresses only those are dialled that may be', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: tcpRules, site });
  gate.upstreams.names.set(siteHost, ['10.0.0.1', siteAddress, '::1', '2606:2800:220::34']);
  await gate.connect(siteHost, 9000);
  await site.next();
  assert.deepEqual(gate.upstreams.dials, [{ addresses: [siteAddress, '2606:2800:220::34'], port: 9000 }]);
});

test('a name without an address is denied as unresolved', async (t) => {
  const gate = new TestGate(t, { rules: tcpRules });
  gate.upstreams.names.set(siteHost, []);
  const { program } = await gate.connect(siteHost, 9000);
  assert.equal(await program.ended(), 'reset');
  assert.equal((await gate.flow()).denial, 'unresolved');
});

test('a site that nobody answers at is recorded as allowed and unreachable', async (t) => {
  const gate = new TestGate(t, { rules: tcpRules });
  const { program } = await gate.connect(siteHost, 9000);
  assert.equal(await program.ended(), 'reset');
  const { id, outcome } = await gate.end();
  assert.deepEqual([id, outcome], [(await gate.flow()).id, 'unreachable']);
});

for (const [protocol, first] of [
  ['tcp', 'bytes'],
  ['ssh', 'SSH-2.0-x\r\n'],
  ['http', 'POST / HTTP/1.1\r\nHost: site.test:9000\r\nContent-Length: 2\r\n\r\nhi'],
  ['https', 'hello'],
] as readonly (readonly [EgressProtocol, string])[]) {
  const bytes = async () => (first === 'hello' ? await helloFor(siteHost) : Buffer.from(first));

  test(`no byte of ${protocol} goes upstream before its verdict is durable`, async (t) => {
    const site = await TestSite.open(t);
    const rules = [hostRule(siteHost, { protocol, ports: [9000] })];
    const gate = new TestGate(t, { rules, site, byHand: true });
    const { program } = await gate.connect(siteHost, 9000);
    program.write(await bytes());
    assert.equal((await gate.flow()).verdict, 'allowed');
    const peer = await site.next();
    await settled();
    assert.equal(peer.text, '');
    assert.equal(peer.socket.bytesRead, 0);
    gate.acknowledge();
    await peer.until(first === 'hello' ? siteHost : first.slice(0, 4));
  });

  test(`${protocol} whose verdict cannot be recorded is denied, and no byte goes upstream`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const site = await TestSite.open(t);
    const rules = [hostRule(siteHost, { protocol, ports: [9000] })];
    const gate = new TestGate(t, { rules, site, byHand: true });
    const { program } = await gate.connect(siteHost, 9000);
    program.write(await bytes());
    await gate.flow();
    const peer = await site.next();
    t.mock.timers.tick(gatewayLimits.recordTimeoutMs);
    await peer.ended();
    assert.equal(peer.text, '');
    assert.equal((await gate.flow(1)).denial, 'no-record');
    if (protocol === 'http') assert.match(await program.until('could not be recorded'), /^HTTP\/1.1 403/);
    await program.ended();
  });
}

test('a policy that stops allowing them cuts live tunnels at once, and leaves the others', async (t) => {
  const site = await TestSite.open(t);
  const [kept, gone] = ['kept.test', 'gone.test'].map((host) =>
    hostRule(host, { protocol: 'tcp', ports: [9000] }),
  );
  const gate = new TestGate(t, { rules: [kept!, gone!], site });
  for (const host of ['kept.test', 'gone.test']) gate.upstreams.names.set(host, [siteAddress]);
  const one = await gate.connect('kept.test', 9000);
  const oneSite = await site.next();
  const two = await gate.connect('gone.test', 9000);
  const twoSite = await site.next();
  two.program.write('before');
  await twoSite.until('before');
  gate.admit([kept!]);
  assert.equal(await two.program.ended(), 'reset');
  assert.equal(await twoSite.ended(), 'reset');
  const end = await gate.end();
  assert.deepEqual([end.id, end.outcome, end.bytesOut], [(await gate.flow(1)).id, 'cut', 6]);
  one.program.write('still here');
  await oneSite.until('still here');
  const again = await gate.connect('gone.test', 9000);
  await again.program.ended();
  assert.equal((await gate.flow(2)).denial, 'no-rule');
});

test('a policy under which the address behind a name may not be dialled any more cuts its tunnels', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: [...tcpRules, cidrRule('10.0.0.0/8')], site });
  gate.upstreams.names.set(siteHost, ['10.0.0.1']);
  gate.upstreams.names.set('public.test', [siteAddress]);
  const { program } = await gate.connect(siteHost, 9000);
  const peer = await site.next();
  peer.write('hi');
  await program.until('hi');
  gate.admit(tcpRules);
  assert.equal(await program.ended(), 'reset');
  assert.equal((await gate.end()).outcome, 'cut');
});

test('a policy change while the name is looked up leaves nothing dialled', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: tcpRules, site });
  const held = Promise.withResolvers<void>();
  gate.upstreams.resolving = held.promise;
  const { program } = await gate.connect(siteHost, 9000);
  await gate.upstreams.changes.until(() => gate.upstreams.asked.length === 1);
  gate.admit([]);
  await program.ended();
  held.resolve();
  const flow = await gate.flow();
  assert.deepEqual([flow.verdict, flow.denial, flow.generation], ['denied', 'no-rule', 2]);
  assert.deepEqual(gate.upstreams.dials, []);
});

test('a policy change while it is dialled lets nothing through, and nothing is recorded as allowed', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: tcpRules, site });
  const held = Promise.withResolvers<void>();
  gate.upstreams.dialling = held.promise;
  const { program } = await gate.connect(siteHost, 9000);
  await gate.upstreams.changes.until(() => gate.upstreams.dials.length === 1);
  gate.admit([]);
  await program.ended();
  held.resolve();
  const flow = await gate.flow();
  assert.deepEqual([flow.verdict, flow.denial], ['denied', 'no-rule']);
});

test('a policy change while the verdict is recorded ends the flow as cut, without a byte and without a denial', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: tcpRules, site, byHand: true });
  const { program, served } = await gate.connect(siteHost, 9000);
  program.write('secret');
  const flow = await gate.flow();
  const peer = await site.next();
  gate.admit([]);
  gate.acknowledge();
  await served;
  const end = await gate.end();
  assert.deepEqual([end.id, end.outcome, end.bytesOut], [flow.id, 'cut', 0]);
  await peer.ended();
  assert.equal(peer.text, '');
  assert.equal(gate.flows.length, 1);
});

test('a closed door cuts everything, tells the ends before it is closed, and lets nothing more in', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: tcpRules, site });
  const open = [];
  for (let at = 0; at < 3; at += 1) {
    open.push(await gate.connect(siteHost, 9000));
    const peer = await site.next();
    peer.write('hi');
    await open[at]!.program.until('hi');
  }
  await gate.door.close();
  gate.recorder.flush();
  assert.deepEqual(
    gate.ends.map(({ outcome }) => outcome),
    ['cut', 'cut', 'cut'],
  );
  for (const { program } of open) assert.equal(await program.ended(), 'reset');
  for (const peer of site.peers) assert.equal(await peer.ended(), 'reset');
  const late = await gate.connect(siteHost, 9000);
  await late.program.ended();
  assert.equal(gate.upstreams.dials.length, 3);
});

test('a door that is not admitted and one that is full refuse a connection at once', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: [cidrRule('127.0.0.0/8')], site });
  const { program, socket } = await gate.pair();
  serveConnection(gate.door, socket, 9000);
  await site.next();
  const others = Array.from({ length: gatewayLimits.connectionsPerSandboxMax - 1 }, () => new Socket());
  for (const other of others) assert.ok(gate.door.enter(other));
  const refused = await gate.pair();
  serveConnection(gate.door, refused.socket, 9000);
  assert.equal(await refused.program.ended(), 'reset');
  assert.equal(gate.upstreams.dials.length, 1);
  others[0]!.destroy();
  await once(others[0]!, 'close');
  const again = await gate.pair();
  serveConnection(gate.door, again.socket, 9000);
  await site.next();
  program.socket.destroy();
});

test('a refused connection counts until it is closed, and a closed door closes it', async (t) => {
  const gate = new TestGate(t, { rules: [] });
  const { program, socket } = await gate.pair();
  serveConnection(gate.door, socket, 443);
  await program.until('\x15');
  assert.equal(socket.destroyed, false);
  void gate.door.close();
  assert.equal(socket.destroyed, true);
});
