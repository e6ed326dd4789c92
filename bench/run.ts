import { benchAccess } from './access.ts';
import { benchApiReads } from './api-reads.ts';
import { benchAttach } from './attach.ts';
import { benchAudit } from './audit.ts';
import { benchAuditSearch } from './audit-search.ts';
import { benchEgress } from './egress.ts';
import { benchIdentity } from './identity.ts';
import { benchMemory } from './memory.ts';
import { benchRedaction } from './redaction.ts';
import { benchRevocation } from './revocation.ts';
import { printRows, type Row } from './row.ts';
import { benchRunLatency } from './run-latency.ts';
import { benchSinks } from './sinks.ts';

/** `npm run bench`: every figure beside its yardstick, in one table; `--json` for programs. */
const benches = [
  benchRunLatency,
  benchApiReads,
  benchAccess,
  benchIdentity,
  benchAudit,
  benchSinks,
  benchAuditSearch,
  benchRedaction,
  benchMemory,
  benchEgress,
  benchAttach,
  benchRevocation,
];
const rows: Row[] = [];
for (const bench of benches) {
  process.stderr.write(`${bench.name} …\n`);
  rows.push(...(await bench()));
}
printRows(rows, process.argv.includes('--json'));
