import { setTimeout as pause } from 'node:timers/promises';
import { residentBytes } from '../../tests/support/workload.ts';
import type { Row } from '../row.ts';
import type { Bench } from './bench.ts';
import { openFilesMax, ports } from './ground.ts';
import { type Held, hex, hold } from './load.ts';
import { bareGateway, connectProxy, through, type Way } from './peers.ts';

/** What open connections cost the process that holds them. */
const settleMs = 1_500;
const few = 1_000;
/** As many as the gateway lets in by its open files, and still has room for others, where that is fewer. */
const manyWanted = 10_000;
const shareOfFiles = 9 / 32;
/** A sandbox may hold 2,000. */
const sandboxes = 6;

const mb = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

const howMany = () => Math.min(manyWanted, Math.floor(openFilesMax() * shareOfFiles));

type Weight = { readonly idle: number; readonly few: number; readonly many: number };

async function weigh(pid: number): Promise<number> {
  await pause(settleMs);
  return residentBytes(pid);
}

function opened(held: readonly Held[], count: number): void {
  const open = held.reduce((sum, { seen }) => sum + seen.count, 0);
  if (open < count) throw new Error(`${open} of ${count} connections were opened`);
}

/** `ways` lead to the same process; the few are the first's, more are shared out among the others. */
async function weighed(bench: Bench, ways: readonly Way[], pid: number): Promise<Weight> {
  const { load } = bench.ground;
  const idle = await weigh(pid);
  const open = (way: Way, count: number) =>
    hold(load, way.enter, { ...through(way, ports.raw), count, lanes: 16, first: hex('p') });
  const held = [await open(ways[0]!, few)];
  opened(held, few);
  const withFew = await weigh(pid);
  const many = howMany();
  const others = ways.length > 1 ? ways.slice(1) : ways;
  const share = Math.ceil((many - few) / others.length);
  for (const [index, way] of others.entries())
    held.push(await open(way, Math.min(share, many - few - share * index)));
  opened(held, many);
  const withMany = await weigh(pid);
  for (const each of held) await each.release();
  return { idle, few: withFew, many: withMany };
}

/** A gateway that has not done anything yet, and knows no address of the one before. */
async function freshGateway({ ground }: Bench): Promise<number> {
  const before = ground.gatewayPid();
  process.kill(before, 'SIGKILL');
  for (;;) {
    await pause(200);
    try {
      if (ground.gatewayPid() !== before) return ground.gatewayPid();
    } catch {
      // The next one is on its way.
    }
  }
}

export async function memoryRows(bench: Bench, ways: readonly Way[]): Promise<Row[]> {
  const { ground } = bench;
  const pid = await freshGateway(bench);
  const loaded = await Promise.all(Array.from({ length: sandboxes }, () => ground.sandbox()));
  const ours = await weighed(
    bench,
    loaded.map(({ enter, address }) => ({ ...bench.ours, enter, address })),
    pid,
  );
  for (const each of loaded) await ground.leave(each);
  const fresh = [await bareGateway(), await connectProxy(), ...ways.filter(({ name }) => name === 'squid')];
  const rows: Row[] = [];
  for (const way of fresh) {
    const theirs = await weighed(bench, [way], way.pid!);
    const row = (what: string, our: number, their: number, note?: string): Row => ({
      what,
      figure: mb(our),
      peer: `${way.name}: ${mb(their)}`,
      ratio: our / their,
      ...(note !== undefined && { note }),
    });
    rows.push(
      row('memory for 1,000 open connections', ours.few - ours.idle, theirs.few - theirs.idle),
      row(
        `memory with ${howMany()} open connections, in all`,
        ours.many,
        theirs.many,
        `aim: under 500 MB; of ${sandboxes} sandboxes`,
      ),
    );
    if (way.name !== 'squid') way.close();
  }
  return rows;
}
