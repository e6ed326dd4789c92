import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  attempt,
  eventId,
  eventsIn,
  manualClock,
  segmentOf,
  temporaryFolder,
  testSigningKeys,
} from '../../tests/support/audit.ts';
import { openAuditLog, type SignedAuditLog } from './log.ts';
import { dropOldEvents, type RetentionParts } from './retention.ts';
import { segmentEvents } from './segments.ts';
import { noteSigner, type VerifierKey } from './signed-note.ts';
import { DroppedError } from './stream-tree.ts';
import { verifyStreams } from './verify.ts';

const dayMs = 24 * 3600 * 1000;

function place(folder: string) {
  const clock = manualClock();
  const audit = join(folder, 'audit');
  const archive = join(folder, 'archive');
  mkdirSync(archive);
  const open = () =>
    openAuditLog({ folder: audit, stream: 'control', clock, newId: eventId, signingKeys: testSigningKeys });
  const partsOf = (log: SignedAuditLog, more: Partial<RetentionParts> = {}): RetentionParts => ({
    clock,
    archive,
    keptMs: 30 * dayMs,
    streams: () => [{ stream: 'control', folder: join(audit, 'control'), tree: log.tree }],
    signer: () => log.signer(),
    sentThrough: async () => null,
    record: async ({ stream, from, through }) => {
      await log.append(attempt('audit.dropped', { data: { stream, from, through } }));
    },
    ...more,
  });
  const verdict = async (path: string) => (await verifyStreams([path])).streams[0]!;
  return { clock, audit, archive, open, partsOf, verdict };
}

async function append(log: SignedAuditLog, count: number): Promise<void> {
  for (let left = count; left > 0; left -= 1_000)
    await Promise.all(Array.from({ length: Math.min(left, 1_000) }, () => log.append(attempt('run.create'))));
}

test('old segments go once they are archived and sent, and what remains still verifies, as does the archive', async () => {
  using folder = temporaryFolder();
  const { clock, audit, archive, open, partsOf, verdict } = place(folder.path);
  const log = await open();
  await append(log, 2 * segmentEvents + 100);
  const kept = await log.sign();
  const first = segmentOf(audit);
  await dropOldEvents(partsOf(log));
  assert(existsSync(first), 'young events stay');
  clock.advance(31 * dayMs);
  await dropOldEvents(partsOf(log, { sentThrough: async () => segmentEvents - 1 }));
  assert(existsSync(first), 'events that a sink does not have stay');
  const failing = partsOf(log, { record: () => Promise.reject(new Error('cannot be recorded')) });
  await assert.rejects(dropOldEvents(failing), /cannot be recorded/);
  assert(existsSync(first), 'what cannot be recorded does not happen');
  const content = readFileSync(first);
  writeFileSync(first, String(content).replace('"run_1"', '"run_2"'));
  await assert.rejects(dropOldEvents(partsOf(log)), /is not what was recorded, and stays/);
  assert(existsSync(first), 'what was changed is evidence');
  writeFileSync(first, content);
  await dropOldEvents(partsOf(log, { sentThrough: async () => 2 * segmentEvents - 1 }));
  assert(!existsSync(first));
  assert(existsSync(segmentOf(audit, 'control', segmentEvents + 1)), 'the second is not all sent');
  assert(readFileSync(segmentOf(archive)).equals(content));

  await append(log, 10);
  const grown = await log.sign();
  const left = await verdict(join(audit, 'control'));
  assert.equal(left.status, 'intact', JSON.stringify(left));
  assert.deepEqual([left.dropped, left.lastSeq], [segmentEvents, grown.size]);
  const copy = await verdict(join(archive, 'control'));
  assert.equal(copy.status, 'intact', JSON.stringify(copy));
  assert.equal(copy.lastSeq, segmentEvents);
  const byKey = async (...keys: VerifierKey[]) =>
    (await verifyStreams([join(archive, 'control')], { keys })).status;
  const { privateKey } = generateKeyPairSync('ed25519');
  assert.equal(await byKey(log.signer().key), 'intact');
  assert.equal(await byKey(noteSigner(log.checkpoint().origin, privateKey).key), 'tampered');
  assert.deepEqual(await log.tree.rootAt(kept.size), kept.root);
  await assert.rejects(log.tree.inclusion(5, grown.size), DroppedError);
  await log.tree.inclusion(segmentEvents + 5, grown.size);
  await log.close();

  const again = await open();
  assert.equal((await again.append(attempt('after'))).seq, grown.size + 1);
  await dropOldEvents(partsOf(again));
  await again.close();
  assert.deepEqual((await verdict(join(audit, 'control'))).dropped, 2 * segmentEvents);
  assert.equal((await verdict(join(archive, 'control'))).lastSeq, 2 * segmentEvents);
  const notes = eventsIn(segmentOf(audit, 'control', 2 * segmentEvents + 1));
  assert.deepEqual(
    notes.flatMap(({ action, data }) => (action === 'audit.dropped' ? [data?.through] : [])),
    [segmentEvents, 2 * segmentEvents],
  );
  await tampering(folder.path);
});

async function tampering(folder: string): Promise<void> {
  const control = join(folder, 'audit', 'control');
  const acts: [what: RegExp, act: (copy: string) => void][] = [
    [/damaged/, (copy) => writeFileSync(join(copy, 'dropped'), 'junk')],
    [/missing/, (copy) => rmSync(join(copy, 'dropped'))],
    [/not signed|damaged/, (copy) => edit(join(copy, 'dropped'), /dropped 2026-0./, 'dropped 2026-09')],
    [/checkpoint/, (copy) => rmSync(join(copy, 'checkpoint'))],
  ];
  for (const [what, act] of acts) {
    const copy = join(folder, 'copy', 'control');
    rmSync(copy, { recursive: true, force: true });
    cpSync(control, copy, { recursive: true });
    act(copy);
    const { streams } = await verifyStreams([copy]);
    assert.equal(streams[0]!.status, 'tampered', String(what));
    assert.match(streams[0]!.problem!.what, what);
  }
  const archive = join(folder, 'archive', 'control');
  const last = readdirSync(archive)
    .filter((name) => name.endsWith('.jsonl'))
    .sort()
    .at(-1)!;
  rmSync(join(archive, last));
  assert.equal((await verifyStreams([archive])).status, 'tampered', 'an archive is whole');
}

function edit(path: string, from: RegExp, to: string): void {
  const text = readFileSync(path, 'utf8');
  assert.match(text, from);
  writeFileSync(path, text.replace(from, to));
}

test('a crash between the tombstone and the last removal leaves a log that verifies and opens', async () => {
  using folder = temporaryFolder();
  const { clock, audit, open, partsOf, verdict } = place(folder.path);
  const log = await open();
  await append(log, segmentEvents + 10);
  const content = readFileSync(segmentOf(audit));
  clock.advance(31 * dayMs);
  await dropOldEvents(partsOf(log));
  await log.close();
  writeFileSync(segmentOf(audit), content);
  assert.equal((await verdict(join(audit, 'control'))).status, 'intact');
  const again = await open();
  assert(!existsSync(segmentOf(audit)), 'it goes with the next start');
  await again.close();
  assert.equal((await verdict(join(audit, 'control'))).status, 'intact');
});
