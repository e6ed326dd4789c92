import assert from 'node:assert/strict';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { recordedEvent } from '../../src/audit/recording-events.ts';
import { verifyStreams } from '../../src/audit/verify.ts';
import { type RecordingVerdict, verifyRecordings } from '../../src/audit/verify-recordings.ts';
import { segmentOf } from '../support/audit.ts';
import { newTestIds, RecordedRuns } from '../support/recorded-runs.ts';
import { openTestRecording, type TestIds } from '../support/recordings.ts';
import { seeded } from '../support/seeded.ts';

/** G8 of recordings: any change to what was recorded of a terminal is found by the record, and nothing else is called one. */

const bounds = { segmentBytesMax: 20_000, bytesMax: 10_000_000 };
const random = seeded();

function segmentsOf(world: RecordedRuns, ids: TestIds): string[] {
  const folder = world.folderOf(ids);
  return readdirSync(folder)
    .filter((name) => name.endsWith('.cast'))
    .sort()
    .map((name) => join(folder, name));
}

/** Of that recording; its kinds of findings in the place of an intact one's nothing. */
async function judge(world: RecordedRuns, { run, terminal }: TestIds) {
  const { log, held } = await world.verify();
  assert.equal(log.status, 'intact');
  const found = held.recordings.find((one) => one.run === run.run && one.terminal === terminal.id);
  const kinds = [...new Set(found?.findings?.map(({ kind }) => kind))].sort();
  return { status: held.status, found, kinds, held };
}

type Tampering = {
  readonly what: string;
  readonly tamper: (segments: readonly string[]) => unknown;
  readonly kinds: readonly string[];
};

const tamperings: readonly Tampering[] = [
  {
    what: 'a bit is flipped',
    tamper: ([, second]) => {
      const bytes = readFileSync(second!);
      bytes[random.between(0, bytes.length - 1)]! ^= 1 << random.between(0, 7);
      writeFileSync(second!, bytes);
    },
    kinds: ['changed'],
  },
  {
    what: 'the end of a segment in the middle is cut off',
    tamper: ([, second]) => truncateSync(second!, readFileSync(second!).length - 30),
    kinds: ['cut'],
  },
  {
    what: 'the end is cut off',
    tamper: (segments) => truncateSync(segments.at(-1)!, 100),
    kinds: ['cut'],
  },
  { what: 'the last segment is emptied', tamper: (all) => truncateSync(all.at(-1)!, 0), kinds: ['cut'] },
  { what: 'a segment is removed', tamper: ([, second]) => rmSync(second!), kinds: ['missing'] },
  { what: 'the last segment is removed', tamper: (all) => rmSync(all.at(-1)!), kinds: ['missing'] },
  { what: 'all are removed', tamper: (all) => all.map((one) => rmSync(one)), kinds: ['missing'] },
  {
    what: 'two segments are swapped',
    tamper: ([, second, third]) => {
      renameSync(second!, `${second}.aside`);
      renameSync(third!, second!);
      renameSync(`${second}.aside`, third!);
    },
    kinds: ['changed', 'cut'],
  },
  {
    what: 'a segment is renamed to another place',
    tamper: (all) => renameSync(all.at(-1)!, join(dirname(all[0]!), '0000000000900000.cast')),
    kinds: ['added', 'missing'],
  },
  {
    what: 'a line is appended',
    tamper: (all) => appendFileSync(all.at(-1)!, '[9999.0, "o", "forged"]\n'),
    kinds: ['added'],
  },
  {
    what: 'half a line is appended',
    tamper: (all) => appendFileSync(all.at(-1)!, '[9999.0, "o'),
    kinds: ['added'],
  },
  {
    what: 'a segment is added behind the end',
    tamper: (all) => writeFileSync(join(dirname(all[0]!), '0000000000900000.cast'), '[9999.0, "o", "x"]\n'),
    kinds: ['added'],
  },
  {
    what: 'a segment is put between two others, and covers the end of one',
    tamper: ([first]) => {
      const place = readFileSync(first!).length - 40;
      const name = `${String(place).padStart(16, '0')}.cast`;
      writeFileSync(join(dirname(first!), name), readFileSync(first!).subarray(place));
    },
    kinds: ['cut'],
  },
];

describe(`what was recorded of a terminal (seed ${random.seed})`, () => {
  test('is intact where nobody touched it: all of its bytes are verified', async () => {
    await using world = await RecordedRuns.open(bounds);
    const ids = await world.record(2_000);
    await world.record(10);
    const { status, found, held } = await judge(world, ids);
    assert.deepEqual([status, held.recordings.length, held.removed], ['intact', 2, 0]);
    const bytes = segmentsOf(world, ids).reduce((sum, path) => sum + readFileSync(path).length, 0);
    assert.deepEqual([found?.verifiedBytes, found?.unverifiedBytes, found?.isEnded], [bytes, 0, true]);
  });

  for (const { what, tamper, kinds } of tamperings)
    test(`is tampered with where ${what}, and the bytes are told`, async () => {
      await using world = await RecordedRuns.open(bounds);
      const ids = await world.record(2_000);
      const other = await world.record(10);
      assert.equal((await judge(world, ids)).status, 'intact');
      const segments = segmentsOf(world, ids);
      assert(segments.length > 3);
      tamper(segments);
      const judged = await judge(world, ids);
      assert.deepEqual([judged.status, judged.found?.status], ['tampered', 'tampered']);
      assert.deepEqual(judged.kinds, [...kinds].sort());
      for (const { from, to } of judged.found!.findings!) assert(from < to);
      assert.equal((await judge(world, other)).found?.status, 'intact', 'another one is as it was');
    });

  test('is tampered with where it is that of another run', async () => {
    await using world = await RecordedRuns.open(bounds);
    const [one, other] = [await world.record(900), await world.record(900, 'of others')];
    for (const path of segmentsOf(world, one)) rmSync(path);
    cpSync(world.folderOf(other), world.folderOf(one), { recursive: true });
    assert.equal((await judge(world, one)).found?.status, 'tampered');
    assert.equal((await judge(world, other)).found?.status, 'intact');
  });

  test('is missed where it is gone and other files of its run are there, not where the run is gone', async () => {
    await using world = await RecordedRuns.open(bounds);
    const ids = await world.record(10);
    rmSync(world.folderOf(ids), { recursive: true });
    const gone = await judge(world, ids);
    assert.deepEqual([gone.status, gone.held.removed], ['tampered', 0]);
    assert.match(gone.found!.problem!, /not there, and its run is/);
    rmSync(world.folders.run(ids.run.run), { recursive: true });
    const removed = await judge(world, ids);
    assert.deepEqual([removed.status, removed.found, removed.held.removed], ['intact', undefined, 1]);
  });

  test('is proved by nothing where no event tells of it, but for what just began', async () => {
    await using world = await RecordedRuns.open(bounds);
    const ids = await world.record(100);
    const forged = newTestIds();
    mkdirSync(dirname(world.folderOf(forged)), { recursive: true });
    cpSync(world.folderOf(ids), world.folderOf(forged), { recursive: true });
    assert.equal((await judge(world, forged)).status, 'intact', 'as young as the log');
    const meta = join(world.folderOf(forged), 'meta.json');
    for (const openedAt of [0, world.clock.now() - 3_600_000, world.clock.now() + 3_600_000, 'now', null]) {
      writeFileSync(meta, JSON.stringify({ openedAt }));
      const { status, found } = await judge(world, forged);
      assert.deepEqual([status, found?.verifiedBytes], ['unreadable', 0]);
      assert.match(found!.problem!, /no event of a stream that verified tells of it/);
    }
  });
});

describe('what the recorder itself dropped', () => {
  test('is told, and is no tampering; what it did not drop is', async () => {
    await using world = await RecordedRuns.open({ bytesMax: 200_000, segmentBytesMax: 20_000 });
    const ids = await world.record(20_000);
    const { status, found } = await judge(world, ids);
    assert.equal(status, 'intact');
    assert.equal(found?.dropped?.length, 1);
    const segments = segmentsOf(world, ids);
    const [hole] = found.dropped;
    assert(segments.some((path) => path.includes(String(hole!.to).padStart(16, '0'))));
    rmSync(segments.at(-2)!);
    assert.deepEqual((await judge(world, ids)).kinds, ['missing']);
  });
});

describe('a recording whose writer was killed', () => {
  const killed = async (world: RecordedRuns) => {
    const ids = newTestIds();
    const { recorder } = openTestRecording(world.recordings, ['bash'], ids);
    for (let line = 0; line < 6_000; line += 1) recorder.output(Buffer.from(`line ${line}\r\n`));
    while (world.log.head().seq < 4) await new Promise((resolve) => setImmediate(resolve));
    return ids;
  };

  test('has an end that the record does not know yet, and all of it once the next runner came', async () => {
    await using world = await RecordedRuns.open(bounds);
    const ids = await killed(world);
    const last = segmentsOf(world, ids).at(-1)!;
    appendFileSync(last, '[99.0, "o", "torn in the mid');
    const before = await judge(world, ids);
    assert.equal(before.status, 'intact');
    assert(before.found!.unverifiedBytes! > 0 && before.found?.isEnded === false);
    world.begin();
    await world.recordings.mend();
    const after = await judge(world, ids);
    assert.deepEqual([after.status, after.found?.unverifiedBytes, after.found?.isEnded], ['intact', 0, true]);
    writeFileSync(last, readFileSync(last, 'utf8').replace('line', 'lime'));
    assert.deepEqual((await judge(world, ids)).kinds, ['changed']);
  });

  test('is tampered with where a part that is on record is changed, and unproved where one is gone', async () => {
    await using world = await RecordedRuns.open(bounds);
    const ids = await killed(world);
    const [first] = segmentsOf(world, ids);
    const good = readFileSync(first!);
    writeFileSync(first!, good.toString().replace('line', 'lime'));
    assert.deepEqual((await judge(world, ids)).kinds, ['changed']);
    rmSync(first!);
    const gone = await judge(world, ids);
    assert.equal(gone.status, 'unreadable');
    assert.deepEqual(gone.found?.unproved?.[0]?.from, 0);
    writeFileSync(first!, good);
    assert.equal((await judge(world, ids)).status, 'intact');
  });
});

describe('events that vouch for recordings', () => {
  test('are those of streams that verified: others tell nothing', async () => {
    await using world = await RecordedRuns.open(bounds);
    const ids = await world.record(100);
    writeFileSync(join(world.folderOf(ids), 'meta.json'), '{}');
    const path = segmentOf(world.audit, 'runner-aaaaaa');
    assert.equal((await judge(world, ids)).status, 'intact');
    writeFileSync(
      path,
      readFileSync(path, 'utf8').replace('"owner', '"owned').replace('user:ann', 'user:eve'),
    );
    const { log, held } = await world.verify();
    assert.equal(log.status, 'tampered');
    const [one] = held.recordings as [RecordingVerdict];
    assert.deepEqual([held.status, one.verifiedBytes], ['unreadable', 0]);
  });

  test('of another stream excuse nothing', async () => {
    await using world = await RecordedRuns.open(bounds);
    const ids = await world.record(2_000);
    await using other = await RecordedRuns.open(bounds);
    const [, second] = segmentsOf(world, ids);
    const segment = Number(/(\d{16})\.cast$/.exec(second!)![1]);
    const dropped = { segment, to: segment + readFileSync(second!).length };
    await other.log.append(recordedEvent({ dropped }, ids.terminal.id, ids.run));
    await other.log.sign();
    rmSync(second!);
    cpSync(join(other.audit, 'runner-aaaaaa'), join(world.path, 'other', 'runner-aaaaaa'), {
      recursive: true,
    });
    await world.log.sign();
    const { status, streams } = await verifyStreams([
      join(world.audit, 'runner-aaaaaa'),
      join(world.path, 'other', 'runner-aaaaaa'),
    ]);
    assert.equal(status, 'intact');
    const held = await verifyRecordings(world.folders.root, streams);
    assert.deepEqual(
      held.recordings[0]?.findings?.map(({ kind }) => kind),
      ['missing'],
    );
    await world.log.append(recordedEvent({ dropped }, ids.terminal.id, ids.run));
    assert.equal((await judge(world, ids)).status, 'intact', 'its own does');
  });
});
