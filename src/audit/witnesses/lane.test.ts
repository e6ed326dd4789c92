import assert from 'node:assert/strict';
import { test } from 'node:test';
import { manualClock } from '../../../tests/support/audit.ts';
import type { SignedCheckpoint } from '../checkpoint.ts';
import { Lane, type LaneFacts } from './lane.ts';
import { witnessLimits } from './limits.ts';
import type { Pushed, PushResult } from './witness.ts';

/** A lane to a witness that answers what it is told to, when it is told to. */
function laneOf({ everySeconds = 60 } = {}) {
  const clock = manualClock();
  const pushed: number[] = [];
  const problems: string[] = [];
  const conflicts: (LaneFacts & { size: number })[] = [];
  const cosigned: string[] = [];
  let answer: ((result: PushResult) => void) | null = null;
  let newest: SignedCheckpoint | null = null;
  const tree = { rootAt: async () => Buffer.alloc(32), consistency: async () => [] };
  const stream = { stream: 'control', folder: '/audit/control', tree, checkpoint: () => newest };
  const witness = {
    push: async ({ checkpoint }: Pushed) => {
      pushed.push(checkpoint.size);
      const { promise, resolve } = Promise.withResolvers<PushResult>();
      answer = resolve;
      return await promise;
    },
    close: () => undefined,
  };
  const lane = new Lane(
    {
      settings: { name: 'vault', everySeconds },
      witness,
      clock,
      random: () => 1,
      times: witnessLimits,
      onProblem: ({ reason }, message) => problems.push(`${message}: ${reason}`),
      onConflict: (facts) => conflicts.push(facts),
      onCosigned: async (_, note) => void cosigned.push(note),
    },
    stream,
  );
  const closing = new AbortController();
  return {
    ...{ lane, clock, pushed, problems, conflicts, cosigned, closing },
    sign: (size: number) => {
      newest = { origin: 'o', size, root: Buffer.alloc(32), extensions: [], note: `note ${size}` };
    },
    tick: () => lane.tick(stream, closing.signal),
    /** The push that is on its way ends so. */
    ends: async (result: PushResult) => {
      answer!(result);
      await lane.settled();
    },
  };
}

const later: PushResult = { kind: 'later', reason: 'ECONNREFUSED' };

test('one push is on its way, and the next one is of the newest', async () => {
  const at = laneOf();
  at.tick();
  assert.deepEqual(at.pushed, [], 'there is nothing yet');
  assert.deepEqual([at.lane.status().state, at.lane.status().ageSeconds], ['waiting', 0]);
  at.sign(1);
  for (let size = 1; size <= 5; size += 1) {
    at.sign(size);
    at.tick();
    at.clock.advance(60_000);
  }
  assert.deepEqual(at.pushed, [1]);
  await at.ends({ kind: 'kept' });
  at.tick();
  assert.deepEqual(at.pushed, [1, 5]);
});

test('it is pushed every minute, also where nothing is new, and the age says when that went well last', async () => {
  const at = laneOf();
  at.sign(7);
  for (let minute = 0; minute < 3; minute += 1) {
    at.tick();
    at.clock.advance(1_000);
    await at.ends({ kind: 'kept' });
    assert.equal(at.lane.status().ageSeconds, 1, 'from when it was pushed on');
    at.clock.advance(58_000);
    at.tick();
    assert.equal(at.pushed.length, minute + 1);
    at.clock.advance(1_000);
  }
  assert.deepEqual(at.pushed, [7, 7, 7]);
  assert.deepEqual([at.lane.status().state, at.lane.status().size], ['kept', 7]);
  assert.equal(at.lane.status().lastKeptAt, new Date(at.clock.now() - 60_000).toISOString());
});

test('after a failure it is tried again sooner, ever less often, for ever; after success as before', async () => {
  const at = laneOf();
  at.sign(1);
  const waits: number[] = [];
  for (let failure = 0; failure < 9; failure += 1) {
    at.tick();
    await at.ends(later);
    let waitedMs = 0;
    for (; at.pushed.length === failure + 1; waitedMs += 500) {
      at.clock.advance(500);
      at.tick();
    }
    waits.push(waitedMs / 1000);
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
  await at.ends({ kind: 'kept' });
  at.clock.advance(60_000);
  at.tick();
  await at.ends({ ...later, retryAfterMs: 30_000 });
  at.clock.advance(29_000);
  at.tick();
  assert.equal(at.pushed.length, 11, 'it said when');
  at.clock.advance(1_000);
  at.tick();
  assert.equal(at.pushed.length, 12);
});

test('a failure is told once, and that it has lasted for five minutes once more', async () => {
  const at = laneOf();
  at.sign(1);
  for (let failure = 0; failure < 12; failure += 1) {
    at.tick();
    await at.ends(later);
    at.clock.advance(60_000);
  }
  assert.deepEqual(at.problems, [
    'a witness was not reached; it is tried again: ECONNREFUSED',
    'a witness has had no checkpoint for 6 minutes: ECONNREFUSED',
  ]);
  assert(at.lane.isStale);
  at.tick();
  await at.ends({ kind: 'kept' });
  assert(!at.lane.isStale);
  assert.deepEqual(at.lane.status().lastError?.reason, 'ECONNREFUSED');
});

test('a contradiction is recorded when it begins, and stays one while the witness cannot be asked', async () => {
  const at = laneOf();
  at.sign(9);
  const results: PushResult[] = [
    { kind: 'conflict', reason: 'two histories' },
    { kind: 'conflict', reason: 'still two' },
    later,
    { kind: 'conflict', reason: 'two again' },
  ];
  for (const result of results) {
    at.tick();
    await at.ends(result);
    at.clock.advance(60_000);
    assert(at.lane.isConflict);
  }
  const facts = { witness: 'vault', stream: 'control', size: 9 };
  assert.deepEqual(at.conflicts, [{ ...facts, reason: 'two histories' }]);
  at.tick();
  await at.ends({ kind: 'kept' });
  assert(!at.lane.isConflict);
  at.clock.advance(60_000);
  at.tick();
  await at.ends({ kind: 'conflict', reason: 'anew' });
  assert.equal(at.conflicts.length, 2);
});

test('what a witness signed is handed on, and what ends with the process is no failure', async () => {
  const at = laneOf();
  at.sign(3);
  at.tick();
  await at.ends({ kind: 'kept', cosigned: 'note 3 cosigned' });
  assert.deepEqual([at.cosigned, at.lane.status().cosigned], [['note 3 cosigned'], 'note 3 cosigned']);
  at.clock.advance(60_000);
  at.tick();
  at.closing.abort();
  await at.ends(later);
  assert.deepEqual([at.problems, at.lane.status().state], [[], 'kept']);
});

test('a witness that is asked once an hour is not too old in between', async () => {
  const at = laneOf({ everySeconds: 3_600 });
  at.sign(1);
  at.tick();
  await at.ends({ kind: 'kept' });
  at.clock.advance(3_599_000);
  at.tick();
  assert(!at.lane.isStale);
  at.clock.advance(2 * 3_600_000 + 2_000);
  assert(at.lane.isStale);
});
