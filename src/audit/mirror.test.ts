import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { appendFileSync, cpSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  attempt,
  chainOf,
  faultyDisk,
  manualClock,
  type TemporaryFolder,
  temporaryFolder,
} from '../../tests/support/audit.ts';
import { newId } from '../model/ids.ts';
import { signCheckpoint } from './checkpoint.ts';
import { openAuditLog, type SignedAuditLog } from './log.ts';
import { Mirror, MirrorGap } from './mirror.ts';
import { segmentEvents } from './segments.ts';
import { noteSigner } from './signed-note.ts';
import { verifyStreams } from './verify.ts';

const stream = 'runner-aaaaaa';
const key = () => generateKeyPairSync('ed25519').privateKey;
const asBytes = (lines: readonly string[]) => Buffer.from(lines.map((line) => `${line}\n`).join(''));
const lines = chainOf(
  stream,
  Array.from({ length: 20 }, (_, at) => attempt(`a.${at}`)),
);

async function mirrored(folder: TemporaryFolder, some: readonly string[]): Promise<Mirror> {
  const mirror = await Mirror.open({ folder: folder.path, stream });
  if (some.length > 0) await mirror.append(mirror.check(asBytes(some)));
  return mirror;
}

const textOf = (folder: TemporaryFolder, first = '0000000000000001') =>
  readFileSync(join(folder.path, stream, `${first}.jsonl`), 'utf8');

describe('a mirror', () => {
  test('holds line for line what it was given, and goes on where it was', async () => {
    using folder = temporaryFolder();
    const first = await mirrored(folder, lines.slice(0, 7));
    assert.equal(first.head.seq, 7);
    await first.close();
    const second = await mirrored(folder, lines.slice(7));
    await second.close();
    assert.equal(textOf(folder), String(asBytes(lines)));
    for (const path of [stream, join(stream, '0000000000000001.jsonl')])
      assert.equal(statSync(join(folder.path, path)).mode & 0o077, 0, 'it is for its owner alone');
  });

  test('has one writer', async () => {
    using folder = temporaryFolder();
    const first = await mirrored(folder, []);
    await assert.rejects(Mirror.open({ folder: folder.path, stream }), /another process/);
    await first.close();
    await (await mirrored(folder, [])).close();
  });

  test('asks again for a line that a crash cut off', async () => {
    using folder = temporaryFolder();
    await (await mirrored(folder, lines.slice(0, 3))).close();
    appendFileSync(join(folder.path, stream, '0000000000000001.jsonl'), lines[3]!.slice(0, 100));
    const mirror = await mirrored(folder, []);
    assert.equal(mirror.head.seq, 3);
    await mirror.append(mirror.check(asBytes(lines.slice(3, 5))));
    await mirror.close();
    assert.equal(textOf(folder), String(asBytes(lines.slice(0, 5))));
  });

  test('splits what it is given where a segment ends', async () => {
    using folder = temporaryFolder();
    const many = chainOf(
      stream,
      Array.from({ length: segmentEvents + 3 }, () => attempt('a')),
    );
    const mirror = await mirrored(folder, []);
    for (let at = 0; at < many.length; at += 10_000)
      await mirror.append(mirror.check(asBytes(many.slice(at, at + 10_000))));
    assert.equal(mirror.head.seq, many.length);
    await mirror.close();
    assert.equal(textOf(folder, '0000000000065537'), String(asBytes(many.slice(segmentEvents))));
    const again = await mirrored(folder, []);
    assert.equal(again.head.seq, many.length);
    await again.close();
  });

  test('whose disk fails counts nothing of it, and takes the same again', async () => {
    using folder = temporaryFolder();
    const disk = faultyDisk();
    const mirror = await Mirror.open({ folder: folder.path, stream, disk });
    const continuation = mirror.check(asBytes(lines.slice(0, 4)));
    disk.judge = (call) => (call === 'datasync' ? { code: 'ENOSPC' } : 'pass');
    await assert.rejects(mirror.append(continuation));
    assert.equal(mirror.head.seq, 0);
    disk.judge = () => 'pass';
    await mirror.append(continuation);
    assert.equal(mirror.head.seq, 4);
    await mirror.append(mirror.check(asBytes(lines.slice(4, 6))));
    await mirror.close();
    assert.equal(textOf(folder), String(asBytes(lines.slice(0, 6))));
  });
});

describe('what does not continue a mirror is refused, and not a byte of it is written', () => {
  const fork = chainOf(
    stream,
    [...Array(5).keys()].map((at) => attempt(`b.${at}`)),
  );
  const foreign = chainOf(
    'control',
    Array.from({ length: 6 }, (_, at) => attempt(`a.${at}`)),
  );
  const next = lines[5]!;
  const hostile: [what: string, bytes: Buffer, found: RegExp][] = [
    ['a gap', asBytes(lines.slice(6, 8)), /event 7/],
    ['the same events again', asBytes(lines.slice(4, 6)), /event 5/],
    [
      'a fork',
      asBytes([next.replace(/"prev":"[0-9a-f]+"/, `"prev":"${'0'.repeat(64)}"`)]),
      /one behind 0000/,
    ],
    ['the beginning of another stream of its name', asBytes(fork), /event 1/],
    ['an event of another stream', asBytes(foreign.slice(5)), /the stream control/],
    [
      'a line that is longer than any event',
      Buffer.from(`${next.slice(0, -1)}${' '.repeat(20_000)}}\n`),
      /longer/,
    ],
    ['a line that is not canonical', asBytes([next.replace(':', ': ')]), /canonical/],
    ['a member twice', asBytes([next.replace('{"action"', '{"action":"x","action"')]), /canonical/],
    ['a line that is no event', asBytes(['{"a":1}']), /not an event/],
    ['a line that is no JSON', asBytes(['x']), /not JSON/],
    ['bytes that are no text', Buffer.from([0xff, 0x0a]), /UTF-8/],
    ['part of a line', Buffer.from(next), /part of a line/],
    ['an empty line', Buffer.from('\n'), /not JSON/],
    ['a line of the version before', asBytes([next.replace('"v":2', '"v":1')]), /version 1/],
  ];
  for (const [what, bytes, found] of hostile)
    test(what, async () => {
      using folder = temporaryFolder();
      const mirror = await mirrored(folder, lines.slice(0, 5));
      assert.throws(
        () => mirror.check(bytes),
        (error: unknown) =>
          error instanceof MirrorGap &&
          error.stream === stream &&
          error.expected.startsWith('event 6') &&
          found.test(error.found),
      );
      await mirror.append(mirror.check(asBytes([next])));
      await mirror.close();
      assert.equal(textOf(folder), String(asBytes(lines.slice(0, 6))), 'what does continue it is taken');
    });
});

test('lines of which the last does not continue the others are refused as a whole', async () => {
  using folder = temporaryFolder();
  const mirror = await mirrored(folder, lines.slice(0, 5));
  assert.throws(() => mirror.check(asBytes([lines[5]!, lines[7]!])), MirrorGap);
  assert.equal(mirror.head.seq, 5);
  await mirror.close();
  assert.equal(textOf(folder), String(asBytes(lines.slice(0, 5))));
});

describe('a checkpoint of the writer', () => {
  async function withWriter(
    act: (log: SignedAuditLog, mirror: Mirror, hand: () => Promise<void>, folder: string) => Promise<void>,
  ) {
    using there = temporaryFolder();
    using here = temporaryFolder();
    const options = {
      folder: there.path,
      stream,
      clock: manualClock(),
      newId: () => newId('event', 0),
      signingKeys: [key()],
    };
    const log = await openAuditLog(options);
    const mirror = await mirrored(here, []);
    let handed = 0;
    const hand = async () => {
      const text = textOf(there).split('\n').slice(handed, -1);
      handed += text.length;
      await mirror.append(mirror.check(asBytes(text)));
    };
    await act(log, mirror, hand, here.path);
    await mirror.close();
    await log.close();
  }

  test('is kept beside the lines that it is about, and the mirror verifies by itself', () =>
    withWriter(async (log, mirror, hand, folder) => {
      assert.equal(mirror.claim, null);
      await log.append(attempt('a'));
      const { note, size, origin, root } = await log.sign();
      await hand();
      await mirror.keep(note);
      assert.deepEqual(mirror.claim, { stream, origin, size, root: root.toString('base64') });
      assert.equal(readFileSync(join(folder, stream, 'checkpoint'), 'utf8'), note);
      assert.equal((await verifyStreams([join(folder, stream)])).status, 'intact');
    }));

  test('of other events, by another key, of more than is here or no note at all is refused', () =>
    withWriter(async (log, mirror, hand) => {
      const early = log.checkpoint().note;
      await log.append(attempt('a'));
      const { note } = await log.sign();
      await assert.rejects(mirror.keep(note), MirrorGap, 'nothing is here yet');
      await hand();
      using elsewhere = temporaryFolder();
      const options = {
        folder: elsewhere.path,
        stream,
        clock: manualClock(),
        newId: () => newId('event', 0),
        signingKeys: [key()],
      };
      const other = await openAuditLog(options);
      await other.append(attempt('b'));
      const foreign = (await other.sign()).note;
      await other.close();
      for (const wrong of [
        early,
        foreign,
        note.replace(/\n2\n/, '\n3\n'),
        note.replace(/— .*\n$/, ''),
        'x',
        '',
      ])
        await assert.rejects(mirror.keep(wrong), MirrorGap, wrong);
      assert.equal(mirror.claim, null);
      await mirror.keep(note);
    }));

  test('with further lines is refused, and one that its writer did not sign opens nothing', () =>
    withWriter(async (log, mirror, hand, folder) => {
      await log.append(attempt('a'));
      const { origin, size, root, note } = await log.sign();
      await hand();
      const more = signCheckpoint({ origin, size, root, extensions: ['more'] }, log.signer());
      await assert.rejects(mirror.keep(more.note), MirrorGap);
      await mirror.keep(note);
      using copy = temporaryFolder();
      cpSync(folder, copy.path, { recursive: true });
      await (await Mirror.open({ folder: copy.path, stream })).close();
      const forged = signCheckpoint({ origin, size, root, extensions: [] }, noteSigner(origin, key()));
      writeFileSync(join(copy.path, stream, 'checkpoint'), forged.note);
      await assert.rejects(Mirror.open({ folder: copy.path, stream }), /not signed by its writer/);
    }));

  test('by a key that a line names and the key before does not vouch for is refused, however many are named', () =>
    withWriter(async (log, mirror, hand) => {
      const { origin } = log.checkpoint();
      const stranger = noteSigner(origin, key());
      const data = { origin, key: stranger.key.text };
      for (const action of ['audit.key.rotated', 'audit.key.introduced', 'audit.opened', 'audit.read'])
        await log.append(attempt(action, { data }));
      const { size, root, note } = await log.sign();
      await hand();
      const forged = signCheckpoint({ origin, size, root, extensions: [] }, stranger);
      await assert.rejects(mirror.keep(forged.note), MirrorGap);
      assert.equal(mirror.key, log.key());
      await mirror.keep(note);
      await log.rotateKey(key());
      await hand();
      await mirror.keep(log.checkpoint().note);
      assert.equal(mirror.key, log.key(), 'the control: one that is vouched for');
    }));

  test('says of a mirror that was cut that it was', () =>
    withWriter(async (log, mirror, hand, folder) => {
      await log.append(attempt('a'));
      const { note } = await log.sign();
      await hand();
      await mirror.keep(note);
      using copy = temporaryFolder();
      cpSync(folder, copy.path, { recursive: true });
      const path = join(copy.path, stream, '0000000000000001.jsonl');
      const content = readFileSync(path);
      truncateSync(path, content.subarray(0, -1).lastIndexOf(0x0a) + 1);
      await assert.rejects(Mirror.open({ folder: copy.path, stream }), /cut or rolled back/);
    }));
});
