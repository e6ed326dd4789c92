import { benchApiReads } from './api-reads.ts';
import { benchAudit } from './audit.ts';
import { benchMemory } from './memory.ts';
import type { Row } from './row.ts';
import { benchRunLatency } from './run-latency.ts';

/** `npm run bench`: every figure beside its yardstick, in one table; `--json` for programs. */
const benches = [benchRunLatency, benchApiReads, benchAudit, benchMemory];
const rows: Row[] = [];
for (const bench of benches) {
  process.stderr.write(`${bench.name} …\n`);
  rows.push(...(await bench()));
}
if (process.argv.includes('--json')) console.log(JSON.stringify(rows, null, 2));
else
  console.table(rows.map(({ ratio, ...row }) => ({ ...row, ratio: ratio === null ? '' : ratio.toFixed(2) })));
