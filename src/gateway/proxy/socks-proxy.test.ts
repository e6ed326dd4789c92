import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../model/ip-address.ts';
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
import { serveSocksProxy } from './socks-proxy.ts';

const rules = [hostRule(siteHost, { protocol: 'tcp', ports: [9000] })];

async function proxied(t: TestContext, more = rules) {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules: more, site });
  return { gate, site, program: await gate.proxied(serveSocksProxy) };
}

const hello = Buffer.of(5, 1, 0);
const port = (number: number) => Buffer.of(number >> 8, number & 255);
const toName = (name: string, at: number) =>
  Buffer.concat([Buffer.of(5, 1, 0, 3, name.length), Buffer.from(name, 'latin1'), port(at)]);
const toAddress = (text: string, at: number) => {
  const { family, bytes } = parseAddress(text)!;
  return Buffer.concat([Buffer.of(5, 1, 0, family === 4 ? 1 : 4), bytes, port(at)]);
};
const reply = (code: number) => `\x05${String.fromCharCode(code)}\0\x01\0\0\0\0\0\0`;
const accepted = '\x05\0';

async function ask(gate: TestGate, request: Buffer): Promise<Peer> {
  const program = await gate.proxied(serveSocksProxy);
  program.write(hello);
  await program.until(accepted);
  program.write(request);
  return program;
}

test('a name that a rule names is reached, what was sent early included, and recorded as a connection is', async (t) => {
  const { gate, site, program } = await proxied(t);
  program.write(Buffer.concat([hello, toName('SITE.Test.', 9000), Buffer.from('early')]));
  const peer = await site.next();
  await peer.until('early');
  assert.equal(program.text, accepted + reply(0));
  peer.write('answer');
  await program.until('answer');
  const { host, address, port: at, protocol, rule } = await gate.flow();
  assert.deepEqual(
    [host, address, at, protocol, rule],
    [siteHost, siteAddress, 9000, 'tcp', `test#${siteHost}`],
  );
});

test('an address that stands for a name is that name; others need a rule for their network', async (t) => {
  const { gate, site, program } = await proxied(t, [...rules, cidrRule('10.0.0.0/8')]);
  program.socket.destroy();
  for (const target of [
    gate.door.addressFor(siteHost, 4)!,
    gate.door.addressFor(siteHost, 6)!,
    '10.0.0.1',
    '::ffff:10.0.0.1',
  ]) {
    const one = await ask(gate, toAddress(target, 9000));
    await one.until(reply(0));
    await site.next();
  }
  const literal = await ask(gate, toName('10.0.0.1', 9000));
  await literal.until(reply(0));
  await gate.flow(4);
  assert.deepEqual(
    gate.flows.map(({ host, address }) => host ?? address),
    [siteHost, siteHost, '10.0.0.1', '10.0.0.1', '10.0.0.1'],
  );
});

for (const [what, request, denial] of [
  ['a name without a rule', toName('evil.test', 9000), 'no-rule'],
  ['a name below an allowed one', toName('a.site.test', 9000), 'no-rule'],
  ['an allowed name at another port', toName(siteHost, 9001), 'no-rule'],
  ['localhost', toName('localhost', 9000), 'no-rule'],
  ['loopback', toAddress('127.0.0.1', 9000), 'address-class'],
  ['loopback as a name', toName('127.0.0.1', 9000), 'address-class'],
  ['loopback of IPv6', toAddress('::1', 9000), 'address-class'],
  ['mapped loopback', toAddress('::ffff:127.0.0.1', 9000), 'address-class'],
  ['metadata', toAddress('169.254.169.254', 80), 'address-class'],
  ['the proxy itself', toAddress('198.18.0.1', 1080), 'address-class'],
  ['an address that stands for nothing', toAddress('198.18.9.9', 9000), 'address-class'],
  ['the address behind an allowed name', toAddress(siteAddress, 9000), 'no-rule'],
] as const)
  test(`${what} is not allowed (${denial}), and nothing is dialled or looked up`, async (t) => {
    const { gate, program } = await proxied(t);
    program.socket.destroy();
    const denied = await ask(gate, request);
    assert.equal(await denied.ended(), 'end');
    assert.equal(denied.text, accepted + reply(2));
    const flow = await gate.flow();
    assert.deepEqual([flow.verdict, flow.denial], ['denied', denial]);
    assert.deepEqual([gate.upstreams.dials, gate.upstreams.asked], [[], []]);
  });

const edited = (at: number, value: number) => {
  const request = toName(siteHost, 9000);
  request[at] = value;
  return request;
};
for (const [what, request, code] of [
  ['BIND', edited(1, 2), 7],
  ['UDP ASSOCIATE', edited(1, 3), 7],
  ['an unknown command', edited(1, 9), 7],
  ['another version', edited(0, 4), 1],
  ['a reserved byte', edited(2, 1), 1],
  ['an unknown type of address', edited(3, 2), 8],
  ['port 0', toName(siteHost, 0), 1],
  ['an empty name', toName('', 9000), 1],
  ['a name with a zero', toName('site.test\0', 9000), 1],
  ['a name with a space', toName(' site.test', 9000), 1],
  ['a name beyond ASCII', toName('s\xefte.test', 9000), 1],
  ['an octal address', toName('0177.0.0.1', 9000), 1],
  ['a whole number', toName('2130706433', 9000), 1],
  ['a short address', toName('127.1', 9000), 1],
  ['an address in brackets', toName('[::1]', 9000), 1],
  ['a name with its port', toName('site.test:9000', 9000), 1],
  ['two dots at the end', toName('site.test..', 9000), 1],
] as const)
  test(`${what} is answered with ${code} and an end`, async (t) => {
    const { gate, program } = await proxied(t);
    program.socket.destroy();
    const refused = await ask(gate, request);
    assert.equal(await refused.ended(), 'end');
    assert.equal(refused.text, accepted + reply(code));
    assert.equal((await gate.flow()).denial, 'malformed');
    assert.deepEqual([gate.upstreams.dials, gate.upstreams.asked], [[], []]);
  });

for (const [what, greeting, said] of [
  ['SOCKS 4', '\x04\x01\x23\x28\x5d\xb8\xd8\x22\0', ''],
  ['SOCKS 4a', '\x04\x01\x23\x28\0\0\0\x01\0site.test\0', ''],
  ['HTTP', 'CONNECT site.test:9000 HTTP/1.1\r\n\r\n', ''],
  ['no method', '\x05\0', ''],
  ['only a password', '\x05\x01\x02', '\x05\xff'],
] as const)
  test(`a greeting of ${what} is refused and the connection ended`, async (t) => {
    const { gate, program } = await proxied(t);
    program.write(greeting);
    assert.equal(await program.ended(), 'end');
    assert.equal(program.text, said);
    assert.equal((await gate.flow()).denial, 'malformed');
  });

test('however a request and what follows are cut into pieces, the same is reached and nothing is lost', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules, site });
  const whole = Buffer.concat([hello, toName(siteHost, 9000), Buffer.from('payload')]);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: whole.length }), { maxLength: 40 }), async (cuts) => {
      const program = await gate.proxied(serveSocksProxy);
      let from = 0;
      for (const cut of [...new Set([...cuts, whole.length])].sort((one, other) => one - other)) {
        program.write(whole.subarray(from, cut));
        from = cut;
        await new Promise((resolve) => setImmediate(resolve));
      }
      const peer = await site.next();
      assert.equal(await peer.until('payload'), 'payload');
      assert.equal(program.text, accepted + reply(0));
      program.socket.destroy();
    }),
    { numRuns: 60 },
  );
});

test('random bytes in random pieces end every connection, and nothing is dialled', async (t) => {
  const { gate, program } = await proxied(t);
  program.socket.destroy();
  const piece = fc.uint8Array({ minLength: 1, maxLength: 300 });
  const start = fc.constantFrom('', '\x05\x01\0', '\x05\x01\0\x05\x01\0', '\x05\x02\0\x01\x05\x01\0\x03');
  await fc.assert(
    fc.asyncProperty(start, fc.array(piece, { maxLength: 8 }), async (first, pieces) => {
      const hostile = await gate.proxied(serveSocksProxy);
      hostile.write(first);
      for (const bytes of pieces) {
        hostile.write(Buffer.from(bytes));
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

test('a policy that stops allowing it cuts the connection', async (t) => {
  const { gate, site, program } = await proxied(t);
  program.write(Buffer.concat([hello, toName(siteHost, 9000), Buffer.from('before')]));
  const peer = await site.next();
  await peer.until('before');
  gate.admit([]);
  assert.equal(await program.ended(), 'reset');
  assert.equal(await peer.ended(), 'reset');
  assert.equal((await gate.end()).outcome, 'cut');
});

test('no byte goes upstream before the verdict is recorded', async (t) => {
  const site = await TestSite.open(t);
  const gate = new TestGate(t, { rules, site, byHand: true });
  const program = await gate.proxied(serveSocksProxy);
  program.write(Buffer.concat([hello, toName(siteHost, 9000), Buffer.from('early')]));
  const peer = await site.next();
  await gate.flow();
  await settled();
  assert.equal(peer.text, '');
  gate.acknowledge();
  await peer.until('early');
});

test('whoever says nothing, or not enough, is cut in time', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { gate, program } = await proxied(t);
  const slow = await gate.proxied(serveSocksProxy);
  slow.write('\x05\x01\0\x05\x01');
  await slow.until(accepted);
  t.mock.timers.tick(gatewayLimits.firstBytesMs);
  await Promise.all([program.ended(), slow.ended()]);
  assert.deepEqual(gate.flows, []);
});
