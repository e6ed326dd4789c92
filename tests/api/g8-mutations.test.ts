import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isOfUnsignedEnd, mutationOf } from '../support/log-mutations.ts';
import { seeded } from '../support/seeded.ts';
import {
  checkpointOf,
  type LogFiles,
  LogFolder,
  linesOf,
  makeSignedStreams,
  rechained,
  segmentFile,
  tailEvents,
  withFile,
  withLines,
} from '../support/signed-streams.ts';

/** G8: any change to the log is found. Here by chance: bits of every byte, and thousands of random changes. */

const lanes = 4;
const mutations = 10_000;
const streams = await makeSignedStreams();
const { signed, growing, kept } = streams;

/** Verifies many states at a time, each lane in a folder of its own. */
async function inLanes(
  states: Iterable<LogFiles>,
  judge: (files: LogFiles, folder: LogFolder) => Promise<void>,
) {
  const waiting = states[Symbol.iterator]();
  const lane = async () => {
    using folder = new LogFolder();
    for (let next = waiting.next(); !next.done; next = waiting.next()) await judge(next.value, folder);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

const random = seeded();

/** One bit of each byte between two places of a file. */
function* flips(files: LogFiles, path: string, from: number, end: number): Generator<LogFiles> {
  for (let at = from; at < end; at += 1) {
    const bytes = Buffer.from(files.get(path)!);
    bytes[at]! ^= 1 << random.between(0, 7);
    yield withFile(files, path, bytes);
  }
}

describe(`a bit in any byte (seed ${random.seed})`, () => {
  const path = segmentFile('control');
  const content = signed.get(path)!;
  const lines = linesOf(signed, 'control');
  const last = lines.length;
  const startOf = (seq: number) =>
    Buffer.byteLength(lines.slice(0, seq - 1).join('\n')) + (seq === 1 ? 0 : 1);
  const changed = [1, 2, 3, last];
  assert.match(lines[1]!, /onBehalfOf.*list.*request.*userAgent.*resource.*session/, 'members of all kinds');
  assert.match(lines[2]!, /"of":/);
  assert.match(lines[last - 1]!, /checkpoints.*root/);
  for (const seq of changed) {
    test(`of event ${seq} of ${last} is found, and where`, async () => {
      const end = startOf(seq) + Buffer.byteLength(lines[seq - 1]!) + 1;
      await inLanes(flips(signed, path, startOf(seq), end), async (files, folder) => {
        const { status, streams: found } = await folder.verdict(files);
        assert.equal(status, 'tampered');
        const { stream, problem } = found[0]!;
        assert.equal(problem === undefined, false);
        // A line that lost its newline is one with the next; the last one is known by its checkpoint alone.
        const near = problem!.seq === undefined ? last : problem!.seq;
        assert(Math.abs(near - seq) <= 1, `${near}: ${problem!.what}`);
        assert(stream === 'control' || seq === 1, String(stream));
      });
    });
  }

  test('of the checkpoint is found', async () => {
    for (const name of ['control', 'runner-aaaaaa']) {
      const note = checkpointOf(name);
      const { length } = signed.get(note)!;
      await inLanes(flips(signed, note, 0, length), async (files, folder) => {
        const { status, streams: found } = await folder.verdict(files);
        assert.equal(status, 'tampered');
        assert.equal(found.find(({ problem }) => problem !== undefined)?.stream, name);
      });
    }
  });

  test('control: the bytes between were those of a log that is intact', async () => {
    using folder = new LogFolder();
    assert.equal((await folder.verdict(withFile(signed, path, Buffer.from(content)))).status, 'intact');
  });
});

describe(`of ${mutations} random changes (seed ${random.seed})`, () => {
  for (const [when, base] of Object.entries({ signed, growing })) {
    test(`none is accepted, but at the unsigned end, when the log is ${when}`, async () => {
      let changes = 0;
      let ends = 0;
      const passed: string[] = [];
      function* states() {
        while (changes < mutations / 2) {
          const { files, what } = mutationOf(base, streams, random);
          if (isSame(files, base)) continue;
          changes += 1;
          names.set(files, what);
          yield files;
        }
      }
      const names = new WeakMap<LogFiles, string>();
      await inLanes(states(), async (files, folder) => {
        const { status } = await folder.verdict(files);
        if (isOfUnsignedEnd(files, base, streams)) ends += 1;
        else if (status === 'intact') passed.push(names.get(files)!);
      });
      assert.deepEqual(passed, []);
      assert(ends < changes / 4, `${ends} of ${changes} are of the unsigned end`);
      if (when === 'growing') assert(ends > 0);
    });
  }
});

describe('what is behind the newest checkpoint is vouched for by the chain alone', () => {
  const lines = linesOf(growing, 'control');
  const signedLines = lines.length - tailEvents;
  const verdictOf = async (to: readonly string[] | string, held = {}) => {
    using folder = new LogFolder();
    const files =
      typeof to === 'string'
        ? withFile(growing, segmentFile('control'), to)
        : withLines(growing, 'control', to);
    return await folder.verdict(files, held);
  };

  test('so cuts there pass, and a cut of what is signed never does', async () => {
    for (let left = 1; left <= lines.length; left += 1) {
      const { status, streams: found } = await verdictOf(lines.slice(0, left), { kept });
      assert.equal(status, left >= signedLines ? 'intact' : 'tampered', `${left} lines are left`);
      if (status === 'tampered') assert.equal(found[0]?.problem?.seq, left + 1);
    }
  });

  test('so does an earlier checkpoint, which the verdict names, while no event is gone', async () => {
    using folder = new LogFolder();
    const earlier = streams.older.get(checkpointOf('control'))!;
    const found = await folder.verdict(withFile(signed, checkpointOf('control'), earlier), { kept });
    assert.equal(found.status, 'intact');
    assert.equal(found.streams[0]?.checkpoint?.size, linesOf(streams.older, 'control').length);
    const cut = withFile(streams.older, checkpointOf('control'), earlier);
    assert.equal((await folder.verdict(cut, { kept })).status, 'tampered');
  });

  test('so does another last line, also a torn one, and whatever is chained to it; nothing before it', async () => {
    const last = lines.length - 1;
    const other = (index: number) => lines.with(index, lines[index]!.replace('run.5', 'run.6'));
    const torn = `${lines.slice(0, -1).join('\n')}\n${lines[last]!.slice(0, 50)}`;
    assert.equal((await verdictOf(other(last), { kept })).status, 'intact');
    assert.equal((await verdictOf(torn, { kept })).streams[0]?.torn, 50);
    assert.equal((await verdictOf(rechained(other(signedLines), signedLines), { kept })).status, 'intact');
    for (let index = 0; index < last; index += 1)
      if (lines[index]!.includes('run.5')) {
        const { status, streams: found } = await verdictOf(other(index), { kept });
        assert.equal(status, 'tampered');
        assert.equal(found[0]?.problem?.seq, index + 1);
      }
    for (let index = 1; index < signedLines; index += 1) {
      const changed = lines.with(index, lines[index]!.replace('"allow":true', '"allow":false'));
      assert.equal((await verdictOf(rechained(changed, index), { kept })).status, 'tampered');
    }
  });
});

function isSame(one: LogFiles, two: LogFiles): boolean {
  if (one.size !== two.size) return false;
  return [...one].every(([name, content]) => two.get(name)?.equals(content) === true);
}
