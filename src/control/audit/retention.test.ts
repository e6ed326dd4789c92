import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { attempt, segmentOf } from '../../../tests/support/audit.ts';
import { verifyEvidenceWithPython, withoutPython } from '../../../tests/support/python-verifier.ts';
import { until } from '../../../tests/support/sink-world.ts';
import { actorOf, callerOf, TestControl, testConfig } from '../../../tests/support/test-control.ts';
import { segmentEvents } from '../../audit/segments.ts';
import { verifyStreams } from '../../audit/verify.ts';
import { verifyEvidence } from '../../audit/verify-evidence.ts';
import { Fault } from '../../contract/faults.ts';
import { roles } from '../../model/scopes.ts';

const auditor = callerOf(actorOf('eve', 'all', roles.auditor));

test('events that have had their time are archived, recorded as dropped, and dropped', async (t) => {
  const outside = mkdtempSync(join(tmpdir(), 'sealwright-archive-'));
  t.after(() => rmSync(outside, { recursive: true, force: true }));
  const archive = join(outside, 'archive');
  mkdirSync(archive);
  const auditRetention = { keptMs: 0, archive, everyMs: 20 };
  await using at = await TestControl.open({ config: { ...testConfig, auditRetention } });
  await at.search.counts();
  for (let count = 0; count <= segmentEvents; count += 1_024)
    await Promise.all(Array.from({ length: 1_024 }, () => at.audit.append(attempt('run.create'))));
  const audit = join(at.folder, 'audit');
  await until(() => !existsSync(segmentOf(audit)), 'the first segment goes');
  assert(existsSync(segmentOf(archive)));
  for (const folder of [join(audit, 'control'), join(archive, 'control')]) {
    const { status, streams } = await verifyStreams([folder]);
    assert.equal(status, 'intact', JSON.stringify(streams));
  }
  // What is left of the first one's are the few events behind it.
  await until(async () => (await at.search.counts()).events < 2 * 1_024, 'the index forgets them');
  const { items } = await at.control.audit.list(auditor, { action: 'audit.dropped' });
  assert.deepEqual(
    items.map(({ data, resource }) => [data, resource]),
    [
      [
        { from: 1, stream: 'control', through: segmentEvents },
        { id: 'control', kind: 'audit' },
      ],
    ],
  );
  const left = await refusedSince(at);
  const lines: string[] = [];
  for await (const line of await at.control.auditEvidence.export(auditor, { since: left }))
    lines.push(line.toString());
  const bundle = join(at.folder, 'evidence.json');
  writeFileSync(bundle, lines.map((line) => `${line}\n`).join(''));
  const evidence = await verifyEvidence(bundle);
  assert.equal(evidence.status, 'intact', JSON.stringify(evidence.problem));
  assert.equal(evidence.streams[0]?.dropped, segmentEvents);
  if (withoutPython === false) assert.equal(verifyEvidenceWithPython([bundle]).code, 0);
});

/** An export of what was dropped is a conflict that says since when there is something. */
async function refusedSince(at: TestControl): Promise<string> {
  const asked = at.control.auditEvidence.export(auditor, { since: '2000-01-01T00:00:00.000Z' });
  const refused = await asked.then(
    () => null,
    (error: unknown) => error,
  );
  assert(refused instanceof Fault);
  assert.equal(refused.code, 'state.conflict');
  const [, date] = /before (\S+) were dropped/.exec(refused.detail ?? '') ?? [];
  assert(date !== undefined, refused.detail);
  return date;
}
