import assert from 'node:assert/strict';
import {
  appendFileSync,
  copyFileSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  attempt,
  type DiskCall,
  type DiskVerdict,
  eventId,
  eventsIn,
  type FaultyDisk,
  faultyDisk,
  type ManualClock,
  manualClock,
  segmentOf,
  temporaryFolder,
  testSigningKeys,
} from '../../tests/support/audit.ts';
import { Fault } from '../contract/faults.ts';
import { auditLimits } from './limits.ts';
import { type AuditLog, openAuditLog } from './log.ts';
import { verifyStreams } from './verify.ts';

type Rig = { folder: string; path: string; disk: FaultyDisk; clock: ManualClock; log: AuditLog };

/** Runs with a log on a disk that can be made to fail, and closes it. */
async function withLog(use: (rig: Rig) => Promise<void>): Promise<void> {
  using folder = temporaryFolder();
  const disk = faultyDisk();
  const clock = manualClock();
  const options = {
    folder: folder.path,
    stream: 'control',
    clock,
    newId: eventId,
    disk,
    signingKeys: testSigningKeys,
  };
  const log = await openAuditLog(options);
  try {
    await use({ folder: folder.path, path: segmentOf(folder.path), disk, clock, log });
  } finally {
    disk.judge = () => 'pass';
    await log.close();
  }
}

function failing(call: DiskCall, verdict: DiskVerdict): FaultyDisk['judge'] {
  return (asked) => (asked === call ? verdict : 'pass');
}

async function refuses(log: AuditLog, action: string): Promise<void> {
  await assert.rejects(
    log.append(attempt(action)),
    (error) => error instanceof Fault && error.code === 'audit.unavailable' && error.status === 503,
  );
}

async function intactActions(path: string): Promise<string[]> {
  assert.equal((await verifyStreams([path])).status, 'intact');
  return eventsIn(path).map(({ action }) => action);
}

const faults: [what: string, call: DiskCall, verdict: DiskVerdict][] = [
  ['a write that fails', 'write', { code: 'EIO' }],
  ['a disk that fills up in the middle of a line', 'write', { code: 'ENOSPC', late: true }],
  ['an fdatasync that fails', 'datasync', { code: 'EIO' }],
  ['an fdatasync that fails although the data arrived', 'datasync', { code: 'ENOSPC', late: true }],
  ['a path that cannot be looked at', 'lookup', { code: 'EACCES' }],
];

for (const [what, call, verdict] of faults) {
  test(`${what} refuses the batch, leaves nothing of it, and the log recovers by itself with a gap note`, () =>
    withLog(async ({ path, disk, clock, log }) => {
      await log.append(attempt('before'));
      const content = readFileSync(path, 'utf8');
      disk.judge = failing(call, verdict);
      await Promise.all(['a', 'b', 'c'].map((action) => refuses(log, action)));
      assert.equal(readFileSync(path, 'utf8'), content, 'nothing that was refused is in the file');
      const { code } = verdict as { code: string };
      assert.deepEqual(log.health(), { ok: false, since: clock.now(), reason: code });
      disk.judge = () => 'pass';
      await refuses(log, 'too soon');
      clock.advance(auditLimits.recoveryEveryMs);
      const { seq } = await log.append(attempt('after'));
      assert.equal(seq, 4);
      assert.deepEqual(log.health(), { ok: true });
      assert.deepEqual(await intactActions(path), ['audit.opened', 'before', 'audit.gap', 'after']);
      const gap = eventsIn(path)[2];
      assert.deepEqual(gap?.data, { since: '2026-01-01T00:00:00.000Z', refused: 4, reason: code });
    }));
}

test('a log that is closed while it is broken takes back what it refused, and says so', async () => {
  using folder = temporaryFolder();
  const disk = faultyDisk();
  const open = () =>
    openAuditLog({
      folder: folder.path,
      stream: 'control',
      clock: manualClock(),
      newId: eventId,
      disk,
      signingKeys: testSigningKeys,
    });
  const log = await open();
  disk.judge = (call) => (call === 'datasync' || call === 'truncate' ? { code: 'EIO' } : 'pass');
  await refuses(log, 'refused');
  assert.deepEqual(await intactActions(segmentOf(folder.path)), ['audit.opened', 'refused'], 'control');
  disk.judge = () => 'pass';
  await log.close();
  assert.deepEqual(await intactActions(segmentOf(folder.path)), ['audit.opened', 'audit.gap']);
  const again = await open();
  assert.equal(again.checkpoint().size, 2);
  await again.close();
});

describe('while the disk stays broken', () => {
  test('recovery is tried once in recoveryEveryMs, and everything else is refused at once', () =>
    withLog(async ({ path, disk, clock, log }) => {
      disk.judge = failing('write', { code: 'ENOSPC' });
      await refuses(log, 'first');
      const asked = () => disk.calls.length;
      const before = asked();
      for (let index = 0; index < 10; index += 1) await refuses(log, 'again');
      assert.equal(asked(), before, 'the disk is not asked');
      clock.advance(auditLimits.recoveryEveryMs);
      await refuses(log, 'second try');
      assert.ok(asked() > before);
      disk.judge = () => 'pass';
      clock.advance(auditLimits.recoveryEveryMs);
      await log.append(attempt('after'));
      assert.deepEqual(await intactActions(path), ['audit.opened', 'audit.gap', 'after']);
      assert.equal(eventsIn(path)[1]?.data?.refused, 12);
    }));

  test('nothing is accepted before the refused lines could be cut off', () =>
    withLog(async ({ path, disk, clock, log }) => {
      disk.judge = (call) => (call === 'datasync' || call === 'truncate' ? { code: 'EIO' } : 'pass');
      await refuses(log, 'refused');
      disk.judge = failing('truncate', { code: 'EIO' });
      for (let index = 0; index < 3; index += 1) {
        clock.advance(auditLimits.recoveryEveryMs);
        await refuses(log, 'later');
      }
      disk.judge = () => 'pass';
      clock.advance(auditLimits.recoveryEveryMs);
      await log.append(attempt('after'));
      assert.deepEqual(await intactActions(path), ['audit.opened', 'audit.gap', 'after']);
    }));

  test('a probe finds it, starts the recovery, and writes the gap note', () =>
    withLog(async ({ path, disk, clock, log }) => {
      disk.judge = failing('datasync', { code: 'EIO' });
      await refuses(log, 'refused');
      assert.equal((await log.probe()).ok, false);
      clock.advance(auditLimits.recoveryEveryMs);
      assert.equal((await log.probe()).ok, false);
      disk.judge = () => 'pass';
      clock.advance(auditLimits.recoveryEveryMs);
      assert.deepEqual(await log.probe(), { ok: true });
      assert.deepEqual(await intactActions(path), ['audit.opened', 'audit.gap']);
    }));

  test('a probe of an idle log finds a full disk before any event does', () =>
    withLog(async ({ disk, clock, log }) => {
      disk.judge = failing('write', { code: 'ENOSPC' });
      assert.deepEqual(await log.probe(), { ok: true }, 'a line was durable a moment ago');
      clock.advance(auditLimits.probeFreshMs);
      assert.deepEqual(await log.probe(), { ok: false, since: clock.now(), reason: 'ENOSPC' });
    }));

  test('a log that cannot write its first line does not open, and leaves the stream free', async () => {
    using folder = temporaryFolder();
    const disk = faultyDisk();
    const options = {
      folder: folder.path,
      stream: 'control',
      clock: manualClock(),
      newId: eventId,
      disk,
      signingKeys: testSigningKeys,
    };
    disk.judge = failing('datasync', { code: 'EIO' });
    await assert.rejects(openAuditLog(options), Fault);
    disk.judge = () => 'pass';
    const log = await openAuditLog(options);
    await log.close();
    assert.deepEqual(await intactActions(segmentOf(folder.path)), ['audit.opened']);
  });
});

describe('a file that changes under its writer', () => {
  const outsiders: [what: string, act: (path: string) => void, repair: ((path: string) => void) | null][] = [
    ['grows', (path) => appendFileSync(path, 'foreign\n'), null],
    ['is cut', (path) => truncateSync(path, 100), (path) => copyFileSync(`${path}.copy`, path)],
    ['is removed', (path) => rmSync(path), (path) => copyFileSync(`${path}.copy`, path)],
    [
      'is replaced',
      (path) => {
        renameSync(path, `${path}.old`);
        writeFileSync(path, 'x');
      },
      (path) => renameSync(`${path}.old`, path),
    ],
    ['is emptied', (path) => truncateSync(path, 0), (path) => copyFileSync(`${path}.copy`, path)],
  ];
  for (const [what, act, repair] of outsiders) {
    test(`and ${what} refuses what comes next, until it ends in its last line again`, () =>
      withLog(async ({ path, clock, log }) => {
        await log.append(attempt('before'));
        copyFileSync(path, `${path}.copy`);
        act(path);
        await refuses(log, 'refused');
        if (what === 'is cut') assert.ok(!readFileSync(path).includes(0), 'the cut is not filled up');
        if (repair !== null) {
          clock.advance(auditLimits.recoveryEveryMs);
          await refuses(log, 'still refused');
          repair(path);
        }
        clock.advance(auditLimits.recoveryEveryMs);
        await log.append(attempt('after'));
        assert.deepEqual(await intactActions(path), ['audit.opened', 'before', 'audit.gap', 'after']);
      }));
  }

  test('and is replaced by one of just the right length is noticed', () =>
    withLog(async ({ path, log }) => {
      await log.append(attempt('before'));
      const content = readFileSync(path);
      const lineBytes = content.length - (content.subarray(0, -1).lastIndexOf(0x0a) + 1);
      renameSync(path, `${path}.old`);
      writeFileSync(path, Buffer.alloc(content.length + lineBytes));
      await refuses(log, 'refuse');
    }));

  test('and gets another last line while it is broken is not written to again', () =>
    withLog(async ({ path, disk, clock, log }) => {
      await log.append(attempt('before'));
      disk.judge = failing('datasync', { code: 'EIO' });
      await refuses(log, 'refused');
      disk.judge = () => 'pass';
      const content = readFileSync(path, 'utf8');
      writeFileSync(path, content.replace('"before"', '"befure"'));
      clock.advance(auditLimits.recoveryEveryMs);
      await refuses(log, 'refused');
      assert.equal(readFileSync(path, 'utf8'), content.replace('"before"', '"befure"'));
      writeFileSync(path, content);
      clock.advance(auditLimits.recoveryEveryMs);
      await log.append(attempt('after'));
    }));
});

describe('a disk that does not answer', () => {
  test('makes the log unhealthy and refuses what comes, and the gap is recorded', () =>
    withLog(async ({ path, disk, clock, log }) => {
      const { promise: answer, resolve: letAnswer } = Promise.withResolvers<DiskVerdict>();
      const { promise: reached, resolve: reach } = Promise.withResolvers<void>();
      disk.judge = (call) => {
        if (call !== 'datasync') return 'pass';
        reach();
        return answer;
      };
      const slow = log.append(attempt('slow'));
      await reached;
      assert.deepEqual(log.health(), { ok: true });
      clock.advance(auditLimits.stallMs + 1);
      assert.equal(log.health().ok, false);
      assert.equal((await log.probe()).ok, false);
      await refuses(log, 'refused');
      letAnswer('pass');
      assert.equal((await slow).seq, 2);
      await log.append(attempt('after'));
      assert.deepEqual(await intactActions(path), ['audit.opened', 'slow', 'audit.gap', 'after']);
    }));

  test('holds at most pendingEventsMax events; the next one is refused at once', () =>
    withLog(async ({ path, disk, log }) => {
      const { promise: answer, resolve: letAnswer } = Promise.withResolvers<DiskVerdict>();
      const { promise: reached, resolve: reach } = Promise.withResolvers<void>();
      disk.judge = (call) => {
        if (call !== 'datasync') return 'pass';
        reach();
        return answer;
      };
      const first = log.append(attempt('first'));
      await reached;
      const waiting = Array.from({ length: auditLimits.pendingEventsMax }, () =>
        log.append(attempt('waits')),
      );
      await refuses(log, 'one too many');
      letAnswer('pass');
      await Promise.all([first, ...waiting]);
      const actions = await intactActions(path);
      assert.equal(actions.filter((action) => action === 'waits').length, auditLimits.pendingEventsMax);
      assert.equal(actions.filter((action) => action === 'audit.gap').length, 1);
      assert.ok(!actions.includes('one too many'));
    }));
});

test('whatever fails and when: acknowledged events are there once, refused ones are not, gaps add up', async () => {
  const calls: readonly DiskCall[] = [
    'open',
    'write',
    'datasync',
    'sync',
    'truncate',
    'stat',
    'read',
    'lookup',
  ];
  const fault = fc.record({
    code: fc.constantFrom('EIO', 'ENOSPC', 'EROFS'),
    late: fc.boolean(),
    call: fc.constantFrom(...calls),
    /** Which of the calls of that kind, from the start of the run. */
    at: fc.nat(12),
  });
  const turn = fc.record({
    appends: fc.integer({ min: 1, max: 5 }),
    waitMs: fc.constantFrom(0, 100, 250, 300),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fault, { maxLength: 8 }),
      fc.array(turn, { minLength: 1, maxLength: 12 }),
      (plan, turns) =>
        withLog(async ({ path, disk, clock, log }) => {
          const seen = new Map<DiskCall, number>();
          disk.judge = (call) => {
            const nth = seen.get(call) ?? 0;
            seen.set(call, nth + 1);
            const { code, late } = plan.find((entry) => entry.call === call && entry.at === nth) ?? {};
            return code === undefined ? 'pass' : { code, late: late === true };
          };
          const acknowledged = new Map<string, number>();
          const refused = new Set<string>();
          for (const [round, { appends, waitMs }] of turns.entries()) {
            const names = Array.from({ length: appends }, (_, index) => `e.${round}.${index}`);
            await Promise.all(
              names.map((name) =>
                log.append(attempt(name)).then(
                  ({ seq }) => acknowledged.set(name, seq),
                  () => refused.add(name),
                ),
              ),
            );
            clock.advance(waitMs);
          }
          disk.judge = () => 'pass';
          clock.advance(auditLimits.recoveryEveryMs);
          acknowledged.set('last', (await log.append(attempt('last'))).seq);
          assert.equal((await verifyStreams([path])).status, 'intact');
          const events = eventsIn(path);
          const own = events.filter(({ phase }) => phase !== 'note');
          assert.deepEqual(new Map(own.map(({ action, seq }) => [action, seq])), acknowledged);
          assert.equal(own.length, acknowledged.size);
          const gaps = events.filter(({ action }) => action === 'audit.gap');
          const counted = gaps.reduce((sum, { data }) => sum + (data?.refused as number), 0);
          assert.equal(counted, refused.size);
        }),
    ),
    { numRuns: 300 },
  );
});
