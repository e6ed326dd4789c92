import type { Row } from '../row.ts';
import { type Bench, beside, median, type Shot, spent, take } from './bench.ts';
import { ports, upstreamName } from './ground.ts';
import { helloFor, hex, type Seen } from './load.ts';
import { asking, bumpingSquid, direct, mitmproxy, present, through, type Way } from './peers.ts';

/**
 * How much a second: connections, bytes, requests, each beside every peer. With few at a time the gateway waits for
 * the disk, because a verdict is durable before anything goes out; with many it shows what the processor carries.
 */
const few = 16;
const many = 64;
const streams = 4;

type Rate = {
  readonly what: string;
  readonly shot: Shot;
  readonly unit: string;
  readonly per: (seen: Seen) => number;
};

const perSecond = ({ count, seconds }: Seen) => count / seconds;
const each = { unit: '/s', per: perSecond };
const megabytesPerSecond = ({ bytes, seconds }: Seen) => bytes / seconds / 1e6;

async function rate(bench: Bench, ways: readonly Way[], { what, shot, unit, per }: Rate): Promise<Row[]> {
  const taken = await take(bench, [bench.ours, ...ways], shot);
  const text = (name: string) => `${median(taken.get(name)!.map(per)).toFixed(0)} ${unit}`;
  return beside(what, taken, bench.ours, { value: per, text, note: await spent(bench, what, shot) });
}

/** A connection is opened, says a TLS hello, gets one byte and is closed. */
export async function connectionRows(bench: Bench, ways: readonly Way[]): Promise<Row[]> {
  const first = await helloFor(upstreamName);
  const kinds = [
    { protocol: 'https by name', port: ports.spliced, first, lanes: few },
    { protocol: 'https by name', port: ports.spliced, first, lanes: many },
    { protocol: 'tcp', port: ports.raw, first: hex('p'), lanes: many },
  ];
  const rows: Row[] = [];
  for (const { protocol, port, first, lanes } of kinds) {
    const what = `new connections, ${protocol}, ${lanes} at a time`;
    const keys = (way: Way) => ({ ...through(way, port), lanes, first });
    rows.push(...(await rate(bench, ways, { what, shot: { kind: 'connect', keys }, ...each })));
  }
  return rows;
}

export function bulkRows(bench: Bench, ways: readonly Way[]): Promise<Row[]> {
  const keys = (way: Way) => ({ ...through(way, ports.raw), lanes: streams, first: hex('b') });
  return rate(bench, ways, {
    what: `bulk, ${streams} streams`,
    shot: { kind: 'bulk', keys },
    unit: 'MB/s',
    per: megabytesPerSecond,
  });
}

/** Requests that are read, checked and written anew: peers that only pass bytes are not beside them. */
export async function requestRows(bench: Bench, ways: readonly Way[]): Promise<Row[]> {
  const readers = ways.filter(({ name }) => [direct.name, 'squid'].includes(name));
  const rows: Row[] = [];
  for (const lanes of [few, many]) {
    const what = `http requests, ${lanes} kept connections`;
    const keys = (way: Way) => ({ ...asking(way), lanes });
    rows.push(...(await rate(bench, readers, { what, shot: { kind: 'request', keys }, ...each })));
  }
  return rows;
}

/** TLS ended and begun anew, requests checked, the upstream's certificate verified. */
export async function interceptedRows(bench: Bench): Promise<Row[]> {
  const kinds = [
    { kind: 'request', what: `intercepted requests, ${many} kept connections` },
    { kind: 'connect', what: `new intercepted connections, ${many} at a time` },
  ] as const;
  if (!bench.ground.terminates)
    return kinds.map(({ what }) => ({ what, figure: 'not available', peer: '', ratio: null }));
  const ways = present([await bumpingSquid(bench.ground), await mitmproxy(bench.ground)]);
  const first = hex(`GET / HTTP/1.1\r\nHost: ${upstreamName}:${ports.tls}\r\n\r\n`);
  const keys = (way: Way) => ({ ...through(way, ports.tls), lanes: many, first, tls: upstreamName });
  try {
    const rows: Row[] = [];
    for (const { kind, what } of kinds)
      rows.push(...(await rate(bench, [direct, ...ways], { what, shot: { kind, keys }, ...each })));
    return rows;
  } finally {
    for (const { close } of ways) close();
  }
}
