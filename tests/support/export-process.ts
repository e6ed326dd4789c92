import type { AuditSearch } from '../../src/control/audit/search-types.ts';
import { attempt } from './audit.ts';
import { actorOf, callerOf, TestControl } from './test-control.ts';

/**
 * A process that writes events, exports all of them as evidence twice, and prints how many bytes that were and by how many
 * its memory grew at most: once as a server hands them on, and once keeping every line.
 */
export type ExportMeasure = { readonly bytes: number; readonly streamed: number; readonly kept: number };

const events = 100_000;
const together = 1_000;
const pads = Array.from({ length: 3 }, () => 'x'.repeat(1_000));

async function write({ audit }: TestControl): Promise<void> {
  for (let count = 0; count < events; count += together)
    await Promise.all(
      Array.from({ length: together }, () => audit.append(attempt('run.create', { data: { pads } }))),
    );
}

async function exported(test: TestControl, isKept: boolean): Promise<{ bytes: number; growth: number }> {
  const auditor = callerOf(actorOf('eve', 'all', ['audit:read']));
  const before = process.memoryUsage.rss();
  const kept: Buffer[] = [];
  let [bytes, growth, lines] = [0, 0, 0];
  for await (const line of await test.control.auditEvidence.export(auditor, {
    since: '2000-01-01T00:00:00.000Z',
  })) {
    bytes += line.length + 1;
    lines += 1;
    if (isKept) kept.push(line);
    if (lines % together === 0) growth = Math.max(growth, process.memoryUsage.rss() - before);
  }
  if (lines < events) throw new Error(`${lines} lines were exported`);
  return { bytes, growth };
}

async function indexed(search: AuditSearch): Promise<void> {
  while ((await search.counts()).events < events) await new Promise((resolve) => setImmediate(resolve));
}

if (import.meta.main) {
  await using test = await TestControl.open();
  await write(test);
  await indexed(test.search);
  const { bytes, growth: streamed } = await exported(test, false);
  const { growth: kept } = await exported(test, true);
  process.stdout.write(`${JSON.stringify({ bytes, streamed, kept } satisfies ExportMeasure)}\n`);
}
