import type { Row } from '../row.ts';
import type { Ground } from './ground.ts';
import { type Keys, type Kind, measure, type Seen } from './load.ts';
import type { Way } from './peers.ts';
import { coresOf, profiled } from './profile.ts';

/** How long and how often each column is measured; the columns take turns, because a machine's speed changes. */
export type Pace = { readonly sliceMs: number; readonly slices: number };

/** What every row of bench/egress.ts is made from. */
export type Bench = {
  readonly ground: Ground;
  readonly ours: Way;
  readonly pace: Pace;
  /** Which process of ours is looked at while it is loaded: gateway, runner or control. */
  readonly profile: string | null;
};

export type Shot = { readonly kind: Kind; readonly keys: (way: Way) => Keys };

/** All slices of each way, by its name. */
export type Taken = ReadonlyMap<string, readonly Seen[]>;

export async function take(bench: Bench, ways: readonly Way[], { kind, keys }: Shot): Promise<Taken> {
  const { ground, pace } = bench;
  const taken = new Map<string, Seen[]>(ways.map(({ name }) => [name, []]));
  for (let slice = -1; slice < pace.slices; slice += 1)
    for (const way of ways) {
      const ms = slice < 0 ? Math.min(pace.sliceMs, 500) : pace.sliceMs;
      const seen = await measure(ground.load, way.enter, kind, { ms, ...keys(way) });
      if (seen.failed > seen.count / 100)
        process.stderr.write(`egress: ${way.name}: ${seen.failed} of ${seen.count} failed\n`);
      if (slice >= 0) taken.get(way.name)!.push(seen);
    }
  return taken;
}

/** Which process is busy how much when ours is measured once more, and where its time goes if that is asked for. */
export async function spent(bench: Bench, what: string, { kind, keys }: Shot): Promise<string> {
  const { ground, ours, pace } = bench;
  const pids = { gateway: ground.gatewayPid(), ...ground.instance.pids() };
  const act = () => measure(ground.load, ours.enter, kind, { ms: pace.sliceMs, ...keys(ours) });
  if (bench.profile !== null) {
    const pid = Object.entries(pids).find(([name]) => name === bench.profile)?.[1];
    if (pid === undefined) throw new Error(`${bench.profile} is none of ${Object.keys(pids).join(', ')}`);
    const lines = await profiled(pid, act);
    process.stderr.write(`\n${what}: the time of ${bench.profile}\n${lines.join('\n')}\n`);
  }
  return `cores: ${await coresOf({ ...pids, upstream: ground.upstreamPid }, act)}`;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** A row for each peer. `value` is more where it is better only if `ratio` is to be read so. */
export function beside(
  what: string,
  taken: Taken,
  ours: Way,
  { value, text, note }: { value: (seen: Seen) => number; text: (name: string) => string; note?: string },
): Row[] {
  const middle = (name: string) => median(taken.get(name)!.map(value));
  const peers = [...taken.keys()].filter((name) => name !== ours.name);
  return peers.map((name, index) => ({
    what,
    figure: text(ours.name),
    peer: `${name}: ${text(name)}`,
    ratio: middle(ours.name) / middle(name),
    ...(index === 0 && note !== undefined && { note }),
  }));
}
