import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type { EgressLimits, EgressRule } from '../model/egress.ts';
import { unlimitedEgress } from '../model/egress.ts';
import { parseAddress } from '../model/ip-address.ts';
import { Allowance } from './allowance.ts';
import { Connection } from './flow/connection.ts';
import { serveHttpProxy } from './proxy/http-proxy.ts';
import { serveSocksProxy } from './proxy/socks-proxy.ts';
import { cidrRule, hostRule, type Peer, siteHost, TestGate, TestSite } from './test-gate.ts';

const raw = hostRule(siteHost, { protocol: 'tcp', ports: [9000] });
const web = hostRule(siteHost, { protocol: 'http', ports: [80] });
const tls = hostRule(siteHost);
const get = `GET / HTTP/1.1\r\nHost: ${siteHost}\r\n\r\n`;
const answer = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const upstreamHead = `GET / HTTP/1.1\r\nhost: ${siteHost}\r\n\r\n`;

/** A clock that a test moves. */
class HandClock {
  at = 0;
  now = () => 1_000_000 + this.at;
  monotonic = () => this.at;
}

async function limited(
  t: TestContext,
  limits: Partial<EgressLimits>,
  rules: readonly EgressRule[] = [raw, web, tls],
) {
  const site = await TestSite.open(t);
  const clock = new HandClock();
  const gate = new TestGate(t, { rules, site, clock });
  gate.admit(rules, 'restricted', limits);
  const change = (to: Partial<EgressLimits>) => gate.admit(rules, 'restricted', to);
  return { site, gate, clock, change };
}

const denials = (gate: TestGate) => gate.flows.flatMap(({ denial }) => denial ?? []);

/** Connections whose programs and sockets are there, and which are then served in one turn. */
async function atOnce(gate: TestGate, count: number): Promise<Peer[]> {
  const pairs = [];
  for (let at = 0; at < count; at += 1) pairs.push(await gate.pair());
  const destination = gate.door.destination(parseAddress(gate.door.addressFor(siteHost, 4)!)!, 9000);
  for (const { socket } of pairs) void new Connection(gate.door, socket, destination).serve();
  return pairs.map(({ program }) => program);
}

/** Resolves once as many of the programs were cut off. */
async function cutOff(programs: readonly Peer[], count: number): Promise<void> {
  let ended = 0;
  await new Promise<void>((resolve) => {
    for (const program of programs)
      void program.ended().then(() => {
        ended += 1;
        if (ended === count) resolve();
      });
  });
}

/** A tunnel that carries bytes both ways. */
async function tunnel(gate: TestGate, site: TestSite): Promise<{ program: Peer; peer: Peer }> {
  const { program } = await gate.connect(siteHost, 9000);
  const peer = await site.next();
  peer.write('hello');
  await program.until('hello');
  return { program, peer };
}

test('as many connections as the limit says are open at a time, and a closed one makes room', async (t) => {
  const { gate, site } = await limited(t, { connections: 2 });
  const one = await tunnel(gate, site);
  const two = await tunnel(gate, site);
  const third = await gate.connect(siteHost, 9000);
  assert.equal(await third.program.ended(), 'reset');
  await gate.flow(2);
  assert.deepEqual(denials(gate), ['limit']);
  one.program.socket.resetAndDestroy();
  await gate.end();
  await tunnel(gate, site);
  two.program.write('still');
  await two.peer.until('still');
  assert.equal(gate.upstreams.dials.length, 3);
});

test('of ten connections at once exactly as many as the limit says get through', async (t) => {
  const { gate, site } = await limited(t, { connections: 4 });
  const ten = await atOnce(gate, 10);
  for (let at = 0; at < 4; at += 1) await site.next();
  await cutOff(ten, 6);
  assert.equal(gate.upstreams.dials.length, 4);
});

test('a connection that no rule allows takes no place of one that a rule does', async (t) => {
  const { gate, site } = await limited(t, { connections: 1 });
  for (let at = 0; at < 5; at += 1) await (await gate.connect('evil.test', 9000)).program.ended();
  await tunnel(gate, site);
});

test('past a limit each protocol is told in its own way: 429, an alert, a reset, a reply', async (t) => {
  const { gate, site } = await limited(t, { connections: 1 });
  await tunnel(gate, site);
  const http = await gate.connect(siteHost, 80);
  await http.program.ended();
  assert.match(
    http.program.text,
    /^HTTP\/1.1 429 Too Many Requests\r\n[\s\S]*limit of the run's policy[\s\S]*connections: 1/,
  );
  assert.doesNotMatch(http.program.text, /retry-after/, 'time alone does not help');
  const https = await gate.connect(siteHost, 443);
  assert.equal((await https.program.until('\x31')).charCodeAt(0), 0x15);
  assert.equal(await (await gate.connect(siteHost, 9000)).program.ended(), 'reset');
  const proxied = await gate.proxied(serveHttpProxy);
  proxied.write(`CONNECT ${siteHost}:9000 HTTP/1.1\r\nHost: ${siteHost}\r\n\r\n`);
  await proxied.until('429 Too Many Requests');
  const socks = await gate.proxied(serveSocksProxy);
  socks.write(
    Buffer.concat([
      Buffer.of(5, 1, 0, 5, 1, 0, 3, siteHost.length),
      Buffer.from(siteHost),
      Buffer.of(35, 40),
    ]),
  );
  await socks.until('\x05\0\x05\x02');
  await gate.changes.until(() => denials(gate).length === 3);
  assert.deepEqual(new Set(denials(gate)), new Set(['limit']));
  assert.equal(gate.upstreams.dials.length, 1);
});

test('fewer connections than are open leaves those, and lets none through until there are fewer', async (t) => {
  const { gate, site, change } = await limited(t, {});
  const open = [await tunnel(gate, site), await tunnel(gate, site), await tunnel(gate, site)];
  change({ connections: 2 });
  for (const { program, peer } of open) {
    program.write('still');
    await peer.until('still');
  }
  assert.equal(await (await gate.connect(siteHost, 9000)).program.ended(), 'reset');
  open[0]!.program.socket.resetAndDestroy();
  await gate.end();
  assert.equal(await (await gate.connect(siteHost, 9000)).program.ended(), 'reset');
  open[1]!.program.socket.resetAndDestroy();
  await gate.end(1);
  await tunnel(gate, site);
  change({});
  await tunnel(gate, site);
});

test('requests past the limit of a minute are told when to come again, and get through then', async (t) => {
  const { gate, site, clock } = await limited(t, { requestsPerMinute: 3 });
  const { program } = await gate.connect(siteHost, 80);
  let peer: Peer | null = null;
  for (let turn = 1; turn <= 3; turn += 1) {
    clock.at += 5_000;
    program.write(get);
    peer ??= await site.next();
    while (peer.text.split('GET').length <= turn) await once(peer.socket, 'data');
    peer.write(answer(`answer ${turn}`));
    await program.until(`answer ${turn}`);
  }
  clock.at += 500;
  program.write(get);
  await program.ended();
  assert.match(program.text, /429 Too Many Requests[\s\S]*retry-after: 50\r\n[\s\S]*requestsPerMinute: 3/);
  assert.equal(peer!.text, upstreamHead.repeat(3));
  assert.equal(denials(gate).join(), 'limit');
  assert.deepEqual([gate.flows.at(-1)!.method, gate.flows.at(-1)!.path], ['GET', '/']);
  clock.at += 49_500;
  const again = await gate.connect(siteHost, 80);
  again.program.write(get);
  await (await site.next()).until('\r\n\r\n');
});

test('a connection that is not looked into is a request, and ten at once are not more than the limit', async (t) => {
  const { gate, site, clock } = await limited(t, { requestsPerMinute: 4 });
  const ten = await atOnce(gate, 10);
  for (let at = 0; at < 4; at += 1) await site.next();
  await cutOff(ten, 6);
  assert.equal(gate.upstreams.dials.length, 4);
  for (const { socket } of ten) socket.resetAndDestroy();
  const late = await gate.connect(siteHost, 9000);
  assert.equal(await late.program.ended(), 'reset', 'that they are closed does not make it earlier');
  clock.at += 60_000;
  await tunnel(gate, site);
});

test('a request that no rule allows is none of the minute', async (t) => {
  const rules = [{ ...web, paths: ['/open'] }];
  const { gate, site } = await limited(t, { requestsPerMinute: 1 }, rules);
  for (let turn = 0; turn < 3; turn += 1) {
    const { program } = await gate.connect(siteHost, 80);
    program.write(get);
    await program.until('403 Forbidden');
  }
  const { program } = await gate.connect(siteHost, 80);
  program.write(get.replace('GET /', 'GET /open'));
  await (await site.next()).until('/open');
});

test('no byte past the limit leaves by a tunnel; all that is open is cut and nothing comes after', async (t) => {
  const { gate, site } = await limited(t, { bytesOut: 100 });
  const one = await tunnel(gate, site);
  const two = await tunnel(gate, site);
  one.program.write('x'.repeat(60));
  await one.peer.until('x'.repeat(60));
  two.program.write('y'.repeat(40));
  await two.peer.until('y'.repeat(40));
  one.peer.write('an answer may still come');
  await one.program.until('still come');
  one.program.write('z');
  for (const { program, peer } of [one, two]) {
    assert.equal(await program.ended(), 'reset');
    assert.equal(await peer.ended(), 'reset');
  }
  assert.equal(one.peer.text.length + two.peer.text.length, 100);
  await gate.end(1);
  assert.deepEqual(
    gate.ends.map(({ outcome }) => outcome),
    ['cut', 'cut'],
  );
  const late = await gate.connect(siteHost, 80);
  await late.program.until('429 Too Many Requests');
  await late.program.until('bytesOut: 100');
  await gate.changes.until(() => denials(gate).length === 2);
  assert.deepEqual(denials(gate), ['limit', 'limit']);
  assert.equal(gate.upstreams.dials.length, 2);
});

test('heads and bodies of requests count as they are sent, and a piece that does not fit is not sent at all', async (t) => {
  const head = 'PUT / HTTP/1.1\r\nhost: site.test\r\ncontent-length: 20\r\n\r\n';
  const { gate, site } = await limited(t, { bytesOut: head.length + 10 });
  const { program } = await gate.connect(siteHost, 80);
  program.write('PUT / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 20\r\n\r\n');
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  program.write('a'.repeat(10));
  await peer.until('a'.repeat(10));
  program.write('b'.repeat(10));
  assert.equal(await program.ended(), 'reset');
  await peer.ended();
  assert.equal(peer.text, head + 'a'.repeat(10));
  const end = await gate.end();
  assert.deepEqual([end.bytesOut, end.outcome], [head.length + 10, 'cut']);
});

test('a request whose head does not fit is not sent', async (t) => {
  const { gate, site } = await limited(t, { bytesOut: upstreamHead.length - 1 });
  const { program } = await gate.connect(siteHost, 80);
  program.write(get);
  assert.equal(await program.ended(), 'reset');
  const peer = await site.next();
  await peer.ended();
  assert.equal(peer.text, '');
  assert.equal((await gate.end()).outcome, 'cut');
  const late = await gate.connect(siteHost, 80);
  await late.program.until('429');
});

test('what leaves in a change of protocol counts', async (t) => {
  const asked = `GET / HTTP/1.1\r\nHost: ${siteHost}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;
  const { gate, site } = await limited(t, { bytesOut: 200 });
  const { program } = await gate.connect(siteHost, 80);
  program.write(asked);
  const peer = await site.next();
  await peer.until('\r\n\r\n');
  peer.write('HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n');
  await program.until('101 Switching');
  const before = peer.text.length;
  program.write('f'.repeat(200 - before));
  await peer.until('f'.repeat(200 - before));
  program.write('g');
  assert.equal(await program.ended(), 'reset');
  await peer.ended();
  assert.equal(peer.text.length, 200);
});

test('ten that send at once send no more than the limit together', async (t) => {
  const { gate, site } = await limited(t, { bytesOut: 1_000_000 });
  const ten = await atOnce(gate, 10);
  for (const program of ten) program.write(Buffer.alloc(300_000, 'x'));
  await cutOff(ten, 10);
  await Promise.all(site.peers.map((peer) => peer.ended()));
  const arrived = site.peers.reduce((sum, { text }) => sum + text.length, 0);
  assert.ok(arrived <= 1_000_000, `${arrived} bytes`);
  await gate.end(9);
  assert.ok(gate.ends.every(({ outcome }) => outcome === 'cut'));
});

test('a limit below what was sent already cuts at once, and a higher one lets through again', async (t) => {
  const { gate, site, change } = await limited(t, {});
  const one = await tunnel(gate, site);
  one.program.write('x'.repeat(500));
  await one.peer.until('x'.repeat(500));
  change({ bytesOut: 500 });
  one.peer.write('it is not past it');
  await one.program.until('past it');
  change({ bytesOut: 499 });
  assert.equal(await one.program.ended(), 'reset');
  assert.equal((await gate.end()).outcome, 'cut');
  assert.equal(await (await gate.connect(siteHost, 9000)).program.ended(), 'reset');
  change({ bytesOut: 600 });
  const two = await tunnel(gate, site);
  two.program.write('y'.repeat(101));
  assert.equal(await two.program.ended(), 'reset');
  change({});
  await tunnel(gate, site);
});

test('after a restart the count goes on from what is known to have been sent', async (t) => {
  const { gate, site } = await limited(t, { bytesOut: 100 });
  gate.admit([raw], 'restricted', { bytesOut: 100 }, 90);
  const one = await tunnel(gate, site);
  one.program.write('x'.repeat(10));
  await one.peer.until('x'.repeat(10));
  gate.admit([raw], 'restricted', { bytesOut: 100 }, 10);
  one.program.write('y');
  assert.equal(await one.program.ended(), 'reset');
});

test('without limits nothing is denied or cut', async (t) => {
  const { gate, site } = await limited(t, {}, [cidrRule('10.0.0.0/8'), raw]);
  for (const _ of await atOnce(gate, 50)) await site.next();
  assert.deepEqual(denials(gate), []);
});

test('whatever is sent in whatever pieces, no more than the limit leaves, and nothing once one did not fit', () => {
  fc.assert(
    fc.property(fc.nat(2_000), fc.array(fc.nat(400), { maxLength: 40 }), (most, pieces) => {
      const allowance = new Allowance(new HandClock());
      allowance.change({ ...unlimitedEgress, bytesOut: most }, 0);
      let sent = 0;
      let over = false;
      for (const piece of pieces) {
        const fits = allowance.send(piece);
        if (fits) sent += piece;
        if (over) assert.ok(!fits || piece === 0);
        over ||= !fits;
        assert.ok(sent <= most);
        assert.equal(allowance.connection(0) !== null, over || sent >= most);
      }
    }),
  );
});
