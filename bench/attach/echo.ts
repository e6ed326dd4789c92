import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import type { Row } from '../row.ts';
import { percentile } from '../run-latency.ts';
import { echoCommand, keystroke, type Line, type Peer, untilShown } from './line.ts';
import { bareTerminal, nodeChild } from './peers.ts';
import { memoryOf } from './processes.ts';

/** Between two keys, so that what goes on behind them has its turn, as where a person types. */
const betweenMs = 5;
export const viewersMax = 100;

const ms = (value: number) => value.toFixed(2);
const both = (samples: readonly number[]) =>
  `${ms(percentile(samples, 0.5))} / ${ms(percentile(samples, 0.99))} ms`;

export function keyOf(index: number): string {
  return String.fromCharCode(97 + (index % 26));
}

/** Every line is typed into in turn, because a machine's speed changes from second to second. */
export async function echoRows(peers: readonly Peer[], ours: Peer, keys: number): Promise<Row[]> {
  const lines: Line[] = [];
  try {
    for (const { open } of [ours, ...peers]) lines.push(await open(echoCommand));
    for (const line of lines) await untilShown(line, 'ready');
    const taken = new Map<Line, number[]>(lines.map((line) => [line, []]));
    for (let index = -20; index < keys; index += 1)
      for (const line of lines) {
        const took = await keystroke(line, keyOf(index + 26));
        if (index >= 0) taken.get(line)!.push(took);
        await pause(betweenMs);
      }
    const [own, ...others] = [...taken];
    return others.map(([{ name }, samples]) => ({
      what: `echo of ${keys} keys, p50 / p99`,
      figure: both(own![1]),
      peer: `${name}: ${both(samples)}`,
      ratio: percentile(own![1], 0.5) / percentile(samples, 0.5),
      note: `p99 ${(percentile(own![1], 0.99) / percentile(samples, 0.99)).toFixed(2)}`,
    }));
  } finally {
    for (const line of lines) await line.close();
  }
}

/** A driver's keys until he sees them and until the last of all viewers does; and what a viewer takes of memory. */
type Crowd = { readonly own: number[]; readonly last: number[]; readonly viewerBytes: number };

/** `wish` says how a viewer comes to the line. */
async function crowd(line: Line, wish: object, keys: number): Promise<Crowd> {
  const crowded: Crowd = { own: [], last: [], viewerBytes: 0 };
  for (let index = 0; index < keys; index += 1) await keystroke(line, keyOf(index));
  await pause(500);
  const before = memoryOf(Object.values(line.pids));
  const child = nodeChild('viewers.ts', JSON.stringify({ ...wish, count: viewersMax }));
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  try {
    await nextLine(lines);
    for (let index = 0; index < keys; index += 1) {
      const startedAt = performance.timeOrigin + performance.now();
      child.stdin!.write('\n');
      const heard = nextLine(lines);
      crowded.own.push(await keystroke(line, keyOf(index)));
      crowded.last.push((JSON.parse(await heard) as { at: number }).at - startedAt);
      await pause(betweenMs);
    }
    await pause(500);
    return { ...crowded, viewerBytes: (memoryOf(Object.values(line.pids)) - before) / viewersMax };
  } finally {
    child.kill('SIGKILL');
  }
}

async function nextLine(lines: AsyncIterator<string>): Promise<string> {
  const { value, done } = await lines.next();
  if (done === true) throw new Error('the viewers ended before they were through');
  return value;
}

/** `openOurs` and what its viewers are told; beside it a terminal in Node that all of them share. */
export async function crowdRows(
  openOurs: () => Promise<{ readonly line: Line; readonly wish: object }>,
  keys: number,
): Promise<Row[]> {
  const { line, wish } = await openOurs();
  await untilShown(line, 'ready');
  const own = await crowd(line, wish, keys).finally(line.close);
  const bare = await bareTerminal.open(echoCommand);
  await untilShown(bare, 'ready');
  const other = await crowd(bare, { port: bare.port }, keys).finally(bare.close);
  const kib = (bytes: number) => `${(bytes / 1024).toFixed(0)} KiB`;
  const row = (what: string, key: 'own' | 'last'): Row => ({
    what: `${viewersMax} viewers: ${keys} keys until ${what}, p50 / p99`,
    figure: both(own[key]),
    peer: `${bareTerminal.name}: ${both(other[key])}`,
    ratio: percentile(own[key], 0.99) / percentile(other[key], 0.99),
    note: 'the ratio is of p99',
  });
  return [
    row('the driver sees them', 'own'),
    row('the last viewer does', 'last'),
    {
      what: 'memory for each viewer: control and runner',
      figure: kib(own.viewerBytes),
      peer: `${bareTerminal.name}: ${kib(other.viewerBytes)}`,
      ratio: own.viewerBytes / other.viewerBytes,
    },
  ];
}
