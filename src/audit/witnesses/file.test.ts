import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { faultyDisk } from '../../../tests/support/audit.ts';
import { openFileStand, type WitnessStand } from '../../../tests/support/witness-stands.ts';
import { pushNewest, WitnessWorld, wholeWitness } from '../../../tests/support/witness-world.ts';
import { parseCheckpoint } from '../checkpoint.ts';
import type { SignedAuditLog } from '../log.ts';
import { openFileWitness } from './file.ts';

let world: WitnessWorld;
let folder: string;
let stand: WitnessStand;
let log: SignedAuditLog;
const worlds: WitnessWorld[] = [];

beforeEach(async () => {
  world = new WitnessWorld();
  worlds.push(world);
  folder = world.folder('witness');
  stand = await openFileStand(folder);
  log = await world.log();
});
after(async () => {
  for (const one of worlds) await one.close();
});

const pathOf = (size: number) =>
  join(folder, 'control', '0'.repeat(16), `${String(size).padStart(16, '0')}.checkpoint`);

test('a full disk keeps nothing that looks kept, and keeps all once there is room', async () => {
  const disk = faultyDisk();
  const parts = { settings: { ...wholeWitness, ...stand.settings }, version: '1', now: () => 1, sendMs: 1 };
  const witness = openFileWitness(parts, disk);
  for (const call of ['open', 'write', 'sync'] as const)
    for (const late of [false, true]) {
      disk.judge = (asked) => (asked === call ? { code: 'ENOSPC', late } : 'pass');
      if (call === 'open' && late) continue;
      const result = await pushNewest(witness, log);
      assert.deepEqual(result, { kind: 'later', reason: 'ENOSPC' });
      assert.deepEqual(stand.kept('control'), []);
    }
  disk.judge = () => 'pass';
  assert.equal((await pushNewest(witness, log)).kind, 'kept');
  assert.deepEqual(stand.kept('control'), [log.checkpoint().note]);
  assert.deepEqual(readdirSync(dirname(pathOf(1))).length, 1, 'nothing else is left');
});

test('what a crash left under a name of its own is in nobody’s way', async () => {
  mkdirSync(dirname(pathOf(1)), { recursive: true });
  writeFileSync(`${pathOf(log.checkpoint().size)}.5.new`, 'audit.sealw');
  writeFileSync(join(folder, 'control', 'README'), 'x');
  assert.equal((await pushNewest(await world.witness(stand.settings), log)).kind, 'kept');
});

test('a folder that is not there, as of a disk that is not mounted, is not made', async () => {
  rmSync(folder, { recursive: true });
  const witness = await world.witness(stand.settings);
  assert.deepEqual(await pushNewest(witness, log), { kind: 'later', reason: 'ENOENT' });
  world.folder('witness');
  assert.equal((await pushNewest(witness, log)).kind, 'kept');
});

test('a link in place of a checkpoint is neither followed nor replaced', async () => {
  mkdirSync(dirname(pathOf(1)), { recursive: true });
  const target = join(world.folder('elsewhere'), 'target');
  symlinkSync(target, pathOf(log.checkpoint().size));
  const result = await pushNewest(await world.witness(stand.settings), log);
  assert.deepEqual(result, { kind: 'later', reason: 'ELOOP' });
  assert.deepEqual(readdirSync(world.folder('elsewhere')), []);
});

test('what is no checkpoint in a checkpoint’s place is said, and stays', async () => {
  const witness = await world.witness(stand.settings);
  assert.equal((await pushNewest(witness, log)).kind, 'kept');
  const { size } = log.checkpoint();
  chmodSync(pathOf(size), 0o600);
  writeFileSync(pathOf(size), 'spoilt');
  const result = await pushNewest(witness, log);
  assert.match('reason' in result ? result.reason : '', /is no checkpoint of them: look at it/);
  writeFileSync(pathOf(size), 'x'.repeat(70_000));
  assert.match(JSON.stringify(await pushNewest(witness, log)), /longer than a checkpoint/);
});

test('a checkpoint that somebody removed is kept again', async () => {
  const witness = await world.witness(stand.settings);
  assert.equal((await pushNewest(witness, log)).kind, 'kept');
  rmSync(pathOf(log.checkpoint().size));
  assert.equal((await pushNewest(witness, log)).kind, 'kept');
  assert.equal(stand.kept('control').length, 1);
});

test('another log under the same name is told, whoever signed it', async () => {
  assert.equal((await pushNewest(await world.witness(stand.settings), log)).kind, 'kept');
  const anew = await world.log('anew');
  await world.grow(anew, 50);
  const result = await pushNewest(await world.witness(stand.settings), anew);
  assert.equal(result.kind, 'conflict');
  assert.match(JSON.stringify(result), /events of control from another log, audit\.sealwright\.internal/);
  assert(parseCheckpoint(stand.kept('control')[0]!)?.origin !== anew.checkpoint().origin);
});
