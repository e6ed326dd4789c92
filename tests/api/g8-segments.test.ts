import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { segmentEvents } from '../../src/audit/segments.ts';
import { noteSigner } from '../../src/audit/signed-note.ts';
import { signTombstone, type Tombstone, tombstoneFile } from '../../src/audit/tombstone.ts';
import { type VerifyOptions, verifyStreams } from '../../src/audit/verify.ts';
import { type LongCopy, makeLongLog } from '../support/long-log.ts';
import { newKey, rechained, signedOver } from '../support/signed-streams.ts';

/** G8: any change to the log is found. Here in logs of several segments, and where earlier events were dropped. */

const log = await makeLongLog();
after(() => log[Symbol.dispose]());
const { size, key, kept } = log;
const { name: origin } = key;
const stranger = newKey();
const second = segmentEvents + 1;
const third = 2 * segmentEvents + 1;

async function judged(copy: LongCopy, held: VerifyOptions = {}) {
  const { status, streams } = await verifyStreams([copy.folder], { threads: 2, ...held });
  return { ...streams[0]!, status };
}

async function tampered(
  act: (copy: LongCopy) => void,
  found: { seq?: number; what?: RegExp; held?: VerifyOptions; passesWithout?: boolean },
): Promise<void> {
  using copy = log.copy();
  act(copy);
  const { status, problem } = await judged(copy, found.held);
  assert.equal(status, 'tampered', JSON.stringify(problem));
  if (found.seq !== undefined) assert.equal(problem?.seq, found.seq, problem?.what);
  assert.match(problem?.what ?? '', found.what ?? /./);
  if (found.held !== undefined)
    assert.equal((await judged(copy)).status === 'intact', found.passesWithout ?? false, 'without it');
}

async function intact(act: (copy: LongCopy) => void, held: VerifyOptions = {}): Promise<void> {
  using copy = log.copy();
  act(copy);
  const { status, lastSeq, problem } = await judged(copy, held);
  assert.equal(status, 'intact', JSON.stringify(problem));
  assert.equal(lastSeq, size);
}

describe('segments', () => {
  test('control: as they were written they are intact, with what is held', async () => {
    await intact(() => undefined, { keys: [key], kept });
  });

  const cases: Record<string, { act: (copy: LongCopy) => void; seq?: number; what?: RegExp }> = {
    'the first removed': { act: (copy) => rmSync(copy.segment(1)), seq: 1 },
    'one in the middle removed': { act: (copy) => rmSync(copy.segment(2)), seq: second },
    'the last removed': { act: (copy) => rmSync(copy.segment(3)), seq: third },
    'all but the first removed': {
      act: (copy) => [2, 3].map((number) => rmSync(copy.segment(number))),
      seq: second,
    },
    'two that changed their places': {
      act: (copy) => swapFiles(copy.segment(1), copy.segment(2)),
      seq: 1,
    },
    'one twice': { act: (copy) => replaceBy(copy, 2, 1), seq: second },
    'the last as a copy of another': { act: (copy) => replaceBy(copy, 3, 2), seq: third },
    'one more behind the last': {
      act: (copy) => copyFileSync(copy.segment(3), copy.segment(4)),
      seq: size + 1,
    },
    'one renamed to no place of a segment': {
      act: (copy) => renameSync(copy.segment(2), join(copy.stream, '0000000000065538.jsonl')),
      seq: second,
    },
    'one with another ending': {
      act: (copy) => renameSync(copy.segment(2), `${copy.segment(2)}.bak`),
      seq: second,
    },
    'the last line of one removed': {
      act: (copy) => copy.write(1, copy.lines(1).slice(0, -1)),
      seq: segmentEvents,
    },
    'the first line of one removed': { act: (copy) => copy.write(2, copy.lines(2).slice(1)), seq: second },
    'the last line of one in the next': {
      act: (copy) => {
        copy.write(2, [copy.lines(1).at(-1)!, ...copy.lines(2)]);
        copy.write(1, copy.lines(1).slice(0, -1));
      },
    },
    'the first line of one in the one before': {
      act: (copy) => {
        copy.write(1, [...copy.lines(1), copy.lines(2)[0]!]);
        copy.write(2, copy.lines(2).slice(1));
      },
    },
    'bytes behind a whole one': {
      act: (copy) => copy.put(nameOf(copy, 1), `${readFileSync(copy.segment(1), 'utf8')}x`),
      seq: second,
    },
    'an empty one': { act: (copy) => copy.write(2, []), seq: second },
    'an event of the first changed': { act: (copy) => change(copy, 1, 900), seq: 900 },
    'the last event of the first changed': {
      act: (copy) => change(copy, 1, segmentEvents),
      what: /does not continue the one before/,
    },
    'the first event of the second changed': { act: (copy) => change(copy, 2, 1), seq: second },
    'one made anew': {
      act: (copy) => copy.write(3, changedAnew(copy.lines(3))),
      what: /not those that the checkpoint was signed for/,
    },
    'cut after the second, with a checkpoint by another key': {
      act: (copy) => {
        rmSync(copy.segment(3));
        copy.put('checkpoint', signedOver([...copy.lines(1), ...copy.lines(2)], origin, stranger));
      },
      what: /not signed by the key/,
    },
  };
  for (const [what, { act, ...found }] of Object.entries(cases))
    test(`${what} is found`, () => tampered(act, found));

  test('a cut behind an older checkpoint is found by each one that was kept since', async () => {
    const back = (copy: LongCopy) => {
      rmSync(copy.segment(3));
      copy.write(2, copy.lines(2).slice(0, 5_000));
      copy.put('checkpoint', noteOf(1));
    };
    await tampered(back, { held: { kept: kept.slice(2) }, seq: segmentEvents + 5_001, passesWithout: true });
  });

  test('files of hashes are derived: missing, wrong or foreign they change no verdict', async () => {
    await intact((copy) => rmSync(copy.segment(1).replace('jsonl', 'hashes')));
    await intact((copy) => copy.put('0000000000000001.hashes', Buffer.alloc(100)));
    await intact((copy) => {
      const hashes = readFileSync(copy.segment(1).replace('jsonl', 'hashes'));
      hashes[hashes.length - 1]! ^= 1;
      copy.put('0000000000000001.hashes', hashes);
    });
    await tampered(
      (copy) => {
        change(copy, 1, 900);
        assert(readdirSync(copy.stream).includes('0000000000000001.hashes'));
      },
      { seq: 900 },
    );
  });

  test('files, folders and links beside them change no verdict, and a link to a segment is that segment', async () => {
    await intact((copy) => {
      copy.put('notes.txt', 'x');
      copy.put('00000000000000001.jsonl', 'x');
      copy.put('checkpoint.new', noteOf(0));
      copy.put('0000000000000001.jsonl.bak', 'x');
      mkdirSync(join(copy.stream, 'folder'));
      symlinkSync('/dev/zero', join(copy.stream, 'link'));
    });
    await intact((copy) => {
      renameSync(copy.segment(2), join(copy.folder, 'elsewhere'));
      symlinkSync(join(copy.folder, 'elsewhere'), copy.segment(2));
    });
    await tampered(
      (copy) => {
        rmSync(copy.segment(2));
        symlinkSync(copy.segment(1), copy.segment(2));
      },
      { seq: second },
    );
    await tampered((copy) => {
      rmSync(copy.segment(2));
      mkdirSync(copy.segment(2));
    }, {});
  });
});

describe('a log whose first segments were dropped', () => {
  const own = noteSigner(origin, log.privateKey);
  const forged = (change: Partial<Tombstone>, signer = own, segments = 1) =>
    signTombstone(log.tombstone(segments, change), signer);

  test('control: is intact with its tombstone, with what is held, and says how many are gone', async () => {
    await intact((copy) => copy.drop(1), { keys: [key], kept });
    await intact((copy) => copy.drop(2), { keys: [key], kept });
    using copy = log.copy();
    copy.drop(2);
    const { dropped, events } = await judged(copy);
    assert.deepEqual([dropped, events], [2 * segmentEvents, size - 2 * segmentEvents]);
  });

  const cases: Record<string, { act: (copy: LongCopy) => void; seq?: number; what?: RegExp }> = {
    'without a tombstone': { act: (copy) => rmSync(copy.segment(1)), seq: 1 },
    'its tombstone removed': { act: dropAnd(1, (copy) => rmSync(join(copy.stream, tombstoneFile))), seq: 1 },
    'its tombstone empty': { act: (copy) => copy.drop(1, '') },
    'more dropped than its tombstone says': {
      act: dropAnd(1, (copy) => rmSync(copy.segment(2))),
      seq: second,
    },
    'a tombstone by another key': {
      act: (copy) => copy.drop(1, forged({}, noteSigner(origin, stranger))),
      what: /not signed by the log’s key/,
    },
    'a tombstone that names another key, and is signed by it': {
      act: (copy) => {
        const signer = noteSigner(origin, stranger);
        copy.drop(1, forged({ key: signer.key }, signer));
      },
      what: /not signed by the key/,
    },
    'a tombstone of another log': {
      act: (copy) => {
        const signer = noteSigner('elsewhere', log.privateKey);
        copy.drop(1, forged({ origin: 'elsewhere', key: signer.key }, signer));
      },
    },
    'a tombstone that says another event came last': {
      act: (copy) => copy.drop(1, forged({ before: '0'.repeat(64) })),
      seq: second,
    },
    'a tombstone with another edge': { act: (copy) => copy.drop(1, forged({ peaks: [Buffer.alloc(32)] })) },
    'the tombstone in the place of the checkpoint, and the end cut': {
      act: dropAnd(1, (copy) => {
        rmSync(copy.segment(3));
        copy.write(2, copy.lines(2).slice(0, 10));
        copy.put('checkpoint', forged({}));
      }),
    },
    'the checkpoint in the place of the tombstone': { act: (copy) => copy.drop(1, noteOf(2)) },
    'every segment dropped': { act: dropAnd(2, (copy) => rmSync(copy.segment(3))), seq: third },
  };
  for (const [what, { act, ...found }] of Object.entries(cases))
    test(`${what} is found`, () => tampered(act, found));

  test('segments that a crash left behind their tombstone are none of the log, whatever they hold', async () => {
    using copy = log.copy();
    copy.put(tombstoneFile, forged({}));
    change(copy, 1, 900);
    const { status, dropped, lastSeq } = await judged(copy);
    assert.deepEqual([status, dropped, lastSeq], ['intact', segmentEvents, size]);
  });

  test('each byte of the tombstone counts', async () => {
    using copy = log.copy();
    copy.drop(2);
    const text = readFileSync(join(copy.stream, tombstoneFile));
    for (let at = 0; at < text.length; at += 1) {
      const changed = Buffer.from(text);
      changed[at]! ^= 1 << (at % 8);
      copy.put(tombstoneFile, changed);
      const { status } = await judged(copy, { threads: 1 });
      assert.equal(status, 'tampered', `byte ${at}`);
    }
  });

  test('sizes and edges that no tombstone has are found, and never an error of the verifier', async () => {
    const peak = log.tombstone(1).peaks[0]!;
    for (const [wrong, peaks] of [
      [1, [peak]],
      [5, [peak, peak]],
      [segmentEvents + 1, [peak, peak]],
      [2 ** 52, [peak]],
      [segmentEvents, [Buffer.alloc(5)]],
    ] as const)
      await tampered((copy) => {
        copy.drop(1, forged({ size: wrong, peaks }));
        const lines = rechained(copy.lines(2).slice(0, 40), 0, wrong);
        copy.put(`${String(wrong + 1).padStart(16, '0')}.jsonl`, `${lines.join('\n')}\n`);
      }, {});
  });

  test('made anew by another key with all before it called dropped is found by a key or a checkpoint that is held', async () => {
    const anew = (copy: LongCopy) => {
      const signer = noteSigner(origin, stranger);
      rmSync(copy.segment(3));
      copy.write(2, copy.lines(2).slice(0, 10));
      copy.drop(1, forged({ key: signer.key }, signer));
      copy.put('checkpoint', signedFrom(copy));
    };
    await tampered(anew, { held: { keys: [key] }, passesWithout: true });
    await tampered(anew, { held: { keys: [key], kept }, passesWithout: true });
    for (const checkpoint of kept)
      await tampered(anew, { held: { kept: [checkpoint] }, passesWithout: true });
  });

  /** A checkpoint over what was dropped and the lines of the second segment, by a stranger. */
  function signedFrom(copy: LongCopy): string {
    const { size: before, peaks } = log.tombstone(1);
    return signedOver(copy.lines(2), origin, stranger, { size: before, peaks });
  }

  function dropAnd(segments: number, act: (copy: LongCopy) => void): (copy: LongCopy) => void {
    return (copy) => {
      copy.drop(segments);
      act(copy);
    };
  }
});

/** As it was signed. */
function noteOf(index: number): string {
  const { note } = kept[index]!;
  const { name, id, bytes } = note.signatures[0]!;
  const signature = Buffer.concat([Buffer.from(id, 'hex'), bytes]).toString('base64');
  return `${note.text}\n— ${name} ${signature}\n`;
}

function nameOf(copy: LongCopy, number: number): string {
  return copy.segment(number).slice(copy.stream.length + 1);
}

function swapFiles(one: string, two: string): void {
  renameSync(one, `${one}.away`);
  renameSync(two, one);
  renameSync(`${one}.away`, two);
}

function replaceBy(copy: LongCopy, number: number, by: number): void {
  rmSync(copy.segment(number));
  copyFileSync(copy.segment(by), copy.segment(number));
}

function change(copy: LongCopy, segment: number, line: number): void {
  const lines = copy.lines(segment);
  const changed = lines[line - 1]!.replace('"allow":true', '"allow":false');
  assert.notEqual(changed, lines[line - 1]);
  copy.write(segment, lines.with(line - 1, changed));
}

function changedAnew(lines: string[]): string[] {
  const before = Number(/"seq":(\d+)/.exec(lines[0]!)![1]) - 1;
  const changed = lines.with(40, lines[40]!.replace('"allow":true', '"allow":false'));
  return rechained(changed, 41, before);
}
