import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { temporaryFolder } from '../../tests/support/audit.ts';
import { recordingSegmentName } from '../contract/recording-files.ts';
import { newId } from '../model/ids.ts';
import { recordingCheckLimits } from './limits.ts';
import { RecordingCheck, type StreamGaps, statusOf } from './recording-check.ts';
import type { ToldRecording } from './recording-events.ts';
import { recordingIn } from './recording-folder.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

const whose = { run: newId('run', 0), terminal: newId('terminal', 0) };
const content = 'x'.repeat(50) + 'y'.repeat(50);
const range = (from: number, to: number, bytes = content.slice(from, to)): ToldRecording => ({
  ...whose,
  range: { segment: 0, from, to, sha256: hash('sha256', bytes, 'hex') },
});
const end: ToldRecording = { ...whose, end: 100 };
const path = join(folder.path, recordingSegmentName(0));
const whole = { dropped: false, lost: false };

async function judge(told: readonly ToldRecording[], gaps: StreamGaps = whole, meanwhile = () => undefined) {
  writeFileSync(path, content);
  const check = new RecordingCheck(await recordingIn(folder.path));
  meanwhile();
  for (const one of told) await check.take(one, 'runner');
  const report = check.finish(gaps);
  return { ...report, status: statusOf(report) };
}

describe('bytes that no event tells of', () => {
  test('are none in a recording that is told whole, in any order, also twice', async () => {
    for (const told of [
      [range(0, 50), range(50, 100), end],
      [end, range(50, 100), range(0, 100), range(0, 50)],
    ]) {
      const { status, verifiedBytes, unverifiedBytes } = await judge(told);
      assert.deepEqual([status, verifiedBytes, unverifiedBytes], ['intact', 100, 0]);
    }
  });

  test('were added where it had ended, and are not on the record yet where it goes on', async () => {
    const ended = await judge([range(0, 50), end]);
    assert.deepEqual(ended.findings, [{ kind: 'added', segment: 0, from: 50, to: 100 }]);
    const live = await judge([range(0, 50)]);
    assert.deepEqual([live.status, live.verifiedBytes, live.unverifiedBytes], ['intact', 50, 50]);
  });

  test('are unproved where events before the first one that is left were dropped, or some were lost', async () => {
    const dropped = { dropped: true, lost: false };
    assert.equal((await judge([range(50, 100), end])).status, 'tampered');
    const early = await judge([range(50, 100), end], dropped);
    assert.deepEqual([early.status, early.unproved], ['unreadable', [{ from: 0, to: 50 }]]);
    assert.equal((await judge([range(0, 50), end], dropped)).status, 'tampered', 'later ones are there');
    const lost = await judge([range(0, 50), end], { dropped: false, lost: true });
    assert.deepEqual([lost.status, lost.unproved], ['unreadable', [{ from: 50, to: 100 }]]);
  });
});

describe('what was recorded', () => {
  test('must be there for every event that tells of it: another that fits does not make up for one', async () => {
    const { findings, verifiedBytes } = await judge([range(0, 100), range(0, 50, 'other'), end]);
    assert.deepEqual(findings, [{ kind: 'changed', segment: 0, from: 0, to: 50 }]);
    assert.equal(verifiedBytes, 50);
    const events = [range(0, 100), { ...range(0, 0), range: { segment: 0, from: 60, to: 50, sha256: '' } }];
    assert.equal((await judge(events)).status, 'tampered');
  });

  test('that the recorder drops while it is verified is told as that', async () => {
    const dropped: ToldRecording = { ...whose, dropped: { segment: 0, to: 100 } };
    const drop = () => rmSync(path) as undefined;
    const told = await judge([range(0, 100), dropped], whole, drop);
    assert.deepEqual([told.findings, told.unproved], [[], []]);
    assert.equal((await judge([range(0, 100)], whole, drop)).status, 'unreadable');
  });

  test('is told in few findings, however many there are', async () => {
    const told = Array.from({ length: 400 }, (_, at) => range(at % 2, 50 + (at % 50), 'other'));
    const { findings, findingsLeft } = await judge(told);
    assert.equal(findings.length, recordingCheckLimits.findingsMax);
    assert(findingsLeft > 0);
    const row = Array.from({ length: 100 }, (_, at) => range(at, at + 1, 'other'));
    assert.deepEqual((await judge(row)).findings, [{ kind: 'changed', segment: 0, from: 0, to: 100 }]);
  });
});
