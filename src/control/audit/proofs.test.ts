import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { segmentOf } from '../../../tests/support/audit.ts';
import { actorOf, callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import { parseCheckpoint } from '../../audit/checkpoint.ts';
import { leafHash, nodeHash } from '../../audit/merkle.ts';
import { verifyConsistency, verifyInclusion } from '../../audit/merkle-verify.ts';
import { parseVerifierKey, signedBy } from '../../audit/signed-note.ts';
import { verifyStreams } from '../../audit/verify.ts';
import { roles } from '../../model/scopes.ts';

const auditor = callerOf(actorOf('eve', 'all', roles.auditor));
const admin = callerOf(actorOf('root', 'all', ['identity:write', 'audit:read']));
const ownAuditor = callerOf(actorOf('ann', 'own', ['audit:read']));
const developer = callerOf(actorOf('ada'));
const bytes = (text: string) => Buffer.from(text, 'base64');

test('an event, and that the log only grew, are proved to whoever may read of the log', async () => {
  await using at = await TestControl.open();
  const { auditProofs, sessions } = at.control;
  const [before] = await auditProofs.checkpoints(auditor);
  for (let count = 0; count < 5; count += 1)
    await sessions.create(developer, { request: { name: `s${count}` }, idempotencyKey: null });
  const [after] = await auditProofs.checkpoints(ownAuditor, 'control');
  const [old, signed] = [parseCheckpoint(before!)!, parseCheckpoint(after!)!];
  const [stream] = await auditProofs.streams(auditor);
  assert.equal(signedBy(signed.note, [parseVerifierKey(stream!.key!)!])?.text, stream!.key);
  assert(signed.size > old.size + 4, 'it is signed when it is asked for');

  const lines = readFileSync(segmentOf(join(at.folder, 'audit')), 'utf8').split('\n');
  for (const seq of [1, 3, signed.size]) {
    const { leaf, index, size, root, proof } = await auditProofs.inclusion(auditor, 'control', { seq });
    assert.deepEqual(bytes(leaf), leafHash(Buffer.from(lines[seq - 1]!)));
    assert.deepEqual([index, size, bytes(root)], [seq - 1, signed.size, signed.root]);
    assert(verifyInclusion(bytes(leaf), index, size, proof.map(bytes), bytes(root)));
  }
  const grown = await auditProofs.consistency(auditor, 'control', { first: old.size });
  assert.deepEqual([bytes(grown.firstRoot), bytes(grown.root)], [old.root, signed.root]);
  assert(
    verifyConsistency(
      old.size,
      grown.size,
      grown.proof.map(bytes),
      bytes(grown.firstRoot),
      bytes(grown.root),
    ),
  );

  const tile = await auditProofs.tile(auditor, 'control', { level: 0, index: 0, width: 2 });
  assert.deepEqual(tile, Buffer.concat(lines.slice(0, 2).map((line) => leafHash(Buffer.from(line)))));
  const small = await auditProofs.consistency(auditor, 'control', { first: 2, size: 2 });
  assert.deepEqual(bytes(small.root), nodeHash(tile.subarray(0, 32), tile.subarray(32)));
  const entries = await auditProofs.entries(auditor, 'control', { index: 0, width: 1 });
  assert.deepEqual(entries, Buffer.concat([lengthOf(lines[0]!), Buffer.from(lines[0]!)]));
});

function lengthOf(line: string): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(Buffer.byteLength(line));
  return length;
}

test('nobody else gets a proof, lines are for who reaches all, and what is not there is told', async () => {
  await using at = await TestControl.open();
  const { auditProofs } = at.control;
  for (const call of [
    () => auditProofs.streams(developer),
    () => auditProofs.checkpoints(developer),
    () => auditProofs.inclusion(developer, 'control', { seq: 1 }),
    () => auditProofs.tile(developer, 'control', { level: 0, index: 0, width: 1 }),
    () => auditProofs.entries(developer, 'control', { index: 0, width: 1 }),
    () => auditProofs.entries(ownAuditor, 'control', { index: 0, width: 1 }),
    () => auditProofs.rotateKey(auditor),
  ])
    await assert.rejects(call(), withCode('access.denied'));
  await assert.rejects(auditProofs.inclusion(auditor, 'control', { seq: 1e9 }), withCode('request.invalid'));
  await assert.rejects(
    auditProofs.inclusion(auditor, 'control', { seq: 1, size: 1e9 }),
    withCode('request.invalid'),
  );
  await assert.rejects(
    auditProofs.consistency(auditor, 'control', { first: 1e9 }),
    withCode('request.invalid'),
  );
  for (const name of ['other', '../control', ''])
    await assert.rejects(auditProofs.inclusion(auditor, name, { seq: 1 }), withCode('resource.absent'));
  for (const place of [
    { level: 0, index: 1, width: 1 },
    { level: 0, index: 0, width: 256 },
    { level: 5, index: 0, width: 1 },
  ])
    await assert.rejects(auditProofs.tile(auditor, 'control', place), withCode('resource.absent'));
});

test('the key is rotated by who may, on record, and the log verifies by either', async () => {
  await using at = await TestControl.open();
  const before = at.audit.key();
  const { key } = await at.control.auditProofs.rotateKey(admin);
  assert.notEqual(key, before);
  const acts = (await at.events()).map(({ action }) => action);
  assert.deepEqual(
    acts.filter((action) => action.startsWith('audit.key')),
    ['audit.key.rotate', 'audit.key.rotated', 'audit.key.rotate'],
  );
  for (const text of [before, key]) {
    const verdict = await verifyStreams([join(at.folder, 'audit', 'control')], {
      keys: [parseVerifierKey(text)!],
    });
    assert.equal(verdict.status, 'intact', JSON.stringify(verdict));
  }
});
