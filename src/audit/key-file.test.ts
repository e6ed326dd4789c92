import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  attempt,
  eventId,
  type FaultyDisk,
  faultyDisk,
  type ManualClock,
  manualClock,
  type TemporaryFolder,
  temporaryFolder,
} from '../../tests/support/audit.ts';
import { Fault } from '../contract/faults.ts';
import { KeyFile } from './key-file.ts';
import { auditLimits } from './limits.ts';
import { openAuditLog, type SignedAuditLog } from './log.ts';
import { verifyStreams } from './verify.ts';

type Rig = { folder: TemporaryFolder; path: string; disk: FaultyDisk; clock: ManualClock };

function rigIn(folder: TemporaryFolder): Rig {
  const path = join(folder.path, 'key.pem');
  const { privateKey } = generateKeyPairSync('ed25519');
  writeFileSync(path, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return { folder, path, disk: faultyDisk(), clock: manualClock() };
}

async function open({ folder, path, disk, clock }: Rig): Promise<{ log: SignedAuditLog; file: KeyFile }> {
  const file = await KeyFile.open(path);
  const options = { folder: folder.path, stream: 'control', clock, newId: eventId, disk };
  const log = await openAuditLog({ ...options, signingKeys: file.keys });
  await file.settle(log);
  return { log, file };
}

async function isIntact({ folder }: Rig): Promise<void> {
  const { status, streams } = await verifyStreams([join(folder.path, 'control')]);
  assert.equal(status, 'intact', JSON.stringify(streams));
}

test('keys that are rotated at the same time follow each other, and the last one opens the log again', async () => {
  using folder = temporaryFolder();
  const rig = rigIn(folder);
  const { log, file } = await open(rig);
  const first = log.key();
  await Promise.all([file.rotate(log), log.append(attempt('a')), file.rotate(log), file.rotate(log)]);
  const last = log.key();
  assert.notEqual(last, first);
  await log.close();
  assert.deepEqual(readdirSync(folder.path).sort(), ['control', 'key.pem']);
  const again = await open(rig);
  assert.equal(again.log.key(), last);
  await again.log.close();
  await isIntact(rig);
});

test('a key in force whose rotation failed at its checkpoint is not lost to the next rotation', async () => {
  using folder = temporaryFolder();
  const rig = rigIn(folder);
  const { log, file } = await open(rig);
  const first = log.key();
  rig.disk.judge = (call) => (call === 'open' ? { code: 'EIO' } : 'pass');
  await assert.rejects(file.rotate(log), Fault);
  const second = log.key();
  assert.notEqual(second, first, 'the stream has said so');
  rig.disk.judge = (call) => (call === 'write' ? { code: 'EIO' } : 'pass');
  await assert.rejects(file.rotate(log), Fault);
  assert.equal(log.key(), second);
  rig.disk.judge = () => 'pass';
  await log.close();
  const again = await open(rig);
  assert.equal(again.log.key(), second);
  rig.clock.advance(auditLimits.recoveryEveryMs);
  await again.file.rotate(again.log);
  await again.log.close();
  await isIntact(rig);
});
