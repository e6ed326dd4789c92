import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { openFileStand, openTlogStand } from '../../../tests/support/witness-stands.ts';
import { WitnessWorld, wholeWitness } from '../../../tests/support/witness-world.ts';
import type { WitnessSettings } from '../../contract/witnesses.ts';
import { parseCheckpoint, parseCheckpoints } from '../checkpoint.ts';
import { cosignatureBy } from '../cosignature.ts';
import type { SignedAuditLog } from '../log.ts';
import { verifyStreams } from '../verify.ts';
import { keepCosigned } from './cosigned-file.ts';
import type { LaneFacts } from './lane.ts';
import { Witnesses } from './pusher.ts';

let world: WitnessWorld;
const opened: { close(): Promise<void> }[] = [];
beforeEach(() => {
  world = new WitnessWorld();
  opened.push(world);
});
after(async () => {
  for (const one of opened.reverse()) await one.close();
});

type Given = Partial<WitnessSettings> & Pick<WitnessSettings, 'url'>;

/** Witnesses of one log, ticked by hand. */
async function start(log: SignedAuditLog, folder: string, given: readonly Given[]) {
  const settings = given.map((one) => ({ ...wholeWitness, ...one }));
  const witnesses = await Witnesses.open({ settings, version: '1', clock: world.clock, random: () => 1 });
  opened.push(witnesses);
  const conflicts: (LaneFacts & { size: number })[] = [];
  const stream = {
    stream: 'control',
    folder: join(world.folder(folder), 'control'),
    tree: log.tree,
    checkpoint: () => log.checkpoint(),
  };
  witnesses.start({
    streams: () => [stream],
    onProblem: () => undefined,
    onConflict: (facts) => conflicts.push(facts),
  });
  await witnesses.settled();
  const next = async () => {
    world.clock.advance(60_000);
    witnesses.tick();
    await witnesses.settled();
  };
  return { witnesses, conflicts, next };
}

test('a log that is rolled back under a server is found at its next start, and still when it has grown', async () => {
  const stands = [await openFileStand(world.folder('vault')), await openTlogStand()];
  opened.push(...stands);
  const given = stands.map(({ settings }, index) => ({ ...settings, name: ['vault', 'tlog'][index]! }));
  const log = await world.log();
  await world.grow(log, 5);
  const before = await start(log, 'audit', given);
  world.copy('audit', 'backup');
  await world.grow(log, 5);
  await before.next();
  assert.deepEqual(before.witnesses.health(), { ok: true });
  assert.deepEqual(before.conflicts, []);
  const kept = parseCheckpoints(stands[0]!.kept('control').join(''));
  assert.equal(kept?.length, 2);
  await before.witnesses.close();

  const restored = await world.log('backup');
  const at = await start(restored, 'backup', given);
  const told = at.conflicts.map(({ witness, stream }) => `${witness} ${stream}`);
  assert.deepEqual(told.sort(), ['tlog control', 'vault control']);
  assert.deepEqual(at.witnesses.health(), {
    ok: false,
    detail: 'a witness holds another history of the log: see sealwright audit witnesses',
  });
  await world.grow(restored, 30, 'run.remove');
  await at.next();
  assert(at.witnesses.status().every(({ streams }) => streams[0]?.state === 'conflict'));
  assert.equal(at.conflicts.length, 2, 'told once');
  await world.end(restored);
  const { status } = await verifyStreams([world.folder('backup')], { kept: kept! });
  assert.equal(status, 'tampered', 'and whoever has what the witness kept finds it offline');
  await world.end(log);
  assert.equal(
    (await verifyStreams([world.folder('audit')], { kept: kept! })).status,
    'intact',
    'the control',
  );
});

test('only a witness that is required makes the server not ready while it is away', async () => {
  const log = await world.log();
  const away = { url: `file://${world.folder('x')}/absent/` };
  for (const required of [false, true]) {
    const { witnesses, next } = await start(log, 'audit', [{ ...away, required, name: 'away' }]);
    for (let minute = 0; minute < 5; minute += 1) await next();
    assert.equal(witnesses.health().ok, true, 'five minutes are none too long');
    await next();
    const [status] = witnesses.status();
    assert.deepEqual([status?.streams[0]?.ageSeconds, status?.streams[0]?.state], [360, 'retrying']);
    assert.equal(witnesses.health().ok, !required);
    if (required)
      assert.deepEqual(witnesses.health(), {
        ok: false,
        detail: 'a witness has had no checkpoint for too long: see sealwright audit witnesses',
      });
  }
});

test('beside the checkpoint lies the newest cosigned one, with every witness’s signature', async () => {
  const stands = [await openTlogStand('one.example'), await openTlogStand('two.example')];
  opened.push(...stands);
  const log = await world.log();
  const given = stands.map(({ settings }, index) => ({ ...settings, name: `w${index}` }));
  const { witnesses, next } = await start(log, 'audit', given);
  await world.grow(log, 3);
  await next();
  const folder = join(world.folder('audit'), 'control');
  const path = join(folder, 'cosigned');
  const read = parseCheckpoint(readFileSync(path, 'utf8'));
  assert.equal(read?.size, log.checkpoint().size);
  for (const { key } of stands) assert(cosignatureBy(read!.note, key) !== null, key.name);
  const [status] = witnesses.status();
  const cosigned = status!.streams[0]!.cosigned!;
  assert(cosignatureBy(parseCheckpoint(cosigned)!.note, stands[0]!.key) !== null);
  await world.grow(log, 2);
  await keepCosigned(folder, log.checkpoint().note);
  await keepCosigned(folder, cosigned);
  assert.equal(readFileSync(path, 'utf8'), log.checkpoint().note, 'an older one takes nobody’s place');
});

test('without witnesses nothing is pushed and nothing is wrong', async () => {
  const { witnesses } = await start(await world.log(), 'audit', []);
  assert.deepEqual([witnesses.status(), witnesses.health()], [[], { ok: true }]);
});
