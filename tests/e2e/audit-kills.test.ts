import assert from 'node:assert/strict';
import { appendFileSync, cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { segmentEvents } from '../../src/audit/segments.ts';
import { temporaryFolder } from '../support/audit.ts';
import {
  bundledWriter,
  ended,
  fillTo,
  keepsItsWord,
  makeKey,
  type Told,
  toldIn,
} from '../support/crash-runs.ts';
import { seeded } from '../support/seeded.ts';

/**
 * A log whose writer is killed at any moment, hundreds of times: what it acknowledged is there, nothing is twice, and it
 * verifies and goes on. g11-crash.test.ts kills whole servers.
 */

const kills = 460;
const killsOfOneLog = 23;
const killsAtSegmentEnd = 40;
const lanes = 3;
const random = seeded();
const writer = bundledWriter();
after(() => writer[Symbol.dispose]());

/** Starts a writer and kills it, now and then before it has opened its log. */
async function killed(folder: string, round: number, withinMs: number): Promise<Told> {
  const early = round > 0 && random.fraction() < 0.2;
  const wait = random.fraction() * withinMs;
  const { output, signal, code } = await ended(
    [process.execPath, writer.path, folder, 'endless', String(round)],
    async (child, opened) => {
      if (early) await pause(random.between(20, 120));
      else {
        await opened;
        await pause(wait);
      }
      child.kill('SIGKILL');
    },
  );
  assert.equal(signal, 'SIGKILL', `the writer ended by itself: ${code}`);
  return toldIn(output);
}

async function inLanes(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < count; index = next++) await work(index);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

describe(`writers that are killed (seed ${random.seed})`, () => {
  test(`${kills} times at any moment, while checkpoints are signed and keys rotated`, async () => {
    let acknowledged = 0;
    await inLanes(kills / killsOfOneLog, async () => {
      using folder = temporaryFolder();
      makeKey(folder.path);
      const told: Told[] = [];
      for (let round = 0; round < killsOfOneLog; round += 1) {
        told.push(await killed(folder.path, round, 40));
        if (round % 8 === 7) await keepsItsWord(folder.path, told);
      }
      const last = await ended([process.execPath, writer.path, folder.path, 'script', 'last']);
      assert.match(last.output, /closed\n$/, 'it goes on');
      const events = await keepsItsWord(folder.path, [...told, toldIn(last.output)]);
      acknowledged += told.flatMap((one) => one.acknowledged).length;
      assert(events.some(({ action }) => action === 'audit.key.rotated'));
    });
    assert(acknowledged > kills, `${acknowledged} acts were acknowledged`);
  });

  test(`${killsAtSegmentEnd} times while one segment ends and the next begins`, async () => {
    using made = temporaryFolder();
    makeKey(made.path);
    await fillTo(made.path, segmentEvents - 14);
    let crossed = 0;
    await inLanes(killsAtSegmentEnd, async (index) => {
      using folder = temporaryFolder();
      cpSync(made.path, folder.path, { recursive: true });
      // Later and later, so that some are killed before the end of the segment and some behind it, however fast the host is.
      const told = [await killed(folder.path, index, 4 + index)];
      const last = await ended([process.execPath, writer.path, folder.path, 'script', 'last']);
      assert.match(last.output, /closed\n$/, 'it goes on');
      const { length } = await keepsItsWord(folder.path, [...told, toldIn(last.output)]);
      if (length > segmentEvents) crossed += 1;
    });
    assert(crossed > killsAtSegmentEnd / 4, `${crossed} crossed`);
  });

  test('control: an act that was acknowledged and is not there is found', async () => {
    using folder = temporaryFolder();
    makeKey(folder.path);
    const { output } = await ended([process.execPath, writer.path, folder.path, 'script', 'x']);
    const told = toldIn(output);
    await keepsItsWord(folder.path, [told]);
    const [one] = told.acknowledged;
    const more = { acknowledged: [{ ...one!, action: 'another' }], refused: [] };
    await assert.rejects(keepsItsWord(folder.path, [more]), /acknowledged, and not there/);
    await assert.rejects(
      keepsItsWord(folder.path, [{ acknowledged: [], refused: [one!.action] }]),
      /refused, and there/,
    );
    mkdirSync(join(folder.path, 'x'));
    appendFileSync(join(folder.path, 'control', '0000000000000001.jsonl'), '{}\n');
    await assert.rejects(keepsItsWord(folder.path, [told]), /tampered/);
  });
});
