import assert from 'node:assert/strict';
import { afterEach, beforeEach, it } from 'node:test';
import { loopbackPair } from '../../../tests/support/certificates.ts';
import {
  secretOfTests,
  type WitnessBehaviour,
  type WitnessStand,
} from '../../../tests/support/witness-stands.ts';
import { pushNewest, WitnessWorld } from '../../../tests/support/witness-world.ts';
import { parseCheckpoint } from '../checkpoint.ts';

/** How an implementation is tried: a stand-in for its witness in a folder of the test's own, and what that can do. */
export type WitnessUnderTest = {
  readonly open: (folder: string) => Promise<WitnessStand>;
  readonly failures: readonly WitnessBehaviour[];
  /** Whether another history is still found once it has grown longer than the one that is kept. */
  readonly seesGrowth: boolean;
  readonly tls: boolean;
};

/** What every place for checkpoints keeps; called inside the suite of each. */
export function witnessConformance(tried: WitnessUnderTest): void {
  let world: WitnessWorld;
  let stand: WitnessStand;
  beforeEach(async () => {
    world = new WitnessWorld();
    stand = await tried.open(world.folder('witness'));
  });
  afterEach(async () => {
    await world.close();
    await stand.close();
  });
  const sizes = () => stand.kept('control').map((note) => parseCheckpoint(note)!.size);

  it('keeps a checkpoint as it was signed, and the same one again is kept and there once', async () => {
    const log = await world.log();
    const witness = await world.witness(stand.settings);
    assert.equal((await pushNewest(witness, log)).kind, 'kept');
    assert.equal((await pushNewest(witness, log)).kind, 'kept');
    assert.deepEqual(stand.kept('control'), [log.checkpoint().note]);
  });

  it('keeps what a log becomes, also by another process', async () => {
    const log = await world.log();
    const due: number[] = [];
    for (const count of [1, 1, 6, 3, 30]) {
      await world.grow(log, count);
      const witness = await world.witness(stand.settings);
      assert.deepEqual(
        [(await pushNewest(witness, log)).kind, sizes().at(-1)],
        ['kept', log.checkpoint().size],
      );
      await world.grow(log, count);
      assert.equal((await pushNewest(witness, log)).kind, 'kept');
      due.push(log.checkpoint().size - count, log.checkpoint().size);
    }
    assert.deepEqual(sizes(), due);
  });

  it('contradicts a log that was rolled back, and keeps nothing of it', async () => {
    const log = await world.log();
    await world.grow(log, 4);
    const witness = await world.witness(stand.settings);
    assert.equal((await pushNewest(witness, log)).kind, 'kept');
    world.copy('audit', 'copy');
    await world.grow(log, 3);
    assert.equal((await pushNewest(witness, log)).kind, 'kept');
    const before = stand.kept('control');
    const restored = await world.log('copy');
    for (const one of [witness, await world.witness(stand.settings)]) {
      const result = await pushNewest(one, restored);
      assert.equal(result.kind, 'conflict');
      assert.match('reason' in result ? result.reason : '', /^[\x20-\x7E]{1,300}$/);
    }
    assert.deepEqual(stand.kept('control'), before);
    await world.grow(log, 1);
    assert.equal((await pushNewest(witness, log)).kind, 'kept', 'the true log goes on');
  });

  it('contradicts other events of the same size, signed by the same key', async () => {
    const log = await world.log();
    world.copy('audit', 'copy');
    const forked = await world.log('copy');
    await world.grow(log, 5);
    await world.grow(forked, 5, 'run.remove');
    assert.equal(forked.checkpoint().size, log.checkpoint().size);
    const witness = await world.witness(stand.settings);
    assert.equal((await pushNewest(witness, log)).kind, 'kept');
    for (const one of [witness, await world.witness(stand.settings)])
      assert.equal((await pushNewest(one, forked)).kind, 'conflict');
    assert.deepEqual(stand.kept('control'), [log.checkpoint().note]);
  });

  if (tried.seesGrowth)
    it('contradicts a log that was rolled back and has grown past what is kept', async () => {
      const log = await world.log();
      const witness = await world.witness(stand.settings);
      await world.grow(log, 2);
      assert.equal((await pushNewest(witness, log)).kind, 'kept');
      world.copy('audit', 'copy');
      for (const count of [3, 4, 5]) {
        await world.grow(log, count);
        assert.equal((await pushNewest(witness, log)).kind, 'kept');
      }
      const restored = await world.log('copy');
      await world.grow(restored, 40, 'run.remove');
      for (const one of [witness, await world.witness(stand.settings)]) {
        assert.equal((await pushNewest(one, restored)).kind, 'conflict');
        await world.grow(restored, 1);
        assert.equal((await pushNewest(one, restored)).kind, 'conflict', 'and it stays one');
      }
      assert.equal(sizes().at(-1), log.checkpoint().size);
    });

  for (const behaviour of tried.failures)
    it(`keeps everything in the end where the witness does this for a while: ${behaviour}`, async () => {
      const log = await world.log();
      const isSlow = behaviour === 'stall' || behaviour === 'slow-headers';
      const witness = await world.witness(stand.settings, isSlow ? 300 : 2_000);
      assert.equal((await pushNewest(witness, log)).kind, 'kept');
      stand.behave = behaviour;
      await world.grow(log, 2);
      for (const _ of [1, 2]) {
        const result = await pushNewest(witness, log);
        assert.equal(result.kind, 'later');
        assert.match('reason' in result ? result.reason : '', /^[\x20-\x7E]{1,400}$/);
        assert(!JSON.stringify(result).includes(secretOfTests), 'no secret is shown');
      }
      stand.behave = 'take';
      assert.equal((await pushNewest(witness, log)).kind, 'kept');
      assert.equal(stand.kept('control').at(-1), log.checkpoint().note);
      assert.equal(sizes().length, 2);
    });

  if (tried.tls)
    it('sends nothing to who has no certificate of the authority that it trusts', async () => {
      const log = await world.log();
      for (const authorities of [[loopbackPair().authority], []]) {
        const result = await pushNewest(await world.witness({ ...stand.settings, authorities }), log);
        assert.match('reason' in result ? result.reason : '', /CERT|SIGNATURE|ISSUER/);
      }
      assert.equal(stand.asked, 0);
    });
}
