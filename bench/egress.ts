import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import type { Bench } from './egress/bench.ts';
import { cutRows, denialRows, latencyRows, startRows } from './egress/delays.ts';
import { Ground } from './egress/ground.ts';
import { memoryRows } from './egress/held.ts';
import { compileLoad } from './egress/load.ts';
import { bareGateway, connectProxy, direct, present, squid, tinyproxy, type Way } from './egress/peers.ts';
import { bulkRows, connectionRows, interceptedRows, requestRows } from './egress/rates.ts';
import { printRows, type Row } from './row.ts';

/**
 * The gateway beside a direct line, other proxies and its own path without a policy, all in one network namespace.
 * `node bench/egress.ts [row…] [--json] [--short] [--profile=gateway|runner|control]`, as root.
 */
const rows: Readonly<Record<string, (bench: Bench, ways: readonly Way[]) => Promise<Row[]>>> = {
  connections: connectionRows,
  bulk: bulkRows,
  requests: requestRows,
  latency: latencyRows,
  denials: denialRows,
  memory: memoryRows,
  cut: cutRows,
  start: startRows,
  intercepted: interceptedRows,
};

/** In a process of its own, because a thread that has left its network namespace does not come back. */
export async function benchEgress(): Promise<Row[]> {
  const words = [import.meta.filename, '--json'];
  const said = execFileSync(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  return JSON.parse(said.toString()) as Row[];
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean' }, short: { type: 'boolean' }, profile: { type: 'string' } },
  });
  const unknown = positionals.find((name) => !(name in rows));
  if (unknown !== undefined) throw new Error(`${unknown} is none of ${Object.keys(rows).join(', ')}`);
  const pace = values.short ? { sliceMs: 500, slices: 1 } : { sliceMs: 2_000, slices: 3 };
  const load = await compileLoad();
  if (process.getuid?.() !== 0 || load === null) {
    const figure = 'not measured: it needs root and the Debian packages gcc and libssl-dev';
    return printRows([{ what: 'egress', figure, peer: '', ratio: null }], values.json === true);
  }
  const ground = await Ground.open(load);
  const ways = [
    direct,
    ...present([await tinyproxy(ground), await squid(ground)]),
    await connectProxy(),
    await bareGateway(),
  ];
  const found: Row[] = [];
  try {
    for (const [name, measure] of Object.entries(rows)) {
      if (positionals.length > 0 && !positionals.includes(name)) continue;
      process.stderr.write(`egress: ${name} …\n`);
      const loaded = await ground.sandbox();
      const ours: Way = { ...direct, name: 'gateway', enter: loaded.enter, address: loaded.address };
      found.push(...(await measure({ ground, ours, pace, profile: values.profile ?? null }, ways)));
      await ground.leave(loaded);
    }
  } finally {
    // Those that were measured, where one fails.
    printRows(found, values.json === true);
    for (const { close } of ways) close();
    await ground.close();
  }
}

if (import.meta.main) await main();
