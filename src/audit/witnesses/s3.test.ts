import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';
import { openS3Stand, type S3Stand, secretOfTests } from '../../../tests/support/witness-stands.ts';
import { pushNewest, WitnessWorld } from '../../../tests/support/witness-world.ts';
import type { SignedAuditLog } from '../log.ts';
import type { PushResult } from './witness.ts';

let world: WitnessWorld;
let stand: S3Stand;
let log: SignedAuditLog;
const opened: { close(): Promise<void> }[] = [];

beforeEach(async () => {
  world = new WitnessWorld();
  stand = await openS3Stand();
  opened.push(world, stand);
  log = await world.log();
});
after(async () => {
  for (const one of opened) await one.close();
});

const reasonOf = (result: PushResult) => ('reason' in result ? result.reason : result.kind);

test('an object is named for stream and size, and locked where that is asked for', async () => {
  assert.equal((await pushNewest(await world.witness(stand.settings), log)).kind, 'kept');
  const [[key, headers]] = [...stand.headers] as [
    [string, S3Stand['headers'] extends Map<string, infer H> ? H : never],
  ];
  assert.equal(key, `logs/prod/control/${String(log.checkpoint().size).padStart(16, '0')}.checkpoint`);
  assert.equal(headers['x-amz-object-lock-mode'], undefined);
  assert.equal(headers['if-none-match'], '*');
  await world.grow(log, 1);
  assert.equal(
    (await pushNewest(await world.witness({ ...stand.settings, retainDays: 10 }), log)).kind,
    'kept',
  );
  const locked = [...stand.headers.values()].at(-1)!;
  assert.equal(locked['x-amz-object-lock-mode'], 'COMPLIANCE');
  assert.equal(locked['x-amz-object-lock-retain-until-date'], '2026-01-11T00:00:00.000Z');
});

test('a wrong secret is told by what the receiver says of it, and is not shown', async () => {
  const witness = await world.witness({ ...stand.settings, secret: 'another-secret' });
  assert.equal(
    reasonOf(await pushNewest(witness, log)),
    'it would not list the bucket: it answered 403 SignatureDoesNotMatch',
  );
  assert.equal(stand.objects.size, 0);
});

test('a bucket with other things under the prefix, or another list, is not taken for kept', async () => {
  const witness = await world.witness(stand.settings);
  stand.objects.set('logs/prod/control/zebra.txt', 'x');
  assert.match(reasonOf(await pushNewest(witness, log)), /something else than checkpoints/);
  stand.objects.clear();
  assert.equal((await pushNewest(witness, log)).kind, 'kept');
});

test('among a year of checkpoints the newest is found with few requests', async () => {
  await world.grow(log, 3);
  const witness = await world.witness(stand.settings);
  assert.equal((await pushNewest(witness, log)).kind, 'kept');
  const note = log.checkpoint().note;
  for (let size = 1; size < log.checkpoint().size; size += 1)
    stand.objects.set(`logs/prod/control/${String(size).padStart(16, '0')}.checkpoint`, note);
  await world.grow(log, 2_000);
  const before = stand.asked;
  assert.equal((await pushNewest(await world.witness(stand.settings), log)).kind, 'kept');
  assert(stand.asked - before < 30, `${stand.asked - before} requests`);
  await world.grow(log, 1);
  const then = stand.asked;
  assert.equal((await pushNewest(witness, log)).kind, 'kept');
  assert(stand.asked - then < 30);
  assert(!JSON.stringify(stand.requests).includes(secretOfTests));
});
