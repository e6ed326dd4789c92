import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Row } from '../row.ts';
import { percentile, runFirstByte } from '../run-latency.ts';
import { type Bench, beside, median, type Taken, take } from './bench.ts';
import { ports, upstreamName, wide } from './ground.ts';
import { helloFor, hex, hold, type Seen } from './load.ts';
import { asking, direct, through, type Way } from './peers.ts';

/** How long things take one at a time. Where latencies are beside each other the ratio is that of their medians. */
const cuts = 20;
const starts = 100;

const ms = (value: number) => (value < 10 ? value.toFixed(2) : value.toFixed(0));
const pair = (samples: readonly number[]) =>
  `${ms(percentile(samples, 0.5))} / ${ms(percentile(samples, 0.99))} ms`;

function middles(taken: Taken, name: string): [number, number] {
  const of = (per: (seen: Seen) => number) => median(taken.get(name)!.map(per)) / 1000;
  return [of(({ p50us }) => p50us), of(({ p99us }) => p99us)];
}

function latencies(what: string, taken: Taken, ours: Way, note?: string): Row[] {
  const text = (name: string) => `${middles(taken, name).map(ms).join(' / ')} ms`;
  return beside(what, taken, ours, {
    value: ({ p50us }) => p50us,
    text,
    ...(note !== undefined && { note }),
  });
}

/** What the design costs on top of a direct line. */
function added(taken: Taken, ours: Way): string {
  const [our, line] = [middles(taken, ours.name), middles(taken, direct.name)];
  return `added to direct: ${our.map((each, index) => ms(each - line[index]!)).join(' / ')} ms`;
}

export async function latencyRows(bench: Bench, ways: readonly Way[]): Promise<Row[]> {
  const first = await helloFor(upstreamName);
  const connects = await take(bench, [bench.ours, ...ways], {
    kind: 'connect',
    keys: (way) => ({ ...through(way, ports.spliced), first }),
  });
  const readers = ways.filter(({ name }) => [direct.name, 'squid'].includes(name));
  const requests = await take(bench, [bench.ours, ...readers], {
    kind: 'request',
    keys: (way) => asking(way),
  });
  const [new_, kept] = [
    'new connection, hello to first byte, p50 / p99',
    'http request on a kept connection, p50 / p99',
  ];
  const rows = latencies(new_, connects, bench.ours, added(connects, bench.ours));
  const disk = await syncMs(bench);
  const our = middles(connects, bench.ours.name);
  const limit = {
    what: new_,
    figure: `${our.map(ms).join(' / ')} ms`,
    peer: `one fdatasync of the disk: ${pair(disk)}`,
  };
  return [
    ...rows,
    { ...limit, ratio: our[0] / percentile(disk, 0.5), note: 'a verdict is durable before the first byte' },
    ...latencies(kept, requests, bench.ours, added(requests, bench.ours)),
  ];
}

/** A record's append as the audit log does it, again and again. */
async function syncMs({ ground }: Bench): Promise<number[]> {
  const file = await open(join(ground.folder, 'synced'), 'a');
  const samples: number[] = [];
  for (let round = 0; round < 300; round += 1) {
    const startedAt = performance.now();
    await file.write(Buffer.alloc(700, 0x61));
    await file.datasync();
    samples.push(performance.now() - startedAt);
  }
  await file.close();
  return samples;
}

export async function denialRows(bench: Bench, ways: readonly Way[]): Promise<Row[]> {
  const { ours } = bench;
  const aim = 'aim: under 100 ms';
  const resolver: Way = { ...direct, name: "the upstream's resolver" };
  const names = await take(bench, [ours, resolver], {
    kind: 'lookup',
    keys: (way) => ({ to: way === ours ? '198.18.0.1:53' : '127.0.0.1:53', name: '.denied.example' }),
  });
  const closed = await take(bench, [ours, direct], {
    kind: 'connect',
    keys: ({ address }) => ({ to: `${address}:9`, refused: 1 }),
  });
  const forbidding = ways.filter(({ name }) => name === 'squid');
  const refused = hex('GET http://denied.example/ HTTP/1.1\r\nHost: denied.example\r\n\r\n');
  const requests = await take(bench, [ours, ...forbidding], {
    kind: 'connect',
    keys: (way) => (way === ours ? asking(way, 'PUT') : { to: way.proxy!, first: refused }),
  });
  return [
    ...latencies('denial of a name (NXDOMAIN), p50 / p99', names, ours, aim),
    ...latencies('denial of a port (refused), p50 / p99', closed, ours, aim),
    ...latencies('denial of a request (403), p50 / p99', requests, ours, aim),
  ];
}

/** From the call that changes the policy to the end of a connection that it no longer allows. */
export async function cutRows({ ground }: Bench): Promise<Row[]> {
  const { client } = ground.instance;
  const less = { rules: wide.rules.filter((rule) => rule.ports?.[0] !== ports.raw) };
  await client.policies.put('cutting', { document: wide });
  const loaded = await ground.sandbox('cutting');
  const samples: number[] = [];
  for (let round = 0; round < cuts; round += 1) {
    await client.policies.put('cutting', { document: wide });
    const keys = { to: `${loaded.address}:${ports.raw}`, count: 1, first: hex('p') };
    const held = await hold(ground.load, loaded.enter, keys);
    const askedAt = Number(process.hrtime.bigint() / 1000n);
    await client.policies.put('cutting', { document: less });
    samples.push(((await held.cut) - askedAt) / 1000);
    await held.release();
  }
  await ground.leave(loaded);
  const what = 'policy put → a live connection is cut, p50 / p99';
  const promised = { peer: 'promised: 1000 ms', ratio: percentile(samples, 0.99) / 1000 };
  return [{ what, figure: pair(samples), ...promised, note: 'ratio of the 99th percentile' }];
}

export async function startRows({ ground }: Bench): Promise<Row[]> {
  const { instance } = ground;
  const session = await instance.client.sessions.create({});
  const standing = { rules: [{ host: upstreamName }] };
  await instance.client.policies.put('standing', { document: standing });
  const kinds = [
    { name: 'no policy', more: {} },
    { name: 'a policy with the usual ports', more: { egress: ['standing'] } },
    { name: 'a policy with more ports', more: { egress: ['wide'] } },
  ];
  const taken = kinds.map((): number[] => []);
  for (let round = -10; round < starts; round += 1)
    for (const [index, { more }] of kinds.entries()) {
      const took = await runFirstByte(instance, session.id, more);
      if (round >= 0) taken[index]!.push(took);
    }
  const without = taken[0]!;
  return kinds.slice(1).map(({ name }, index) => {
    const samples = taken[index + 1]!;
    const more = percentile(samples, 0.5) - percentile(without, 0.5);
    return {
      what: `POST run → first byte of echo with ${name}, p50 / p99`,
      figure: pair(samples),
      peer: `without: ${pair(without)}`,
      ratio: percentile(samples, 0.5) / percentile(without, 0.5),
      note: `${more.toFixed(2)} ms more at the median; aim: at most 2`,
    };
  });
}
